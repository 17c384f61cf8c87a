//! What a guest believes to have, so that most of its commands make sense.
//!
//! A command that was offered counts as carried out; the beliefs of a guest that is refused are
//! wrong for a while.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use arbitrary::{Result, Unstructured};

use super::draw::{mostly, one_in};

/// Ids that a guest uses.
const CONTEXTS: RangeInclusive<u32> = 1..=3;
const RESOURCES: RangeInclusive<u32> = 1..=8;

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    GuestBlob,
    HostBlob,
}

/// A resource that is believed to be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// Has guest memory.
    pub(super) backed: bool,
    pub(super) mapped: bool,
}

impl Resource {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            backed: false,
            mapped: false,
        }
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Beliefs {
    contexts: Vec<u32>,
    resources: BTreeMap<u32, Resource>,
}

impl Beliefs {
    /// A context that mostly is there.
    pub(super) fn context(&self, u: &mut Unstructured<'_>) -> Result<u32> {
        if self.contexts.is_empty() || one_in(u, 24)? {
            return mostly(u, CONTEXTS);
        }
        Ok(*u.choose(&self.contexts)?)
    }

    /// A context that mostly is not there, and is from now on.
    pub(super) fn new_context(&mut self, u: &mut Unstructured<'_>) -> Result<u32> {
        let free = CONTEXTS.into_iter().find(|id| !self.contexts.contains(id));
        let id = pick_new(u, free, CONTEXTS)?;
        if !self.contexts.contains(&id) && CONTEXTS.contains(&id) {
            self.contexts.push(id);
        }
        Ok(id)
    }

    /// A context that mostly is there, and is no more.
    pub(super) fn take_context(&mut self, u: &mut Unstructured<'_>) -> Result<u32> {
        let id = self.context(u)?;
        self.contexts.retain(|known| *known != id);
        Ok(id)
    }

    /// A resource that mostly is there and is as `wanted`.
    pub(super) fn resource(
        &self,
        u: &mut Unstructured<'_>,
        wanted: impl Fn(&Resource) -> bool,
    ) -> Result<u32> {
        let fitting: Vec<u32> = self
            .resources
            .iter()
            .filter(|(_, resource)| wanted(resource))
            .map(|(id, _)| *id)
            .collect();
        if fitting.is_empty() || one_in(u, 24)? {
            return mostly(u, RESOURCES);
        }
        Ok(*u.choose(&fitting)?)
    }

    /// A resource that mostly is not there, and is from now on.
    pub(super) fn new_resource(
        &mut self,
        u: &mut Unstructured<'_>,
        resource: Resource,
    ) -> Result<u32> {
        let free = RESOURCES
            .into_iter()
            .find(|id| !self.resources.contains_key(id));
        let id = pick_new(u, free, RESOURCES)?;
        if RESOURCES.contains(&id) {
            self.resources.entry(id).or_insert(resource);
        }
        Ok(id)
    }

    /// A resource that mostly is there, and is no more.
    pub(super) fn take_resource(&mut self, u: &mut Unstructured<'_>) -> Result<u32> {
        let id = self.resource(u, |_| true)?;
        self.resources.remove(&id);
        Ok(id)
    }

    /// Changes what is believed of a resource.
    pub(super) fn change(&mut self, id: u32, change: impl FnOnce(&mut Resource)) {
        if let Some(resource) = self.resources.get_mut(&id) {
            change(resource);
        }
    }
}

fn pick_new(
    u: &mut Unstructured<'_>,
    free: Option<u32>,
    range: RangeInclusive<u32>,
) -> Result<u32> {
    match free {
        Some(id) if !one_in(u, 24)? => Ok(id),
        _ => mostly(u, range),
    }
}
