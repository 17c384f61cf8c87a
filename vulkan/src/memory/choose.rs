//! The choice of a memory type.

use coherd_protocol::memory::MemoryProperties;

use crate::facts::TypeFacts;

/// The types of `allowed` (a bit for each index) that have the required properties, the best
/// first: those with the most of the preferred ones, then with the fewest that nobody asked for,
/// then in the driver's order, which is its order of speed.
pub fn rank(
    types: &[TypeFacts],
    allowed: u32,
    required: MemoryProperties,
    preferred: MemoryProperties,
) -> Vec<TypeFacts> {
    let mut ranked: Vec<TypeFacts> = types
        .iter()
        .filter(|ty| allows(allowed, ty) && ty.properties.contains(required))
        .copied()
        .collect();
    ranked.sort_by_key(|ty| {
        let missing = preferred.difference(ty.properties);
        let extra = ty.properties.difference(required | preferred);
        (missing.bits().count_ones(), extra.bits().count_ones())
    });
    ranked
}

/// Whether the bit of `ty` is set in `allowed`.
pub fn allows(allowed: u32, ty: &TypeFacts) -> bool {
    allowed.checked_shr(ty.index).unwrap_or(0) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: MemoryProperties = MemoryProperties::DEVICE_LOCAL;
    const VISIBLE: MemoryProperties = MemoryProperties::HOST_VISIBLE;
    const COHERENT: MemoryProperties = MemoryProperties::HOST_COHERENT;
    const CACHED: MemoryProperties = MemoryProperties::HOST_CACHED;

    /// A GPU's usual types, and an incoherent one.
    fn types() -> Vec<TypeFacts> {
        [
            LOCAL,
            VISIBLE | COHERENT,
            VISIBLE | COHERENT | CACHED,
            LOCAL | VISIBLE | COHERENT,
            VISIBLE | CACHED,
        ]
        .into_iter()
        .zip(0..)
        .map(|(properties, index)| TypeFacts {
            index,
            heap: 0,
            properties,
        })
        .collect()
    }

    fn best(required: MemoryProperties, preferred: MemoryProperties) -> Option<u32> {
        rank(&types(), u32::MAX, required, preferred)
            .first()
            .map(|ty| ty.index)
    }

    #[test]
    fn required_properties_decide_whether() {
        assert_eq!(best(LOCAL | CACHED, LOCAL), None);
        assert_eq!(best(LOCAL | VISIBLE, MemoryProperties::empty()), Some(3));
    }

    #[test]
    fn preferred_properties_decide_which() {
        assert_eq!(best(VISIBLE, COHERENT | CACHED), Some(2));
        assert_eq!(best(VISIBLE, LOCAL), Some(3));
    }

    #[test]
    fn properties_nobody_asked_for_are_avoided() {
        assert_eq!(best(VISIBLE, MemoryProperties::empty()), Some(1));
        assert_eq!(best(VISIBLE | CACHED, MemoryProperties::empty()), Some(4));
        assert_eq!(best(LOCAL, MemoryProperties::empty()), Some(0));
    }

    #[test]
    fn every_type_with_the_required_properties_is_ranked() {
        let ranked = rank(&types(), u32::MAX, VISIBLE, CACHED);
        let indices: Vec<u32> = ranked.iter().map(|ty| ty.index).collect();
        assert_eq!(indices, [4, 2, 1, 3]);
    }

    #[test]
    fn types_the_memory_cannot_have_are_left_out() {
        let ranked = rank(&types(), 0b0_1010, VISIBLE, CACHED);
        let indices: Vec<u32> = ranked.iter().map(|ty| ty.index).collect();
        assert_eq!(indices, [1, 3]);
    }
}
