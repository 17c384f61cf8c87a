//! Commands that wait for the GPU, and the thread of a context that carries them out in order.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use coherd_blob::{Access, Holder};
use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::limits::MAX_SYNC_TIMEOUT_MS;
use coherd_protocol::gpu::header::Fence;

use super::blob::{Blob, BlobMemory, finish};
use super::gpu::{Gpu, TransferFailure};
use super::queue::{Next, Shared};
use super::reply::Reply;
use super::slot::Slot;
use super::snapshot::OpenAccess;
use super::status::status_of;
use crate::coherence::{AccessError, BlobRecord, Bracket, Patience, PatienceError};
use crate::renderer::FenceSink;

/// How long the GPU may take for what a context asks of it.
const LONGEST_WORK: Duration = Duration::from_millis(MAX_SYNC_TIMEOUT_MS as u64);
/// How long the end of an access may wait for others who begin or end one.
const LONGEST_END: Duration = Duration::from_secs(2);
/// Transfers that a context gives the GPU before the first is done.
const IN_FLIGHT: usize = 16;
/// How long to leave a busy GPU alone.
const A_MOMENT: Duration = Duration::from_millis(1);

/// Something to be done when everything before is.
pub enum Job<G: Gpu> {
    /// COPY or FILL.
    Transfer(Transfer<G>),
    /// SYNC(START).
    Start(Start),
    /// SYNC(END).
    End(Access, Interval, Reply),
    /// Ends what is open on a resource that the context loses.
    Abandon(u32),
    /// Gives a reply that is known.
    Answer(Reply, Status),
    /// Signals a fence.
    Fence(Fence),
    /// Says what accesses have begun.
    Capture(Sender<Vec<OpenAccess>>),
}

/// A copy or a fill.
pub struct Transfer<G: Gpu> {
    /// What is read, and from where on; `None` for a fill.
    pub source: Option<(Arc<Blob<G>>, u64)>,
    /// What is written.
    pub destination: Arc<Blob<G>>,
    /// Where it is written.
    pub range: Range<u64>,
    /// With what it is filled.
    pub word: u32,
    /// Where to say that it is done.
    pub reply: Reply,
}

/// The beginning of an access.
pub struct Start {
    /// The blob.
    pub record: Arc<BlobRecord>,
    /// What the processor does.
    pub access: Access,
    /// Where.
    pub interval: Interval,
    /// How long to wait for the GPU.
    pub timeout: Duration,
    /// Counts the open access.
    pub slot: Slot,
    /// Where to say that it has begun.
    pub reply: Reply,
}

/// A part of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The resource.
    pub resource_id: u32,
    /// Its bytes.
    pub range: Range<u64>,
}

/// An access that has begun.
struct Open {
    record: Arc<BlobRecord>,
    bracket: Bracket,
    _slot: Slot,
}

/// A transfer that the GPU has been given.
struct InFlight<G: Gpu> {
    transfer: Transfer<G>,
    work: Arc<G::Work>,
    _slot: Slot,
}

/// Carries out the jobs of one context.
pub struct Runner<G: Gpu> {
    gpu: Arc<G>,
    shared: Arc<Shared<G>>,
    fences: FenceSink,
    in_flight: VecDeque<InFlight<G>>,
    open: HashMap<(Access, Interval), Vec<Open>>,
}

impl<G: Gpu> Runner<G> {
    /// A runner of what is put into `shared`.
    pub fn new(gpu: Arc<G>, shared: Arc<Shared<G>>, fences: FenceSink) -> Self {
        Self {
            gpu,
            shared,
            fences,
            in_flight: VecDeque::new(),
            open: HashMap::new(),
        }
    }

    /// Carries out jobs until the context ends, and then ends what it has left open.
    pub fn run(mut self) {
        loop {
            let next = match self.in_flight.is_empty() {
                true => self.shared.wait_next(),
                false => self.shared.next(false),
            };
            match next {
                Next::Job(job, slot) => self.execute(job, slot),
                Next::Nothing => self.finish_first(),
                Next::End => break,
            }
        }
    }

    /// Carries out the jobs that there are.
    pub fn run_queued(&mut self) {
        loop {
            let is_idle = self.in_flight.is_empty();
            match self.shared.next(is_idle) {
                Next::Job(job, slot) => self.execute(job, slot),
                Next::Nothing if is_idle => break,
                Next::Nothing => self.finish_first(),
                Next::End => break,
            }
        }
    }

    fn execute(&mut self, job: Job<G>, slot: Slot) {
        if let Job::Transfer(transfer) = job {
            return self.begin_transfer(transfer, slot);
        }
        self.finish_all();
        if self.shared.is_closed() {
            return;
        }
        match job {
            Job::Transfer(_) => {}
            Job::Start(start) => self.start(start),
            Job::End(access, interval, reply) => reply.give(self.end(&(access, interval))),
            Job::Abandon(resource_id) => {
                self.end_where(|interval| interval.resource_id == resource_id);
            }
            Job::Answer(reply, status) => reply.give(Err(status)),
            Job::Fence(fence) => self.fences.signal(fence),
            Job::Capture(asked) => {
                // Who asked may have given up.
                let _ = asked.send(self.open_accesses());
            }
        }
    }

    fn begin_transfer(&mut self, transfer: Transfer<G>, slot: Slot) {
        if self.in_flight.len() >= IN_FLIGHT {
            self.finish_first();
        }
        let work = match self.give_to_gpu(&transfer) {
            Ok(work) => work,
            Err(status) => {
                // Replies keep their order.
                self.finish_all();
                return transfer.reply.give(Err(status));
            }
        };
        self.in_flight.push_back(InFlight {
            transfer,
            work,
            _slot: slot,
        });
    }

    /// Gives the GPU a transfer, once it takes one more.
    fn give_to_gpu(&mut self, transfer: &Transfer<G>) -> Result<Arc<G::Work>, Status> {
        let range = &transfer.range;
        let to = &*transfer.destination.memory;
        let from = transfer.source.as_ref().map(|(from, _)| &*from.memory);
        let shared = Arc::clone(&self.shared);
        let patience = Patience::cancellable(LONGEST_WORK, shared.closed());
        loop {
            let give = || match &transfer.source {
                Some((source, offset)) => {
                    let len = range.end - range.start;
                    let from = &source.memory.inner;
                    self.gpu
                        .copy((from, *offset), (&to.inner, range.start), len)
                }
                None => self.gpu.fill(&to.inner, range.clone(), transfer.word),
            };
            let begun = BlobMemory::give_transfer((from, to), give);
            match begun {
                Err(TransferFailure::Busy) => {}
                Err(TransferFailure::Status(status)) => return Err(status),
                Ok(work) => return Ok(work),
            }
            if self.in_flight.is_empty() {
                // Other contexts have given it so much.
                thread::sleep(
                    patience
                        .slice()
                        .map_err(|_| Status::TimedOut)?
                        .min(A_MOMENT),
                );
            }
            self.finish_first();
        }
    }

    fn finish_all(&mut self) {
        while !self.in_flight.is_empty() {
            self.finish_first();
        }
    }

    /// Waits for the first transfer in flight.
    fn finish_first(&mut self) {
        let Some(first) = self.in_flight.pop_front() else {
            return;
        };
        let patience = Patience::cancellable(LONGEST_WORK, self.shared.closed());
        let done = finish(&*first.work, &patience);
        match done {
            // The GPU still uses the memory.
            Err(AccessError::Patience(PatienceError::Cancelled)) => return,
            Err(AccessError::Patience(PatienceError::TimedOut)) => {}
            _ => first.forget(),
        }
        let done = done.map_err(|error| status_of(&error));
        first.transfer.reply.give(done);
    }

    fn start(&mut self, start: Start) {
        let Start {
            record,
            access,
            interval,
            timeout,
            slot,
            reply,
        } = start;
        let patience = Patience::cancellable(timeout, self.shared.closed());
        let begun = record.begin(Holder::Guest, access, interval.range.clone(), &patience);
        let result = begun.map(|bracket| {
            let open = Open {
                record,
                bracket,
                _slot: slot,
            };
            self.open.entry((access, interval)).or_default().push(open);
        });
        if result != Err(AccessError::Patience(PatienceError::Cancelled)) {
            reply.give(result.map_err(|error| status_of(&error)));
        }
    }

    fn end(&mut self, key: &(Access, Interval)) -> Result<(), Status> {
        let same = self.open.get_mut(key).ok_or(Status::NotOpen)?;
        let open = same.pop().ok_or(Status::NotOpen)?;
        if same.is_empty() {
            self.open.remove(key);
        }
        open.end(&Patience::until(Instant::now() + LONGEST_END))
            .map_err(|error| status_of(&error))
    }

    fn open_accesses(&self) -> Vec<OpenAccess> {
        let open = self.open.iter();
        open.map(|((access, interval), open)| {
            let count = u32::try_from(open.len()).unwrap_or(u32::MAX);
            (*access, interval.clone(), count)
        })
        .collect()
    }

    fn end_where(&mut self, matches: impl Fn(&Interval) -> bool) {
        let patience = Patience::until(Instant::now() + LONGEST_END);
        let ended = self.open.extract_if(|(_, interval), _| matches(interval));
        for open in ended.flat_map(|(_, open)| open) {
            // The record logs what fails, and nobody is left to be told.
            let _ = open.end(&patience);
        }
    }
}

/// The context has ended, and what it left open ends with it.
impl<G: Gpu> Drop for Runner<G> {
    fn drop(&mut self) {
        self.end_where(|_| true);
    }
}

impl Open {
    fn end(self, patience: &Patience<'_>) -> Result<(), AccessError> {
        self.record.end(self.bracket, patience)
    }
}

impl<G: Gpu> InFlight<G> {
    fn forget(&self) {
        if let Some((source, _)) = &self.transfer.source {
            source.memory.end_transfer(&self.work);
        }
        self.transfer.destination.memory.end_transfer(&self.work);
    }
}
