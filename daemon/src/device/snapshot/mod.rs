//! What the device is, given away to be saved and taken to be loaded.

mod capture;
mod load;
mod resume;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use coherd_protocol::state::{self, Entry};

use super::Device;
use super::context::State as Condition;
use super::display::Outputs;
use super::resource::Kind;
use crate::renderer::{RendererError, SavedContext};
use crate::snapshot::SnapshotError;

/// How many names an error has.
const NAMES: usize = 8;

type Result<T> = std::result::Result<T, SnapshotError>;

/// What of a loaded device has to wait for guest memory and a window.
#[derive(Debug, Default)]
pub struct Pending {
    outputs: Option<Outputs>,
    backings: Vec<(u32, Vec<Entry>)>,
    mappings: Vec<(u32, u64)>,
    contexts: Vec<state::Context>,
    brackets: Vec<state::Bracket>,
}

/// Contexts that have nothing left to do, by their ids.
pub type Quiet = BTreeMap<u32, SavedContext>;

const fn impossible<T>(what: &'static str) -> Result<T> {
    Err(SnapshotError::Impossible(what))
}

impl Device {
    /// Whether everything that the guest has can be saved.
    ///
    /// # Errors
    /// [`SnapshotError::Unsavable`] with what cannot.
    pub fn check_savable(&self) -> Result<()> {
        let mut contexts: Vec<String> = Vec::new();
        for (id, context) in &self.contexts {
            if context.state == Condition::Rendered && !self.renderer.can_save(*id) {
                contexts.push(format!("context {id} ({})", context.name));
            }
        }
        for (id, resource) in &self.resources {
            match &resource.kind {
                Kind::ThreeD { .. } => contexts.push(format!("resource {id} (3D)")),
                Kind::HostBlob(_) if self.renderer.save_blob(*id).is_none() => {
                    contexts.push(format!("resource {id} (a blob)"));
                }
                _ => {}
            }
        }
        match contexts.is_empty() {
            true => Ok(()),
            false => Err(SnapshotError::Unsavable(names(contexts))),
        }
    }

    /// Waits until contexts have nothing left to do.
    ///
    /// # Errors
    /// [`SnapshotError::Busy`] and [`SnapshotError::Renderer`]
    pub fn quiesce(&mut self, patience: Duration) -> Result<Quiet> {
        let until = Instant::now() + patience;
        let (mut quiet, mut busy) = (Quiet::new(), Vec::new());
        for (id, context) in &self.contexts {
            if context.state != Condition::Rendered {
                continue;
            }
            let name = || format!("context {id} ({})", context.name);
            match self.renderer.save_context(*id, until) {
                Ok(saved) => {
                    quiet.insert(*id, saved);
                }
                Err(RendererError::Busy) => busy.push(name()),
                Err(source) => {
                    let what = name();
                    return Err(SnapshotError::Renderer { what, source });
                }
            }
        }
        match busy.is_empty() {
            true => Ok(quiet),
            false => Err(SnapshotError::Busy(names(busy), patience)),
        }
    }
}

/// Names in order, the first few of them.
fn names(mut all: Vec<String>) -> String {
    all.sort();
    let more = all.len().saturating_sub(NAMES);
    all.truncate(NAMES);
    let list = all.join(", ");
    match more {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}
