//! A look at the next request before vhost takes it.
//!
//! vhost wraps the socket of SET_BACKEND_REQ_FD in a type that cannot hold back half a message.
//! A peek at the header duplicates the fds that travel with it, so that the same socket can be
//! had without a change to the crate.

use std::io::{IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// SET_BACKEND_REQ_FD
const SET_BACKEND_REQ_FD: u32 = 21;

/// Fds a message may carry.
const MAX_FDS: usize = 8;

/// Waits for the next request; if it is SET_BACKEND_REQ_FD, returns the socket it carries. The
/// request stays in `socket`.
///
/// # Errors
/// The error of recvmsg.
pub fn back_channel(socket: impl AsFd) -> Result<Option<UnixStream>> {
    let socket = socket.as_fd();
    let mut code = [0; 4];
    let received = retry_on_intr(|| {
        recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut code)],
            &mut RecvAncillaryBuffer::default(),
            RecvFlags::PEEK,
        )
    })?;
    if received.bytes != code.len() || u32::from_ne_bytes(code) != SET_BACKEND_REQ_FD {
        return Ok(None);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    retry_on_intr(|| {
        recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut code)],
            &mut control,
            RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    match (fds.pop(), fds.is_empty()) {
        (Some(fd), true) => Ok(Some(UnixStream::from(fd))),
        _ => Err(Errno::PROTO.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::{IoSlice, Read, Write};

    #[test]
    fn socket_is_found_and_the_request_stays() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (channel, mut far_end) = UnixStream::pair().unwrap();
        let request = [21u32.to_ne_bytes(), 9u32.to_ne_bytes(), 0u32.to_ne_bytes()].concat();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [channel.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(
            &theirs,
            &[IoSlice::new(&request)],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();

        let mut found = back_channel(&ours).unwrap().unwrap();

        found.write_all(b"x").unwrap();
        let mut byte = [0];
        far_end.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        let mut again = [0; 12];
        (&ours).read_exact(&mut again).unwrap();
        assert_eq!(again, *request);
        theirs.flush().unwrap();
    }

    #[test]
    fn other_requests_are_left_alone() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs
            .write_all(&[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
            .unwrap();
        assert!(back_channel(&ours).unwrap().is_none());
    }

    #[test]
    fn hang_up_is_no_request() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(back_channel(&ours).unwrap().is_none());
    }
}
