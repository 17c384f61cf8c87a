//! Memory of the host that the device works on, by VK_EXT_external_memory_host.

use std::os::fd::{AsFd, OwnedFd};

use coherd_blob::Backing;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// Memory of the host that a device can be given.
///
/// # Safety
/// The bytes stay mapped, readable and writable at the same place as long as the value lives, and
/// nothing of Rust holds a reference to them.
pub unsafe trait HostMemory: Send + Sync {
    /// Where it starts.
    fn as_ptr(&self) -> *mut u8;

    /// Bytes.
    fn len(&self) -> usize;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A shared mapping of a file.
#[derive(Debug)]
pub struct MappedFile {
    start: *mut u8,
    len: usize,
}

// SAFETY: the pointer is that of a mapping, which belongs to no thread.
unsafe impl Send for MappedFile {}
// SAFETY: as above; there is no reference to the bytes.
unsafe impl Sync for MappedFile {}

// SAFETY: the mapping stays until the value is dropped, and only its pointer is given away.
unsafe impl HostMemory for MappedFile {
    fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl MappedFile {
    /// Maps the bytes of `backing`.
    ///
    /// # Errors
    /// The error of mmap.
    pub fn of(backing: &Backing) -> Result<Self, Errno> {
        let page = rustix::param::page_size();
        let len = usize::try_from(backing.size())
            .ok()
            .and_then(|len| len.checked_next_multiple_of(page))
            .ok_or(Errno::NOMEM)?;
        Self::map(backing, backing.data_offset(), len)
    }

    fn map(fd: impl AsFd, offset: u64, len: usize) -> Result<Self, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                access,
                MapFlags::SHARED,
                fd,
                offset,
            )
        }?;
        Ok(Self {
            start: start.cast(),
            len,
        })
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nobody uses it any more.
        let unmapped = unsafe { rustix::mm::munmap(self.start.cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// New memory in a memfd of `size` bytes, a multiple of the page size, that keeps its size.
///
/// # Errors
/// Those of memfd_create, ftruncate, fcntl and mmap.
pub fn shared_memory(name: &str, size: u64) -> Result<(OwnedFd, MappedFile), Errno> {
    let name: String = name.chars().filter(|c| *c != '\0').take(200).collect();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create(name, flags)?;
    rustix::fs::ftruncate(&fd, size)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&fd, seals)?;
    let len = usize::try_from(size).map_err(|_| Errno::NOMEM)?;
    let mapped = MappedFile::map(&fd, 0, len)?;
    Ok((fd, mapped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coherd_blob::backing::ExportKind;

    #[test]
    fn shared_memory_is_a_backing_that_keeps_its_size() {
        let (fd, mapped) = shared_memory("test\0name", 8192).unwrap();

        // SAFETY: the mapping has 8192 bytes.
        unsafe { mapped.as_ptr().add(8191).write(7) };
        let backing = Backing::new(fd, ExportKind::Shm, 8192).unwrap();
        let again = MappedFile::of(&backing).unwrap();

        assert_eq!(again.len(), 8192);
        // SAFETY: as above.
        assert_eq!(unsafe { again.as_ptr().add(8191).read() }, 7);
        assert!(rustix::fs::ftruncate(&backing, 4096).is_err());
    }

    #[test]
    fn memory_larger_than_the_address_space_is_an_error() {
        assert!(shared_memory("large", 1 << 62).is_err());
    }
}
