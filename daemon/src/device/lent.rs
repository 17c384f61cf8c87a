//! What of the device the renderer can reach while it executes a context's commands.

use std::collections::HashMap;
use std::sync::Arc;

use coherd_protocol::gpu::GpuError;

use super::account::Bookkeeper;
use super::context::{Context, Reserved};
use super::quota::Quota;
use super::resource::{Kind, Resource};
use crate::memory::GuestRanges;
use crate::renderer::Scope;

/// See the module's description.
pub struct Lent<'a> {
    pub ctx_id: u32,
    pub resources: &'a HashMap<u32, Resource>,
    pub contexts: &'a mut HashMap<u32, Context>,
    pub books: &'a mut Bookkeeper,
}

impl Scope for Lent<'_> {
    fn guest_memory(&self, resource_id: u32) -> Option<Arc<GuestRanges>> {
        let context = self.contexts.get(&self.ctx_id)?;
        let resource = self.resources.get(&resource_id)?;
        let is_guest_blob = matches!(resource.kind, Kind::GuestBlob { .. });
        (is_guest_blob && context.resources.contains(&resource_id))
            .then(|| resource.backing.clone())
            .flatten()
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), GpuError> {
        let context = self.contexts.get_mut(&self.ctx_id);
        let context = context.ok_or(GpuError::UnknownContext(self.ctx_id))?;
        self.books.check(Quota::Resources, 1, None)?;
        let account = &mut context.account;
        self.books.take(Quota::BlobBytes, bytes, Some(account))?;
        self.books.take(Quota::Resources, 1, None)?;
        context.reserved.objects = context.reserved.objects.saturating_add(1);
        context.reserved.bytes = context.reserved.bytes.saturating_add(bytes);
        Ok(())
    }

    fn release(&mut self, bytes: u64) {
        if let Some(context) = self.contexts.get_mut(&self.ctx_id) {
            context.release(bytes, self.books);
        }
    }

    fn admit(&mut self, quota: Quota, vm: usize, context: usize) -> Result<(), GpuError> {
        match self.books.full(quota, vm, context) {
            Some(scope) => Err(self.books.refuse(quota, scope)),
            None => Ok(()),
        }
    }
}

impl Context {
    /// Takes off an object of so many bytes that was reserved.
    pub fn release(&mut self, bytes: u64, books: &mut Bookkeeper) {
        let Reserved {
            objects,
            bytes: all,
        } = self.reserved;
        self.take_off(objects.min(1), bytes.min(all), books);
    }

    /// Takes off everything that was reserved.
    pub fn release_all(&mut self, books: &mut Bookkeeper) {
        let Reserved { objects, bytes } = self.reserved;
        self.take_off(objects, bytes, books);
    }

    fn take_off(&mut self, objects: u64, bytes: u64, books: &mut Bookkeeper) {
        self.reserved.objects -= objects;
        self.reserved.bytes -= bytes;
        books.give_back(Quota::Resources, objects, None);
        books.give_back(Quota::BlobBytes, bytes, Some(&mut self.account));
    }
}
