//! What came from the server and nobody has taken yet.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use coherd_protocol::sync::{Event, Header};
use rustix::io::Errno;

use crate::error::SyncError;
use crate::socket::Datagram;

/// Events that wait for the watcher. Those beyond are dropped, and the watcher is told.
const MAX_EVENTS: usize = 4096;

/// A reply, with whatever status.
#[derive(Debug)]
pub struct Reply {
    /// Its header.
    pub header: Header,
    /// What is behind the header.
    pub body: Vec<u8>,
    /// The file that came with it.
    pub file: Option<OwnedFd>,
}

/// What is known of a request that was sent.
#[derive(Debug)]
enum Slot {
    /// Somebody waits for the reply.
    Awaited,
    /// Nobody does; the reply is dropped.
    GivenUp,
    /// The reply is here.
    Here(Reply),
}

/// Why nothing comes any more.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// The server closed the connection.
    Closed,
    /// The socket failed.
    Failed(Errno),
    /// The server sent what no server sends.
    Nonsense,
}

impl From<End> for SyncError {
    fn from(end: End) -> Self {
        match end {
            End::Closed | End::Failed(Errno::CONNRESET | Errno::PIPE) => Self::Disconnected,
            End::Failed(error) => Self::Socket(error),
            End::Nonsense => Self::NotASyncServer,
        }
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Inbox {
    slots: HashMap<u32, Slot>,
    last_tag: u32,
    events: VecDeque<Event>,
    watched: bool,
    /// Why nothing comes any more.
    pub end: Option<End>,
    /// Whether a thread reads the socket; the others wait for it to say what it found.
    pub reading: bool,
}

impl Inbox {
    /// A tag for a request whose reply is `awaited`, or dropped.
    pub fn expect(&mut self, awaited: bool) -> u32 {
        loop {
            self.last_tag = self.last_tag.wrapping_add(1);
            if self.last_tag != 0 && !self.slots.contains_key(&self.last_tag) {
                break;
            }
        }
        let slot = if awaited {
            Slot::Awaited
        } else {
            Slot::GivenUp
        };
        self.slots.insert(self.last_tag, slot);
        self.last_tag
    }

    /// The reply to the request with this tag, if it is here.
    pub fn take(&mut self, tag: u32) -> Option<Reply> {
        match self.slots.get(&tag) {
            Some(Slot::Here(_)) => match self.slots.remove(&tag) {
                Some(Slot::Here(reply)) => Some(reply),
                _ => None,
            },
            _ => None,
        }
    }

    /// The request with this tag was not sent.
    pub fn unsent(&mut self, tag: u32) {
        self.slots.remove(&tag);
    }

    /// Nobody waits for this reply any more.
    pub fn give_up(&mut self, tag: u32) {
        match self.slots.get_mut(&tag) {
            Some(slot @ Slot::Awaited) => *slot = Slot::GivenUp,
            _ => {
                self.slots.remove(&tag);
            }
        }
    }

    /// Whether events are kept. Returns `false` if they were, or were not, already.
    pub fn watch(&mut self, on: bool) -> bool {
        self.events.clear();
        std::mem::replace(&mut self.watched, on) != on
    }

    /// The next event.
    pub fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sorts what was received.
    pub fn deliver(&mut self, datagram: Datagram) {
        let Some((header, body)) = Header::split(datagram.bytes()) else {
            self.end.get_or_insert(End::Nonsense);
            return;
        };
        match header.tag.get() {
            0 => self.deliver_event(&header, body),
            tag => match self.slots.get_mut(&tag) {
                Some(slot @ Slot::Awaited) => {
                    *slot = Slot::Here(Reply {
                        header,
                        body: body.to_vec(),
                        file: datagram.file,
                    });
                }
                Some(Slot::GivenUp) => {
                    self.slots.remove(&tag);
                }
                // Nothing was asked, or it was answered already.
                Some(Slot::Here(_)) | None => {}
            },
        }
    }

    fn deliver_event(&mut self, header: &Header, body: &[u8]) {
        if !self.watched {
            return;
        }
        let Some(event) = Event::decode(header, body) else {
            return;
        };
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else if let Some(last) = self.events.back_mut() {
            *last = Event::Lost;
        }
    }
}
