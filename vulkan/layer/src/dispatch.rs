//! What the layer knows of each live instance.

use core::ptr;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use ash::vk;

use crate::hidden::Hidden;

/// The next entity of the call chain, and what to hide of its answers.
pub struct Instance {
    pub get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    pub destroy_instance: vk::PFN_vkDestroyInstance,
    pub enumerate_device_extension_properties: vk::PFN_vkEnumerateDeviceExtensionProperties,
    pub hidden: Hidden,
}

/// Identifies an instance and everything dispatched through it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(usize);

/// A Vulkan handle that is a pointer to an object of the loader.
///
/// # Safety
/// The type has the representation of a pointer, and a live handle points to an object whose
/// first word is the loader's dispatch table.
pub unsafe trait Dispatchable: vk::Handle {}

// SAFETY: VK_DEFINE_HANDLE makes VkInstance a pointer, which ash keeps as a transparent type.
unsafe impl Dispatchable for vk::Instance {}

// SAFETY: as for VkInstance.
unsafe impl Dispatchable for vk::PhysicalDevice {}

impl Key {
    /// The key of the instance that `handle` is or belongs to.
    ///
    /// A physical device shares the dispatch table of its instance, also when a layer wraps it,
    /// which makes the table's address the key (LLI, "Hash Maps").
    ///
    /// # Safety
    /// `handle` is a live handle.
    pub unsafe fn of<H: Dispatchable>(handle: &H) -> Self {
        // SAFETY: `Dispatchable` promises the representation of a pointer.
        let object = unsafe { ptr::from_ref(handle).cast::<*const *const u8>().read() };
        // SAFETY: `Dispatchable` promises the first word, and the caller that the object lives.
        Self(unsafe { object.read() }.addr())
    }
}

static INSTANCES: RwLock<BTreeMap<Key, Arc<Instance>>> = RwLock::new(BTreeMap::new());

/// Starts to answer for an instance.
pub fn insert(key: Key, instance: Instance) {
    let mut instances = INSTANCES.write().unwrap_or_else(PoisonError::into_inner);
    instances.insert(key, Arc::new(instance));
}

/// The instance, without keeping the lock: the next entity may call back into the layer.
pub fn get(key: Key) -> Option<Arc<Instance>> {
    let instances = INSTANCES.read().unwrap_or_else(PoisonError::into_inner);
    instances.get(&key).cloned()
}

/// Ceases to answer for an instance.
pub fn remove(key: Key) -> Option<Arc<Instance>> {
    let mut instances = INSTANCES.write().unwrap_or_else(PoisonError::into_inner);
    instances.remove(&key)
}
