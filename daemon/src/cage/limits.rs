//! What a process gives up for itself and its children: capabilities, new privileges, core dumps,
//! and being looked into by others of its user.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::{CageError, Sandbox};

/// Nothing here needs more of these than none: a core dump holds the guest's memory, and the
/// rest are ways to burden a host.
const NONE_OF: [Resource; 4] = [
    Resource::Core,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
];

/// Gives up what the daemon does not need.
pub fn apply(sandbox: Sandbox) -> Result<(), CageError> {
    forbid_new_privileges()?;
    for resource in NONE_OF {
        forbid(resource).map_err(failed("resource limits"))?;
    }
    drop_capabilities(CapabilitySet::empty(), sandbox == Sandbox::None)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("dumpable"))
}

/// Sets a limit to nothing, for good.
pub fn forbid(resource: Resource) -> Result<(), Errno> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(resource, none)
}

/// No program that is executed gets more than this process has.
pub fn forbid_new_privileges() -> Result<(), CageError> {
    set_no_new_privs(true).map_err(failed("no_new_privs"))
}

/// Keeps at most `kept`. A process without privileges may not shrink its bounding set, which
/// matters little: it could not get anything out of it.
pub fn drop_capabilities(kept: CapabilitySet, unprivileged: bool) -> Result<(), CageError> {
    let held = rustix::thread::capabilities(None).map_err(failed("capabilities"))?;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(Errno::PERM) if unprivileged => break,
            Err(errno) => return Err(failed("bounding set")(errno)),
        }
    }
    clear_ambient_capability_set().map_err(failed("ambient set"))?;
    let kept = kept & held.permitted;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    if sets == held {
        // Service managers that gave it none may refuse the call.
        return Ok(());
    }
    set_capabilities(None, sets).map_err(failed("capabilities"))
}

fn failed(what: &'static str) -> impl FnOnce(Errno) -> CageError {
    move |errno| CageError::Limits(what, errno.into())
}
