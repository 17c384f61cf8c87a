//! What the process in the cage asks of its keeper outside: nothing with a path or a number in
//! it, so that a process that was taken over can ask no more than was meant to be asked.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use zerocopy::IntoBytes;

use super::Outside;
use super::message;
use crate::credentials::Credentials;
use crate::guest_pat::Accelerator;

/// The configuration file, opened anew.
const CONFIG: u8 = b'c';

/// What the command line of a socket's peer says of its hypervisor.
const PEER: u8 = b'p';

/// Who is at the other end of a socket.
const WHO: u8 = b'w';

/// An answer: 0 or an errno, or what was found; then for [`WHO`] a process, user and group.
type Answer = [i32; 4];

/// The way to the keeper.
#[derive(Debug)]
pub struct Door(Mutex<OwnedFd>);

static DOOR: OnceLock<Door> = OnceLock::new();

/// The door of this process, if it has a keeper.
pub fn door() -> Option<&'static Door> {
    DOOR.get()
}

/// Makes `socket` the door of this process.
pub(super) fn open(socket: OwnedFd) {
    // A process enters once.
    let _ = DOOR.set(Door(Mutex::new(socket)));
}

impl Door {
    /// The configuration file as it is now, for reading.
    ///
    /// # Errors
    /// That of the keeper's open.
    pub fn config(&self) -> io::Result<File> {
        match self.ask(CONFIG, None)? {
            (_, Some(file)) => Ok(file.into()),
            ([0, ..], None) => Err(io::ErrorKind::NotFound.into()),
            ([errno, ..], None) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// How the VMM at the other end of `socket` runs its guest; `None` if it does not say.
    pub fn accelerator(&self, socket: impl AsFd) -> Option<Accelerator> {
        let ([code, ..], _) = self.ask(PEER, Some(socket.as_fd())).ok()?;
        Accelerator::from_code(code)
    }

    /// Who connected to `socket`, in the numbers of the host.
    ///
    /// # Errors
    /// That of the keeper's getsockopt.
    pub fn credentials(&self, socket: impl AsFd) -> io::Result<Credentials> {
        match self.ask(WHO, Some(socket.as_fd()))?.0 {
            [0, numbers @ ..] => {
                let [pid, uid, gid] = numbers.map(i32::cast_unsigned);
                Ok(Credentials { pid, uid, gid })
            }
            [errno, ..] => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn ask(&self, what: u8, file: Option<BorrowedFd<'_>>) -> io::Result<(Answer, Option<OwnedFd>)> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        message::send(&*socket, &[what], file)?;
        let mut answer = Answer::default();
        let (length, file) = message::receive(&*socket, answer.as_mut_bytes())?;
        if length != size_of::<Answer>() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((answer, file))
    }
}

/// Answers one request, in the keeper. `false` once nobody will ask again.
pub(super) fn answer(socket: &OwnedFd, outside: &Outside) -> bool {
    let mut request = [0; 1];
    let (answer, file) = match message::receive(socket, &mut request) {
        Ok((1, None)) if request[0] == CONFIG => config(outside.config.as_deref()),
        Ok((1, Some(peer))) if request[0] == PEER => {
            let found = Accelerator::of_peer(&peer, Path::new("/"));
            (word(Accelerator::code(found)), None)
        }
        Ok((1, Some(peer))) if request[0] == WHO => (who(&peer), None),
        Ok((1, _)) => (word(libc::EINVAL), None),
        _ => return false,
    };
    let file = file.as_ref().map(AsFd::as_fd);
    message::send(socket, answer.as_bytes(), file).is_ok()
}

fn config(path: Option<&Path>) -> (Answer, Option<File>) {
    match path.map(File::open) {
        Some(Ok(file)) => (word(0), Some(file)),
        Some(Err(error)) => (word(errno_of(&error)), None),
        None => (word(libc::ENOENT), None),
    }
}

fn who(peer: &OwnedFd) -> Answer {
    match Credentials::seen_from_here(peer) {
        Ok(Credentials { pid, uid, gid }) => {
            let [pid, uid, gid] = [pid, uid, gid].map(u32::cast_signed);
            [0, pid, uid, gid]
        }
        Err(error) => word(errno_of(&error)),
    }
}

fn word(first: i32) -> Answer {
    [first, 0, 0, 0]
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// What a door gets from a keeper of `outside`.
    fn through<T>(outside: &Outside, ask: impl FnOnce(&Door) -> T) -> T {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (keeper, door) = socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| while answer(&keeper, outside) {});
            let door = Door(Mutex::new(door));
            ask(&door)
        })
    }

    #[test]
    fn configuration_is_the_file_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpu.toml");
        let outside = Outside {
            config: Some(path.clone()),
            sockets: Vec::new(),
        };
        through(&outside, |door| {
            let missing = door.config().unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
            File::create(&path).unwrap().write_all(b"renderer").unwrap();
            let mut text = String::new();
            door.config().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "renderer");
        });
    }

    #[test]
    fn requests_that_nobody_makes_get_nothing() {
        through(&Outside::default(), |door| {
            assert_eq!(door.ask(b'x', None).unwrap().0, word(libc::EINVAL));
            assert_eq!(door.ask(PEER, None).unwrap().0, word(libc::EINVAL));
            assert_eq!(door.ask(WHO, None).unwrap().0, word(libc::EINVAL));
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let config = door.ask(CONFIG, Some(ours.as_fd())).unwrap();
            assert_eq!(config.0, word(libc::EINVAL));
            assert!(config.1.is_none());
            // The maker of a socket pair says nothing.
            assert_eq!(door.accelerator(&ours), None);
        });
    }

    #[test]
    fn process_at_the_other_end_of_a_socket_is_named_as_the_host_does() {
        through(&Outside::default(), |door| {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let here = Credentials::seen_from_here(&ours).unwrap();
            assert_eq!(door.credentials(&ours).unwrap(), here);
            let file = File::open("/dev/null").unwrap();
            let error = door.credentials(&file).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
        });
    }
}
