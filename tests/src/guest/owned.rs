//! Handles that are destroyed when they go out of scope.

use ash::{Device, vk};

use super::gpu::Gpu;

/// How a kind of object is destroyed.
type Destroy<T> = unsafe fn(&Device, T, Option<&vk::AllocationCallbacks<'_>>);

/// An object of a device, with no state but its handle.
#[derive(Debug)]
pub struct Owned<'g, T: Copy> {
    gpu: &'g Gpu,
    handle: T,
    destroy: Destroy<T>,
}

impl<'g, T: Copy> Owned<'g, T> {
    /// Takes over an object of this device, with the function that destroys its kind.
    pub(super) fn new(gpu: &'g Gpu, handle: T, destroy: Destroy<T>) -> Self {
        Self {
            gpu,
            handle,
            destroy,
        }
    }

    /// The handle.
    #[must_use]
    pub fn handle(&self) -> T {
        self.handle
    }
}

impl<T: Copy> Drop for Owned<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the object is the device's and of the kind the function destroys, and every
        // submission is waited for, so no command uses it any more.
        unsafe { (self.destroy)(self.gpu.device(), self.handle, None) };
    }
}
