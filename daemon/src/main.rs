//! The `coherd` program.

use std::error::Error;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use coherd::cage::{self, Cage, Outside};
use coherd::cli::{Cli, capabilities};
use coherd::config::{LogLevel, RendererKind, Settings, SocketSource};
use coherd::explain::one_line;
use coherd::guest_pat::HostFacts;
use coherd::listen::Socket;
use coherd::mapping_type::MappingTypes;
use coherd::reload::{Reloader, SetLogLevel};
#[cfg(feature = "venus")]
use coherd::renderer::Dispatch;
use coherd::renderer::blob_context::{BlobContexts, Vulkan};
use coherd::renderer::none::NoRenderer;
use coherd::serve::{Daemon, Options, RendererFactory, UserSignals};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use thiserror::Error;
use tracing::info;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Why the program cannot do what it was asked.
#[derive(Debug, Error)]
enum MainError {
    #[error(
        "no socket: pass --socket-path PATH or --fd N, or set one of them in the --config file"
    )]
    NoSocket,
    #[cfg(not(feature = "venus"))]
    #[error(
        "Venus is not compiled in: build coherd with --features venus, or pass --renderer blob \
         or --renderer 2d"
    )]
    NoVenus,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = if cli.print_capabilities {
        writeln!(std::io::stdout(), "{}", capabilities()).map_err(Into::into)
    } else {
        run(cli)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "coherd: {}", one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let settings = Settings::load(&cli.given, cli.config.as_deref())?;
    if cli.check_config {
        return Ok(());
    }
    let set_log_level = start_log(settings.log_level);
    // An inherited fd is taken before others are opened, whose number it might have been.
    let mut socket = match &settings.socket {
        Some(SocketSource::Path(path)) => Socket::bind(path)?,
        Some(SocketSource::Fd(fd)) => Socket::inherit(*fd)?,
        None => return Err(MainError::NoSocket.into()),
    };
    let quit = on_signals(&[SIGTERM, SIGINT])?;
    let status = on_signals(&[SIGUSR1])?;
    let reload = on_signals(&[SIGHUP])?;
    let user = UserSignals {
        quit: quit.as_fd(),
        status: status.as_fd(),
    };
    raise_open_files_limit();
    let host = HostFacts::collect();
    // Whatever comes from outside is open. From here on there is the cage, and there were no threads.
    Cage::of(&settings).enter(Outside {
        socket: socket.path().map(Into::into),
        config: cli.config.clone(),
    })?;
    let mapping_types = Arc::new(MappingTypes::new(settings.type_mismatch, host));
    let factory = renderer(&settings, &mapping_types)?;
    let options = Options {
        window_size: settings.window_size,
        quotas: settings.quotas,
        memory_slots: settings.mem_slots,
        outputs: settings.device_outputs()?,
        mapping_types,
    };
    let daemon = Daemon::start(options, factory)?;
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
    cage::confine(cage::Thread::Main)?;
    info!("ready");
    if let Some(stream) = socket.accept(user.quit)? {
        daemon.serve(stream, &user)?;
    }
    Ok(())
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
            tracing::warn!(
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
