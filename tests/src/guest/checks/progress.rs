//! Words from time to time.

use std::time::{Duration, Instant};

/// Says when enough time has passed since the last word.
#[derive(Debug)]
pub struct Ticker {
    interval: Duration,
    last: Instant,
}

impl Ticker {
    /// Starts to count an interval.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: Instant::now(),
        }
    }

    /// Whether the interval is over; if so, the next begins.
    pub fn due(&mut self) -> bool {
        let due = self.last.elapsed() >= self.interval;
        if due {
            self.last = Instant::now();
        }
        due
    }
}

/// Time spent at work, in which a pause of the whole machine does not count.
#[derive(Debug)]
pub struct WorkClock {
    last: Instant,
    spent: Duration,
}

/// No single step takes longer unless the machine stood still.
const LONGEST_STEP: Duration = Duration::from_millis(500);

impl WorkClock {
    /// Starts at zero.
    pub fn new() -> Self {
        Self {
            last: Instant::now(),
            spent: Duration::ZERO,
        }
    }

    /// Counts the time since the last step, and returns all that was counted.
    pub fn step(&mut self) -> Duration {
        let now = Instant::now();
        self.spent += now.duration_since(self.last).min(LONGEST_STEP);
        self.last = now;
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_without_interval_is_always() {
        let mut ticker = Ticker::new(Duration::ZERO);
        assert!(ticker.due() && ticker.due());
    }

    #[test]
    fn step_after_a_pause_counts_little() {
        let mut clock = WorkClock::new();
        clock.last = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        assert_eq!(clock.step(), LONGEST_STEP);
    }
}
