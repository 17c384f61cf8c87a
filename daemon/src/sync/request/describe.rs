//! DESCRIBE

use coherd_blob::ledger::Agreement as Agreed;
use coherd_blob::{Access, Holder as Who, MapInfo, MemoryType};
use coherd_protocol::blob_context::reply::{HolderKind, Memory, MemoryFlags};
use coherd_protocol::sync::Status;
use coherd_protocol::sync::limits::MAX_HOLDERS;
use coherd_protocol::sync::wire::{
    Agreement, Capabilities, Describe, Described, Holder, HolderFlags, ListFlags,
};
use zerocopy::{FromZeros, IntoBytes};

use super::{Answer, Hub, Result};
use crate::coherence::registry::KnownBlob;
use crate::coherence::{BlobRecord, Held};
use crate::sync::server::Peers;

/// DESCRIBE
pub(super) fn describe(hub: &Hub, peers: &Peers, id: u64, describe: &Describe) -> Result {
    let peer = peers.get(&id).ok_or(Status::Failed)?;
    peer.require(Capabilities::DESCRIBE)?;
    let known = hub.blobs.get(describe.blob.get())?;
    let Some(record) = &known.of.record else {
        return Ok(Answer::body(without_file(&known).as_bytes().to_vec()));
    };
    let mut held = record.held();
    let open = held
        .iter()
        .fold(0u32, |sum, held| sum.saturating_add(held.open));
    held.retain(|held| number(held.holder) > describe.after.get());
    held.sort_by_key(|held| number(held.holder));
    let limit = match usize::try_from(describe.limit.get()) {
        Ok(0) | Err(_) => MAX_HOLDERS,
        Ok(limit) => limit.min(MAX_HOLDERS),
    };
    let page = page_len(&held, limit);
    let mut flags = ListFlags::empty();
    flags.set(ListFlags::MORE, page < held.len());
    let holders: Vec<Holder> = held
        .iter()
        .take(page)
        .map(|held| holder(record, peers, (id, known.id), held))
        .collect();
    let agreement = match record.agreement() {
        Agreed::Agree => Agreement::Agree,
        Agreed::Unknown => Agreement::Unknown,
        Agreed::Differ => Agreement::Differ,
    };
    let head = Described {
        blob: known.id.into(),
        memory: record.describe(),
        agreement: agreement.to_wire().into(),
        open: open.into(),
        count: u32::try_from(holders.len()).unwrap_or(0).into(),
        flags: flags.bits().into(),
    };
    Ok(Answer::body([head.as_bytes(), holders.as_bytes()].concat()))
}

/// A blob that nobody can map but the guest, of whose mappings nothing is known.
fn without_file(known: &KnownBlob) -> Described {
    Described {
        blob: known.id.into(),
        memory: Memory {
            size: known.of.size.into(),
            flags: MemoryFlags::AGREED.bits().into(),
            ..Memory::new_zeroed()
        },
        ..Described::new_zeroed()
    }
}

fn number(holder: Who) -> u64 {
    match holder {
        Who::Guest => 1,
        Who::Vmm => 2,
        Who::Daemon => 3,
        Who::Peer(id) => id,
    }
}

/// How many of `held` fit a page of `limit` without a holder that is on two pages.
fn page_len(held: &[Held], limit: usize) -> usize {
    let next = held.get(limit).map(|held| held.holder);
    let Some(next) = next else {
        return held.len();
    };
    let page = held.get(..limit).unwrap_or_default();
    let of_next = page.iter().rev().take_while(|held| held.holder == next);
    match limit - of_next.count() {
        // A holder has few types; the next page would be this one again.
        0 => held.iter().take_while(|held| held.holder == next).count(),
        len => len,
    }
}

fn holder(record: &BlobRecord, peers: &Peers, (own, blob): (u64, u64), held: &Held) -> Holder {
    let id = number(held.holder);
    let peer = peers.get(&id);
    let kind = match held.holder {
        Who::Guest => HolderKind::Guest,
        Who::Vmm => HolderKind::Vmm,
        Who::Daemon => HolderKind::Daemon,
        Who::Peer(_) => HolderKind::Peer,
    };
    let access = match held.holder {
        Who::Peer(_) => peer
            .and_then(|peer| peer.opened.get(&blob))
            .map_or(Access::empty(), |opened| opened.access),
        Who::Guest | Who::Vmm | Who::Daemon => Access::READ | Access::WRITE,
    };
    let needs_brackets = match (held.holder, record.types()) {
        (Who::Peer(_), _) | (_, None) => record.needs_brackets(),
        (_, Some(types)) => MemoryType {
            caching: types.told,
            coherent: types.coherent,
        }
        .needs_brackets_through(held.caching),
    };
    let mut flags = HolderFlags::empty();
    flags.set(HolderFlags::SELF, id == own);
    flags.set(HolderFlags::NEEDS_BRACKETS, needs_brackets);
    Holder {
        holder: id.into(),
        kind: (kind as u32).into(),
        map_info: held.caching.map_or(0, MapInfo::to_wire).into(),
        access: access.bits().into(),
        flags: flags.bits().into(),
        open: held.open.into(),
        pid: peer.map_or(0, |peer| peer.process.pid).into(),
        name: peer.map_or([0; 32], |peer| peer.name),
    }
}
