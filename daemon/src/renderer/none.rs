//! The renderer of a device without 3D.

use super::{BlobRequest, Capset, Export, Renderer, RendererError, Scope};
use crate::coherence::BlobRecord;

/// Has no capsets, hence no contexts.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRenderer;

impl Renderer for NoRenderer {
    fn capsets(&self) -> &[Capset] {
        &[]
    }

    fn create_context(&mut self, _: u32, _: u32, _: &str) -> Result<(), RendererError> {
        Err(RendererError::Unsupported("3D"))
    }

    fn destroy_context(&mut self, _: u32) {}

    fn create_blob(&mut self, _: &BlobRequest) -> Result<Option<Export>, RendererError> {
        Err(RendererError::Unsupported("3D"))
    }

    fn destroy_resource(&mut self, _: u32) {}

    fn attach(&mut self, _: u32, _: u32, _: Option<&BlobRecord>) -> Result<(), RendererError> {
        Err(RendererError::Unsupported("3D"))
    }

    fn detach(&mut self, _: u32, _: u32) {}

    fn submit(&mut self, _: u32, _: &mut [u8], _: &mut dyn Scope) -> Result<(), RendererError> {
        Err(RendererError::Unsupported("3D"))
    }

    fn create_fence(&mut self, _: u32, _: u8, _: u64) -> Result<(), RendererError> {
        Err(RendererError::Unsupported("3D"))
    }
}
