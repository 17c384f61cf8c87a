//! The life of one connection: the device thread, the requests of the front-end, and the end.

mod control;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use coherd_blob::Window;
use coherd_protocol::gpu::{Config, Features};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use thiserror::Error;
use tracing::{error, info, warn};
use vhost::vhost_user::Error as VhostUserError;

pub use self::control::Control;
use crate::cage;
use crate::coherence::Registry;
use crate::credentials::Credentials;
use crate::device::config_space::ConfigSpace;
use crate::device::display::Outputs;
use crate::device::hang::HangPolicy;
use crate::device::quota::{Quota, Quotas, Scope};
use crate::device::{Device, DeviceConfig};
use crate::explain::one_line;
use crate::listen::{ListenError, Socket};
use crate::mapping_type::MappingTypes;
use crate::metrics::Metrics;
use crate::reactor::{Reactor, Wake};
use crate::renderer::{FenceSink, Renderer, RendererError};
use crate::service_manager::ServiceManager;
use crate::snapshot::{Direction, SnapshotError, Transfers};
use crate::vhost_user::back_channel::BackChannel;
use crate::vhost_user::config_events::ConfigEvents;
use crate::vhost_user::connection::{Connection, is_hang_up};
use crate::vhost_user::handler::{Handler, Offer};
use crate::vhost_user::memory_table::ExportedFiles;
use crate::vhost_user::rings::Rings;
use crate::watchdog::{Watchdog, timespec};
use crate::window::HostWindow;
use crate::worker::{Orders, Worker, WorkerError};

/// Why a connection was not served to its end.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The renderer did not start.
    #[error("cannot start the renderer")]
    Renderer(#[from] RendererError),
    /// The operating system refused something small.
    #[error("cannot set up the device thread")]
    Setup(#[from] std::io::Error),
    /// The front-end sent what cannot be served.
    #[error("front-end broke the vhost-user protocol")]
    Protocol(#[source] VhostUserError),
    /// The device thread ended.
    #[error("device thread ended")]
    Ended,
    /// The device thread failed.
    #[error("device thread failed")]
    Worker(#[from] WorkerError),
    /// There is nobody to serve.
    #[error("no front-end")]
    Listen(#[from] ListenError),
    /// The device thread does not finish with a front-end that hung up.
    #[error("device thread hangs in the renderer: start coherd again for the next front-end")]
    Stuck,
    /// A part of the renderer died while the last front-end was served.
    #[error("renderer is not whole any more: start coherd again for the next front-end")]
    Broken,
}

impl From<Errno> for ServeError {
    fn from(errno: Errno) -> Self {
        Self::Setup(errno.into())
    }
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the host-visible window; a power of two.
    pub window_size: u64,
    /// How much of everything the guest may have.
    pub quotas: Quotas,
    /// Offer CONFIGURE_MEM_SLOTS.
    pub memory_slots: bool,
    /// Offer the log of written pages.
    pub dirty_log: bool,
    /// Outputs, and the displays on them.
    pub outputs: Outputs,
    /// Decides how blobs are mapped; shared with renderers that have to know.
    pub mapping_types: Arc<MappingTypes>,
    /// What is done about work that the GPU does not get done.
    pub hangs: HangPolicy,
    /// Where other processes find the guest's blobs, if there are such processes.
    pub blobs: Option<Arc<Registry>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window_size: 4 << 30,
            quotas: Quotas::default(),
            memory_slots: false,
            dirty_log: false,
            outputs: Outputs::default(),
            mapping_types: Arc::default(),
            hangs: HangPolicy::default(),
            blobs: None,
        }
    }
}

/// How long the device thread may take to finish with a front-end that hung up. A guest's program
/// can make a renderer wait for ever.
const LAST_WORK: Duration = Duration::from_secs(5);

/// How long it may take when the user asked to quit, who expects the end within a second.
const LAST_WORK_QUIT: Duration = Duration::from_millis(500);

/// Fds that are readable when the user wants something.
#[derive(Clone, Copy, Debug)]
pub struct UserSignals<'a> {
    /// End.
    pub quit: BorrowedFd<'a>,
    /// Log what the device holds.
    pub status: BorrowedFd<'a>,
}

/// Makes the renderer, in the device thread, where it stays.
pub type RendererFactory =
    Box<dyn FnOnce(FenceSink) -> Result<Box<dyn Renderer>, RendererError> + Send>;

/// A device that waits for its front-end.
pub struct Daemon {
    offer: Offer,
    rings: Arc<Rings>,
    channel: Arc<BackChannel>,
    exported: Arc<ExportedFiles>,
    orders: Arc<Orders>,
    transfers: Arc<Transfers>,
    outputs: usize,
    mapping_types: Arc<MappingTypes>,
    metrics: Arc<Metrics>,
    ended: Arc<Wake>,
    thread: Option<JoinHandle<Result<(), WorkerError>>>,
    manager: ServiceManager,
    watchdog: Watchdog,
    last_work: Duration,
}

/// What ends a wait.
enum Event {
    Work,
    Quit,
}

impl Daemon {
    /// Starts the device thread and the renderer in it.
    ///
    /// # Errors
    /// [`ServeError::Renderer`] or [`ServeError::Setup`]
    pub fn start(options: Options, factory: RendererFactory) -> Result<Self, ServeError> {
        let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let reactor = Arc::new(Reactor::new()?);
        let channel = Arc::new(BackChannel::default());
        let rings = Arc::new(Rings::new(Arc::clone(&reactor), Arc::clone(&channel))?);
        let exported = Arc::new(ExportedFiles::default());
        let orders = Arc::new(Orders::new()?);
        let transfers = Arc::new(Transfers::new(
            Arc::clone(&orders.snapshot),
            Arc::clone(&rings),
            options.quotas,
        ));
        let ended = Arc::new(Wake::new()?);
        let fences = FenceSink::new()?;

        let mappings = options.quotas.get(Scope::Vm, Quota::Mappings);
        let budget = usize::try_from(mappings).unwrap_or(usize::MAX);
        let table = Window::new(options.window_size, page_size, budget);
        let window = HostWindow::new(table, Arc::clone(&channel), Arc::clone(&exported));
        let mapping_types = Arc::clone(&options.mapping_types);
        let (ready, renderer_ready) = mpsc::channel();
        let thread = std::thread::Builder::new().name("gpu".into()).spawn({
            let (rings, ended) = (Arc::clone(&rings), Arc::clone(&ended));
            let (orders, channel) = (Arc::clone(&orders), Arc::clone(&channel));
            move || {
                let confined = cage::confine(cage::Thread::Device)
                    .map_err(|error| RendererError::Failed(one_line(&error)));
                let renderer = match confined.and_then(|()| factory(fences.clone())) {
                    Ok(renderer) => renderer,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return Ok(());
                    }
                };
                let capsets = renderer.capsets().len();
                let config = DeviceConfig {
                    features: features(capsets),
                    blob_alignment: page_size,
                    outputs: options.outputs,
                    quotas: options.quotas,
                    mapping_types,
                    hangs: options.hangs,
                    blobs: options.blobs,
                };
                let space = Arc::new(ConfigSpace::new(config_space(&config, capsets)));
                let features = config.features;
                let device = Device::new(config, renderer, window);
                let metrics = Arc::clone(device.metrics());
                let _ = ready.send(Ok((features, Arc::clone(&space), metrics)));
                let events = ConfigEvents::new(space, channel);
                let worker = Worker::new(device, rings, reactor, fences, orders, events);
                let result = worker.map_err(WorkerError::from).and_then(Worker::run);
                ended.send();
                result
            }
        })?;
        let (features, config, metrics) =
            renderer_ready.recv().map_err(|_| ServeError::Ended)??;

        let offer = Offer {
            features,
            config,
            window_size: options.window_size,
            memory_slots: options.memory_slots,
            dirty_log: options.dirty_log,
        };
        Ok(Self {
            offer,
            rings,
            channel,
            exported,
            orders,
            transfers,
            outputs: options.outputs.count(),
            mapping_types: options.mapping_types,
            metrics,
            ended,
            thread: Some(thread),
            manager: ServiceManager::default(),
            watchdog: Watchdog::default(),
            last_work: LAST_WORK,
        })
    }

    /// A door to the device, which stays usable while it is served.
    pub fn control(&self) -> Control {
        Control {
            orders: Arc::clone(&self.orders),
            transfers: Arc::clone(&self.transfers),
            outputs: self.outputs,
            mapping_types: Arc::clone(&self.mapping_types),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// Becomes the device whose state is in `file`.
    ///
    /// # Errors
    /// See [`SnapshotError`]; the device is a new one then.
    pub fn restore(&self, file: File) -> Result<(), SnapshotError> {
        self.transfers.begin(Direction::Load, file, false)?;
        self.transfers.check()
    }

    /// Tells `manager` from now on how the daemon is doing.
    pub fn set_manager(&mut self, manager: ServiceManager) {
        self.watchdog = Watchdog::new(manager.watchdog());
        self.manager = manager;
    }

    /// Serves the front-end that comes through `socket` until it hangs up or the user asks to
    /// quit; with `persist` also those that come after it.
    ///
    /// # Errors
    /// See [`ServeError`]. With `persist` a front-end that breaks the protocol is only logged.
    pub fn run(
        &mut self,
        socket: &mut Socket,
        user: &UserSignals<'_>,
        persist: bool,
    ) -> Result<(), ServeError> {
        self.manager.ready();
        loop {
            self.manager.status("Waiting for the VMM");
            if let Some(listener) = socket.listener()
                && matches!(self.wait(listener, user)?, Event::Quit)
            {
                return Ok(());
            }
            let stream = socket.accept()?;
            self.metrics.connections.inc();
            self.metrics.connected.set(1);
            let served = self.serve(stream, user);
            self.metrics.connected.set(0);
            match served {
                Ok(Event::Work) => {}
                Ok(Event::Quit) => return Ok(()),
                Err(error @ ServeError::Protocol(_)) if persist => {
                    warn!("connection is over: {}", one_line(&error));
                }
                Err(error) => return Err(error),
            }
            if !persist || socket.listener().is_none() {
                self.manager.stopping();
                return Ok(());
            }
            self.hang_up()?;
        }
    }

    /// Why the device thread, which has ended, did.
    fn end(&mut self) -> ServeError {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error.into(),
            _ => ServeError::Ended,
        }
    }

    /// Serves one front-end.
    fn serve(&mut self, stream: UnixStream, user: &UserSignals<'_>) -> Result<Event, ServeError> {
        let peer = Credentials::of_peer(&stream).map_or(0, |peer| peer.pid);
        self.manager.status(&match peer {
            0 => "Serving the VMM".to_owned(),
            pid => format!("Serving the VMM, process {pid}"),
        });
        self.mapping_types.meet_vmm(&stream);
        let handler = Handler::new(
            self.offer.clone(),
            Arc::clone(&self.rings),
            Arc::clone(&self.channel),
            Arc::clone(&self.exported),
            Some(Arc::clone(&self.transfers)),
        );
        let mut connection = Connection::new(stream, handler, Arc::clone(&self.channel))?;
        loop {
            if let Event::Quit = self.wait(connection.as_fd(), user)? {
                return Ok(Event::Quit);
            }
            match connection.serve_request() {
                Ok(()) => {}
                Err(error) if is_hang_up(&error) => {
                    info!("front-end hung up");
                    return Ok(Event::Work);
                }
                Err(error) => return Err(ServeError::Protocol(error)),
            }
        }
    }

    /// Sleeps until `work` is readable, and does what the user and the service manager want
    /// meanwhile.
    fn wait(&mut self, work: BorrowedFd<'_>, user: &UserSignals<'_>) -> Result<Event, ServeError> {
        loop {
            let pulse = &self.orders.pulse;
            let mut fds = [
                PollFd::from_borrowed_fd(work, PollFlags::IN),
                PollFd::from_borrowed_fd(user.quit, PollFlags::IN),
                PollFd::new(&*self.ended, PollFlags::IN),
                PollFd::from_borrowed_fd(user.status, PollFlags::IN),
                PollFd::new(pulse.answers(), PollFlags::IN),
            ];
            let patience = self.watchdog.patience();
            retry_on_intr(|| poll(&mut fds, patience.as_ref()))?;
            let [work, quit_asked, ended, status_asked, answered] =
                fds.each_ref().map(|fd| !fd.revents().is_empty());
            if quit_asked {
                info!("asked to quit");
                self.manager.stopping();
                self.last_work = LAST_WORK_QUIT;
                return Ok(Event::Quit);
            }
            if ended {
                return Err(self.end());
            }
            if status_asked {
                let _ = rustix::io::read(user.status, &mut [0u8; 64]);
                self.orders.status.send();
            }
            if answered {
                pulse.take_answer();
                self.manager.alive();
            }
            if self.watchdog.is_due() {
                pulse.ask();
            }
            if work {
                return Ok(Event::Work);
            }
        }
    }

    /// Makes the device as it was before the front-end that has hung up.
    fn hang_up(&mut self) -> Result<(), ServeError> {
        // First, so that the device thread waits for nobody and takes every mapping for gone.
        self.channel.hang_up();
        let next = self.rings.hang_up()?;
        let pulse = &self.orders.pulse;
        let deadline = Instant::now() + LAST_WORK;
        loop {
            pulse.ask();
            let mut fds = [
                PollFd::new(pulse.answers(), PollFlags::IN),
                PollFd::new(&*self.ended, PollFlags::IN),
            ];
            match poll_until(&mut fds, deadline)? {
                0 => return Err(ServeError::Stuck),
                _ if !fds[1].revents().is_empty() => return Err(self.end()),
                _ if pulse.take_answer() >= next => break,
                _ => {}
            }
        }
        self.exported.clear();
        if self.orders.broken.load(Ordering::Acquire) {
            return Err(ServeError::Broken);
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Unblocks the device thread if it waits for the front-end.
        self.channel.close();
        self.orders.stop.send();
        let mut fds = [PollFd::new(&*self.ended, PollFlags::IN)];
        let ended = poll_until(&mut fds, Instant::now() + self.last_work);
        match self.thread.take() {
            Some(thread) if ended == Ok(1) => drop(thread.join()),
            Some(_) => error!("device thread hangs in the renderer; it ends with the process"),
            None => {}
        }
    }
}

/// The number of fds on which something has happened; 0 once the deadline has passed.
fn poll_until(fds: &mut [PollFd<'_>], deadline: Instant) -> Result<usize, Errno> {
    retry_on_intr(|| {
        let left = deadline.saturating_duration_since(Instant::now());
        poll(fds, Some(&timespec(left)))
    })
}

fn features(capsets: usize) -> Features {
    let two_d = Features::EDID
        | Features::RESOURCE_UUID
        | Features::RESOURCE_BLOB
        | Features::BLOB_ALIGNMENT;
    match capsets {
        0 => two_d,
        _ => two_d | Features::VIRGL | Features::CONTEXT_INIT,
    }
}

fn config_space(device: &DeviceConfig, capsets: usize) -> Config {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).into();
    Config {
        num_scanouts: number(device.outputs.count()),
        num_capsets: number(capsets),
        blob_alignment: u32::try_from(device.blob_alignment).unwrap_or(4096).into(),
        ..Config::default()
    }
}
