//! Memory in words.

use crate::{MemoryProperties, MemoryType};

/// Short names of properties.
pub fn properties(properties: MemoryProperties) -> String {
    let names = [
        (MemoryProperties::DEVICE_LOCAL, "device-local"),
        (MemoryProperties::HOST_VISIBLE, "visible"),
        (MemoryProperties::HOST_COHERENT, "coherent"),
        (MemoryProperties::HOST_CACHED, "cached"),
    ];
    let names: Vec<_> = names
        .into_iter()
        .filter(|(bit, _)| properties.contains(*bit))
        .map(|(_, name)| name)
        .collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join("+"),
    }
}

/// A type by its number and properties.
pub fn memory_type(kind: &MemoryType) -> String {
    format!("type {} ({})", kind.index, properties(kind.properties))
}

/// The first of the types that are the same to a guest, each.
pub fn distinct(types: &[MemoryType]) -> Vec<MemoryType> {
    let mut found: Vec<MemoryType> = Vec::new();
    for kind in types {
        if !found
            .iter()
            .any(|other| other.properties == kind.properties)
        {
            found.push(*kind);
        }
    }
    found
}

/// Bytes with a unit.
pub fn bytes(number: u64) -> String {
    let units = [
        (1u64 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    match units
        .into_iter()
        .find(|(unit, _)| number >= *unit && number.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{} {name}", number / unit),
        None => format!("{number} B"),
    }
}

/// Bytes a second in 10⁹.
pub fn gigabytes(rate: f64) -> String {
    match rate {
        rate if rate >= 1e10 => format!("{:.1}", rate / 1e9),
        rate if rate >= 1e8 => format!("{:.2}", rate / 1e9),
        rate => format!("{:.4}", rate / 1e9),
    }
}

/// A format's letters, `drm_fourcc.h`.
pub fn fourcc(code: u32) -> String {
    let letters = code.to_le_bytes();
    match letters.iter().all(u8::is_ascii_graphic) {
        true => letters.iter().map(|byte| char::from(*byte)).collect(),
        false => format!("{code:#010x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_that_people_use() {
        assert_eq!(bytes(4096), "4 KiB");
        assert_eq!(bytes(6 << 30), "6 GiB");
        assert_eq!(bytes(4097), "4097 B");
        assert_eq!(gigabytes(12.34e9), "12.3");
        assert_eq!(gigabytes(1.234e9), "1.23");
        assert_eq!(gigabytes(12.3e6), "0.0123");
        assert_eq!(fourcc(u32::from_le_bytes(*b"XR24")), "XR24");
        assert_eq!(fourcc(7), "0x00000007");
        assert_eq!(properties(MemoryProperties::empty()), "none");
        let both = MemoryProperties::HOST_VISIBLE | MemoryProperties::HOST_CACHED;
        assert_eq!(properties(both), "visible+cached");
    }
}
