//! One connection, and what its peer has.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use coherd_blob::{Access, Holder};
use coherd_protocol::sync::limits::NAME_LEN;
use coherd_protocol::sync::wire::Capabilities;
use coherd_protocol::sync::{Header, Status};

use super::jobs::{OpenBracket, Ticket};
use super::outbox::Outbox;
use super::request::Refusal;
use crate::coherence::registry::KnownBlob;
use crate::credentials::Credentials;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its HELLO is answered with this.
    TurnedAway(Status),
    /// Its HELLO may ask for so much.
    Stranger(Access),
    /// It has this.
    Greeted(Capabilities),
}

/// A blob that a peer has open.
#[derive(Debug)]
pub struct OpenBlob {
    /// The blob.
    pub known: Arc<KnownBlob>,
    /// What for.
    pub access: Access,
}

/// A BEGIN that waits.
#[derive(Debug)]
pub struct Waiting {
    /// The helper's.
    pub ticket: Arc<Ticket>,
    /// The request.
    pub header: Header,
    /// Where it is among the deadlines.
    pub due: (Instant, u64),
}

/// A bracket of a peer.
#[derive(Debug)]
pub enum Held {
    /// Its BEGIN waits.
    Waiting(Waiting),
    /// It is open.
    Open(u64, OpenBracket),
}

impl Held {
    /// The blob that it is on.
    pub fn blob(&self) -> u64 {
        match self {
            Self::Waiting(waiting) => waiting.ticket.wanted.blob,
            Self::Open(blob, _) => *blob,
        }
    }
}

/// See the module's description.
pub struct Peer {
    /// Its number, which no other connection has or gets.
    pub id: u64,
    /// The connection.
    pub socket: OwnedFd,
    /// The process at the other end.
    pub process: Credentials,
    /// How far it has come.
    pub standing: Standing,
    /// What it calls itself.
    pub name: [u8; NAME_LEN],
    /// Blobs that it has open.
    pub opened: BTreeMap<u64, OpenBlob>,
    /// Its brackets, by its names for them.
    pub brackets: HashMap<u64, Held>,
    /// The request that helpers are at, other than BEGINs. What comes behind it waits.
    pub underway: Option<Header>,
    /// The first change that it is told of, if it is told of any.
    pub watches: Option<u64>,
    /// What it has yet to read.
    pub outbox: Outbox,
    /// Counts the BEGINs that helpers have of it.
    pub jobs: Arc<()>,
    /// Whether it is waited for that the socket takes more, and that it has more.
    pub interest: (bool, bool),
}

impl Peer {
    /// A connection that has said nothing yet.
    pub fn new(id: u64, socket: OwnedFd, process: Credentials, standing: Standing) -> Self {
        Self {
            id,
            socket,
            process,
            standing,
            name: [0; NAME_LEN],
            opened: BTreeMap::new(),
            brackets: HashMap::new(),
            underway: None,
            watches: None,
            outbox: Outbox::default(),
            jobs: Arc::new(()),
            interest: (false, true),
        }
    }

    /// What it may do beyond reading.
    pub fn capabilities(&self) -> Capabilities {
        match self.standing {
            Standing::Greeted(capabilities) => capabilities,
            Standing::TurnedAway(_) | Standing::Stranger(_) => Capabilities::empty(),
        }
    }

    /// Checks that it has a capability.
    ///
    /// # Errors
    /// [`Status::Unsupported`]
    pub fn require(&self, capability: Capabilities) -> Result<(), Refusal> {
        match self.capabilities().contains(capability) {
            true => Ok(()),
            false => Err(Status::Unsupported.into()),
        }
    }

    /// Whether it may write.
    pub fn may_write(&self) -> bool {
        self.capabilities().contains(Capabilities::WRITE)
    }

    /// Whether its next request is read. One that does not read its replies is not answered more.
    pub fn is_heard(&self) -> bool {
        self.underway.is_none() && self.outbox.is_empty()
    }

    /// How ledgers know it.
    pub fn holder(&self) -> Holder {
        Holder::Peer(self.id)
    }

    /// BEGINs that wait.
    pub fn waiting(&self) -> usize {
        let waits = |held: &&Held| matches!(held, Held::Waiting(_));
        self.brackets.values().filter(waits).count()
    }
}
