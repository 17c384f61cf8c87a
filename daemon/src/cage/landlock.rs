//! Landlock on top of the root: what can be done with what is there, no TCP, and no signals or
//! abstract sockets to the outside. It holds where a mount does not, and needs no namespace.

use std::path::Path;

pub use landlock::RulesetError;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope, make_bitflags,
};
use rustix::fs::{Mode, OFlags, open};

use super::plan::{Access, Plan};

/// The newest interface that is asked for. An older kernel does less.
const NEWEST: ABI = ABI::V10;

/// What the kernel executes to start a program.
const LOADERS: [&str; 6] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux-riscv64-lp64d.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
    "/nix/store",
];

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// Files of the process's own.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer | Truncate
});

/// Restricts the calling thread, and processes and threads it makes, to `plan`. Returns the
/// version of the interface that the kernel has; `None` if it has none.
///
/// # Errors
/// The kernel's.
pub fn restrict(plan: &Plan) -> Result<Option<i32>, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let mut ruleset = allow(ruleset, Path::new("/tmp"), WRITE)?;
    ruleset = allow(ruleset, Path::new("/proc"), READ)?;
    // Drivers list the devices.
    ruleset = allow(ruleset, Path::new("/dev"), AccessFs::ReadDir.into())?;
    for shown in &plan.shown {
        ruleset = allow(ruleset, &shown.at, rights(shown.access))?;
    }
    if plan.server.is_some() {
        for loader in LOADERS {
            ruleset = allow(ruleset, Path::new(loader), AccessFs::Execute.into())?;
        }
    }
    Ok(match ruleset.restrict_self()?.landlock {
        LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as i32),
        _ => None,
    })
}

fn rights(access: Access) -> BitFlags<AccessFs> {
    match access {
        Access::Data | Access::Code => READ,
        Access::Program => make_bitflags!(AccessFs::{ReadFile | Execute}),
        Access::Device => make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | IoctlDev}),
        Access::Cache => WRITE,
    }
}

/// What is not there needs no rule.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    // By the kernel itself: a library that was preloaded may make up devices when it is asked.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(fd) = open(path, flags, Mode::empty()) else {
        return Ok(ruleset);
    };
    let rights = if path.is_dir() {
        rights
    } else {
        rights & AccessFs::from_file(NEWEST)
    };
    ruleset.add_rule(PathBeneath::new(fd, rights))
}
