//! Which memory types the layer adds, and what stands behind them in the driver.

use ash::vk;
use ash::vk::MemoryPropertyFlags as Flags;

/// What a memory type index of the application's means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A type of the driver.
    Driver,
    /// HOST_VISIBLE and HOST_CACHED, not HOST_COHERENT: each side sees the other's writes after a
    /// flush or invalidate.
    Incoherent,
    /// HOST_VISIBLE and HOST_COHERENT, not HOST_CACHED.
    Uncached,
}

/// The memory types of a device: the driver's at their own indices, then two of the layer's.
///
/// The order in which Vulkan wants types is broken by that. So an application that takes the
/// first type with the properties it needs goes on as without the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTypes {
    count: u32,
    base: u32,
    base_heap: u32,
    device_local: bool,
    /// Bytes in the heap of each type of the driver's.
    heap_sizes: [u64; vk::MAX_MEMORY_TYPES],
}

impl MemoryTypes {
    /// Chooses the type behind the added ones: coherent, for the driver is never asked to flush
    /// it, and rather cached and in system memory, from which host memory is imported.
    ///
    /// None if no type will do, or there is no room for two more.
    pub fn new(driver: &vk::PhysicalDeviceMemoryProperties) -> Option<Self> {
        let types = driver.memory_types_as_slice();
        let count = u32::try_from(types.len()).ok()?;
        if types.len() + 2 > vk::MAX_MEMORY_TYPES {
            return None;
        }
        let coherent = Flags::HOST_VISIBLE | Flags::HOST_COHERENT;
        let exotic = Flags::PROTECTED | Flags::DEVICE_COHERENT_AMD | Flags::RDMA_CAPABLE_NV;
        let (base, chosen) = (0..)
            .zip(types)
            .filter(|(_, candidate)| candidate.property_flags.contains(coherent))
            .filter(|(_, candidate)| !candidate.property_flags.intersects(exotic))
            .min_by_key(|(_, candidate)| {
                let flags = candidate.property_flags;
                (
                    !flags.contains(Flags::HOST_CACHED),
                    flags.contains(Flags::DEVICE_LOCAL),
                )
            })?;
        let heaps = driver.memory_heaps_as_slice();
        let heap = heaps.get(chosen.heap_index as usize)?;
        let mut heap_sizes = [0; vk::MAX_MEMORY_TYPES];
        for (size, kind) in heap_sizes.iter_mut().zip(types) {
            *size = heaps.get(kind.heap_index as usize)?.size;
        }
        Some(Self {
            count,
            base,
            base_heap: chosen.heap_index,
            device_local: heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL),
            heap_sizes,
        })
    }

    /// Adds the layer's types to what the driver reports.
    pub fn extend(&self, properties: &mut vk::PhysicalDeviceMemoryProperties) {
        // A type is DEVICE_LOCAL if and only if its heap is.
        let place = if self.device_local {
            Flags::DEVICE_LOCAL
        } else {
            Flags::empty()
        };
        let added = [
            Flags::HOST_VISIBLE | Flags::HOST_CACHED,
            Flags::HOST_VISIBLE | Flags::HOST_COHERENT,
        ];
        for (index, flags) in (self.count..).zip(added) {
            if let Some(slot) = properties.memory_types.get_mut(index as usize) {
                *slot = vk::MemoryType {
                    property_flags: flags | place,
                    heap_index: self.base_heap,
                };
                properties.memory_type_count = index + 1;
            }
        }
    }

    /// What an index means, and the driver's index behind it.
    pub fn resolve(&self, index: u32) -> (Kind, u32) {
        match index.checked_sub(self.count) {
            Some(0) => (Kind::Incoherent, self.base),
            Some(1) => (Kind::Uncached, self.base),
            _ => (Kind::Driver, index),
        }
    }

    /// Adds the layer's types to a mask of the driver's that has the type behind them.
    pub fn widen(&self, bits: u32) -> u32 {
        if bits & (1 << self.base) == 0 {
            bits
        } else {
            bits | self.bit(Kind::Incoherent) | self.bit(Kind::Uncached)
        }
    }

    /// The mask of one added type; no bit for the driver's.
    pub fn bit(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Driver => 0,
            Kind::Incoherent => 1 << self.count,
            Kind::Uncached => 1 << (self.count + 1),
        }
    }

    /// Bytes in the heap of a type of the driver's.
    pub fn heap_size(&self, base: u32) -> u64 {
        self.heap_sizes.get(base as usize).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(
        types: &[(Flags, u32)],
        heaps: &[vk::MemoryHeapFlags],
    ) -> vk::PhysicalDeviceMemoryProperties {
        let mut properties = vk::PhysicalDeviceMemoryProperties::default();
        for (slot, &(property_flags, heap_index)) in properties.memory_types.iter_mut().zip(types) {
            *slot = vk::MemoryType {
                property_flags,
                heap_index,
            };
        }
        for (slot, &flags) in properties.memory_heaps.iter_mut().zip(heaps) {
            *slot = vk::MemoryHeap { size: 4096, flags };
        }
        properties.memory_type_count = u32::try_from(types.len()).unwrap();
        properties.memory_heap_count = u32::try_from(heaps.len()).unwrap();
        properties
    }

    const LOCAL: vk::MemoryHeapFlags = vk::MemoryHeapFlags::DEVICE_LOCAL;
    const SYSTEM: vk::MemoryHeapFlags = vk::MemoryHeapFlags::empty();

    fn coherent() -> Flags {
        Flags::HOST_VISIBLE | Flags::HOST_COHERENT
    }

    #[test]
    fn adds_two_types_behind_the_one_of_llvmpipe() {
        let all = coherent() | Flags::HOST_CACHED | Flags::DEVICE_LOCAL;
        let mut properties = driver(&[(all, 0)], &[LOCAL]);
        let types = MemoryTypes::new(&properties).unwrap();

        types.extend(&mut properties);

        let flags: Vec<Flags> = properties
            .memory_types_as_slice()
            .iter()
            .map(|kind| kind.property_flags)
            .collect();
        assert_eq!(
            flags,
            [
                all,
                Flags::HOST_VISIBLE | Flags::HOST_CACHED | Flags::DEVICE_LOCAL,
                coherent() | Flags::DEVICE_LOCAL
            ]
        );
        assert_eq!(types.resolve(0), (Kind::Driver, 0));
        assert_eq!(types.resolve(1), (Kind::Incoherent, 0));
        assert_eq!(types.resolve(2), (Kind::Uncached, 0));
        assert_eq!(types.resolve(3), (Kind::Driver, 3));
        assert_eq!(types.widen(0b1), 0b111);
        assert_eq!(types.widen(0), 0);
    }

    #[test]
    fn prefers_cached_system_memory_of_a_card() {
        let bar = coherent() | Flags::DEVICE_LOCAL;
        let cached = coherent() | Flags::HOST_CACHED;
        let mut properties = driver(
            &[
                (Flags::DEVICE_LOCAL, 0),
                (bar, 0),
                (coherent(), 1),
                (cached, 1),
            ],
            &[LOCAL, SYSTEM],
        );
        let types = MemoryTypes::new(&properties).unwrap();

        types.extend(&mut properties);

        assert_eq!(types.resolve(4), (Kind::Incoherent, 3));
        assert_eq!(properties.memory_types[4].heap_index, 1);
        assert_eq!(properties.memory_types[5].property_flags, coherent());
        assert_eq!(types.widen(0b0111), 0b0111);
        assert_eq!(types.widen(0b1000), 0b11_1000);
    }

    #[test]
    fn adds_nothing_without_coherent_memory_or_room() {
        let hidden = driver(&[(Flags::DEVICE_LOCAL, 0)], &[LOCAL]);
        assert_eq!(MemoryTypes::new(&hidden), None);
        let full = driver(&[(coherent(), 0); 31], &[SYSTEM]);
        assert_eq!(MemoryTypes::new(&full), None);
    }
}
