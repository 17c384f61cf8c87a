//! Who is at the other end of a socket, in the numbers of the host.
//!
//! A process in namespaces of its own sees nobody's process id but those of its own, and has one
//! number for all users that it does not know. So it asks its keeper.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::cage;

/// A process and who runs it, when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its id; 0 if it is not to be seen.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

impl Credentials {
    /// Those of the process that connected to `socket`.
    ///
    /// # Errors
    /// That of getsockopt, or of the way to the keeper.
    pub fn of_peer(socket: impl AsFd) -> io::Result<Self> {
        match cage::door() {
            Some(door) => door.credentials(socket),
            None => Self::seen_from_here(socket),
        }
    }

    /// The same in the numbers of the namespaces in which this process is.
    ///
    /// # Errors
    /// That of getsockopt.
    pub fn seen_from_here(socket: impl AsFd) -> io::Result<Self> {
        let peer = getsockopt(&socket, PeerCredentials)?;
        Ok(Self {
            pid: u32::try_from(peer.pid()).unwrap_or(0),
            uid: peer.uid(),
            gid: peer.gid(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{getegid, geteuid};
    use std::os::unix::net::UnixStream;

    #[test]
    fn maker_of_a_socket_pair_is_at_both_ends() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let found = Credentials::of_peer(&ours).unwrap();
        assert_eq!(found.pid, std::process::id());
        assert_eq!(found.uid, geteuid().as_raw());
        assert_eq!(found.gid, getegid().as_raw());
    }

    #[test]
    fn file_has_nobody_at_its_other_end() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Credentials::of_peer(&file).is_err());
    }
}
