//! The packages: a .deb and an .rpm with the program, units, manuals, completions, licences and the
//! bill of materials.

mod install;
mod licences;
mod sbom;
mod tools;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::tools::{CARGO_DEB, CARGO_GENERATE_RPM};
use crate::coherd;
use crate::graph::{Graph, GraphError};
use crate::lab::Lab;
use crate::progress::Progress;
use crate::tally::Tally;

/// Where everything is gathered, in the checkout. The packages' metadata in `daemon/Cargo.toml`
/// names it too.
const FOLDER: &str = "target/dist";
/// What is built, by its name in the folder of releases.
const BUILT: [&str; 2] = ["coherd", "libVkLayer_coherd.so"];

/// Why there are no packages.
#[derive(Debug, thiserror::Error)]
pub enum DistError {
    /// A file or a program could not be used.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program failed, and has said why.
    #[error("{0} failed for {1}")]
    Failed(&'static str, String),
    /// What is in it could not be found out.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> DistError {
    let action = action.into();
    move |source| DistError::Io { action, source }
}

/// The packages.
#[derive(Debug)]
pub struct Packages {
    /// For Debian.
    pub deb: PathBuf,
    /// For Fedora and others.
    pub rpm: PathBuf,
}

/// Makes the packages of what [`coherd::build_release`] built.
///
/// # Errors
/// See [`DistError`].
pub fn make(lab: &Lab, progress: &Progress) -> Result<Packages, DistError> {
    let checkout = lab.checkout();
    let folder = checkout.join(FOLDER);
    fs::create_dir_all(&folder).map_err(io("make the folder target/dist"))?;
    for name in BUILT {
        let built = lab.on_host(&coherd::released(name));
        fs::copy(&built, folder.join(name)).map_err(io(format!("copy {}", built.display())))?;
    }
    run(Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--package=coherd",
            "--example=documents",
            "--",
        ])
        .arg(&folder)
        .current_dir(checkout))?;
    let graph = Graph::load(checkout)?;
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).map_err(io(format!("write {name}")))
    };
    write("copyright", licences::own(checkout)?)?;
    write("third-party-licences.txt", licences::third_party(&graph)?)?;
    write("coherd.cdx.json", format!("{:#}\n", sbom::bill(&graph)))?;

    let packages = Packages {
        deb: folder.join("coherd.deb"),
        rpm: folder.join("coherd.rpm"),
    };
    run(Command::new(CARGO_DEB.ensure(lab, progress)?)
        .args([
            "--no-build",
            "--no-strip",
            "--quiet",
            "--package=coherd",
            "--output",
        ])
        .arg(&packages.deb)
        .current_dir(checkout))?;
    run(Command::new(CARGO_GENERATE_RPM.ensure(lab, progress)?)
        .args(["--package=daemon", "--auto-req=disabled", "--output"])
        .arg(&packages.rpm)
        .current_dir(checkout))?;
    Ok(packages)
}

/// Looks into both packages, and has the .deb installed in fresh copies of the lab, used by a guest,
/// and removed. The guest's programs have to be built ([`coherd::build`]).
///
/// # Errors
/// See [`DistError`]; a check that fails is counted.
pub fn check(lab: &Lab, packages: &Packages, progress: &Progress) -> Result<Tally, DistError> {
    let mut tally = Tally::default();
    install::deb(lab, &packages.deb, progress, &mut tally)?;
    install::rpm(lab, &packages.rpm, &mut tally)?;
    Ok(tally)
}

fn run(command: &mut Command) -> Result<(), DistError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(io(format!("start {program}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(DistError::Failed("a program", name_of(&program))),
    }
}

fn name_of(program: &str) -> String {
    let name = Path::new(program).file_name();
    name.unwrap_or(OsStr::new(program))
        .to_string_lossy()
        .into_owned()
}
