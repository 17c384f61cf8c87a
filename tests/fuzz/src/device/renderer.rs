//! The test's renderer, during whose work the VMM goes on.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use coherd::coherence::BlobRecord;
use coherd::renderer::{BlobRequest, Capset, Export, Renderer, RendererError, Scope};

use super::outside::Outside;

/// See the module's description.
pub struct Interrupted {
    pub inner: Box<dyn Renderer>,
    pub outside: Arc<Outside>,
}

/// The code of `Operation::Hold`, which would wait for another thread.
const HOLD: [u8; 4] = 3u32.to_le_bytes();

impl Renderer for Interrupted {
    fn capsets(&self) -> &[Capset] {
        self.inner.capsets()
    }

    fn create_context(
        &mut self,
        ctx_id: u32,
        capset_id: u32,
        name: &str,
    ) -> Result<(), RendererError> {
        self.outside.interfere();
        self.inner.create_context(ctx_id, capset_id, name)
    }

    fn destroy_context(&mut self, ctx_id: u32) {
        self.inner.destroy_context(ctx_id);
    }

    fn create_blob(&mut self, blob: &BlobRequest) -> Result<Option<Export>, RendererError> {
        self.outside.interfere();
        self.inner.create_blob(blob)
    }

    fn destroy_resource(&mut self, resource_id: u32) {
        self.inner.destroy_resource(resource_id);
    }

    fn attach(
        &mut self,
        ctx_id: u32,
        resource_id: u32,
        blob: Option<&BlobRecord>,
    ) -> Result<(), RendererError> {
        self.inner.attach(ctx_id, resource_id, blob)
    }

    fn detach(&mut self, ctx_id: u32, resource_id: u32) {
        self.inner.detach(ctx_id, resource_id);
    }

    fn submit(
        &mut self,
        ctx_id: u32,
        commands: &mut [u8],
        scope: &mut dyn Scope,
    ) -> Result<(), RendererError> {
        self.outside.interfere();
        if commands.chunks(16).any(|words| words.starts_with(&HOLD)) {
            return Ok(());
        }
        self.inner.submit(ctx_id, commands, scope)
    }

    fn create_fence(
        &mut self,
        ctx_id: u32,
        ring_idx: u8,
        fence_id: u64,
    ) -> Result<(), RendererError> {
        self.outside.interfere();
        self.inner.create_fence(ctx_id, ring_idx, fence_id)
    }

    fn losses(&self) -> Vec<BorrowedFd<'_>> {
        self.inner.losses()
    }

    fn lost_contexts(&mut self) -> Vec<u32> {
        self.inner.lost_contexts()
    }
}
