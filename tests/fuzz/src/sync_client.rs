//! `coherd-sync` against a server that answers anything with any file.
//!
//! Whatever it is told, the library must not panic, hang, keep a file, or map what could hurt.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use coherd_protocol::sync::limits::MAX_MESSAGE;
use coherd_protocol::sync::wire::{Entry, Holder, Opened, Welcome};
use coherd_protocol::sync::{Header, Kind, MAGIC, Status};
use coherd_sync::{Access, Blob, Capabilities, Connection, Options};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};
use zerocopy::{FromZeros, IntoBytes};

/// Requests of one input.
const MAX_STEPS: usize = 24;

/// Bytes of the sealed file.
const FILE_LEN: u64 = 4 * 4096;

/// See the module's description.
pub fn run(input: &[u8]) {
    let before = open_files();
    // An input that ends early has been used up.
    let _ = session(&mut Unstructured::new(input));
    assert_eq!(open_files(), before, "files were kept");
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The server's end, and what it expects the peer to ask next.
struct Server {
    socket: OwnedFd,
    next_tag: u32,
}

fn session(u: &mut Unstructured<'_>) -> Result<()> {
    let (socket, ours) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a pair of sockets");
    let mut server = Server {
        socket: ours,
        next_tag: 1,
    };
    // Answers are there before they are asked for, so that nobody waits.
    let options = Options {
        name: "fuzz".to_owned(),
        capabilities: Capabilities::all(),
        answer_within: Duration::ZERO,
    };
    server.answer(u, Kind::Hello)?;
    let Ok(connection) = Connection::from_fd(socket, &options) else {
        return Ok(());
    };
    let mut watch = None;
    let mut blobs: Vec<Blob> = Vec::new();
    for _ in 0..MAX_STEPS {
        server.resynchronise();
        match u.int_in_range(0..=7)? {
            0 => {
                server.answer(u, Kind::List)?;
                let _ = connection.list_page(u.arbitrary()?, 0);
            }
            1 => {
                server.answer(u, Kind::Describe)?;
                let _ = connection.describe(u.arbitrary()?);
            }
            2 if watch.is_none() => {
                server.answer(u, Kind::Watch)?;
                watch = connection.watch().ok();
            }
            2 => watch = None,
            3 => {
                let kind = u.int_in_range(0x2001..=0x2004)?;
                server.send(u, 0, kind)?;
                if let Some(watch) = &watch {
                    let _ = watch.next(Duration::ZERO);
                }
            }
            4 => {
                server.answer(u, Kind::Open)?;
                let asked = Access::from_bits_truncate(u.int_in_range(1..=3)?);
                if let Ok(blob) = connection.open(u.arbitrary()?, asked) {
                    assert!(
                        asked.contains(blob.info().access),
                        "more than was asked for"
                    );
                    blobs.push(blob);
                }
            }
            5 if !blobs.is_empty() => {
                server.answer(u, Kind::ExportFence)?;
                let blob = u.choose(&blobs)?;
                if let Ok(fence) = blob.export_fence(Access::READ) {
                    server.answer(u, Kind::ImportFence)?;
                    let _ = blob.import_fence(&fence, Access::WRITE);
                }
            }
            6 if !blobs.is_empty() => {
                let place = u.choose_index(blobs.len())?;
                blobs.remove(place);
            }
            _ if !blobs.is_empty() => {
                let blob = u.choose(&blobs)?.clone();
                bracket(u, &mut server, &blob)?;
            }
            _ => {
                let (tag, kind) = (u.arbitrary()?, u.arbitrary()?);
                server.send(u, tag, kind)?;
            }
        }
    }
    Ok(())
}

/// Maps a blob and accesses all of it, which is what a file that lies would kill.
fn bracket(u: &mut Unstructured<'_>, server: &mut Server, blob: &Blob) -> Result<()> {
    let Ok(mapping) = blob.map() else {
        return Ok(());
    };
    assert!(mapping.len() as u64 <= FILE_LEN, "longer than its file");
    let writable = blob.info().access.contains(Access::WRITE);
    server.answer(u, Kind::Begin)?;
    if let Ok(guard) = mapping.read(..) {
        assert_eq!(guard.to_vec().len(), mapping.len());
        server.resynchronise();
        server.answer(u, Kind::End)?;
        drop(guard);
    }
    server.resynchronise();
    server.answer(u, Kind::Begin)?;
    match mapping.read_write(..) {
        Ok(mut guard) => {
            assert!(writable, "a bracket that would be a fault");
            let copied = guard.copy_from(0, &guard.to_vec());
            assert!(copied.is_ok());
            server.resynchronise();
            server.answer(u, Kind::End)?;
            let _ = guard.end();
        }
        Err(_) => server.resynchronise(),
    }
    Ok(())
}

impl Server {
    /// Reads what the peer asked, so that the next answer has the right tag.
    fn resynchronise(&mut self) {
        let mut message = [0; MAX_MESSAGE];
        while let Ok((_, len)) = recv(&self.socket, &mut message, RecvFlags::DONTWAIT) {
            let Some((header, _)) = message.get(..len).and_then(Header::split) else {
                break;
            };
            self.next_tag = header.tag.get().wrapping_add(1);
        }
    }

    /// Answers the request of this kind that comes next, more or less.
    fn answer(&mut self, u: &mut Unstructured<'_>, kind: Kind) -> Result<()> {
        // Most answers have to be right for anything to follow.
        let kind = if u.ratio(1, 16)? {
            u.arbitrary()?
        } else {
            kind.to_wire() | 0x1000
        };
        self.send(u, self.next_tag, kind)
    }

    fn send(&self, u: &mut Unstructured<'_>, tag: u32, kind: u32) -> Result<()> {
        let status = if u.ratio(1, 8)? {
            u.int_in_range(0..=Status::ALL.len())?
        } else {
            0
        };
        let header = Header {
            kind: kind.into(),
            tag: tag.into(),
            status: u32::try_from(status).unwrap_or(0).into(),
            detail: 0.into(),
        };
        let mut message = header.as_bytes().to_vec();
        message.extend(body(u, kind)?);
        for _ in 0..u.int_in_range(0..=2)? {
            let place = u.choose_index(message.len())?;
            if let Some(byte) = message.get_mut(place) {
                *byte = u.arbitrary()?;
            }
        }
        // The library waits as long as the server says that the GPU may take.
        if kind == 0x1001
            && let Some(timeouts) = message.get_mut(68..76)
        {
            timeouts.fill(0);
        }
        if u.ratio(1, 16)? {
            message.truncate(u.choose_index(message.len())?.max(1));
        }
        let file = file(u)?;
        let files: Vec<_> = file.iter().map(AsFd::as_fd).collect();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&files));
        }
        // A socket that is full, or whose other end is closed, takes nothing.
        let _ = sendmsg(
            &self.socket,
            &[std::io::IoSlice::new(&message)],
            &mut control,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
        Ok(())
    }
}

/// What is behind the header.
fn body(u: &mut Unstructured<'_>, kind: u32) -> Result<Vec<u8>> {
    Ok(match kind {
        0x1001 => Welcome {
            magic: MAGIC,
            version: 1.into(),
            access: 3.into(),
            capabilities: Capabilities::all().bits().into(),
            ..Welcome::new_zeroed()
        }
        .as_bytes()
        .to_vec(),
        0x1002 => {
            let count = u.int_in_range(0..=4)?;
            let mut bytes = vec![0; 16 + count * size_of::<Entry>()];
            bytes[0] = u8::try_from(count).unwrap_or(0);
            bytes[4] = u.int_in_range(0..=1)?;
            bytes
        }
        0x1004 => {
            let mut opened = Opened {
                access: 3.into(),
                fd_access: 3.into(),
                flags: u.int_in_range(1..=15)?.into(),
                ..Opened::new_zeroed()
            };
            opened.data_offset = (4096 * u.int_in_range(0..=4)?).into();
            opened.memory.size = u.int_in_range(0..=FILE_LEN)?.into();
            opened.layout.plane_count = u.int_in_range(0..=5)?.into();
            opened.as_bytes().to_vec()
        }
        0x1008 => {
            let count = u.int_in_range(0..=4)?;
            let mut bytes = vec![0; 64 + count * size_of::<Holder>()];
            bytes[56] = u8::try_from(count).unwrap_or(0);
            bytes[60] = u.int_in_range(0..=1)?;
            bytes
        }
        0x2001 => vec![0; size_of::<Entry>()],
        0x2002 => vec![0; 8],
        _ => Vec::new(),
    })
}

/// Files that come along: none, a good one, and those that must not be mapped.
fn file(u: &mut Unstructured<'_>) -> Result<Vec<OwnedFd>> {
    let sealed = || {
        let fd = rustix::fs::memfd_create("blob", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC);
        let fd = fd.expect("a memfd");
        rustix::fs::ftruncate(&fd, FILE_LEN).expect("a long memfd");
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).expect("a sealed memfd");
        fd
    };
    Ok(match u.int_in_range(0..=9)? {
        0 => Vec::new(),
        1 => {
            let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
            vec![reader]
        }
        2 => {
            let fd = rustix::fs::memfd_create("unsealed", MemfdFlags::CLOEXEC).expect("a memfd");
            vec![fd]
        }
        3 => vec![sealed(), sealed()],
        _ => vec![sealed()],
    })
}
