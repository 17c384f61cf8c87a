//! Bytes from the CPU through a copy and a shader back to the CPU, in every host-visible type.

use ash::vk;

use super::error::CheckError;
use super::pattern;
use super::progress::Ticker;
use super::transform::Transform;
use crate::guest::{Buffer, Commands, Gpu, MappedBuffer};
use std::time::Duration;

/// Around the sizes of words, cache lines, pages and windows, and what fits none of them.
const SIZES: [usize; 24] = [
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    63,
    64,
    65,
    1000,
    4095,
    4096,
    4097,
    12_345,
    65_536,
    65_537,
    1_000_003,
    1 << 20,
    (1 << 20) + 4,
    7_654_321,
    16 << 20,
    (16 << 20) + 4096,
    64 << 20,
];

/// Runs the check and says what it covered.
pub fn roundtrip(gpu: &Gpu) -> Result<String, CheckError> {
    let trip = Trip {
        gpu,
        commands: Commands::new(gpu)?,
        transform: Transform::new(gpu)?,
    };
    let mut types = Vec::new();
    let mut trips = 0;
    let mut ticker = Ticker::new(Duration::from_secs(2));
    for type_index in gpu.host_visible_types() {
        let mut done = 0;
        for size in SIZES {
            if !trip.run(type_index, size)? {
                eprintln!("memory type {type_index}: not for buffers");
                break;
            }
            done += 1;
            if ticker.due() {
                eprintln!("memory type {type_index}: {size} bytes came back");
            }
        }
        if done > 0 {
            types.push(type_index);
        }
        trips += done;
    }
    if types.is_empty() {
        return Err(CheckError::BadOption(
            "No memory type can be mapped and used by buffers",
        ));
    }
    Ok(format!(
        "{trips} round trips of up to 64 MiB in memory types {types:?}"
    ))
}

struct Trip<'g> {
    gpu: &'g Gpu,
    commands: Commands<'g>,
    transform: Transform<'g>,
}

impl<'g> Trip<'g> {
    /// One size in one type; false where buffers cannot use the type.
    fn run(&self, type_index: u32, size: usize) -> Result<bool, CheckError> {
        let Some(source) = self.buffer(type_index, size, vk::BufferUsageFlags::TRANSFER_SRC)?
        else {
            return Ok(false);
        };
        let usage = vk::BufferUsageFlags::TRANSFER_DST | vk::BufferUsageFlags::STORAGE_BUFFER;
        let Some(target) = self.buffer(type_index, size, usage)? else {
            return Ok(false);
        };
        let mut expected = vec![0; size];
        pattern::fill(u64::from(type_index) << 32 | length(size), &mut expected);
        source.upload(0, &expected)?;
        // What the copy must replace everywhere.
        let poison: Vec<u8> = expected.iter().map(|byte| !byte).collect();
        target.upload(0, &poison)?;
        let region = [vk::BufferCopy {
            src_offset: 0,
            dst_offset: 0,
            size: length(size),
        }];
        self.commands.run(|device, commands| {
            // SAFETY: both buffers have this size and outlive the run.
            unsafe {
                device.cmd_copy_buffer(commands, source.handle(), target.handle(), &region);
            }
        })?;
        verify(&target, &expected, type_index, "copied")?;
        let limit = u64::from(self.gpu.properties().limits.max_storage_buffer_range);
        if (4..=limit).contains(&length(size)) {
            self.transform.run(&self.commands, &target)?;
            pattern::transform(&mut expected);
            verify(&target, &expected, type_index, "transformed")?;
        }
        Ok(true)
    }

    fn buffer(
        &self,
        type_index: u32,
        size: usize,
        usage: vk::BufferUsageFlags,
    ) -> Result<Option<MappedBuffer<'g>>, CheckError> {
        let buffer = Buffer::new(self.gpu, length(size), usage)?;
        if buffer.requirements().memory_type_bits & (1 << type_index) == 0 {
            return Ok(None);
        }
        Ok(Some(MappedBuffer::with_type(self.gpu, buffer, type_index)?))
    }
}

fn verify(
    buffer: &MappedBuffer<'_>,
    expected: &[u8],
    type_index: u32,
    what: &str,
) -> Result<(), CheckError> {
    let mut found = vec![0; expected.len()];
    buffer.download(0, &mut found)?;
    pattern::compare(expected, &found).map_err(|mismatch| CheckError::Bytes {
        what: format!(
            "{} bytes of memory type {type_index}, {what}",
            expected.len()
        ),
        mismatch,
    })
}

fn length(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
