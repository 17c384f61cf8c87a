//! What a case is.

use std::fmt;

use coherd_protocol::gpu::Features;

use super::bench::Bench;
use super::failure::Failure;
use crate::frontend::{Config, Flavour};

/// Descriptors of a queue where a case does not choose.
pub const QUEUE_SIZE: u16 = 256;

/// How a case ends.
pub type Outcome = Result<(), Failure>;

/// Something of the backend that a case cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A feature of the GPU device.
    Device(Features),
    /// A virtio feature bit of the rings.
    Ring(u32, &'static str),
    /// The configuration space, which vhost-user makes optional.
    Config,
    /// The host-visible memory region.
    Window,
    /// A capability set, so that a context has a renderer behind it.
    Capset,
    /// A mappable blob that a context makes without a command: Venus' shared memory.
    HostBlob,
}

/// How the device is started for a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// virtio features that the driver accepts where they are offered.
    pub features: u64,
    /// Descriptors of both queues.
    pub queue_size: u16,
}

impl Default for Setup {
    /// A driver that knows everything.
    fn default() -> Self {
        Self {
            features: Config::new(Flavour::General).features,
            queue_size: QUEUE_SIZE,
        }
    }
}

impl Setup {
    /// A driver that knows everything but these bits.
    pub fn without(bits: u64) -> Self {
        let all = Self::default();
        Self {
            features: all.features & !bits,
            ..all
        }
    }
}

/// What runs.
type Body = Box<dyn Fn(&mut Bench<'_>) -> Outcome + Send + Sync>;

/// One thing that a device does, or does not.
pub struct Case {
    /// Group and name, `group/name`.
    pub name: String,
    /// Section of VIRTIO 1.4, or what says it where the standard is silent.
    pub section: &'static str,
    /// Whether the section does not demand it in words, and it follows from what it says.
    pub implied: bool,
    /// What the backend must have.
    pub needs: Vec<Need>,
    /// How the device is started.
    pub setup: Setup,
    pub(super) body: Body,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("section", &self.section)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

impl Case {
    /// The section for people.
    pub fn source(&self) -> String {
        let suffix = if self.implied { ", implied" } else { "" };
        format!("{}{suffix}", self.section)
    }

    /// The group the case belongs to.
    pub fn group(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// Cases of one subject while they are listed.
#[derive(Debug)]
pub struct Group {
    name: &'static str,
    section: &'static str,
    needs: Vec<Need>,
    setup: Setup,
    cases: Vec<Case>,
}

impl Group {
    /// A group without cases.
    pub fn new(name: &'static str, section: &'static str) -> Self {
        Self {
            name,
            section,
            needs: Vec::new(),
            setup: Setup::default(),
            cases: Vec::new(),
        }
    }

    /// The cases from here on are said by `section`.
    #[must_use]
    pub fn section(mut self, section: &'static str) -> Self {
        self.section = section;
        self
    }

    /// The cases from here on need this and nothing else.
    #[must_use]
    pub fn needs(mut self, needs: &[Need]) -> Self {
        self.needs = needs.to_vec();
        self
    }

    /// The cases from here on find the device started like this.
    #[must_use]
    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self
    }

    /// Adds a case.
    #[must_use]
    pub fn case(
        mut self,
        name: impl fmt::Display,
        body: impl Fn(&mut Bench<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        self.cases.push(Case {
            name: format!("{}/{name}", self.name),
            section: self.section,
            implied: false,
            needs: self.needs.clone(),
            setup: self.setup,
            body: Box::new(body),
        });
        self
    }

    /// The last case follows from its section, which does not demand it in words.
    #[must_use]
    pub fn implied(mut self) -> Self {
        if let Some(case) = self.cases.last_mut() {
            case.implied = true;
        }
        self
    }

    /// The cases, in their order.
    pub fn into_cases(self) -> Vec<Case> {
        self.cases
    }
}
