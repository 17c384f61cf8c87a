//! Memory of the blob context that stays as it is while its program looks at it again and again, for
//! tests of what happens to it meanwhile.

use std::thread;
use std::time::Duration;

use coherd_guest::{Allocation, AllocationRequest, Context, Mapping, MemoryType};

use super::error::{CheckError, blob};
use super::pattern;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Part of each allocation that is never touched, from its end.
const UNTOUCHED: u64 = 4;

/// Allocates memory of every type that can be mapped, of `size` bytes each, writes to it, and prints
/// `keeping N` with their number. From then on it looks at all of it, as a processor and by way of
/// the GPU, and prints `alive N` after each look, until it is killed or something is not as it was.
/// From the first look on no byte changes any more.
///
/// # Errors
/// The first thing that is not as it was.
pub fn keep(size: u64) -> Result<String, CheckError> {
    let context = blob(Context::open())?;
    let mut kept: Vec<Kept> = Vec::new();
    for (kind, seed) in context.host().types.iter().zip(0..) {
        let seen = kept
            .iter()
            .any(|kept| kept.kind.properties == kind.properties);
        if kind.caching.is_some() && !seen {
            kept.push(Kept::new(&context, *kind, size, seed)?);
        }
    }
    if kept.is_empty() {
        return Err(CheckError::BadOption("The host has no memory to map"));
    }
    println!("keeping {}", kept.len());
    for look in 1u64.. {
        for kept in &kept {
            kept.compare(&kept.memory, "as a processor sees it")?;
            let (from, to) = (&kept.memory.allocation, &kept.copy.allocation);
            blob(blob(context.copy(from.at(0), to.at(0), size))?.wait())?;
            kept.compare(&kept.copy, "as the GPU sees it")?;
        }
        println!("alive {look}");
        thread::sleep(PAUSE);
    }
    Ok("kept for ever".to_owned())
}

/// Memory, mapped.
struct Memory {
    allocation: Allocation,
    mapping: Mapping,
}

/// Memory of one type, and what the GPU copies it to.
struct Kept {
    kind: MemoryType,
    memory: Memory,
    copy: Memory,
    expected: Vec<u8>,
}

impl Memory {
    fn new(context: &Context, kind: MemoryType, size: u64) -> Result<Self, CheckError> {
        let request = AllocationRequest::new(size, kind.properties);
        let allocation = blob(context.allocate(&request))?;
        let mapping = blob(allocation.map())?;
        Ok(Self {
            allocation,
            mapping,
        })
    }
}

impl Kept {
    fn new(context: &Context, kind: MemoryType, size: u64, seed: u64) -> Result<Self, CheckError> {
        let memory = Memory::new(context, kind, size)?;
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        let mut expected = vec![0; len];
        let written = len - usize::try_from(size / UNTOUCHED).unwrap_or(0);
        pattern::fill(seed, &mut expected[..written]);
        let mut guard = blob(memory.mapping.write(..written))?;
        blob(guard.copy_from(0, &expected[..written]))?;
        blob(guard.end())?;
        Ok(Self {
            kind,
            memory,
            copy: Memory::new(context, kind, size)?,
            expected,
        })
    }

    /// Compares what some memory has with what this should have.
    fn compare(&self, memory: &Memory, how: &str) -> Result<(), CheckError> {
        let found = blob(memory.mapping.read(..self.expected.len()))?.to_vec();
        pattern::compare(&self.expected, &found).map_err(|mismatch| CheckError::Bytes {
            what: format!("{:?}, {how}", self.kind.properties),
            mismatch,
        })
    }
}
