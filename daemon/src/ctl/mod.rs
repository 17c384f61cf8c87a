//! `coherd ctl`: a look at the blobs of a coherd that runs, by the sync protocol, and the state of
//! its device and its metrics, by the control socket.

mod blobs;
mod dump;
mod save;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use coherd_sync::{Capabilities, Connection, Options, SyncError};
use thiserror::Error;

use crate::control::{self, ControlError};

/// What to look at.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Ctl {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which coherd to ask.
#[derive(Debug, Args)]
pub struct Server {
    /// The socket that coherd was given as --sync-socket
    #[arg(long, value_name = "PATH")]
    pub sync_socket: PathBuf,
}

/// Which coherd to ask.
#[derive(Debug, Args)]
pub struct ControlServer {
    /// The socket that coherd was given as --control-socket
    #[arg(long, value_name = "PATH")]
    pub control_socket: PathBuf,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the guest's blobs: id, bytes, what each is, its memory type as the guest was told and as
    /// an mmap of its file has it, who maps it, and whether they agree
    Blobs {
        /// Which coherd to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Write the bytes of a blob to standard output
    Dump {
        /// The blob's id, as `coherd ctl blobs` lists it
        blob: u64,
        /// Which coherd to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Write counters and gauges as OpenMetrics text to standard output, for a collector of
    /// Prometheus such as node_exporter's textfile collector
    Metrics {
        /// Which coherd to ask.
        #[command(flatten)]
        control: ControlServer,
    },
    /// Save the state of the device to a file, for `coherd --restore`. Commands of the guest wait
    /// meanwhile; pause the VM first if its programs also write to mapped memory
    Save {
        /// The file, which is replaced once all is written
        file: PathBuf,
        /// Which coherd to ask.
        #[command(flatten)]
        control: ControlServer,
    },
    /// Open and map each blob as a VMM would, and check what coherd says of it; exit status 1 if
    /// something is not as it says
    Verify {
        /// Which coherd to ask.
        #[command(flatten)]
        server: Server,
    },
}

/// Why it did not work.
#[derive(Debug, Error)]
pub enum CtlError {
    /// The state is not saved.
    #[error("state is not saved")]
    Save(#[from] ControlError),
    /// There are no metrics.
    #[error("cannot read the metrics")]
    Metrics(#[source] ControlError),
    /// The file could not be written.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// coherd did not answer, or not as was hoped.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// A blob is needed that the server will not show.
    #[error("cannot dump blob {blob}; `coherd ctl blobs` lists what there is")]
    Blob {
        /// The blob.
        blob: u64,
        /// Why.
        source: SyncError,
    },
    /// The output could not be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// Blobs are not what coherd says they are.
    #[error("{failed} of {blobs} blobs are not as coherd says")]
    Wrong {
        /// How many.
        failed: usize,
        /// Of so many.
        blobs: usize,
    },
}

impl Ctl {
    /// Does it.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn run(&self, out: &mut impl Write) -> Result<(), CtlError> {
        match &self.command {
            Command::Blobs { server } => blobs::list(&server.connect()?, out),
            Command::Dump { blob, server } => dump::dump(&server.connect()?, *blob, out),
            Command::Metrics { control } => {
                let text = control::metrics(&control.control_socket).map_err(CtlError::Metrics)?;
                Ok(out.write_all(text.as_bytes())?)
            }
            Command::Save { file, control } => save::save(&control.control_socket, file, out),
            Command::Verify { server } => verify::verify(&server.connect()?, out),
        }
    }
}

impl Server {
    fn connect(&self) -> Result<Connection, SyncError> {
        let options = Options {
            name: "coherd ctl".to_owned(),
            capabilities: Capabilities::DESCRIBE,
            ..Options::default()
        };
        Connection::connect(&self.sync_socket, &options)
    }
}

/// Whether a blob went while it was looked at, as blobs do.
fn is_gone(error: &SyncError) -> bool {
    error.status() == Some(coherd_sync::Status::Gone)
}
