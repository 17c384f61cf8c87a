//! Tests in a guest whose kernel has real dma-bufs: udmabuf, the system heap and vgem.
//!
//! The guest has no GPU of ours. Its root runs the test programs that were built in the lab, and
//! lavapipe there exports dma-bufs.

mod exporters;
mod matrix;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use self::matrix::{MatrixArgs, show_matrix};

use crate::lab::{Lab, LabError};
use crate::libtest::Results;
use crate::progress::Progress;
use crate::tally::Tally;
use crate::test_programs::{self, TestProgram, TestProgramError, Variable};
use crate::vm::{Vm, VmError};

/// Crates whose test programs run, and programs that do not: they take minutes in a guest, and
/// dma-bufs are nothing to them.
const PACKAGES: [&str; 2] = ["coherd-blob", "coherd-vulkan"];
const LEFT_OUT: [&str; 4] = ["faults", "incoherent", "memory", "transfer"];

/// Of this crate only these programs run.
const TESTS: (&str, [&str; 2]) = ("coherd-tests", ["dma_buf", MATRIX]);

/// And of this program the tests of blobs that lavapipe allocates, as far as files matter to them.
const DAEMON: (&str, [&str; 7]) = (
    "daemon",
    [
        "blob_context::accesses",
        "blob_context::images",
        "blob_context::ledger",
        "blob_context::memory",
        "blob_context::scanout",
        "blob_context::transfers",
        "snapshot::vulkan::memory_goes_on_in_a_daemon_with_the_same_memory_types",
    ],
);

/// Tests that do not run: with a layer that makes no real dma-bufs.
const SKIP: [&str; 4] = [
    "--skip",
    "everything_holds_with_incoherent_memory",
    "--skip",
    "blob_context::layer",
];

/// The program that finds out the matrix of `docs/memory-types.md`, and what has it compare.
const MATRIX: &str = "memory_matrix";
const COMPARE: &str = "COHERD_COMPARE_MATRIX";

/// A busy host without KVM needs a multiple of the usual seconds.
const BOOT: Duration = Duration::from_secs(180);
const PROGRAM: Duration = Duration::from_secs(600);

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
    /// The matrix of memory types was not found out.
    #[error("memory_matrix printed no matrix; it said:\n{0}")]
    NoMatrix(String),
    /// The page that has the matrix cannot be used.
    #[error("cannot {action} {}", path.display())]
    Page {
        /// What was tried.
        action: &'static str,
        /// The page.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The page has no place for the matrix.
    #[error("no place for the matrix, between {begin:?} and {end:?}, in {}", path.display())]
    NoMarks {
        /// The page.
        path: PathBuf,
        /// The line before the matrix.
        begin: &'static str,
        /// The line after it.
        end: &'static str,
    },
    /// No test has such a name.
    #[error("no test's name contains {0:?}")]
    NoSuchTest(String),
}

/// A guest with all exporters of dma-bufs, and the test programs that can be run in it.
#[derive(Debug)]
pub struct Guest {
    vm: Vm,
    programs: Vec<TestProgram>,
}

impl Guest {
    /// Builds the test programs and boots the guest.
    ///
    /// # Errors
    /// See [`DmaBufError`].
    pub fn boot(lab: &Lab, progress: &Progress) -> Result<Self, DmaBufError> {
        progress.say("building the test programs in the lab");
        let programs = {
            let _waiting = progress.waiting("compiling");
            test_programs::build(lab)?
        };
        let _waiting = progress.waiting("booting a guest");
        let began = Instant::now();
        let vm = Vm::builder(lab).start(progress)?;
        vm.wait_ready(BOOT)?;
        let found = exporters::ready(&vm)?;
        progress.say(&format!(
            "a guest booted in {:.1} s ({:?}); {found}",
            began.elapsed().as_secs_f32(),
            vm.accel()
        ));
        Ok(Self { vm, programs })
    }

    /// Runs the tests whose name contains `filter`, all without one, shows what they print, and
    /// counts them.
    ///
    /// # Errors
    /// See [`DmaBufError`].
    pub fn test(&self, filter: Option<&str>, progress: &Progress) -> Result<Tally, DmaBufError> {
        let _waiting = progress.waiting("running tests in a guest");
        let mut selection = SKIP.to_vec();
        selection.extend(filter);
        let mut tally = Tally::default();
        for program in self.programs.iter().filter(|program| is_chosen(program)) {
            let began = Instant::now();
            let mut selection = selection.clone();
            if program.target == DAEMON.0 && filter.is_none() {
                selection.extend(DAEMON.1);
            }
            let results = self.run(program, &[(COMPARE, "1".into())], &selection)?;
            print!("{}", results.shown);
            tally += results.tally;
            let seconds = began.elapsed().as_secs_f32();
            progress.say(&format!("{program}: {}, {seconds:.1} s", results.tally));
        }
        match filter {
            Some(filter) if tally == Tally::default() => {
                Err(DmaBufError::NoSuchTest(filter.into()))
            }
            _ => Ok(tally),
        }
    }

    /// Runs tests of one program, those that libtest selects by these arguments.
    fn run(
        &self,
        program: &TestProgram,
        environment: &[Variable],
        selection: &[&str],
    ) -> Result<Results, VmError> {
        let mut all = vec![
            ("COHERD_REQUIRE_DMA_BUF", "1".into()),
            // All of them run on the host, where they take no minute.
            ("PROPTEST_CASES", "16".into()),
        ];
        all.extend_from_slice(environment);
        program.run_in_guest(&self.vm, &all, selection, PROGRAM)
    }
}

fn is_chosen(program: &TestProgram) -> bool {
    let (tests, targets) = TESTS;
    let target = program.target.as_str();
    (PACKAGES.contains(&program.package.as_str()) && !LEFT_OUT.contains(&target))
        || (program.package == tests && (targets.contains(&target) || target == DAEMON.0))
}
