//! Which type a guest is told to map a blob with, and whether it may map it at all.
//!
//! Nobody else decides that. What the renderer says is held against the file, the driver's memory
//! types and the hypervisor; what does not agree is corrected where it is provably wrong, and the
//! operator's policy decides about the rest. Everything is counted, and nothing is silent.

mod claim;
mod finding;
mod tally;

use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coherd_blob::exporter::Allocated;
use coherd_blob::memory_type::MapInfo;
use coherd_blob::policy::{Decision, MismatchPolicy, decide};
use coherd_blob::{Exporter, MemoryProperties};

use tracing::debug;

use self::claim::Judged;
pub use self::finding::Finding;
pub use self::tally::Counts;
use self::tally::Tally;
use crate::guest_pat::{HostFacts, Hypervisor};

/// What a renderer knows of a blob's memory.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// virglrenderer's guess. Its guests cannot flush or invalidate.
    Guessed {
        /// Its `map_info`, with whatever bits it puts beside the cacheability.
        map_info: u32,
        /// Every memory type of the drivers it may have allocated from, if they are known.
        driver: Option<&'a [MemoryProperties]>,
    },
    /// This process allocated it, for a guest that can flush and invalidate.
    Allocated {
        /// The allocator's word.
        memory: Allocated,
        /// Whether it could allocate cached memory instead.
        can_prefer_cached: bool,
    },
}

/// The types of a blob's mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingType {
    /// What the guest is told.
    pub told: MapInfo,
    /// Whether the memory is coherent, as far as is known.
    pub coherent: bool,
    /// How an mmap of the file is cached; `None` if that is not known.
    pub file: Option<MapInfo>,
    /// How the guest really accesses it; `None` if that is not known.
    pub effective: Option<MapInfo>,
}

impl MappingType {
    /// Whether all mappings are known to be of one type.
    pub fn is_agreed(&self) -> bool {
        [self.file, self.effective] == [Some(self.told); 2]
    }
}

/// What is done about a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest may map it.
    Map(MappingType),
    /// Memory cached like this is to be allocated in its place, and decided about.
    AllocateInstead(MapInfo),
    /// The guest must not map it.
    Refuse(Finding),
    /// There is nothing to map: the memory is not for the CPU, or nobody knows its type.
    NotMappable,
}

/// What to do where types do not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies {
    /// About memory whose type a renderer guesses.
    pub guessed: MismatchPolicy,
    /// About memory that this process allocates.
    pub allocated: MismatchPolicy,
}

impl Policies {
    /// One policy about everything.
    pub fn all(policy: MismatchPolicy) -> Self {
        Self {
            guessed: policy,
            allocated: policy,
        }
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            guessed: MismatchPolicy::Warn,
            allocated: MismatchPolicy::PreferCached,
        }
    }
}

/// See the module's description. The device and its renderers share one.
#[derive(Debug)]
pub struct MappingTypes(Mutex<State>);

#[derive(Debug)]
struct State {
    policies: Policies,
    host: HostFacts,
    hypervisor: Hypervisor,
    tally: Tally,
}

impl MappingTypes {
    /// Decides by `policies`, on `host`, for a guest of an unknown VMM.
    pub fn new(policies: Policies, host: HostFacts) -> Self {
        Self(Mutex::new(State {
            policies,
            host,
            hypervisor: Hypervisor::of_host(host),
            tally: Tally::default(),
        }))
    }

    /// Decides by other policies from now on. What is decided stays.
    pub fn set_policies(&self, policies: Policies) {
        self.lock().policies = policies;
    }

    /// Decides for the guest of the VMM behind a vhost-user socket from now on.
    pub fn meet_vmm(&self, socket: impl AsFd) {
        let mut state = self.lock();
        state.hypervisor = Hypervisor::of_vmm(state.host, socket);
        debug!(guest_types = %state.hypervisor, "looked at the front-end");
    }

    /// Under which hypervisor the guest runs, as far as is known.
    pub fn hypervisor(&self) -> Hypervisor {
        self.lock().hypervisor
    }

    /// What was decided so far, apart from what agreed.
    pub fn counts(&self) -> Counts {
        self.lock().tally.counts()
    }

    /// Decides about a blob whose file is from `exporter`. `blob` names it in the log.
    pub fn decide_mapping(
        &self,
        blob: &dyn std::fmt::Display,
        exporter: &Exporter,
        source: Source<'_>,
    ) -> Outcome {
        let state = &mut *self.lock();
        let Some(judged) = Judged::new(exporter, source, state.hypervisor) else {
            return Outcome::NotMappable;
        };
        let policy = match source {
            Source::Guessed { .. } => state.policies.guessed,
            Source::Allocated { .. } => state.policies.allocated,
        };
        let mapping = judged.mapping();
        let mut note = |finding, refused| {
            state.tally.note(blob, exporter, &mapping, finding, refused);
        };
        if let Some(correction) = judged.correction {
            let finding = Finding::Corrected(correction);
            let refused = policy == MismatchPolicy::Refuse;
            note(finding, refused);
            if refused {
                return Outcome::Refuse(finding);
            }
        }
        match decide(policy, &judged.claim) {
            Decision::Accept => Outcome::Map(mapping),
            Decision::Warn(mismatch) => {
                note(Finding::Mismatch(mismatch), false);
                Outcome::Map(mapping)
            }
            Decision::Refuse(mismatch) => {
                let finding = Finding::Mismatch(mismatch);
                note(finding, true);
                Outcome::Refuse(finding)
            }
            Decision::Prefer(caching, _) => Outcome::AllocateInstead(caching),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MappingTypes {
    fn default() -> Self {
        Self::new(Policies::default(), HostFacts::unknown())
    }
}

#[cfg(test)]
mod tests;
