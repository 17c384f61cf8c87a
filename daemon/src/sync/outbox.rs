//! What a peer has yet to read.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use coherd_protocol::sync::Event;
use rustix::io::Errno;

use super::datagram;
use super::limits::MAX_EVENTS;

struct Message {
    bytes: Vec<u8>,
    file: Option<OwnedFd>,
    is_event: bool,
}

/// Messages that the socket has no room for. Replies are bounded by the requests that are read,
/// events are dropped.
#[derive(Default)]
pub struct Outbox {
    messages: VecDeque<Message>,
    events: usize,
    /// Events were dropped, and the peer has to be told.
    lost: bool,
}

impl Outbox {
    /// Whether the peer has read everything, as far as can be seen.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.lost
    }

    /// Adds a reply.
    pub fn reply(&mut self, bytes: Vec<u8>, file: Option<OwnedFd>) {
        self.messages.push_back(Message {
            bytes,
            file,
            is_event: false,
        });
    }

    /// Adds an event, or drops it.
    pub fn event(&mut self, event: &Event) {
        if *event == Event::Lost || self.lost || self.events >= MAX_EVENTS {
            self.lost = true;
        } else {
            self.push_event(event);
        }
    }

    /// Forgets events that were not sent.
    pub fn forget_events(&mut self) {
        self.lost = false;
        self.events = 0;
        self.messages.retain(|message| !message.is_event);
    }

    /// Sends what there is room for.
    ///
    /// # Errors
    /// The error of sendmsg, but not [`Errno::AGAIN`].
    pub fn flush(&mut self, socket: impl AsFd) -> Result<(), Errno> {
        loop {
            let Some(message) = self.messages.front() else {
                if !std::mem::take(&mut self.lost) {
                    return Ok(());
                }
                // All that was dropped would have been before this.
                self.push_event(&Event::Lost);
                continue;
            };
            match datagram::send(&socket, &message.bytes, message.file.as_ref()) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
            let sent = self.messages.pop_front();
            self.events -= usize::from(sent.is_some_and(|sent| sent.is_event));
        }
    }

    fn push_event(&mut self, event: &Event) {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        self.events += 1;
        self.messages.push_back(Message {
            bytes,
            file: None,
            is_event: true,
        });
    }
}
