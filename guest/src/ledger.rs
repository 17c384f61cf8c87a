//! Who maps a blob on the host.

use std::fmt;

use coherd_protocol::blob_context::limits::MAX_HOLDERS;
use coherd_protocol::blob_context::reply::{self, HolderKind};

use crate::allocation::Allocation;
use crate::context::CallError;
use crate::memory::{Caching, Memory};

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This VM.
    Guest,
    /// The VMM.
    Vmm,
    /// The daemon.
    Daemon,
    /// A process of the host that uses the sync protocol.
    Peer,
    /// Something of a later version.
    Other(u32),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest => f.write_str("guest"),
            Self::Vmm => f.write_str("VMM"),
            Self::Daemon => f.write_str("daemon"),
            Self::Peer => f.write_str("peer"),
            Self::Other(kind) => write!(f, "holder {kind}"),
        }
    }
}

/// Mappings of one kind and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who has them.
    pub owner: Owner,
    /// How they are cached, if the host knows.
    pub caching: Option<Caching>,
    /// How many there are.
    pub count: u32,
    /// How many accesses through them are open.
    pub open: u32,
}

/// What the host knows about a blob at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its memory.
    pub memory: Memory,
    /// Accesses that are open.
    pub open: u32,
    /// Who maps it. The host may know of more than it lists.
    pub holders: Vec<Holder>,
    /// How many kinds of holders the host knows of.
    pub holder_count: u32,
}

impl Allocation {
    /// Asks the host what memory this is and who maps it. Brackets that were sent shortly before
    /// may not show; see [`Context::wait_idle`](crate::Context::wait_idle).
    ///
    /// # Errors
    /// [`CallError`]
    pub fn describe(&self) -> Result<Description, CallError> {
        self.blob
            .describe()
            .map(|described| Description::new(&described))
    }
}

impl Description {
    fn new(wire: &reply::Described) -> Self {
        let ledger = &wire.ledger;
        let count = usize::try_from(ledger.holder_count.get()).unwrap_or(MAX_HOLDERS);
        Self {
            memory: Memory::new(&wire.memory),
            open: ledger.open.get(),
            holders: ledger.holders.iter().take(count).map(Holder::new).collect(),
            holder_count: ledger.holder_count.get(),
        }
    }
}

impl Holder {
    fn new(wire: &reply::Holder) -> Self {
        const GUEST: u32 = HolderKind::Guest as u32;
        const VMM: u32 = HolderKind::Vmm as u32;
        const DAEMON: u32 = HolderKind::Daemon as u32;
        const PEER: u32 = HolderKind::Peer as u32;
        Self {
            owner: match wire.kind.get() {
                GUEST => Owner::Guest,
                VMM => Owner::Vmm,
                DAEMON => Owner::Daemon,
                PEER => Owner::Peer,
                other => Owner::Other(other),
            },
            caching: Caching::from_map_info(wire.map_info.get()),
            count: wire.count.get(),
            open: wire.open.get(),
        }
    }
}
