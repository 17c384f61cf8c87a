//! A state on its way to or from a file or pipe: one at a time, in a thread of its own.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::contents::{self, Piece};
use super::error::SnapshotError;
use super::progress::Progress;
use super::stalling::Stalling;
use super::state::State;
use super::stream::{Reader, Writer};
use crate::device::quota::Quotas;
use crate::explain::one_line;
use crate::mailbox::Mailbox;
use crate::size;
use crate::vhost_user::rings::Rings;

/// Bytes of the buffer between a stream and its file.
const BUFFER: usize = 64 << 10;
/// How long the device thread may take until it stands still: it waits for the GPU, and may wait
/// for a VMM that is not listening.
const LONGEST_CAPTURE: Duration = Duration::from_secs(20);
/// How long it may take for everything else. It allocates.
const LONGEST_ORDER: Duration = Duration::from_secs(120);

/// What the device thread is asked for in the course of a transfer.
pub enum Order {
    /// Stand still, and say what the device is.
    Capture {
        /// Whether the device may run.
        may_run: bool,
        /// Where to say it.
        reply: Sender<Result<(State, Vec<Piece>), SnapshotError>>,
    },
    /// Become this device, with memory that is filled afterwards, and stand still.
    Build {
        /// The device.
        state: Box<State>,
        /// Where to lend the memory.
        reply: Sender<Result<Vec<Piece>, SnapshotError>>,
    },
    /// Take the memory back and go on.
    Finish {
        /// What was lent.
        pieces: Vec<Piece>,
        /// How it ended.
        ending: Ending,
        /// Where to say that it goes on.
        reply: Sender<Result<(), SnapshotError>>,
    },
}

/// How a transfer ends for the device.
pub enum Ending {
    /// It is as it was.
    Saved,
    /// It is another one.
    Loaded(Box<State>),
    /// It is empty: the state was not good.
    NotLoaded,
}

/// Which way a state goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the file.
    Save,
    /// From the file.
    Load,
}

/// The transfers of one device.
pub struct Transfers {
    orders: Arc<Mailbox<Order>>,
    rings: Arc<Rings>,
    quotas: Quotas,
    current: Mutex<Option<Arc<Transfer>>>,
}

/// One transfer.
#[derive(Debug, Default)]
pub struct Transfer {
    progress: Progress,
    outcome: Mutex<Option<Result<(), SnapshotError>>>,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Transfer {
    /// How far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        *lock(&self.is_over)
    }

    /// Waits for its end for so long; `false` if it goes on.
    pub fn wait_over(&self, timeout: Duration) -> bool {
        let is_over = lock(&self.is_over);
        *self
            .over
            .wait_timeout_while(is_over, timeout, |is_over| !*is_over)
            .map_or_else(|poison| poison.into_inner().0, |(is_over, _)| is_over)
    }

    /// Waits for its end; who asks first is told how it ended.
    ///
    /// # Errors
    /// What it ended with, or [`SnapshotError::Ended`] to others.
    pub fn wait(&self) -> Result<(), SnapshotError> {
        let mut is_over = lock(&self.is_over);
        while !*is_over {
            is_over = self
                .over
                .wait(is_over)
                .unwrap_or_else(PoisonError::into_inner);
        }
        lock(&self.outcome)
            .take()
            .unwrap_or(Err(SnapshotError::Ended))
    }

    fn end(&self, outcome: Result<(), SnapshotError>) {
        *lock(&self.outcome) = Some(outcome);
        *lock(&self.is_over) = true;
        self.over.notify_all();
    }
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfers").finish_non_exhaustive()
    }
}

impl Transfers {
    /// Transfers of the device behind `orders`, whose guest may have what `quotas` say.
    pub fn new(orders: Arc<Mailbox<Order>>, rings: Arc<Rings>, quotas: Quotas) -> Self {
        Self {
            orders,
            rings,
            quotas,
            current: Mutex::default(),
        }
    }

    /// Begins a transfer. The device must not run, unless it is saved and `may_run`.
    ///
    /// # Errors
    /// [`SnapshotError::InProgress`], [`SnapshotError::Running`] and [`SnapshotError::Transfer`]
    pub fn begin(
        self: &Arc<Self>,
        direction: Direction,
        file: File,
        may_run: bool,
    ) -> Result<Arc<Transfer>, SnapshotError> {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|transfer| !transfer.is_over()) {
            return Err(SnapshotError::InProgress);
        }
        if !may_run && self.rings.is_running() {
            return Err(SnapshotError::Running);
        }
        let transfer = Arc::new(Transfer::default());
        std::thread::Builder::new().name("snapshot".into()).spawn({
            let (transfers, transfer) = (Arc::clone(self), Arc::clone(&transfer));
            move || transfers.run(direction, file, may_run, &transfer)
        })?;
        *current = Some(Arc::clone(&transfer));
        Ok(transfer)
    }

    /// Waits for the transfer that was begun last.
    ///
    /// # Errors
    /// What it ended with; [`SnapshotError::Ended`] if there was none.
    pub fn check(&self) -> Result<(), SnapshotError> {
        let current = lock(&self.current).take();
        current.ok_or(SnapshotError::Ended)?.wait()
    }

    fn run(&self, direction: Direction, file: File, may_run: bool, transfer: &Transfer) {
        let began = Instant::now();
        let done = match direction {
            Direction::Save => self.save(file, may_run, &transfer.progress),
            Direction::Load => self.load(file, &transfer.progress),
        };
        let (bytes, _) = transfer.progress.get();
        match &done {
            Ok(()) => info!(
                memory = size::format(bytes),
                seconds = began.elapsed().as_secs_f32(),
                "{}",
                match direction {
                    Direction::Save => "state is saved",
                    Direction::Load => "state is loaded",
                }
            ),
            Err(error) => error!("{}", one_line(error)),
        }
        transfer.end(done);
    }

    fn save(&self, file: File, may_run: bool, progress: &Progress) -> Result<(), SnapshotError> {
        let captured = self.order(LONGEST_CAPTURE, |reply| Order::Capture { may_run, reply });
        let (state, mut pieces) = captured.inspect_err(|error| {
            if matches!(error, SnapshotError::Ended) {
                // If it is not begun, it is not to begin later.
                drop(self.orders.take());
            }
        })?;
        progress.begin(state.device.bytes.get());
        let written = self.write(file, may_run, (&state, &mut pieces), progress);
        let ending = Ending::Saved;
        let finished = self.order(LONGEST_ORDER, |reply| Order::Finish {
            pieces,
            ending,
            reply,
        });
        written.and(finished)
    }

    fn write(
        &self,
        file: File,
        may_run: bool,
        (state, pieces): (&State, &mut [Piece]),
        progress: &Progress,
    ) -> Result<(), SnapshotError> {
        let rings = (!may_run).then_some(&*self.rings);
        let file = Stalling::new(file, rings, progress)?;
        let mut writer = Writer::new(BufWriter::with_capacity(BUFFER, file))?;
        state.write(&mut writer)?;
        contents::save(pieces, &mut writer, progress)?;
        writer.finish()?;
        Ok(())
    }

    fn load(&self, file: File, progress: &Progress) -> Result<(), SnapshotError> {
        let file = Stalling::new(file, Some(&self.rings), progress)?;
        let mut reader = Reader::new(BufReader::with_capacity(BUFFER, file))?;
        let state = Box::new(State::read(&mut reader, &self.quotas)?);
        progress.begin(state.device.bytes.get());
        let mut pieces = self.order(LONGEST_ORDER, |reply| Order::Build {
            state: state.clone(),
            reply,
        })?;
        let filled = contents::load(&mut pieces, &mut reader, progress);
        let ending = match &filled {
            Ok(()) => Ending::Loaded(state),
            Err(_) => Ending::NotLoaded,
        };
        let finished = self.order(LONGEST_ORDER, |reply| Order::Finish {
            pieces,
            ending,
            reply,
        });
        filled.and(finished)
    }

    fn order<T>(
        &self,
        patience: Duration,
        order: impl FnOnce(Sender<Result<T, SnapshotError>>) -> Order,
    ) -> Result<T, SnapshotError> {
        let (sender, reply) = mpsc::channel();
        self.orders.put(order(sender));
        let reply = reply.recv_timeout(patience);
        reply.unwrap_or(Err(SnapshotError::Ended))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
