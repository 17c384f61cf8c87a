//! A peer that sends what it likes.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use coherd_protocol::memory::Access;
use coherd_protocol::sync::reply::Call;
use coherd_protocol::sync::wire::{Begin, Capabilities, End, Hello, Open};
use coherd_protocol::sync::{Header, MAGIC, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with,
};
use zerocopy::{FromZeros, IntoBytes};

/// How long anything may take, on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// See the module's description.
pub struct Raw(pub OwnedFd);

impl Raw {
    pub fn connect(path: &Path) -> Self {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.unwrap();
        connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        Self(socket)
    }

    /// A peer that has said HELLO and may do everything.
    pub fn greeted(path: &Path) -> Self {
        let peer = Self::connect(path);
        peer.send(1, &hello());
        assert_eq!(peer.receive(), (1, Status::Ok, 0));
        peer
    }

    pub fn send<C: Call>(&self, tag: u32, body: &C) {
        let header = Header::request(C::KIND, tag);
        self.send_bytes(&[header.as_bytes(), body.as_bytes()].concat());
    }

    /// A request with files.
    pub fn send_with<C: Call>(&self, tag: u32, body: &C, files: &[&OwnedFd]) {
        let header = Header::request(C::KIND, tag);
        self.send_all(&[header.as_bytes(), body.as_bytes()].concat(), files);
    }

    /// A header of any kind, with files.
    pub fn send_kind(&self, tag: u32, kind: u32, files: &[&OwnedFd]) {
        let header = Header {
            kind: kind.into(),
            tag: tag.into(),
            ..Header::new_zeroed()
        };
        self.send_all(header.as_bytes(), files);
    }

    pub fn send_bytes(&self, bytes: &[u8]) {
        self.send_all(bytes, &[]);
    }

    fn send_all(&self, bytes: &[u8], files: &[&OwnedFd]) {
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        }
        let flags = SendFlags::NOSIGNAL;
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags).unwrap();
    }

    /// Tag, status and detail of the next message.
    pub fn receive(&self) -> (u32, Status, u32) {
        self.receive_or_end().unwrap()
    }

    /// The same, or `None` at the end of the connection.
    pub fn receive_or_end(&self) -> Option<(u32, Status, u32)> {
        let header = self.receive_header()?;
        let status = Status::from_wire(header.status.get());
        Some((header.tag.get(), status, header.detail.get()))
    }

    /// The kind of the next message.
    pub fn receive_kind(&self) -> u32 {
        self.receive_header().unwrap().kind.get()
    }

    /// Whether the server, which has had its time, does not read what it was sent.
    pub fn is_stuck(&self) -> bool {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        poll(&mut fds, Some(&timeout)) == Ok(0)
    }

    /// The header of the next message, whose files are dropped.
    fn receive_header(&self) -> Option<Header> {
        let timeout = Timespec::try_from(PATIENCE).unwrap();
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&timeout)), Ok(1), "no answer");
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.0, &mut buffers, &mut control, flags);
        let len = match received {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => panic!("{error}"),
        };
        Header::split(&bytes[..len]).map(|(header, _)| header)
    }
}

/// HELLO of a peer that wants everything.
pub fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        version: 1.into(),
        oldest: 1.into(),
        capabilities: Capabilities::all().bits().into(),
        ..Hello::new_zeroed()
    }
}

pub fn open(blob: u64, access: Access) -> Open {
    Open {
        blob: blob.into(),
        access: access.bits().into(),
        reserved: 0.into(),
    }
}

/// BEGIN of a whole blob.
pub fn begin(blob: u64, bracket: u64, access: Access, timeout_ms: u32) -> Begin {
    Begin {
        blob: blob.into(),
        bracket: bracket.into(),
        offset: 0.into(),
        size: 0.into(),
        access: access.bits().into(),
        timeout_ms: timeout_ms.into(),
    }
}

pub fn end(bracket: u64) -> End {
    End {
        bracket: bracket.into(),
    }
}
