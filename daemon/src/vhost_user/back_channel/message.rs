//! Messages on the back channel: a 12-byte header whose first byte carries the fd, and a payload.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::BackChannelError;

/// Flag: version 1, on every message.
pub const VERSION: u32 = 1;
/// Flag: the message is a reply.
pub const FLAG_REPLY: u32 = 1 << 2;
/// Flag: the message wants a reply.
const FLAG_NEED_REPLY: u32 = 1 << 3;

/// Longest pause between two looks whether the VMM has taken a byte.
const LONGEST_NAP: Duration = Duration::from_millis(1);

/// The header; native byte order.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MessageHeader {
    pub request: u32,
    pub flags: u32,
    pub size: u32,
}

/// `VhostUserMMap` of the vhost-user specification: offsets and length in bytes; native byte order.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MapRequest {
    pub shmid: u8,
    pub padding: [u8; 7],
    pub fd_offset: u64,
    pub shm_offset: u64,
    pub len: u64,
    pub flags: u64,
}

/// A request that wants a reply.
pub fn message(code: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(0);
    let header = MessageHeader {
        request: code,
        flags: VERSION | FLAG_NEED_REPLY,
        size,
    };
    [header.as_bytes(), payload].concat()
}

/// Sends `bytes`, with `fd` on the first of them.
pub fn send(socket: &UnixStream, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut rest = bytes;
    let mut fds = fd.as_slice();
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        match sendmsg(
            socket,
            &[IoSlice::new(rest)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(sent) => {
                rest = rest.get(sent..).unwrap_or_default();
                fds = &[];
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for the reply to request `code` and returns its value, 0 for success.
pub fn receive(mut socket: &UnixStream, code: u32) -> Result<u64, BackChannelError> {
    use std::io::Read;

    let mut bytes = [0; 20];
    socket.read_exact(&mut bytes)?;
    let (header, value) = bytes.split_at(size_of::<MessageHeader>());
    let header = MessageHeader::read_from_bytes(header).map_err(|_| Errno::PROTO)?;
    if header.request != code || header.flags & FLAG_REPLY == 0 || header.size != 8 {
        return Err(BackChannelError::Confused(header.request));
    }
    Ok(u64::read_from_bytes(value).map_err(|_| Errno::PROTO)?)
}

/// Returns once the peer has read everything that was sent. No event tells, so this looks again
/// and again, ever more seldom; it lasts as long as the VMM's main loop needs to come around.
pub fn wait_until_taken(socket: &UnixStream) -> Result<(), Errno> {
    let mut nap = Duration::from_micros(10);
    while unread_by_peer(socket.as_fd())? > 0 {
        let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
        let timeout = Timespec::try_from(nap).map_err(|_| Errno::INVAL)?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Err(Errno::PIPE),
            Err(error) => return Err(error),
        }
        nap = (nap * 2).min(LONGEST_NAP);
    }
    Ok(())
}

/// SIOCOUTQ: bytes that the peer has not read.
fn unread_by_peer(socket: BorrowedFd<'_>) -> Result<i32, Errno> {
    let mut bytes = 0;
    // SAFETY: TIOCOUTQ, the same number as SIOCOUTQ, writes one int to the address it is given.
    #[allow(unsafe_code, reason = "no crate wraps SIOCOUTQ")]
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return Err(Errno::from_raw_os_error(errno));
    }
    Ok(bytes)
}
