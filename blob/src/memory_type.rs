//! Memory types: how memory is cached, and whether that is coherent with the device.

use std::fmt;

use coherd_protocol::memory::MemoryProperties;

/// `map_info` of a MAP_BLOB answer, VIRTIO 1.4 section 5.7.6.8: the cacheability that the guest's
/// page tables must use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

impl fmt::Display for MapInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cached => "cached",
            Self::Uncached => "uncached",
            Self::WriteCombining => "write-combining",
        })
    }
}

/// The type of a blob's memory: what vkMapMemory of its allocator gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryType {
    /// How the CPU caches it; what the guest is told.
    pub caching: MapInfo,
    /// Whether CPU and device see each other's writes without flush or invalidate.
    pub coherent: bool,
}

impl MemoryType {
    /// Plain shared memory: cached and coherent.
    pub const RAM: Self = Self {
        caching: MapInfo::Cached,
        coherent: true,
    };

    /// The type of Vulkan memory with these properties, or `None` if the CPU cannot map it.
    ///
    /// | HOST_VISIBLE with | caching | coherent |
    /// |---|---|---|
    /// | COHERENT and CACHED | cached | yes |
    /// | COHERENT | write-combining | yes |
    /// | CACHED | cached | no |
    /// | neither | write-combining | no |
    pub fn from_properties(properties: MemoryProperties) -> Option<Self> {
        let caching = if properties.contains(MemoryProperties::HOST_CACHED) {
            MapInfo::Cached
        } else {
            MapInfo::WriteCombining
        };
        properties
            .contains(MemoryProperties::HOST_VISIBLE)
            .then_some(Self {
                caching,
                coherent: properties.contains(MemoryProperties::HOST_COHERENT),
            })
    }

    /// Whether accesses through a mapping of this very type need brackets.
    pub fn needs_brackets(self) -> bool {
        !self.coherent
    }

    /// Whether accesses through a mapping cached as `mapping` need brackets. A mapping that is
    /// cached otherwise than the memory, or nobody knows how, needs them too.
    pub fn needs_brackets_through(self, mapping: Option<MapInfo>) -> bool {
        self.needs_brackets() || mapping != Some(self.caching)
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

    #[test]
    fn every_set_of_vulkan_properties_has_its_type() {
        use MapInfo::{Cached, WriteCombining};
        let (coherent, cached) = (
            MemoryProperties::HOST_COHERENT,
            MemoryProperties::HOST_CACHED,
        );
        let table = [
            (coherent | cached, Cached, true),
            (coherent, WriteCombining, true),
            (cached, Cached, false),
            (MemoryProperties::empty(), WriteCombining, false),
        ];
        for device_local in [MemoryProperties::empty(), MemoryProperties::DEVICE_LOCAL] {
            for (properties, caching, coherent) in table {
                let properties = properties | device_local;
                let visible = properties | MemoryProperties::HOST_VISIBLE;
                assert_eq!(
                    MemoryType::from_properties(visible),
                    Some(MemoryType { caching, coherent }),
                    "{visible:?}"
                );
                assert_eq!(MemoryType::from_properties(properties), None);
            }
        }
    }

    #[test]
    fn brackets_are_needed_unless_memory_is_coherent_and_mapped_as_it_is() {
        let mappings = [
            None,
            Some(MapInfo::Cached),
            Some(MapInfo::Uncached),
            Some(MapInfo::WriteCombining),
        ];
        for caching in mappings.into_iter().flatten() {
            for coherent in [false, true] {
                let memory = MemoryType { caching, coherent };
                assert_eq!(memory.needs_brackets(), !coherent);
                for mapping in mappings {
                    assert_eq!(
                        memory.needs_brackets_through(mapping),
                        !(coherent && mapping == Some(caching)),
                        "{memory:?} through {mapping:?}"
                    );
                }
            }
        }
    }
}
