//! Mapping, and the flushes and invalidates that are all that keeps two sides alike.

use core::ffi::c_void;
use core::{ptr, slice};

use ash::vk;

use crate::device::Device;
use crate::dispatch;
use crate::memory::Memory;
use crate::statistics::{Counter, FLUSHES, INVALIDATES};

/// `vkMapMemory`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn map_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    offset: vk::DeviceSize,
    size: vk::DeviceSize,
    flags: vk::MemoryMapFlags,
    data: *mut *mut c_void,
) -> vk::Result {
    // SAFETY: VUID-vkMapMemory-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkMapMemory") {
        return fault;
    }
    match next.memories.get(memory) {
        // SAFETY: VUID-vkMapMemory-ppData-parameter.
        Some(known) => unsafe { map(&known, offset, size, flags, data) },
        // SAFETY: the next entity gets what this one got.
        None => unsafe {
            (next.functions.v1_0.map_memory)(device, memory, offset, size, flags, data)
        },
    }
}

/// `vkMapMemory2`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn map_memory2(
    device: vk::Device,
    info: *const vk::MemoryMapInfoKHR<'_>,
    data: *mut *mut c_void,
) -> vk::Result {
    // SAFETY: VUID-vkMapMemory2-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkMapMemory2") {
        return fault;
    }
    // SAFETY: VUID-vkMapMemory2-pMemoryMapInfo-parameter.
    let request = unsafe { &*info };
    match next.memories.get(request.memory) {
        // SAFETY: VUID-vkMapMemory2-ppData-parameter.
        Some(known) => unsafe { map(&known, request.offset, request.size, request.flags, data) },
        // SAFETY: the next entity gets what this one got.
        None => unsafe { (next.functions.map_memory2.map_memory2_khr)(device, info, data) },
    }
}

/// # Safety
/// `data` can be written to.
unsafe fn map(
    memory: &Memory,
    offset: u64,
    size: u64,
    flags: vk::MemoryMapFlags,
    data: *mut *mut c_void,
) -> vk::Result {
    // A mapping at an address of the application's choice (VK_EXT_map_memory_placed).
    if !flags.is_empty() {
        return vk::Result::ERROR_MEMORY_MAP_FAILED;
    }
    match memory.map(offset, size) {
        Ok(address) => {
            // SAFETY: the caller vouches for `data`.
            unsafe { data.write(address) };
            vk::Result::SUCCESS
        }
        Err(error) => error,
    }
}

/// `vkUnmapMemory`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn unmap_memory(device: vk::Device, memory: vk::DeviceMemory) {
    // SAFETY: VUID-vkUnmapMemory-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    match next.memories.get(memory) {
        Some(known) => known.unmap(),
        // SAFETY: the next entity gets what this one got.
        None => unsafe { (next.functions.v1_0.unmap_memory)(device, memory) },
    }
}

/// `vkUnmapMemory2`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn unmap_memory2(
    device: vk::Device,
    info: *const vk::MemoryUnmapInfoKHR<'_>,
) -> vk::Result {
    // SAFETY: VUID-vkUnmapMemory2-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkUnmapMemory2") {
        return fault;
    }
    // SAFETY: VUID-vkUnmapMemory2-pMemoryUnmapInfo-parameter.
    let memory = unsafe { (*info).memory };
    if let Some(known) = next.memories.get(memory) {
        known.unmap();
        return vk::Result::SUCCESS;
    }
    // SAFETY: the next entity gets what this one got.
    unsafe { (next.functions.map_memory2.unmap_memory2_khr)(device, info) }
}

/// `vkFlushMappedMemoryRanges`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn flush_mapped_memory_ranges(
    device: vk::Device,
    count: u32,
    ranges: *const vk::MappedMemoryRange<'_>,
) -> vk::Result {
    // SAFETY: VUID-vkFlushMappedMemoryRanges-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkFlushMappedMemoryRanges") {
        return fault;
    }
    // SAFETY: VUID-vkFlushMappedMemoryRanges-pMemoryRanges-parameter, never an empty array.
    let ranges = unsafe { slice::from_raw_parts(ranges, count as usize) };
    let rest = synchronise(&next, ranges, &FLUSHES, Memory::flush);
    // SAFETY: the next entity gets what this one got, less the memory that it does not map.
    unsafe {
        forward(
            device,
            next.functions.v1_0.flush_mapped_memory_ranges,
            &rest,
        )
    }
}

/// `vkInvalidateMappedMemoryRanges`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn invalidate_mapped_memory_ranges(
    device: vk::Device,
    count: u32,
    ranges: *const vk::MappedMemoryRange<'_>,
) -> vk::Result {
    // SAFETY: VUID-vkInvalidateMappedMemoryRanges-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkInvalidateMappedMemoryRanges") {
        return fault;
    }
    // SAFETY: VUID-vkInvalidateMappedMemoryRanges-pMemoryRanges-parameter, never an empty array.
    let ranges = unsafe { slice::from_raw_parts(ranges, count as usize) };
    let rest = synchronise(&next, ranges, &INVALIDATES, Memory::invalidate);
    // SAFETY: the next entity gets what this one got, less the memory that it does not map.
    unsafe {
        forward(
            device,
            next.functions.v1_0.invalidate_mapped_memory_ranges,
            &rest,
        )
    }
}

/// Serves the ranges of the layer's memory and returns the driver's.
fn synchronise<'a>(
    next: &Device,
    ranges: &[vk::MappedMemoryRange<'a>],
    counter: &Counter,
    copy: fn(&Memory, u64, u64) -> usize,
) -> Vec<vk::MappedMemoryRange<'a>> {
    let mut rest = Vec::new();
    for range in ranges {
        if let Some(known) = next.memories.get(range.memory) {
            counter.count(copy(&known, range.offset, range.size));
        } else {
            counter.count(0);
            rest.push(*range);
        }
    }
    rest
}

/// # Safety
/// The ranges are valid for `command`, a function of the next entity.
unsafe fn forward(
    device: vk::Device,
    command: vk::PFN_vkFlushMappedMemoryRanges,
    ranges: &[vk::MappedMemoryRange<'_>],
) -> vk::Result {
    if ranges.is_empty() {
        return vk::Result::SUCCESS;
    }
    let count = u32::try_from(ranges.len()).unwrap_or(u32::MAX);
    // SAFETY: the caller vouches for the ranges, of which there are as many.
    unsafe { command(device, count, ptr::from_ref(ranges).cast()) }
}
