//! The packages: a .deb and an .rpm with the program, units, manuals, completions, licences and the
//! bill of materials.

mod install;
mod licences;
mod sbom;
mod tools;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::tools::{CARGO_DEB, CARGO_GENERATE_RPM};
use crate::graph::{Graph, GraphError};
use crate::lab::{Lab, LabError, SOURCE, TARGET};
use crate::progress::Progress;
use crate::tally::Tally;
use crate::test_programs;

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
    #[error("{0} failed")]
    Failed(&'static str),
    /// A program that makes packages could not be built; the compiler has said why.
    #[error("{0} does not build")]
    Tool(String),
    /// There is no place for the programs that make packages.
    #[error(transparent)]
    Lab(#[from] LabError),
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

impl Packages {
    /// Where [`make`] leaves them.
    #[must_use]
    pub fn of(lab: &Lab) -> Self {
        let folder = lab.checkout().join(FOLDER);
        Self {
            deb: folder.join("coherd.deb"),
            rpm: folder.join("coherd.rpm"),
        }
    }
}

/// Builds the programs that make packages, if they are not there; [`make`] does too.
///
/// # Errors
/// See [`DistError`].
pub fn prepare(progress: &Progress) -> Result<(), DistError> {
    for tool in [CARGO_DEB, CARGO_GENERATE_RPM] {
        tool.ensure(progress)?;
    }
    Ok(())
}

/// Makes the packages of what is at `built`: [`crate::coherd::released`], or [`crate::coherd::program`] to try
/// how packages are made.
///
/// # Errors
/// See [`DistError`].
pub fn make(
    lab: &Lab,
    built: fn(&str) -> PathBuf,
    progress: &Progress,
) -> Result<Packages, DistError> {
    let checkout = lab.checkout();
    let folder = checkout.join(FOLDER);
    fs::create_dir_all(&folder).map_err(io("make the folder target/dist"))?;
    for name in BUILT {
        let built = lab.on_host(&built(name));
        fs::copy(&built, folder.join(name)).map_err(io(format!("copy {}", built.display())))?;
    }
    documents(lab)?;
    let graph = Graph::load(checkout)?;
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).map_err(io(format!("write {name}")))
    };
    write("copyright", licences::own(checkout)?)?;
    write("third-party-licences.txt", licences::third_party(&graph)?)?;
    write("coherd.cdx.json", format!("{:#}\n", sbom::bill(&graph)))?;

    let packages = Packages::of(lab);
    let mut deb = Command::new(CARGO_DEB.ensure(progress)?);
    deb.args(["--no-build", "--no-strip", "--quiet", "--package=coherd"])
        .arg("--output")
        .arg(&packages.deb)
        .current_dir(checkout);
    run("cargo-deb", &mut deb)?;
    let mut rpm = Command::new(CARGO_GENERATE_RPM.ensure(progress)?);
    rpm.args(["--package=daemon", "--auto-req=disabled", "--output"])
        .arg(&packages.rpm)
        .current_dir(checkout);
    run("cargo-generate-rpm", &mut rpm)?;
    Ok(packages)
}

/// Has the manuals and the completions written by the program's own description of its options. As
/// an example it is built with the tests.
fn documents(lab: &Lab) -> Result<(), DistError> {
    const NAME: &str = "documents";
    let build = ["build", "--quiet", "--example", NAME];
    let mut build = lab.cargo(&build);
    run(
        "the build of the documents",
        build.args(test_programs::OPTIONS),
    )?;
    let target = Path::new(TARGET).join("debug/examples");
    let mut write = lab.command(target.join(NAME));
    run(
        "the writer of the documents",
        write.arg(Path::new(SOURCE).join(FOLDER)),
    )
}

/// Looks into both packages, and has the .deb installed in fresh copies of the lab, used by a guest,
/// and removed. The guest's programs have to be built ([`crate::coherd::build`]).
///
/// # Errors
/// See [`DistError`]; a check that fails is counted.
pub fn check(lab: &Lab, packages: &Packages, progress: &Progress) -> Result<Tally, DistError> {
    let mut tally = Tally::default();
    install::deb(lab, &packages.deb, progress, &mut tally)?;
    install::rpm(lab, &packages.rpm, &mut tally)?;
    Ok(tally)
}

/// Runs a program that does `what`.
fn run(what: &'static str, command: &mut Command) -> Result<(), DistError> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(io(format!("start {what}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(DistError::Failed(what)),
    }
}
