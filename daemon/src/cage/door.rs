//! What the process in the cage asks of its keeper outside: nothing with a path or a number in
//! it, so that a process that was taken over can ask no more than was meant to be asked.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Outside;
use super::message;
use crate::guest_pat::Accelerator;

/// The configuration file, opened anew.
const CONFIG: u8 = b'c';

/// What the command line of a socket's peer says of its hypervisor.
const PEER: u8 = b'p';

/// An answer is one word: 0 or an errno, or what was found.
const ANSWER: usize = 4;

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
            (0, None) => Err(io::ErrorKind::NotFound.into()),
            (errno, None) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// How the VMM at the other end of `socket` runs its guest; `None` if it does not say.
    pub fn accelerator(&self, socket: impl AsFd) -> Option<Accelerator> {
        let (code, _) = self.ask(PEER, Some(socket.as_fd())).ok()?;
        Accelerator::from_code(code)
    }

    fn ask(&self, what: u8, file: Option<BorrowedFd<'_>>) -> io::Result<(i32, Option<OwnedFd>)> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        message::send(&*socket, &[what], file)?;
        let mut answer = [0; ANSWER];
        let (length, file) = message::receive(&*socket, &mut answer)?;
        if length != ANSWER {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((i32::from_le_bytes(answer), file))
    }
}

/// Answers one request, in the keeper. `false` once nobody will ask again.
pub(super) fn answer(socket: &OwnedFd, outside: &Outside) -> bool {
    let mut request = [0; 1];
    let (answer, file) = match message::receive(socket, &mut request) {
        Ok((1, None)) if request[0] == CONFIG => config(outside.config.as_deref()),
        Ok((1, Some(peer))) if request[0] == PEER => {
            let found = Accelerator::of_peer(&peer, Path::new("/"));
            (Accelerator::code(found), None)
        }
        Ok((1, _)) => (libc::EINVAL, None),
        _ => return false,
    };
    let file = file.as_ref().map(AsFd::as_fd);
    message::send(socket, &answer.to_le_bytes(), file).is_ok()
}

fn config(path: Option<&Path>) -> (i32, Option<File>) {
    match path.map(File::open) {
        Some(Ok(file)) => (0, Some(file)),
        Some(Err(error)) => (error.raw_os_error().unwrap_or(libc::EIO), None),
        None => (libc::ENOENT, None),
    }
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
            assert_eq!(door.ask(b'x', None).unwrap().0, libc::EINVAL);
            assert_eq!(door.ask(PEER, None).unwrap().0, libc::EINVAL);
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let config = door.ask(CONFIG, Some(ours.as_fd())).unwrap();
            assert_eq!(config.0, libc::EINVAL);
            assert!(config.1.is_none());
            // The maker of a socket pair says nothing.
            assert_eq!(door.accelerator(&ours), None);
        });
    }
}
