//! When the service manager has to hear that this process is alive.

use std::time::{Duration, Instant};

use rustix::event::Timespec;

/// Questions to the device thread in the time in which the service manager wants one answer.
const SHARE: u32 = 3;

/// Asks at regular times; never, if the service manager does not want to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watchdog(Option<Regular>);

#[derive(Clone, Copy, Debug)]
struct Regular {
    period: Duration,
    due: Instant,
}

impl Watchdog {
    /// A watchdog for a service manager that wants to hear something so often, at least.
    pub fn new(interval: Option<Duration>) -> Self {
        Self(interval.map(|interval| Regular {
            period: interval / SHARE,
            due: Instant::now(),
        }))
    }

    /// How long one may sleep.
    pub fn patience(&self) -> Option<Timespec> {
        let left = |regular: &Regular| regular.due.saturating_duration_since(Instant::now());
        self.0.as_ref().map(left).map(timespec)
    }

    /// Whether it is time to ask. It is once, until the next time.
    pub fn is_due(&mut self) -> bool {
        let now = Instant::now();
        match &mut self.0 {
            Some(regular) if regular.due <= now => {
                regular.due = now + regular.period;
                true
            }
            _ => false,
        }
    }
}

/// As poll takes it.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_is_due_once_at_a_time() {
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(3600)));
        assert!(watchdog.is_due());
        assert!(!watchdog.is_due());
        let patience = watchdog.patience().unwrap();
        assert!(patience.tv_sec > 1000 && patience.tv_sec <= 1200);
    }

    #[test]
    fn without_a_service_manager_nobody_is_asked() {
        let mut watchdog = Watchdog::new(None);
        assert!(!watchdog.is_due());
        assert_eq!(watchdog.patience(), None);
    }
}
