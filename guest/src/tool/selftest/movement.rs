//! Bytes between this program and an allocation of any type.

use std::ops::Range;

use super::Place;
use super::runner::Stop;
use crate::tool::probe::allocate;
use crate::{Allocation, AllocationRequest, Mapping, MemoryProperties, MemoryType};

/// Whether accesses are put in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brackets {
    Made,
    /// They are left out, to see that it matters.
    LeftOut,
}

/// An allocation that this program reads and writes: through a mapping, or where there is none by
/// copies from and to memory that has one.
#[derive(Debug)]
pub struct Memory<'p> {
    place: &'p Place,
    pub allocation: Allocation,
    access: Access,
}

#[derive(Debug)]
enum Access {
    Mapped(Mapping),
    Staged(Allocation, Mapping),
}

impl<'p> Memory<'p> {
    /// Memory of exactly this type; a type that is not to be had for buffers is skipped.
    pub fn new(place: &'p Place, kind: MemoryType, size: u64) -> Result<Self, Stop> {
        let allocation = allocate(&place.context, kind, size).map_err(Stop::Failed)?;
        Self::of(place, allocation)
    }

    /// An allocation that is there.
    pub fn of(place: &'p Place, allocation: Allocation) -> Result<Self, Stop> {
        let access = if allocation.memory().caching.is_some() {
            Access::Mapped(allocation.map()?)
        } else {
            let request = AllocationRequest {
                preferred: MemoryProperties::HOST_COHERENT | MemoryProperties::HOST_CACHED,
                ..AllocationRequest::new(allocation.size(), MemoryProperties::HOST_VISIBLE)
            };
            let staging = place.context.allocate(&request)?;
            let mapping = staging.map()?;
            Access::Staged(staging, mapping)
        };
        Ok(Self {
            place,
            allocation,
            access,
        })
    }

    pub fn len(&self) -> usize {
        match &self.access {
            Access::Mapped(mapping) | Access::Staged(_, mapping) => mapping.len(),
        }
    }

    /// Writes bytes, and nothing around them.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Stop> {
        match &self.access {
            Access::Mapped(mapping) => self.store(mapping, offset, bytes),
            Access::Staged(staging, mapping) => {
                self.store(mapping, offset, bytes)?;
                self.copy(staging, &self.allocation, offset..offset + bytes.len())
            }
        }
    }

    /// Reads bytes.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u8>, Stop> {
        match &self.access {
            Access::Mapped(mapping) => self.load(mapping, range),
            Access::Staged(staging, mapping) => {
                self.copy(&self.allocation, staging, range.clone())?;
                self.load(mapping, range)
            }
        }
    }

    fn store(&self, mapping: &Mapping, offset: usize, bytes: &[u8]) -> Result<(), Stop> {
        if self.place.brackets == Brackets::LeftOut {
            return Ok(mapping.without_sync().write(offset, bytes)?);
        }
        // A whole mapping may be overwritten blindly; else neighbours of the range are kept.
        let range = offset..offset + bytes.len();
        if range == (0..mapping.len()) {
            let mut guard = mapping.write(range)?;
            guard.copy_from(0, bytes)?;
            guard.end()?;
        } else {
            let mut guard = mapping.read_write(range)?;
            guard.copy_from(0, bytes)?;
            guard.end()?;
        }
        Ok(())
    }

    fn load(&self, mapping: &Mapping, range: Range<usize>) -> Result<Vec<u8>, Stop> {
        if self.place.brackets == Brackets::LeftOut {
            let mut bytes = vec![0; range.len()];
            mapping.without_sync().read(range.start, &mut bytes)?;
            return Ok(bytes);
        }
        let guard = mapping.read(range)?;
        let bytes = guard.to_vec();
        guard.end()?;
        Ok(bytes)
    }

    fn copy(&self, from: &Allocation, to: &Allocation, range: Range<usize>) -> Result<(), Stop> {
        let (offset, len) = (to_u64(range.start), to_u64(range.len()));
        let work = self
            .place
            .context
            .copy(from.at(offset), to.at(offset), len)?;
        Ok(work.wait()?)
    }
}

pub fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
