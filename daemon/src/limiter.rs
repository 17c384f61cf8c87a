//! Limits how often a log line that a guest can cause is written.

use std::time::{Duration, Instant};

/// Lets a burst through per period and counts the rest.
#[derive(Debug)]
pub struct Limiter {
    period: Duration,
    burst: u32,
    started: Option<Instant>,
    passed: u32,
    held_back: u64,
}

impl Limiter {
    /// At most `burst` lines per `period`.
    pub const fn new(period: Duration, burst: u32) -> Self {
        Self {
            period,
            burst,
            started: None,
            passed: 0,
            held_back: 0,
        }
    }

    /// Whether a line may be written now, and how many were held back since the last one.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if self
            .started
            .is_none_or(|started| now.duration_since(started) >= self.period)
        {
            self.started = Some(now);
            self.passed = 0;
        }
        if self.passed >= self.burst {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_passes_and_the_rest_is_counted_until_the_next_period() {
        let mut limiter = Limiter::new(Duration::from_secs(1), 2);
        let start = Instant::now();
        let passed: Vec<_> = (0..5).map(|_| limiter.pass(start)).collect();
        assert_eq!(passed, [Some(0), Some(0), None, None, None]);
        assert_eq!(limiter.pass(start + Duration::from_secs(1)), Some(3));
    }
}
