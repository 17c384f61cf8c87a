//! State that one thread updates and others wait on.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A value with a way to wait until it satisfies a question.
#[derive(Debug, Default)]
pub struct Mailbox<T> {
    state: Mutex<T>,
    changed: Condvar,
}

impl<T> Mailbox<T> {
    /// Changes the value and wakes those who wait.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        self.changed.notify_all();
        result
    }

    /// Waits until `question` has an answer; None when `timeout` passes first.
    pub fn wait<R>(
        &self,
        timeout: Duration,
        mut question: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(answer) = question(&mut state) {
                return Some(answer);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_ends_the_wait() {
        let mailbox = Mailbox::<u32>::default();
        let answer = std::thread::scope(|scope| {
            scope.spawn(|| mailbox.update(|state| *state = 3));
            mailbox.wait(Duration::from_secs(10), |state| {
                (*state == 3).then_some(*state)
            })
        });
        assert_eq!(answer, Some(3));
    }

    #[test]
    fn a_wait_has_an_end() {
        let mailbox = Mailbox::<u32>::default();
        assert_eq!(mailbox.wait(Duration::from_millis(1), |_| None::<()>), None);
    }
}
