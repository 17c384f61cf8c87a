//! Writes the manual pages and the completions of shells into a folder: `documents FOLDER`.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use coherd::cli::Cli;

/// Options that are not keys of the file.
const NO_KEYS: [&str; 5] = [
    "config",
    "check-config",
    "print-capabilities",
    "help",
    "version",
];

/// The file that is shipped.
const EXAMPLE: &str = include_str!("../../systemd/coherd.toml");

/// What coherd(1) says of the environment.
const ENVIRONMENT: [(&str, &str); 5] = [
    (
        "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES",
        "Sockets of the service manager. The one named vhost-user is served, or the only one, where \
         neither --socket-path nor --fd is given.",
    ),
    (
        "NOTIFY_SOCKET",
        "Where the service manager is told READY, STATUS and STOPPING.",
    ),
    (
        "WATCHDOG_USEC, WATCHDOG_PID",
        "How often it is told WATCHDOG, which coherd does for as long as the thread that serves the \
         guest answers.",
    ),
    (
        "RENDER_SERVER_EXEC_PATH",
        "The render server of virglrenderer, if it is not where it is expected.",
    ),
    (
        "VK_DRIVER_FILES, VK_ADD_LAYER_PATH",
        "Read by the Vulkan loader; see its documentation.",
    ),
];

const FILES: [(&str, &str); 3] = [
    (
        "/etc/coherd/coherd.toml",
        "What coherd@.service reads; see coherd.toml(5).",
    ),
    (
        "/run/coherd/VM.sock",
        "Where the VMM connects to coherd@VM.socket.",
    ),
    (
        "/usr/share/qemu/vhost-user/60-coherd.json",
        "By which management software finds coherd.",
    ),
];

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1);
    let folder = folder.ok_or_else(|| io::Error::other("usage: documents FOLDER"))?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    let mut command = Cli::command();
    fs::write(folder.join("coherd.1"), program_page(&command)?)?;
    fs::write(folder.join("coherd.toml.5"), file_page(&command))?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, "coherd", folder)?;
    }
    Ok(())
}

fn program_page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).manual("coherd");
    let mut page = Vec::new();
    man.render(&mut page)?;
    let mut more = Roff::new();
    section(&mut more, "ENVIRONMENT", &ENVIRONMENT);
    section(&mut more, "FILES", &FILES);
    more.control("SH", ["SEE ALSO"]);
    more.text([
        bold("coherd.toml"),
        roman("(5), "),
        bold("systemd.socket"),
        roman("(5)"),
    ]);
    page.extend(more.render().into_bytes());
    Ok(page)
}

fn file_page(command: &Command) -> String {
    let mut page = Roff::new();
    page.control("TH", ["coherd.toml", "5", "", "coherd"]);
    page.control("SH", ["NAME"]);
    page.text([roman("coherd.toml - options of coherd")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("A TOML file that "),
        bold("coherd --config"),
        roman(" reads. Its keys are the names of the options, and an option of the command line wins."),
        roman(" A key that is none is refused. "),
        bold("coherd --check-config"),
        roman(" looks whether a file is right. On SIGHUP it is read again."),
    ]);
    page.control("SH", ["KEYS"]);
    for argument in command.get_arguments() {
        let Some(key) = argument.get_long().filter(|key| !NO_KEYS.contains(key)) else {
            continue;
        };
        page.control("TP", []);
        page.text([bold(key), roman(" = "), italic(value(argument))]);
        let help = argument.get_long_help().or(argument.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        // The tables of quotas.
        let has_table = help.contains("\n  ");
        if has_table {
            page.control("nf", []);
        }
        page.text([roman(help)]);
        if has_table {
            page.control("fi", []);
        }
    }
    page.control("SH", ["EXAMPLE"]);
    page.control("nf", []);
    page.text([roman(EXAMPLE)]);
    page.control("fi", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("coherd"), roman("(1)")]);
    page.render()
}

/// How a value is written in the file.
fn value(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let name = names.first().map(ToString::to_string).unwrap_or_default();
    match name.as_str() {
        "BOOL" => "true or false".to_owned(),
        "N" => "number".to_owned(),
        "WIDTHxHEIGHT" => "[\"WIDTHxHEIGHT\", ...]".to_owned(),
        "" => format!("\"{}\"", argument.get_id().as_str()),
        "NAME=VALUE" => "{ NAME = VALUE, ... }".to_owned(),
        _ => format!("\"{name}\""),
    }
}

fn section(page: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (name, text) in entries {
        page.control("TP", []);
        page.text([bold(*name)]);
        page.text([roman(*text)]);
    }
}
