//! A peer that does as the input says, and looks at what it is answered.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use arbitrary::{Result, Unstructured};
use coherd_protocol::sync::limits::MAX_MESSAGE;
use coherd_protocol::sync::{Header, Kind, Status};
use rustix::fs::MemfdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
    recvmsg, sendmsg, shutdown,
};

use super::host::Host;
use super::message;

/// A reply has this in its kind; an event has another bit.
const REPLY: u32 = 0x1000;

/// See the module's description.
pub struct Peer {
    socket: OwnedFd,
    next_tag: u32,
    /// Requests whose tags no other has, by their tags, and their kinds.
    asked: HashMap<u32, u32>,
    /// Whether tags can be relied upon.
    is_orderly: bool,
}

impl Peer {
    /// A new connection, which most often says HELLO.
    pub fn connect(host: &Host, u: &mut Unstructured<'_>) -> Result<Self> {
        let mut peer = Self {
            socket: host.connect(),
            next_tag: 1,
            asked: HashMap::new(),
            is_orderly: true,
        };
        if u.ratio(15, 16)? {
            let body = message::hello(u)?;
            peer.ask(Kind::Hello.to_wire(), &body, &[]);
        }
        Ok(peer)
    }

    /// Sends or reads something.
    pub fn step(&mut self, u: &mut Unstructured<'_>, blobs: &[u64]) -> Result<()> {
        match u.int_in_range(0..=15u8)? {
            0 => {
                self.is_orderly = false;
                let len = u.int_in_range(0..=MAX_MESSAGE + 8)?;
                let mut bytes = vec![0; len];
                let given = u.bytes(len.min(u.len()).min(64))?;
                bytes[..given.len()].copy_from_slice(given);
                let files = self.files(u)?;
                self.send(&bytes, &files);
            }
            1 => self.read_all(),
            2 => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
                let _ = shutdown(&self.socket, *u.choose(&how)?);
            }
            _ => {
                let (kind, body) = message::request(u, blobs)?;
                let needs_file = kind == Kind::ImportFence.to_wire();
                let files = match u.ratio(15, 16)? {
                    true if needs_file => vec![self.file(u)?],
                    true => Vec::new(),
                    false => self.files(u)?,
                };
                self.ask(kind, &body, &files);
            }
        }
        Ok(())
    }

    fn ask(&mut self, kind: u32, body: &[u8], files: &[OwnedFd]) {
        let tag = self.next_tag;
        self.next_tag += 1;
        let mut message = [kind, tag, 0, 0].map(u32::to_le_bytes).concat();
        message.extend_from_slice(body);
        if self.send(&message, files) {
            self.asked.insert(tag, kind);
        }
    }

    fn files(&self, u: &mut Unstructured<'_>) -> Result<Vec<OwnedFd>> {
        let count = u.int_in_range(0..=3)?;
        (0..count).map(|_| self.file(u)).collect()
    }

    /// A file that is none of fences.
    fn file(&self, u: &mut Unstructured<'_>) -> Result<OwnedFd> {
        Ok(match u.int_in_range(0..=3u8)? {
            0 => rustix::fs::memfd_create("peer", MemfdFlags::CLOEXEC).expect("a memfd"),
            1 => rustix::pipe::pipe().expect("a pipe").0,
            // A socket in its own queue.
            2 => rustix::io::fcntl_dupfd_cloexec(&self.socket, 0).expect("a file"),
            _ => {
                let flags = rustix::event::EventfdFlags::CLOEXEC;
                rustix::event::eventfd(0, flags).expect("an eventfd")
            }
        })
    }

    /// Whether the socket has taken it.
    fn send(&self, bytes: &[u8], files: &[OwnedFd]) -> bool {
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&files));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags).is_ok()
    }

    /// Reads what has been answered, and checks it.
    fn read_all(&mut self) {
        loop {
            let mut bytes = [0; MAX_MESSAGE + 1];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            let received = recvmsg(&self.socket, &mut buffers, &mut control, flags);
            let Ok(len) = received.map(|received| received.bytes) else {
                return;
            };
            if len == 0 {
                return;
            }
            assert!(len <= MAX_MESSAGE, "a message that is too long");
            let (header, body) = Header::split(&bytes[..len]).expect("a header");
            self.check(&header, body);
        }
    }

    fn check(&mut self, header: &Header, body: &[u8]) {
        let kind = header.kind.get();
        if kind & REPLY == 0 {
            assert_eq!(header.tag.get(), 0, "an event with a tag");
            return;
        }
        let status = header.status.get();
        assert!(
            status == 0 || body.is_empty(),
            "a refusal with a body: {header:?}"
        );
        let is_known = Status::ALL.iter().any(|known| known.to_wire() == status);
        assert!(is_known, "{header:?}");
        if self.is_orderly {
            let asked = self.asked.remove(&header.tag.get());
            let replied = asked.map(|asked| asked | REPLY);
            assert_eq!(replied, Some(kind), "nobody asked: {header:?}");
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.read_all();
    }
}
