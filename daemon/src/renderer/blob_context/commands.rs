//! The commands of a stream, one function each.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use coherd_blob::{Access, MemoryProperties};
use coherd_protocol::blob_context::command::{
    Allocate, BufferUsage, Copy, Fill, Image, ImageUsage, Query, Release, SetReplyBuffer, Sync,
    SyncFlags,
};
use coherd_protocol::blob_context::limits::{DEFAULT_SYNC_TIMEOUT_MS, MAX_SYNC_TIMEOUT_MS};
use coherd_protocol::blob_context::{Command, Request, Status};
use coherd_vulkan::image::ImageRequest;
use coherd_vulkan::memory::AllocationRequest;
use tracing::debug;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::blob::Blob;
use super::context::Context;
use super::gpu::Gpu;
use super::host::{Host, Want};
use super::job::{Interval, Job, Start, Transfer};
use super::reply::{Reply, ReplyBuffer};
use crate::coherence::ImageInfo;
use crate::device::quota::Quota;
use crate::renderer::Scope;

/// What a command may use.
pub struct Call<'a, G: Gpu> {
    /// The GPU and what is known of it.
    pub host: &'a Host<G>,
    /// Whose command it is.
    pub context: &'a mut Context<G>,
    /// What the context can reach of the device.
    pub scope: &'a mut dyn Scope,
}

impl<G: Gpu> Call<'_, G> {
    /// Executes a command, or has the context's thread do so.
    pub fn execute(&mut self, request: &Request<'_>) {
        let offset = request.reply_offset();
        let sequence = request.head.sequence.get();
        let reply = Reply::new(sequence, self.context.replies.as_ref(), offset);
        let command = Command::decode(request.head.opcode.get(), request.body);
        match command {
            Err(status) => reply.give(Err(status)),
            Ok(Command::Nop) => reply.give(Ok(())),
            Ok(Command::SetReplyBuffer(command)) => {
                let set = self.set_reply_buffer(command);
                // It goes to the new buffer, if there is one.
                match (&self.context.replies, set) {
                    (Some(buffer), Ok(())) => reply.in_buffer(buffer, offset).give(Ok(())),
                    (_, set) => reply.give(set),
                }
            }
            Ok(Command::Allocate(command)) => reply.give_with(self.allocate(command)),
            Ok(Command::Image(command, modifiers)) => {
                reply.give_with(self.image(command, modifiers));
            }
            Ok(Command::Release(command)) => reply.give(self.release(command)),
            Ok(Command::Query(command)) => reply.give_with(self.query(command)),
            Ok(Command::Copy(command)) => {
                let job = self.copy(command, &reply);
                self.defer(job, &reply);
            }
            Ok(Command::Fill(command)) => {
                let job = self.fill(command, &reply);
                self.defer(job, &reply);
            }
            Ok(Command::Sync(command)) => {
                let job = self.sync(command, &reply);
                self.defer(job, &reply);
            }
        }
    }

    /// SET_REPLY_BUFFER
    fn set_reply_buffer(&mut self, command: &SetReplyBuffer) -> Result<(), Status> {
        let id = command.resource_id.get();
        if id == 0 {
            self.context.replies = None;
            return Ok(());
        }
        let memory = self.scope.guest_memory(id).ok_or(Status::UnknownResource)?;
        let (offset, size) = (command.offset.get(), command.size.get());
        let end = offset.checked_add(size).ok_or(Status::Invalid)?;
        if end > memory.len() || !offset.is_multiple_of(8) {
            return Err(Status::Invalid);
        }
        self.context.replies = Some(ReplyBuffer {
            lease: self.context.lease(id, memory),
            offset,
            size,
        });
        Ok(())
    }

    /// ALLOCATE
    fn allocate(&mut self, command: &Allocate) -> Result<Vec<u8>, Status> {
        let blob_id = self.new_blob_id(command.blob_id)?;
        let usage = BufferUsage::from_bits(command.usage.get()).ok_or(Status::Invalid)?;
        let required = properties(command.required.get())?;
        let preferred = properties(command.preferred.get())?;
        if command.flags.get() != 0 || command.size.get() == 0 {
            return Err(Status::Invalid);
        }
        let size = self.host.whole_pages(command.size.get());
        let size = size.ok_or(Status::NoMemoryType)?;
        self.reserve(size)?;
        let want = Want {
            required,
            usage: usage.bits(),
        };
        let allocated = self.host.share(want, |required| {
            let memory = self.host.gpu.allocate(&AllocationRequest {
                name: "blob",
                size,
                required,
                preferred,
                usage,
                ..AllocationRequest::default()
            })?;
            Ok((memory, None))
        });
        match allocated {
            Ok(blob) => {
                let memory = blob.describe();
                self.context.objects.insert(blob_id, Arc::new(blob));
                Ok(memory.as_bytes().to_vec())
            }
            Err(status) => {
                self.scope.release(size);
                Err(status)
            }
        }
    }

    /// IMAGE
    fn image(&mut self, command: &Image, modifiers: &[U64]) -> Result<Vec<u8>, Status> {
        let blob_id = self.new_blob_id(command.blob_id)?;
        let usage = ImageUsage::from_bits(command.usage.get()).ok_or(Status::Invalid)?;
        let required = properties(command.required.get())?;
        let preferred = properties(command.preferred.get())?;
        let (width, height) = (command.width.get(), command.height.get());
        let sides = 1..=self.host.max_image_dimension();
        if command.flags.get() != 0 || !sides.contains(&width) || !sides.contains(&height) {
            return Err(Status::Invalid);
        }
        let modifiers: Vec<u64> = modifiers.iter().map(|modifier| modifier.get()).collect();
        let want = Want {
            required,
            usage: usage.bits(),
        };
        let blob = self.host.share(want, |required| {
            let (memory, layout) = self.host.gpu.create_image(&ImageRequest {
                name: "image",
                width,
                height,
                fourcc: command.fourcc.get(),
                modifiers: &modifiers,
                required,
                preferred,
                usage,
                ..ImageRequest::default()
            })?;
            let image = ImageInfo {
                fourcc: command.fourcc.get(),
                width,
                height,
                layout,
            };
            Ok((memory, Some(image)))
        })?;
        // Nobody but the driver knows the size before.
        self.reserve(blob.size)?;
        let layout = blob.image.map(|image| image.layout);
        let reply = [blob.describe().as_bytes(), layout.as_slice().as_bytes()].concat();
        self.context.objects.insert(blob_id, Arc::new(blob));
        Ok(reply)
    }

    /// RELEASE
    fn release(&mut self, command: &Release) -> Result<(), Status> {
        let object = self.context.objects.remove(&command.blob_id.get());
        self.scope
            .release(object.ok_or(Status::UnknownObject)?.size);
        Ok(())
    }

    /// QUERY
    fn query(&self, command: &Query) -> Result<Vec<u8>, Status> {
        let blob = self.attached(command.resource_id.get())?;
        Ok([blob.describe().as_bytes(), blob.ledger().as_bytes()].concat())
    }

    /// COPY
    fn copy(&self, command: &Copy, reply: &Reply) -> Result<Job<G>, Status> {
        let source = self.attached(command.source.get())?;
        let destination = self.attached(command.destination.get())?;
        let size = command.size.get();
        let from = part(source, command.source_offset.get(), size)?;
        let to = part(destination, command.destination_offset.get(), size)?;
        if Arc::ptr_eq(source, destination) && from.start < to.end && to.start < from.end {
            return Err(Status::Invalid);
        }
        if !source.is_bytes() || !destination.is_bytes() {
            return Err(Status::Unsupported);
        }
        Ok(Job::Transfer(Transfer {
            source: Some((Arc::clone(source), from.start)),
            destination: Arc::clone(destination),
            range: to,
            word: 0,
            reply: reply.clone(),
        }))
    }

    /// FILL
    fn fill(&self, command: &Fill, reply: &Reply) -> Result<Job<G>, Status> {
        let destination = self.attached(command.resource_id.get())?;
        let (offset, size) = (command.offset.get(), command.size.get());
        let range = part(destination, offset, size)?;
        if !offset.is_multiple_of(4) || !size.is_multiple_of(4) {
            return Err(Status::Invalid);
        }
        if !destination.is_bytes() {
            return Err(Status::Unsupported);
        }
        Ok(Job::Transfer(Transfer {
            source: None,
            destination: Arc::clone(destination),
            range,
            word: command.value.get(),
            reply: reply.clone(),
        }))
    }

    /// SYNC
    fn sync(&mut self, command: &Sync, reply: &Reply) -> Result<Job<G>, Status> {
        let id = command.resource_id.get();
        let blob = self.attached(id)?;
        let flags = SyncFlags::from_bits(command.flags.get()).ok_or(Status::Invalid)?;
        let access = Access::from_bits_truncate(flags.bits());
        let timeout = match command.timeout_ms.get() {
            0 => DEFAULT_SYNC_TIMEOUT_MS,
            timeout if timeout <= MAX_SYNC_TIMEOUT_MS => timeout,
            _ => return Err(Status::Invalid),
        };
        let offset = command.offset.get();
        let size = match command.size.get() {
            0 => blob.size.checked_sub(offset).ok_or(Status::Invalid)?,
            size => size,
        };
        let range = part(blob, offset, size)?;
        if access.is_empty() {
            return Err(Status::Invalid);
        }
        // Memory that nobody can map has no accesses.
        let record = blob
            .record
            .as_ref()
            .filter(|record| record.told().is_some());
        let record = Arc::clone(record.ok_or(Status::Unsupported)?);
        let interval = Interval {
            resource_id: id,
            range,
        };
        if flags.contains(SyncFlags::END) {
            return Ok(Job::End(access, interval, reply.clone()));
        }
        let (vm, context) = self.context.accesses.counts();
        let admitted = self.scope.admit(Quota::Brackets, vm, context);
        admitted.map_err(|_| Status::OverQuota)?;
        self.context.note_access(id);
        Ok(Job::Start(Start {
            record,
            access,
            interval,
            timeout: Duration::from_millis(timeout.into()),
            slot: self.context.accesses.take(),
            reply: reply.clone(),
        }))
    }

    /// Has the context's thread carry out a command, or say why not when it is its turn.
    fn defer(&mut self, job: Result<Job<G>, Status>, reply: &Reply) {
        let job = match job {
            Ok(job) => job,
            Err(status) if self.context.queue.is_idle() => return reply.give(Err(status)),
            Err(status) => Job::Answer(reply.clone(), status),
        };
        let (vm, context) = self.context.queue.counts();
        if self.scope.admit(Quota::Jobs, vm, context).is_err() {
            return reply.give(Err(Status::OverQuota));
        }
        if let Err(error) = self.context.queue.put(job) {
            debug!(%error, "no thread for a context");
            reply.give(Err(Status::OutOfHostMemory));
        }
    }

    fn attached(&self, resource_id: u32) -> Result<&Arc<Blob<G>>, Status> {
        self.context
            .attached
            .get(&resource_id)
            .ok_or(Status::UnknownResource)
    }

    fn new_blob_id(&self, blob_id: U64) -> Result<u64, Status> {
        Some(blob_id.get())
            .filter(|id| *id != 0 && !self.context.objects.contains_key(id))
            .ok_or(Status::ObjectInUse)
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), Status> {
        self.scope.reserve(bytes).map_err(|_| Status::OverQuota)
    }
}

fn properties(bits: u32) -> Result<MemoryProperties, Status> {
    MemoryProperties::from_bits(bits).ok_or(Status::Invalid)
}

/// A part of a blob that is not empty.
fn part<G: Gpu>(blob: &Blob<G>, offset: u64, size: u64) -> Result<Range<u64>, Status> {
    offset
        .checked_add(size)
        .filter(|end| size > 0 && *end <= blob.size)
        .map(|end| offset..end)
        .ok_or(Status::Invalid)
}
