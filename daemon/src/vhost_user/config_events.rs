//! Events in the configuration space, and the interrupts that tell the guest of them.

use std::sync::Arc;

use tracing::{debug, warn};

use super::back_channel::{BackChannel, BackChannelError};
use crate::device::config_space::ConfigSpace;

/// Raises events. Belongs to the device thread, which may wait for the VMM.
pub struct ConfigEvents {
    space: Arc<ConfigSpace>,
    channel: Arc<BackChannel>,
    /// An interrupt is due as soon as the device runs.
    due: bool,
    /// The VMM has refused once, and is not asked again.
    refused: bool,
}

impl ConfigEvents {
    /// Events of `space`, of which the VMM is told on `channel`.
    pub fn new(space: Arc<ConfigSpace>, channel: Arc<BackChannel>) -> Self {
        Self {
            space,
            channel,
            due: false,
            refused: false,
        }
    }

    /// Notes `events` and interrupts the guest, now or when the device runs again.
    pub fn raise(&mut self, events: u32) {
        self.space.raise(events);
        self.due = true;
        self.interrupt();
    }

    /// The events of the space, to be saved.
    pub fn save(&self) -> (u32, u32) {
        self.space.save()
    }

    /// Takes events that were saved. The guest is interrupted for them once more.
    pub fn load(&mut self, events: u32, read: u32) {
        self.space.load(events, read);
        self.due = events != 0;
    }

    /// The device runs again: sends the interrupt that is due.
    pub fn resume(&mut self) {
        if self.due {
            self.interrupt();
        }
    }

    /// A new driver begins. It reads the configuration anyway.
    pub fn reset(&mut self) {
        self.space.reset();
        self.due = false;
    }

    /// Another front-end takes the place of the one that may have refused.
    pub fn forget_front_end(&mut self) {
        self.refused = false;
    }

    fn interrupt(&mut self) {
        if self.refused {
            return;
        }
        match self.channel.config_changed() {
            Ok(()) => self.due = false,
            Err(BackChannelError::Stopped) => debug!("interrupt waits for the device to run"),
            Err(BackChannelError::Refused(_)) => {
                self.refused = true;
                warn!("front-end does not interrupt its guest for a new configuration");
            }
            Err(error) => {
                self.due = false;
                warn!(%error, "guest is not told that the configuration changed");
            }
        }
    }
}
