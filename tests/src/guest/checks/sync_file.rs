//! Fences that the guest's kernel waits for: they are exported as sync files and polled.
//!
//! A driver may wait without the kernel, and Venus does. A sync file is the kernel's fence, by
//! which one process waits for the work of another.

use std::ffi::CStr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ash::{khr, vk};
use rustix::event::{PollFd, PollFlags, poll};

use super::compute::Compute;
use super::error::{CheckError, Mismatch};
use super::progress::Ticker;
use crate::guest::commands::memory_barrier;
use crate::guest::{Commands, During, Gpu, MappedBuffer, MemoryWish, Shader};

/// What a device must enable for the check.
pub const SYNC_FILE_EXTENSIONS: &[&CStr] = &[khr::external_fence_fd::NAME];

/// Bytes that are written again and again.
const SIZE: u64 = 16 << 20;
/// How often in one submission: long enough to be caught at it.
const FILLS: u32 = 20;

/// Bytes that a shader that never ends looks at.
const WORD: u64 = 4;

/// Time between two signs of life.
const BEAT: Duration = Duration::from_millis(200);

/// Submits work `count` times, waits for its sync file, and looks whether the work was done then.
/// Prints `alive N` from time to time.
///
/// # Errors
/// [`CheckError::NoWait`] if work was always done before its sync file could be had.
pub fn sync_file(gpu: &Gpu, count: u64) -> Result<String, CheckError> {
    let usage = vk::BufferUsageFlags::TRANSFER_DST;
    let buffer = MappedBuffer::new(gpu, SIZE, usage, MemoryWish::READBACK)?;
    let fence = ExportedFence::new(gpu)?;
    // Goes first and drains the queue.
    let commands = Commands::new(gpu)?;
    let mut beat = Ticker::new(BEAT);
    let mut waits = 0u64;
    let mut waited = Duration::ZERO;
    for iteration in 0..count {
        let first = u32::try_from(iteration % 1000).unwrap_or(0) * FILLS;
        let values = first..first + FILLS;
        commands.start(fence.handle, |device, commands| {
            fill(device, commands, buffer.handle(), values.clone());
        })?;
        let began = Instant::now();
        if fence.wait()? {
            waits += 1;
            waited += began.elapsed();
        }
        check(&buffer, values.end - 1)?;
        if beat.due() {
            println!("alive {}", iteration + 1);
        }
    }
    if waits == 0 {
        return Err(CheckError::NoWait(count));
    }
    Ok(format!(
        "{waits} sync files of {count} waited for, {:.1} ms each",
        waited.as_secs_f64() * 1000.0 / waits as f64
    ))
}

/// Submits work that never ends, says so by `alive 1`, and waits for its sync file. It is not well
/// if that wait ends.
///
/// # Errors
/// [`CheckError::NoHang`], and what the driver says when its host ends the work.
pub fn hang(gpu: &Gpu) -> Result<String, CheckError> {
    let usage = vk::BufferUsageFlags::STORAGE_BUFFER;
    let buffer = MappedBuffer::new(gpu, WORD, usage, MemoryWish::READBACK)?;
    buffer.upload(0, &[0; 4])?;
    let compute = Compute::new(gpu, Shader::Endless)?;
    compute.bind(&buffer, WORD);
    let fence = ExportedFence::new(gpu)?;
    let commands = Commands::new(gpu)?;
    commands.start(fence.handle, |device, commands| {
        compute.record(device, commands, 1);
    })?;
    println!("alive 1");
    fence.wait()?;
    Err(CheckError::NoHang)
}

fn fill(
    device: &ash::Device,
    commands: vk::CommandBuffer,
    buffer: vk::Buffer,
    values: std::ops::Range<u32>,
) {
    let write = (
        vk::PipelineStageFlags::TRANSFER,
        vk::AccessFlags::TRANSFER_WRITE,
    );
    for value in values {
        // SAFETY: the command buffer is being recorded, and the buffer is alive and for transfers.
        unsafe { device.cmd_fill_buffer(commands, buffer, 0, vk::WHOLE_SIZE, value) };
        memory_barrier(device, commands, write, write);
    }
}

/// The last bytes are the last to be written.
fn check(buffer: &MappedBuffer<'_>, expected: u32) -> Result<(), CheckError> {
    let expected = expected.to_ne_bytes();
    let mut found = [0; 4];
    let offset = SIZE - 4;
    buffer.download(offset, &mut found)?;
    super::pattern::compare(&expected, &found).map_err(|mismatch| CheckError::Bytes {
        what: "a fence came early".to_owned(),
        mismatch: Mismatch {
            offset: usize::try_from(offset).unwrap_or(usize::MAX) + mismatch.offset,
            ..mismatch
        },
    })
}

/// A fence whose signals are exported.
struct ExportedFence<'g> {
    gpu: &'g Gpu,
    functions: khr::external_fence_fd::Device,
    handle: vk::Fence,
}

impl<'g> ExportedFence<'g> {
    fn new(gpu: &'g Gpu) -> Result<Self, CheckError> {
        if !gpu.advertises(khr::external_fence_fd::NAME) {
            return Err(CheckError::Unexpected {
                what: "VK_KHR_external_fence_fd",
                offered: false,
            });
        }
        let mut export = vk::ExportFenceCreateInfo::default()
            .handle_types(vk::ExternalFenceHandleTypeFlags::SYNC_FD);
        let info = vk::FenceCreateInfo::default().push_next(&mut export);
        // SAFETY: the structures live until the call returns.
        let handle = unsafe { gpu.device().create_fence(&info, None) }.during("vkCreateFence")?;
        Ok(Self {
            gpu,
            functions: khr::external_fence_fd::Device::new(gpu.instance(), gpu.device()),
            handle,
        })
    }

    /// Waits for a submission that signals the fence, and resets it; `false` if it was signalled
    /// before it was exported, and there was no sync file to poll.
    fn wait(&self) -> Result<bool, CheckError> {
        let info = vk::FenceGetFdInfoKHR::default()
            .fence(self.handle)
            .handle_type(vk::ExternalFenceHandleTypeFlags::SYNC_FD);
        // SAFETY: the fence is exportable and has a signal pending; the export takes the signal
        // along, so the fence is unsignalled afterwards.
        let fd = unsafe { self.functions.get_fence_fd(&info) }.during("vkGetFenceFdKHR")?;
        if fd < 0 {
            return Ok(false);
        }
        // SAFETY: the driver made the file for its caller.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut fds = [PollFd::new(&file, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None)).map_err(|errno| CheckError::System {
            call: "poll of a sync file",
            source: errno.into(),
        })?;
        Ok(true)
    }
}

impl Drop for ExportedFence<'_> {
    fn drop(&mut self) {
        // SAFETY: the commands that signal it are gone, and drained the queue.
        unsafe { self.gpu.device().destroy_fence(self.handle, None) };
    }
}
