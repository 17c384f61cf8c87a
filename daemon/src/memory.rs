//! Guest memory as the device sees it.

use std::sync::Arc;

use coherd_protocol::gpu::wire::MemEntry;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Guest RAM at one moment. Whoever holds it keeps its pages mapped, also after the VMM has
/// replaced the memory table.
pub type GuestMemory = Arc<GuestMemoryMmap>;

/// Ranges of guest memory that a resource was given, in order.
#[derive(Clone, Debug)]
pub struct GuestRanges {
    memory: GuestMemory,
    ranges: Vec<(GuestAddress, usize)>,
    len: u64,
}

impl GuestRanges {
    /// Resolves a backing list, or `None` where a range is not guest RAM as a whole.
    pub fn resolve(memory: &GuestMemory, entries: &[MemEntry]) -> Option<Self> {
        let mut ranges = Vec::with_capacity(entries.len());
        let mut total = 0u64;
        for entry in entries {
            let address = GuestAddress(entry.addr.get());
            let len = usize::try_from(entry.length.get()).ok()?;
            if len == 0 || !memory.check_range(address, len) {
                return None;
            }
            ranges.push((address, len));
            total = total.checked_add(u64::from(entry.length.get()))?;
        }
        Some(Self {
            memory: Arc::clone(memory),
            ranges,
            len: total,
        })
    }

    /// Bytes in all ranges together.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies `out.len()` bytes from `offset` of the concatenated ranges, or returns `false`
    /// where they end before that.
    #[must_use]
    pub fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        let Ok(mut skip) = usize::try_from(offset) else {
            return false;
        };
        let mut rest = out;
        for (address, len) in &self.ranges {
            if rest.is_empty() {
                break;
            }
            if skip >= *len {
                skip -= len;
                continue;
            }
            let count = (len - skip).min(rest.len());
            let (head, tail) = rest.split_at_mut(count);
            let Some(start) = u64::try_from(skip)
                .ok()
                .and_then(|skip| address.0.checked_add(skip))
            else {
                return false;
            };
            if self.memory.read_slice(head, GuestAddress(start)).is_err() {
                return false;
            }
            rest = tail;
            skip = 0;
        }
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> GuestMemory {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        for address in 0..0x4000u64 {
            let byte = u8::try_from(address / 0x100).unwrap();
            memory.write_obj(byte, GuestAddress(address)).unwrap();
        }
        Arc::new(memory)
    }

    fn entry(addr: u64, length: u32) -> MemEntry {
        MemEntry {
            addr: addr.into(),
            length: length.into(),
            padding: 0.into(),
        }
    }

    #[test]
    fn reads_cross_from_range_to_range() {
        let ranges = GuestRanges::resolve(&memory(), &[entry(0x100, 2), entry(0x3000, 3)]).unwrap();
        let mut out = [0; 4];
        assert!(ranges.read(1, &mut out));
        assert_eq!(out, [0x01, 0x30, 0x30, 0x30]);
    }

    #[test]
    fn reads_past_the_end_fail() {
        let ranges = GuestRanges::resolve(&memory(), &[entry(0, 4)]).unwrap();
        assert!(!ranges.read(1, &mut [0; 4]));
        assert!(!ranges.read(u64::MAX, &mut [0; 1]));
        assert!(ranges.read(4, &mut []));
    }

    #[test]
    fn ranges_outside_ram_are_refused() {
        for (addr, length) in [(0x4000, 1), (0x3fff, 2), (u64::MAX, 1), (0, 0)] {
            assert!(GuestRanges::resolve(&memory(), &[entry(addr, length)]).is_none());
        }
    }
}
