//! The state of a GPU whose guest works, saved with `coherd ctl` and loaded by another coherd.
//!
//! The guest itself cannot follow: QEMU moves no guest whose GPU it has not got.

use super::app::App;
use super::ctl;
use super::failure::{Failure, expect};
use super::report::Verdict;
use super::rig::Rig;
use crate::coherd::{Coherd, Vulkan, program};
use crate::lab::Lab;

/// A guest's program that keeps memory, and looks at it.
const KEEPER: &str = "blob-keep";
/// What it prints once it has all.
const KEEPS: &str = "keeping ";

/// What a host process sees of one blob: what `coherd ctl blobs` says of it, and its bytes.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    size: String,
    told: String,
    bytes: Vec<u8>,
}

/// Another coherd has the same blobs, of the same types and with the same bytes, and the guest's
/// program goes on.
pub fn blobs(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    move_to(rig, Vulkan::Host)
}

/// The same on hosts whose memory need not be coherent.
pub fn incoherent_blobs(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    move_to(rig, Vulkan::Incoherent)
}

fn move_to(rig: &mut Rig<'_>, vulkan: Vulkan) -> Result<Verdict, Failure> {
    let keeper = App::start(&rig.vm, program(KEEPER).display().to_string())?;
    keeper.prints(KEEPS)?;
    let looks = keeper.works_on(0)?;
    let file = rig.vm.dir().join("gpu.state");
    ctl::by_sync(rig.lab, &rig.coherd, &["verify"])?;
    let before = seen(rig.lab, &rig.coherd)?;

    let path = file.display().to_string();
    let saved = ctl::by_control(rig.lab, &rig.coherd, &["save", &path])?;
    keeper.works_on(looks + 1)?;
    let other = Coherd::start(rig.lab, vulkan, &["--restore", &path])?;
    ctl::by_sync(rig.lab, &other, &["verify"])?;
    let after = seen(rig.lab, &other)?;

    expect(!before.is_empty(), || "the guest has no blobs".to_owned())?;
    expect(before == after, || different(&before, &after))?;
    let looks = keeper.works_on(looks + 2)?;
    keeper.kill()?;
    let bytes: usize = before.iter().map(|blob| blob.bytes.len()).sum();
    Ok(Verdict::Passed(format!(
        "{} blobs of {} KiB in all, {}; its program looked {looks} times",
        before.len(),
        bytes / 1024,
        String::from_utf8_lossy(&saved)
            .trim()
            .lines()
            .last()
            .unwrap_or_default()
    )))
}

/// What host processes see of the blobs that they can open, in the order of their ids.
fn seen(lab: &Lab, coherd: &Coherd) -> Result<Vec<Seen>, Failure> {
    let table = ctl::by_sync(lab, coherd, &["blobs"])?;
    let table = String::from_utf8_lossy(&table);
    let mut seen = Vec::new();
    for row in table.lines().skip(1) {
        // A size has a unit.
        let cells: Vec<&str> = row
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        let [blob, size, kind, told, ..] = cells[..] else {
            return Err(Failure::Wrong(format!(
                "a row of `coherd ctl blobs`: {row:?}"
            )));
        };
        if kind == "no-file" {
            continue;
        }
        seen.push(Seen {
            size: size.to_owned(),
            told: told.to_owned(),
            bytes: ctl::by_sync(lab, coherd, &["dump", blob])?,
        });
    }
    Ok(seen)
}

fn different(before: &[Seen], after: &[Seen]) -> String {
    let list = |all: &[Seen]| {
        let words = all.iter().map(|blob| {
            let set = blob.bytes.iter().filter(|byte| **byte != 0).count();
            format!(
                "{} {} with {set} bytes that are not 0",
                blob.size, blob.told
            )
        });
        words.collect::<Vec<_>>().join(", ")
    };
    format!(
        "blobs differ; they were {}, and are {}",
        list(before),
        list(after)
    )
}
