//! The VMM's main loop: one thing at a time, first come, first served.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use super::deadline::Deadline;
use super::lock;

#[derive(Debug, Default)]
struct Queue {
    taken: bool,
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// Hands out the main loop. Unlike a mutex it is fair, so that a test knows who comes next, and
/// it can be waited for with a deadline.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Turns {
    /// Takes the main loop; `None` if it was not free in time.
    pub(super) fn take(&self, deadline: Deadline) -> Option<Turn<'_>> {
        let mut queue = lock(&self.queue);
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push_back(ticket);
        self.changed.notify_all();
        loop {
            if !queue.taken && queue.waiting.front() == Some(&ticket) {
                queue.waiting.pop_front();
                queue.taken = true;
                return Some(Turn { turns: self });
            }
            if deadline.passed() {
                queue.waiting.retain(|waiting| *waiting != ticket);
                self.changed.notify_all();
                return None;
            }
            queue = self
                .changed
                .wait_timeout(queue, deadline.remaining())
                .map_or_else(|poison| poison.into_inner().0, |(queue, _)| queue);
        }
    }

    /// Waits until somebody waits behind the holder of the main loop; `false` after the deadline.
    pub(super) fn wait_contended(&self, deadline: Deadline) -> bool {
        let mut queue = lock(&self.queue);
        loop {
            if queue.taken && !queue.waiting.is_empty() {
                return true;
            }
            if deadline.passed() {
                return false;
            }
            queue = self
                .changed
                .wait_timeout(queue, deadline.remaining())
                .map_or_else(|poison| poison.into_inner().0, |(queue, _)| queue);
        }
    }
}

/// The main loop, taken until this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.turns.queue).taken = false;
        self.turns.changed.notify_all();
    }
}
