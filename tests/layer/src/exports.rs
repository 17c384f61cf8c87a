//! The library's C functions, for a program that loads it by `dlopen` beside the loader.

use core::ffi::{CStr, c_char};
use core::{ptr, slice};

use ash::vk;

use crate::{fault, live, statistics};

/// Makes the `nth` fallible call from now return `result`, a VkResult; 0 for none. The count of
/// calls starts anew.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_layer_fault_arm(nth: u64, result: i32) {
    fault::arm(nth, vk::Result::from_raw(result), None);
}

/// As [`coherd_layer_fault_arm`], but counts calls of `command` only, such as `vkQueueSubmit2`.
///
/// # Safety
/// `command` is a string that ends in a nul.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_layer_fault_arm_command(
    command: *const c_char,
    nth: u64,
    result: i32,
) {
    // SAFETY: the caller vouches for the string.
    let command = unsafe { CStr::from_ptr(command) };
    fault::arm(nth, vk::Result::from_raw(result), Some(command.to_owned()));
}

/// Calls counted since the last arming.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_layer_fault_calls() -> u64 {
    fault::calls()
}

/// Whether a call was made to fail since the last arming.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_layer_fault_fired() -> bool {
    fault::fired().is_some()
}

/// The command that was made to fail, or null; a constant string.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_layer_fault_name() -> *const c_char {
    fault::fired().map_or(ptr::null(), CStr::as_ptr)
}

/// Vulkan objects created and not destroyed, instances and devices included.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_layer_live_objects() -> u64 {
    live::count()
}

/// Writes what lives, such as `2 VkBuffer, 1 VkDevice`, without a nul and as far as `buffer`
/// reaches. Returns the length of the whole text.
///
/// # Safety
/// `buffer` has room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_layer_live_describe(buffer: *mut c_char, size: usize) -> usize {
    let text = live::describe();
    if size > 0 {
        let written = text.len().min(size);
        // SAFETY: the caller vouches for `size` bytes.
        let room = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), written) };
        room.copy_from_slice(&text.as_bytes()[..written]);
    }
    text.len()
}

/// Ranges flushed so far, of any memory.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_layer_flushes() -> u64 {
    statistics::FLUSHES.ranges()
}

/// Bytes of incoherent memory copied from the CPU's side to the GPU's.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_layer_bytes_flushed() -> u64 {
    statistics::FLUSHES.bytes()
}

/// Ranges invalidated so far, of any memory.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_layer_invalidates() -> u64 {
    statistics::INVALIDATES.ranges()
}

/// Bytes of incoherent memory copied from the GPU's side to the CPU's.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_layer_bytes_invalidated() -> u64 {
    statistics::INVALIDATES.bytes()
}
