//! A CPU cache over memory that a device also writes, with the least that hardware, kernels and
//! drivers promise.

use std::ops::Range;

use coherd_protocol::memory::Access;

use crate::bracket::{Action, Edge, Means};

/// Bytes of the blob.
pub const SIZE: usize = 64;

/// What the CPU's view is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Lines, read from memory when first touched and written back as a whole if dirty.
    Lines,
    /// A copy of the memory, as in the Vulkan test layer: flush copies all bytes one way,
    /// invalidate the other way.
    Shadow,
    /// No cache: coherent memory.
    None,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    bytes: [u8; SIZE],
    dirty: bool,
}

/// The memory as the device and the CPU see it.
#[derive(Debug)]
pub struct Memory {
    device: [u8; SIZE],
    cache: Cache,
    line: usize,
    lines: Vec<Option<Line>>,
    shadow: [u8; SIZE],
    /// What the exporter was told of and not yet told the end of.
    started: Access,
    /// Whether an END has something to flush: i915 forgets it at any END.
    started_write: bool,
}

impl Memory {
    pub fn new(means: Means, cache: Cache) -> Self {
        let line = match means {
            Means::Mapped { atom } | Means::DmaBufMapped { atom } => usize::try_from(atom).unwrap(),
            // A dma-buf without READ cannot keep the rest of a line fresh.
            Means::DmaBuf | Means::Coherent => 1,
        };
        Self {
            device: [0; SIZE],
            cache,
            line,
            lines: vec![None; SIZE.div_ceil(line)],
            shadow: [0; SIZE],
            started: Access::empty(),
            started_write: false,
        }
    }

    pub fn device_write(&mut self, range: Range<usize>, value: u8) {
        self.device[range].fill(value);
    }

    pub fn device_read(&self, offset: usize) -> u8 {
        self.device[offset]
    }

    pub fn cpu_write(&mut self, offset: usize, value: u8) {
        match self.cache {
            Cache::None => self.device[offset] = value,
            Cache::Shadow => self.shadow[offset] = value,
            Cache::Lines => {
                let line = self.fetch(offset / self.line);
                line.bytes[offset] = value;
                line.dirty = true;
            }
        }
    }

    pub fn cpu_read(&mut self, offset: usize) -> u8 {
        match self.cache {
            Cache::None => self.device[offset],
            Cache::Shadow => self.shadow[offset],
            Cache::Lines => self.fetch(offset / self.line).bytes[offset],
        }
    }

    /// The CPU reads ahead, which it may at any time.
    pub fn prefetch(&mut self, offset: usize) {
        if self.cache == Cache::Lines {
            self.fetch(offset / self.line);
        }
    }

    /// The CPU needs the room of a line, which it may at any time.
    pub fn evict(&mut self, offset: usize) {
        self.clean(offset / self.line);
        self.lines[offset / self.line] = None;
    }

    pub fn carry_out(&mut self, action: &Action) {
        match action {
            Action::DmaBufSync { edge, access } => self.sync(*edge, *access),
            Action::Invalidate(range) => self.invalidate(&self.checked(range)),
            Action::Flush(range) => self.flush(&self.checked(range)),
            Action::Order => {}
        }
    }

    /// Fails if something is started or dirty.
    pub fn assert_settled(&self) {
        assert_eq!(self.started, Access::empty(), "an END is missing");
        let dirty = |line: &Option<Line>| line.is_some_and(|line| line.dirty);
        assert!(!self.lines.iter().any(dirty), "a flush is missing");
    }

    fn checked(&self, range: &Range<u64>) -> Range<usize> {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert!(range.start < range.end && range.end <= SIZE, "{range:?}");
        assert!(range.start.is_multiple_of(self.line), "{range:?}");
        assert!(
            range.end == SIZE || range.end.is_multiple_of(self.line),
            "{range:?}"
        );
        range
    }

    /// The weakest exporter: START with READ discards the cache, END with WRITE writes it back,
    /// if the last START or END was a START with WRITE or only followed by STARTs.
    fn sync(&mut self, edge: Edge, access: Access) {
        match edge {
            Edge::Start => {
                self.started |= access;
                self.started_write |= access.contains(Access::WRITE);
                if access.contains(Access::READ) {
                    self.invalidate(&(0..SIZE));
                }
            }
            Edge::End => {
                self.started &= !access;
                let started_write = std::mem::replace(&mut self.started_write, false);
                if access.contains(Access::WRITE) && started_write {
                    self.flush(&(0..SIZE));
                }
            }
        }
    }

    fn invalidate(&mut self, range: &Range<usize>) {
        match self.cache {
            Cache::None => {}
            Cache::Shadow => {
                self.shadow[range.clone()].copy_from_slice(&self.device[range.clone()]);
            }
            // Dirty lines too.
            Cache::Lines => {
                let lines = self.lines_of(range);
                self.lines[lines].fill(None);
            }
        }
    }

    fn flush(&mut self, range: &Range<usize>) {
        match self.cache {
            Cache::None => {}
            Cache::Shadow => {
                self.device[range.clone()].copy_from_slice(&self.shadow[range.clone()]);
            }
            Cache::Lines => self.lines_of(range).for_each(|line| self.clean(line)),
        }
    }

    fn lines_of(&self, range: &Range<usize>) -> Range<usize> {
        range.start / self.line..range.end.div_ceil(self.line)
    }

    fn bytes_of(&self, line: usize) -> Range<usize> {
        line * self.line..SIZE.min((line + 1) * self.line)
    }

    fn fetch(&mut self, line: usize) -> &mut Line {
        let bytes = self.device;
        self.lines[line].get_or_insert(Line {
            bytes,
            dirty: false,
        })
    }

    fn clean(&mut self, line: usize) {
        let range = self.bytes_of(line);
        if let Some(cached) = self.lines[line].as_mut().filter(|cached| cached.dirty) {
            self.device[range.clone()].copy_from_slice(&cached.bytes[range]);
            cached.dirty = false;
        }
    }
}
