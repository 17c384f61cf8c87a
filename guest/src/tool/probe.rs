//! Mapped memory of each type, to be measured.

use crate::tool::measure::Subject;
use crate::tool::traps::{Entry, Facts};
use crate::tool::{one_line, words};
use crate::{Allocation, AllocationRequest, Context, Mapping, MemoryProperties, MemoryType};

/// A mapped allocation of a type.
#[derive(Debug)]
pub struct Probe {
    /// The type that it is of.
    pub kind: MemoryType,
    /// The memory.
    pub allocation: Allocation,
    /// Where it is.
    pub mapping: Mapping,
    /// How the kernel mapped it, in its words, if that can be seen.
    pub kernel: Option<String>,
}

impl Probe {
    /// Allocates and maps memory of exactly this type. A refusal is returned in words.
    fn new(context: &Context, kind: MemoryType, size: u64, facts: &Facts) -> Result<Self, String> {
        let allocation = allocate(context, kind, size)?;
        let before = facts.mapped();
        let mapping = allocation.map().map_err(|error| one_line(&error))?;
        let after = facts.mapped();
        Ok(Self {
            kind,
            allocation,
            mapping,
            kernel: before
                .zip(after)
                .and_then(|(before, after)| added(&before, &after)),
        })
    }

    /// What is measured.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            bytes: self.mapping.without_sync(),
            plain: self.mapping.without_sync().cached(),
        }
    }
}

/// Memory of exactly this type.
pub fn allocate(context: &Context, kind: MemoryType, size: u64) -> Result<Allocation, String> {
    let request = AllocationRequest::new(size, kind.properties);
    let allocation = context
        .allocate(&request)
        .map_err(|error| one_line(&error))?;
    let got = allocation.memory().properties;
    if got != kind.properties {
        return Err(instead(got));
    }
    Ok(allocation)
}

/// Why there is no memory of a type.
pub fn instead(got: MemoryProperties) -> String {
    format!(
        "the host gives {} instead, perhaps by its --on-type-mismatch",
        words::properties(got)
    )
}

/// The type of the one mapping that came into the kernel's list.
fn added(before: &[Entry], after: &[Entry]) -> Option<String> {
    let mut known = before.to_vec();
    let mut new = after.iter().filter(|entry| {
        let place = known.iter().position(|other| other == *entry);
        place.map(|place| known.swap_remove(place)).is_none()
    });
    let entry = new.next()?;
    Some(entry.kind.clone())
}

/// A probe of every mappable type that is not like another, and why there is none of the others.
pub fn all(context: &Context, size: u64, facts: &Facts) -> (Vec<Probe>, Vec<(MemoryType, String)>) {
    let (mut probes, mut missing) = (Vec::new(), Vec::new());
    for kind in words::distinct(&context.host().types) {
        if kind.caching.is_none() {
            missing.push((kind, "not mappable".to_owned()));
            continue;
        }
        match Probe::new(context, kind, size, facts) {
            Ok(probe) => probes.push(probe),
            Err(reason) => missing.push((kind, reason)),
        }
    }
    (probes, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeHost;

    fn entry(start: u64, kind: &str) -> Entry {
        Entry {
            start,
            end: start + 4096,
            kind: kind.into(),
        }
    }

    #[test]
    fn new_entry_of_the_kernels_list_is_the_mapping() {
        let before = [entry(0, "write-back"), entry(4096, "write-back")];
        let after = [
            before[1].clone(),
            entry(8192, "uncached-minus"),
            before[0].clone(),
        ];
        assert_eq!(added(&before, &after).as_deref(), Some("uncached-minus"));
        assert_eq!(added(&before, &before), None);
    }

    #[test]
    fn every_mappable_type_has_a_probe_and_the_others_a_reason() {
        let context = FakeHost::new().open();
        let (probes, missing) = all(&context, 65536, &Facts::default());
        assert_eq!(probes.len(), 4);
        assert!(probes.iter().all(|probe| probe.mapping.len() == 65536));
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].1, "not mappable");
    }
}
