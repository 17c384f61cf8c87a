//! Ledgers.

use std::ffi::c_char;

use super::blob::caching;
use super::connection::{argument, coherd_sync_connection, give};
use super::name::{COHERD_SYNC_NAME_LEN, c_name};
use super::result::{Failure, coherd_sync_result, run};
use crate::ledger::Holder;

/// None is known to differ, but one is not known.
pub const COHERD_SYNC_AGREEMENT_UNKNOWN: u32 = 0;
/// All map the blob with the type of its memory.
pub const COHERD_SYNC_AGREE: u32 = 1;
/// Somebody maps it with another.
pub const COHERD_SYNC_DIFFER: u32 = 2;

/// The holder is this connection.
pub const COHERD_SYNC_HOLDER_SELF: u32 = 1;
/// Its accesses need brackets.
pub const COHERD_SYNC_HOLDER_NEEDS_BRACKETS: u32 = 2;

/// Somebody who maps a blob.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct coherd_sync_holder {
    /// Its id.
    pub id: u64,
    /// Who it is: 1 the guest, 2 the VMM, 3 the server, 4 a process with a connection.
    pub kind: u32,
    /// With which type it maps: COHERD_SYNC_CACHED and its kin.
    pub caching: u32,
    /// COHERD_SYNC_READ, COHERD_SYNC_WRITE: what it may do.
    pub access: u32,
    /// COHERD_SYNC_HOLDER_*
    pub flags: u32,
    /// Brackets that it has open.
    pub open: u32,
    /// Its process, or 0 where that is not known.
    pub pid: u32,
    /// What it calls itself.
    pub name: [c_char; COHERD_SYNC_NAME_LEN],
}

impl From<&Holder> for coherd_sync_holder {
    fn from(holder: &Holder) -> Self {
        Self {
            id: holder.id,
            kind: holder.kind as u32,
            caching: caching(holder.caching),
            access: holder.access.bits(),
            flags: holder.flags.bits(),
            open: holder.open,
            pid: holder.pid.unwrap_or(0),
            name: c_name(&holder.name),
        }
    }
}

/// Who maps a blob, and whether they agree (COHERD_SYNC_AGREE and its kin). At most `capacity` are
/// written to `holders`, which may be null if that is 0; `count` says how many there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_describe(
    connection: *const coherd_sync_connection,
    blob: u64,
    agreement: *mut u32,
    holders: *mut coherd_sync_holder,
    capacity: usize,
    count: *mut usize,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promise.
        let connection = unsafe { argument(connection, "connection") }?;
        if holders.is_null() && capacity > 0 {
            return Err(Failure::Argument("holders"));
        }
        let ledger = connection.0.describe(blob)?;
        for (place, holder) in ledger.holders.iter().take(capacity).enumerate() {
            // SAFETY: `place` is under the capacity.
            unsafe { holders.add(place).write(holder.into()) };
        }
        // SAFETY: the caller's promises.
        unsafe {
            give(agreement, ledger.agreement.to_wire(), "agreement")?;
            give(count, ledger.holders.len(), "count")
        }
    })
}
