//! `gpu-check`: one program that checks and measures the memory of a GPU on any machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use clap::Args;

use crate::coherd::released;
use crate::lab::{Lab, LabError};
use crate::progress::Progress;

/// The program's name.
const NAME: &str = "gpu-check";

/// Where it is put, below the checkout.
const FOLDER: &str = "target/gpu-check";

const README: &str = "\
gpu-check checks and measures the memory of a GPU for coherd.

It needs a 64-bit Linux with glibc 2.34 or later, a Vulkan loader (libvulkan.so.1) and a Vulkan
driver. Copy this folder to such a machine and run, as a user who may use the GPU:

    ./gpu-check                  the first GPU
    ./gpu-check --device NAME    the device whose name contains NAME
    ./gpu-check --help           what else there is

It prints a table in Markdown, which belongs into docs/memory-types.md, and ends with status 1 if
anything was not as coherd believes.
";

/// Options of `cargo xtask gpu-check`.
#[derive(Debug, Args)]
pub struct GpuCheckArgs {
    /// Run it as well: in the lab, whose driver renders with the CPU
    #[arg(long)]
    run: bool,
    /// With --run: options of the program
    #[arg(last = true, requires = "run")]
    options: Vec<String>,
}

/// Why there is no program, or no result.
#[derive(Debug, thiserror::Error)]
pub enum GpuCheckError {
    /// The lab does not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A program of the lab could not be started.
    #[error("cannot start {0} in the lab")]
    Start(&'static str, #[source] io::Error),
    /// It does not build; the compiler has said why.
    #[error("{NAME} does not build")]
    Build,
    /// It could not be put where it belongs.
    #[error("cannot write {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Builds the program and puts it into a folder that can be copied to another machine; `false` if
/// it ran and found a fault.
///
/// # Errors
/// See [`GpuCheckError`].
pub fn run(args: &GpuCheckArgs, progress: &Progress) -> Result<bool, GpuCheckError> {
    let lab = Lab::ensure(progress)?;
    build(&lab, progress)?;
    let folder = put(&lab)?;
    println!("program: {}", folder.join(NAME).display());
    if args.run {
        return Ok(start(&lab, &args.options)?.success());
    }
    Ok(true)
}

fn build(lab: &Lab, progress: &Progress) -> Result<(), GpuCheckError> {
    progress.say("building gpu-check in the lab");
    lab.fetch_crates()?;
    let _waiting = progress.waiting("compiling");
    let built = lab
        .cargo(&["build", "--release", "--quiet", "--package=coherd-tests"])
        .args(["--bin", NAME])
        .stdin(Stdio::null())
        .status()
        .map_err(|source| GpuCheckError::Start("cargo", source))?;
    match built.success() {
        true => Ok(()),
        false => Err(GpuCheckError::Build),
    }
}

fn put(lab: &Lab) -> Result<PathBuf, GpuCheckError> {
    let folder = lab.checkout().join(FOLDER);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| GpuCheckError::Write { path, source }
    };
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let (target, readme) = (folder.join(NAME), folder.join("README"));
    fs::copy(lab.on_host(&released(NAME)), &target).map_err(failed(&target))?;
    fs::write(&readme, README).map_err(failed(&readme))?;
    Ok(folder)
}

fn start(lab: &Lab, options: &[String]) -> Result<ExitStatus, GpuCheckError> {
    lab.command(released(NAME))
        .args(options)
        .stdin(Stdio::null())
        .status()
        .map_err(|source| GpuCheckError::Start(NAME, source))
}
