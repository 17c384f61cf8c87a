//! Beginning and ending brackets, by helpers.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coherd_blob::{Access, Holder};
use rustix::io::Errno;

use super::helpers::Job;
use super::limits::LONGEST_END;
use super::request::Refusal;
use crate::coherence::{AccessError, BlobRecord, Bracket, Patience, PatienceError};
use crate::reactor::Wake;

/// How long a helper stays with a BEGIN while the GPU is not done, the first time and later.
const FIRST_TRY: Duration = Duration::from_millis(2);
const TRY: Duration = Duration::from_millis(20);

/// A blob's bracket, open.
pub type OpenBracket = (Arc<BlobRecord>, Bracket);

/// What a helper has done.
#[derive(Debug)]
pub enum Done {
    /// [`Ticket::take`] has how a BEGIN ended.
    Begun(Arc<Ticket>),
    /// Brackets of a peer are ended.
    Ended(u64, Result<(), AccessError>),
    /// Files of a peer are used and closed.
    UsedFiles(u64, Result<(), Refusal>),
}

/// What helpers have done. Readable when there is something.
#[derive(Debug)]
pub struct DoneList {
    done: Mutex<Vec<Done>>,
    wake: Wake,
}

impl DoneList {
    /// An empty list.
    ///
    /// # Errors
    /// The error of eventfd2.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            done: Mutex::default(),
            wake: Wake::new()?,
        })
    }

    /// Takes all there is.
    pub fn take(&self) -> Vec<Done> {
        self.wake.take();
        std::mem::take(&mut *lock(&self.done))
    }

    pub(super) fn add(&self, done: Done) {
        lock(&self.done).push(done);
        self.wake.send();
    }
}

impl AsFd for DoneList {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// What a peer wants to begin.
#[derive(Debug)]
pub struct Wanted {
    /// The peer.
    pub peer: u64,
    /// The blob's id.
    pub blob: u64,
    /// The peer's name for the bracket.
    pub bracket: u64,
    /// The blob itself.
    pub record: Arc<BlobRecord>,
    /// What the peer does.
    pub access: Access,
    /// Where.
    pub range: Range<u64>,
    /// When it does not wait any longer.
    pub deadline: Instant,
}

/// A BEGIN that waits. Whoever asks first, the helper or the server, decides how it ends.
#[derive(Debug)]
pub struct Ticket {
    /// What it is about.
    pub wanted: Wanted,
    abandoned: AtomicBool,
    result: Mutex<Option<Result<Bracket, AccessError>>>,
}

impl Ticket {
    /// A BEGIN that nobody has tried.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            abandoned: AtomicBool::new(false),
            result: Mutex::new(None),
        }
    }

    /// How it ended, unless somebody has asked before.
    pub fn take(&self) -> Option<Result<Bracket, AccessError>> {
        lock(&self.result).take()
    }

    /// Gives it up, unless it has ended: then returns how. What begins later ends at once.
    pub fn abandon(&self) -> Option<Result<Bracket, AccessError>> {
        let mut result = lock(&self.result);
        self.abandoned.store(true, Ordering::Relaxed);
        result.take()
    }

    fn finish(self: &Arc<Self>, ended: Result<Bracket, AccessError>, done: &DoneList) {
        let mut result = lock(&self.result);
        if !self.abandoned.load(Ordering::Relaxed) {
            *result = Some(ended);
            drop(result);
            return done.add(Done::Begun(Arc::clone(self)));
        }
        drop(result);
        if let Ok(bracket) = ended {
            let _ = end(&self.wanted.record, bracket, LONGEST_END);
        }
    }
}

/// Begins a bracket.
#[derive(Debug)]
pub struct BeginJob {
    ticket: Arc<Ticket>,
    done: Arc<DoneList>,
    /// Counts the peer's jobs.
    _of_peer: Arc<()>,
    was_tried: bool,
}

impl BeginJob {
    /// A job that counts in `of_peer` for as long as it is there.
    pub fn new(ticket: Arc<Ticket>, done: Arc<DoneList>, of_peer: Arc<()>) -> Self {
        Self {
            ticket,
            done,
            _of_peer: of_peer,
            was_tried: false,
        }
    }

    fn begin(&self) -> Option<Result<Bracket, AccessError>> {
        let ticket = &self.ticket;
        let Wanted {
            peer,
            record,
            access,
            range,
            deadline,
            ..
        } = &ticket.wanted;
        let patience = |most: Duration| {
            let left = deadline.saturating_duration_since(Instant::now());
            Patience::cancellable(left.min(most), &ticket.abandoned)
        };
        let most = if self.was_tried { TRY } else { FIRST_TRY };
        match record.wait_ready(*access, &patience(most)) {
            Err(AccessError::Patience(PatienceError::TimedOut)) if Instant::now() < *deadline => {
                return None;
            }
            Err(error) => return Some(Err(error)),
            Ok(()) => {}
        }
        let holder = Holder::Peer(*peer);
        Some(record.begin(holder, *access, range.clone(), &patience(Duration::MAX)))
    }
}

impl Job for BeginJob {
    fn run(mut self) -> Option<Self> {
        if self.ticket.abandoned.load(Ordering::Relaxed) {
            return None;
        }
        match self.begin() {
            Some(result) => {
                self.ticket.finish(result, &self.done);
                None
            }
            None => {
                self.was_tried = true;
                Some(self)
            }
        }
    }
}

/// Ends brackets of one peer.
#[derive(Debug)]
pub struct EndJob {
    /// The brackets.
    pub brackets: Vec<OpenBracket>,
    /// Whom to tell.
    pub peer: u64,
    /// Where to say that it is done.
    pub done: Arc<DoneList>,
}

impl Job for EndJob {
    fn run(self) -> Option<Self> {
        let mut result = Ok(());
        // Blobs that somebody is stuck with are waited for once.
        let mut stuck: Vec<Arc<BlobRecord>> = Vec::new();
        for (record, bracket) in self.brackets {
            let is_stuck = stuck.iter().any(|other| Arc::ptr_eq(other, &record));
            let patience = if is_stuck {
                Duration::ZERO
            } else {
                LONGEST_END
            };
            let ended = end(&record, bracket, patience);
            if !is_stuck && matches!(ended, Err(AccessError::Patience(_))) {
                stuck.push(record);
            }
            result = result.and(ended);
        }
        drop(stuck);
        self.done.add(Done::Ended(self.peer, result));
        None
    }
}

fn end(record: &BlobRecord, bracket: Bracket, patience: Duration) -> Result<(), AccessError> {
    record.end(bracket, &Patience::until(Instant::now() + patience))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
