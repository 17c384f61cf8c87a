//! The whole of a virtual machine's graphics in one process: coherd, a VMM, a guest's driver.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use coherd::device::display::{DisplayError, Mode};
use coherd::listen::{ListenError, Socket};
use coherd::mapping_type::Policies;
use coherd::serve::{Control, Daemon, Options, RendererFactory, ServeError, UserSignals};
use coherd::snapshot::SnapshotError;
use thiserror::Error;

use crate::driver::{DriverError, Gpu};
use crate::frontend::{Config, Fault, Flavour, Frontend, FrontendError};
use crate::renderer::Host;

/// How long a daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a rig did not come up or did not come to a good end.
#[derive(Debug, Error)]
pub enum RigError {
    /// A socket or a thread could not be made.
    #[error("no socket or thread")]
    Setup(#[from] io::Error),
    /// The daemon does not listen.
    #[error("daemon does not listen")]
    Listen(#[from] ListenError),
    /// The daemon ended with an error.
    #[error("daemon failed: {0:?}")]
    Daemon(#[from] ServeError),
    /// The device is not loaded.
    #[error("state is not loaded: {0:?}")]
    State(#[from] SnapshotError),
    /// The displays are impossible.
    #[error("displays are impossible")]
    Displays(#[from] DisplayError),
    /// The daemon still runs.
    #[error("daemon does not end")]
    StillServing,
    /// The front-end failed.
    #[error("front-end failed: {0:?}")]
    Frontend(#[from] FrontendError),
    /// The driver failed.
    #[error("driver failed: {0:?}")]
    Driver(#[from] DriverError),
    /// The daemon killed the VMM.
    #[error("VMM is dead: {0}")]
    Fault(Fault),
    /// The daemon used the renderer wrongly.
    #[error("renderer complains: {0:?}")]
    Complaints(Vec<String>),
}

/// coherd in a thread.
#[derive(Debug)]
pub struct Server {
    result: mpsc::Receiver<Result<(), RigError>>,
    control: Control,
    quit: UnixStream,
    status: UnixStream,
}

impl Server {
    /// Serves one connection on a socket pair, whose other end is returned.
    ///
    /// # Errors
    /// [`RigError::Setup`] and [`RigError::Daemon`]
    pub fn pair(
        options: Options,
        factory: RendererFactory,
    ) -> Result<(Self, UnixStream), RigError> {
        let (ours, theirs) = UnixStream::pair()?;
        let server = Self::spawn(Socket::Connected(Some(ours)), false, options, factory)?;
        Ok((server, theirs))
    }

    /// Serves one connection on `path`, where it listens once this returns.
    ///
    /// # Errors
    /// [`RigError::Setup`], [`RigError::Listen`] and [`RigError::Daemon`]
    pub fn listen(
        path: &Path,
        options: Options,
        factory: RendererFactory,
    ) -> Result<Self, RigError> {
        Self::spawn(Socket::bind(path)?, false, options, factory)
    }

    /// Serves one connection after the other on `path`, until it is asked to quit.
    ///
    /// # Errors
    /// [`RigError::Setup`], [`RigError::Listen`] and [`RigError::Daemon`]
    pub fn persist(
        path: &Path,
        options: Options,
        factory: RendererFactory,
    ) -> Result<Self, RigError> {
        Self::spawn(Socket::bind(path)?, true, options, factory)
    }

    /// As [`Server::pair`], with the device whose state is in `state`.
    ///
    /// # Errors
    /// [`RigError::Setup`], [`RigError::Daemon`] and [`RigError::State`]
    pub fn restored(
        state: File,
        options: Options,
        factory: RendererFactory,
    ) -> Result<(Self, UnixStream), RigError> {
        let (ours, theirs) = UnixStream::pair()?;
        let daemon = Daemon::start(options, factory)?;
        daemon.restore(state)?;
        let server = Self::serve(Socket::Connected(Some(ours)), false, daemon)?;
        Ok((server, theirs))
    }

    /// A door to its device.
    pub fn control(&self) -> &Control {
        &self.control
    }

    fn spawn(
        socket: Socket,
        persist: bool,
        options: Options,
        factory: RendererFactory,
    ) -> Result<Self, RigError> {
        Self::serve(socket, persist, Daemon::start(options, factory)?)
    }

    fn serve(socket: Socket, persist: bool, daemon: Daemon) -> Result<Self, RigError> {
        let (quit, quit_reader) = UnixStream::pair()?;
        let (status, status_reader) = UnixStream::pair()?;
        let (sender, result) = mpsc::channel();
        let control = daemon.control();
        let serve = move || -> Result<(), RigError> {
            // Gone when the result is there.
            let (mut daemon, mut socket) = (daemon, socket);
            let user = UserSignals {
                quit: quit_reader.as_fd(),
                status: status_reader.as_fd(),
            };
            Ok(daemon.run(&mut socket, &user, persist)?)
        };
        thread::Builder::new()
            .name("coherd".to_owned())
            .spawn(move || {
                // The test may have given up on it.
                let _ = sender.send(serve());
            })?;
        Ok(Self {
            result,
            control,
            quit,
            status,
        })
    }

    /// Asks the daemon to end, as SIGTERM does.
    ///
    /// # Errors
    /// [`RigError::Setup`]
    pub fn ask_to_quit(&self) -> Result<(), RigError> {
        rustix::io::write(&self.quit, b"q").map_err(io::Error::from)?;
        Ok(())
    }

    /// Asks the daemon to log what the device holds, as SIGUSR1 does.
    ///
    /// # Errors
    /// [`RigError::Setup`]
    pub fn ask_for_status(&self) -> Result<(), RigError> {
        rustix::io::write(&self.status, b"s").map_err(io::Error::from)?;
        Ok(())
    }

    /// Plugs displays into the first outputs, as SIGHUP does.
    ///
    /// # Errors
    /// [`RigError::Displays`]
    pub fn set_displays(&self, displays: &[Mode]) -> Result<(), RigError> {
        Ok(self.control.set_displays(displays)?)
    }

    /// Changes what happens to blobs to come, as SIGHUP does.
    pub fn set_type_mismatch(&self, policies: Policies) {
        self.control.set_type_mismatch(policies);
    }

    /// Waits for the daemon's end, however long the front-end stays.
    ///
    /// # Errors
    /// What it ended with.
    pub fn wait(self) -> Result<(), RigError> {
        self.result.recv().unwrap_or(Err(RigError::StillServing))
    }

    /// Waits for the daemon's end, and that of its device thread.
    ///
    /// # Errors
    /// What it ended with, or [`RigError::StillServing`].
    pub fn finish(self) -> Result<(), RigError> {
        self.result
            .recv_timeout(PATIENCE)
            .unwrap_or(Err(RigError::StillServing))
    }
}

/// coherd with the test's renderer, a VMM and a guest that has started its driver.
#[derive(Debug)]
pub struct Rig {
    /// The VMM.
    pub frontend: Frontend,
    /// The guest.
    pub gpu: Gpu,
    /// The renderer.
    pub host: Host,
    /// The daemon.
    pub server: Server,
}

impl Rig {
    /// A rig with the usual configuration.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn new(flavour: Flavour) -> Result<Self, RigError> {
        Self::with(Config::new(flavour), Options::default())
    }

    /// A rig to measure.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn with(config: Config, options: Options) -> Result<Self, RigError> {
        let host = Host::new().map_err(io::Error::from)?;
        let (server, stream) = Server::pair(options, host.factory())?;
        let frontend = Frontend::from_stream(stream, config)?;
        frontend.start()?;
        let gpu = Gpu::new(&frontend)?;
        Ok(Self {
            frontend,
            gpu,
            host,
            server,
        })
    }

    /// The guest reboots, and a new driver takes the place of the old one.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn reboot(&mut self) -> Result<(), RigError> {
        self.frontend.reboot()?;
        self.gpu = Gpu::new(&self.frontend)?;
        Ok(())
    }

    /// The VMM hangs up, and the daemon has to end well.
    ///
    /// # Errors
    /// [`RigError::Fault`], [`RigError::Complaints`], and what [`Server::finish`] returns.
    pub fn finish(self) -> Result<(), RigError> {
        let Self {
            frontend,
            gpu,
            host,
            server,
        } = self;
        let fault = frontend.fault();
        drop((gpu, frontend));
        server.finish()?;
        match (fault, host.complaints()) {
            (Some(fault), _) => Err(RigError::Fault(fault)),
            (None, complaints) if !complaints.is_empty() => Err(RigError::Complaints(complaints)),
            (None, _) => Ok(()),
        }
    }
}
