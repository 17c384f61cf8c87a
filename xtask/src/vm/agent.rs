//! The host's end of the guest agent; the other end is the script `guest/agent`.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::mailbox::Mailbox;

/// Folder of the share that holds the scripts and their output.
const FOLDER: &str = ".agent";

/// The connection to one guest's agent.
#[derive(Debug)]
pub struct Agent {
    writer: Mutex<UnixStream>,
    news: Arc<Mailbox<News>>,
    folder: PathBuf,
    next: AtomicU64,
}

/// A command the guest was asked to run.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    id: u64,
    boot: u64,
}

/// What became of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ended with this exit status, or the guest is ready.
    Done(i32),
    /// The guest rebooted, and its commands are gone.
    Rebooted,
    /// QEMU is gone.
    Closed,
    /// Time is up.
    Timeout,
}

#[derive(Debug, Default)]
struct News {
    /// Times the agent has said that it is ready.
    boots: u64,
    /// How many of those a caller has waited for.
    awaited: u64,
    exits: HashMap<u64, i32>,
    closed: bool,
}

impl Agent {
    /// Listens to the agent at the other end of `stream`; `share` is the guest's `/share`.
    pub fn connect(stream: UnixStream, share: &Path) -> io::Result<Self> {
        let folder = share.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let news = Arc::new(Mailbox::<News>::default());
        let (lines, filled) = (BufReader::new(stream.try_clone()?), Arc::clone(&news));
        thread::spawn(move || receive(lines, &filled));
        Ok(Self {
            writer: Mutex::new(stream),
            news,
            folder,
            next: AtomicU64::new(0),
        })
    }

    /// Waits for a boot that nobody has waited for yet.
    pub fn wait_ready(&self, timeout: Duration) -> Outcome {
        self.news
            .wait(timeout, |news| {
                if news.boots > news.awaited {
                    news.awaited = news.boots;
                    return Some(Outcome::Done(0));
                }
                news.closed.then_some(Outcome::Closed)
            })
            .unwrap_or(Outcome::Timeout)
    }

    /// Starts a shell script in the guest.
    pub fn run(&self, script: &str) -> io::Result<Ticket> {
        let ticket = self.ticket();
        fs::write(self.file(ticket, "sh"), script)?;
        self.send("run", ticket)?;
        Ok(ticket)
    }

    /// Starts an interactive shell on the guest's virtio console.
    pub fn shell(&self) -> io::Result<Ticket> {
        let ticket = self.ticket();
        self.send("shell", ticket)?;
        Ok(ticket)
    }

    /// Kills a script with all it has started, unless it moved to another session.
    pub fn kill(&self, ticket: Ticket) -> io::Result<()> {
        self.send("kill", ticket)
    }

    /// Waits for the end of a script or shell.
    pub fn wait(&self, ticket: Ticket, timeout: Duration) -> Outcome {
        self.news
            .wait(timeout, |news| {
                if let Some(status) = news.exits.get(&ticket.id) {
                    return Some(Outcome::Done(*status));
                }
                if news.boots > ticket.boot {
                    return Some(Outcome::Rebooted);
                }
                news.closed.then_some(Outcome::Closed)
            })
            .unwrap_or(Outcome::Timeout)
    }

    /// What a script has printed so far.
    #[must_use]
    pub fn log(&self, ticket: Ticket) -> String {
        let bytes = fs::read(self.file(ticket, "log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn ticket(&self) -> Ticket {
        Ticket {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            boot: self.news.update(|news| news.boots),
        }
    }

    fn file(&self, ticket: Ticket, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", ticket.id))
    }

    fn send(&self, verb: &str, ticket: Ticket) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // As one piece: the guest's shell drops what it has read of a line if a child ends while the rest is under way.
        writer.write_all(format!("{verb} {}\n", ticket.id).as_bytes())
    }
}

fn receive(mut lines: BufReader<UnixStream>, news: &Mailbox<News>) {
    let mut line = Vec::new();
    // Bytes, because a guest that is reset in the middle of a line leaves garbage.
    while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&line);
        let words: Vec<&str> = text.split_whitespace().collect();
        news.update(|news| match words[..] {
            ["ready"] => news.boots += 1,
            ["exit", id, status] => {
                if let (Ok(id), Ok(status)) = (id.parse(), status.parse()) {
                    news.exits.insert(id, status);
                }
            }
            _ => {}
        });
        line.clear();
    }
    news.update(|news| news.closed = true);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_reboot_ends_what_was_running_and_can_be_awaited_again() {
        let share = tempfile::tempdir().unwrap();
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let agent = Agent::connect(ours, share.path()).unwrap();
        writeln!(guest, "\nready").unwrap();
        assert_eq!(agent.wait_ready(SOON), Outcome::Done(0));
        let (first, second) = (agent.run("true").unwrap(), agent.run("reboot").unwrap());
        writeln!(guest, "exit {} 3", first.id).unwrap();
        write!(guest, "exit {}", second.id).unwrap();
        writeln!(guest, "\nready").unwrap();
        assert_eq!(agent.wait(first, SOON), Outcome::Done(3));
        assert_eq!(agent.wait(second, SOON), Outcome::Rebooted);
        assert_eq!(agent.wait_ready(SOON), Outcome::Done(0));
        assert_eq!(agent.wait_ready(Duration::from_millis(1)), Outcome::Timeout);
        drop(guest);
        assert_eq!(agent.wait_ready(SOON), Outcome::Closed);
    }
}
