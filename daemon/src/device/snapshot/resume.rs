//! The loaded device goes on.

use std::sync::Arc;

use coherd_protocol::gpu::wire::MemEntry;
use coherd_protocol::state::{self, Entry};

use crate::device::charge::Charge;
use crate::device::context::State as Condition;
use crate::device::quota::Quota;
use crate::device::resource::Kind;
use crate::device::{Device, Stopped};
use crate::memory::{GuestMemory, GuestRanges};
use crate::renderer::ReplyPlace;
use crate::window::HostWindowError;

impl Device {
    /// The loaded device runs: gives resources their guest memory, maps what was mapped, and gives
    /// contexts back what they had begun. What cannot be had any more is logged, and the guest
    /// finds it missing.
    ///
    /// # Errors
    /// [`Stopped`]; it has to be called again when the device runs again.
    pub fn resume(&mut self, memory: &GuestMemory) -> Result<(), Stopped> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(());
        };
        if let Some(outputs) = pending.outputs.take() {
            self.config.outputs = outputs;
        }
        for (id, entries) in std::mem::take(&mut pending.backings) {
            self.resume_backing(id, &entries, memory);
        }
        while let Some((id, offset)) = pending.mappings.pop() {
            if self.resume_mapping(id, offset) == Err(Stopped) {
                pending.mappings.push((id, offset));
                self.pending = Some(pending);
                return Err(Stopped);
            }
        }
        for context in &pending.contexts {
            let id = context.id.get();
            let brackets = pending.brackets.iter();
            let brackets: Vec<state::Bracket> = brackets
                .filter(|bracket| bracket.context.get() == id)
                .copied()
                .collect();
            let place = ReplyPlace {
                resource_id: context.replies.get(),
                offset: context.replies_offset.get(),
                size: context.replies_size.get(),
            };
            let resource = self.resources.get(&place.resource_id);
            let memory = resource.and_then(|resource| resource.backing.clone());
            let replies = memory.map(|memory| (place, memory));
            let is_rendered = self
                .contexts
                .get(&id)
                .is_some_and(|context| context.state == Condition::Rendered);
            if is_rendered && let Err(error) = self.renderer.resume_context(id, replies, &brackets)
            {
                self.report(&format_args!("context {id} does not go on: {error}"));
            }
        }
        Ok(())
    }

    fn resume_backing(&mut self, id: u32, entries: &[Entry], memory: &GuestMemory) {
        let list: Vec<MemEntry> = entries
            .iter()
            .map(|entry| MemEntry {
                addr: entry.address,
                length: entry.length,
                padding: 0.into(),
            })
            .collect();
        match (
            GuestRanges::resolve(memory, &list),
            self.resources.get_mut(&id),
        ) {
            (Some(ranges), Some(resource)) => resource.backing = Some(Arc::new(ranges)),
            _ => {
                let count = u64::try_from(entries.len()).unwrap_or(0);
                self.give_back(Charge::vm(Quota::BackingEntries, count));
                self.report(&format_args!("resource {id} has lost its guest memory"));
            }
        }
    }

    fn resume_mapping(&mut self, id: u32, offset: u64) -> Result<(), Stopped> {
        let Some(resource) = self.resources.get_mut(&id) else {
            return Ok(());
        };
        let Kind::HostBlob(blob) = &mut resource.kind else {
            return Ok(());
        };
        let Some(record) = &blob.record else {
            return Ok(());
        };
        match self.window.map(offset, record.backing()) {
            Ok(mapping) => {
                record.note_mapped();
                blob.mapping = Some(mapping);
            }
            Err(HostWindowError::Stopped) => return Err(Stopped),
            Err(error) => {
                let charge = blob.mapping_charge();
                self.give_back(charge);
                self.report(&format_args!(
                    "resource {id} is not mapped again, and its guest reads garbage: {error:?}"
                ));
            }
        }
        Ok(())
    }
}
