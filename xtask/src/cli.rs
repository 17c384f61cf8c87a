//! The command line.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use clap::{Args, Parser, Subcommand};

use crate::audit;
use crate::coherd;
use crate::conformance::{self, ConformanceArgs};
use crate::demo::{self, DemoArgs};
use crate::dist::{self, Packages};
use crate::dma_buf::{self, MatrixArgs};
use crate::fuzz::{self, FuzzArgs};
use crate::gpu_check::{self, GpuCheckArgs};
use crate::lab::enter::{Plan, enter};
use crate::lab::{self, Lab, LabError};
use crate::progress::Progress;
use crate::shipped;
use crate::system;
use crate::test;
use crate::vm::smoke;

/// What a subcommand may fail with.
pub type AnyError = Box<dyn Error>;

/// Developer commands of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
pub struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build or find the lab: a Debian root with QEMU, Mesa and virglrenderer
    Lab(LabArgs),
    /// Show a guest under stock QEMU that runs Vulkan programs through coherd
    Demo(DemoArgs),
    /// Run the conformance suite against coherd or any other vhost-user GPU
    Conformance(ConformanceArgs),
    /// Run everything CI runs
    Test,
    /// Make a .deb and an .rpm, and try them
    Dist {
        /// Only try those that are there
        #[arg(long)]
        check: bool,
    },
    /// Run tests where there are real dma-bufs: in a guest whose kernel makes them without a GPU
    DmaBuf {
        /// Run only the tests whose name contains this
        filter: Option<String>,
    },
    /// Show the matrix of memory types, as docs/memory-types.md has it
    Matrix(MatrixArgs),
    /// Feed the daemon's rooms inputs that a fuzzer makes up
    Fuzz(FuzzArgs),
    /// Print what the released programs are made of and what for, and check it against deny.toml
    Audit,
    /// Build a program that checks and measures the memory of a GPU, to be run on any machine
    GpuCheck(GpuCheckArgs),
    /// Boot a guest, reboot it and stop it
    #[command(hide = true)]
    VmSmoke {
        /// Open a shell in the guest before it is stopped
        #[arg(long)]
        keep: bool,
        /// Give the guest the GPU that listens on this socket
        #[arg(long, value_name = "SOCKET")]
        gpu: Option<PathBuf>,
    },
    /// Run the whole-system cases, or those whose name contains FILTER
    #[command(hide = true)]
    System { filter: Option<String> },
    /// Check the units and the libvirt domain with the tools they are for
    #[command(hide = true)]
    Shipped,
    /// Become a program inside the lab; started by the other commands
    #[command(hide = true)]
    LabEnter(Plan),
}

#[derive(Debug, Args)]
struct LabArgs {
    /// Open a shell inside the lab
    #[arg(long, conflicts_with = "command")]
    shell: bool,
    /// Remove every lab from the cache
    #[arg(long, conflicts_with_all = ["shell", "command"])]
    clean: bool,
    /// Run this program inside the lab
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Cli {
    /// Runs the chosen subcommand to its exit code.
    pub fn run(self) -> Result<ExitCode, AnyError> {
        let progress = Progress::start();
        match self.task {
            Task::Lab(args) => enter_lab(&args, &progress),
            Task::Demo(args) => {
                demo::run(&args, &progress)?;
                Ok(ExitCode::SUCCESS)
            }
            Task::Conformance(args) => Ok(success(conformance::run(&args, &progress)?)),
            Task::Test => Ok(success(test::run(&progress)?)),
            Task::Dist { check } => packages(check, &progress),
            Task::DmaBuf { filter } => {
                let lab = Lab::ensure(&progress)?;
                let guest = dma_buf::Guest::boot(&lab, &progress)?;
                let tally = guest.test(filter.as_deref(), &progress)?;
                println!("{tally}");
                Ok(success(tally.failed == 0))
            }
            Task::Matrix(args) => {
                dma_buf::show_matrix(&args, &Lab::ensure(&progress)?, &progress)?;
                Ok(ExitCode::SUCCESS)
            }
            Task::Fuzz(args) => Ok(fuzz::run(&args, &progress)?),
            Task::Audit => Ok(success(audit::run(&lab::checkout()?)?)),
            Task::GpuCheck(args) => Ok(success(gpu_check::run(&args, &progress)?)),
            Task::VmSmoke { keep, gpu } => {
                smoke::run(&Lab::ensure(&progress)?, gpu, keep, &progress)?;
                Ok(ExitCode::SUCCESS)
            }
            Task::System { filter } => system(filter.as_deref(), &progress),
            Task::Shipped => {
                let tally = shipped::check(&Lab::ensure(&progress)?)?;
                println!("{tally}");
                Ok(success(tally.failed == 0))
            }
            Task::LabEnter(plan) => match enter(&plan)? {},
        }
    }
}

fn success(success: bool) -> ExitCode {
    ExitCode::from(u8::from(!success))
}

fn packages(only_check: bool, progress: &Progress) -> Result<ExitCode, AnyError> {
    let lab = Lab::ensure(progress)?;
    // What the guest runs that tries them.
    coherd::build(&lab, progress)?;
    let packages = if only_check {
        Packages::of(&lab)
    } else {
        coherd::build_release(&lab, progress)?;
        dist::make(&lab, coherd::released, progress)?
    };
    let tally = dist::check(&lab, &packages, progress)?;
    println!(
        "{}\n{}\n{tally}",
        packages.deb.display(),
        packages.rpm.display()
    );
    Ok(success(tally.failed == 0))
}

fn system(filter: Option<&str>, progress: &Progress) -> Result<ExitCode, AnyError> {
    let lab = Lab::ensure(progress)?;
    coherd::build(&lab, progress)?;
    let report = system::run(&lab, progress, filter)?;
    println!("{report}");
    Ok(success(report.is_success()))
}

fn enter_lab(args: &LabArgs, progress: &Progress) -> Result<ExitCode, AnyError> {
    if args.clean {
        Lab::clean(progress)?;
        return Ok(ExitCode::SUCCESS);
    }
    let lab = Lab::ensure(progress)?;
    if args.shell {
        return foreground(&mut lab.command("bash"));
    }
    if let Some((program, rest)) = args.command.split_first() {
        return foreground(lab.command(program).args(rest));
    }
    println!("lab: {}", lab.root().display());
    print!("{}", lab.versions());
    Ok(ExitCode::SUCCESS)
}

fn foreground(command: &mut Command) -> Result<ExitCode, AnyError> {
    let status = command
        .status()
        .map_err(LabError::io("start a program inside the lab"))?;
    Ok(exit_code(status))
}

/// A shell's view of how a program ended: 128 plus the signal that killed it.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;

    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
