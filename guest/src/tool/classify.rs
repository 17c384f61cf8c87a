//! What memory is, by how fast it is.
//!
//! Cached memory is about as fast as ordinary memory, both ways. Write-combining memory collects
//! stores, so that these are about as fast, while each load goes to memory; loads past the cache
//! fetch whole lines from it and are several times faster. Uncached memory is slow both ways, and
//! in every way. An order of magnitude lies between fast and slow, so that the limits need not be
//! exact; what falls between them is not told.

use serde::Serialize;

use crate::Caching;

/// From this part of ordinary memory's loads on they are cached.
const CACHED_LOADS: f64 = 0.4;

/// Below this part they are not.
const SLOW_LOADS: f64 = 0.25;

/// From this part of ordinary memory's stores on they are collected.
const COLLECTED_STORES: f64 = 0.1;

/// Loads past the cache that are so much faster than others fetch lines.
const STREAMING_GAIN: f64 = 2.5;

/// Bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bandwidth {
    /// Of loads.
    pub load: f64,
    /// Of stores.
    pub store: f64,
    /// Of loads past the cache; the same as others where the processor has none.
    pub streaming_load: f64,
}

/// What memory seems to be; `None` if that cannot be told.
pub fn classify(subject: &Bandwidth, ordinary: &Bandwidth) -> Option<Caching> {
    let all = [
        subject.load,
        subject.store,
        subject.streaming_load,
        ordinary.load,
        ordinary.store,
    ];
    if !all.into_iter().all(|rate| rate.is_finite() && rate > 0.0) {
        return None;
    }
    let loads = subject.load / ordinary.load;
    let stores = subject.store / ordinary.store;
    let streams = subject.streaming_load / subject.load >= STREAMING_GAIN;
    let collects = stores >= COLLECTED_STORES;
    match () {
        () if loads >= CACHED_LOADS && collects => Some(Caching::Cached),
        () if loads >= SLOW_LOADS => None,
        () if collects || streams => Some(Caching::WriteCombining),
        () => Some(Caching::Uncached),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: f64 = 1e9;

    const ORDINARY: Bandwidth = Bandwidth {
        load: 10.0 * GB,
        store: 8.0 * GB,
        streaming_load: 10.0 * GB,
    };

    fn class(load: f64, store: f64, streaming_load: f64) -> Option<Caching> {
        let subject = Bandwidth {
            load: load * GB,
            store: store * GB,
            streaming_load: streaming_load * GB,
        };
        classify(&subject, &ORDINARY)
    }

    #[test]
    fn as_fast_as_ordinary_memory_is_cached() {
        assert_eq!(class(9.8, 7.9, 9.7), Some(Caching::Cached));
        assert_eq!(class(5.0, 4.0, 5.0), Some(Caching::Cached), "small pages");
        assert_eq!(class(14.0, 9.0, 14.0), Some(Caching::Cached), "large pages");
    }

    #[test]
    fn fast_stores_and_slow_loads_are_write_combining() {
        assert_eq!(
            class(0.15, 9.0, 1.8),
            Some(Caching::WriteCombining),
            "memory"
        );
        assert_eq!(
            class(0.03, 1.6, 0.2),
            Some(Caching::WriteCombining),
            "behind PCIe"
        );
        assert_eq!(
            class(0.15, 9.0, 0.15),
            Some(Caching::WriteCombining),
            "no streaming loads"
        );
    }

    #[test]
    fn streaming_loads_tell_write_combining_behind_a_slow_bus() {
        assert_eq!(class(0.02, 0.5, 0.15), Some(Caching::WriteCombining));
        assert_eq!(class(0.02, 0.5, 0.02), Some(Caching::Uncached));
    }

    #[test]
    fn slow_both_ways_is_uncached() {
        assert_eq!(class(0.1, 0.2, 0.1), Some(Caching::Uncached));
        assert_eq!(class(0.3, 0.3, 0.31), Some(Caching::Uncached));
    }

    #[test]
    fn what_fits_nothing_is_not_told() {
        assert_eq!(class(3.0, 8.0, 3.0), None, "between");
        assert_eq!(class(10.0, 0.1, 10.0), None, "only stores are slow");
        assert_eq!(class(0.0, 8.0, 8.0), None);
        assert_eq!(class(f64::NAN, 8.0, 8.0), None);
        assert_eq!(class(f64::INFINITY, 8.0, 8.0), None);
    }
}
