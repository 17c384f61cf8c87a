//! QEMU's machine protocol: commands, and the events in between.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::mailbox::Mailbox;

/// How long QEMU may take to answer; `stop` waits for the back-end, so this is generous.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The connection broke, because QEMU ended.
    #[error("the connection to QEMU is closed")]
    Closed,
    /// No answer came.
    #[error("QEMU did not answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The connection cannot be used.
    #[error("cannot use the connection to QEMU")]
    Io(#[from] io::Error),
    /// QEMU answered with an error.
    #[error("{0}")]
    Refused(String),
}

/// A connection to the monitor of one QEMU.
#[derive(Debug)]
pub struct Qmp {
    writer: Mutex<UnixStream>,
    inbox: Arc<Mailbox<Inbox>>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Inbox {
    replies: Vec<Value>,
    events: VecDeque<Value>,
    closed: bool,
}

impl Qmp {
    /// Leaves the negotiation mode; commands work from here on.
    pub fn connect(stream: UnixStream) -> Result<Self, QmpError> {
        let inbox = Arc::new(Mailbox::<Inbox>::default());
        let (lines, filled) = (BufReader::new(stream.try_clone()?), Arc::clone(&inbox));
        thread::spawn(move || receive(lines, &filled));
        let qmp = Self {
            writer: Mutex::new(stream),
            inbox,
            next: AtomicU64::new(0),
        };
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    /// Runs one command and returns what QEMU returns.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut request = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(writer, "{request}").map_err(|_| QmpError::Closed)?;
        drop(writer);
        let answer = self.inbox.wait(PATIENCE, |inbox| {
            let reply = inbox.replies.iter().position(|reply| reply["id"] == id);
            reply
                .map(|index| Ok(inbox.replies.swap_remove(index)))
                .or_else(|| inbox.closed.then_some(Err(QmpError::Closed)))
        });
        let mut reply = answer.unwrap_or(Err(QmpError::Silent))?;
        match reply.get("error") {
            Some(error) => Err(QmpError::Refused(
                error["desc"]
                    .as_str()
                    .unwrap_or("no reason given")
                    .to_owned(),
            )),
            None => Ok(reply["return"].take()),
        }
    }

    /// Tells QEMU to end, and does not wait for an answer.
    pub fn quit(&self) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // A QEMU that does not listen has ended, or has to be killed.
        let _ = writeln!(writer, "{}", json!({ "execute": "quit" }));
    }

    /// Takes the next event of this name, waiting for it if need be; earlier events of other names stay.
    pub fn wait_event(&self, name: &str, timeout: Duration) -> Result<Value, QmpError> {
        self.inbox
            .wait(timeout, |inbox| {
                let event = inbox.events.iter().position(|event| event["event"] == name);
                event
                    .and_then(|index| inbox.events.remove(index))
                    .map(Ok)
                    .or_else(|| inbox.closed.then_some(Err(QmpError::Closed)))
            })
            .unwrap_or(Err(QmpError::Silent))
    }

    /// Takes all events that have come so far.
    #[must_use]
    pub fn take_events(&self) -> Vec<Value> {
        self.inbox.update(|inbox| inbox.events.drain(..).collect())
    }
}

fn receive(lines: BufReader<UnixStream>, inbox: &Mailbox<Inbox>) {
    for line in lines.lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            break;
        };
        inbox.update(|inbox| {
            if message.get("event").is_some() {
                inbox.events.push_back(message);
            } else if message.get("id").is_some() {
                inbox.replies.push(message);
            }
        });
    }
    inbox.update(|inbox| inbox.closed = true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_between_request_and_reply_are_kept() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = thread::spawn(move || {
            let mut reader = BufReader::new(theirs.try_clone().unwrap());
            let mut writer = theirs;
            writeln!(writer, "{}", json!({"QMP": {}})).unwrap();
            for event in ["RESET", "STOP"] {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let request: Value = serde_json::from_str(&line).unwrap();
                writeln!(writer, "{}", json!({ "event": event })).unwrap();
                writeln!(writer, "{}", json!({"return": {}, "id": request["id"]})).unwrap();
            }
        });
        let qmp = Qmp::connect(ours).unwrap();
        qmp.execute("stop", Value::Null).unwrap();
        peer.join().unwrap();
        assert_eq!(
            qmp.wait_event("STOP", Duration::from_secs(10)).unwrap()["event"],
            "STOP"
        );
        assert_eq!(qmp.take_events().len(), 1);
        assert!(matches!(
            qmp.execute("cont", Value::Null),
            Err(QmpError::Closed)
        ));
    }
}
