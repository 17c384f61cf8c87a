//! Messages with files, sent and received without waiting.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use coherd_protocol::sync::limits::MAX_MESSAGE;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// A message that was received. One that is too long is longer than [`MAX_MESSAGE`].
#[derive(Debug)]
pub struct Datagram {
    bytes: [u8; MAX_MESSAGE + 1],
    len: usize,
    /// The files that came with it, as far as they were taken. Whoever closes one may have to wait
    /// for what the peer made it of.
    pub files: Vec<OwnedFd>,
    /// Others came with it, at least one, and were not taken.
    is_short: bool,
}

impl Datagram {
    /// What it says.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// How many files came with it, as far as can be known: one that was not taken counts as one.
    pub fn file_count(&self) -> usize {
        self.files.len() + usize::from(self.is_short)
    }
}

/// Receives a message; `None` at the end of the connection. Files that are not taken are closed by
/// the kernel, which waits for nobody.
///
/// # Errors
/// The error of recvmsg; [`Errno::AGAIN`] if there is no message.
pub fn receive(socket: impl AsFd, takes_files: bool) -> Result<Option<Datagram>, Errno> {
    let mut datagram = Datagram {
        bytes: [0; MAX_MESSAGE + 1],
        len: 0,
        files: Vec::new(),
        is_short: false,
    };
    // Room for two because of padding.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let room = if takes_files { &mut space[..] } else { &mut [] };
    let mut control = RecvAncillaryBuffer::new(room);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = retry_on_intr(|| {
        let mut buffers = [IoSliceMut::new(&mut datagram.bytes)];
        recvmsg(&socket, &mut buffers, &mut control, flags)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            datagram.files.extend(files);
        }
    }
    datagram.is_short = received.flags.contains(ReturnFlags::CTRUNC);
    datagram.len = received.bytes;
    Ok((received.bytes > 0).then_some(datagram))
}

/// Sends a message.
///
/// # Errors
/// The error of sendmsg; [`Errno::AGAIN`] if there is no room.
pub fn send(socket: impl AsFd, bytes: &[u8], file: Option<&OwnedFd>) -> Result<(), Errno> {
    let files = file.map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    retry_on_intr(|| {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if files.is_some() {
            control.push(SendAncillaryMessage::ScmRights(files.as_slice()));
        }
        sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags)
    })
    .map(drop)
}
