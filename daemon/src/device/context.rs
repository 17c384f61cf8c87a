//! Contexts: CTX_CREATE, CTX_DESTROY, CTX_ATTACH_RESOURCE, CTX_DETACH_RESOURCE and SUBMIT_3D.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};

use coherd_protocol::gpu::capset::CONTEXT_INIT_CAPSET_ID_MASK;
use coherd_protocol::gpu::wire::CtxCreate;
use coherd_protocol::gpu::{Features, GpuError, Response};
use thiserror::Error;

use super::account::Account;
use super::hang::{HangAction, HangPolicy};
use super::lent::Lent;
use super::quota::Quota;
use super::{Device, Refusal, Result};
use crate::heap;
use crate::renderer::RendererError;

/// What a context does with commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: it has no capset. Linux makes one for its framebuffer console.
    Inert,
    /// The renderer carries them out.
    Rendered,
    /// The renderer lost it and has nothing of it left. It takes no commands and waits to be
    /// destroyed.
    Lost,
}

/// A context.
#[derive(Debug)]
pub struct Context {
    /// What it does with commands.
    pub state: State,
    /// The guest's name for it, printable.
    pub name: String,
    /// The capset it is of, or 0.
    pub capset: u32,
    /// Tells it from earlier contexts with its id.
    pub(super) serial: u64,
    /// Resources it may use.
    pub resources: HashSet<u32>,
    /// What it has, to be held against its quotas.
    pub account: Account,
    /// Its objects that no resource was made from, which are in the accounts too.
    pub reserved: Reserved,
}

/// A context that hangs, for which the device is to end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("context {id} ({name}) hangs, and --on-hang is kill-vm")]
pub struct Hang {
    /// Its id.
    pub id: u32,
    /// The guest's name for it.
    pub name: String,
}

/// Objects that no resource was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// How many there are.
    pub objects: u64,
    /// Bytes of all together.
    pub bytes: u64,
}

/// The context that something is charged to. It may be gone, and its id taken by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Id of the context.
    pub ctx_id: u32,
    serial: u64,
}

impl Context {
    /// What is charged for things of this context, whose id is `ctx_id`.
    pub fn owner(&self, ctx_id: u32) -> Owner {
        Owner {
            ctx_id,
            serial: self.serial,
        }
    }
}

impl Device {
    /// CTX_CREATE
    pub(super) fn ctx_create(&mut self, id: u32, request: &CtxCreate) -> Result {
        if id == 0 || self.contexts.contains_key(&id) {
            return Err(GpuError::ContextIdInUse(id).into());
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
        let name = printable(name);
        let capset_id = init & CONTEXT_INIT_CAPSET_ID_MASK;
        let capsets = self.renderer.capsets();
        if capset_id != 0 && !capsets.iter().any(|capset| capset.id == capset_id) {
            return Err(GpuError::BadField("capset id").into());
        }
        self.books.check(Quota::Contexts, 1, None)?;
        let state = if capset_id == 0 {
            State::Inert
        } else {
            self.renderer
                .create_context(id, capset_id, &name)
                .map_err(|error| {
                    self.report(&format_args!("context {id} ({name}): {error}"));
                    GpuError::Renderer
                })?;
            State::Rendered
        };
        self.books.take(Quota::Contexts, 1, None)?;
        self.serial += 1;
        let context = Context {
            state,
            name,
            capset: capset_id,
            serial: self.serial,
            resources: HashSet::new(),
            account: Account::default(),
            reserved: Reserved::default(),
        };
        self.contexts.insert(id, context);
        Ok(Response::OkNoData)
    }

    /// CTX_DESTROY
    pub(super) fn ctx_destroy(&mut self, id: u32) -> Result {
        self.context(id)?;
        self.cut_off(id);
        self.contexts.remove(&id);
        self.books.give_back(Quota::Contexts, 1, None);
        Ok(Response::OkNoData)
    }

    /// CTX_ATTACH_RESOURCE
    pub(super) fn ctx_attach_resource(&mut self, ctx_id: u32, id: u32) -> Result {
        let context = self
            .contexts
            .get_mut(&ctx_id)
            .ok_or(GpuError::UnknownContext(ctx_id))?;
        let resource = self
            .resources
            .get_mut(&id)
            .ok_or(GpuError::UnknownResource(id))?;
        if context.resources.contains(&id) {
            return Ok(Response::OkNoData);
        }
        let account = &mut context.account;
        self.books.check(Quota::Attachments, 1, Some(&*account))?;
        if context.state == State::Rendered
            && resource.is_rendered()
            && let Err(error) = self.renderer.attach(ctx_id, id, resource.record())
        {
            self.report(&format_args!("resource {id} for context {ctx_id}: {error}"));
            return Err(GpuError::Renderer.into());
        }
        self.books.take(Quota::Attachments, 1, Some(account))?;
        context.resources.insert(id);
        resource.contexts.insert(ctx_id);
        Ok(Response::OkNoData)
    }

    /// CTX_DETACH_RESOURCE
    pub(super) fn ctx_detach_resource(&mut self, ctx_id: u32, id: u32) -> Result {
        self.context(ctx_id)?;
        self.resource_mut(id)?;
        self.detach(ctx_id, id);
        Ok(Response::OkNoData)
    }

    /// Takes a resource from a context, if it has it.
    pub(super) fn detach(&mut self, ctx_id: u32, id: u32) {
        let Some(context) = self.contexts.get_mut(&ctx_id) else {
            return;
        };
        if !context.resources.remove(&id) {
            return;
        }
        let account = &mut context.account;
        self.books.give_back(Quota::Attachments, 1, Some(account));
        let rendered = context.state == State::Rendered;
        let Some(resource) = self.resources.get_mut(&id) else {
            return;
        };
        resource.contexts.remove(&ctx_id);
        match (rendered, resource.is_rendered()) {
            (true, true) => self.renderer.detach(ctx_id, id),
            (true, false) => self.renderer.revoke(ctx_id, id),
            (false, _) => {}
        }
    }

    /// Takes the guest memory of a resource from a context that has the resource.
    pub(super) fn revoke(&mut self, ctx_id: u32, id: u32) {
        let context = self.contexts.get(&ctx_id);
        if context.is_some_and(|context| context.state == State::Rendered) {
            self.renderer.revoke(ctx_id, id);
        }
    }

    /// SUBMIT_3D. An empty one only carries a fence.
    pub(super) fn submit_3d(&mut self, ctx_id: u32, commands: &[u8]) -> Result {
        match self.context(ctx_id)?.state {
            State::Lost => return Err(GpuError::ContextLost(ctx_id).into()),
            _ if commands.is_empty() => return Ok(Response::OkNoData),
            State::Inert => return Err(GpuError::Unsupported("a context with a capset").into()),
            State::Rendered => {}
        }
        if !commands.len().is_multiple_of(4) {
            return Err(GpuError::BadField("size of the command stream").into());
        }
        let len = u64::try_from(commands.len()).unwrap_or(u64::MAX);
        self.books.check(Quota::SubmitBytes, len, None)?;
        // The renderer may write to its commands, so they move out of the request.
        self.commands.clear();
        self.commands.extend_from_slice(commands);
        let mut scope = Lent {
            ctx_id,
            resources: &self.resources,
            contexts: &mut self.contexts,
            books: &mut self.books,
        };
        let submitted = self.renderer.submit(ctx_id, &mut self.commands, &mut scope);
        heap::trim(&mut self.commands);
        match submitted {
            Ok(()) => Ok(Response::OkNoData),
            Err(RendererError::Invalid { what, detail }) => {
                self.report(&format_args!("context {ctx_id}: {detail}"));
                Err(GpuError::BadField(what).into())
            }
            Err(error) => {
                self.lose(ctx_id, &error);
                Err(GpuError::ContextLost(ctx_id).into())
            }
        }
    }

    /// Follows the renderer, which lost contexts that nothing may have been asked of.
    pub fn follow_losses(&mut self) {
        for id in self.renderer.lost_contexts() {
            self.lose(id, &"its worker died");
        }
    }

    /// Looks for contexts whose work does not get done, and does about them what was configured.
    ///
    /// # Errors
    /// See [`Hang`]: the device is to end.
    pub fn look_for_hangs(&mut self, now: Instant) -> std::result::Result<(), Hang> {
        let HangPolicy { timeout, action } = self.config.hangs;
        let Some(timeout) = timeout else {
            return Ok(());
        };
        for id in self.hang_watch.look(self.fences.fronts(), timeout, now) {
            let name = self.contexts.get(&id).map(|context| context.name.clone());
            let name = name.unwrap_or_default();
            self.metrics.hangs.count(&name);
            let seconds = timeout.as_secs_f32();
            match action {
                HangAction::Log => self.report(&format_args!(
                    "context {id} ({name}) hangs: the GPU has not done its work for {seconds} s"
                )),
                HangAction::KillContext => {
                    if let Some(context) = self.contexts.get_mut(&id)
                        && context.state == State::Rendered
                    {
                        self.renderer.abort_context(id);
                        context.state = State::Lost;
                    }
                    self.lose(id, &format_args!("it hung for {seconds} s"));
                }
                HangAction::KillVm => return Err(Hang { id, name }),
            }
        }
        Ok(())
    }

    /// How often [`Device::look_for_hangs`] is to be called while there is work.
    pub fn hang_period(&self) -> Option<Duration> {
        self.config.hangs.period()
    }

    /// Whether there is work that could hang.
    pub fn may_hang(&self) -> bool {
        !self.fences.is_empty()
    }

    /// Gives up a context. What the renderer has of it goes at once: a guest may keep a lost
    /// context for ever.
    fn lose(&mut self, id: u32, reason: &dyn fmt::Display) {
        let Some(context) = self.contexts.get(&id) else {
            return;
        };
        let name = context.name.clone();
        self.metrics.lost_contexts.count(&name);
        self.report(&format_args!("context {id} ({name}) is lost: {reason}"));
        self.cut_off(id);
    }

    /// Ends a context in the renderer, parts it from its resources and releases its fences:
    /// nobody would signal them.
    fn cut_off(&mut self, id: u32) {
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        if context.state == State::Rendered {
            self.renderer.destroy_context(id);
        }
        context.state = State::Lost;
        context.release_all(&mut self.books);
        for resource_id in std::mem::take(&mut context.resources) {
            let account = &mut context.account;
            self.books.give_back(Quota::Attachments, 1, Some(account));
            if let Some(resource) = self.resources.get_mut(&resource_id) {
                resource.contexts.remove(&id);
            }
        }
        self.fences.abandon_context(id, &mut self.released);
    }

    pub(super) fn context(&self, id: u32) -> std::result::Result<&Context, Refusal> {
        self.contexts
            .get(&id)
            .ok_or(GpuError::UnknownContext(id).into())
    }

    pub(super) fn destroy_all_contexts(&mut self) {
        for (id, context) in std::mem::take(&mut self.contexts) {
            if context.state == State::Rendered {
                self.renderer.destroy_context(id);
            }
        }
    }
}

/// The name as it may appear in a log and in a C string.
pub(super) fn printable(name: &[u8]) -> String {
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
