//! A lock that nobody waits for without end.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::patience::{Patience, PatienceError};

/// One thread at a time has its turn. What it does may block.
#[derive(Debug, Default)]
pub struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

/// Ends the turn when it is dropped.
#[derive(Debug)]
pub struct Taken<'a>(&'a Turn);

impl Turn {
    /// Waits for a turn.
    ///
    /// # Errors
    /// See [`PatienceError`].
    pub fn take(&self, patience: &Patience<'_>) -> Result<Taken<'_>, PatienceError> {
        let mut taken = self.lock();
        while *taken {
            let slice = patience.slice()?;
            taken = self
                .free
                .wait_timeout(taken, slice)
                .map_or_else(|poison| poison.into_inner().0, |(taken, _)| taken);
        }
        *taken = true;
        Ok(Taken(self))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn turn_that_is_taken_is_waited_for_until_the_deadline_and_is_free_afterwards() {
        let turn = Turn::default();
        let now = Patience::until(Instant::now());
        let first = turn.take(&now).unwrap();
        assert_eq!(turn.take(&now).unwrap_err(), PatienceError::TimedOut);
        drop(first);
        turn.take(&now).unwrap();
    }
}
