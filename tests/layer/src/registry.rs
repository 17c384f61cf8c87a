//! What the layer knows of objects by their handles.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A table of objects.
pub struct Registry<H, T>(Mutex<HashMap<H, Arc<T>>>);

impl<H, T> Default for Registry<H, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<H: Copy + Eq + Hash, T> Registry<H, T> {
    /// Adds an object.
    pub fn insert(&self, handle: H, object: T) {
        self.lock().insert(handle, Arc::new(object));
    }

    /// Finds an object.
    pub fn get(&self, handle: H) -> Option<Arc<T>> {
        self.lock().get(&handle).cloned()
    }

    /// Takes an object out.
    pub fn remove(&self, handle: H) -> Option<Arc<T>> {
        self.lock().remove(&handle)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<H, Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
