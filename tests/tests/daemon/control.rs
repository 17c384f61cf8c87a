//! `coherd ctl` at the control socket of a daemon.

use clap::Parser;
use coherd::cli::{Cli, Command};
use coherd::control::ControlSocket;
use coherd::ctl::CtlError;
use coherd_tests::rig::Server;
use tempfile::TempDir;

/// A folder with the control socket of a daemon, which is named `control`.
pub struct Controlled {
    pub folder: TempDir,
    socket: Option<ControlSocket>,
}

impl Controlled {
    /// One where nobody listens.
    pub fn by_nobody() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            socket: None,
        }
    }

    pub fn of(server: &Server) -> Self {
        let mut it = Self::by_nobody();
        let mut socket = ControlSocket::bind(&it.folder.path().join("control")).unwrap();
        socket.serve(server.control()).unwrap();
        it.socket = Some(socket);
        it
    }

    /// Nobody listens any more.
    pub fn hang_up(&mut self) {
        self.socket = None;
    }

    /// Path of a file in the folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs `coherd ctl` with these arguments and the socket; returns what it wrote too.
    pub fn ctl(&self, arguments: &[&str]) -> (Result<(), String>, String) {
        let control = self.path("control");
        let all = [
            &["coherd", "ctl"],
            arguments,
            &["--control-socket", &control],
        ]
        .concat();
        let (out, result) = run(&all);
        let result = result.map_err(|error| coherd::explain::one_line(&error));
        (result, String::from_utf8(out).unwrap())
    }
}

/// What a command line of `coherd ctl` writes, and how it ends.
pub fn run(arguments: &[&str]) -> (Vec<u8>, Result<(), CtlError>) {
    let Some(Command::Ctl(ctl)) = Cli::try_parse_from(arguments).unwrap().command else {
        panic!("it is no ctl");
    };
    let mut out = Vec::new();
    let result = ctl.run(&mut out);
    (out, result)
}
