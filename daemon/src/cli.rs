//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Given;
use crate::ctl::Ctl;
use crate::exit;

/// A GPU for one virtual machine, as a vhost-user back-end.
///
/// Start coherd, then point the VMM at its socket. One process serves one VM and ends when the VMM
/// hangs up, unless --persist is given. Started by systemd, it takes the socket named vhost-user
/// that a socket unit hands down, and tells how it is doing. SIGTERM ends it; SIGUSR1 makes it log what the guest holds;
/// SIGHUP makes it read the configuration file again and follow changes of display, log-level and
/// on-type-mismatch, the latter for new blobs.
#[derive(Debug, Parser)]
#[command(name = "coherd", version, about, max_term_width = 100, after_help = exit::HELP)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving a VM.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Read options from this TOML file, whose keys are the names of the options below; an option
    /// of the command line wins
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check the options and the configuration file, and exit
    #[arg(long)]
    pub check_config: bool,

    /// Go on with the device whose state is in this file, of `coherd ctl save`
    #[arg(long, value_name = "FILE")]
    pub restore: Option<PathBuf>,

    /// Print the capabilities of this back-end as JSON and exit
    #[arg(long)]
    pub print_capabilities: bool,

    /// Everything else.
    #[command(flatten)]
    pub given: Given,
}

/// What the program does besides.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at the guest's blobs of a coherd that runs with --sync-socket
    Ctl(Ctl),
}

/// The answer to `--print-capabilities`, `vhost-user.json` of QEMU. It has no word for Venus, and
/// `virgl` is another renderer.
pub fn capabilities() -> &'static str {
    r#"{
  "type": "gpu",
  "features": [
    "render-node"
  ]
}"#
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
