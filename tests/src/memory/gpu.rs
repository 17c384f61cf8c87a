//! The device's view of memory: what it sees of a CPU's writes, and what it writes itself.

use std::fmt;
use std::time::Duration;

use coherd_blob::{Access, MemoryProperties};
use coherd_vulkan::Device;
use coherd_vulkan::memory::{Allocation, AllocationRequest};

use super::{MemoryError, Subject, View};
use crate::guest::random::SplitMix64;

/// A copy takes less, even on a loaded machine's processor.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one side saw of the other's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All of them.
    Right,
    /// What was there before.
    Stale,
    /// Something else.
    Wrong,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Right => "right",
            Self::Stale => "stale",
            Self::Wrong => "WRONG",
        })
    }
}

/// What both sides saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// The device, of what the CPU wrote.
    pub by_device: Seen,
    /// The CPU, of what the device wrote.
    pub by_cpu: Seen,
}

impl Bytes {
    /// All that was written was seen.
    pub const RIGHT: Self = Self {
        by_device: Seen::Right,
        by_cpu: Seen::Right,
    };
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by_device, by_cpu } = self;
        if by_device == by_cpu {
            return by_device.fmt(f);
        }
        write!(f, "{by_device} at the GPU, {by_cpu} at the CPU")
    }
}

/// The device, and memory of its own that needs no trust: it is mapped once, and flushed and
/// invalidated whatever its type.
#[derive(Debug)]
pub struct Gpu {
    device: Device,
    staging: Allocation,
    numbers: SplitMix64,
}

impl Gpu {
    /// Prepares to look at memory of so many bytes.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn new(device: &Device, size: u64) -> Result<Self, MemoryError> {
        let staging = device.allocate(&AllocationRequest {
            name: "staging",
            size,
            required: MemoryProperties::HOST_VISIBLE,
            preferred: MemoryProperties::HOST_COHERENT | MemoryProperties::HOST_CACHED,
            ..AllocationRequest::default()
        })?;
        Ok(Self {
            device: device.clone(),
            staging,
            numbers: SplitMix64::new(1),
        })
    }

    /// Lets CPU and device write in turn, and compares.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn check(
        &mut self,
        subject: &Subject,
        view: &View<'_>,
        brackets: bool,
    ) -> Result<Bytes, MemoryError> {
        Ok(Bytes {
            by_device: self.cpu_writes(subject, view, brackets)?,
            by_cpu: self.device_writes(subject, view, brackets)?,
        })
    }

    fn cpu_writes(
        &mut self,
        subject: &Subject,
        view: &View<'_>,
        brackets: bool,
    ) -> Result<Seen, MemoryError> {
        let (before, after) = (self.random(view.len()), self.random(view.len()));
        bracketed(view, true, Access::WRITE, || view.store(&before))?;
        bracketed(view, brackets, Access::WRITE, || view.store(&after))?;
        let found = self.device_reads(subject, view.len())?;
        Ok(seen(&found, &before, &after))
    }

    fn device_writes(
        &mut self,
        subject: &Subject,
        view: &View<'_>,
        brackets: bool,
    ) -> Result<Seen, MemoryError> {
        let (before, after) = (self.random(view.len()), self.random(view.len()));
        bracketed(view, true, Access::WRITE, || view.store(&before))?;
        let size = self.staging.size().min(subject.allocation().size());
        self.staging.map()?.write(0, &after)?;
        self.staging.flush(0..size)?;
        self.device
            .copy(&self.staging, 0, subject.allocation(), 0, size)?
            .wait(PATIENCE)?;
        let mut found = vec![0; view.len()];
        bracketed(view, brackets, Access::READ, || view.load(&mut found))?;
        Ok(seen(&found, &before, &after))
    }

    /// The bytes as the device sees them.
    fn device_reads(&self, subject: &Subject, len: usize) -> Result<Vec<u8>, MemoryError> {
        let size = self.staging.size().min(subject.allocation().size());
        self.device
            .copy(subject.allocation(), 0, &self.staging, 0, size)?
            .wait(PATIENCE)?;
        self.staging.invalidate(0..size)?;
        let mut found = vec![0; len];
        self.staging.map()?.read(0, &mut found)?;
        Ok(found)
    }

    fn random(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for chunk in bytes.chunks_mut(8) {
            let word = self.numbers.next_word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        bytes
    }
}

fn bracketed(
    view: &View<'_>,
    brackets: bool,
    access: Access,
    work: impl FnOnce(),
) -> Result<(), MemoryError> {
    if brackets {
        view.start(access)?;
    }
    work();
    if brackets {
        view.end(access)?;
    }
    Ok(())
}

fn seen(found: &[u8], before: &[u8], after: &[u8]) -> Seen {
    if found == after {
        Seen::Right
    } else if found == before {
        Seen::Stale
    } else {
        Seen::Wrong
    }
}
