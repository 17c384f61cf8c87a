//! A GPU for blob contexts that needs no driver: memory is files, and the test decides when work
//! is done and which call fails.
//!
//! Memory that is not coherent has two files, one for processors and one for "the GPU". What one
//! side writes is seen by the other after a flush or an invalidate, and never otherwise.

mod memory;
mod state;

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::Duration;

use coherd::coherence::AccessError;
use coherd::renderer::blob_context::gpu::{Gpu, Memory, TransferFailure, Work, WorkError};
use coherd_blob::MemoryProperties;
use coherd_blob::backing::ExportKind;
use coherd_blob::exporter::Allocated;
use coherd_protocol::blob_context::capset::{
    CapsetFlags, FormatModifier, Head, Heap, MemoryType, TypeFlags,
};
use coherd_protocol::blob_context::command::ImageUsage;
use coherd_protocol::blob_context::reply::{ImageLayout, Plane};
use coherd_protocol::blob_context::{Capset, Status};
use coherd_vulkan::image::ImageRequest;
use coherd_vulkan::memory::AllocationRequest;
use zerocopy::FromZeros;

pub use self::memory::FileMemory;
pub use self::state::{Call, MemoryGpu, Task};

/// DRM_FORMAT_XRGB8888
pub const XR24: u32 = u32::from_le_bytes(*b"XR24");
/// DRM_FORMAT_MOD_LINEAR
pub const LINEAR: u64 = 0;
/// A modifier of no vendor, whose images nobody can see as bytes.
pub const TILED: u64 = 1 << 40 | 1;

/// Bytes of an atom.
pub const ATOM: u64 = 64;
/// Bytes of all memory together.
pub const HEAP: u64 = 64 << 20;

/// The memory types: memory of the device, coherent and cached, coherent, cached.
pub const TYPES: [MemoryProperties; 4] = [
    MemoryProperties::DEVICE_LOCAL,
    MemoryProperties::HOST_VISIBLE
        .union(MemoryProperties::HOST_COHERENT)
        .union(MemoryProperties::HOST_CACHED),
    MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_COHERENT),
    MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_CACHED),
];

/// The type that has all of `required`, most of `preferred` and least besides.
fn choose(required: MemoryProperties, preferred: MemoryProperties) -> Option<usize> {
    (0..TYPES.len())
        .filter(|index| TYPES[*index].contains(required))
        .max_by_key(|index| {
            let liked = (TYPES[*index] & preferred).bits().count_ones();
            let besides = (TYPES[*index] - required - preferred).bits().count_ones();
            (liked, std::cmp::Reverse(besides), std::cmp::Reverse(*index))
        })
}

impl Gpu for MemoryGpu {
    type Memory = FileMemory;
    type Work = Task;

    fn capset(&self) -> Capset {
        let memory_type = |properties: &MemoryProperties| {
            let memory = coherd_blob::MemoryType::from_properties(*properties);
            let mut flags = TypeFlags::empty();
            flags.set(TypeFlags::MAPPABLE, memory.is_some());
            flags.set(
                TypeFlags::NEEDS_SYNC,
                memory.is_some_and(coherd_blob::MemoryType::needs_brackets),
            );
            MemoryType {
                properties: properties.bits().into(),
                heap: 0.into(),
                map_info: memory.map_or(0, |memory| memory.caching.to_wire()).into(),
                flags: flags.bits().into(),
            }
        };
        let format = |modifier: u64| FormatModifier {
            fourcc: XR24.into(),
            planes: 1.into(),
            modifier: modifier.into(),
            usage: ImageUsage::all().bits().into(),
            padding: 0.into(),
        };
        let mut head = Head::new_zeroed();
        head.flags = (CapsetFlags::IMAGES | CapsetFlags::SOFTWARE).bits().into();
        head.atom_size = u32::try_from(ATOM).unwrap_or(0).into();
        head.max_image_dimension = 4096.into();
        head.max_allocation_size = self.heap().into();
        head.device_name[..4].copy_from_slice(b"test");
        Capset {
            head,
            types: TYPES.iter().map(memory_type).collect(),
            heaps: vec![Heap {
                size: self.heap().into(),
                flags: 1.into(),
                padding: 0.into(),
            }],
            formats: [LINEAR, TILED].map(format).to_vec(),
        }
    }

    fn allocate(&self, request: &AllocationRequest<'_>) -> Result<FileMemory, Status> {
        self.call(Call::Allocate)?;
        let index = choose(request.required, request.preferred).ok_or(Status::NoMemoryType)?;
        FileMemory::new(self, index, request.size)
    }

    fn create_image(
        &self,
        request: &ImageRequest<'_>,
    ) -> Result<(FileMemory, ImageLayout), Status> {
        self.call(Call::CreateImage)?;
        if request.fourcc != XR24 {
            return Err(Status::UnsupportedFormat);
        }
        let wanted =
            |modifier: &u64| request.modifiers.is_empty() || request.modifiers.contains(modifier);
        let modifier = [TILED, LINEAR].into_iter().find(wanted);
        let modifier = modifier.ok_or(Status::UnsupportedModifier)?;
        let index = choose(request.required, request.preferred).ok_or(Status::NoMemoryType)?;
        let pitch = (u64::from(request.width) * 4).next_multiple_of(ATOM);
        let size = pitch * u64::from(request.height);
        let mut layout = ImageLayout::new_zeroed();
        layout.modifier = modifier.into();
        layout.plane_count = 1.into();
        layout.planes[0] = Plane {
            offset: 0.into(),
            pitch: pitch.into(),
            size: size.into(),
        };
        Ok((FileMemory::new(self, index, size)?, layout))
    }

    fn copy(
        &self,
        (from, from_offset): (&FileMemory, u64),
        (to, to_offset): (&FileMemory, u64),
        size: u64,
    ) -> Result<Task, TransferFailure> {
        self.call(Call::Copy).map_err(TransferFailure::Status)?;
        let (from, to) = (from.gpu_side(), to.gpu_side());
        Ok(self.give(move || {
            let bytes = from.read(from_offset, size);
            to.write(to_offset, &bytes);
        }))
    }

    fn fill(&self, to: &FileMemory, range: Range<u64>, word: u32) -> Result<Task, TransferFailure> {
        self.call(Call::Fill).map_err(TransferFailure::Status)?;
        let to = to.gpu_side();
        Ok(self.give(move || {
            let words = usize::try_from((range.end - range.start) / 4).unwrap_or(0);
            to.write(range.start, &word.to_le_bytes().repeat(words));
        }))
    }

    fn is_lost(&self) -> bool {
        self.is_lost()
    }

    fn bytes_copied(&self) -> u64 {
        // Nobody but the GPU has its files open here.
        0
    }
}

impl Memory for FileMemory {
    fn size(&self) -> u64 {
        self.size()
    }

    fn type_index(&self) -> u32 {
        u32::try_from(self.type_index()).unwrap_or(0)
    }

    fn allocated(&self) -> Allocated {
        Allocated {
            properties: TYPES[self.type_index()],
            integrated: None,
        }
    }

    fn atom(&self) -> Option<u64> {
        let coherent = TYPES[self.type_index()].contains(MemoryProperties::HOST_COHERENT);
        (!coherent).then_some(ATOM)
    }

    fn export(&self) -> Result<Option<(OwnedFd, ExportKind)>, Status> {
        self.gpu().call(Call::Export)?;
        let visible = TYPES[self.type_index()].contains(MemoryProperties::HOST_VISIBLE);
        let fd = visible.then(|| self.duplicate()).transpose()?;
        Ok(fd.map(|fd| (fd, ExportKind::Shm)))
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        self.read_cpu(offset, into);
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        self.write_cpu(offset, from);
        Ok(())
    }

    fn flush(&self, range: Range<u64>) -> Result<(), AccessError> {
        self.gpu().call(Call::Flush).map_err(access_error)?;
        self.send(range);
        Ok(())
    }

    fn invalidate(&self, range: Range<u64>) -> Result<(), AccessError> {
        self.gpu().call(Call::Invalidate).map_err(access_error)?;
        self.fetch(range);
        Ok(())
    }
}

fn access_error(status: Status) -> AccessError {
    match status {
        Status::DeviceLost => AccessError::DeviceLost,
        Status::OutOfHostMemory => AccessError::OutOfHostMemory,
        Status::OutOfDeviceMemory => AccessError::OutOfDeviceMemory,
        other => AccessError::Driver(other.to_string()),
    }
}

impl Work for Task {
    fn wait(&self, timeout: Duration) -> Result<(), WorkError> {
        self.wait_done(timeout)
    }
}
