//! One connection, served as the protocol's page says.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use coherd_protocol::memory::Access;
use coherd_protocol::sync::limits::{MAX_ENTRIES, MAX_HOLDERS, MAX_MESSAGE};
use coherd_protocol::sync::wire::{
    Agreement, Begin, Capabilities, Describe, Described, Hello, Holder, HolderFlags, List,
    ListFlags, ListHead, Open, Welcome,
};
use coherd_protocol::sync::{Header, MAGIC, Request, RequestError, Status, text};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use zerocopy::IntoBytes;

use super::server::{Shared, State};

/// How an access was begun.
#[derive(Clone, Debug)]
struct Bracket {
    id: u64,
    blob: u64,
    access: Access,
    range: Range<usize>,
}

/// An answer: a status, what is behind the header, and a file.
type Answer = (Status, Vec<u8>, Option<OwnedFd>);

pub struct Peer {
    shared: Arc<Shared>,
    socket: Arc<OwnedFd>,
    id: u64,
    greeted: bool,
    capabilities: Capabilities,
    name: [u8; 32],
    /// Blobs that are open, with what they were opened for.
    opened: Vec<(u64, Access)>,
    /// Brackets that are open or wait.
    brackets: Vec<Bracket>,
}

impl Peer {
    pub fn new(shared: Arc<Shared>, socket: Arc<OwnedFd>, id: u64) -> Self {
        Self {
            shared,
            socket,
            id,
            greeted: false,
            capabilities: Capabilities::empty(),
            name: [0; 32],
            opened: Vec::new(),
            brackets: Vec::new(),
        }
    }

    /// Serves until the connection ends, then ends what is left.
    pub fn serve(mut self) {
        while let Some((message, files)) = receive(&self.socket) {
            match Request::decode(&message, files.len()) {
                Ok((header, request)) => {
                    if !self.handle(header, request, &files) {
                        break;
                    }
                }
                Err(RequestError::Refused(reply)) => {
                    send(&self.socket, reply.as_bytes(), None);
                }
                Err(RequestError::NoHeader(_)) => break,
            }
        }
        // The test has the socket too, to end it.
        let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Both);
        let mut state = self.shared.lock();
        for bracket in std::mem::take(&mut self.brackets) {
            self.finish(&mut state, &bracket);
        }
        let id = self.id;
        state.watchers.remove(&id);
        state.opened.retain(|(peer, _)| *peer != id);
    }

    /// Returns whether the connection goes on.
    fn handle(&mut self, header: Header, request: Request<'_>, files: &[OwnedFd]) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.requests.push(header.kind.get());
        if state.silent && self.greeted {
            return true;
        }
        let hello = matches!(request, Request::Hello(_));
        if hello == self.greeted {
            self.reply(&mut state, &header, (Status::Invalid, vec![], None));
            return self.greeted;
        }
        let answer = match request {
            Request::Hello(hello) => self.hello(&state, hello),
            Request::List(list) => self.list(&state, list),
            Request::Watch(watch) => {
                if watch.enable.get() == 1 {
                    state.watchers.insert(self.id, Arc::clone(&self.socket));
                } else {
                    state.watchers.remove(&self.id);
                }
                (Status::Ok, vec![], None)
            }
            Request::Open(open) => self.open(&mut state, open),
            Request::Close(close) => self.close(&mut state, close.blob.get()),
            Request::Begin(begin) => match self.begin(&mut state, &header, begin) {
                Some(status) => (status, vec![], None),
                None => return true,
            },
            Request::End(end) => self.end(&mut state, end.bracket.get()),
            Request::Describe(describe) => self.describe(&state, describe),
            // A memfd has no fences, but a file is good enough for a peer.
            Request::ExportFence(fence) => match self.access(fence.blob.get()) {
                Some(_) => (Status::Ok, vec![], Some(rustix::pipe::pipe().unwrap().0)),
                None => (Status::NotOpen, vec![], None),
            },
            Request::ImportFence(fence) => match self.access(fence.blob.get()) {
                Some(_) if files.len() == 1 => (Status::Ok, vec![], None),
                Some(_) => (Status::Invalid, vec![], None),
                None => (Status::NotOpen, vec![], None),
            },
        };
        let refused = hello && answer.0 != Status::Ok;
        self.reply(&mut state, &header, answer);
        !refused
    }

    fn reply(&self, state: &mut State, header: &Header, answer: Answer) {
        let (status, body, mut file) = answer;
        let detail = match status {
            Status::Version => state.rules.version,
            Status::OverLimit => state.rules.max_brackets,
            _ => 0,
        };
        let reply = header.reply(status, detail);
        let mut message = [reply.as_bytes(), &body].concat();
        if let Some(tamper) = &mut state.tamper {
            tamper(header.kind.get(), &mut message, &mut file);
        }
        send(&self.socket, &message, file.as_ref());
    }

    fn hello(&mut self, state: &State, hello: &Hello) -> Answer {
        if !state.rules.allowed {
            return (Status::Denied, vec![], None);
        }
        let version = state.rules.version;
        if !(hello.oldest.get()..=hello.version.get()).contains(&version) {
            return (Status::Version, vec![], None);
        }
        let asked = Capabilities::from_bits_truncate(hello.capabilities.get());
        self.greeted = true;
        self.capabilities = asked & state.rules.capabilities;
        self.name = hello.name;
        let mut access = Access::READ;
        access.set(Access::WRITE, self.may_write());
        let welcome = Welcome {
            magic: MAGIC,
            version: version.into(),
            access: access.bits().into(),
            page_size: 4096.into(),
            capabilities: self.capabilities.bits().into(),
            instance: 77.into(),
            peer: self.id.into(),
            max_open: 256.into(),
            max_brackets: state.rules.max_brackets.into(),
            max_waiting: 64.into(),
            default_timeout_ms: 5000.into(),
            max_timeout_ms: 10000.into(),
            reserved: 0.into(),
            name: text::encode("fake"),
        };
        (Status::Ok, welcome.as_bytes().to_vec(), None)
    }

    fn may_write(&self) -> bool {
        self.capabilities.contains(Capabilities::WRITE)
    }

    fn list(&self, state: &State, list: &List) -> Answer {
        let limit = match usize::try_from(list.limit.get()).unwrap() {
            0 => MAX_ENTRIES,
            limit => limit.min(MAX_ENTRIES),
        };
        let limit = limit.min(state.rules.page);
        let mut rest = state
            .blobs
            .range(list.after.get() + 1..)
            .filter(|(_, blob)| !blob.gone);
        let entries: Vec<_> = rest
            .by_ref()
            .take(limit)
            .map(|(id, blob)| blob.entry(*id, self.may_write()))
            .collect();
        let mut flags = ListFlags::empty();
        flags.set(ListFlags::MORE, rest.next().is_some());
        let head = ListHead {
            count: u32::try_from(entries.len()).unwrap().into(),
            flags: flags.bits().into(),
            reserved: 0.into(),
        };
        (
            Status::Ok,
            [head.as_bytes(), entries.as_bytes()].concat(),
            None,
        )
    }

    fn access(&self, blob: u64) -> Option<Access> {
        let open = self.opened.iter().find(|(open, _)| *open == blob);
        open.map(|(_, access)| *access)
    }

    fn open(&mut self, state: &mut State, open: &Open) -> Answer {
        let (id, access) = (open.blob.get(), open.access());
        let refused = |status| (status, vec![], None);
        let blob = match state.blobs.get(&id) {
            None => return refused(Status::UnknownBlob),
            Some(blob) if blob.gone => return refused(Status::Gone),
            Some(blob) if !blob.recipe.openable => return refused(Status::Unsupported),
            Some(blob) => blob,
        };
        if access.contains(Access::WRITE) && !self.may_write() {
            return refused(Status::Denied);
        }
        if self.access(id).is_some() {
            return refused(Status::InUse);
        }
        let body = blob.opened(id, access).as_bytes().to_vec();
        let file = blob.file(access);
        self.opened.push((id, access));
        state.opened.insert((self.id, id));
        (Status::Ok, body, Some(file))
    }

    fn close(&mut self, state: &mut State, blob: u64) -> Answer {
        if self.access(blob).is_none() {
            return (Status::NotOpen, vec![], None);
        }
        let (of_blob, others) = std::mem::take(&mut self.brackets)
            .into_iter()
            .partition(|bracket| bracket.blob == blob);
        self.brackets = others;
        let of_blob: Vec<Bracket> = of_blob;
        for bracket in &of_blob {
            self.finish(state, bracket);
        }
        self.opened.retain(|(open, _)| *open != blob);
        state.opened.remove(&(self.id, blob));
        (Status::Ok, vec![], None)
    }

    /// Returns how it ended, unless it waits.
    fn begin(&mut self, state: &mut State, header: &Header, begin: &Begin) -> Option<Status> {
        let bracket = match self.check(state, begin) {
            Ok(bracket) => bracket,
            Err(status) => return Some(status),
        };
        self.brackets.push(bracket.clone());
        if !state.blobs[&bracket.blob].recipe.hung {
            start(state, self.id, &bracket);
            return Some(Status::Ok);
        }
        state.waiting.insert((self.id, bracket.id), *header);
        let timeout = match begin.timeout_ms.get() {
            0 => 5000,
            asked => asked.min(10_000),
        };
        let deadline = Instant::now() + Duration::from_millis(timeout.into());
        let (shared, socket, peer) = (Arc::clone(&self.shared), Arc::clone(&self.socket), self.id);
        thread::spawn(move || wait(&shared, &socket, peer, &bracket, deadline));
        None
    }

    fn check(&mut self, state: &State, begin: &Begin) -> Result<Bracket, Status> {
        let (id, blob) = (begin.bracket.get(), begin.blob.get());
        let access = self.access(blob).ok_or(Status::NotOpen)?;
        if state.blobs[&blob].gone {
            return Err(Status::Gone);
        }
        if !access.contains(begin.access()) {
            return Err(Status::Denied);
        }
        // Those that were timed out.
        let peer = self.id;
        self.brackets.retain(|bracket| {
            let key = (peer, bracket.id);
            state.open.contains(&key) || state.waiting.contains_key(&key)
        });
        if id == 0 || self.brackets.iter().any(|bracket| bracket.id == id) {
            return Err(Status::InUse);
        }
        if self.brackets.len() >= usize::try_from(state.rules.max_brackets).unwrap() {
            return Err(Status::OverLimit);
        }
        let size = state.blobs[&blob].recipe.size;
        let offset = begin.offset.get();
        let end = match begin.size.get() {
            0 => Some(size),
            len => offset.checked_add(len),
        };
        match end {
            Some(end) if offset < end && end <= size => Ok(Bracket {
                id,
                blob,
                access: begin.access(),
                range: usize::try_from(offset).unwrap()..usize::try_from(end).unwrap(),
            }),
            _ => Err(Status::Invalid),
        }
    }

    fn end(&mut self, state: &mut State, id: u64) -> Answer {
        let place = self.brackets.iter().position(|bracket| bracket.id == id);
        let bracket = place.map(|place| self.brackets.remove(place));
        let status = match bracket {
            Some(bracket) if self.finish(state, &bracket) => Status::Ok,
            _ => Status::NotOpen,
        };
        (status, vec![], None)
    }

    /// Ends a bracket, or cancels it. Returns `false` if it had failed.
    fn finish(&self, state: &mut State, bracket: &Bracket) -> bool {
        let key = (self.id, bracket.id);
        if let Some(header) = state.waiting.remove(&key) {
            self.reply(state, &header, (Status::Cancelled, vec![], None));
            return true;
        }
        if !state.open.remove(&key) {
            return false;
        }
        if bracket.access.contains(Access::WRITE) {
            let blob = state.blobs.get_mut(&bracket.blob).unwrap();
            blob.flush(&bracket.range);
        }
        true
    }

    fn describe(&self, state: &State, describe: &Describe) -> Answer {
        let id = describe.blob.get();
        let blob = match state.blobs.get(&id) {
            None => return (Status::UnknownBlob, vec![], None),
            Some(blob) if blob.gone => return (Status::Gone, vec![], None),
            Some(blob) => blob,
        };
        let of_blob = state.opened.iter().filter(|(_, open)| *open == id);
        let all = [1].into_iter().chain(of_blob.map(|(peer, _)| *peer));
        let mut rest = all.filter(|holder| *holder > describe.after.get());
        let limit = MAX_HOLDERS.min(state.rules.page);
        let holders: Vec<_> = rest
            .by_ref()
            .take(limit)
            .map(|holder| self.holder(state, holder))
            .collect();
        let mut flags = ListFlags::empty();
        flags.set(ListFlags::MORE, rest.next().is_some());
        let head = Described {
            blob: id.into(),
            memory: blob.memory(),
            agreement: Agreement::Differ.to_wire().into(),
            open: u32::try_from(state.open.len()).unwrap().into(),
            count: u32::try_from(holders.len()).unwrap().into(),
            flags: flags.bits().into(),
        };
        (
            Status::Ok,
            [head.as_bytes(), holders.as_bytes()].concat(),
            None,
        )
    }

    fn holder(&self, state: &State, holder: u64) -> Holder {
        let mut flags = HolderFlags::NEEDS_BRACKETS;
        flags.set(HolderFlags::SELF, holder == self.id);
        let open = state.open.iter().filter(|(peer, _)| *peer == holder);
        let guest = holder == 1;
        Holder {
            holder: holder.into(),
            kind: if guest { 1 } else { 4 }.into(),
            map_info: if guest { 3 } else { 1 }.into(),
            access: Access::all().bits().into(),
            flags: flags.bits().into(),
            open: u32::try_from(open.count()).unwrap().into(),
            pid: if guest { 0 } else { 4321 }.into(),
            name: if holder == self.id {
                self.name
            } else {
                [0; 32]
            },
        }
    }
}

/// Opens a bracket.
fn start(state: &mut State, peer: u64, bracket: &Bracket) {
    state.open.insert((peer, bracket.id));
    if bracket.access.contains(Access::READ) {
        state.blobs[&bracket.blob].invalidate(&bracket.range);
    }
}

/// Waits until the GPU has finished, or until the deadline, or until nobody wants to know.
fn wait(shared: &Shared, socket: &OwnedFd, peer: u64, bracket: &Bracket, deadline: Instant) {
    let key = (peer, bracket.id);
    let mut state = shared.wait_until(deadline, |state| {
        !state.blobs[&bracket.blob].recipe.hung || !state.waiting.contains_key(&key)
    });
    let Some(header) = state.waiting.remove(&key) else {
        return;
    };
    let status = if state.blobs[&bracket.blob].recipe.hung {
        Status::TimedOut
    } else {
        start(&mut state, peer, bracket);
        Status::Ok
    };
    send(socket, header.reply(status, 0).as_bytes(), None);
}

/// Sends a message; a peer that is gone is noticed elsewhere.
pub fn send(socket: &OwnedFd, message: &[u8], file: Option<&OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = file.into_iter().map(AsFd::as_fd).collect();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    let _ = sendmsg(
        socket,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    );
}

/// The next message and its files; `None` at the end of the connection.
pub fn receive(socket: &OwnedFd) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    let mut message = vec![0; MAX_MESSAGE + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut message)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .ok()
    .filter(|received| received.bytes > 0)?;
    message.truncate(received.bytes);
    let mut files = Vec::new();
    for control in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = control {
            files.extend(fds);
        }
    }
    Some((message, files))
}
