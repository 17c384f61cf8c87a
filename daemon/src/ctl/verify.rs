//! What coherd says of blobs, checked.

use std::io::Write;
use std::os::fd::AsFd;

use coherd_blob::{Exporter, MapInfo};
use coherd_sync::{
    Access, Backing, Blob, Caching, Connection, Entry, EntryFlags, HolderFlags, OpenFlags,
};
use rustix::fs::OFlags;

use super::{CtlError, is_gone};
use crate::explain::one_line;

/// What became of a blob.
enum Verdict {
    Right,
    Wrong(Vec<String>),
    Skipped(&'static str),
    Gone,
}

/// Checks each blob and writes a line about it.
pub fn verify(peer: &Connection, out: &mut impl Write) -> Result<(), CtlError> {
    let (mut blobs, mut failed) = (0, 0);
    for entry in peer.list()? {
        let id = entry.blob;
        match check(peer, &entry) {
            Verdict::Gone => continue,
            Verdict::Right => writeln!(out, "blob {id}: as coherd says")?,
            Verdict::Skipped(why) => writeln!(out, "blob {id}: SKIPPED: {why}")?,
            Verdict::Wrong(faults) => {
                failed += 1;
                writeln!(out, "blob {id}: WRONG: {}", faults.join("; "))?;
            }
        }
        blobs += 1;
    }
    match failed {
        0 => Ok(()),
        failed => Err(CtlError::Wrong { failed, blobs }),
    }
}

fn check(peer: &Connection, entry: &Entry) -> Verdict {
    if !entry.flags.contains(EntryFlags::OPENABLE) {
        return Verdict::Skipped("it has no file of its own");
    }
    let blob = match peer.open(entry.blob, Access::READ) {
        Ok(blob) => blob,
        Err(error) if is_gone(&error) => return Verdict::Gone,
        Err(error) => return Verdict::Wrong(vec![format!("OPEN: {}", one_line(&error))]),
    };
    let mut faults = Vec::new();
    check_description(entry, &blob, &mut faults);
    check_file(&blob, &mut faults);
    check_ledger(peer, &blob, &mut faults);
    match check_access(&blob, &mut faults) {
        Some(verdict) if faults.is_empty() => verdict,
        _ if faults.is_empty() => Verdict::Right,
        _ => Verdict::Wrong(faults),
    }
}

/// What list and OPEN say of the same blob is the same.
fn check_description(entry: &Entry, blob: &Blob, faults: &mut Vec<String>) {
    let info = blob.info();
    let mut expect = |right: bool, fault: &str| {
        if !right {
            faults.push(fault.to_owned());
        }
    };
    let brackets = [
        entry.flags.contains(EntryFlags::NEEDS_BRACKETS),
        info.flags.contains(OpenFlags::NEEDS_BRACKETS),
    ];
    expect(info.size == entry.size, "sizes of LIST and OPEN differ");
    expect(
        brackets[0] == brackets[1],
        "LIST and OPEN differ about brackets",
    );
    let differs = info.memory.told != info.memory.file;
    expect(
        brackets[1] || !differs,
        "types differ, and it is not said that brackets are needed",
    );
    expect(
        info.memory.told.is_some() || info.memory.effective.is_none(),
        "a guest that must not map it has a type",
    );
}

/// What the kernel says of the file is what coherd says.
fn check_file(blob: &Blob, faults: &mut Vec<String>) {
    let info = blob.info();
    match rustix::fs::fcntl_getfl(blob) {
        Ok(flags) => {
            let may_write = flags & OFlags::RWMODE != OFlags::RDONLY;
            if may_write != info.fd_access.contains(Access::WRITE) {
                faults.push("the file's access is not what is said".to_owned());
            }
        }
        Err(error) => faults.push(format!("the file cannot be looked at: {error}")),
    }
    let exporter = match Exporter::of(blob.as_fd()) {
        Ok(exporter) => exporter,
        Err(error) => return faults.push(one_line(&error)),
    };
    if exporter.is_dma_buf() != (info.memory.backing == Backing::DmaBuf) {
        faults.push(format!("the file is of another kind: {exporter}"));
    }
    let same_name = match exporter {
        Exporter::Memfd | Exporter::HugetlbMemfd => info.exporter == "memfd",
        ref of_dma_buf => Exporter::from_name(&info.exporter) == *of_dma_buf,
    };
    if !same_name {
        faults.push(format!("exporter is {exporter}, not {}", info.exporter));
    }
    let cached = exporter.mmap_caching().map(|caching| match caching {
        MapInfo::Cached => Caching::Cached,
        MapInfo::Uncached => Caching::Uncached,
        MapInfo::WriteCombining => Caching::WriteCombining,
    });
    if let (Some(known), Some(said)) = (cached, info.memory.file)
        && known != said
    {
        faults.push(format!("an mmap of a {exporter} is {known}, not {said}"));
    }
}

/// The ledger has this process.
fn check_ledger(peer: &Connection, blob: &Blob, faults: &mut Vec<String>) {
    let info = blob.info();
    let ledger = match peer.describe(info.blob) {
        Ok(ledger) => ledger,
        Err(error) if is_gone(&error) => return,
        Err(error) => return faults.push(format!("DESCRIBE: {}", one_line(&error))),
    };
    let is_own = |flags: HolderFlags| flags.contains(HolderFlags::SELF);
    let mut own = ledger.holders.iter().filter(|holder| is_own(holder.flags));
    match own.next() {
        // Of memory that is not for processors there is no ledger.
        None if info.memory.told.is_none() => {}
        None => faults.push("the ledger does not have this process".to_owned()),
        Some(own) if own.caching != info.memory.file => {
            faults.push("the ledger has another type for this process".to_owned());
        }
        Some(_) => {}
    }
}

/// It can be mapped, and read inside a bracket. Returns a verdict where nothing can be said.
fn check_access(blob: &Blob, faults: &mut Vec<String>) -> Option<Verdict> {
    if !blob.info().flags.contains(OpenFlags::MMAP) {
        return Some(Verdict::Skipped("it cannot be mapped"));
    }
    let mapping = match blob.map() {
        Ok(mapping) => mapping,
        Err(error) => {
            faults.push(one_line(&error));
            return None;
        }
    };
    match mapping.read(..) {
        Ok(bytes) => {
            let mut sink = std::io::sink();
            if let Err(error) = bytes.write_to(&mut sink) {
                faults.push(format!("reading: {error}"));
            }
            if let Err(error) = bytes.end() {
                faults.push(format!("END: {}", one_line(&error)));
            }
            None
        }
        Err(error) if is_gone(&error) => Some(Verdict::Gone),
        Err(error) if error.is_timed_out() => Some(Verdict::Skipped("the GPU is not done")),
        Err(error) => {
            faults.push(format!("BEGIN: {}", one_line(&error)));
            None
        }
    }
}
