//! The thread that serves all peers.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use coherd_protocol::sync::wire::Capabilities;
use coherd_protocol::sync::{Event, Request, RequestError, Status, text};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use thiserror::Error;
use tracing::{debug, error, info, warn};

use super::allow::AllowList;
use super::datagram::{self, Datagram};
use super::helpers::Helpers;
use super::jobs::{Done, DoneList};
use super::limits::{BEGINNERS, ENDERS, FILE_USERS, MAX_PEERS, MAX_TURNED_AWAY, TURN};
use super::listen::SyncSocket;
use super::peer::{Peer, Standing};
use super::request::{self, Answer, Hub, Refusal};
use crate::cage::{self, CageError};
use crate::coherence::Registry;
use crate::coherence::registry::Change;
use crate::credentials::Credentials;
use crate::limiter::Limiter;
use crate::reactor::{Reactor, Wake};

const TOKEN_SOCKET: u64 = 0;
const TOKEN_STOP: u64 = 1;
const TOKEN_BLOBS: u64 = 2;
const TOKEN_DONE: u64 = 3;
/// Numbers below are those of other holders in ledgers.
const FIRST_PEER: u64 = 16;

/// How long no connection is accepted after the host had no files left.
const PAUSE: Duration = Duration::from_millis(200);

/// Why peers are not served.
#[derive(Debug, Error)]
pub enum SyncError {
    /// The operating system refused something small.
    #[error("cannot set up the sync thread")]
    Setup(#[from] std::io::Error),
    /// The thread has no policy.
    #[error("cannot confine the sync thread")]
    Cage(#[from] CageError),
    /// The thread ended at once.
    #[error("sync thread ended")]
    Ended,
}

impl From<Errno> for SyncError {
    fn from(errno: Errno) -> Self {
        Self::Setup(errno.into())
    }
}

/// Connections by their numbers.
pub type Peers = HashMap<u64, Peer>;

/// When BEGINs are answered that wait, and whose they are.
#[derive(Debug, Default)]
pub struct Deadlines {
    due: BTreeMap<(Instant, u64), (u64, u64)>,
    last: u64,
}

impl Deadlines {
    /// Adds one for a bracket of a peer.
    pub fn add(&mut self, deadline: Instant, of: (u64, u64)) -> (Instant, u64) {
        self.last += 1;
        let due = (deadline, self.last);
        self.due.insert(due, of);
        due
    }

    /// Removes one that is not needed any more.
    pub fn remove(&mut self, due: (Instant, u64)) {
        self.due.remove(&due);
    }

    fn first(&self) -> Option<Instant> {
        self.due.keys().next().map(|(deadline, _)| *deadline)
    }

    fn pop(&mut self, now: Instant) -> Option<(u64, u64)> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// Serves peers until it is dropped.
#[derive(Debug)]
pub struct SyncServer {
    stop: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl SyncServer {
    /// Serves those who are allowed and connect to `socket`.
    ///
    /// # Errors
    /// [`SyncError::Setup`]
    pub fn start(
        socket: SyncSocket,
        allowed: AllowList,
        blobs: Arc<Registry>,
    ) -> Result<Self, SyncError> {
        let stop = Arc::new(Wake::new()?);
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new().name("sync".into());
        let thread = thread.spawn({
            let stop = Arc::clone(&stop);
            // Helpers are confined as the thread is that starts them.
            move || match Server::new(socket, allowed, blobs, &stop) {
                Ok(server) => {
                    let _ = ready.send(Ok(()));
                    server.run();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        started.recv().unwrap_or(Err(SyncError::Ended))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for SyncServer {
    fn drop(&mut self) {
        self.stop.send();
        // It waits for nobody.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Server {
    reactor: Reactor,
    socket: SyncSocket,
    allowed: AllowList,
    hub: Hub,
    peers: Peers,
    next_peer: u64,
    /// When connections are accepted again.
    accepts_again: Option<Instant>,
    log: Limiter,
}

impl Server {
    /// In the thread that is to run it, which is confined.
    fn new(
        socket: SyncSocket,
        allowed: AllowList,
        blobs: Arc<Registry>,
        stop: &Wake,
    ) -> Result<Self, SyncError> {
        cage::confine(cage::Thread::Sync)?;
        let done = Arc::new(DoneList::new()?);
        let reactor = Reactor::new()?;
        reactor.add(&socket, TOKEN_SOCKET)?;
        reactor.add(stop, TOKEN_STOP)?;
        reactor.add(&*blobs, TOKEN_BLOBS)?;
        reactor.add(&*done, TOKEN_DONE)?;
        Ok(Self {
            reactor,
            socket,
            allowed,
            hub: Hub {
                blobs,
                capabilities: request::capabilities(),
                instance: random()?,
                beginners: Helpers::new("sync-begin", BEGINNERS)?,
                enders: Helpers::new("sync-end", ENDERS)?,
                file_users: Helpers::new("sync-files", FILE_USERS)?,
                file_jobs: Arc::new(()),
                done,
                deadlines: Deadlines::default(),
                brackets: 0,
            },
            peers: Peers::new(),
            next_peer: FIRST_PEER,
            accepts_again: None,
            log: Limiter::new(Duration::from_secs(10), 10),
        })
    }

    fn run(mut self) {
        loop {
            match self.step() {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) => {
                    error!(%error, "sync thread failed; peers are not served any more");
                    break;
                }
            }
        }
        let ids: Vec<u64> = self.peers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.drop_peer(id));
    }

    fn step(&mut self) -> Result<ControlFlow<()>, Errno> {
        let deadline = self.hub.deadlines.first().into_iter();
        let deadline = deadline.chain(self.accepts_again).min();
        let mut found = Vec::new();
        self.reactor
            .wait_until(deadline, |token, flags| found.push((token, flags)))?;
        self.follow_time();
        for (token, flags) in found {
            match token {
                TOKEN_STOP => return Ok(ControlFlow::Break(())),
                TOKEN_SOCKET => self.accept(),
                TOKEN_BLOBS => self.follow_blobs(),
                TOKEN_DONE => self.follow_helpers(),
                id => self.serve(id, flags),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn follow_time(&mut self) {
        let now = Instant::now();
        while let Some((id, bracket)) = self.hub.deadlines.pop(now) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.time_out(&mut self.hub, bracket);
                self.settle(id);
            }
        }
        if self.accepts_again.is_some_and(|again| again <= now) {
            self.accepts_again = None;
            // It was watched before.
            let _ = self.reactor.add(&self.socket, TOKEN_SOCKET);
        }
    }

    fn follow_helpers(&mut self) {
        for done in self.hub.done.take() {
            let id = match &done {
                Done::Begun(ticket) => ticket.wanted.peer,
                Done::Ended(peer, _) | Done::UsedFiles(peer, _) => *peer,
            };
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            match done {
                Done::Begun(ticket) => peer.begun(&mut self.hub, &ticket),
                Done::Ended(_, result) => peer.ended(&result),
                Done::UsedFiles(_, result) => peer.finish(result),
            }
            self.settle(id);
        }
    }

    fn follow_blobs(&mut self) {
        let changes = self.hub.blobs.changes();
        let blobs = &self.hub.blobs;
        let watched = self.peers.values_mut();
        for peer in watched.filter(|peer| peer.watches.is_some()) {
            let from = peer.watches.unwrap_or(0);
            for (number, change) in (changes.first..).zip(&changes.changes) {
                if number < from {
                    continue;
                }
                match change {
                    Change::Created(id) => {
                        // One that is gone already is told of next.
                        if let Ok(blob) = blobs.get(*id) {
                            let entry = peer.entry(&blob);
                            peer.outbox.event(&Event::Created(entry));
                        }
                    }
                    Change::Destroyed(id) => peer.outbox.event(&Event::Destroyed(*id)),
                }
            }
            if changes.lost {
                peer.outbox.event(&Event::Lost);
            }
        }
        let watching = |peer: &&Peer| peer.watches.is_some();
        let ids: Vec<u64> = self
            .peers
            .values()
            .filter(watching)
            .map(|peer| peer.id)
            .collect();
        if ids.is_empty() {
            self.hub.blobs.follow(false);
        }
        ids.into_iter().for_each(|id| self.settle(id));
    }

    fn accept(&mut self) {
        for _ in 0..TURN {
            match self.socket.accept() {
                Ok(socket) => self.welcome(socket),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    self.report(&format_args!("cannot accept peers for a moment: {error}"));
                    self.reactor.remove(&self.socket);
                    self.accepts_again = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, socket: OwnedFd) {
        let Ok(process) = Credentials::of_peer(&socket) else {
            return;
        };
        let is_away = |peer: &&Peer| matches!(peer.standing, Standing::TurnedAway(_));
        let turned_away = self.peers.values().filter(is_away).count();
        let standing = match self.allowed.access(&process) {
            None => Standing::TurnedAway(Status::Denied),
            Some(_) if self.peers.len() - turned_away >= MAX_PEERS => {
                Standing::TurnedAway(Status::OverLimit)
            }
            Some(access) => Standing::Stranger(access),
        };
        if let Standing::TurnedAway(status) = standing {
            let (uid, gid) = (process.uid, process.gid);
            self.report(&format_args!(
                "peer of user {uid} and group {gid} is not let in: {status}"
            ));
            if turned_away >= MAX_TURNED_AWAY {
                return;
            }
        }
        let id = self.next_peer;
        self.next_peer += 1;
        if let Err(error) = self.reactor.add(&socket, id) {
            self.report(&format_args!("cannot watch a peer: {error}"));
            return;
        }
        self.peers
            .insert(id, Peer::new(id, socket, process, standing));
    }

    /// Something has happened on a connection.
    fn serve(&mut self, id: u64, flags: EventFlags) {
        // What it waits for may come from a helper that has done it.
        for _ in 0..TURN {
            let Some(peer) = self.peers.get(&id) else {
                return;
            };
            if !peer.is_heard() {
                break;
            }
            let may_send = peer.capabilities().contains(Capabilities::IMPORT_FENCE);
            match datagram::receive(&peer.socket, may_send && self.hub.takes_files()) {
                Ok(Some(datagram)) => {
                    if !self.handle(id, datagram) {
                        return self.drop_peer(id);
                    }
                    self.settle(id);
                }
                Err(Errno::AGAIN) => break,
                Ok(None) | Err(_) => return self.drop_peer(id),
            }
        }
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        // Who has hung up reads nothing more.
        if !peer.is_heard() && flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            return self.drop_peer(id);
        }
        self.settle(id);
    }

    /// Carries out a request; `false` if the connection is to end.
    fn handle(&mut self, id: u64, mut datagram: Datagram) -> bool {
        let count = datagram.file_count();
        let mut files = std::mem::take(&mut datagram.files);
        let (header, result) = match Request::decode(datagram.bytes(), count) {
            Ok((header, request)) => {
                let request = (&header, request);
                let peers = &mut self.peers;
                let result = request::carry_out(&mut self.hub, peers, id, request, &mut files);
                (header, result)
            }
            Err(RequestError::Refused(reply)) => {
                let refusal = Refusal {
                    status: Status::from_wire(reply.status.get()),
                    detail: reply.detail.get(),
                };
                (reply, Err(refusal))
            }
            Err(RequestError::NoHeader(_)) => {
                self.hub.close_files(id, files, Refusal::of_files());
                return false;
            }
        };
        let Some(peer) = self.peers.get_mut(&id) else {
            return false;
        };
        match result {
            Ok(Answer::Later) => {}
            Ok(Answer::Now(reply)) => peer.answer(&header, Ok(reply)),
            Err(refusal) if files.is_empty() => peer.answer(&header, Err(refusal)),
            Err(refusal) => {
                peer.underway = Some(header);
                self.hub.close_files(id, files, refusal);
            }
        }
        let goes_on = self
            .peers
            .get(&id)
            .is_some_and(|peer| matches!(peer.standing, Standing::Greeted(_)));
        if !goes_on {
            self.settle(id);
        }
        goes_on
    }

    /// Sends what there is for a peer, and watches its socket for what is waited for.
    fn settle(&mut self, id: u64) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.outbox.flush(&peer.socket).is_err() {
            return self.drop_peer(id);
        }
        let interest = (!peer.outbox.is_empty(), peer.is_heard());
        if interest == peer.interest {
            return;
        }
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::OUT, interest.0);
        flags.set(EventFlags::IN, interest.1);
        match self.reactor.change(&peer.socket, id, flags) {
            Ok(()) => peer.interest = interest,
            Err(_) => self.drop_peer(id),
        }
    }

    /// Ends a connection, and what it leaves behind.
    fn drop_peer(&mut self, id: u64) {
        let Some(mut peer) = self.peers.remove(&id) else {
            return;
        };
        self.reactor.remove(&peer.socket);
        let brackets = peer.end_where(&mut self.hub, |_| true);
        let holder = peer.holder();
        for opened in peer.opened.values() {
            if let Some(record) = &opened.known.of.record {
                record.note_closed(holder);
            }
        }
        let left = brackets.len();
        if left > 0 {
            let name = text::decode(&peer.name);
            if let Some(held_back) = self.log.pass(Instant::now()) {
                info!(
                    held_back,
                    left, name, "peer is gone; its brackets are ended"
                );
            }
            self.hub.end(id, brackets);
        }
        debug!(peer = id, left, "peer is gone");
    }

    /// Writes a log line that a peer can cause.
    fn report(&mut self, what: &std::fmt::Arguments<'_>) {
        if let Some(held_back) = self.log.pass(Instant::now()) {
            warn!(held_back, "{what}");
        }
    }
}

fn random() -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}
