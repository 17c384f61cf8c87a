//! The `coherd` program.

use std::error::Error;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use clap::Parser;
use coherd::cli::{Cli, RendererKind, capabilities};
use coherd::device::quota::{Quota, Quotas, Scope};
use coherd::listen::Socket;
use coherd::renderer::none::NoRenderer;
use coherd::serve::{Daemon, Options, RendererFactory, UserSignals};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use thiserror::Error;
use tracing::info;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Why the program cannot do what it was asked.
#[derive(Debug, Error)]
enum MainError {
    #[error("no socket: pass --socket-path PATH or --fd N")]
    NoSocket,
    #[cfg(not(feature = "venus"))]
    #[error("Venus is not compiled in: build coherd with --features venus, or pass --renderer 2d")]
    NoVenus,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.print_capabilities {
        return match writeln!(std::io::stdout(), "{}", capabilities()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    start_log(cli.log_level());
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = format!("coherd: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                line += &format!(": {error}");
                cause = error.source();
            }
            let _ = writeln!(std::io::stderr(), "{line}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let quit = on_signals(&[SIGTERM, SIGINT])?;
    let status = on_signals(&[SIGUSR1])?;
    let user = UserSignals {
        quit: quit.as_fd(),
        status: status.as_fd(),
    };
    let mut socket = match (&cli.socket_path, cli.fd) {
        (Some(path), _) => Socket::bind(path)?,
        (None, Some(fd)) => Socket::inherit(fd)?,
        (None, None) => return Err(MainError::NoSocket.into()),
    };
    raise_open_files_limit();
    let factory = renderer(cli)?;
    let mut quotas = Quotas::default();
    quotas.set(Scope::Vm, Quota::Mappings, cli.map_budget)?;
    let options = Options {
        window_size: cli.window_size,
        quotas,
        memory_slots: cli.mem_slots,
        ..Options::default()
    };
    let daemon = Daemon::start(options, factory)?;
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

fn renderer(cli: &Cli) -> Result<RendererFactory, Box<dyn Error>> {
    match cli.renderer {
        RendererKind::TwoD => Ok(Box::new(|_| Ok(Box::new(NoRenderer)))),
        #[cfg(feature = "venus")]
        RendererKind::Venus => {
            let host = coherd::renderer::venus::Host::find(cli.render_node.as_deref())?;
            Ok(Box::new(move |fences| Ok(Box::new(host.start(fences)?))))
        }
        #[cfg(not(feature = "venus"))]
        RendererKind::Venus => Err(MainError::NoVenus.into()),
    }
}

fn start_log(level: LevelFilter) {
    // A guest can make virtio-queue log an error with each descriptor.
    let filter = Targets::new()
        .with_default(level)
        .with_target("virtio_queue", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
}

/// A blob holds two fds here and two in the render server, which inherits the limit.
fn raise_open_files_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
