//! What contexts may have so much of, counted where several threads give it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there are, in the VM and in one context.
#[derive(Clone, Debug, Default)]
pub struct Gauge {
    vm: Arc<AtomicUsize>,
    context: Arc<AtomicUsize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Slot(Gauge);

impl Gauge {
    /// The gauge of another context of the same VM.
    pub fn of_context(&self) -> Self {
        Self {
            vm: Arc::clone(&self.vm),
            context: Arc::default(),
        }
    }

    /// How many the VM has and how many the context has.
    pub fn counts(&self) -> (usize, usize) {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (count(&self.vm), count(&self.context))
    }

    /// One more.
    pub fn take(&self) -> Slot {
        for count in [&self.vm, &self.context] {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Slot(self.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        for count in [&self.0.vm, &self.0.context] {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_count_for_their_context_and_the_vm_until_they_are_dropped() {
        let one = Gauge::default();
        let other = one.of_context();
        let slot = one.take();
        let kept = other.take();
        assert_eq!(one.counts(), (2, 1));
        drop(slot);
        assert_eq!((one.counts(), other.counts()), ((1, 0), (1, 1)));
        drop(kept);
        assert_eq!(other.counts(), (0, 0));
    }
}
