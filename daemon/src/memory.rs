//! Guest memory as the device sees it.

use std::sync::Arc;

use coherd_protocol::gpu::wire::MemEntry;
use coherd_protocol::state;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::dirty_log::RegionLog;

/// Guest RAM. What is written to it is logged where the front-end wants that.
pub type Ram = GuestMemoryMmap<RegionLog>;

/// Guest RAM at one moment. Whoever holds it keeps its pages mapped, also after the VMM has
/// replaced the memory table.
pub type GuestMemory = Arc<Ram>;

/// One range, and where it begins among the bytes of all.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    address: GuestAddress,
}

/// Ranges of guest memory that a resource was given, as one sequence of bytes.
#[derive(Clone, Debug)]
pub struct GuestRanges {
    memory: GuestMemory,
    ranges: Vec<Range>,
    len: u64,
}

impl GuestRanges {
    /// Resolves a backing list, or `None` where a range is not guest RAM as a whole.
    pub fn resolve(memory: &GuestMemory, entries: &[MemEntry]) -> Option<Self> {
        let mut ranges = Vec::with_capacity(entries.len());
        let mut start = 0u64;
        for entry in entries {
            let address = GuestAddress(entry.addr.get());
            let len = entry.length.get();
            if len == 0 || !memory.check_range(address, usize::try_from(len).ok()?) {
                return None;
            }
            ranges.push(Range { start, address });
            start = start.checked_add(len.into())?;
        }
        Some(Self {
            memory: Arc::clone(memory),
            ranges,
            len: start,
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

    /// Number of ranges.
    pub fn entries(&self) -> u64 {
        u64::try_from(self.ranges.len()).unwrap_or(u64::MAX)
    }

    /// The ranges, as they are saved.
    pub fn list(&self) -> Vec<state::Entry> {
        let ends = self.ranges.iter().skip(1).map(|range| range.start);
        let ends = ends.chain([self.len]);
        let entry = |(range, end): (&Range, u64)| state::Entry {
            address: range.address.0.into(),
            // A range's length was a word.
            length: u32::try_from(end - range.start).unwrap_or(u32::MAX).into(),
        };
        self.ranges.iter().zip(ends).map(entry).collect()
    }

    /// Copies `out.len()` bytes from `offset`, or returns `false` where there are not so many.
    #[must_use]
    pub fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        let mut rest = out;
        self.pieces(offset, rest.len(), |address, len| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut_checked(len)?;
            rest = later;
            self.memory.read_slice(now, address).ok()
        })
    }

    /// Copies `bytes` to `offset`, or returns `false` where there is not so much room.
    #[must_use]
    pub fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        self.pieces(offset, bytes.len(), |address, len| {
            let (now, later) = rest.split_at_checked(len)?;
            rest = later;
            self.memory.write_slice(now, address).ok()
        })
    }

    /// Calls `copy` for each piece of an interval that is contiguous in guest memory; `false` if
    /// the interval is not inside or `copy` fails.
    fn pieces(
        &self,
        offset: u64,
        len: usize,
        mut copy: impl FnMut(GuestAddress, usize) -> Option<()>,
    ) -> bool {
        let end = u64::try_from(len)
            .ok()
            .and_then(|len| offset.checked_add(len));
        let Some(end) = end.filter(|end| *end <= self.len) else {
            return false;
        };
        let first = self.ranges.partition_point(|range| range.start <= offset);
        let mut ranges = self.ranges.iter().skip(first.saturating_sub(1)).peekable();
        let mut position = offset;
        while position < end {
            let Some(range) = ranges.next() else {
                return false;
            };
            let range_end = ranges.peek().map_or(self.len, |next| next.start);
            let piece = range_end.min(end) - position;
            let address = range.address.0.checked_add(position - range.start);
            let copied = address
                .zip(usize::try_from(piece).ok())
                .and_then(|(address, piece)| copy(GuestAddress(address), piece));
            if copied.is_none() {
                return false;
            }
            position += piece;
        }
        true
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
        assert!(!ranges.write(3, &[0; 2]));
    }

    #[test]
    fn writes_reach_each_range_and_nothing_beside_it() {
        let memory = memory();
        let entries = [entry(0x10, 1), entry(0x3000, 2), entry(0x20, 2)];
        let ranges = GuestRanges::resolve(&memory, &entries).unwrap();

        assert!(ranges.write(1, &[0xa1, 0xa2, 0xa3]));

        let byte = |address| memory.read_obj::<u8>(GuestAddress(address)).unwrap();
        assert_eq!([0x3000, 0x3001, 0x20].map(byte), [0xa1, 0xa2, 0xa3]);
        assert_eq!([0x10, 0x3002, 0x21].map(byte), [0x00, 0x30, 0x00]);
        assert_eq!(ranges.entries(), 3);
    }

    #[test]
    fn ranges_outside_ram_are_refused() {
        for (addr, length) in [(0x4000, 1), (0x3fff, 2), (u64::MAX, 1), (0, 0)] {
            assert!(GuestRanges::resolve(&memory(), &[entry(addr, length)]).is_none());
        }
    }
}
