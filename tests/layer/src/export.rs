//! Memory as a file, and which memory types a file or host pointer can become.

use core::ffi::{c_int, c_void};
use std::os::fd::{AsFd as _, BorrowedFd, IntoRawFd as _};

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;

use crate::adapter::fd_types;
use crate::device::Extended;
use crate::dispatch;
use crate::memory_types::Kind;
use crate::pages::{Pages, Sides};

/// `vkGetMemoryFdKHR`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_memory_fd(
    device: vk::Device,
    info: *const vk::MemoryGetFdInfoKHR<'_>,
    fd: *mut c_int,
) -> vk::Result {
    // SAFETY: VUID-vkGetMemoryFdKHR-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkGetMemoryFdKHR") {
        return fault;
    }
    // SAFETY: VUID-vkGetMemoryFdKHR-pGetFdInfo-parameter.
    let memory = next.memories.get(unsafe { (*info).memory });
    let Some(pages) = memory.as_ref().and_then(|memory| memory.file()) else {
        // SAFETY: the next entity gets what this one got.
        return unsafe { (next.functions.external_memory_fd.get_memory_fd_khr)(device, info, fd) };
    };
    match rustix::io::fcntl_dupfd_cloexec(pages.as_fd(), 0) {
        Ok(copy) => {
            // SAFETY: VUID-vkGetMemoryFdKHR-pFd-parameter.
            unsafe { fd.write(copy.into_raw_fd()) };
            vk::Result::SUCCESS
        }
        Err(_) => vk::Result::ERROR_TOO_MANY_OBJECTS,
    }
}

/// `vkGetMemoryFdPropertiesKHR`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_memory_fd_properties(
    device: vk::Device,
    handle_type: HandleTypes,
    fd: c_int,
    properties: *mut vk::MemoryFdPropertiesKHR<'_>,
) -> vk::Result {
    // SAFETY: VUID-vkGetMemoryFdPropertiesKHR-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkGetMemoryFdPropertiesKHR") {
        return fault;
    }
    let own = next
        .extended
        .as_ref()
        .filter(|_| fd >= 0 && handle_type.intersects(fd_types()));
    if let Some(extended) = own {
        // SAFETY: VUID-vkGetMemoryFdPropertiesKHR-fd-00673: an fd of the application's.
        match Pages::recognise(unsafe { BorrowedFd::borrow_raw(fd) }) {
            Ok(Some(pages)) => {
                let bits = memory_types_of(extended, pages.sides());
                // SAFETY: VUID-vkGetMemoryFdPropertiesKHR-pMemoryFdProperties-parameter.
                unsafe { (*properties).memory_type_bits = bits };
                return vk::Result::SUCCESS;
            }
            Ok(None) => {}
            Err(_) => return vk::Result::ERROR_INVALID_EXTERNAL_HANDLE,
        }
    }
    let query = next
        .functions
        .external_memory_fd
        .get_memory_fd_properties_khr;
    // SAFETY: the next entity gets what this one got.
    unsafe { query(device, handle_type, fd, properties) }
}

/// The memory types that the pages of a file can be imported as.
fn memory_types_of(extended: &Extended, sides: Sides) -> u32 {
    let types = &extended.adapter.types;
    let all = types.widen(extended.importable);
    match sides {
        Sides::One => all & !types.bit(Kind::Incoherent),
        Sides::Two => all & types.bit(Kind::Incoherent),
    }
}

/// `vkGetMemoryHostPointerPropertiesEXT`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_memory_host_pointer_properties(
    device: vk::Device,
    handle_type: HandleTypes,
    pointer: *const c_void,
    properties: *mut vk::MemoryHostPointerPropertiesEXT<'_>,
) -> vk::Result {
    // SAFETY: VUID-vkGetMemoryHostPointerPropertiesEXT-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkGetMemoryHostPointerPropertiesEXT") {
        return fault;
    }
    let query = next
        .functions
        .external_memory_host
        .get_memory_host_pointer_properties_ext;
    // SAFETY: the next entity gets what this one got.
    let result = unsafe { query(device, handle_type, pointer, properties) };
    if let (vk::Result::SUCCESS, Some(extended)) = (result, &next.extended) {
        // SAFETY: VUID-vkGetMemoryHostPointerPropertiesEXT-pMemoryHostPointerProperties-parameter.
        let bits = unsafe { &mut (*properties).memory_type_bits };
        *bits = extended.adapter.types.widen(*bits);
    }
    result
}
