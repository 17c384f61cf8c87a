//! Fences of a blob, as files.

use std::os::fd::{BorrowedFd, OwnedFd};

use coherd_blob::Access;
use rustix::io::Errno;

use super::dma_buf;
use super::record::BlobRecord;

/// The first Linux whose dma-bufs have sync files.
const FIRST_KERNEL: (u32, u32) = (6, 0);

/// Whether this kernel is one whose dma-bufs may have sync files. One that was built without them
/// has none all the same, as [`BlobRecord::has_fences`] finds.
pub fn kernel_has_fences() -> bool {
    let release = rustix::system::uname();
    version(&release.release().to_string_lossy()).is_some_and(|version| version >= FIRST_KERNEL)
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

impl BlobRecord {
    /// Whether its fences can be had and be added to as files.
    pub fn has_fences(&self) -> bool {
        self.export_fences(Access::READ).is_ok()
    }

    /// A file of the kernel's fences that `access` would have to wait for: it is readable once they
    /// are done. Waits for nothing.
    ///
    /// # Errors
    /// [`Errno::NOTTY`] where there are no such files, as those of a memfd.
    pub fn export_fences(&self, access: Access) -> Result<OwnedFd, Errno> {
        self.require_dma_buf()?;
        dma_buf::export_sync_file(self.backing(), access)
    }

    /// Makes work that the GPU is given later wait for a file of fences, whose work does `access`.
    /// This may block while a driver has the dma-buf locked.
    ///
    /// # Errors
    /// [`Errno::NOTTY`] as above, and [`Errno::INVAL`] for another kind of file.
    pub fn import_fences(&self, access: Access, fences: BorrowedFd<'_>) -> Result<(), Errno> {
        self.require_dma_buf()?;
        dma_buf::import_sync_file(self.backing(), access, fences)
    }

    /// The numbers of dma-buf's ioctls are others elsewhere.
    fn require_dma_buf(&self) -> Result<(), Errno> {
        match self.backing().exporter().is_dma_buf() {
            true => Ok(()),
            false => Err(Errno::NOTTY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_a_release() {
        assert_eq!(version("6.12.57+deb13-amd64"), Some((6, 12)));
        assert_eq!(version("5.19.0"), Some((5, 19)));
        assert_eq!(version("6"), None);
        assert_eq!(version("linux"), None);
    }
}
