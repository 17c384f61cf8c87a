//! The exporter `udmabuf`: dma-bufs out of the pages of memfds (`linux/udmabuf.h`).

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

use super::find::{self, NotFound};

const PATH: &str = "/dev/udmabuf";
const PARAMETERS: &str = "/sys/module/udmabuf/parameters";

/// UDMABUF_FLAGS_CLOEXEC
const CLOSE_ON_EXEC: u64 = 1;

/// `struct udmabuf_create` and `struct udmabuf_create_list`, of which the latter ends in items.
const CREATE: Opcode = opcode::write::<[u64; 3]>(b'u', 0x42);
const CREATE_LIST: Opcode = opcode::write::<[u32; 2]>(b'u', 0x43);

/// Pages of a memfd, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Item<'fd> {
    /// The memfd.
    pub memfd: BorrowedFd<'fd>,
    /// Where the pages start.
    pub offset: u64,
    /// How much they are.
    pub size: u64,
}

impl Item<'_> {
    /// As in both structures: the memfd, a word, offset and size.
    fn words(&self, second: u64) -> [u64; 3] {
        let memfd = u64::from(self.memfd.as_raw_fd().cast_unsigned());
        [memfd | (second << 32), self.offset, self.size]
    }
}

/// The device.
#[derive(Debug)]
pub struct Udmabuf(OwnedFd);

impl Udmabuf {
    /// Opens it; `None`, and a line that says so, where there is none.
    ///
    /// # Errors
    /// See [`NotFound`].
    pub fn find() -> Result<Option<Self>, NotFound> {
        Ok(find::open(Path::new(PATH))?.map(Self))
    }

    /// Makes a dma-buf out of pages of one memfd.
    ///
    /// # Errors
    /// EINVAL for a memfd that is not sealed as it must be and for pages that are not there;
    /// EBADFD for any other file.
    pub fn create(&self, item: Item<'_>) -> Result<OwnedFd, Errno> {
        self.make(CREATE, item.words(CLOSE_ON_EXEC).to_vec())
    }

    /// Makes a dma-buf out of all of a memfd.
    ///
    /// # Errors
    /// As [`Udmabuf::create`].
    pub fn create_whole(&self, memfd: &OwnedFd) -> Result<OwnedFd, Errno> {
        let size = rustix::fs::fstat(memfd)?.st_size.cast_unsigned();
        let memfd = memfd.as_fd();
        self.create(Item {
            memfd,
            offset: 0,
            size,
        })
    }

    /// Makes a dma-buf out of pages of several memfds, one after the other.
    ///
    /// # Errors
    /// As [`Udmabuf::create`]; EINVAL for too many items.
    pub fn create_list(&self, items: &[Item<'_>]) -> Result<OwnedFd, Errno> {
        let count = u32::try_from(items.len()).map_err(|_| Errno::INVAL)?;
        let mut words = vec![CLOSE_ON_EXEC | (u64::from(count) << 32)];
        items.iter().for_each(|item| words.extend(item.words(0)));
        self.make(CREATE_LIST, words)
    }

    fn make(&self, opcode: Opcode, words: Vec<u64>) -> Result<OwnedFd, Errno> {
        // SAFETY: the words are the structure that belongs to the opcode, with as many items as
        // its count says.
        unsafe { ioctl(&self.0, Create { opcode, words }) }
    }

    /// A limit of the driver, by the name of its module parameter.
    ///
    /// # Panics
    /// If the driver has no such limit.
    pub fn limit(name: &str) -> u64 {
        let path = Path::new(PARAMETERS).join(name);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let Ok(limit) = text.trim().parse() else {
            panic!("{} is {text:?}", path.display());
        };
        limit
    }
}

struct Create {
    opcode: Opcode,
    words: Vec<u64>,
}

// SAFETY: the kernel reads the words that the opcode and their own count announce, writes none of
// them, and returns a new file.
unsafe impl Ioctl for Create {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut core::ffi::c_void {
        self.words.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _argument: *mut core::ffi::c_void,
    ) -> Result<OwnedFd, Errno> {
        // SAFETY: a value that is no error is a file made for us.
        Ok(unsafe { OwnedFd::from_raw_fd(output) })
    }
}
