//! The device thread: takes chains from the rings, has them executed and returns them.

mod snapshot;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use coherd_protocol::gpu::Response;
use coherd_protocol::gpu::config::EVENT_DISPLAY;
use rustix::io::Errno;
use thiserror::Error;
use tracing::{debug, error, info};

use crate::device::display::Outputs;
use crate::device::{Device, Hang, QueueKind, Reply, Stopped};
use crate::mailbox::Mailbox;
use crate::memory::GuestMemory;
use crate::pulse::Pulse;
use crate::queue::Exchange;
use crate::reactor::{Reactor, Ticker, Wake};
use crate::renderer::FenceSink;
use crate::snapshot::Order;
use crate::vhost_user::config_events::ConfigEvents;
use crate::vhost_user::ring::Used;
use crate::vhost_user::rings::{CONTROL, Epoch, NUM_QUEUES, Rings};

const CURSOR: usize = 1;

/// Tokens behind those of the rings.
const TOKEN_RINGS: u64 = 100;
const TOKEN_FENCES: u64 = 101;
const TOKEN_STOP: u64 = 102;
const TOKEN_STATUS: u64 = 103;
const TOKEN_LOSSES: u64 = 104;
const TOKEN_DISPLAYS: u64 = 105;
const TOKEN_TICK: u64 = 106;
const TOKEN_PULSE: u64 = 107;
const TOKEN_SNAPSHOT: u64 = 108;
/// The first of those that the renderer's deaths have.
const TOKEN_DEATHS: u64 = 200;

/// Chains served at a time, so that a guest that never stops asking leaves room for everything
/// else that wakes this thread.
const TURN: usize = 256;

/// A request that was taken from the control queue. It is parked if the device is stopped before
/// it is answered.
struct Pending {
    head: u16,
    memory: GuestMemory,
    /// The answer, once the request was executed.
    response: Option<Response>,
}

/// Why the device thread ended.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The operating system failed, which only lack of memory can cause.
    #[error("the system has no memory for the device thread")]
    System(#[from] Errno),
    /// A context hangs, and that is to end everything.
    #[error(transparent)]
    Hang(#[from] Hang),
}

/// What other threads ask of the device thread.
pub struct Orders {
    /// End.
    pub stop: Wake,
    /// Log what the device holds.
    pub status: Wake,
    /// Plug displays in and out.
    pub displays: Mailbox<Outputs>,
    /// Say which connection is served.
    pub pulse: Pulse,
    /// An answer: a part of the renderer has died, and the device will not be whole again.
    pub broken: AtomicBool,
    /// Save and load the device.
    pub snapshot: Arc<Mailbox<Order>>,
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").finish_non_exhaustive()
    }
}

impl Orders {
    /// None yet.
    ///
    /// # Errors
    /// The error of eventfd2.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            stop: Wake::new()?,
            status: Wake::new()?,
            displays: Mailbox::new()?,
            pulse: Pulse::new()?,
            broken: AtomicBool::new(false),
            snapshot: Arc::new(Mailbox::new()?),
        })
    }
}

/// See the module's description.
pub struct Worker {
    device: Device,
    rings: Arc<Rings>,
    reactor: Arc<Reactor>,
    fences: FenceSink,
    orders: Arc<Orders>,
    events: ConfigEvents,
    epoch: Epoch,
    /// What has woken the thread.
    tokens: Vec<u64>,
    /// The control request in work, also while it is parked.
    exchange: Exchange,
    cursor_exchange: Exchange,
    parked: Option<Pending>,
    /// The answer to the next control request, which was executed before the device was saved.
    replay: Option<Response>,
    /// Whether the device stands still, because its state is being saved or loaded.
    is_held: bool,
    /// Rings whose turn ended before they were empty.
    unfinished: [bool; NUM_QUEUES],
    released: Vec<Reply>,
    used: Vec<Used>,
    ticker: Ticker,
    /// Whether the ticker runs.
    ticks: bool,
}

impl Worker {
    /// A worker for `rings`, whose kicks arrive at `reactor`.
    ///
    /// # Errors
    /// The error of timerfd_create.
    pub fn new(
        device: Device,
        rings: Arc<Rings>,
        reactor: Arc<Reactor>,
        fences: FenceSink,
        orders: Arc<Orders>,
        events: ConfigEvents,
    ) -> Result<Self, Errno> {
        Ok(Self {
            device,
            rings,
            reactor,
            fences,
            orders,
            events,
            epoch: Epoch::default(),
            tokens: Vec::new(),
            exchange: Exchange::default(),
            cursor_exchange: Exchange::default(),
            parked: None,
            replay: None,
            is_held: false,
            unfinished: [false; NUM_QUEUES],
            released: Vec::new(),
            used: Vec::new(),
            ticker: Ticker::new()?,
            ticks: false,
        })
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// See [`WorkerError`].
    pub fn run(mut self) -> Result<(), WorkerError> {
        self.watch()?;
        while self.step()?.is_continue() {}
        Ok(())
    }

    /// Has the reactor watch everything this thread serves, once, before the first
    /// [`Worker::step`].
    ///
    /// # Errors
    /// [`WorkerError::System`]
    pub fn watch(&mut self) -> Result<(), WorkerError> {
        self.reactor.add(self.rings.wake(), TOKEN_RINGS)?;
        self.reactor.add(&self.fences, TOKEN_FENCES)?;
        self.reactor.add(&self.orders.stop, TOKEN_STOP)?;
        self.reactor.add(&self.orders.status, TOKEN_STATUS)?;
        self.reactor.add(&self.orders.displays, TOKEN_DISPLAYS)?;
        self.reactor.add(&self.ticker, TOKEN_TICK)?;
        self.reactor
            .add(self.orders.pulse.questions(), TOKEN_PULSE)?;
        self.reactor.add(&*self.orders.snapshot, TOKEN_SNAPSHOT)?;
        let renderer = self.device.renderer();
        for (token, death) in (TOKEN_DEATHS..).zip(renderer.deaths()) {
            self.reactor.add(death, token)?;
        }
        for losses in renderer.losses() {
            self.reactor.add(losses, TOKEN_LOSSES)?;
        }
        Ok(())
    }

    /// Sleeps until there is something to do and does it; breaks when told to stop.
    ///
    /// # Errors
    /// See [`WorkerError`].
    pub fn step(&mut self) -> Result<ControlFlow<()>, WorkerError> {
        let mut tokens = std::mem::take(&mut self.tokens);
        self.reactor.wait(&mut tokens)?;
        // A reset comes before what follows it on the rings.
        self.follow_rings();
        for token in &tokens {
            match *token {
                TOKEN_STOP => return Ok(ControlFlow::Break(())),
                TOKEN_RINGS => self.serve_unfinished(),
                TOKEN_FENCES => self.signal_fences(),
                TOKEN_LOSSES => {
                    self.device.follow_losses();
                    self.send_released();
                }
                TOKEN_STATUS => {
                    self.orders.status.take();
                    self.device.log_status();
                }
                TOKEN_DISPLAYS => self.change_displays(),
                TOKEN_TICK => self.tick()?,
                TOKEN_PULSE => self.orders.pulse.answer(self.epoch.connection),
                TOKEN_SNAPSHOT => self.follow_snapshot(),
                token if token >= TOKEN_DEATHS => self.bury_renderer(token - TOKEN_DEATHS),
                ring => self.serve(usize::try_from(ring).unwrap_or(usize::MAX)),
            }
        }
        self.tokens = tokens;
        if !self.ticks && self.device.may_hang() {
            self.ticks = true;
            self.ticker.set(self.device.hang_period())?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Looks for work that hangs, now and then while there is work.
    fn tick(&mut self) -> Result<(), WorkerError> {
        self.ticker.take();
        self.device.look_for_hangs(Instant::now())?;
        self.send_released();
        if !self.device.may_hang() {
            self.ticks = false;
            self.ticker.set(None)?;
        }
        Ok(())
    }

    /// Follows what the VMM did to the rings since the last look. What was left undone, because
    /// it changed in the middle of something, is done now.
    fn follow_rings(&mut self) {
        self.rings.wake().take();
        if self.is_held {
            return;
        }
        let epoch = self.rings.follow();
        if epoch == self.epoch {
            return;
        }
        if epoch.life != self.epoch.life {
            self.parked = None;
            self.replay = None;
            self.device.reset(epoch.features);
            self.events.reset();
        }
        if epoch.connection != self.epoch.connection {
            self.events.forget_front_end();
        }
        self.epoch = epoch;
        if self.rings.is_running() && self.device.resume(&self.rings.memory()).is_err() {
            debug!("loaded device waits to run again");
        }
        self.rings.flush();
        self.events.resume();
        (0..NUM_QUEUES).for_each(|ring| self.serve(ring));
    }

    fn change_displays(&mut self) {
        let Some(outputs) = self.orders.displays.take() else {
            return;
        };
        if self.device.set_displays(outputs) {
            info!(%outputs, "displays changed");
            self.events.raise(EVENT_DISPLAY);
        }
    }

    fn serve_unfinished(&mut self) {
        for (ring, unfinished) in std::mem::take(&mut self.unfinished).into_iter().enumerate() {
            if unfinished {
                self.serve(ring);
            }
        }
    }

    /// Gives a ring its turn.
    fn serve(&mut self, ring: usize) {
        if self.is_held {
            // Its kick is taken; every ring has a turn when the device goes on.
            return self.rings.begin(ring);
        }
        let mut left = TURN;
        let mut was_empty = false;
        loop {
            let before = left;
            self.rings.begin(ring);
            match ring {
                CONTROL => self.serve_control(&mut left),
                CURSOR => self.serve_cursor(&mut left),
                _ => return,
            }
            if left == 0 {
                if let Some(unfinished) = self.unfinished.get_mut(ring) {
                    *unfinished = true;
                }
                return self.rings.wake().send();
            }
            let more = self.rings.finish(ring, self.epoch);
            // A ring that says twice that it has chains, and has none, has an impossible index.
            let is_empty = left == before;
            if self.parked.is_some() || !more || (is_empty && was_empty) {
                return;
            }
            was_empty = is_empty;
        }
    }

    fn serve_control(&mut self, left: &mut usize) {
        if let Some(parked) = self.parked.take() {
            self.execute(parked);
        }
        while self.parked.is_none() && *left > 0 {
            let Some((chain, memory)) = self.rings.pop(CONTROL, self.epoch) else {
                break;
            };
            *left -= 1;
            let head = chain.head_index();
            let taken = self.exchange.begin(chain, &memory);
            let refused = taken.err().map(|error| self.device.refuse(&error));
            let response = self.replay.take().or(refused);
            self.execute(Pending {
                head,
                memory,
                response,
            });
        }
    }

    fn execute(&mut self, mut request: Pending) {
        let answer = match request.response.take() {
            Some(response) => Ok(response),
            None => {
                self.device
                    .execute(self.exchange.request(), QueueKind::Control, &request.memory)
            }
        };
        match answer {
            Ok(response) => self.finish_control(request, response),
            Err(Stopped) => self.park(request),
        }
    }

    fn finish_control(&mut self, mut request: Pending, response: Response) {
        let exchange = &mut self.exchange;
        let respond = || exchange.respond(&response, &request.memory);
        let Some(len) = self.rings.while_running(CONTROL, self.epoch, respond) else {
            request.response = Some(response);
            return self.park(request);
        };
        let head = request.head;
        self.device
            .reply(self.exchange.request(), &response, Reply { head, len });
        self.send_released();
    }

    fn park(&mut self, request: Pending) {
        debug!("request waits for the device to run again");
        self.parked = Some(request);
    }

    fn serve_cursor(&mut self, left: &mut usize) {
        while *left > 0 {
            let Some((chain, memory)) = self.rings.pop(CURSOR, self.epoch) else {
                break;
            };
            *left -= 1;
            let head = chain.head_index();
            let exchange = &mut self.cursor_exchange;
            let answer = match exchange.begin(chain, &memory) {
                Ok(()) => self
                    .device
                    .execute(exchange.request(), QueueKind::Cursor, &memory),
                Err(error) => Ok(self.device.refuse(&error)),
            };
            // No cursor command changes the window, so none is stopped in the middle.
            let response = answer.unwrap_or(Response::OkNoData);
            let respond = || exchange.respond(&response, &memory);
            // A ring that was stopped meanwhile gets its buffer back, and Linux wants no more.
            let len = self
                .rings
                .while_running(CURSOR, self.epoch, respond)
                .unwrap_or(0);
            self.rings
                .push(CURSOR, self.epoch.life, &[Used { head, len }]);
        }
    }

    fn signal_fences(&mut self) {
        let fences = self.fences.take();
        self.device.signal(&fences);
        self.send_released();
    }

    fn send_released(&mut self) {
        self.device.take_released(&mut self.released);
        let used = |reply: Reply| Used {
            head: reply.head,
            len: reply.len,
        };
        self.used.clear();
        self.used.extend(self.released.drain(..).map(used));
        self.rings.push(CONTROL, self.epoch.life, &self.used);
    }

    fn bury_renderer(&mut self, index: u64) {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.orders.broken.store(true, Ordering::Release);
        self.device.metrics().renderer_deaths.inc();
        let renderer = self.device.renderer_mut();
        error!(
            "{}; running contexts go on, new ones will fail until coherd is started again",
            renderer.obituary(index)
        );
        if let Some(death) = renderer.deaths().get(index) {
            self.reactor.remove(death);
        }
    }
}
