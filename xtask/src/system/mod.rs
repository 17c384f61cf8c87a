//! Whole-system cases: programs in a guest of stock QEMU, coherd on the lab's driver.
//!
//! Cases of one kind share a guest, one after the other; kinds run side by side where there are processors for it. One
//! that fails costs the next ones nothing: they get a new guest.

mod app;
mod blob;
mod ctl;
mod deaths;
mod drawing;
mod failure;
mod fences;
mod hot_plug;
mod kernel_log;
mod kms;
mod machine;
mod memory;
mod ordinary_user;
mod process;
mod quiet;
mod report;
mod rig;
mod saving;
mod scene;
mod session;
mod sharing;
mod wait;

use std::time::Instant;

use failure::Failure;
pub use report::{Entry, Report, Verdict};
use rig::{Rig, Setup};

use crate::explain::one_line;
use crate::lab::Lab;
use crate::lanes::{processors, side_by_side};
use crate::progress::Progress;

/// Why no case was run.
#[derive(Debug, thiserror::Error)]
#[error("no case is called {filter:?}; there are {}", names().join(", "))]
pub struct NoSuchCase {
    filter: String,
}

/// What a guest and its GPU keep busy.
const PROCESSORS: usize = 2;

struct Case {
    name: &'static str,
    setup: Setup,
    run: fn(&mut Rig<'_>) -> Result<Verdict, Failure>,
    after: After,
}

/// What a case that passed leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// A guest as it was before.
    Idle,
    /// Nothing that another case could use.
    Ruins,
}

const fn case(
    name: &'static str,
    setup: Setup,
    run: fn(&mut Rig<'_>) -> Result<Verdict, Failure>,
) -> Case {
    Case {
        name,
        setup,
        run,
        after: After::Idle,
    }
}

const fn last_case(
    name: &'static str,
    setup: Setup,
    run: fn(&mut Rig<'_>) -> Result<Verdict, Failure>,
) -> Case {
    Case {
        name,
        setup,
        run,
        after: After::Ruins,
    }
}

const CASES: &[Case] = &[
    case("idle", Setup::Plain, quiet::idle),
    case("frames-match", Setup::Plain, drawing::frames_match),
    case("memory-roundtrip", Setup::Plain, memory::roundtrip),
    case("two-apps", Setup::Plain, drawing::two_apps),
    case("without-export", Setup::Plain, sharing::without_export),
    case("fresh-maps", Setup::Plain, memory::fresh_maps),
    case("blob-info", Setup::Plain, blob::info),
    case("blob-selftest", Setup::Plain, blob::selftest),
    case("blob-bandwidth", Setup::Plain, blob::bandwidth),
    case("killed-app", Setup::Plain, deaths::killed_app),
    case("sync-files", Setup::Plain, fences::sync_files),
    case("worker-death", Setup::Plain, deaths::worker_death),
    case("lost-context", Setup::Plain, deaths::lost_context),
    case("reboot-with-maps", Setup::Plain, machine::reboot_with_maps),
    case("resets", Setup::Plain, machine::resets),
    case("saved-blobs", Setup::Plain, saving::blobs),
    last_case("quits", Setup::Plain, quiet::quits),
    case("with-export", Setup::Exporting, sharing::with_export),
    case(
        "blob-context-in-vulkan",
        Setup::Exporting,
        sharing::blob_context_in_vulkan,
    ),
    last_case("server-death", Setup::Exporting, deaths::server_death),
    case(
        "ordinary-user",
        Setup::Ordinary,
        ordinary_user::draws_confined,
    ),
    case("stop-cont", Setup::Slots, machine::stop_cont),
    case("hung-shader", Setup::Hangs, deaths::hung_shader),
    case("kms-inventory", Setup::Debugging, kms::inventory),
    case("kms-flips", Setup::Debugging, kms::page_flips),
    case("kms-cube", Setup::Debugging, kms::kmscube),
    last_case("kernel-log", Setup::Debugging, session::kernel_log),
    case("kms-2d", Setup::TwoD, kms::two_d),
    case("hot-plug", Setup::Outputs, hot_plug::follows),
    case("blob-incoherent", Setup::Incoherent, blob::incoherent),
    case(
        "saved-incoherent-blobs",
        Setup::Incoherent,
        saving::incoherent_blobs,
    ),
];

/// Runs the cases whose name contains `filter`, all without one; what they need has to be built.
///
/// # Errors
/// [`NoSuchCase`]; a case that fails is part of the report.
pub fn run(lab: &Lab, progress: &Progress, filter: Option<&str>) -> Result<Report, NoSuchCase> {
    let filter = filter.unwrap_or_default();
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| case.name.contains(filter))
        .collect();
    if chosen.is_empty() {
        return Err(NoSuchCase {
            filter: filter.to_owned(),
        });
    }
    let lanes = (processors() / PROCESSORS).max(1);
    let kinds = chosen.chunk_by(|one, next| one.setup == next.setup);
    let entries = side_by_side(lanes, kinds.collect(), |cases| {
        run_kind(lab, cases, progress)
    });
    Ok(Report {
        entries: entries.concat(),
    })
}

/// Runs cases that can share guests.
fn run_kind(lab: &Lab, cases: &[&Case], progress: &Progress) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut shared = None;
    for case in cases {
        let rig = match shared.take() {
            Some(rig) => Ok(rig),
            None => Rig::start(lab, case.setup, progress),
        };
        let began = Instant::now();
        let mut played = play(case, rig, progress);
        if let Played {
            verdict: Verdict::Failed(why),
            hangs: true,
            ..
        } = &played
        {
            progress.say(&format!("{} hangs; once more in a new guest", case.name));
            eprintln!("{why}");
            drop(played.left.take());
            played = play(case, Rig::start(lab, case.setup, progress), progress);
            if let Verdict::Passed(result) = &mut played.verdict {
                result.push_str("; in a first guest it hung");
            }
        }
        let Played { verdict, left, .. } = played;
        if case.after == After::Idle && !matches!(verdict, Verdict::Failed(_)) {
            shared = left;
        }
        let entry = Entry {
            name: case.name,
            verdict,
            time: began.elapsed(),
        };
        progress.say(&entry.to_string());
        if let Verdict::Failed(why) = &entry.verdict {
            eprintln!("{why}");
        }
        entries.push(entry);
    }
    entries
}

/// A case that was played.
struct Played<'lab> {
    verdict: Verdict,
    /// The guest it was played in, if there is one.
    left: Option<Rig<'lab>>,
    /// Whether it failed since something in the guest did not end.
    hangs: bool,
}

fn play<'lab>(case: &Case, rig: Result<Rig<'lab>, Failure>, progress: &Progress) -> Played<'lab> {
    let mut rig = match rig {
        Ok(rig) => rig,
        Err(failure) => {
            return Played {
                verdict: Verdict::Failed(format!("no guest: {}", one_line(&failure))),
                left: None,
                hangs: false,
            };
        }
    };
    let _waiting = progress.waiting(case.name);
    let (verdict, hangs) = match attempt(case, &mut rig) {
        Ok(verdict) => (verdict, false),
        Err(failure) => {
            let why = format!("{}\n{}", one_line(&failure), rig.last_words(&failure));
            (Verdict::Failed(why), failure.is_a_hang())
        }
    };
    Played {
        verdict,
        left: Some(rig),
        hangs,
    }
}

fn attempt(case: &Case, rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let verdict = (case.run)(rig)?;
    if case.after == After::Idle {
        rig.is_alive()?;
        rig.lets_go()?;
    }
    Ok(verdict)
}

fn names() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_of_a_kind_follow_each_other() {
        let mut setups: Vec<Setup> = CASES.iter().map(|case| case.setup).collect();
        setups.dedup();
        assert_eq!(
            setups,
            [
                Setup::Plain,
                Setup::Exporting,
                Setup::Ordinary,
                Setup::Slots,
                Setup::Hangs,
                Setup::Debugging,
                Setup::TwoD,
                Setup::Outputs,
                Setup::Incoherent
            ]
        );
    }
}
