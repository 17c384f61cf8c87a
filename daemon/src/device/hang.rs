//! Work that the GPU does not get done.
//!
//! A fence that is the first of its ring for longer than a guest is allowed tells of a hang: of a
//! shader that never ends, of a driver that is stuck, or of a program that waits for something that
//! does not happen. Nobody can tell these apart, so what is done about it is the user's choice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fence::Ring;

/// What is done about a context that hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HangAction {
    /// Tell of it in the log, and let it hang
    #[default]
    Log,
    /// End the context, as if its program had crashed the GPU; everything else goes on
    KillContext,
    /// End coherd, and so the VM's graphics
    KillVm,
}

/// Which fences are too late, and what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HangPolicy {
    /// How long a fence may be the next of its ring; `None` for as long as it likes.
    pub timeout: Option<Duration>,
    /// What is done about it.
    pub action: HangAction,
}

impl HangPolicy {
    /// Longer than any frame, and than the kernel's drivers let a GPU hang.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// How often one has to look.
    pub fn period(&self) -> Option<Duration> {
        self.timeout
            .map(|timeout| (timeout / 4).clamp(SHORTEST, LONGEST))
    }
}

impl Default for HangPolicy {
    fn default() -> Self {
        Self {
            timeout: Some(Self::DEFAULT_TIMEOUT),
            action: HangAction::default(),
        }
    }
}

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// The first fence of a ring.
#[derive(Clone, Copy, Debug)]
struct Front {
    number: u64,
    since: Instant,
    is_told: bool,
}

/// The fences that were first at the last look. Looking is all that this costs: commands and
/// signals know nothing of it.
#[derive(Debug, Default)]
pub struct HangWatch {
    fronts: BTreeMap<Ring, Front>,
}

impl HangWatch {
    /// Looks at the first fences of all rings, and returns the contexts that hang. Each hang is
    /// told once.
    pub fn look(
        &mut self,
        fences: impl Iterator<Item = (Ring, u64)>,
        timeout: Duration,
        now: Instant,
    ) -> Vec<u32> {
        let mut fronts = BTreeMap::new();
        let mut hanging = Vec::new();
        for (ring, number) in fences {
            let same = self.fronts.get(&ring).copied();
            let mut front = same
                .filter(|front| front.number == number)
                .unwrap_or(Front {
                    number,
                    since: now,
                    is_told: false,
                });
            if !front.is_told && now.saturating_duration_since(front.since) >= timeout {
                front.is_told = true;
                if hanging.last() != Some(&ring.0) {
                    hanging.push(ring.0);
                }
            }
            fronts.insert(ring, front);
        }
        self.fronts = fronts;
        hanging
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn fence_that_stays_first_is_told_once() {
        let (mut watch, start) = (HangWatch::default(), Instant::now());
        let mut look = |seconds, fences: &[(Ring, u64)]| {
            let now = start + Duration::from_secs(seconds);
            watch.look(fences.iter().copied(), TIMEOUT, now)
        };
        assert!(look(0, &[((1, 0), 7)]).is_empty());
        assert!(look(9, &[((1, 0), 7)]).is_empty());
        assert_eq!(look(10, &[((1, 0), 7)]), [1]);
        assert!(look(30, &[((1, 0), 7)]).is_empty());
    }

    #[test]
    fn ring_that_makes_progress_does_not_hang_however_long_it_is_busy() {
        let (mut watch, start) = (HangWatch::default(), Instant::now());
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            let fences = [((1, 0), second / 9), ((2, 0), 1)];
            let hanging = watch.look(fences.into_iter(), TIMEOUT, now);
            assert_eq!(hanging.contains(&2), second == 10);
            assert!(!hanging.contains(&1));
        }
    }

    #[test]
    fn context_with_several_rings_that_hang_is_told_once() {
        let (mut watch, start) = (HangWatch::default(), Instant::now());
        let fences = [((1, 0), 1), ((1, 1), 2), ((3, 0), 3)];
        watch.look(fences.into_iter(), TIMEOUT, start);
        let hanging = watch.look(fences.into_iter(), TIMEOUT, start + TIMEOUT);
        assert_eq!(hanging, [1, 3]);
    }

    #[test]
    fn one_looks_often_enough_to_tell_in_time() {
        let period = |timeout| {
            HangPolicy {
                timeout,
                ..HangPolicy::default()
            }
            .period()
        };
        assert_eq!(period(None), None);
        assert_eq!(
            period(Some(Duration::from_millis(200))),
            Some(Duration::from_millis(50))
        );
        assert_eq!(period(Some(Duration::from_secs(600))), Some(LONGEST));
    }
}
