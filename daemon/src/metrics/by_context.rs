//! Counters by the name of a context.
//!
//! A guest chooses names as it likes, and each that is told is kept for good here and by whoever
//! collects metrics: only so many count by themselves.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::registered;

/// Names that are told apart.
const MAX_NAMES: usize = 64;

/// Counts for all others. No name of a context has a space.
const OTHERS: &str = "other contexts";

type Labels = [(&'static str, String); 1];

/// See the module's description.
#[derive(Debug)]
pub struct ByContext {
    family: Family<Labels, Counter>,
    known: Mutex<HashMap<String, Counter>>,
}

impl ByContext {
    pub(super) fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        Self {
            family: registered(registry, name, help),
            known: Mutex::default(),
        }
    }

    /// Counts one for contexts with this name.
    pub fn count(&self, name: &str) {
        let mut known = self.lock();
        let is_apart = known.contains_key(name) || known.len() < MAX_NAMES;
        let name = if is_apart { name } else { OTHERS };
        let counter = known.entry(name.to_owned()).or_insert_with(|| {
            self.family
                .get_or_create_owned(&[("context", name.to_owned())])
        });
        counter.inc();
    }

    /// The count of all contexts together.
    pub fn total(&self) -> u64 {
        self.lock().values().map(Counter::get).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Counter>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn names_of_a_guest_that_makes_them_up_have_a_bound() {
        let mut registry = Registry::default();
        let hangs = ByContext::register(&mut registry, "hangs", "Hangs");
        for number in 0..1000 {
            hangs.count(&format!("name{number}"));
        }
        hangs.count("name0");

        let text = text(&registry);

        assert_eq!(text.matches("context=").count(), MAX_NAMES + 1);
        assert!(
            text.contains("hangs_total{context=\"name0\"} 2\n"),
            "{text}"
        );
        let others = format!("hangs_total{{context=\"{OTHERS}\"}} {}\n", 1000 - MAX_NAMES);
        assert!(text.contains(&others), "{text}");
        assert_eq!(hangs.total(), 1001);
    }

    #[test]
    fn name_cannot_end_its_label() {
        let mut registry = Registry::default();
        let hangs = ByContext::register(&mut registry, "hangs", "Hangs");
        hangs.count("a\"}\\");
        let text = text(&registry);
        assert!(text.contains(r#"{context="a\"}\\"} 1"#), "{text}");
    }
}
