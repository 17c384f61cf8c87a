//! The server, and what a test does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;
use std::{fmt, thread};

use coherd_protocol::sync::wire::{Capabilities, Hello};
use coherd_protocol::sync::{Event, Header, Kind, MAGIC};
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
    shutdown, socket_with, socketpair,
};
use tempfile::TempDir;
use zerocopy::{FromZeros, IntoBytes};

use super::PATIENCE;
use super::blob::{Blob, Recipe};
use super::peer::{Peer, receive, send};

/// What the server lets peers do.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub capabilities: Capabilities,
    pub allowed: bool,
    pub version: u32,
    pub max_brackets: u32,
    /// Entries of a page of LIST, and holders of one of DESCRIBE.
    pub page: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            capabilities: Capabilities::all(),
            allowed: true,
            version: 1,
            max_brackets: 1024,
            page: usize::MAX,
        }
    }
}

/// Changes a reply and its file before they are sent, by the kind of its request.
pub type Tamper = Box<dyn FnMut(u32, &mut Vec<u8>, &mut Option<OwnedFd>) + Send>;

/// What the server is, for all of its threads.
#[derive(Default)]
pub struct State {
    pub rules: Rules,
    pub blobs: BTreeMap<u64, Blob>,
    pub next_blob: u64,
    /// Brackets that are open, by connection and id.
    pub open: BTreeSet<(u64, u64)>,
    /// Blobs that are open, by connection.
    pub opened: BTreeSet<(u64, u64)>,
    /// Requests to BEGIN that wait for the GPU, by connection and id.
    pub waiting: BTreeMap<(u64, u64), Header>,
    /// Kinds of requests, as they came.
    pub requests: Vec<u32>,
    /// Sockets of those who watch, by connection.
    pub watchers: BTreeMap<u64, Arc<OwnedFd>>,
    pub tamper: Option<Tamper>,
    /// The server answers nothing any more.
    pub silent: bool,
    pub sockets: Vec<Arc<OwnedFd>>,
}

/// State and its changes.
#[derive(Default)]
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The state, to be changed. Whoever waits for something looks when it is let go.
pub struct Change<'a> {
    state: Option<MutexGuard<'a, State>>,
    changed: &'a Condvar,
}

impl Deref for Change<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        self.state.as_ref().unwrap()
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().unwrap()
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.state = None;
        self.changed.notify_all();
    }
}

impl Shared {
    pub fn lock(&self) -> Change<'_> {
        Change {
            state: Some(self.state.lock().unwrap()),
            changed: &self.changed,
        }
    }

    /// Waits until the state is as `right` says, or until `deadline`.
    pub fn wait_until(&self, deadline: Instant, right: impl Fn(&State) -> bool) -> Change<'_> {
        let mut state = self.state.lock().unwrap();
        while !right(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
        Change {
            state: Some(state),
            changed: &self.changed,
        }
    }
}

/// A server that runs until it is dropped.
pub struct Fake {
    shared: Arc<Shared>,
    folder: TempDir,
    listener: Arc<OwnedFd>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").finish_non_exhaustive()
    }
}

impl Fake {
    /// A server with these rules and no blobs.
    pub fn new(rules: Rules) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let address = SocketAddrUnix::new(socket_path(folder.path())).unwrap();
        bind(&listener, &address).unwrap();
        listen(&listener, 16).unwrap();
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared::default());
        shared.lock().rules = rules;
        shared.lock().next_blob = 1;
        let (accepted, state) = (Arc::clone(&listener), Arc::clone(&shared));
        thread::spawn(move || {
            while let Ok(socket) = accept_with(&accepted, SocketFlags::CLOEXEC) {
                serve(&state, socket);
            }
        });
        Self {
            shared,
            folder,
            listener,
        }
    }

    /// Where it listens.
    pub fn path(&self) -> PathBuf {
        socket_path(self.folder.path())
    }

    /// A socket that is connected to it.
    pub fn socket(&self) -> OwnedFd {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        serve(&self.shared, ours);
        theirs
    }

    /// The answer to HELLO, as it is sent.
    pub fn greeting(&self) -> Vec<u8> {
        let socket = self.socket();
        let hello = Hello {
            magic: MAGIC,
            version: 1.into(),
            oldest: 1.into(),
            ..Hello::new_zeroed()
        };
        let header = Header::request(Kind::Hello, 1);
        send(
            &socket,
            &[header.as_bytes(), hello.as_bytes()].concat(),
            None,
        );
        receive(&socket).unwrap().0
    }

    /// Creates a blob and returns its id.
    pub fn create(&self, recipe: Recipe) -> u64 {
        let mut state = self.shared.lock();
        let id = state.next_blob;
        state.next_blob += 1;
        let blob = Blob::new(id, u32::try_from(id).unwrap() + 100, recipe);
        let event = Event::Created(blob.entry(id, true));
        state.blobs.insert(id, blob);
        announce(&state, event);
        id
    }

    /// Destroys a blob.
    pub fn destroy(&self, id: u64) {
        let mut state = self.shared.lock();
        state.blobs.get_mut(&id).unwrap().gone = true;
        announce(&state, Event::Destroyed(id));
    }

    /// Tells watchers that they missed something.
    pub fn lose_events(&self) {
        announce(&self.shared.lock(), Event::Lost);
    }

    /// What the GPU sees of a blob.
    pub fn gpu(&self, id: u64) -> Vec<u8> {
        self.shared.lock().blobs[&id].gpu.clone()
    }

    /// The GPU writes a blob.
    pub fn gpu_writes(&self, id: u64, contents: &[u8]) {
        let mut state = self.shared.lock();
        state
            .blobs
            .get_mut(&id)
            .unwrap()
            .gpu
            .copy_from_slice(contents);
    }

    /// The GPU finishes with a blob, or hangs.
    pub fn hang(&self, id: u64, hung: bool) {
        self.shared.lock().blobs.get_mut(&id).unwrap().recipe.hung = hung;
    }

    /// Has replies changed.
    pub fn tamper(
        &self,
        tamper: impl FnMut(u32, &mut Vec<u8>, &mut Option<OwnedFd>) + Send + 'static,
    ) {
        self.shared.lock().tamper = Some(Box::new(tamper));
    }

    /// Answers nothing from now on.
    pub fn fall_silent(&self) {
        self.shared.lock().silent = true;
    }

    /// Ends every connection, as a server does that dies.
    pub fn die(&self) {
        let mut state = self.shared.lock();
        for socket in state.sockets.drain(..) {
            // The peer may have been faster.
            let _ = shutdown(&*socket, Shutdown::Both);
        }
    }

    /// How many brackets are open.
    pub fn open_brackets(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// Waits until the state is as `right` says.
    pub fn wait_until(&self, what: &str, right: impl Fn(&State) -> bool) {
        let state = self.shared.wait_until(Instant::now() + PATIENCE, &right);
        assert!(right(&state), "never happened: {what}");
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.die();
        let _ = shutdown(&*self.listener, Shutdown::Both);
    }
}

fn socket_path(folder: &Path) -> PathBuf {
    folder.join("sync")
}

fn announce(state: &State, event: Event) {
    let mut message = Vec::new();
    event.encode(&mut message);
    for socket in state.watchers.values() {
        send(socket, &message, None);
    }
}

fn serve(shared: &Arc<Shared>, socket: OwnedFd) {
    let socket = Arc::new(socket);
    let id = {
        let mut state = shared.lock();
        state.sockets.push(Arc::clone(&socket));
        15 + u64::try_from(state.sockets.len()).unwrap()
    };
    let shared = Arc::clone(shared);
    thread::spawn(move || Peer::new(shared, socket, id).serve());
}
