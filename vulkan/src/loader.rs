//! One thread at a time in the Vulkan loader.
//!
//! Loader 1.4.309 looks for a device in its list of instances without a lock, in
//! vkGetDeviceProcAddr and vkSetDebugUtilsObjectNameEXT, while vkCreateInstance, vkEnumeratePhysicalDevices, vkDestroyDevice and
//! vkDestroyInstance of other threads change the list: a process that opens two devices at the
//! same time can crash.

use std::sync::{Mutex, MutexGuard, PoisonError};

static LOADER: Mutex<()> = Mutex::new(());

/// Keeps other threads of this crate out of the loader's lists.
pub fn lock() -> MutexGuard<'static, ()> {
    LOADER.lock().unwrap_or_else(PoisonError::into_inner)
}
