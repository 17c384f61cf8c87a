//! From a dispatchable handle to what the layer knows of its instance or device.

use core::ptr;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use ash::vk;

use crate::device::Device;
use crate::instance::Instance;

/// Identifies an instance or device and everything dispatched through it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(usize);

/// A Vulkan handle that is a pointer to an object of the loader.
///
/// # Safety
/// The type has the representation of a pointer, and a live handle points to an object whose
/// first word is the loader's dispatch table.
pub unsafe trait Dispatchable: vk::Handle {}

/// A handle dispatched through an instance.
pub trait OfInstance: Dispatchable {}

/// A handle dispatched through a device.
pub trait OfDevice: Dispatchable {}

// SAFETY: VK_DEFINE_HANDLE makes VkInstance a pointer, which ash keeps as a transparent type.
unsafe impl Dispatchable for vk::Instance {}
// SAFETY: as for VkInstance.
unsafe impl Dispatchable for vk::PhysicalDevice {}
// SAFETY: as for VkInstance.
unsafe impl Dispatchable for vk::Device {}
// SAFETY: as for VkInstance.
unsafe impl Dispatchable for vk::Queue {}
// SAFETY: as for VkInstance.
unsafe impl Dispatchable for vk::CommandBuffer {}

impl OfInstance for vk::Instance {}
impl OfInstance for vk::PhysicalDevice {}
impl OfDevice for vk::Device {}
impl OfDevice for vk::Queue {}
impl OfDevice for vk::CommandBuffer {}

impl Key {
    /// The key of the instance or device that `handle` is or belongs to.
    ///
    /// A physical device shares the dispatch table of its instance, and a queue that of its
    /// device, also when a layer wraps it, which makes the table's address the key (LLI, "Hash
    /// Maps").
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

/// What the layer answers for.
pub struct Table<T>(RwLock<BTreeMap<Key, Arc<T>>>);

/// The instances.
pub static INSTANCES: Table<Instance> = Table::new();

/// The devices.
pub static DEVICES: Table<Device> = Table::new();

impl<T> Table<T> {
    const fn new() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }

    /// Starts to answer for an object.
    pub fn insert(&self, key: Key, object: T) {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        objects.insert(key, Arc::new(object));
    }

    /// Ceases to answer for an object.
    pub fn remove(&self, key: Key) -> Option<Arc<T>> {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        objects.remove(&key)
    }

    /// The object, without keeping the lock: the next entity may call back into the layer.
    fn get(&self, key: Key) -> Option<Arc<T>> {
        let objects = self.0.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(&key).cloned()
    }
}

/// The instance that `handle` is or belongs to.
///
/// # Safety
/// `handle` is a live handle.
pub unsafe fn instance<H: OfInstance>(handle: &H) -> Option<Arc<Instance>> {
    // SAFETY: the caller vouches for the handle.
    INSTANCES.get(unsafe { Key::of(handle) })
}

/// The device that `handle` is or belongs to.
///
/// # Safety
/// `handle` is a live handle.
pub unsafe fn device<H: OfDevice>(handle: &H) -> Option<Arc<Device>> {
    // SAFETY: the caller vouches for the handle.
    DEVICES.get(unsafe { Key::of(handle) })
}
