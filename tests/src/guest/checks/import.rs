//! Memory of the blob context in Vulkan: does each side see what the other one wrote?

use ash::{ext, vk};
use coherd_guest::{Allocation, AllocationRequest, Context, Mapping, MemoryProperties, MemoryType};

use super::error::{CheckError, blob};
use super::pattern;
use super::shared::Exported;
use crate::guest::{Commands, Gpu, MappedBuffer, MemoryWish};

/// Bytes that are shared.
const SIZE: u64 = 260 * 1024;

/// What the blob context's GPU fills with.
const WORD: u32 = 0xc0de_2020;

/// Runs the check in each memory type that can be mapped without brackets, and says which.
pub fn import(gpu: &Gpu) -> Result<String, CheckError> {
    if !gpu.advertises(ext::external_memory_dma_buf::NAME) {
        return Err(CheckError::Unexpected {
            what: "VK_EXT_external_memory_dma_buf",
            offered: false,
        });
    }
    let context = blob(Context::open())?;
    if !context.host().dma_buf {
        return Err(CheckError::Unexpected {
            what: "memory of the blob context as dma-buf",
            offered: false,
        });
    }
    let commands = Commands::new(gpu)?;
    let mut done = Vec::new();
    for kind in &context.host().types {
        let seen = done.contains(&kind.properties);
        if kind.caching.is_none() || kind.needs_sync || seen {
            continue;
        }
        eprintln!("type {}: {:?}", kind.index, kind.properties);
        let trip = Trip::new(gpu, &commands, &context, kind)?;
        trip.processor_and_gpu()?;
        trip.both_gpus()?;
        trip.outlives_its_context(&context)?;
        done.push(kind.properties);
    }
    if done.is_empty() {
        return Err(CheckError::BadOption(
            "The blob context has no memory that needs no brackets",
        ));
    }
    Ok(format!(
        "memory of the blob context works in Vulkan: {done:?}"
    ))
}

/// One allocation and the same memory in Vulkan.
struct Trip<'g> {
    commands: &'g Commands<'g>,
    context: &'g Context,
    allocation: Allocation,
    mapping: Mapping,
    imported: Exported<'g>,
    /// Memory that only Vulkan has.
    plain: MappedBuffer<'g>,
}

impl<'g> Trip<'g> {
    fn new(
        gpu: &'g Gpu,
        commands: &'g Commands<'g>,
        context: &'g Context,
        kind: &MemoryType,
    ) -> Result<Self, CheckError> {
        let allocation = allocate(context, kind.properties)?;
        let mapping = blob(allocation.map())?;
        let file = blob(allocation.export())?;
        Ok(Self {
            commands,
            context,
            imported: Exported::from_dma_buf(gpu, file, allocation.size())?,
            plain: MappedBuffer::new(gpu, SIZE, Exported::USAGE, MemoryWish::READBACK)?,
            allocation,
            mapping,
        })
    }

    /// What the processor wrote through the blob context's mapping is there for Vulkan, mapped and
    /// copied, and the other way round.
    fn processor_and_gpu(&self) -> Result<(), CheckError> {
        let mut guard = blob(self.mapping.write(..length()))?;
        blob(guard.copy_from(0, &bytes(1)))?;
        blob(guard.end())?;
        let mut found = vec![0; length()];
        self.imported.buffer().download(0, &mut found)?;
        same(&bytes(1), &found, "mapped by Vulkan")?;
        self.copy(self.imported.buffer(), &self.plain)?;
        self.plain.download(0, &mut found)?;
        same(&bytes(1), &found, "copied by Vulkan")?;

        self.plain.upload(0, &bytes(2))?;
        self.copy(&self.plain, self.imported.buffer())?;
        same(&bytes(2), &self.mapped()?, "written by Vulkan's GPU")?;
        self.imported.buffer().upload(0, &bytes(3))?;
        same(
            &bytes(3),
            &self.mapped()?,
            "written through Vulkan's mapping",
        )
    }

    /// What the blob context has its GPU do is there for Vulkan, and the other way round.
    fn both_gpus(&self) -> Result<(), CheckError> {
        let filled = self.context.fill(self.allocation.at(0), SIZE, WORD);
        blob(blob(filled)?.wait())?;
        self.copy(self.imported.buffer(), &self.plain)?;
        let mut found = vec![0; length()];
        self.plain.download(0, &mut found)?;
        same(
            &WORD.to_le_bytes().repeat(length() / 4),
            &found,
            "filled by the blob context",
        )?;

        self.plain.upload(0, &bytes(4))?;
        self.copy(&self.plain, self.imported.buffer())?;
        let other = allocate(self.context, self.allocation.memory().properties)?;
        let copied = self.context.copy(self.allocation.at(0), other.at(0), SIZE);
        blob(blob(copied)?.wait())?;
        let mapping = blob(other.map())?;
        let found = blob(mapping.read(..length()))?.to_vec();
        same(&bytes(4), &found, "copied by the blob context")
    }

    /// Vulkan keeps the memory that the blob context gave up.
    fn outlives_its_context(self, context: &Context) -> Result<(), CheckError> {
        self.imported.buffer().upload(0, &bytes(5))?;
        let Self {
            commands,
            allocation,
            mapping,
            imported,
            plain,
            ..
        } = self;
        drop((allocation, mapping));
        blob(context.wait_idle())?;
        copy(commands, imported.buffer(), &plain)?;
        let mut found = vec![0; length()];
        plain.download(0, &mut found)?;
        same(&bytes(5), &found, "given up by the blob context")
    }

    /// All bytes through the blob context's mapping.
    fn mapped(&self) -> Result<Vec<u8>, CheckError> {
        Ok(blob(self.mapping.read(..length()))?.to_vec())
    }

    fn copy(&self, from: &MappedBuffer<'_>, to: &MappedBuffer<'_>) -> Result<(), CheckError> {
        copy(self.commands, from, to)
    }
}

fn allocate(context: &Context, properties: MemoryProperties) -> Result<Allocation, CheckError> {
    let request = AllocationRequest {
        shareable: true,
        ..AllocationRequest::new(SIZE, properties)
    };
    blob(context.allocate(&request))
}

fn copy(
    commands: &Commands<'_>,
    from: &MappedBuffer<'_>,
    to: &MappedBuffer<'_>,
) -> Result<(), CheckError> {
    let region = [vk::BufferCopy {
        src_offset: 0,
        dst_offset: 0,
        size: SIZE,
    }];
    commands.run(|device, buffer| {
        // SAFETY: both buffers have this size and outlive the run.
        unsafe { device.cmd_copy_buffer(buffer, from.handle(), to.handle(), &region) };
    })?;
    Ok(())
}

fn length() -> usize {
    usize::try_from(SIZE).unwrap_or(0)
}

fn bytes(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length()];
    pattern::fill(seed, &mut bytes);
    bytes
}

fn same(expected: &[u8], found: &[u8], what: &str) -> Result<(), CheckError> {
    pattern::compare(expected, found).map_err(|mismatch| CheckError::Bytes {
        what: format!("memory of the blob context, {what}"),
        mismatch,
    })
}
