//! Tests in a guest whose kernel has real dma-bufs: udmabuf, the system heap and vgem.
//!
//! The guest has no GPU of ours. Its root runs the test programs that were built in the lab, and
//! lavapipe there exports dma-bufs.

mod exporters;

use std::time::{Duration, Instant};

use crate::lab::{Lab, LabError};
use crate::libtest::{self, Results};
use crate::progress::Progress;
use crate::tally::Tally;
use crate::test_programs::{self, TestProgram, TestProgramError};
use crate::vm::{Vm, VmError};

/// The crates whose test programs run, and of the last one the targets.
const PACKAGES: [&str; 2] = ["coherd-blob", "coherd-vulkan"];
const TESTS: (&str, [&str; 1]) = ("coherd-tests", ["dma_buf"]);

/// Nothing of what a test may do without elsewhere may be absent here.
const ENVIRONMENT: &str = "COHERD_REQUIRE_VULKAN=1 COHERD_REQUIRE_DMA_BUF=1";

/// A busy host without KVM needs a multiple of the usual seconds.
const BOOT: Duration = Duration::from_secs(180);
const PROGRAM: Duration = Duration::from_secs(300);

/// Why the tests could not be run.
#[derive(Debug, thiserror::Error)]
pub enum DmaBufError {
    /// The lab does not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The test programs could not be built.
    #[error(transparent)]
    Programs(#[from] TestProgramError),
    /// The guest does not work.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The guest's kernel lacks an exporter.
    #[error("guest's kernel has not all exporters of dma-bufs:\n{0}")]
    Exporters(String),
    /// No test has such a name.
    #[error("no test's name contains {0:?}")]
    NoSuchTest(String),
}

/// Runs the tests whose name contains `filter`, all without one, shows what they print, and counts
/// them. A program that ends without a result counts as one failed test.
///
/// # Errors
/// See [`DmaBufError`].
pub fn run(lab: &Lab, filter: Option<&str>, progress: &Progress) -> Result<Tally, DmaBufError> {
    progress.say("building the test programs in the lab");
    let programs = {
        let _waiting = progress.waiting("compiling");
        test_programs::build(lab)?
    };
    let began = Instant::now();
    let _waiting = progress.waiting("running tests in a guest");
    let vm = Vm::builder(lab).start(progress)?;
    vm.wait_ready(BOOT)?;
    let found = exporters::ready(&vm)?;
    progress.say(&format!(
        "a guest booted in {:.1} s ({:?}); {found}",
        began.elapsed().as_secs_f32(),
        vm.accel()
    ));
    let mut tally = Tally::default();
    for program in programs.iter().filter(|program| is_chosen(program)) {
        tally += run_one(&vm, program, filter, progress)?;
    }
    progress.say(&format!(
        "boot and tests took {:.1} s",
        began.elapsed().as_secs_f32()
    ));
    match filter {
        Some(filter) if tally == Tally::default() => Err(DmaBufError::NoSuchTest(filter.into())),
        _ => Ok(tally),
    }
}

fn is_chosen(program: &TestProgram) -> bool {
    let (tests, targets) = TESTS;
    PACKAGES.contains(&program.package.as_str())
        || (program.package == tests && targets.contains(&program.target.as_str()))
}

fn run_one(
    vm: &Vm,
    program: &TestProgram,
    filter: Option<&str>,
    progress: &Progress,
) -> Result<Tally, VmError> {
    let began = Instant::now();
    let TestProgram {
        package,
        target,
        path,
        folder,
    } = program;
    let (path, folder) = (path.display(), folder.display());
    let arguments = libtest::ARGUMENTS.join(" ");
    let filter = filter.map_or_else(String::new, quoted);
    let output = vm.run(
        &format!(
            "cd {folder} && exec env {ENVIRONMENT} CARGO_MANIFEST_DIR={folder} \
             {path} {arguments} {filter}"
        ),
        PROGRAM,
    )?;
    let results = Results::read(&output.log);
    print!("{}", results.shown);
    let mut tally = results.tally;
    if output.status != 0 && tally.failed == 0 {
        println!(
            "FAILED: {package} {target} ended with status {}",
            output.status
        );
        tally.failed += 1;
    }
    progress.say(&format!(
        "{package} {target}: {tally}, {:.1} s",
        began.elapsed().as_secs_f32()
    ));
    Ok(tally)
}

/// A word for the guest's shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_one_word_whatever_it_holds() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
