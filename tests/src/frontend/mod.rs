//! A VMM in miniature: the front-end of vhost-user, with guest RAM, the host-visible window and
//! the back channel.
//!
//! It sends what QEMU 11.1, crosvm or libkrun send, in their order, or what any backend takes, and
//! serves the backend's requests with their semantics, down to what kills them: a [`Fault`] is the end of the VMM, and
//! a conforming backend never causes one. Nothing waits without a [`Deadline`].
//!
//! [`Gate`]s hold the service of a backend request at a [`Stage`], so that a test can place a
//! stop or a reset in the middle of a map. QEMU has one main loop: while a request is served no
//! operation of the front-end can start, and the other way round. Operations that wait for it are
//! served in the order in which they came.

mod back_channel;
mod channel;
mod config;
mod crosvm;
mod deadline;
mod dirty_log;
mod display;
mod error;
mod event;
mod fault;
mod gate;
mod general;
mod libkrun;
mod lifecycle;
mod log;
mod memory;
mod message;
mod qemu;
mod request;
mod ring;
mod session;
mod shared;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod turn;
mod window;
mod window_error;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use vm_memory::GuestMemoryMmap;

pub use config::{Config, F_LOG_ALL, F_PROTOCOL_FEATURES, Flavour, RamRange, protocol};
pub use deadline::Deadline;
pub use dirty_log::{DirtyLog, Logging};
pub use display::Shown;
pub use error::FrontendError;
pub use event::Event as EventFd;
pub use fault::Fault;
pub use gate::{Gate, Stage};
pub use log::{Event, Log};
pub use memory::{GuestRam, MemoryError, TableRegion};
pub use message::MessageError;
pub use request::MapRequest;
pub use ring::{MAX_QUEUE_SIZE, RING_BYTES, Ring, RingLayout};
pub use window::{WINDOW_GPA, Window};
pub use window_error::WindowError;

use session::Session;
use shared::Shared;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A VMM with one vhost-user GPU.
#[derive(Debug)]
pub struct Frontend {
    shared: Arc<Shared>,
    memory: GuestMemoryMmap,
    rings: Vec<Ring>,
    server: Option<JoinHandle<()>>,
}

impl Frontend {
    /// Connects to a backend that listens at `path` and does the VMM's handshake.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn connect(path: &Path, config: Config) -> Result<Self, FrontendError> {
        let stream = UnixStream::connect(path).map_err(FrontendError::Connect)?;
        Self::from_stream(stream, config)
    }

    /// Does the VMM's handshake on a connected socket.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn from_stream(stream: UnixStream, config: Config) -> Result<Self, FrontendError> {
        let ram = GuestRam::new(&config.ram)?;
        Self::with_ram(stream, config, ram)
    }

    /// Does the VMM's handshake on a connected socket, for a guest whose RAM there is already.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn with_ram(
        stream: UnixStream,
        config: Config,
        ram: GuestRam,
    ) -> Result<Self, FrontendError> {
        let flavour = config.flavour;
        let log = Arc::new(Log::default());
        let mut session = Session::new(stream, config, ram, Arc::clone(&log))?;
        match flavour {
            Flavour::Qemu => qemu::handshake(&mut session),
            Flavour::Crosvm => crosvm::handshake(&mut session),
            Flavour::Libkrun => libkrun::handshake(&mut session),
            Flavour::General => general::handshake(&mut session),
        }?;
        let memory = session.ram.memory().clone();
        let rings = session.rings.clone();
        let shared = Arc::new(Shared::new(session, log)?);
        let back = lock(&shared.session).back.take();
        let server = back
            .map(|stream| back_channel::spawn(Arc::clone(&shared), stream))
            .transpose()?;
        Ok(Self {
            shared,
            memory,
            rings,
            server,
        })
    }

    /// The guest's driver comes up: the device is activated with empty rings.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn start(&self) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.activate(None))
    }

    /// The VM is paused: the device is stopped. Returns the base of each ring.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn stop(&self) -> Result<Vec<u16>, FrontendError> {
        self.shared.settle(self.shared.deactivate())
    }

    /// The VM goes on: the device is activated where [`Self::stop`] left its rings.
    ///
    /// # Errors
    /// [`FrontendError::TableFull`] if QEMU has too many maps: the device stays stopped.
    pub fn resume(&self, bases: &[u16]) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.activate(Some(bases)))
    }

    /// The guest resets the device. QEMU drops every map, crosvm none.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn reset(&self) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.reset(false))
    }

    /// The guest resets the device, and the VMM passes that on as RESET_DEVICE without stopping a
    /// ring first.
    ///
    /// # Errors
    /// [`FrontendError::Missing`] if RESET_DEVICE was not negotiated.
    pub fn reset_device(&self) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.reset(true))
    }

    /// The VMM sends SET_FEATURES, whatever the device does.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn send_features(&self) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.send_features())
    }

    /// The VMM sends the memory table again, whatever the device does.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn repeat_memory(&self) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.repeat_memory())
    }

    /// The guest reboots: [`Self::reset`] and [`Self::start`].
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn reboot(&self) -> Result<(), FrontendError> {
        self.reset()?;
        // Every driver does. On libkrun it is the only request with an answer, without which the
        // driver could kick a backend that has not heard of the reset.
        self.get_config(0, 4)?;
        self.start()
    }

    /// RAM is plugged into the guest or taken away: every range but the first, where the rings
    /// are.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn plug(&self, plugged: bool) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.plug(plugged))
    }

    /// The guest reads its configuration space.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn get_config(&self, offset: u32, size: u32) -> Result<Vec<u8>, FrontendError> {
        self.shared.read_config(offset, size)
    }

    /// The guest writes its configuration space.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn set_config(&self, offset: u32, bytes: &[u8]) -> Result<(), FrontendError> {
        self.shared.write_config(offset, bytes)
    }

    /// Chooses what the guest negotiates at the next [`Self::start`].
    pub fn set_guest_features(&self, features: u64) {
        lock(&self.shared.session).config.features = features;
    }

    /// Gives both queues `size` descriptors from the next [`Self::start`] on.
    ///
    /// # Errors
    /// [`FrontendError::State`] while the device runs, [`FrontendError::Config`] for a size that
    /// is not a power of two up to [`MAX_QUEUE_SIZE`].
    pub fn set_queue_size(&mut self, size: u16) -> Result<(), FrontendError> {
        if self.is_running() {
            return Err(FrontendError::State("running"));
        }
        let mut session = lock(&self.shared.session);
        session.set_queue_size(size)?;
        self.rings.clone_from(&session.rings);
        Ok(())
    }

    /// virtio features that were negotiated.
    pub fn features(&self) -> u64 {
        let session = lock(&self.shared.session);
        session.config.acked_features(session.offered)
    }

    /// virtio features that the backend offers.
    pub fn offered_features(&self) -> u64 {
        lock(&self.shared.session).offered
    }

    /// Protocol features that were acknowledged.
    pub fn protocol_features(&self) -> u64 {
        lock(&self.shared.session).protocol
    }

    /// Guest RAM, for another VMM.
    pub fn ram(&self) -> GuestRam {
        lock(&self.shared.session).ram.clone()
    }

    /// Guest RAM.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// The queues, as the VMM has set them up.
    pub fn rings(&self) -> &[Ring] {
        &self.rings
    }

    /// The host-visible window, if the backend has exactly one.
    pub fn window(&self) -> Option<&Window> {
        self.shared.window.as_ref()
    }

    /// Whether the device is activated.
    pub fn is_running(&self) -> bool {
        self.shared.is_running()
    }

    /// Everything exchanged so far.
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// What ended the VMM, if anything did.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.fault()
    }

    /// Whether the VMM gives the backend a display socket.
    pub fn has_display(&self) -> bool {
        lock(&self.shared.session).display.is_some()
    }

    /// Whether the backend has hung up.
    pub fn is_hung_up(&self) -> bool {
        self.shared.is_hung_up()
    }

    /// The VMM is killed: every socket is hung up, whatever it was doing.
    pub fn kill(&self) {
        self.shared.hang_up();
    }

    /// Closes the gate at `stage` for the backend requests to come.
    pub fn gate(&self, stage: Stage) -> Gate {
        Gate::close(&self.shared.gates, stage)
    }

    /// Waits until an operation waits behind the one that has QEMU's main loop; `false` after
    /// the deadline.
    pub fn wait_contended(&self, deadline: Deadline) -> bool {
        self.shared.turns.wait_contended(deadline)
    }

    /// How long the front-end waits for anything.
    pub fn timeout(&self) -> Duration {
        self.shared.timeout
    }

    /// A moment in the future, as far away as the front-end itself waits.
    pub fn deadline(&self) -> Deadline {
        self.shared.deadline()
    }
}

impl Drop for Frontend {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // The thread also looks around without being woken.
        let _ = self.shared.wake.signal();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}
