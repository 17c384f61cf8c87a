//! Framing of vhost-user messages: a 12-byte header whose first byte carries the file
//! descriptors, and a payload.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use thiserror::Error;

use super::deadline::Deadline;

/// File descriptors of one message, at most.
pub const MAX_FDS: usize = 8;

/// Why a message could not be exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The peer hung up.
    #[error("peer hung up")]
    Closed,
    /// The deadline passed.
    #[error("peer did not {0} in time")]
    Timeout(&'static str),
    /// The socket failed.
    #[error("socket failed")]
    Socket(#[from] Errno),
    /// More file descriptors than a message can carry.
    #[error("{0} file descriptors in one message")]
    TooManyFds(usize),
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Request code.
    pub request: u32,
    /// [`Header::VERSION`], [`Header::REPLY`] and [`Header::NEED_REPLY`].
    pub flags: u32,
    /// Bytes of the payload.
    pub size: u32,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 12;
    /// Flag: version 1, on every message.
    pub const VERSION: u32 = 1;
    /// Flag: the message is a reply.
    pub const REPLY: u32 = 1 << 2;
    /// Flag: the sender wants an acknowledgement.
    pub const NEED_REPLY: u32 = 1 << 3;

    /// Whether the sender wants an acknowledgement.
    pub fn needs_reply(&self) -> bool {
        self.flags & Self::NEED_REPLY != 0
    }

    /// The header as it travels.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let words = [self.request, self.flags, self.size];
        for (out, word) in bytes.chunks_exact_mut(4).zip(words) {
            out.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// The header at the start of `bytes`, or `None` if there are too few.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            request: u32_at(bytes, 0)?,
            flags: u32_at(bytes, 4)?,
            size: u32_at(bytes, 8)?,
        })
    }
}

/// The native-endian word at `offset`.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|word| u32::from_ne_bytes(*word))
}

/// The native-endian double word at `offset`.
pub fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|word| u64::from_ne_bytes(*word))
}

/// Words one after the other, as in a payload.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Double words one after the other, as in a payload.
pub fn double_words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Sends `bytes`, with `fds` on the first of them.
///
/// # Errors
/// See [`MessageError`].
pub fn send(
    stream: &UnixStream,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> Result<(), MessageError> {
    let mut fds = fds;
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        if !deadline.writable(stream)? {
            return Err(MessageError::Timeout("take a message"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(MessageError::TooManyFds(fds.len()));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(stream, &[IoSlice::new(rest)], &mut control, flags) {
            Ok(count) => {
                sent += count;
                fds = &[];
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(MessageError::Closed),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A message while it arrives, possibly in pieces.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Incoming {
    /// Receives until the message has `total` bytes.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn receive(
        &mut self,
        stream: &UnixStream,
        total: usize,
        deadline: Deadline,
    ) -> Result<(), MessageError> {
        while self.bytes.len() < total {
            self.receive_piece(stream, total, deadline)?;
        }
        Ok(())
    }

    /// Receives what is there, without going past `total` bytes of the message.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn receive_piece(
        &mut self,
        stream: &UnixStream,
        total: usize,
        deadline: Deadline,
    ) -> Result<(), MessageError> {
        let mut piece = vec![0; total.saturating_sub(self.bytes.len())];
        if !deadline.readable(stream)? {
            return Err(MessageError::Timeout("send a whole message"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let iov = &mut [IoSliceMut::new(&mut piece)];
        let count = match recvmsg(stream, iov, &mut control, flags) {
            Ok(received) => received.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(Errno::CONNRESET) => return Err(MessageError::Closed),
            Err(error) => return Err(error.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if count == 0 {
            return Err(MessageError::Closed);
        }
        self.bytes.extend(piece.iter().take(count));
        Ok(())
    }

    /// The header, once its bytes are there.
    pub fn header(&self) -> Option<Header> {
        Header::from_bytes(&self.bytes)
    }

    /// Whether no byte has arrived.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The payload and the file descriptors.
    pub fn into_parts(self) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut bytes = self.bytes;
        let payload = bytes.split_off(Header::LEN.min(bytes.len()));
        (payload, self.fds)
    }
}
