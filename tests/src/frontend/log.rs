//! What happened, in order, for tests to look at.

use std::sync::{Condvar, Mutex};

use vhost::vhost_user::message::FrontendReq;

use super::deadline::Deadline;
use super::display::Shown;
use super::fault::Fault;
use super::lock;
use super::request::MapRequest;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The front-end sent a request.
    Sent {
        /// What was sent.
        request: FrontendReq,
        /// Whether an acknowledgement was wanted.
        need_reply: bool,
        /// File descriptors sent along.
        fds: usize,
        /// Bytes after the header.
        payload: Vec<u8>,
    },
    /// The backend answered the front-end.
    Answered {
        /// What was answered.
        request: FrontendReq,
        /// Bytes after the header.
        payload: Vec<u8>,
    },
    /// A backend request was taken off the back channel as a whole.
    Taken {
        /// Request code, possibly of no known request.
        request: u32,
        /// Whether an acknowledgement is wanted.
        need_reply: bool,
        /// File descriptors that came along.
        fds: usize,
        /// Bytes after the header.
        payload: Vec<u8>,
        /// Whether the device was running.
        running: bool,
    },
    /// A backend request was acknowledged.
    Replied {
        /// Request code.
        request: u32,
        /// Zero for success.
        value: u64,
    },
    /// A backend request was refused.
    Refused {
        /// Request code.
        request: u32,
        /// Why.
        reason: String,
    },
    /// The guest sees a mapping from now on.
    Committed(MapRequest),
    /// The guest sees a mapping no more.
    Removed(MapRequest),
    /// The memory table has no room for this many regions and was not sent.
    TableFull(usize),
    /// A reset dropped this many mappings.
    MapsDropped(usize),
    /// The backend announced a new configuration.
    ConfigChanged,
    /// The backend closed its end of the back channel.
    BackChannelClosed,
    /// The backend showed something on the display socket.
    Shown(Shown),
    /// The VMM died.
    Fault(Fault),
}

/// An append-only list of [`Event`]s that can be waited on.
#[derive(Debug, Default)]
pub struct Log {
    events: Mutex<Vec<Event>>,
    changed: Condvar,
}

impl Log {
    pub(super) fn push(&self, event: Event) {
        lock(&self.events).push(event);
        self.changed.notify_all();
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }

    /// The number of events so far; a mark to wait or look from.
    pub fn mark(&self) -> usize {
        lock(&self.events).len()
    }

    /// Everything since `mark`.
    pub fn since(&self, mark: usize) -> Vec<Event> {
        lock(&self.events).iter().skip(mark).cloned().collect()
    }

    /// The main-channel requests since `mark`, in the order they were sent.
    pub fn requests_since(&self, mark: usize) -> Vec<FrontendReq> {
        self.since(mark)
            .into_iter()
            .filter_map(|event| match event {
                Event::Sent { request, .. } => Some(request),
                _ => None,
            })
            .collect()
    }

    /// The deaths of the VMM.
    pub fn faults(&self) -> Vec<Fault> {
        self.since(0)
            .into_iter()
            .filter_map(|event| match event {
                Event::Fault(fault) => Some(fault),
                _ => None,
            })
            .collect()
    }

    /// Waits for the first event since `mark` that `wanted` accepts; `None` after the deadline.
    pub fn wait(
        &self,
        mark: usize,
        deadline: Deadline,
        wanted: impl Fn(&Event) -> bool,
    ) -> Option<Event> {
        let mut events = lock(&self.events);
        let mut seen = mark;
        loop {
            if let Some(event) = events.iter().skip(seen).find(|event| wanted(event)) {
                return Some(event.clone());
            }
            seen = events.len().max(mark);
            if deadline.passed() {
                return None;
            }
            events = self
                .changed
                .wait_timeout(events, deadline.remaining())
                .map_or_else(|poison| poison.into_inner().0, |(events, _)| events);
        }
    }
}
