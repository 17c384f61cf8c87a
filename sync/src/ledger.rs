//! Who maps a blob, and whether they agree.

use coherd_protocol::memory::Access;
use coherd_protocol::sync::wire::{self, Agreement, Describe, HolderFlags, ListFlags};
use coherd_protocol::sync::{Kind, reply, text};

use crate::connection::Connection;
use crate::error::SyncError;
use crate::info::{Caching, Memory};

/// Holders that are kept of one blob, whatever the server says.
const MAX_HOLDERS: usize = 65536;

/// Who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HolderKind {
    /// The guest, through its window.
    Guest = 1,
    /// The VMM.
    Vmm = 2,
    /// The server.
    Server = 3,
    /// A process that uses the sync protocol.
    Peer = 4,
    /// Somebody that a later version knows.
    Other = 0,
}

/// Somebody who maps a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id: that of a connection, or a number below 16.
    pub id: u64,
    /// Who it is.
    pub kind: HolderKind,
    /// With which type it maps.
    pub caching: Option<Caching>,
    /// What it may do.
    pub access: Access,
    /// What is true of it.
    pub flags: HolderFlags,
    /// Brackets that it has open.
    pub open: u32,
    /// Its process, where that is known.
    pub pid: Option<u32>,
    /// What a peer calls itself.
    pub name: String,
}

/// Everybody who maps a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// What memory the blob is.
    pub memory: Memory,
    /// Whether all map it as that.
    pub agreement: Agreement,
    /// Brackets that are open on it.
    pub open: u32,
    /// Who maps it.
    pub holders: Vec<Holder>,
}

impl From<&wire::Holder> for Holder {
    fn from(holder: &wire::Holder) -> Self {
        Self {
            id: holder.holder.get(),
            kind: match holder.kind.get() {
                1 => HolderKind::Guest,
                2 => HolderKind::Vmm,
                3 => HolderKind::Server,
                4 => HolderKind::Peer,
                _ => HolderKind::Other,
            },
            caching: Caching::from_wire(holder.map_info.get()),
            access: Access::from_bits_truncate(holder.access.get()),
            flags: holder.flags(),
            open: holder.open.get(),
            pid: Some(holder.pid.get()).filter(|pid| *pid != 0),
            name: text::decode(&holder.name),
        }
    }
}

impl Connection {
    /// Who maps a blob, which need not be open.
    ///
    /// # Errors
    /// See [`SyncError`].
    pub fn describe(&self, blob: u64) -> Result<Ledger, SyncError> {
        let mut after = 0;
        let mut holders: Vec<Holder> = Vec::new();
        loop {
            let describe = Describe {
                blob: blob.into(),
                after: after.into(),
                limit: 0.into(),
                reserved: 0.into(),
            };
            let answer = self.call(&describe)?;
            let head = answer.head;
            let page = reply::holders(&head, &answer.rest)
                .map_err(|error| SyncError::Malformed(Kind::Describe, error))?;
            holders.extend(page.iter().map(Holder::from));
            let last = holders.last().map_or(0, |holder| holder.id);
            let more = ListFlags::from_bits_truncate(head.flags.get()).contains(ListFlags::MORE);
            // Ids that do not go up would have no end.
            if !more || last <= after || holders.len() > MAX_HOLDERS {
                return Ok(Ledger {
                    memory: (&head.memory).into(),
                    agreement: Agreement::from_wire(head.agreement.get()),
                    open: head.open.get(),
                    holders,
                });
            }
            after = last;
        }
    }
}
