//! Device memory: allocation, import and release.

use core::ffi::c_void;
use core::ptr::NonNull;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;
use ash::vk::Handle as _;

use crate::adapter::fd_types;
use crate::chain::{self, Chain, Kept, kept};
use crate::device::{Device, Extended};
use crate::memory_types::Kind;
use crate::pages::{Pages, Sides};
use crate::{dispatch, live};

/// What the driver is told of an allocation of the layer's, beside where the pages are. A
/// dedicated allocation is none below: its size would have to be that of the resource.
const KEPT: [Kept; 2] = [
    kept::<vk::MemoryAllocateFlagsInfo<'_>>(),
    kept::<vk::MemoryPriorityAllocateInfoEXT<'_>>(),
];

/// Memory that the layer made or watches over.
pub struct Memory {
    /// What mappings show.
    cpu: NonNull<u8>,
    /// What the driver works on.
    gpu: NonNull<u8>,
    /// Bytes that the application asked for.
    size: usize,
    pages: Pages,
    /// Whether the CPU's side is the application's own, and not in the pages' file.
    foreign: bool,
    /// The mapped range.
    mapped: Mutex<Option<(usize, usize)>>,
}

// SAFETY: the pointers are into mappings that are not tied to a thread; what is done through them
// is the application's to synchronise, as with any device memory.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn of_pages(pages: Pages, size: usize) -> Self {
        Self {
            cpu: pages.cpu(),
            gpu: pages.gpu(),
            size,
            pages,
            foreign: false,
            mapped: Mutex::new(None),
        }
    }

    /// The pages' file, if it is what the application calls this memory.
    pub fn file(&self) -> Option<&Pages> {
        (!self.foreign).then_some(&self.pages)
    }

    /// Maps a range, `VK_WHOLE_SIZE` included, and returns its address.
    pub fn map(&self, offset: u64, size: u64) -> Result<*mut c_void, vk::Result> {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        let range = self.range(offset, size, self.size);
        match (range, &*mapped) {
            // VUID-vkMapMemory-memory-00678, -offset-00679 and -size-00681.
            (Some((start, end)), None) if start < end => {
                *mapped = Some((start, end));
                // SAFETY: the range is within the memory.
                Ok(unsafe { self.cpu.add(start) }.as_ptr().cast())
            }
            _ => Err(vk::Result::ERROR_MEMORY_MAP_FAILED),
        }
    }

    /// Ends the mapping.
    pub fn unmap(&self) {
        *self.mapped.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Makes the CPU's writes visible to the driver; returns the number of bytes copied.
    pub fn flush(&self, offset: u64, size: u64) -> usize {
        self.copy(offset, size, self.cpu, self.gpu)
    }

    /// Makes the driver's writes visible to the CPU; returns the number of bytes copied.
    pub fn invalidate(&self, offset: u64, size: u64) -> usize {
        self.copy(offset, size, self.gpu, self.cpu)
    }

    fn copy(&self, offset: u64, size: u64, from: NonNull<u8>, to: NonNull<u8>) -> usize {
        let mapped = *self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        let end = mapped.map_or(self.size, |(_, end)| end);
        match self.range(offset, size, end) {
            Some((start, end)) if from != to => {
                // SAFETY: the range is within both sides, which are apart. Somebody may write at
                // the same time, and then it is undefined what the other side sees, as on a
                // device; nobody makes references to these bytes.
                unsafe {
                    to.add(start)
                        .copy_from_nonoverlapping(from.add(start), end - start);
                };
                end - start
            }
            _ => 0,
        }
    }

    /// The start and end of a range, the whole of which ends at `whole`.
    fn range(&self, offset: u64, size: u64, whole: usize) -> Option<(usize, usize)> {
        let start = usize::try_from(offset).ok()?;
        let end = match size {
            vk::WHOLE_SIZE => whole,
            size => start.checked_add(usize::try_from(size).ok()?)?,
        };
        (start <= end && end <= self.size).then_some((start, end))
    }
}

/// `vkAllocateMemory`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn allocate_memory(
    device: vk::Device,
    info: *const vk::MemoryAllocateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    memory: *mut vk::DeviceMemory,
) -> vk::Result {
    // SAFETY: VUID-vkAllocateMemory-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkAllocateMemory") {
        return fault;
    }
    // SAFETY: VUID-vkAllocateMemory-pAllocateInfo-parameter.
    let made = unsafe { allocate(&next, &*info, allocator) };
    match made {
        Ok((handle, known)) => {
            if let Some(known) = known {
                next.memories.insert(handle, known);
            }
            live::created("VkDeviceMemory");
            // SAFETY: VUID-vkAllocateMemory-pMemory-parameter.
            unsafe { memory.write(handle) };
            vk::Result::SUCCESS
        }
        Err(error) => error,
    }
}

/// `vkFreeMemory`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn free_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: VUID-vkFreeMemory-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // Its pages are unmapped after the driver has let go of them.
    let known = next.memories.remove(memory);
    // SAFETY: the next entity gets what this one got.
    unsafe { (next.functions.v1_0.free_memory)(device, memory, allocator) };
    drop(known);
    if !memory.is_null() {
        live::destroyed("VkDeviceMemory");
    }
}

fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

type Made = Result<(vk::DeviceMemory, Option<Memory>), vk::Result>;

/// # Safety
/// `info` and `allocator` are valid for vkAllocateMemory.
unsafe fn allocate(
    next: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
) -> Made {
    let driver = |info: &vk::MemoryAllocateInfo<'_>| {
        // SAFETY: the caller vouches for the information, and each change to it is valid.
        unsafe { call(next, info, allocator) }.map(|handle| (handle, None))
    };
    let Some(extended) = &next.extended else {
        return driver(info);
    };
    let (kind, base) = extended.adapter.types.resolve(info.memory_type_index);
    let request = Request {
        next,
        extended,
        info,
        allocator,
        kind,
        base,
    };
    // SAFETY: the chain is valid.
    let (fd, host, export) = unsafe {
        (
            chain::find::<vk::ImportMemoryFdInfoKHR<'_>>(info.p_next),
            chain::find::<vk::ImportMemoryHostPointerInfoEXT<'_>>(info.p_next),
            chain::find::<vk::ExportMemoryAllocateInfo<'_>>(info.p_next),
        )
    };
    if let Some(import) = fd.filter(|import| import.handle_type.intersects(fd_types())) {
        // SAFETY: VUID-VkImportMemoryFdInfoKHR-handleType-00667 to -00670: an fd of the
        // application's.
        let file = unsafe { BorrowedFd::borrow_raw(import.fd) };
        return match Pages::recognise(file) {
            // SAFETY: as above; a successful import takes the fd.
            Ok(Some(pages)) => unsafe { request.import_fd(pages, import) },
            Ok(None) if kind == Kind::Driver => driver(info),
            Ok(None) | Err(_) => Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE),
        };
    }
    if let Some(import) = host.filter(|import| !import.handle_type.is_empty()) {
        return match kind {
            // SAFETY: VUID-VkImportMemoryHostPointerInfoEXT-pHostPointer-parameter.
            Kind::Incoherent => unsafe { request.import_host(import) },
            Kind::Driver | Kind::Uncached => driver(&info.memory_type_index(base)),
        };
    }
    let exports = export.is_some_and(|export| export.handle_types.intersects(fd_types()));
    if kind == Kind::Driver && !(exports && extended.importable & (1 << base) != 0) {
        return driver(info);
    }
    // SAFETY: the caller vouches for the information.
    unsafe { request.make() }
}

/// Calls the next entity.
///
/// # Safety
/// As vkAllocateMemory.
unsafe fn call(
    next: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
) -> Result<vk::DeviceMemory, vk::Result> {
    let mut handle = vk::DeviceMemory::null();
    // SAFETY: the caller vouches for the call.
    let result = unsafe {
        (next.functions.v1_0.allocate_memory)(next.handle, info, allocator, &raw mut handle)
    };
    result.result_with_success(handle)
}

/// An allocation whose pages are the layer's.
struct Request<'a> {
    next: &'a Device,
    extended: &'a Extended,
    info: &'a vk::MemoryAllocateInfo<'a>,
    allocator: *const vk::AllocationCallbacks<'a>,
    kind: Kind,
    base: u32,
}

impl Request<'_> {
    /// Makes new pages.
    ///
    /// # Safety
    /// The request is valid.
    unsafe fn make(self) -> Made {
        let size = self.size()?;
        if self.info.allocation_size > self.extended.adapter.types.heap_size(self.base) {
            return Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        }
        let sides = match self.kind {
            Kind::Incoherent => Sides::Two,
            Kind::Driver | Kind::Uncached => Sides::One,
        };
        let pages = Pages::new(sides, self.info.allocation_size)
            .map_err(|_| vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?;
        let memory = Memory::of_pages(pages, size);
        // SAFETY: the caller vouches for the request; the pages are as large as it says.
        unsafe { self.bind(memory) }
    }

    /// Takes pages of another device or process.
    ///
    /// # Safety
    /// The request is valid, and `pages` are those of `import`.
    unsafe fn import_fd(self, pages: Pages, import: &vk::ImportMemoryFdInfoKHR<'_>) -> Made {
        let size = self.size()?;
        let fits = match pages.sides() {
            Sides::One => self.kind != Kind::Incoherent,
            Sides::Two => self.kind == Kind::Incoherent,
        };
        if !fits || size > pages.size() {
            return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
        }
        let memory = Memory::of_pages(pages, size);
        // SAFETY: the caller vouches for the request; the pages are large enough.
        let made = unsafe { self.bind(memory) }?;
        // SAFETY: a successful import takes ownership of the fd, of which the pages have a copy.
        drop(unsafe { OwnedFd::from_raw_fd(import.fd) });
        Ok(made)
    }

    /// Takes memory of the application as the CPU's side.
    ///
    /// # Safety
    /// The request is valid, and `import` is its own.
    unsafe fn import_host(self, import: &vk::ImportMemoryHostPointerInfoEXT<'_>) -> Made {
        let size = self.size()?;
        let cpu = NonNull::new(import.p_host_pointer.cast::<u8>())
            .ok_or(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE)?;
        let pages = Pages::new(Sides::One, self.info.allocation_size)
            .map_err(|_| vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        let memory = Memory {
            cpu,
            foreign: true,
            ..Memory::of_pages(pages, size)
        };
        // SAFETY: the caller vouches for the request; the pages are as large as it says.
        unsafe { self.bind(memory) }
    }

    /// Bytes that the application asked for.
    fn size(&self) -> Result<usize, vk::Result> {
        usize::try_from(self.info.allocation_size)
            .map_err(|_| vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)
    }

    /// Has the driver work on the GPU's side.
    ///
    /// # Safety
    /// The request is valid, and the side has its size.
    unsafe fn bind(self, memory: Memory) -> Made {
        let import = vk::ImportMemoryHostPointerInfoEXT::default()
            .handle_type(HandleTypes::HOST_ALLOCATION_EXT)
            .host_pointer(memory.gpu.as_ptr().cast());
        // SAFETY: the caller vouches for the chain.
        let chain = unsafe { Chain::copy(self.info.p_next, &KEPT) }.push(&import);
        let mut info = vk::MemoryAllocateInfo::default()
            // VUID-VkMemoryAllocateInfo-allocationSize-01745: a multiple of the import
            // alignment, which divides the size of a page.
            .allocation_size(self.info.allocation_size.next_multiple_of(page_size()))
            .memory_type_index(self.base);
        info.p_next = chain.head();
        // SAFETY: the pages stay mapped until the memory is freed.
        let handle = unsafe { call(self.next, &info, self.allocator) }?;
        Ok((handle, Some(memory)))
    }
}
