//! The `coherd` program.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use coherd::cage::{self, Cage, Outside};
use coherd::cli::{Cli, Command, capabilities};
use coherd::coherence::Registry;
use coherd::config::{ConfigError, LogLevel, RendererKind, Settings, SocketSource};
use coherd::control::ControlSocket;
use coherd::exit;
use coherd::explain::one_line;
use coherd::guest_pat::HostFacts;
use coherd::listen::Socket;
use coherd::mapping_type::MappingTypes;
use coherd::output::Output;
use coherd::reload::{Reloader, SetLogLevel};
#[cfg(feature = "venus")]
use coherd::renderer::Dispatch;
use coherd::renderer::blob_context::{BlobContexts, Vulkan};
use coherd::renderer::none::NoRenderer;
use coherd::serve::{Daemon, Options, RendererFactory, UserSignals};
use coherd::service_manager::{ServiceManager, Sockets};
use coherd::snapshot::SnapshotError;
use coherd::socket_file::SocketFile;
use coherd::sync::{SyncServer, SyncSocket};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use thiserror::Error;
use tracing::{info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// When the process ends in any case after SIGTERM, within the second that its user is promised.
const LAST_RESORT: Duration = Duration::from_millis(800);

/// Why the program cannot do what it was asked.
#[derive(Debug, Error)]
enum MainError {
    #[error(
        "no socket: pass --socket-path PATH or --fd N, or set one of them in the --config file"
    )]
    NoSocket,
    #[error("--persist needs a socket that listens; this one is connected, so leave --persist out")]
    PersistConnected,
    #[error("cannot restore {path}")]
    Restore {
        path: PathBuf,
        source: SnapshotError,
    },
    #[cfg(not(feature = "venus"))]
    #[error(
        "Venus is not compiled in: build coherd with --features venus, or pass --renderer blob \
         or --renderer 2d"
    )]
    NoVenus,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output(std::io::stdout());
    let result = match &cli.command {
        Some(Command::Ctl(ctl)) => ctl.run(&mut output).map_err(Into::into),
        None if cli.print_capabilities => {
            writeln!(output, "{}", capabilities()).map_err(Into::into)
        }
        None => run(cli),
    };
    match result {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "coherd: {}", one_line(&*error));
            let is_usage = |error: &MainError| !matches!(error, MainError::Restore { .. });
            let usage = error.downcast_ref().is_some_and(is_usage) || error.is::<ConfigError>();
            ExitCode::from(if usage { exit::USAGE } else { exit::FAILED })
        }
    }
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let settings = Settings::load(&cli.given, cli.config.as_deref())?;
    if cli.check_config {
        return Ok(());
    }
    let set_log_level = start_log(settings.log_level);
    // Inherited fds are taken before others are opened, whose numbers they might have been.
    let handed = Sockets::from_environment()?;
    let inherited = match (settings.socket.clone(), handed.vhost_user) {
        (Some(SocketSource::Fd(fd)), _) | (None, Some(fd)) => Some(Socket::inherit(fd)?),
        _ => None,
    };
    let inherited_sync = match (settings.sync.clone(), handed.sync) {
        (Some(SocketSource::Fd(fd)), _) | (None, Some(fd)) => Some(SyncSocket::inherit(fd)?),
        _ => None,
    };
    // Before there is a file that a signal must not leave behind.
    let quit = on_signals(&[SIGTERM, SIGINT])?;
    let last_quit = on_signals(&[SIGTERM, SIGINT])?;
    let status = on_signals(&[SIGUSR1])?;
    let reload = on_signals(&[SIGHUP])?;
    let mut socket = match (inherited, &settings.socket) {
        (Some(socket), _) => socket,
        (None, Some(SocketSource::Path(path))) => Socket::bind(path)?,
        _ => return Err(MainError::NoSocket.into()),
    };
    let sync_socket = match (inherited_sync, &settings.sync) {
        (Some(socket), _) => Some(socket),
        (None, Some(SocketSource::Path(path))) => Some(SyncSocket::bind(path)?),
        _ => None,
    };
    if settings.persist && socket.listener().is_none() {
        return Err(MainError::PersistConnected.into());
    }
    let control = settings.control_socket.as_deref();
    let mut control = control.map(ControlSocket::bind).transpose()?;
    let restore = cli.restore.as_deref().map(saved_state).transpose()?;
    let files = [
        socket.file(),
        sync_socket.as_ref().and_then(SyncSocket::file),
        control.as_ref().map(ControlSocket::file),
    ];
    let files: Vec<_> = files.into_iter().flatten().cloned().collect();
    remove_on_panic(files.clone());
    let manager = ServiceManager::from_environment();
    let user = UserSignals {
        quit: quit.as_fd(),
        status: status.as_fd(),
    };
    raise_open_files_limit();
    let host = HostFacts::collect();
    // Whatever comes from outside is open. From here on there is the cage, and there were no threads.
    Cage::of(&settings).enter(Outside {
        sockets: files.clone(),
        config: cli.config.clone(),
    })?;
    let mapping_types = Arc::new(MappingTypes::new(settings.type_mismatch, host));
    let factory = renderer(&settings, &mapping_types)?;
    let blobs = sync_socket.is_some().then(Registry::new).transpose()?;
    let blobs = blobs.map(Arc::new);
    let options = Options {
        blobs: blobs.clone(),
        window_size: settings.window_size,
        quotas: settings.quotas,
        memory_slots: settings.mem_slots,
        dirty_log: settings.dirty_log,
        outputs: settings.device_outputs()?,
        mapping_types,
        hangs: settings.hangs,
    };
    let persist = settings.persist;
    let mut daemon = Daemon::start(options, factory)?;
    daemon.set_manager(manager);
    let peers = sync_socket.zip(blobs);
    let peers = peers.map(|(socket, blobs)| {
        let allowed = settings.sync_allow.clone();
        SyncServer::start(socket, allowed, blobs)
    });
    let _peers = peers.transpose()?;
    if let Some((path, file)) = restore {
        let restored = daemon.restore(file);
        restored.map_err(|source| MainError::Restore { path, source })?;
    }
    if let Some(socket) = &mut control {
        socket.serve(&daemon.control())?;
    }
    let reloader = Reloader {
        flags: cli.given,
        file: cli.config,
        running: settings,
        control: daemon.control(),
        set_log_level,
    };
    std::thread::Builder::new()
        .name("reload".into())
        .spawn(|| reloader.run(reload))?;
    std::thread::Builder::new()
        .name("last-resort".into())
        .spawn(move || end_soon_after(last_quit, &files))?;
    cage::confine(cage::Thread::Main)?;
    info!("ready");
    Ok(daemon.run(&mut socket, &user, persist)?)
}

/// The file of a device's state, opened.
fn saved_state(path: &Path) -> Result<(PathBuf, File), MainError> {
    let path = path.to_owned();
    match File::open(&path) {
        Ok(file) => Ok((path, file)),
        Err(error) => Err(MainError::Restore {
            path,
            source: error.into(),
        }),
    }
}

/// Ends the process a while after the user asked for it, whatever another thread waits for: a
/// driver, or the second half of a front-end's message.
fn end_soon_after(mut signal: UnixStream, files: &[Arc<SocketFile>]) {
    if let Err(error) = cage::confine(cage::Thread::LastResort) {
        warn!("SIGTERM may be followed late: {}", one_line(&error));
        return;
    }
    if signal.read(&mut [0; 1]).is_ok_and(|read| read > 0) {
        std::thread::sleep(LAST_RESORT);
        files.iter().for_each(|file| file.remove());
        signal_hook::low_level::exit(exit::DONE.into());
    }
}

/// A panic ends the process without dropping anything.
fn remove_on_panic(files: Vec<Arc<SocketFile>>) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        files.iter().for_each(|file| file.remove());
        report(panic);
    }));
}

/// A stream that becomes readable with each of these signals.
fn on_signals(signals: &[i32]) -> std::io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

fn renderer(
    settings: &Settings,
    types: &Arc<MappingTypes>,
) -> Result<RendererFactory, Box<dyn Error>> {
    match settings.renderer {
        RendererKind::TwoD => Ok(Box::new(|_| Ok(Box::new(NoRenderer)))),
        RendererKind::Blob => {
            let gpu = Arc::new(Vulkan::open(settings.render_node.as_deref())?);
            let types = Arc::clone(types);
            Ok(Box::new(move |fences| {
                Ok(Box::new(BlobContexts::new(gpu, types, fences)))
            }))
        }
        #[cfg(feature = "venus")]
        RendererKind::Venus => venus(settings, types),
        #[cfg(not(feature = "venus"))]
        RendererKind::Venus => Err(MainError::NoVenus.into()),
    }
}

/// Venus, and the blob context with the same GPU where this process can use it.
#[cfg(feature = "venus")]
fn venus(
    settings: &Settings,
    types: &Arc<MappingTypes>,
) -> Result<RendererFactory, Box<dyn Error>> {
    let node = settings.render_node.as_deref();
    let host = coherd::renderer::venus::Host::find(node)?;
    let gpu = Vulkan::open(node)
        .inspect_err(|error| {
            warn!(
                "guests are not offered the blob context: {}",
                one_line(error)
            );
        })
        .ok();
    let types = Arc::clone(types);
    Ok(Box::new(move |fences| {
        let mut all = Dispatch::new().with(Box::new(host.start(fences.clone())?));
        if let Some(gpu) = gpu {
            all = all.with(Box::new(BlobContexts::new(Arc::new(gpu), types, fences)));
        }
        Ok(Box::new(all))
    }))
}

/// Starts the log and returns what changes its level.
fn start_log(level: LogLevel) -> SetLogLevel {
    let (filter, handle) = reload::Layer::new(filter_of(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    Box::new(move |level| {
        // The log lives as long as the process.
        let _ = handle.reload(filter_of(level));
    })
}

fn filter_of(level: LogLevel) -> Targets {
    // A guest can make virtio-queue log an error with each descriptor.
    Targets::new()
        .with_default(LevelFilter::from(level))
        .with_target("virtio_queue", LevelFilter::OFF)
}

/// A blob holds two fds here and two in the render server, which inherits the limit.
fn raise_open_files_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
