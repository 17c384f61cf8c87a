//! Memory that the layer makes: pages of a memfd, once or in two copies.
//!
//! In two copies the first half of the file is the CPU's side, which is mapped and exported, and
//! the second half the GPU's, which the driver works on. In one copy both sides are the same.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// How many copies there are of each page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// The CPU's side is the GPU's.
    One,
    /// Each has its own.
    Two,
}

impl Sides {
    const ALL: [Self; 2] = [Self::One, Self::Two];

    /// The memfd's name, by which another process knows what it is given.
    fn name(self) -> &'static str {
        match self {
            Self::One => "coherd-coherent",
            Self::Two => "coherd-incoherent",
        }
    }

    fn copies(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// A mapped memfd, closed and unmapped on drop.
#[derive(Debug)]
pub struct Pages {
    address: NonNull<u8>,
    /// Bytes mapped.
    length: usize,
    sides: Sides,
    fd: OwnedFd,
}

// SAFETY: the mapping is not tied to a thread, and this type hands out raw pointers only.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Zeroed pages for `size` bytes on each side.
    pub fn new(sides: Sides, size: u64) -> Result<Self, Errno> {
        let side = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_next_multiple_of(rustix::param::page_size()));
        let length = side
            .and_then(|side| side.checked_mul(sides.copies()))
            .ok_or(Errno::NOMEM)?;
        let fd = rustix::fs::memfd_create(
            sides.name(),
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?;
        rustix::fs::ftruncate(&fd, length as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        Self::map(fd, length, sides)
    }

    /// The pages behind a file that a process with this layer made; None for any other file.
    pub fn recognise(fd: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let Some(sides) = sides_of(fd) else {
            return Ok(None);
        };
        let seals = rustix::fs::fcntl_get_seals(fd)?;
        let length = usize::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0);
        let unit = rustix::param::page_size() * sides.copies();
        if !seals.contains(SealFlags::SHRINK) || length == 0 || !length.is_multiple_of(unit) {
            return Err(Errno::INVAL);
        }
        let own = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
        Self::map(own, length, sides).map(Some)
    }

    fn map(fd: OwnedFd, length: usize, sides: Sides) -> Result<Self, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no existing mapping is touched.
        let address =
            unsafe { rustix::mm::mmap(ptr::null_mut(), length, access, MapFlags::SHARED, &fd, 0) }?;
        Ok(Self {
            address: NonNull::new(address.cast()).ok_or(Errno::NOMEM)?,
            length,
            sides,
            fd,
        })
    }

    /// How many copies there are.
    pub fn sides(&self) -> Sides {
        self.sides
    }

    /// Bytes of one side.
    pub fn size(&self) -> usize {
        self.length / self.sides.copies()
    }

    /// Where the CPU's side starts.
    pub fn cpu(&self) -> NonNull<u8> {
        self.address
    }

    /// Where the GPU's side starts.
    pub fn gpu(&self) -> NonNull<u8> {
        // SAFETY: the last of the mapping's copies.
        unsafe { self.address.add(self.length - self.size()) }
    }
}

impl AsFd for Pages {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `map`, and the driver's import of it is gone.
        let unmapped =
            unsafe { rustix::mm::munmap(self.address.as_ptr().cast::<c_void>(), self.length) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

fn sides_of(fd: BorrowedFd<'_>) -> Option<Sides> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    let name = link.to_str()?.strip_prefix("/memfd:")?;
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    Sides::ALL.into_iter().find(|sides| sides.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> usize {
        rustix::param::page_size()
    }

    #[test]
    fn sides_are_zeroed_and_apart_or_the_same() {
        for sides in Sides::ALL {
            let pages = Pages::new(sides, 5).unwrap();
            assert_eq!(pages.size(), page());
            // SAFETY: both sides are mapped, and only this test knows of them.
            unsafe {
                assert_eq!(pages.cpu().read(), 0);
                assert_eq!(pages.gpu().read(), 0);
                pages.cpu().write(7);
                assert_eq!(pages.gpu().read(), if sides == Sides::One { 7 } else { 0 });
                pages.gpu().add(page() - 1).write(8);
            }
        }
    }

    #[test]
    fn recognises_its_own_files_and_shares_their_pages() {
        for sides in Sides::ALL {
            let made = Pages::new(sides, 3 * page() as u64).unwrap();
            let known = Pages::recognise(made.as_fd()).unwrap().unwrap();
            assert_eq!((known.sides(), known.size()), (sides, 3 * page()));
            // SAFETY: both mappings live, and only this test knows of them.
            unsafe {
                made.gpu().write(9);
                assert_eq!(known.gpu().read(), 9);
            }
        }
    }

    #[test]
    fn leaves_other_files_to_the_driver() {
        let other = rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC).unwrap();
        assert!(Pages::recognise(other.as_fd()).unwrap().is_none());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(Pages::recognise(null.as_fd()).unwrap().is_none());
    }

    #[test]
    fn refuses_files_that_only_bear_its_name() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fake = rustix::fs::memfd_create(Sides::Two.name(), flags).unwrap();
        rustix::fs::ftruncate(&fake, 2 * page() as u64).unwrap();
        assert_eq!(Pages::recognise(fake.as_fd()).unwrap_err(), Errno::INVAL);
        rustix::fs::ftruncate(&fake, 3 * page() as u64).unwrap();
        rustix::fs::fcntl_add_seals(&fake, SealFlags::SHRINK).unwrap();
        assert_eq!(Pages::recognise(fake.as_fd()).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn a_size_beyond_the_address_space_is_an_error() {
        assert!(Pages::new(Sides::Two, u64::MAX).is_err());
        assert!(Pages::new(Sides::Two, 1 << 62).is_err());
    }
}
