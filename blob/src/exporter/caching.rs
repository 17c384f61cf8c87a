//! How an mmap of an fd is cached, and what lies behind it, where the exporter does not decide it
//! alone.

use coherd_protocol::memory::MemoryProperties;

use super::Exporter;
use crate::memory_type::MapInfo;

/// What the allocator of memory says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Properties of the Vulkan memory type.
    pub properties: MemoryProperties,
    /// Whether the GPU shares the CPU's memory (VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU);
    /// `None` if nobody knows.
    pub integrated: Option<bool>,
}

/// What lies behind the pages of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Memory the kernel manages as RAM, however it is typed.
    Ram,
    /// A BAR of a device, video memory for one.
    Device,
}

/// How an mmap of an fd is cached, from its exporter and what its allocator says; `None` if the
/// two do not decide it.
///
/// | exporter | allocator | mmap |
/// |---|---|---|
/// | memfd, udmabuf, system heap | any | cached |
/// | i915 | integrated GPU | cached, even where vkMapMemory is write-combining |
/// | drm, i915 | HOST_VISIBLE with CACHED | cached |
/// | drm | HOST_VISIBLE, not CACHED | write-combining |
/// | i915 | HOST_VISIBLE and DEVICE_LOCAL, not CACHED, discrete GPU | write-combining |
/// | any other combination | | unknown |
///
/// A dma-buf of amdgpu or xe may move from video memory to RAM at a START with READ; this is what
/// it maps like where it was allocated.
pub fn fd_caching(exporter: &Exporter, allocator: Option<Allocated>) -> Option<MapInfo> {
    if let Some(caching) = exporter.mmap_caching() {
        return Some(caching);
    }
    let Allocated {
        properties,
        integrated,
    } = allocator?;
    if *exporter == Exporter::I915 && integrated == Some(true) {
        return Some(MapInfo::Cached);
    }
    let discrete_local =
        properties.contains(MemoryProperties::DEVICE_LOCAL) && integrated == Some(false);
    match exporter {
        _ if !properties.contains(MemoryProperties::HOST_VISIBLE) => None,
        Exporter::Drm | Exporter::I915 if properties.contains(MemoryProperties::HOST_CACHED) => {
            Some(MapInfo::Cached)
        }
        Exporter::Drm => Some(MapInfo::WriteCombining),
        Exporter::I915 if discrete_local => Some(MapInfo::WriteCombining),
        _ => None,
    }
}

impl Location {
    /// What lies behind an fd, or `None` if its exporter and allocator do not decide it.
    ///
    /// | exporter | allocator | location |
    /// |---|---|---|
    /// | memfd, udmabuf, system heap | any | RAM |
    /// | i915 | integrated GPU | RAM |
    /// | drm, i915 | discrete GPU, not DEVICE_LOCAL | RAM |
    /// | drm, i915 | discrete GPU, DEVICE_LOCAL, not CACHED | device |
    /// | drm | integrated GPU, CACHED | RAM |
    /// | any other combination, such as an APU's carve-out | | unknown |
    pub fn of(exporter: &Exporter, allocator: Option<Allocated>) -> Option<Self> {
        match exporter {
            Exporter::Memfd | Exporter::HugetlbMemfd | Exporter::Udmabuf | Exporter::SystemHeap => {
                return Some(Self::Ram);
            }
            Exporter::Other(_) => return None,
            Exporter::Drm | Exporter::I915 => {}
        }
        let Allocated {
            properties,
            integrated,
        } = allocator?;
        let local = properties.contains(MemoryProperties::DEVICE_LOCAL);
        let cached = properties.contains(MemoryProperties::HOST_CACHED);
        match integrated? {
            true if *exporter == Exporter::I915 || cached => Some(Self::Ram),
            false if !local => Some(Self::Ram),
            false if !cached => Some(Self::Device),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MapInfo::{Cached, WriteCombining};

    const LOCAL: MemoryProperties = MemoryProperties::DEVICE_LOCAL;
    const VISIBLE: MemoryProperties = MemoryProperties::HOST_VISIBLE;
    const COHERENT: MemoryProperties = MemoryProperties::HOST_COHERENT;
    const CACHED: MemoryProperties = MemoryProperties::HOST_CACHED;

    /// Everything an allocator can say, nothing included.
    fn allocators() -> impl Iterator<Item = Option<Allocated>> {
        let every = (0..16).flat_map(|bits| {
            [None, Some(false), Some(true)].map(|integrated| {
                Some(Allocated {
                    properties: MemoryProperties::from_bits(bits).unwrap(),
                    integrated,
                })
            })
        });
        every.chain([None])
    }

    fn ram() -> [Exporter; 4] {
        [
            Exporter::Memfd,
            Exporter::HugetlbMemfd,
            Exporter::Udmabuf,
            Exporter::SystemHeap,
        ]
    }

    fn other() -> Exporter {
        Exporter::Other("msm".into())
    }

    #[test]
    fn ram_maps_cached_whatever_the_allocator_says() {
        for exporter in ram() {
            assert_eq!(exporter.mmap_caching(), Some(Cached));
            for allocator in allocators() {
                assert_eq!(fd_caching(&exporter, allocator), Some(Cached));
                assert_eq!(Location::of(&exporter, allocator), Some(Location::Ram));
            }
        }
    }

    #[test]
    fn exporter_that_nobody_knows_decides_nothing() {
        assert_eq!(other().mmap_caching(), None);
        for allocator in allocators() {
            assert_eq!(fd_caching(&other(), allocator), None);
            assert_eq!(Location::of(&other(), allocator), None);
        }
    }

    #[test]
    fn drm_maps_as_it_was_allocated() {
        assert_eq!(Exporter::Drm.mmap_caching(), None);
        assert_eq!(fd_caching(&Exporter::Drm, None), None);
        for allocated in allocators().flatten() {
            let expected = match (
                allocated.properties.contains(VISIBLE),
                allocated.properties.contains(CACHED),
            ) {
                (false, _) => None,
                (true, true) => Some(Cached),
                (true, false) => Some(WriteCombining),
            };
            assert_eq!(
                fd_caching(&Exporter::Drm, Some(allocated)),
                expected,
                "{allocated:?}"
            );
        }
    }

    #[test]
    fn i915_maps_cached_unless_the_memory_is_on_a_card() {
        assert_eq!(Exporter::I915.mmap_caching(), None);
        assert_eq!(fd_caching(&Exporter::I915, None), None);
        for allocated in allocators().flatten() {
            let has = |property| allocated.properties.contains(property);
            let expected = match allocated.integrated {
                Some(true) => Some(Cached),
                _ if !has(VISIBLE) => None,
                _ if has(CACHED) => Some(Cached),
                Some(false) if has(LOCAL) => Some(WriteCombining),
                _ => None,
            };
            assert_eq!(
                fd_caching(&Exporter::I915, Some(allocated)),
                expected,
                "{allocated:?}"
            );
        }
    }

    #[test]
    fn common_gpus_have_the_types_they_are_known_for() {
        use Location::{Device, Ram};
        let amdgpu_vram = LOCAL | VISIBLE | COHERENT;
        let uswc = VISIBLE | COHERENT;
        let gtt = VISIBLE | COHERENT | CACHED;
        let unified = LOCAL | gtt;
        let table = [
            // (exporter, properties, integrated, mmap, location)
            (
                Exporter::Drm,
                amdgpu_vram,
                false,
                Some(WriteCombining),
                Some(Device),
            ),
            (Exporter::Drm, uswc, false, Some(WriteCombining), Some(Ram)),
            (Exporter::Drm, gtt, false, Some(Cached), Some(Ram)),
            (Exporter::Drm, unified, true, Some(Cached), Some(Ram)),
            // An APU's carve-out or its GTT.
            (Exporter::Drm, amdgpu_vram, true, Some(WriteCombining), None),
            // Coherent links make video memory cached.
            (Exporter::Drm, unified, false, Some(Cached), None),
            (
                Exporter::I915,
                amdgpu_vram,
                false,
                Some(WriteCombining),
                Some(Device),
            ),
            (Exporter::I915, gtt, false, Some(Cached), Some(Ram)),
            // The object is write-combining, its shmem file is not.
            (Exporter::I915, amdgpu_vram, true, Some(Cached), Some(Ram)),
            (Exporter::I915, unified, true, Some(Cached), Some(Ram)),
        ];
        for (exporter, properties, integrated, mmap, location) in table {
            let allocated = Some(Allocated {
                properties,
                integrated: Some(integrated),
            });
            let case = format!("{exporter} {properties:?} integrated: {integrated}");
            assert_eq!(fd_caching(&exporter, allocated), mmap, "{case}");
            assert_eq!(Location::of(&exporter, allocated), location, "{case}");
        }
    }

    #[test]
    fn place_is_unknown_without_the_kind_of_gpu() {
        for allocated in allocators() {
            if allocated.is_none_or(|allocated| allocated.integrated.is_none()) {
                assert_eq!(Location::of(&Exporter::Drm, allocated), None);
                assert_eq!(Location::of(&Exporter::I915, allocated), None);
            }
        }
    }
}
