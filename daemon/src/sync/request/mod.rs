//! Requests, one function each.

mod bracket;
mod describe;
mod fence;
mod hello;
mod list;
mod open;

pub use hello::capabilities;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use coherd_blob::bracket::BracketError;
use coherd_protocol::sync::wire::{Begin, Capabilities};
use coherd_protocol::sync::{Header, Request, Status};
use zerocopy::IntoBytes;

use super::files::{FileJob, Purpose};
use super::helpers::Helpers;
use super::jobs::{BeginJob, DoneList, EndJob, OpenBracket};
use super::limits::MAX_FILES;
use super::peer::{Peer, Standing};
use super::server::{Deadlines, Peers};
use crate::coherence::registry::{KnownBlob, Missing, Registry};
use crate::coherence::{AccessError, PatienceError};

/// What all requests use.
pub struct Hub {
    /// The blobs that there are.
    pub blobs: Arc<Registry>,
    /// What there is to be granted.
    pub capabilities: Capabilities,
    /// A random number of this server's life.
    pub instance: u64,
    /// Threads that begin brackets.
    pub beginners: Helpers<BeginJob>,
    /// Threads that end brackets.
    pub enders: Helpers<EndJob>,
    /// Threads that use files of peers.
    pub file_users: Helpers<FileJob>,
    /// Counts what those have to do.
    pub file_jobs: Arc<()>,
    /// What helpers have done.
    pub done: Arc<DoneList>,
    /// When BEGINs are answered that wait.
    pub deadlines: Deadlines,
    /// Brackets of all peers.
    pub brackets: usize,
}

impl Hub {
    /// Whether files of peers are taken.
    pub fn takes_files(&self) -> bool {
        Arc::strong_count(&self.file_jobs) <= MAX_FILES
    }

    /// Uses and closes files of a peer, and then tells the server.
    pub fn use_files(&self, peer: u64, files: Vec<OwnedFd>, purpose: Purpose) {
        self.file_users.submit(FileJob {
            files,
            purpose,
            peer,
            done: Arc::clone(&self.done),
            of_all: Arc::clone(&self.file_jobs),
        });
    }

    /// Closes files that are for nothing.
    pub fn close_files(&self, peer: u64, files: Vec<OwnedFd>, refusal: Refusal) {
        if !files.is_empty() {
            self.use_files(peer, files, Purpose::Nothing(refusal));
        }
    }

    /// Ends brackets, and then tells the server.
    pub fn end(&mut self, peer: u64, brackets: Vec<OpenBracket>) {
        self.brackets = self.brackets.saturating_sub(brackets.len());
        self.enders.submit(EndJob {
            brackets,
            peer,
            done: Arc::clone(&self.done),
        });
    }
}

/// What is sent.
#[derive(Debug, Default)]
pub struct Reply {
    /// What is behind the header.
    pub body: Vec<u8>,
    /// What comes with it.
    pub file: Option<OwnedFd>,
}

/// How a request was carried out.
#[derive(Debug)]
pub enum Answer {
    /// It is answered now.
    Now(Reply),
    /// It is answered when a helper has done something.
    Later,
}

impl Answer {
    /// The answer that says that it was done.
    fn done() -> Self {
        Self::Now(Reply::default())
    }

    fn body(body: Vec<u8>) -> Self {
        Self::Now(Reply { body, file: None })
    }
}

/// Why it was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub status: Status,
    /// What belongs to it.
    pub detail: u32,
}

impl Refusal {
    fn over(limit: usize) -> Self {
        Self {
            status: Status::OverLimit,
            detail: u32::try_from(limit).unwrap_or(u32::MAX),
        }
    }

    /// A field of the message is wrong.
    fn invalid(offset_in_body: usize) -> Self {
        let offset = Header::LEN.saturating_add(offset_in_body);
        Self {
            status: Status::Invalid,
            detail: u32::try_from(offset).unwrap_or(u32::MAX),
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, detail: 0 }
    }
}

impl From<Missing> for Refusal {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Gone => Status::Gone.into(),
            Missing::Unknown => Status::UnknownBlob.into(),
        }
    }
}

impl From<&AccessError> for Refusal {
    fn from(error: &AccessError) -> Self {
        match error {
            AccessError::Bracket(BracketError::TooMany(limit)) => Self::over(*limit),
            AccessError::Bracket(BracketError::Range { .. }) => {
                Self::invalid(std::mem::offset_of!(Begin, offset))
            }
            AccessError::Bracket(_) | AccessError::Driver(_) => Status::Failed.into(),
            AccessError::Patience(PatienceError::TimedOut) => Status::TimedOut.into(),
            AccessError::Patience(PatienceError::Cancelled) => Status::Cancelled.into(),
            AccessError::DeviceLost => Status::DeviceLost.into(),
            AccessError::OutOfHostMemory | AccessError::OutOfDeviceMemory => {
                Status::OutOfMemory.into()
            }
            AccessError::Kernel(errno) => Self {
                status: Status::Failed,
                detail: errno.raw_os_error().unsigned_abs(),
            },
        }
    }
}

/// What a request is answered with.
pub type Result = std::result::Result<Answer, Refusal>;

/// Carries out a request of the connection `id`, and takes files that it needs.
pub fn carry_out(
    hub: &mut Hub,
    peers: &mut Peers,
    id: u64,
    (header, request): (&Header, Request<'_>),
    files: &mut Vec<OwnedFd>,
) -> Result {
    let Some(peer) = peers.get_mut(&id) else {
        return Err(Status::Failed.into());
    };
    let is_greeted = matches!(peer.standing, Standing::Greeted(_));
    if is_greeted == matches!(request, Request::Hello(_)) {
        return Err(Status::Invalid.into());
    }
    match request {
        Request::Hello(hello) => peer.hello(hub, hello),
        Request::List(list) => Ok(peer.list(hub, list)),
        Request::Watch(watch) => peer.watch(hub, watch),
        Request::Open(open) => peer.open(hub, open),
        Request::Close(close) => peer.close(hub, header, close),
        Request::Begin(begin) => peer.begin(hub, header, begin),
        Request::End(end) => peer.end(hub, header, end),
        Request::Describe(describe) => describe::describe(hub, peers, id, describe),
        Request::ExportFence(export) => peer.export_fence(hub, export),
        Request::ImportFence(import) => peer.import_fence(hub, (header, import), files),
    }
}

/// Whether a peer may open it.
fn is_openable(blob: &KnownBlob) -> bool {
    blob.of.record.is_some()
}

impl Peer {
    /// Sends the answer to a request, as soon as the peer reads it.
    pub fn answer(&mut self, header: &Header, result: std::result::Result<Reply, Refusal>) {
        let (reply, head) = match result {
            Ok(reply) => (reply, header.reply(Status::Ok, 0)),
            Err(refusal) => (
                Reply::default(),
                header.reply(refusal.status, refusal.detail),
            ),
        };
        let message = [head.as_bytes(), &reply.body].concat();
        self.outbox.reply(message, reply.file);
    }
}
