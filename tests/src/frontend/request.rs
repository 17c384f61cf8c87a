//! Payloads of backend requests.

use super::message::u64_at;

/// SHMEM_MAP with read-write pages.
const MAP_RW: u64 = 1 << 0;

/// The payload of SHMEM_MAP and SHMEM_UNMAP, `VhostUserMMap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// Shared memory region.
    pub shmid: u8,
    /// Offset in the file.
    pub fd_offset: u64,
    /// Offset in the region.
    pub shm_offset: u64,
    /// Bytes.
    pub len: u64,
    /// Bit 0 for read-write pages.
    pub flags: u64,
}

impl MapRequest {
    /// Bytes of the payload.
    pub const LEN: usize = 40;

    /// Decodes a payload of exactly [`Self::LEN`] bytes.
    pub fn from_bytes(payload: &[u8]) -> Option<Self> {
        if payload.len() != Self::LEN {
            return None;
        }
        Some(Self {
            shmid: *payload.first()?,
            fd_offset: u64_at(payload, 8)?,
            shm_offset: u64_at(payload, 16)?,
            len: u64_at(payload, 24)?,
            flags: u64_at(payload, 32)?,
        })
    }

    /// Whether the pages are to be writable.
    pub fn is_writable(&self) -> bool {
        self.flags & MAP_RW != 0
    }

    /// Whether only known flags are set.
    pub fn has_known_flags(&self) -> bool {
        self.flags & !MAP_RW == 0
    }
}
