//! The channel on which this process asks the VMM to change the window, or to tell the guest that
//! the configuration space changed.
//!
//! vhost's `Backend` hides its socket, sends a request in one piece and waits for the answer.
//! QEMU dies of a request that it reads after the device was stopped or reset, since it looks at
//! a device that is not there, and one that is queued in the socket cannot be taken back. So a
//! request to QEMU is *retractable*: its first byte goes alone, with the fd. Once QEMU has read
//! that byte it sits in the handler and holds its big lock, so that no stop can begin; if none had
//! begun before, the rest follows, else the rest turns the message into one that QEMU refuses
//! without harm.
//!
//! QEMU also answers a map or unmap before the change is committed, and the guest's first write
//! can be lost. One more round trip is a barrier, since QEMU serves it only after the
//! handler and its commit are done.

mod message;

use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use thiserror::Error;
use vhost::vhost_user::message::VhostUserProtocolFeatures as Protocol;
use zerocopy::IntoBytes;

use self::message::{MapRequest, message, receive, send, wait_until_taken};

/// CONFIG_CHANGE_MSG
const CONFIG_CHANGE: u32 = 2;
/// SHARED_OBJECT_REMOVE, whose removal of an unknown UUID is silent in QEMU.
const BARRIER: u32 = 7;
const SHMEM_MAP: u32 = 9;
const SHMEM_UNMAP: u32 = 10;
/// Added to a request whose first byte is gone: no front-end knows the sum.
const RETRACTED: u32 = 0x100;

/// shmid of the host-visible window, VIRTIO 1.4 section 5.7.6.4.
const HOST_VISIBLE: u8 = 1;
/// The mapping is writable. QEMU ignores the absence of this flag.
const FLAG_MAP_RW: u64 = 1;

/// Names no object: this process never adds one.
const BARRIER_UUID: [u8; 16] = *b"coherd-barrier-0";

/// Why a request was not carried out.
#[derive(Debug, Error)]
pub enum BackChannelError {
    /// The front-end has no window, or did not negotiate what it takes to change it.
    #[error("front-end has no host-visible window")]
    NoWindow,
    /// The front-end did not negotiate what it takes to interrupt the guest.
    #[error("front-end takes no configuration changes")]
    NoConfigChange,
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
        let old = self.lock().socket.replace(Arc::new(socket));
        if let Some(old) = old {
            let _ = old.shutdown(Shutdown::Both);
        }
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
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Forgets the front-end, which has hung up.
    pub fn hang_up(&self) {
        self.close();
        *self.lock() = State::default();
    }

    /// Whether there is nobody who could have a mapping.
    pub fn is_vacant(&self) -> bool {
        self.lock().protocol.is_none()
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
        self.request(SHMEM_MAP, request.as_bytes(), Some(fd))
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
        self.request(SHMEM_UNMAP, request.as_bytes(), None)
    }

    /// Tells the VMM that the configuration space changed, so that it interrupts the guest.
    ///
    /// # Errors
    /// See [`BackChannelError`].
    pub fn config_changed(&self) -> Result<(), BackChannelError> {
        self.request(CONFIG_CHANGE, &[], None)
    }

    fn request(
        &self,
        code: u32,
        payload: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), BackChannelError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, protocol) = self.peer(code)?;
        let qemu = protocol.contains(Protocol::BACKEND_SEND_FD);
        let mut result = self.exchange(&socket, qemu, (code, payload), fd);
        let barrier = qemu && code != CONFIG_CHANGE && protocol.contains(Protocol::SHARED_OBJECT);
        if result.is_ok() && barrier {
            result = send_barrier(&socket);
        }
        if matches!(
            result,
            Err(BackChannelError::Broken(_) | BackChannelError::Confused(_))
        ) {
            // What comes next on this socket would answer something else.
            let mut state = self.lock();
            if state
                .socket
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, &socket))
            {
                state.socket = None;
            }
        }
        result
    }

    /// Sends a request and waits for the answer.
    fn exchange(
        &self,
        socket: &UnixStream,
        retractable: bool,
        (code, payload): (u32, &[u8]),
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), BackChannelError> {
        let message = message(code, payload);
        if retractable {
            send(socket, &message[..1], fd)?;
            wait_until_taken(socket)?;
            if !self.lock().running {
                let retracted = self::message(code + RETRACTED, payload);
                send(socket, &retracted[1..], None)?;
                receive(socket, code + RETRACTED)?;
                return Err(BackChannelError::Stopped);
            }
            send(socket, &message[1..], None)?;
        } else {
            send(socket, &message, fd)?;
        }
        match receive(socket, code)? {
            0 => Ok(()),
            refused => Err(BackChannelError::Refused(refused)),
        }
    }

    /// The socket for a request, if the device runs and the front-end takes such a request.
    fn peer(&self, code: u32) -> Result<(Arc<UnixStream>, Protocol), BackChannelError> {
        let state = self.lock();
        if !state.running {
            return Err(BackChannelError::Stopped);
        }
        let (needed, asked, missing) = match code {
            CONFIG_CHANGE => (Protocol::CONFIG, true, BackChannelError::NoConfigChange),
            _ => (
                Protocol::SHMEM,
                state.window_asked,
                BackChannelError::NoWindow,
            ),
        };
        let needed = needed | Protocol::REPLY_ACK | Protocol::BACKEND_REQ;
        match (&state.socket, state.protocol) {
            (Some(socket), Some(bits)) if bits.contains(needed) && asked => {
                Ok((Arc::clone(socket), bits))
            }
            _ => Err(missing),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send_barrier(socket: &UnixStream) -> Result<(), BackChannelError> {
    send(socket, &message(BARRIER, &BARRIER_UUID), None)?;
    receive(socket, BARRIER).map(drop)
}

#[cfg(test)]
mod tests;
