//! The life of one connection: the device thread, the requests of the front-end, and the end.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use coherd_blob::Window;
use coherd_protocol::gpu::{Config, Features};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use thiserror::Error;
use tracing::{error, info};
use vhost::vhost_user::Error as VhostUserError;

use crate::cage;
use crate::device::config_space::ConfigSpace;
use crate::device::display::{DisplayError, Mode, Outputs};
use crate::device::quota::{Quota, Quotas, Scope};
use crate::device::{Device, DeviceConfig};
use crate::explain::one_line;
use crate::mailbox::Mailbox;
use crate::mapping_type::{MappingTypes, Policies};
use crate::reactor::{Reactor, Wake};
use crate::renderer::{FenceSink, Renderer, RendererError};
use crate::vhost_user::back_channel::BackChannel;
use crate::vhost_user::config_events::ConfigEvents;
use crate::vhost_user::connection::{Connection, is_hang_up};
use crate::vhost_user::handler::{Handler, Offer};
use crate::vhost_user::memory_table::ExportedFiles;
use crate::vhost_user::rings::Rings;
use crate::window::HostWindow;
use crate::worker::{Orders, Worker};

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
    Worker,
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
    /// Outputs, and the displays on them.
    pub outputs: Outputs,
    /// Decides how blobs are mapped; shared with renderers that have to know.
    pub mapping_types: Arc<MappingTypes>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window_size: 4 << 30,
            quotas: Quotas::default(),
            memory_slots: false,
            outputs: Outputs::default(),
            mapping_types: Arc::default(),
        }
    }
}

/// How long the device thread may take to end. A guest's program can make a renderer wait for ever.
const LAST_WORK: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// Fds that are readable when the user wants something.
#[derive(Clone, Copy, Debug)]
pub struct UserSignals<'a> {
    /// End.
    pub quit: BorrowedFd<'a>,
    /// Log what the device holds.
    pub status: BorrowedFd<'a>,
}

/// Changes a device that runs; usable from any thread.
#[derive(Clone, Debug)]
pub struct Control {
    orders: Arc<Orders>,
    outputs: usize,
    mapping_types: Arc<MappingTypes>,
}

impl Control {
    /// Number of outputs, which stays what it was at the start.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Plugs these displays into the first outputs, in place of those that were there, and tells
    /// the guest.
    ///
    /// # Errors
    /// [`DisplayError::TooMany`]
    pub fn set_displays(&self, displays: &[Mode]) -> Result<(), DisplayError> {
        let outputs = Outputs::new(self.outputs, displays)?;
        self.orders.displays.put(outputs);
        Ok(())
    }

    /// Treats blobs to come by these policies.
    pub fn set_type_mismatch(&self, policies: Policies) {
        self.mapping_types.set_policies(policies);
    }
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
    outputs: usize,
    mapping_types: Arc<MappingTypes>,
    ended: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
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
        let orders = Arc::new(Orders {
            stop: Wake::new()?,
            status: Wake::new()?,
            displays: Mailbox::new()?,
        });
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
                        return;
                    }
                };
                let capsets = renderer.capsets().len();
                let config = DeviceConfig {
                    features: features(capsets),
                    blob_alignment: page_size,
                    outputs: options.outputs,
                    quotas: options.quotas,
                    mapping_types,
                };
                let space = Arc::new(ConfigSpace::new(config_space(&config, capsets)));
                let _ = ready.send(Ok((config.features, Arc::clone(&space))));
                let events = ConfigEvents::new(space, channel);
                let device = Device::new(config, renderer, window);
                let worker = Worker::new(device, rings, reactor, fences, orders, events);
                if let Err(error) = worker.run() {
                    error!(%error, "device thread failed");
                }
                ended.send();
            }
        })?;
        let (features, config) = renderer_ready.recv().map_err(|_| ServeError::Worker)??;

        let offer = Offer {
            features,
            config,
            window_size: options.window_size,
            memory_slots: options.memory_slots,
        };
        Ok(Self {
            offer,
            rings,
            channel,
            exported,
            orders,
            outputs: options.outputs.count(),
            mapping_types: options.mapping_types,
            ended,
            thread: Some(thread),
        })
    }

    /// A door to the device, which stays usable while it is served.
    pub fn control(&self) -> Control {
        Control {
            orders: Arc::clone(&self.orders),
            outputs: self.outputs,
            mapping_types: Arc::clone(&self.mapping_types),
        }
    }

    /// Serves the front-end on `stream` until it hangs up or the user asks to quit.
    ///
    /// # Errors
    /// [`ServeError::Protocol`] or [`ServeError::Worker`]
    pub fn serve(self, stream: UnixStream, user: &UserSignals<'_>) -> Result<(), ServeError> {
        self.mapping_types.meet_vmm(&stream);
        let handler = Handler::new(
            self.offer.clone(),
            Arc::clone(&self.rings),
            Arc::clone(&self.channel),
            Arc::clone(&self.exported),
        );
        let mut connection = Connection::new(stream, handler, Arc::clone(&self.channel))?;
        loop {
            let mut fds = [
                PollFd::new(&connection, PollFlags::IN),
                PollFd::from_borrowed_fd(user.quit, PollFlags::IN),
                PollFd::new(&*self.ended, PollFlags::IN),
                PollFd::from_borrowed_fd(user.status, PollFlags::IN),
            ];
            retry_on_intr(|| poll(&mut fds, None))?;
            let [request, quit_asked, ended, status_asked] =
                fds.each_ref().map(|fd| !fd.revents().is_empty());
            if quit_asked {
                info!("asked to quit");
                return Ok(());
            }
            if ended {
                return Err(ServeError::Worker);
            }
            if status_asked {
                let _ = rustix::io::read(user.status, &mut [0u8; 64]);
                self.orders.status.send();
            }
            if !request {
                continue;
            }
            match connection.serve_request() {
                Ok(()) => {}
                Err(error) if is_hang_up(&error) => {
                    info!("front-end hung up");
                    return Ok(());
                }
                Err(error) => return Err(ServeError::Protocol(error)),
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Unblocks the device thread if it waits for the front-end.
        self.channel.close();
        self.orders.stop.send();
        let mut fds = [PollFd::new(&*self.ended, PollFlags::IN)];
        let ended = retry_on_intr(|| poll(&mut fds, Some(&LAST_WORK)));
        match self.thread.take() {
            Some(thread) if ended == Ok(1) => drop(thread.join()),
            Some(_) => error!("device thread hangs in the renderer; it ends with the process"),
            None => {}
        }
    }
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
