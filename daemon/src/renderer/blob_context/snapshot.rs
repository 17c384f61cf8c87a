//! Contexts and their memory, saved and made again.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use coherd_blob::backing::BackingKind;
use coherd_blob::{Access, Holder, MemoryProperties};
use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::command::{BufferUsage, ImageUsage};
use coherd_protocol::blob_context::limits::MAX_SYNC_TIMEOUT_MS;
use coherd_protocol::blob_context::reply::ImageLayout;
use coherd_protocol::state::{self, MemoryFlags};
use coherd_vulkan::image::ImageRequest;
use coherd_vulkan::memory::AllocationRequest;
use rustix::fs::{SeekFrom, seek};
use zerocopy::FromZeros;

use super::BlobContexts;
use super::blob::{Blob, finish};
use super::gpu::{Gpu, Memory, TransferFailure};
use super::job::{Interval, Job, Start};
use super::reply::{Reply, ReplyBuffer};
use crate::coherence::{AccessError, BlobRecord, Bracket, DeviceMemory, ImageInfo, Patience};
use crate::memory::GuestRanges;
use crate::renderer::{LoadedMemory, RendererError, ReplyPlace, SavedContext, SavedMemory};
use crate::snapshot::Bytes;

/// What of a type's properties a guest can tell from another's.
const ESSENTIAL: MemoryProperties = MemoryProperties::HOST_VISIBLE
    .union(MemoryProperties::HOST_COHERENT)
    .union(MemoryProperties::HOST_CACHED);
/// Bytes of the memory by way of which the processor reaches that of the device.
const STAGING: u64 = 1 << 20;
/// How long the GPU may take to copy so much.
const LONGEST_COPY: Duration = Duration::from_secs(10);
/// How long to leave a busy GPU alone.
const A_MOMENT: Duration = Duration::from_millis(1);

/// Accesses of one kind that have begun, and how many.
pub type OpenAccess = (Access, Interval, u32);

impl<G: Gpu> BlobContexts<G> {
    /// Waits for what a context has to do, and saves it.
    ///
    /// # Errors
    /// [`RendererError::Busy`], and [`RendererError::Unsupported`] where nobody can read its
    /// memory.
    pub(super) fn save(
        &mut self,
        ctx_id: u32,
        until: Instant,
    ) -> Result<SavedContext, RendererError> {
        let gpu = Arc::clone(&self.host.gpu);
        let context = self.context(ctx_id)?;
        let mut brackets = Vec::new();
        if context.queue.is_started() {
            let (sender, opened) = mpsc::channel();
            let put = context.queue.put(Job::Capture(sender));
            put.map_err(|error| RendererError::Failed(error.to_string()))?;
            let left = until.saturating_duration_since(Instant::now());
            brackets = opened.recv_timeout(left).map_err(|error| match error {
                RecvTimeoutError::Timeout => RendererError::Busy,
                RecvTimeoutError::Disconnected => {
                    RendererError::Failed("the context's thread has ended".to_owned())
                }
            })?;
        }
        let brackets = brackets.into_iter().map(|(access, interval, count)| {
            let Interval { resource_id, range } = interval;
            state::Bracket {
                context: ctx_id.into(),
                resource: resource_id.into(),
                access: access.bits().into(),
                count: count.into(),
                start: range.start.into(),
                end: range.end.into(),
            }
        });
        let object = |(id, blob): (&u64, &Arc<Blob<G>>)| {
            let nobody = RendererError::Unsupported("an image that only the GPU can read");
            Ok((*id, save_memory(&gpu, blob).ok_or(nobody)?))
        };
        Ok(SavedContext {
            replies: context.reply_place(),
            objects: context
                .objects
                .iter()
                .map(object)
                .collect::<Result<_, RendererError>>()?,
            brackets: brackets.collect(),
        })
    }

    /// The memory of a resource, if its bytes can be read.
    pub(super) fn save_resource(&self, resource_id: u32) -> Option<SavedMemory> {
        save_memory(&self.host.gpu, self.blobs.get(&resource_id)?)
    }

    /// Makes memory again that was saved.
    pub(super) fn load(&self, saved: &state::Memory) -> Result<Arc<Blob<G>>, RendererError> {
        let made = self.make_again(saved);
        let blob = made.map_err(|status| RendererError::Failed(status.to_string()))?;
        let unlike = |what: &str| Err(RendererError::Failed(format!("it would have {what}")));
        let flags = MemoryFlags::from_bits_truncate(saved.flags.get());
        let again = describe(&blob);
        let again_flags = MemoryFlags::from_bits_truncate(again.flags.get());
        if again.size != saved.size {
            return unlike("another size on this GPU");
        }
        if again.layout != saved.layout {
            return unlike("another layout on this GPU");
        }
        if again.told != saved.told {
            return unlike("another memory type than the one that its guest maps it with");
        }
        if !again_flags.contains(flags & (MemoryFlags::SHARED | MemoryFlags::COHERENT)) {
            return unlike("less than its guest was told");
        }
        Ok(Arc::new(blob))
    }

    fn make_again(&self, saved: &state::Memory) -> Result<Blob<G>, Status> {
        let properties = MemoryProperties::from_bits(saved.properties.get());
        let properties = properties.ok_or(Status::Invalid)?;
        let (required, preferred) = (properties & ESSENTIAL, properties);
        let size = saved.size.get();
        if self.host.whole_pages(size) != Some(size) || size == 0 {
            return Err(Status::Invalid);
        }
        let usage = saved.usage.get();
        let flags = MemoryFlags::from_bits(saved.flags.get()).ok_or(Status::Invalid)?;
        let gpu = &self.host.gpu;
        if !flags.contains(MemoryFlags::IMAGE) {
            let memory = gpu.allocate(&AllocationRequest {
                name: "blob",
                size,
                required,
                preferred,
                usage: BufferUsage::from_bits(usage).ok_or(Status::Invalid)?,
                ..AllocationRequest::default()
            })?;
            return self.host.share_as_it_is((memory, None), usage);
        }
        let (width, height) = (saved.width.get(), saved.height.get());
        let sides = 1..=self.host.max_image_dimension();
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(Status::Invalid);
        }
        let fourcc = saved.fourcc.get();
        let (memory, layout) = gpu.create_image(&ImageRequest {
            name: "image",
            width,
            height,
            fourcc,
            modifiers: &[saved.layout.modifier.get()],
            required,
            preferred,
            usage: ImageUsage::from_bits(usage).ok_or(Status::Invalid)?,
            ..ImageRequest::default()
        })?;
        let image = ImageInfo {
            fourcc,
            width,
            height,
            layout,
        };
        self.host.share_as_it_is((memory, Some(image)), usage)
    }

    /// What a loaded blob is for those who write its bytes.
    pub(super) fn lend(&self, blob: &Arc<Blob<G>>) -> Result<LoadedMemory, RendererError> {
        let nobody = RendererError::Unsupported("an image that only the GPU can read");
        Ok(LoadedMemory {
            record: blob.record.clone(),
            bytes: bytes(&self.host.gpu, blob).ok_or(nobody)?,
        })
    }

    /// Gives a context that was loaded its reply buffer and its accesses.
    pub(super) fn resume(
        &mut self,
        ctx_id: u32,
        replies: Option<(ReplyPlace, Arc<GuestRanges>)>,
        brackets: &[state::Bracket],
    ) -> Result<(), RendererError> {
        let context = self.context(ctx_id)?;
        if let Some((place, memory)) = replies {
            context.replies = Some(ReplyBuffer {
                lease: context.lease(place.resource_id, memory),
                offset: place.offset,
                size: place.size,
            });
        }
        for bracket in brackets {
            let resource_id = bracket.resource.get();
            let blob = context.attached.get(&resource_id);
            let Some(record) = blob.and_then(|blob| blob.record.clone()) else {
                continue;
            };
            for _ in 0..bracket.count.get() {
                context.note_access(resource_id);
                let start = Start {
                    record: Arc::clone(&record),
                    access: Access::from_bits_truncate(bracket.access.get()),
                    interval: Interval {
                        resource_id,
                        range: bracket.start.get()..bracket.end.get(),
                    },
                    timeout: Duration::from_millis(MAX_SYNC_TIMEOUT_MS.into()),
                    slot: context.accesses.take(),
                    reply: Reply::new(0, None, None),
                };
                let put = context.queue.put(Job::Start(start));
                put.map_err(|error| RendererError::Failed(error.to_string()))?;
            }
        }
        Ok(())
    }
}

fn save_memory<G: Gpu>(gpu: &Arc<G>, blob: &Arc<Blob<G>>) -> Option<SavedMemory> {
    Some(SavedMemory {
        memory: describe(blob),
        bytes: bytes(gpu, blob)?,
    })
}

/// What memory has to be, to be made again.
fn describe<G: Gpu>(blob: &Blob<G>) -> state::Memory {
    let (_, properties) = blob.memory.memory_type();
    let types = blob.record.as_ref().and_then(|record| record.types());
    let mut flags = MemoryFlags::empty();
    flags.set(MemoryFlags::IMAGE, blob.image.is_some());
    flags.set(MemoryFlags::SHARED, blob.record.is_some());
    let coherent = types.is_some_and(|types| types.coherent);
    flags.set(MemoryFlags::COHERENT, coherent);
    let mut memory = state::Memory {
        size: blob.size.into(),
        properties: properties.bits().into(),
        usage: blob.usage.into(),
        told: types.map_or(0, |types| types.told.to_wire()).into(),
        flags: flags.bits().into(),
        ..state::Memory::new_zeroed()
    };
    if let Some(image) = blob.image {
        memory.width = image.width.into();
        memory.height = image.height.into();
        memory.fourcc = image.fourcc.into();
        memory.layout = ImageLayout { ..image.layout };
    }
    memory
}

/// The way to the bytes of a blob: by the processor where others can map it, else by the GPU.
fn bytes<G: Gpu>(gpu: &Arc<G>, blob: &Arc<Blob<G>>) -> Option<Box<dyn Bytes>> {
    let mapped = blob
        .record
        .as_ref()
        .filter(|record| record.told().is_some());
    if let Some(record) = mapped {
        return Some(Box::new(Mapped {
            record: Arc::clone(record),
            blob: Arc::clone(blob),
            bracket: None,
        }));
    }
    blob.is_bytes().then(|| {
        Box::new(Staged {
            gpu: Arc::clone(gpu),
            blob: Arc::clone(blob),
            staging: None,
        }) as _
    })
}

/// Bytes that are copied by the processor.
struct Mapped<G: Gpu> {
    record: Arc<BlobRecord>,
    blob: Arc<Blob<G>>,
    bracket: Option<Bracket>,
}

impl<G: Gpu> Bytes for Mapped<G> {
    fn size(&self) -> u64 {
        self.blob.size
    }

    fn is_new_zeroed(&self) -> bool {
        self.record.backing().kind() != BackingKind::DmaBuf
    }

    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        if offset >= self.size() {
            return None;
        }
        let backing = self.record.backing();
        if backing.kind() == BackingKind::DmaBuf {
            return Some(offset..self.size());
        }
        let base = backing.data_offset();
        let file = backing.as_fd();
        let start = match seek(file, SeekFrom::Data(base + offset)) {
            Ok(start) => start.saturating_sub(base).max(offset),
            Err(rustix::io::Errno::NXIO) => return None,
            Err(_) => return Some(offset..self.size()),
        };
        let end = seek(file, SeekFrom::Hole(base + start));
        let end = end.map_or(self.size(), |end| end.saturating_sub(base));
        let end = end.min(self.size());
        (start < end).then_some(start..end)
    }

    fn begin(&mut self, access: Access, patience: &Patience<'_>) -> Result<(), AccessError> {
        let all = 0..self.size();
        let begun = self.record.begin(Holder::Daemon, access, all, patience)?;
        self.bracket = Some(begun);
        Ok(())
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        self.blob.memory.inner.read(offset, into)
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        self.blob.memory.inner.write(offset, from)
    }

    fn end(&mut self, patience: &Patience<'_>) -> Result<(), AccessError> {
        match self.bracket.take() {
            Some(bracket) => self.record.end(bracket, patience),
            None => Ok(()),
        }
    }
}

impl<G: Gpu> Drop for Mapped<G> {
    fn drop(&mut self) {
        let _ = self.end(&Patience::until(Instant::now() + LONGEST_COPY));
    }
}

/// Bytes that are copied by the GPU.
struct Staged<G: Gpu> {
    gpu: Arc<G>,
    blob: Arc<Blob<G>>,
    staging: Option<G::Memory>,
}

impl<G: Gpu> Staged<G> {
    /// The part of so many bytes at `offset` that the memory has, whose end may lie within the
    /// last page.
    fn inside(&self, offset: u64, len: usize) -> usize {
        let left = self.blob.memory.inner.size().saturating_sub(offset);
        len.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn staging(&self) -> Result<&G::Memory, AccessError> {
        let missing = || AccessError::Driver("no access has begun".to_owned());
        self.staging.as_ref().ok_or_else(missing)
    }

    /// Has the GPU copy `len` bytes at `offset` to the staging memory, or back.
    fn copy(&self, offset: u64, len: u64, access: Access) -> Result<(), AccessError> {
        let staging = self.staging()?;
        let memory = &self.blob.memory.inner;
        let patience = Patience::until(Instant::now() + LONGEST_COPY);
        loop {
            let begun = match access.contains(Access::WRITE) {
                true => self.gpu.copy((staging, 0), (memory, offset), len),
                false => self.gpu.copy((memory, offset), (staging, 0), len),
            };
            match begun {
                Ok(work) => return finish(&work, &patience),
                Err(TransferFailure::Busy) => {
                    std::thread::sleep(patience.slice()?.min(A_MOMENT));
                }
                Err(TransferFailure::Status(Status::DeviceLost)) => {
                    return Err(AccessError::DeviceLost);
                }
                Err(TransferFailure::Status(status)) => {
                    return Err(AccessError::Driver(status.to_string()));
                }
            }
        }
    }
}

impl<G: Gpu> Bytes for Staged<G> {
    fn size(&self) -> u64 {
        self.blob.size
    }

    fn is_new_zeroed(&self) -> bool {
        false
    }

    fn begin(&mut self, access: Access, patience: &Patience<'_>) -> Result<(), AccessError> {
        self.blob.memory.wait(access, patience)?;
        let allocated = self.gpu.allocate(&AllocationRequest {
            name: "staging",
            size: STAGING,
            required: MemoryProperties::HOST_VISIBLE,
            preferred: MemoryProperties::HOST_CACHED,
            ..AllocationRequest::default()
        });
        let failed = |status: Status| AccessError::Driver(status.to_string());
        self.staging = Some(allocated.map_err(failed)?);
        Ok(())
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let inside = self.inside(offset, into.len());
        let (inside, behind) = into.split_at_mut(inside);
        behind.fill(0);
        let len = u64::try_from(inside.len()).unwrap_or(u64::MAX);
        if len == 0 {
            return Ok(());
        }
        self.copy(offset, len, Access::READ)?;
        let staging = self.staging()?;
        if staging.atom().is_some() {
            staging.invalidate(0..STAGING)?;
        }
        staging.read(0, inside)
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        let inside = from.get(..self.inside(offset, from.len()));
        let inside = inside.unwrap_or_default();
        let len = u64::try_from(inside.len()).unwrap_or(u64::MAX);
        if len == 0 {
            return Ok(());
        }
        let staging = self.staging()?;
        staging.write(0, inside)?;
        if staging.atom().is_some() {
            staging.flush(0..STAGING)?;
        }
        self.copy(offset, len, Access::WRITE)
    }

    fn end(&mut self, _: &Patience<'_>) -> Result<(), AccessError> {
        self.staging = None;
        Ok(())
    }
}
