//! Names.

use std::ffi::c_char;

/// Bytes of a name, its nuls included.
pub const COHERD_SYNC_NAME_LEN: usize = 32;
const _: () = assert!(COHERD_SYNC_NAME_LEN == coherd_protocol::sync::limits::NAME_LEN);

/// A name for C: cut where it would leave no room for a nul.
pub(super) fn c_name(name: &str) -> [c_char; COHERD_SYNC_NAME_LEN] {
    let mut out = [0; COHERD_SYNC_NAME_LEN];
    for (to, from) in out
        .iter_mut()
        .take(COHERD_SYNC_NAME_LEN - 1)
        .zip(name.bytes())
    {
        *to = c_char::from_ne_bytes([from]);
    }
    out
}
