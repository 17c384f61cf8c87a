//! The table of blobs.

use std::io::Write;

use coherd_sync::{
    Agreement, Backing, Caching, Connection, Entry, EntryFlags, Holder, HolderKind, Ledger,
};

use super::{CtlError, is_gone};
use crate::size;

const HEAD: [&str; 7] = ["BLOB", "SIZE", "KIND", "TOLD", "FILE", "HOLDERS", "AGREE"];

/// Writes a line for each blob.
pub fn list(peer: &Connection, out: &mut impl Write) -> Result<(), CtlError> {
    let mut rows = vec![HEAD.map(str::to_owned)];
    for entry in peer.list()? {
        match peer.describe(entry.blob) {
            Ok(ledger) => rows.push(row(&entry, &ledger)),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let widths: [usize; HEAD.len()] = std::array::from_fn(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    for row in rows {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

fn row(entry: &Entry, ledger: &Ledger) -> [String; HEAD.len()] {
    let caching = |caching: Option<Caching>| caching.map_or("-".to_owned(), |c| c.to_string());
    let holders: Vec<String> = ledger.holders.iter().map(holder).collect();
    [
        entry.blob.to_string(),
        size::format(entry.size),
        kind(entry, ledger),
        caching(ledger.memory.told),
        caching(ledger.memory.file),
        match holders.is_empty() {
            true => "-".to_owned(),
            false => holders.join(","),
        },
        match ledger.agreement {
            Agreement::Agree => "yes",
            Agreement::Differ => "no",
            Agreement::Unknown => "unknown",
        }
        .to_owned(),
    ]
}

fn kind(entry: &Entry, ledger: &Ledger) -> String {
    let backing = match ledger.memory.backing {
        Backing::DmaBuf => "dma-buf",
        Backing::Memfd => "memfd",
        Backing::MemfdWithHeader => "memfd+header",
        Backing::Unknown => "no-file",
    };
    match entry.flags.contains(EntryFlags::IMAGE) {
        true => format!("{backing},image"),
        false => backing.to_owned(),
    }
}

fn holder(holder: &Holder) -> String {
    let who = match holder.kind {
        HolderKind::Guest => "guest".to_owned(),
        HolderKind::Vmm => "vmm".to_owned(),
        HolderKind::Server => "coherd".to_owned(),
        HolderKind::Peer | HolderKind::Other => match holder.pid {
            Some(pid) => format!("{}({pid})", holder.name.replace([' ', ','], "-")),
            None => holder.name.replace([' ', ','], "-"),
        },
    };
    match holder.open {
        0 => who,
        open => format!("{who}:{open}"),
    }
}
