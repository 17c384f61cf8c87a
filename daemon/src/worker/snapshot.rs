//! The device thread's part in saving and loading a device.

use std::sync::mpsc;
use std::time::Duration;

use super::Worker;
use crate::snapshot::{Ending, Order, Parked, Piece, SnapshotError, State};
use crate::vhost_user::rings::{CONTROL, NUM_QUEUES};

/// How long the GPU may take before a device is saved.
const LONGEST_DRAIN: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) fn follow_snapshot(&mut self) {
        match self.orders.snapshot.take() {
            None => {}
            Some(Order::Capture { may_run, reply }) => {
                self.is_held = true;
                let captured = self.capture(may_run);
                let is_captured = captured.is_ok();
                let gone = reply.send(captured).err();
                if let Some(mpsc::SendError(Ok((_, pieces)))) = gone {
                    self.device.take_back(pieces);
                    self.go_on();
                } else if !is_captured {
                    self.go_on();
                }
            }
            Some(Order::Build { state, reply }) => {
                self.is_held = true;
                let built = self.build(&state);
                if built.is_err() {
                    self.abandon_load();
                }
                if let Err(mpsc::SendError(Ok(_))) = reply.send(built) {
                    self.abandon_load();
                }
            }
            Some(Order::Finish {
                pieces,
                ending,
                reply,
            }) => {
                self.device.take_back(pieces);
                let ended = self.finish_transfer(ending);
                self.go_on();
                // Who asked may have given up.
                let _ = reply.send(ended);
            }
        }
    }

    /// What the device and its queues are, once the GPU is done.
    fn capture(&mut self, may_run: bool) -> Result<(State, Vec<Piece>), SnapshotError> {
        self.device.check_savable()?;
        if !may_run && self.rings.is_running() {
            return Err(SnapshotError::Running);
        }
        let quiet = self.device.quiesce(LONGEST_DRAIN)?;
        self.signal_fences();
        let (mut state, pieces) = self.device.capture(quiet)?;
        let (rings, features) = self.rings.save();
        state.rings = rings;
        state.device.features = features.into();
        let parked = self.parked.as_ref().map(|parked| match &parked.response {
            Some(response) => Parked::Executed(response.clone()),
            None => Parked::Unexecuted,
        });
        if let Some(control) = state.rings.get_mut(CONTROL) {
            control.parked = parked;
        }
        let (events, read) = self.events.save();
        state.device.events = events.into();
        state.device.events_read = read.into();
        Ok((state, pieces))
    }

    fn build(&mut self, state: &State) -> Result<Vec<Piece>, SnapshotError> {
        if self.rings.is_running() {
            return Err(SnapshotError::Running);
        }
        self.parked = None;
        self.device.load(state, state.device.features.get())
    }

    fn abandon_load(&mut self) {
        self.device.reset(self.epoch.features);
        self.go_on();
    }

    fn finish_transfer(&mut self, ending: Ending) -> Result<(), SnapshotError> {
        let state = match ending {
            Ending::Saved => return Ok(()),
            Ending::NotLoaded => {
                self.device.reset(self.epoch.features);
                return Ok(());
            }
            Ending::Loaded(state) => state,
        };
        let features = state.device.features.get();
        let Some(life) = self.rings.load(&state.rings, features) else {
            self.device.reset(self.epoch.features);
            return Err(SnapshotError::Running);
        };
        self.epoch.life = life;
        self.events
            .load(state.device.events.get(), state.device.events_read.get());
        let parked = state.rings.into_iter().nth(CONTROL);
        self.replay = parked.and_then(|ring| match ring.parked {
            Some(Parked::Executed(response)) => Some(response),
            _ => None,
        });
        Ok(())
    }

    /// The device stands still no more.
    fn go_on(&mut self) {
        self.is_held = false;
        self.follow_rings();
        (0..NUM_QUEUES).for_each(|ring| self.serve(ring));
    }
}
