//! Why the cage cannot be entered.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Which piece of the cage is impossible here, why, and what to do.
#[derive(Debug, Error)]
pub enum CageError {
    /// Namespaces concern threads one by one.
    #[error("the cage has to be entered before there are threads, and there are {0}")]
    Threads(usize),
    /// The kernel, a container or a security module refuses namespaces.
    #[error(
        "no user namespace, in which the others are made: allow it (sysctl \
         user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns, the container's \
         seccomp profile), or pass --sandbox chroot as root, or --sandbox none"
    )]
    UserNamespace(#[source] io::Error),
    /// Not root, or without CAP_SYS_ADMIN.
    #[error(
        "no mount namespace for --sandbox chroot, which needs root: pass --sandbox namespace or \
         --sandbox none"
    )]
    MountNamespace(#[source] io::Error),
    /// The user could not be mapped into the namespace.
    #[error("no user in the user namespace ({file}): pass --sandbox chroot as root, or none")]
    UserMap {
        /// The file of /proc/self.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Something that the user named is not there.
    #[error("the cage cannot show {path}")]
    Show {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No fresh /proc: a container covers parts of its own.
    #[error(
        "no /proc for the process namespace, as in a container that hides parts of its own: let \
         the container have an unmasked /proc, or pass --sandbox none"
    )]
    Proc(#[source] io::Error),
    /// The root could not be put together.
    #[error("the cage's root: cannot {action}; --sandbox none does without")]
    Root {
        /// What was tried.
        action: String,
        /// Why.
        source: io::Error,
    },
    /// A process could not be made.
    #[error("no process for the cage")]
    Process(#[source] io::Error),
    /// Privileges could not be given up.
    #[error("cannot give up privileges ({0})")]
    Limits(&'static str, #[source] io::Error),
    /// Landlock is there and does not work.
    #[error("Landlock")]
    Landlock(#[from] landlock::RulesetError),
    /// The filter of system calls was not taken.
    #[error(
        "no system-call filter for {policy}: the kernel needs CONFIG_SECCOMP_FILTER, or pass \
         --seccomp none"
    )]
    Seccomp {
        /// The policy.
        policy: &'static str,
        /// Why.
        source: seccompiler::Error,
    },
}

impl CageError {
    /// A step of the making of the root that failed.
    pub(super) fn root(action: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let action = action.into();
        move |errno| Self::Root {
            action,
            source: errno.into(),
        }
    }
}
