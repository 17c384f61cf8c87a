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
    /// The file that came with it.
    pub file: Option<OwnedFd>,
    /// How many files came with it, more than one included.
    pub files: usize,
}

impl Datagram {
    /// What it says.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Receives a message; `None` at the end of the connection.
///
/// # Errors
/// The error of recvmsg; [`Errno::AGAIN`] if there is no message.
pub fn receive(socket: impl AsFd) -> Result<Option<Datagram>, Errno> {
    let mut datagram = Datagram {
        bytes: [0; MAX_MESSAGE + 1],
        len: 0,
        file: None,
        files: 0,
    };
    // Room for two, so that a second one is seen. The kernel keeps more to itself.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = retry_on_intr(|| {
        let mut buffers = [IoSliceMut::new(&mut datagram.bytes)];
        recvmsg(&socket, &mut buffers, &mut control, flags)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            for file in files {
                datagram.files += 1;
                datagram.file = Some(file);
            }
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        datagram.files = usize::MAX;
    }
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
