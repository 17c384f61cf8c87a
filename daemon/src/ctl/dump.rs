//! The bytes of a blob.

use std::io::Write;

use coherd_sync::{Access, Connection};

use super::CtlError;

/// Writes the bytes of `blob` to `out`, read in one bracket.
pub fn dump(peer: &Connection, blob: u64, out: &mut impl Write) -> Result<(), CtlError> {
    let failed = |source| CtlError::Blob { blob, source };
    let mapping = peer.open(blob, Access::READ).and_then(|blob| blob.map());
    let mapping = mapping.map_err(failed)?;
    let bytes = mapping.read(..).map_err(failed)?;
    bytes.write_to(out)?;
    out.flush()?;
    bytes.end().map_err(failed)
}
