//! A device that has nothing but blob contexts, and what must hold for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use coherd::device::quota::Quota;
use coherd::mapping_type::{MappingTypes, Policies};
use coherd::memory::{GuestMemory, GuestRanges};
use coherd::renderer::blob_context::BlobContexts;
use coherd::renderer::{BlobRequest, Export, FenceSink, Renderer, RendererError, Scope};
use coherd_blob::MismatchPolicy;
use coherd_protocol::blob_context::{CAPSET_BLOB, Status};
use coherd_protocol::gpu::GpuError;
use coherd_protocol::gpu::wire::MemEntry;
use coherd_tests::blob_gpu::MemoryGpu;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::stream::stream;

const CONTEXTS: u32 = 3;
/// Host blobs have ids from here on; below are the blobs of guest memory.
const FIRST_BLOB: u32 = 8;
const LAST_BLOB: u32 = 16;
const PAGE: u64 = 4096;
/// Guest memory that nobody may write to has this in it.
const UNTOUCHED: u8 = 0xaa;
/// Bytes that a context may have in objects.
const RESERVE: u64 = 1 << 20;

const FAULTS: [Status; 3] = [
    Status::OutOfHostMemory,
    Status::OutOfDeviceMemory,
    Status::DeviceLost,
];

/// See the module's description.
pub struct Device {
    gpu: MemoryGpu,
    renderer: BlobContexts<MemoryGpu>,
    fences: FenceSink,
    fence: u64,
    memory: GuestMemory,
    /// Guest memory of resources 1 to 3, a page each, of two ranges.
    lent: HashMap<u32, Arc<GuestRanges>>,
    contexts: HashMap<u32, Context>,
    blobs: HashSet<u32>,
}

#[derive(Default)]
struct Context {
    attached: HashSet<u32>,
    objects: u64,
    reserved: u64,
}

struct FuzzScope<'a> {
    lent: &'a HashMap<u32, Arc<GuestRanges>>,
    context: &'a mut Context,
}

impl Scope for FuzzScope<'_> {
    fn guest_memory(&self, resource_id: u32) -> Option<Arc<GuestRanges>> {
        let attached = self.context.attached.contains(&resource_id);
        attached.then(|| self.lent.get(&resource_id).cloned())?
    }

    fn reserve(&mut self, bytes: u64) -> std::result::Result<(), GpuError> {
        if self.context.reserved.saturating_add(bytes) > RESERVE {
            return Err(GpuError::Quota("blob-bytes"));
        }
        self.context.reserved += bytes;
        self.context.objects += 1;
        Ok(())
    }

    fn release(&mut self, bytes: u64) {
        self.context.release(bytes);
    }

    fn admit(&mut self, _: Quota, _: usize, context: usize) -> std::result::Result<(), GpuError> {
        match context < 32 {
            true => Ok(()),
            false => Err(GpuError::Quota("jobs")),
        }
    }
}

impl Context {
    fn release(&mut self, bytes: u64) {
        assert!(self.objects > 0 && self.reserved >= bytes, "released twice");
        self.objects -= 1;
        self.reserved -= bytes;
        assert!(
            self.objects > 0 || self.reserved == 0,
            "bytes without an object"
        );
    }
}

impl Device {
    pub fn new() -> Self {
        let gpu = MemoryGpu::new();
        let fences = FenceSink::new().expect("an eventfd");
        let types = MappingTypes::default();
        types.set_policies(Policies::all(MismatchPolicy::Warn));
        let renderer = BlobContexts::new(Arc::new(gpu.clone()), Arc::new(types), fences.clone());
        let size = usize::try_from(16 * PAGE).expect("a small number");
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)]).expect("memory");
        memory
            .write_slice(&vec![UNTOUCHED; size], GuestAddress(0))
            .expect("memory");
        let memory: GuestMemory = Arc::new(memory);
        let lent = (1..=3u32).map(|id| {
            let entry = |address: u64, length: u32| MemEntry {
                addr: address.into(),
                length: length.into(),
                padding: 0.into(),
            };
            let start = u64::from(id) * 4 * PAGE;
            let entries = [entry(start, 1000), entry(start + PAGE, 3096)];
            let ranges = GuestRanges::resolve(&memory, &entries).expect("memory");
            (id, Arc::new(ranges))
        });
        Self {
            lent: lent.collect(),
            gpu,
            renderer: renderer.without_threads(),
            fences,
            fence: 0,
            memory,
            contexts: HashMap::new(),
            blobs: HashSet::new(),
        }
    }

    pub fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let ctx_id = u.int_in_range(1..=CONTEXTS)?;
        if !self.contexts.contains_key(&ctx_id) {
            let created = self.renderer.create_context(ctx_id, CAPSET_BLOB, "fuzz");
            created.expect("a context");
            self.contexts.insert(ctx_id, Context::default());
        }
        match u.int_in_range(0..=15u8)? {
            0..=6 => self.submit(ctx_id, &mut stream(u)?),
            7 | 8 => self.create_blob(u, ctx_id)?,
            9 | 10 => self.attach(u, ctx_id)?,
            11 => self.detach(u, ctx_id)?,
            12 => self.destroy_blob(u)?,
            13 => self.fence(ctx_id),
            14 => self
                .gpu
                .fail_after(u.int_in_range(0..=10)?, *u.choose(&FAULTS)?),
            _ => self.destroy_context(ctx_id),
        }
        Ok(())
    }

    /// Ends everything, after which nothing must be left.
    pub fn finish(mut self) {
        for ctx_id in 1..=CONTEXTS {
            if self.contexts.contains_key(&ctx_id) {
                self.destroy_context(ctx_id);
            }
        }
        for id in std::mem::take(&mut self.blobs) {
            self.renderer.destroy_resource(id);
        }
        assert_eq!(self.gpu.blobs(), 0, "memory is left");
        self.check_guest_memory();
    }

    fn submit(&mut self, ctx_id: u32, commands: &mut [u8]) {
        if commands.is_empty() {
            return;
        }
        let Some(context) = self.contexts.get_mut(&ctx_id) else {
            return;
        };
        let mut scope = FuzzScope {
            lent: &self.lent,
            context,
        };
        match self.renderer.submit(ctx_id, commands, &mut scope) {
            Ok(()) | Err(RendererError::Invalid { .. }) => {}
            Err(error) => panic!("context is lost: {error}"),
        }
    }

    fn create_blob(&mut self, u: &mut Unstructured<'_>, ctx_id: u32) -> Result<()> {
        let resource_id = u.int_in_range(FIRST_BLOB..=LAST_BLOB)?;
        let request = BlobRequest {
            ctx_id,
            resource_id,
            blob_mem: if u.ratio(1, 16)? { 3 } else { 2 },
            blob_flags: 1,
            blob_id: u.int_in_range(0..=5)?,
            size: PAGE * u.int_in_range(0..=4)?,
        };
        if self.blobs.contains(&resource_id) {
            return Ok(());
        }
        let reserved = self.renderer.reserved(&request);
        let created = self.renderer.create_blob(&request);
        assert_eq!(created.is_ok(), reserved.is_some(), "{created:?}");
        let (Ok(export), Some(reserved)) = (created, reserved) else {
            return Ok(());
        };
        assert_eq!(reserved, request.size);
        if let Some(Export::Record(record)) = &export {
            assert_eq!(record.backing().size(), request.size);
        }
        if let Some(context) = self.contexts.get_mut(&ctx_id) {
            context.release(reserved);
        }
        self.blobs.insert(resource_id);
        Ok(())
    }

    fn attach(&mut self, u: &mut Unstructured<'_>, ctx_id: u32) -> Result<()> {
        let id = u.int_in_range(1..=LAST_BLOB)?;
        let known = self.lent.contains_key(&id) || self.blobs.contains(&id);
        if let Some(context) = self.contexts.get_mut(&ctx_id)
            && known
            && context.attached.insert(id)
            && self.blobs.contains(&id)
        {
            let attached = self.renderer.attach(ctx_id, id, None);
            attached.expect("its own blob");
        }
        Ok(())
    }

    fn detach(&mut self, u: &mut Unstructured<'_>, ctx_id: u32) -> Result<()> {
        let id = u.int_in_range(1..=LAST_BLOB)?;
        if let Some(context) = self.contexts.get_mut(&ctx_id)
            && context.attached.remove(&id)
        {
            match self.blobs.contains(&id) {
                true => self.renderer.detach(ctx_id, id),
                false => self.renderer.revoke(ctx_id, id),
            }
        }
        Ok(())
    }

    fn destroy_blob(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let id = u.int_in_range(FIRST_BLOB..=LAST_BLOB)?;
        if self.blobs.remove(&id) {
            for (ctx_id, context) in &mut self.contexts {
                if context.attached.remove(&id) {
                    self.renderer.detach(*ctx_id, id);
                }
            }
            self.renderer.destroy_resource(id);
        }
        Ok(())
    }

    fn fence(&mut self, ctx_id: u32) {
        self.fence += 1;
        let asked = self.renderer.create_fence(ctx_id, 0, self.fence);
        asked.expect("a fence");
        let signalled = self.fences.take();
        assert_eq!(signalled.last().map(|fence| fence.id), Some(self.fence));
    }

    fn destroy_context(&mut self, ctx_id: u32) {
        self.renderer.destroy_context(ctx_id);
        self.contexts.remove(&ctx_id);
    }

    /// Replies go to what was lent, and nowhere beside it.
    fn check_guest_memory(&self) {
        let size = usize::try_from(16 * PAGE).expect("a small number");
        let mut bytes = vec![0; size];
        self.memory
            .read_slice(&mut bytes, GuestAddress(0))
            .expect("memory");
        for (address, byte) in (0u64..).zip(bytes) {
            let (page, within) = (address / PAGE, address % PAGE);
            let lent = page >= 4
                && match page % 4 {
                    0 => within < 1000,
                    1 => within < 3096,
                    _ => false,
                };
            assert!(lent || byte == UNTOUCHED, "byte {address:#x} is written");
        }
    }
}
