//! What a context needs of the kernel, so that it can be had from something else in tests.

use std::fmt::Debug;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::access::SharedMap;
use crate::uapi::{BlobFlags, BlobHandle};

/// An open file of a device, which is one context on the host.
pub(crate) trait Transport: Debug + Send + Sync {
    /// Copies the beginning of the capset; what is longer than the capset is left as it is.
    fn capset(&self, out: &mut [u8]) -> io::Result<()>;

    /// Makes a blob of guest memory.
    fn create_guest_blob(&self, size: u64) -> io::Result<BlobHandle>;

    /// Makes a blob of an object of the context. A refusal of the host does not come back.
    fn create_host_blob(&self, blob_id: u64, size: u64, flags: BlobFlags)
    -> io::Result<BlobHandle>;

    /// Gives a handle back.
    fn close(&self, handle: u32);

    /// Maps a whole blob.
    fn map(&self, handle: u32, len: usize) -> io::Result<SharedMap>;

    /// Sends a command stream.
    fn submit(&self, stream: &[u8]) -> io::Result<()>;

    /// Sends a command stream, and returns a file that becomes readable once it has been executed.
    fn submit_fenced(&self, stream: &[u8]) -> io::Result<OwnedFd>;

    /// A dma-buf of a blob.
    fn export(&self, handle: u32) -> io::Result<OwnedFd>;

    /// The blob of a dma-buf. Its handle is the same each time, and closed by the first
    /// [`Self::close`].
    fn import(&self, file: BorrowedFd<'_>) -> io::Result<BlobHandle>;
}
