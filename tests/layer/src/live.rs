//! How many Vulkan objects there are that went through the layer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Objects created less those destroyed, by type. A destruction can only follow a creation, but
/// the two may be counted in either order.
static LIVE: Mutex<BTreeMap<&'static str, i64>> = Mutex::new(BTreeMap::new());

fn live() -> MutexGuard<'static, BTreeMap<&'static str, i64>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts an object, for example a `VkBuffer`.
pub fn created(kind: &'static str) {
    *live().entry(kind).or_default() += 1;
}

/// Counts an object no more.
pub fn destroyed(kind: &'static str) {
    *live().entry(kind).or_default() -= 1;
}

/// All that live.
pub fn count() -> u64 {
    let sum: i64 = live().values().sum();
    u64::try_from(sum).unwrap_or(0)
}

/// What lives, for a person: `2 VkBuffer, 1 VkDevice`.
pub fn describe() -> String {
    let mut text = String::new();
    for (kind, count) in live().iter().filter(|(_, count)| **count != 0) {
        let comma = if text.is_empty() { "" } else { ", " };
        // A String takes whatever is written.
        let _ = write!(text, "{comma}{count} {kind}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_describes() {
        created("VkBuffer");
        created("VkDevice");
        created("VkBuffer");
        assert_eq!(
            (count(), describe().as_str()),
            (3, "2 VkBuffer, 1 VkDevice")
        );
        destroyed("VkDevice");
        destroyed("VkBuffer");
        destroyed("VkBuffer");
        assert_eq!((count(), describe().as_str()), (0, ""));
    }
}
