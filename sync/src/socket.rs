//! Datagrams with files.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use coherd_protocol::sync::limits::MAX_MESSAGE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with, sockopt,
};

use crate::error::SyncError;

/// A message from the server.
pub struct Datagram {
    bytes: [u8; MAX_MESSAGE],
    len: usize,
    /// The file that came with it.
    pub file: Option<OwnedFd>,
}

impl Datagram {
    /// What it says.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// One end of a connection. Reading and writing never block but in [`Socket::wait`].
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Self, SyncError> {
        let failed = |source| SyncError::Connect {
            path: path.to_owned(),
            source,
        };
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed)?;
        connect(&socket, &address).map_err(failed)?;
        Ok(Self(socket))
    }

    /// Takes a connected socket.
    pub fn new(fd: OwnedFd) -> Result<Self, SyncError> {
        let right = sockopt::socket_type(&fd) == Ok(SocketType::SEQPACKET)
            && sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX);
        if !right {
            return Err(SyncError::NotASyncSocket);
        }
        Ok(Self(fd))
    }

    /// Sends the concatenation of `parts`; [`Errno::AGAIN`] if there is no room.
    pub fn send(&self, parts: [&[u8]; 2], file: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let files = file.as_slice();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(files));
            }
            match sendmsg(&self.0, &parts.map(IoSlice::new), &mut control, flags) {
                Err(Errno::INTR) => {}
                result => return result.map(|_| ()),
            }
        }
    }

    /// Receives a message; `None` at the end of the connection, [`Errno::AGAIN`] if there is none.
    pub fn receive(&self) -> Result<Option<Datagram>, Errno> {
        let mut datagram = Datagram {
            bytes: [0; MAX_MESSAGE],
            len: 0,
            file: None,
        };
        // Room for two, so that a second one is seen, and closed.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = loop {
            let mut buffers = [IoSliceMut::new(&mut datagram.bytes)];
            match recvmsg(&self.0, &mut buffers, &mut control, flags) {
                Err(Errno::INTR) => {}
                result => break result?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                datagram.file = files.last();
            }
        }
        datagram.len = received.bytes;
        Ok((received.bytes > 0).then_some(datagram))
    }

    /// Waits until one of `events`, or the end of the connection, or until `deadline`. Returns what
    /// there is, nothing at the deadline.
    pub fn wait(&self, events: PollFlags, deadline: Instant) -> Result<PollFlags, Errno> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
            let mut fds = [PollFd::new(&self.0, events)];
            match poll(&mut fds, Some(&timeout)) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
                Ok(0) => return Ok(PollFlags::empty()),
                Ok(_) => {
                    let [fd] = fds;
                    return Ok(fd.revents());
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
