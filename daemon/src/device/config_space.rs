//! The configuration space, as the device and the VMM's requests share it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use coherd_protocol::gpu::Config;
use coherd_protocol::gpu::config::events_clear;

#[derive(Debug)]
struct State {
    config: Config,
    /// Events that the driver has read since they last occurred.
    read: u32,
}

/// See the module's description.
#[derive(Debug)]
pub struct ConfigSpace(Mutex<State>);

impl ConfigSpace {
    /// A space that reads as `config`.
    pub fn new(config: Config) -> Self {
        Self(Mutex::new(State { config, read: 0 }))
    }

    /// What the driver reads: `size` bytes from `offset`, zero beyond the structure.
    pub fn read(&self, offset: u32, size: u32) -> Vec<u8> {
        let mut state = self.lock();
        if offset == 0 {
            state.read = state.config.events_read.get();
        }
        state.config.read(offset, size)
    }

    /// What the driver writes. Only the clearing of events has an effect.
    ///
    /// An event that occurred again since the driver read it stays: Linux reads the event, then
    /// asks for the displays, then clears the event, and would miss a change in between.
    pub fn write(&self, offset: u32, bytes: &[u8]) {
        let mut state = self.lock();
        let cleared = events_clear(offset, bytes) & state.read;
        let left = state.config.events_read.get() & !cleared;
        state.config.events_read.set(left);
    }

    /// Notes that `events` occurred.
    pub fn raise(&self, events: u32) {
        let mut state = self.lock();
        let raised = state.config.events_read.get() | events;
        state.config.events_read.set(raised);
        state.read &= !events;
    }

    /// Events that occurred, and those of them that the driver has read.
    pub fn save(&self) -> (u32, u32) {
        let state = self.lock();
        (state.config.events_read.get(), state.read)
    }

    /// Has the events that [`ConfigSpace::save`] told of.
    pub fn load(&self, events: u32, read: u32) {
        let mut state = self.lock();
        state.config.events_read.set(events);
        state.read = read;
    }

    /// Forgets every event, as a reset of the device does.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.config.events_read.set(0);
        state.read = 0;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coherd_protocol::gpu::config::EVENT_DISPLAY;

    const DISPLAY: [u8; 4] = EVENT_DISPLAY.to_le_bytes();
    const NONE: [u8; 4] = [0; 4];

    #[test]
    fn event_is_there_until_the_driver_clears_it() {
        let space = ConfigSpace::new(Config::default());
        space.raise(EVENT_DISPLAY);
        assert_eq!(space.read(0, 4), DISPLAY);
        space.write(4, &NONE);
        assert_eq!(space.read(0, 4), DISPLAY);
        space.write(4, &DISPLAY);
        assert_eq!(space.read(0, 8), [0; 8]);
    }

    #[test]
    fn event_that_occurs_again_between_read_and_clear_stays() {
        let space = ConfigSpace::new(Config::default());
        space.raise(EVENT_DISPLAY);
        space.read(0, 4);
        space.raise(EVENT_DISPLAY);
        space.write(4, &DISPLAY);
        assert_eq!(space.read(0, 4), DISPLAY);
        space.write(4, &DISPLAY);
        assert_eq!(space.read(0, 4), NONE);
    }

    #[test]
    fn writes_elsewhere_change_nothing() {
        let config = Config {
            num_scanouts: 2.into(),
            ..Config::default()
        };
        let space = ConfigSpace::new(config);
        space.raise(EVENT_DISPLAY);
        space.read(0, 4);
        space.write(0, &[0xff; 4]);
        space.write(8, &[0xff; 100]);
        assert_eq!(space.read(0, 12), [DISPLAY, NONE, [2, 0, 0, 0]].concat());
    }

    #[test]
    fn reset_forgets_events() {
        let space = ConfigSpace::new(Config::default());
        space.raise(EVENT_DISPLAY);
        space.reset();
        assert_eq!(space.read(0, 4), NONE);
    }
}
