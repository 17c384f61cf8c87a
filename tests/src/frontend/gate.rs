//! Gates: places in the service of a backend request where a test can hold the VMM.

use std::sync::{Arc, Condvar, Mutex};

use super::deadline::Deadline;
use super::lock;

/// A place in the service of a backend request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bytes are in the socket and none was read; the main loop is free.
    Pending,
    /// The first piece of the header was read, and with it the file descriptor; from here on the
    /// main loop is taken.
    FirstPiece,
    /// The whole request was read and nothing was done about it.
    BeforeExecution,
    /// The mapping was made or removed and the backend does not know.
    BeforeReply,
    /// The backend has its answer and the guest sees no change.
    BeforeCommit,
}

const STAGES: usize = 5;

#[derive(Clone, Copy, Debug, Default)]
struct State {
    closed: bool,
    held: bool,
}

/// All gates of a front-end.
#[derive(Debug, Default)]
pub(super) struct Gates {
    states: Mutex<[State; STAGES]>,
    changed: Condvar,
}

impl Gates {
    /// Waits until the gate at `stage` is open; `false` if it still was closed at the deadline.
    pub(super) fn pass(&self, stage: Stage, deadline: Deadline) -> bool {
        let open = self.wait(deadline, |states| {
            let state = &mut states[stage as usize];
            state.held = state.closed;
            !state.closed
        });
        lock(&self.states)[stage as usize].held = false;
        open
    }

    fn wait(&self, deadline: Deadline, mut done: impl FnMut(&mut [State; STAGES]) -> bool) -> bool {
        let mut states = lock(&self.states);
        loop {
            let before = states.map(|state| state.held);
            if done(&mut states) {
                return true;
            }
            if states.map(|state| state.held) != before {
                self.changed.notify_all();
            }
            if deadline.passed() {
                return false;
            }
            states = self
                .changed
                .wait_timeout(states, deadline.remaining())
                .map_or_else(|poison| poison.into_inner().0, |(states, _)| states);
        }
    }

    fn set_closed(&self, stage: Stage, closed: bool) {
        lock(&self.states)[stage as usize].closed = closed;
        self.changed.notify_all();
    }
}

/// A closed gate. Dropping it opens the gate.
#[derive(Debug)]
pub struct Gate {
    gates: Arc<Gates>,
    stage: Stage,
}

impl Gate {
    pub(super) fn close(gates: &Arc<Gates>, stage: Stage) -> Self {
        gates.set_closed(stage, true);
        Self {
            gates: Arc::clone(gates),
            stage,
        }
    }

    /// Waits until a request is held at the gate; `false` after the deadline.
    pub fn wait_held(&self, deadline: Deadline) -> bool {
        self.gates
            .wait(deadline, |states| states[self.stage as usize].held)
    }

    /// Lets the request pass.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.gates.set_closed(self.stage, false);
    }
}
