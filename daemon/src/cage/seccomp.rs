//! System calls that each kind of thread may make: `daemon/seccomp/*.policy`, compiled by
//! `build.rs`. Filters add up: a thread has that of the process and its own.

use std::sync::OnceLock;

use seccompiler::{BpfProgram, sock_filter};

use super::{CageError, SeccompMode};

/// Kinds of threads of the daemon that confine themselves further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// Serves the VMM's requests.
    Main,
    /// Serves the guest's commands.
    Device,
    /// Copies, fills and waits for one context.
    Context,
    /// Reads the configuration again.
    Reload,
    /// Serves clients of the control socket.
    Control,
    /// Serves peers of the sync protocol.
    Sync,
    /// Ends the process when the others do not.
    LastResort,
}

/// Who a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// The whole daemon: what its threads may do together, and the threads that drivers make.
    Process,
    /// One of its threads.
    Thread(Thread),
    /// The render server and its workers.
    RenderServer,
    /// The process outside.
    Keeper,
}

/// One policy as BPF, each instruction as one word.
struct Compiled {
    name: &'static str,
    /// What it allows, for calls that are killed, trapped or logged otherwise.
    allowed: [&'static [u64]; 3],
    /// Calls that fail with an error: the C library has another way then.
    refused: &'static [&'static [u64]],
}

include!(concat!(env!("OUT_DIR"), "/policies.rs"));

#[derive(Clone, Copy)]
struct Mode {
    mode: SeccompMode,
    jit: bool,
}

static MODE: OnceLock<Mode> = OnceLock::new();

/// Decides for this process what policies do. Before that they do nothing.
pub(super) fn set_mode(mode: SeccompMode, jit: bool) {
    // A process enters once.
    let _ = MODE.set(Mode { mode, jit });
}

impl Policy {
    fn file(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Thread(Thread::Main) => "main",
            Self::Thread(Thread::Device) => "device",
            Self::Thread(Thread::Context) => "context",
            Self::Thread(Thread::Reload) => "reload",
            Self::Thread(Thread::Control) => "control",
            Self::Thread(Thread::Sync) => "sync",
            Self::Thread(Thread::LastResort) => "last-resort",
            Self::RenderServer => "render-server",
            Self::Keeper => "keeper",
        }
    }

    fn compiled(self, jit: bool) -> Option<&'static Compiled> {
        let name = self.file();
        let wanted = |policy: &&Compiled| match policy.name.strip_suffix("+jit") {
            Some(base) => jit && base == name,
            None => !jit && policy.name == name,
        };
        POLICIES.iter().find(wanted)
    }
}

/// Puts a policy on the calling thread.
pub(super) fn install(policy: Policy) -> Result<(), CageError> {
    let Some(Mode { mode, jit }) = MODE.get().copied() else {
        return Ok(());
    };
    let column = match mode {
        SeccompMode::Kill => 0,
        SeccompMode::Trap => 1,
        SeccompMode::Log => 2,
        SeccompMode::None => return Ok(()),
    };
    let failed = |source| CageError::Seccomp {
        policy: policy.file(),
        source,
    };
    let compiled = policy.compiled(jit);
    let compiled = compiled.ok_or(failed(seccompiler::Error::EmptyFilter))?;
    // The allow-list comes last: it may not have the call that installs another.
    for words in compiled.refused.iter().chain([&compiled.allowed[column]]) {
        seccompiler::apply_filter(&program(words)).map_err(failed)?;
    }
    Ok(())
}

/// `struct sock_filter` from the words of `build.rs`.
fn program(words: &[u64]) -> BpfProgram {
    words
        .iter()
        .map(|word| {
            let [c0, c1, jt, jf, k0, k1, k2, k3] = word.to_le_bytes();
            sock_filter {
                code: u16::from_le_bytes([c0, c1]),
                jt,
                jf,
                k: u32::from_le_bytes([k0, k1, k2, k3]),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Policy; 10] = [
        Policy::Process,
        Policy::Thread(Thread::Main),
        Policy::Thread(Thread::Device),
        Policy::Thread(Thread::Context),
        Policy::Thread(Thread::Reload),
        Policy::Thread(Thread::Control),
        Policy::Thread(Thread::Sync),
        Policy::Thread(Thread::LastResort),
        Policy::RenderServer,
        Policy::Keeper,
    ];

    #[test]
    fn every_policy_is_compiled_with_and_without_a_compiler_in_the_driver() {
        for policy in ALL {
            for jit in [false, true] {
                let compiled = policy.compiled(jit).unwrap();
                assert!(compiled.allowed.iter().all(|words| words.len() > 20));
            }
        }
    }

    #[test]
    fn program_is_what_the_kernel_reads() {
        let filter = program(&[0x7fff_0000_0201_0006]);
        assert_eq!((filter[0].code, filter[0].jt, filter[0].jf), (6, 1, 2));
        assert_eq!(filter[0].k, 0x7fff_0000);
    }
}
