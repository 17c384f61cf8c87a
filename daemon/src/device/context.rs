//! Contexts: CTX_CREATE, CTX_DESTROY, CTX_ATTACH_RESOURCE, CTX_DETACH_RESOURCE and SUBMIT_3D.

use std::fmt;

use coherd_protocol::gpu::capset::CONTEXT_INIT_CAPSET_ID_MASK;
use coherd_protocol::gpu::wire::CtxCreate;
use coherd_protocol::gpu::{Features, GpuError, Response};

use super::{Device, MAX_CONTEXTS, Refusal, Result};

/// What a context does with commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Nothing: it has no capset. Linux makes one for its framebuffer console.
    Inert,
    /// The renderer carries them out.
    Rendered,
    /// The renderer lost it and has nothing of it left. It takes no commands and waits to be
    /// destroyed.
    Lost,
}

impl Device {
    /// CTX_CREATE
    pub(super) fn ctx_create(&mut self, id: u32, request: &CtxCreate) -> Result {
        if id == 0 || self.contexts.contains_key(&id) {
            return Err(GpuError::ContextIdInUse(id).into());
        }
        if self.contexts.len() >= MAX_CONTEXTS {
            return Err(GpuError::OutOf("contexts").into());
        }
        let init = request.context_init.get();
        if init != 0 {
            self.require(Features::CONTEXT_INIT, "CONTEXT_INIT")?;
        }
        let len = usize::try_from(request.nlen.get()).unwrap_or(usize::MAX);
        let name = request
            .debug_name
            .get(..len)
            .ok_or(GpuError::BadField("length of the name"))?;
        let capset_id = init & CONTEXT_INIT_CAPSET_ID_MASK;
        let context = if capset_id == 0 {
            Context::Inert
        } else {
            if !self
                .renderer
                .capsets()
                .iter()
                .any(|capset| capset.id == capset_id)
            {
                return Err(GpuError::BadField("capset id").into());
            }
            let name = printable(name);
            self.renderer
                .create_context(id, capset_id, &name)
                .map_err(|error| {
                    self.report(&format_args!("context {id} ({name}): {error}"));
                    GpuError::Renderer
                })?;
            Context::Rendered
        };
        self.contexts.insert(id, context);
        Ok(Response::OkNoData)
    }

    /// CTX_DESTROY
    pub(super) fn ctx_destroy(&mut self, id: u32) -> Result {
        let context = self
            .contexts
            .remove(&id)
            .ok_or(GpuError::UnknownContext(id))?;
        if context == Context::Rendered {
            self.renderer.destroy_context(id);
        }
        self.cut_off(id);
        Ok(Response::OkNoData)
    }

    /// CTX_ATTACH_RESOURCE
    pub(super) fn ctx_attach_resource(&mut self, ctx_id: u32, id: u32) -> Result {
        let context = self.context(ctx_id)?;
        let resource = self.resource_mut(id)?;
        if !resource.contexts.contains(&ctx_id) {
            resource.contexts.push(ctx_id);
            if context == Context::Rendered && resource.is_rendered() {
                self.renderer.attach(ctx_id, id);
            }
        }
        Ok(Response::OkNoData)
    }

    /// CTX_DETACH_RESOURCE
    pub(super) fn ctx_detach_resource(&mut self, ctx_id: u32, id: u32) -> Result {
        let context = self.context(ctx_id)?;
        let resource = self.resource_mut(id)?;
        if let Some(index) = resource
            .contexts
            .iter()
            .position(|attached| *attached == ctx_id)
        {
            resource.contexts.swap_remove(index);
            if context == Context::Rendered && resource.is_rendered() {
                self.renderer.detach(ctx_id, id);
            }
        }
        Ok(Response::OkNoData)
    }

    /// SUBMIT_3D. An empty one only carries a fence.
    pub(super) fn submit_3d(&mut self, ctx_id: u32, commands: &[u8]) -> Result {
        match self.context(ctx_id)? {
            Context::Lost => return Err(GpuError::ContextLost(ctx_id).into()),
            _ if commands.is_empty() => return Ok(Response::OkNoData),
            Context::Inert => return Err(GpuError::Unsupported("a context with a capset").into()),
            Context::Rendered => {}
        }
        if !commands.len().is_multiple_of(4) {
            return Err(GpuError::BadField("size of the command stream").into());
        }
        // The renderer may write to its commands, so they move out of the request.
        self.commands.clear();
        self.commands.extend_from_slice(commands);
        if let Err(error) = self.renderer.submit(ctx_id, &mut self.commands) {
            self.lose(ctx_id, &error);
            return Err(GpuError::ContextLost(ctx_id).into());
        }
        Ok(Response::OkNoData)
    }

    /// Follows the renderer, which lost contexts that nothing may have been asked of.
    pub fn follow_losses(&mut self) {
        for id in self.renderer.lost_contexts() {
            self.lose(id, &"its worker died");
        }
    }

    /// Gives up a context. What the renderer has of it goes at once: a guest may keep a lost
    /// context for ever.
    fn lose(&mut self, id: u32, reason: &dyn fmt::Display) {
        self.report(&format_args!("context {id} is lost: {reason}"));
        self.renderer.destroy_context(id);
        self.contexts.insert(id, Context::Lost);
        self.cut_off(id);
    }

    /// Parts a context from its resources and releases its fences: nobody would signal them.
    fn cut_off(&mut self, id: u32) {
        for resource in self.resources.values_mut() {
            resource.contexts.retain(|ctx_id| *ctx_id != id);
        }
        self.fences.abandon_context(id, &mut self.released);
    }

    pub(super) fn context(&self, id: u32) -> std::result::Result<Context, Refusal> {
        self.contexts
            .get(&id)
            .copied()
            .ok_or(GpuError::UnknownContext(id).into())
    }

    pub(super) fn destroy_all_contexts(&mut self) {
        for (id, context) in self.contexts.drain() {
            if context == Context::Rendered {
                self.renderer.destroy_context(id);
            }
        }
    }
}

/// The name as it may appear in a log and in a C string.
fn printable(name: &[u8]) -> String {
    let end = name
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(name.len());
    let name = name.get(..end).unwrap_or_default();
    let shown = |byte: &u8| {
        if byte.is_ascii_graphic() {
            char::from(*byte)
        } else {
            '_'
        }
    };
    name.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_nul_and_made_printable() {
        assert_eq!(printable(b"vkcube\0junk"), "vkcube");
        assert_eq!(printable(b"a b\x1b[31m\xff"), "a_b_[31m_");
    }
}
