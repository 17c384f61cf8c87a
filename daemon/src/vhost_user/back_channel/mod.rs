//! The channel on which this process asks the VMM to change the window.
//!
//! vhost's `Backend` hides its socket, sends a request in one piece and waits for the answer.
//! QEMU dies of a request that it reads after the device was stopped or reset, and one that is
//! queued in the socket cannot be taken back. So a request to QEMU is *retractable*: its first
//! byte goes alone, with the fd. Once QEMU has read that byte it sits in the handler and holds
//! its big lock, so that no stop can begin; if none had begun before, the rest follows, else the
//! rest turns the message into one that QEMU refuses without harm.
//!
//! QEMU also answers a map before the mapping is committed, and the guest's first write can be
//! lost. One more round trip after the map is a barrier, since QEMU serves it only after the
//! handler and its commit are done.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use thiserror::Error;
use vhost::vhost_user::message::VhostUserProtocolFeatures as Protocol;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// SHARED_OBJECT_REMOVE, whose removal of an unknown UUID is silent in QEMU.
const BARRIER: u32 = 7;
const SHMEM_MAP: u32 = 9;
const SHMEM_UNMAP: u32 = 10;
/// Added to a request whose first byte is gone: no front-end knows the sum.
const RETRACTED: u32 = 0x100;

const VERSION: u32 = 1;
const FLAG_REPLY: u32 = 1 << 2;
const FLAG_NEED_REPLY: u32 = 1 << 3;

/// shmid of the host-visible window, VIRTIO 1.4 section 5.7.6.4.
const HOST_VISIBLE: u8 = 1;
/// The mapping is writable. QEMU ignores the absence of this flag.
const FLAG_MAP_RW: u64 = 1;

/// Names no object: this process never adds one.
const BARRIER_UUID: [u8; 16] = *b"coherd-barrier-0";

/// Longest pause between two looks whether the VMM has taken a byte.
const LONGEST_NAP: Duration = Duration::from_millis(1);

/// Why the window was not changed.
#[derive(Debug, Error)]
pub enum BackChannelError {
    /// The front-end has no window, or did not negotiate what it takes to change it.
    #[error("front-end has no host-visible window")]
    NoWindow,
    /// The device is stopped. Nothing was changed; the request can be made again once it runs.
    #[error("device is stopped")]
    Stopped,
    /// The front-end refused.
    #[error("front-end refused the request with {0}")]
    Refused(u64),
    /// The front-end broke the protocol.
    #[error("front-end answered {0:#x} instead of the request")]
    Confused(u32),
    /// The channel is gone.
    #[error("back channel is broken")]
    Broken(#[from] std::io::Error),
}

impl From<Errno> for BackChannelError {
    fn from(errno: Errno) -> Self {
        Self::Broken(errno.into())
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct MessageHeader {
    request: u32,
    flags: u32,
    size: u32,
}

/// `VhostUserMMap` of the vhost-user specification; native byte order.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct MapRequest {
    shmid: u8,
    padding: [u8; 7],
    fd_offset: u64,
    shm_offset: u64,
    len: u64,
    flags: u64,
}

#[derive(Default)]
struct State {
    socket: Option<Arc<UnixStream>>,
    protocol: Option<Protocol>,
    window_asked: bool,
    running: bool,
}

/// The channel of one connection.
#[derive(Default)]
pub struct BackChannel {
    state: Mutex<State>,
    /// Held through a request: one is outstanding at a time.
    turn: Mutex<()>,
}

impl BackChannel {
    /// Takes the socket of SET_BACKEND_REQ_FD. An earlier one is closed.
    pub fn set_socket(&self, socket: UnixStream) {
        self.lock().socket = Some(Arc::new(socket));
    }

    /// Takes the protocol features the front-end accepted.
    pub fn set_protocol(&self, protocol: Protocol) {
        self.lock().protocol = Some(protocol);
    }

    /// Notes that the front-end asked for the window's size, the only proof that it has one.
    pub fn set_window_asked(&self) {
        self.lock().window_asked = true;
    }

    /// Says whether the device runs. After `false` no new request reaches the front-end.
    pub fn set_running(&self, running: bool) {
        self.lock().running = running;
    }

    /// Ends every request, also one that is being waited for.
    pub fn close(&self) {
        if let Some(socket) = self.lock().socket.take() {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Whether the front-end is a QEMU: crosvm takes fds on this channel without accepting
    /// BACKEND_SEND_FD.
    pub fn is_qemu(&self) -> bool {
        self.lock()
            .protocol
            .is_some_and(|bits| bits.contains(Protocol::BACKEND_SEND_FD))
    }

    /// Maps `len` bytes from `fd_offset` of `fd` at `shm_offset` of the window.
    ///
    /// # Errors
    /// See [`BackChannelError`].
    pub fn map(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        shm_offset: u64,
        len: u64,
    ) -> Result<(), BackChannelError> {
        let request = MapRequest {
            shmid: HOST_VISIBLE,
            padding: [0; 7],
            fd_offset,
            shm_offset,
            len,
            flags: FLAG_MAP_RW,
        };
        self.change(SHMEM_MAP, &request, Some(fd))
    }

    /// Removes the mapping of exactly `len` bytes at `shm_offset`.
    ///
    /// # Errors
    /// See [`BackChannelError`].
    pub fn unmap(&self, shm_offset: u64, len: u64) -> Result<(), BackChannelError> {
        let request = MapRequest {
            shmid: HOST_VISIBLE,
            padding: [0; 7],
            fd_offset: 0,
            shm_offset,
            len,
            flags: 0,
        };
        self.change(SHMEM_UNMAP, &request, None)
    }

    fn change(
        &self,
        code: u32,
        request: &MapRequest,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), BackChannelError> {
        let result = self.exchange(code, request, fd);
        if matches!(
            result,
            Err(BackChannelError::Broken(_) | BackChannelError::Confused(_))
        ) {
            // What comes next on this socket would answer something else.
            self.close();
        }
        result
    }

    fn exchange(
        &self,
        code: u32,
        request: &MapRequest,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), BackChannelError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, protocol) = self.peer()?;
        let qemu = protocol.contains(Protocol::BACKEND_SEND_FD);
        let message = message(code, request.as_bytes());
        if qemu {
            send(&socket, &message[..1], fd)?;
            wait_until_taken(&socket)?;
            if !self.lock().running {
                let retracted = self::message(code + RETRACTED, request.as_bytes());
                send(&socket, &retracted[1..], None)?;
                receive(&socket, code + RETRACTED)?;
                return Err(BackChannelError::Stopped);
            }
            send(&socket, &message[1..], None)?;
        } else {
            send(&socket, &message, fd)?;
        }
        match receive(&socket, code)? {
            0 => {}
            refused => return Err(BackChannelError::Refused(refused)),
        }
        if qemu && protocol.contains(Protocol::SHARED_OBJECT) {
            send(&socket, &self::message(BARRIER, &BARRIER_UUID), None)?;
            receive(&socket, BARRIER)?;
        }
        Ok(())
    }

    fn peer(&self) -> Result<(Arc<UnixStream>, Protocol), BackChannelError> {
        let needed = Protocol::REPLY_ACK | Protocol::BACKEND_REQ | Protocol::SHMEM;
        let state = self.lock();
        match (&state.socket, state.protocol) {
            (Some(socket), Some(bits)) if bits.contains(needed) && state.window_asked => {
                if !state.running {
                    return Err(BackChannelError::Stopped);
                }
                Ok((Arc::clone(socket), bits))
            }
            _ => Err(BackChannelError::NoWindow),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(code: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(0);
    let header = MessageHeader {
        request: code,
        flags: VERSION | FLAG_NEED_REPLY,
        size,
    };
    [header.as_bytes(), payload].concat()
}

fn send(socket: &UnixStream, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
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

fn receive(mut socket: &UnixStream, code: u32) -> Result<u64, BackChannelError> {
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
fn wait_until_taken(socket: &UnixStream) -> Result<(), Errno> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::thread;

    fn channel(protocol: Protocol) -> (Arc<BackChannel>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let channel = Arc::new(BackChannel::default());
        channel.set_socket(ours);
        channel.set_protocol(protocol);
        channel.set_window_asked();
        channel.set_running(true);
        (channel, theirs)
    }

    fn crosvm() -> Protocol {
        Protocol::REPLY_ACK | Protocol::BACKEND_REQ | Protocol::SHMEM
    }

    fn qemu() -> Protocol {
        crosvm() | Protocol::BACKEND_SEND_FD | Protocol::SHARED_OBJECT
    }

    fn serve(peer: &mut UnixStream, value: u64) -> (u32, Vec<u8>) {
        let mut header = [0; 12];
        peer.read_exact(&mut header).unwrap();
        let header = MessageHeader::read_from_bytes(&header).unwrap();
        let mut payload = vec![0; usize::try_from(header.size).unwrap()];
        peer.read_exact(&mut payload).unwrap();
        answer(peer, header.request, value);
        (header.request, payload)
    }

    fn answer(peer: &mut UnixStream, request: u32, value: u64) {
        let header = MessageHeader {
            request,
            flags: VERSION | FLAG_REPLY,
            size: 8,
        };
        peer.write_all(&[header.as_bytes(), &value.to_ne_bytes()].concat())
            .unwrap();
    }

    #[test]
    fn map_on_qemu_is_followed_by_a_barrier() {
        let (channel, mut peer) = channel(qemu());
        let vmm = thread::spawn(move || [serve(&mut peer, 0).0, serve(&mut peer, 0).0]);
        channel
            .map(std::io::stdin().as_fd(), 4096, 8192, 4096)
            .unwrap();
        assert_eq!(vmm.join().unwrap(), [SHMEM_MAP, BARRIER]);
    }

    #[test]
    fn map_on_crosvm_is_one_message() {
        let (channel, mut peer) = channel(crosvm());
        let vmm = thread::spawn(move || {
            let served = serve(&mut peer, 0);
            peer.set_nonblocking(true).unwrap();
            assert!(
                peer.read(&mut [0])
                    .is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
            );
            served
        });
        channel
            .map(std::io::stdin().as_fd(), 4096, 8192, 4096)
            .unwrap();
        let (code, payload) = vmm.join().unwrap();
        let request = MapRequest::read_from_bytes(&payload).unwrap();
        assert_eq!(code, SHMEM_MAP);
        assert_eq!((request.shmid, request.flags), (1, 1));
        assert_eq!(
            (request.fd_offset, request.shm_offset, request.len),
            (4096, 8192, 4096)
        );
    }

    #[test]
    fn stop_before_the_first_byte_is_taken_retracts_the_request() {
        let (channel, mut peer) = channel(qemu());
        let caller = Arc::clone(&channel);
        let client = thread::spawn(move || caller.unmap(8192, 4096));
        poll(&mut [PollFd::new(&peer, PollFlags::IN)], None).unwrap();

        channel.set_running(false);

        let (code, _) = serve(&mut peer, 1);
        assert_eq!(code, SHMEM_UNMAP + RETRACTED);
        assert!(matches!(
            client.join().unwrap(),
            Err(BackChannelError::Stopped)
        ));
    }

    #[test]
    fn refusal_is_reported() {
        let (channel, mut peer) = channel(qemu());
        let vmm = thread::spawn(move || serve(&mut peer, 1));
        let error = channel.unmap(0, 4096).unwrap_err();
        assert!(matches!(error, BackChannelError::Refused(1)));
        vmm.join().unwrap();
    }

    #[test]
    fn nothing_is_sent_while_the_device_is_stopped_or_without_a_window() {
        let (stopped, _peer) = channel(qemu());
        stopped.set_running(false);
        assert!(matches!(
            stopped.unmap(0, 4096),
            Err(BackChannelError::Stopped)
        ));

        let (unfit, _peer) = channel(Protocol::SHMEM | Protocol::BACKEND_REQ);
        assert!(matches!(
            unfit.unmap(0, 4096),
            Err(BackChannelError::NoWindow)
        ));
        let none = BackChannel::default();
        assert!(matches!(
            none.unmap(0, 4096),
            Err(BackChannelError::NoWindow)
        ));
    }

    #[test]
    fn close_ends_a_request_that_waits() {
        for protocol in [crosvm(), qemu()] {
            let (channel, peer) = channel(protocol);
            let caller = Arc::clone(&channel);
            let client = thread::spawn(move || caller.unmap(0, 4096));
            poll(&mut [PollFd::new(&peer, PollFlags::IN)], None).unwrap();
            channel.close();
            assert!(matches!(
                client.join().unwrap(),
                Err(BackChannelError::Broken(_))
            ));
        }
    }
}
