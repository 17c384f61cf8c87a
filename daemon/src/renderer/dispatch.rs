//! Several renderers as one.
//!
//! A context belongs to the renderer that has its capset, a resource to the one that made it. A
//! resource that is attached to a context of another renderer is offered to that one first, and
//! goes from it before it goes from its owner.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use coherd_blob::MemoryProperties;
use coherd_protocol::blob_context::CAPSET_BLOB;
use coherd_protocol::gpu::wire::{ResourceCreate3d, Transfer3d};
use coherd_protocol::state;

use super::{
    BlobRequest, Capset, Export, LoadPlace, LoadedMemory, Renderer, RendererError, ReplyPlace,
    SavedContext, SavedMemory, Scope,
};
use crate::coherence::BlobRecord;
use crate::device::image::Direction;
use crate::memory::GuestRanges;

/// Place of a renderer among all.
type Place = usize;

/// Who has a resource: its owner first, then those that imported it.
type Holders = Vec<Place>;

/// See the module's description.
#[derive(Default)]
pub struct Dispatch {
    renderers: Vec<Box<dyn Renderer>>,
    capsets: Vec<Capset>,
    contexts: HashMap<u32, Place>,
    resources: HashMap<u32, Holders>,
}

impl Dispatch {
    /// No renderer at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a renderer. Of a capset that several have, the first one's counts.
    #[must_use]
    pub fn with(mut self, renderer: Box<dyn Renderer>) -> Self {
        for capset in renderer.capsets() {
            if !self.capsets.iter().any(|known| known.id == capset.id) {
                self.capsets.push(capset.clone());
            }
        }
        self.renderers.push(renderer);
        self
    }

    fn at(&mut self, place: Place) -> Result<&mut Box<dyn Renderer>, RendererError> {
        let missing = || RendererError::Failed("no such renderer".to_owned());
        self.renderers.get_mut(place).ok_or_else(missing)
    }

    fn of_context(&mut self, ctx_id: u32) -> Result<&mut Box<dyn Renderer>, RendererError> {
        let missing = || RendererError::Failed(format!("no renderer has context {ctx_id}"));
        let place = *self.contexts.get(&ctx_id).ok_or_else(missing)?;
        self.at(place)
    }

    /// The first renderer that has `capset_id`.
    fn place_of(&self, capset_id: u32) -> Option<Place> {
        self.renderers.iter().position(|renderer| {
            let mut capsets = renderer.capsets().iter();
            capsets.any(|capset| capset.id == capset_id)
        })
    }

    /// Which renderer's death has this index among all, and its index there.
    fn death_at(&self, index: usize) -> Option<(Place, usize)> {
        let all = self.renderers.iter().enumerate();
        all.flat_map(|(place, renderer)| (0..renderer.deaths().len()).map(move |own| (place, own)))
            .nth(index)
    }
}

impl Renderer for Dispatch {
    fn capsets(&self) -> &[Capset] {
        &self.capsets
    }

    fn memory_types(&self) -> Option<&[MemoryProperties]> {
        // One renderer guesses; the others know.
        let mut renderers = self.renderers.iter();
        renderers.find_map(|renderer| renderer.memory_types())
    }

    fn create_context(
        &mut self,
        ctx_id: u32,
        capset_id: u32,
        name: &str,
    ) -> Result<(), RendererError> {
        let missing = RendererError::Unsupported("the capset");
        let place = self.place_of(capset_id).ok_or(missing)?;
        self.at(place)?.create_context(ctx_id, capset_id, name)?;
        self.contexts.insert(ctx_id, place);
        Ok(())
    }

    fn destroy_context(&mut self, ctx_id: u32) {
        if let Ok(renderer) = self.of_context(ctx_id) {
            renderer.destroy_context(ctx_id);
        }
        self.contexts.remove(&ctx_id);
    }

    fn abort_context(&mut self, ctx_id: u32) {
        if let Ok(renderer) = self.of_context(ctx_id) {
            renderer.abort_context(ctx_id);
        }
        self.contexts.remove(&ctx_id);
    }

    fn create_blob(&mut self, blob: &BlobRequest) -> Result<Option<Export>, RendererError> {
        let export = self.of_context(blob.ctx_id)?.create_blob(blob)?;
        if let Some(place) = self.contexts.get(&blob.ctx_id) {
            self.resources.insert(blob.resource_id, vec![*place]);
        }
        Ok(export)
    }

    fn create_3d(&mut self, request: &ResourceCreate3d) -> Result<u64, RendererError> {
        let mut answer = Err(RendererError::Unsupported("a renderer with 3D resources"));
        for (place, renderer) in self.renderers.iter_mut().enumerate() {
            answer = renderer.create_3d(request);
            match answer {
                Err(RendererError::Unsupported(_)) => {}
                Ok(_) => {
                    let id = request.resource_id.get();
                    self.resources.insert(id, vec![place]);
                    break;
                }
                Err(_) => break,
            }
        }
        answer
    }

    fn transfer(
        &mut self,
        ctx_id: u32,
        request: &Transfer3d,
        backing: &GuestRanges,
        direction: Direction,
    ) -> Result<(), RendererError> {
        let renderer = self.of_context(ctx_id)?;
        renderer.transfer(ctx_id, request, backing, direction)
    }

    fn reserved(&self, blob: &BlobRequest) -> Option<u64> {
        let place = *self.contexts.get(&blob.ctx_id)?;
        self.renderers.get(place)?.reserved(blob)
    }

    fn destroy_resource(&mut self, resource_id: u32) {
        let holders = self.resources.remove(&resource_id).unwrap_or_default();
        for place in holders.into_iter().rev() {
            if let Ok(renderer) = self.at(place) {
                renderer.destroy_resource(resource_id);
            }
        }
    }

    fn attach(
        &mut self,
        ctx_id: u32,
        resource_id: u32,
        blob: Option<&BlobRecord>,
    ) -> Result<(), RendererError> {
        let missing = || RendererError::Failed(format!("no renderer has context {ctx_id}"));
        let place = *self.contexts.get(&ctx_id).ok_or_else(missing)?;
        let holders = self.resources.get(&resource_id);
        if !holders.is_some_and(|holders| holders.contains(&place)) {
            let blob = blob.ok_or(RendererError::Unsupported("a foreign blob without a file"))?;
            self.at(place)?.import(resource_id, blob)?;
            self.resources.entry(resource_id).or_default().push(place);
        }
        self.at(place)?.attach(ctx_id, resource_id, blob)
    }

    fn detach(&mut self, ctx_id: u32, resource_id: u32) {
        if let Ok(renderer) = self.of_context(ctx_id) {
            renderer.detach(ctx_id, resource_id);
        }
    }

    fn revoke(&mut self, ctx_id: u32, resource_id: u32) {
        if let Ok(renderer) = self.of_context(ctx_id) {
            renderer.revoke(ctx_id, resource_id);
        }
    }

    fn submit(
        &mut self,
        ctx_id: u32,
        commands: &mut [u8],
        scope: &mut dyn Scope,
    ) -> Result<(), RendererError> {
        self.of_context(ctx_id)?.submit(ctx_id, commands, scope)
    }

    fn create_fence(
        &mut self,
        ctx_id: u32,
        ring_idx: u8,
        fence_id: u64,
    ) -> Result<(), RendererError> {
        let renderer = self.of_context(ctx_id)?;
        renderer.create_fence(ctx_id, ring_idx, fence_id)
    }

    fn can_save(&self, ctx_id: u32) -> bool {
        let place = self.contexts.get(&ctx_id);
        let renderer = place.and_then(|place| self.renderers.get(*place));
        renderer.is_some_and(|renderer| renderer.can_save(ctx_id))
    }

    fn save_context(&mut self, ctx_id: u32, until: Instant) -> Result<SavedContext, RendererError> {
        self.of_context(ctx_id)?.save_context(ctx_id, until)
    }

    fn save_blob(&self, resource_id: u32) -> Option<SavedMemory> {
        let owner = self.resources.get(&resource_id)?.first()?;
        self.renderers.get(*owner)?.save_blob(resource_id)
    }

    fn load_blob(
        &mut self,
        place: LoadPlace,
        memory: &state::Memory,
    ) -> Result<LoadedMemory, RendererError> {
        let id = match place {
            LoadPlace::Resource(id) => id,
            LoadPlace::Object { ctx_id, .. } => {
                return self.of_context(ctx_id)?.load_blob(place, memory);
            }
        };
        let missing = RendererError::Unsupported("memory of blob contexts");
        let owner = self.place_of(CAPSET_BLOB).ok_or(missing)?;
        let loaded = self.at(owner)?.load_blob(place, memory)?;
        self.resources.insert(id, vec![owner]);
        Ok(loaded)
    }

    fn resume_context(
        &mut self,
        ctx_id: u32,
        replies: Option<(ReplyPlace, Arc<GuestRanges>)>,
        brackets: &[state::Bracket],
    ) -> Result<(), RendererError> {
        let renderer = self.of_context(ctx_id)?;
        renderer.resume_context(ctx_id, replies, brackets)
    }

    fn blob_bytes_copied(&self) -> u64 {
        let renderers = self.renderers.iter();
        renderers.map(|renderer| renderer.blob_bytes_copied()).sum()
    }

    fn deaths(&self) -> Vec<BorrowedFd<'_>> {
        let renderers = self.renderers.iter();
        renderers.flat_map(|renderer| renderer.deaths()).collect()
    }

    fn obituary(&mut self, index: usize) -> String {
        let Some((place, own)) = self.death_at(index) else {
            return String::new();
        };
        self.at(place)
            .map_or_else(|_| String::new(), |renderer| renderer.obituary(own))
    }

    fn losses(&self) -> Vec<BorrowedFd<'_>> {
        let renderers = self.renderers.iter();
        renderers.flat_map(|renderer| renderer.losses()).collect()
    }

    fn lost_contexts(&mut self) -> Vec<u32> {
        let renderers = self.renderers.iter_mut();
        renderers
            .flat_map(|renderer| renderer.lost_contexts())
            .collect()
    }
}
