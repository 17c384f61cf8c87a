//! Everything CI runs, in the order in which a mistake shows soonest.

mod cargo;

use std::panic::resume_unwind;
use std::thread;
use std::time::Instant;

use self::cargo::{CargoError, Step};
use crate::audit::{self, AuditError};
use crate::coherd::{self, CoherdError};
use crate::conformance::{self, ConformanceError};
use crate::dist::{self, DistError};
use crate::dma_buf::{self, DmaBufError};
use crate::fuzz::{self, FuzzError, Purpose, Target};
use crate::lab::{Lab, LabError, checkout};
use crate::lanes::{processors, side_by_side};
use crate::progress::Progress;
use crate::shipped::{self, ShippedError};
use crate::system::{self, NoSuchCase, Verdict};
use crate::tally::Tally;
use crate::test_layer::{self, Profile};

/// Seconds for which CI looks for inputs that no one has thought of, per fuzz target.
const FUZZ: u32 = 10;

/// Why the tests could not be run to their end.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The lab does not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// Dependencies could not be checked.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// coherd could not be built in the lab.
    #[error(transparent)]
    Coherd(#[from] CoherdError),
    /// Cargo could not be started.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// The tests of real dma-bufs could not be run.
    #[error(transparent)]
    DmaBuf(#[from] DmaBufError),
    /// The fuzz targets could not be run.
    #[error(transparent)]
    Fuzz(#[from] FuzzError),
    /// The conformance suite could not be run.
    #[error(transparent)]
    Conformance(#[from] ConformanceError),
    /// Shipped files could not be checked.
    #[error(transparent)]
    Shipped(#[from] ShippedError),
    /// The packages could not be made or tried.
    #[error(transparent)]
    Dist(#[from] DistError),
    /// The whole-system tests could not be run.
    #[error(transparent)]
    System(#[from] NoSuchCase),
}

/// Runs all tests; `true` if none failed. The last line on standard output counts them.
///
/// # Errors
/// See [`TestError`].
pub fn run(progress: &Progress) -> Result<bool, TestError> {
    let mut tally = Tally::default();
    let lab = thread::scope(|scope| {
        // Of the two processors that it takes at least, this needs one.
        let lab = scope.spawn(|| timed("the lab", progress, || Lab::ensure(progress)));
        for step in Step::ON_HOST {
            timed(step.name, progress, || step.run_on_host(&mut tally))?;
        }
        tally += timed("cargo-deny", progress, || {
            Ok::<_, TestError>(audit::cargo_deny(&checkout()?, &Lab::tools()?)?)
        })?;
        timed("programs that make packages", progress, || {
            dist::prepare(progress)
        })?;
        let lab = lab.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok::<_, TestError>(lab?)
    })?;
    print!("{}", lab.versions());
    lab.fetch_crates()?;
    test_layer::install(&lab, Profile::Tests)?;
    for step in Step::IN_LAB {
        timed(step.name, progress, || step.run_in_lab(&lab, &mut tally))?;
    }
    tally += timed("tests with real dma-bufs", progress, || {
        dma_buf::Guest::boot(&lab, progress)?.test(None, progress)
    })?;
    fuzz(&lab, progress, &mut tally)?;
    coherd::build(&lab, progress)?;
    tally += timed("shipped files", progress, || shipped::check(&lab))?;
    let counts = timed("conformance of coherd", progress, || {
        conformance::check(&lab, progress)
    })?;
    counts.lines.iter().for_each(|line| println!("{line}"));
    tally.passed += counts.passed;
    tally.failed += counts.failed;
    tally.skipped += counts.unsupported;
    let report = system::run(&lab, progress, None)?;
    for entry in &report.entries {
        *match entry.verdict {
            Verdict::Passed(_) => &mut tally.passed,
            Verdict::Failed(_) => &mut tally.failed,
            Verdict::Skipped(_) => &mut tally.skipped,
        } += 1;
        println!("{entry}");
    }
    // Last, since the programs that make them are built for it.
    tally += timed("packages", progress, || {
        let packages = dist::make(&lab, coherd::program, progress)?;
        dist::check(&lab, &packages, progress)
    })?;
    println!("{tally}");
    Ok(tally.failed == 0)
}

/// As many targets at a time as there are processors: a target is one thread.
fn fuzz(lab: &Lab, progress: &Progress, tally: &mut Tally) -> Result<(), FuzzError> {
    let fuzzers = timed("fuzz targets", progress, || {
        fuzz::build(lab, Purpose::Smoke, progress)
    })?;
    let smoke = |target: Target| {
        timed(target.name(), progress, || {
            fuzz::smoke(lab, &fuzzers, target, FUZZ)
        })
    };
    for outcome in side_by_side(processors(), Target::ALL.to_vec(), smoke) {
        let outcome = outcome?;
        *match outcome.is_clean() {
            true => &mut tally.passed,
            false => &mut tally.failed,
        } += 1;
        println!("{outcome}");
    }
    Ok(())
}

fn timed<T>(name: &str, progress: &Progress, step: impl FnOnce() -> T) -> T {
    progress.say(name);
    let _waiting = progress.waiting(name);
    let began = Instant::now();
    let result = step();
    progress.say(&format!("{name}: {:.0} s", began.elapsed().as_secs_f32()));
    result
}
