//! Memory types as a guest is told about them.

/// `map_info` of a MAP_BLOB answer, VIRTIO 1.4 section 5.7.6.8: the cacheability that the guest's
/// page tables must use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum MapInfo {
    /// Cached, write-back.
    Cached = 1,
    /// Uncached.
    Uncached = 2,
    /// Write-combining.
    WriteCombining = 3,
}

impl MapInfo {
    /// The bits of a renderer's value that hold the cacheability. Renderers put access bits
    /// beside them, and Linux compares the whole word.
    const CACHE_MASK: u32 = 0x0f;

    /// The cacheability in a renderer's `map_info`, or `None` where the renderer gave none.
    pub fn from_renderer(raw: u32) -> Option<Self> {
        match raw & Self::CACHE_MASK {
            1 => Some(Self::Cached),
            2 => Some(Self::Uncached),
            3 => Some(Self::WriteCombining),
            _ => None,
        }
    }

    /// The exact word for the guest.
    pub fn to_wire(self) -> u32 {
        self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_bits_never_reach_the_guest() {
        assert_eq!(MapInfo::from_renderer(0x31).map(MapInfo::to_wire), Some(1));
        assert_eq!(MapInfo::from_renderer(0x12).map(MapInfo::to_wire), Some(2));
        assert_eq!(MapInfo::from_renderer(0x33).map(MapInfo::to_wire), Some(3));
    }

    #[test]
    fn values_without_a_cacheability_are_none() {
        for raw in [0, 0x30, 4, 0x0f, 0x3e] {
            assert_eq!(MapInfo::from_renderer(raw), None);
        }
    }
}
