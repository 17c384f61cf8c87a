//! What is allocated of each heap, and what may be.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ash::vk;

use crate::extensions::Extensions;
use crate::facts::Facts;
use crate::logical::LogicalDevice;
use crate::memory::{AllocateError, HeapInfo};

/// Counters of a device's heaps.
#[derive(Debug)]
pub struct Heaps {
    used: Vec<AtomicU64>,
    allocations: AtomicU32,
    // Held from the look at the budget until the driver counts the allocation.
    allocating: Mutex<()>,
}

impl Heaps {
    /// Counters for the heaps of a device.
    pub fn new(facts: &Facts) -> Self {
        Self {
            used: facts.heaps.iter().map(|_| AtomicU64::new(0)).collect(),
            allocations: AtomicU32::new(0),
            allocating: Mutex::new(()),
        }
    }

    /// Makes others who look at the budget wait.
    pub fn lock(&self) -> MutexGuard<'_, ()> {
        self.allocating
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an allocation.
    ///
    /// # Errors
    /// [`AllocateError::TooMany`], VUID-vkAllocateMemory-maxMemoryAllocationCount-04101.
    pub fn charge(&self, heap: u32, size: u64, limit: u32) -> Result<(), AllocateError> {
        self.allocations
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < limit).then_some(count + 1)
            })
            .map_err(|_| AllocateError::TooMany { limit })?;
        self.heap(heap, |used| used.fetch_add(size, Ordering::Relaxed));
        Ok(())
    }

    /// Forgets an allocation.
    pub fn release(&self, heap: u32, size: u64) {
        self.allocations.fetch_sub(1, Ordering::Relaxed);
        self.heap(heap, |used| used.fetch_sub(size, Ordering::Relaxed));
    }

    fn heap(&self, heap: u32, change: impl FnOnce(&AtomicU64) -> u64) {
        if let Some(used) = usize::try_from(heap).ok().and_then(|i| self.used.get(i)) {
            change(used);
        }
    }
}

/// The heaps of `device` as they are now.
pub fn heaps(device: &LogicalDevice) -> Vec<HeapInfo> {
    let budgets = device
        .has(Extensions::BUDGET)
        .then(|| driver_budgets(device));
    let facts = device.facts().heaps.iter();
    facts
        .zip(&device.heaps().used)
        .enumerate()
        .map(|(index, (heap, own))| {
            let own = own.load(Ordering::Relaxed);
            let by_driver = budgets.and_then(|all| {
                let budget = all.heap_budget.get(index).copied()?;
                let used = all.heap_usage.get(index).copied()?;
                Some((budget, used))
            });
            // A driver's numbers may lag behind.
            let (budget, used) = match by_driver {
                Some((budget, used)) => (budget.min(heap.size), used.max(own)),
                None => (heap.size / 10 * 8, own),
            };
            HeapInfo {
                size: heap.size,
                budget,
                used,
                device_local: heap.device_local,
            }
        })
        .collect()
}

fn driver_budgets(device: &LogicalDevice) -> vk::PhysicalDeviceMemoryBudgetPropertiesEXT<'static> {
    let mut budgets = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budgets);
    // SAFETY: the device has VK_EXT_memory_budget
    // (VUID-VkPhysicalDeviceMemoryProperties2-pNext-pNext) and the chain lives through the call.
    unsafe {
        device
            .instance()
            .get_physical_device_memory_properties2(device.physical(), &mut properties);
    }
    budgets.p_next = std::ptr::null_mut();
    budgets
}

/// Whether `size` bytes of new memory are within the budget of `heap`.
///
/// # Errors
/// [`AllocateError::TooLarge`] (VUID-vkAllocateMemory-pAllocateInfo-01713) and
/// [`AllocateError::OverBudget`].
pub fn check_budget(heap: &HeapInfo, size: u64) -> Result<(), AllocateError> {
    if size > heap.size {
        return Err(AllocateError::TooLarge {
            size,
            limit: heap.size,
        });
    }
    let available = heap.budget.saturating_sub(heap.used);
    if size > available {
        return Err(AllocateError::OverBudget { size, available });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> Heaps {
        Heaps {
            used: vec![AtomicU64::new(0)],
            allocations: AtomicU32::new(0),
            allocating: Mutex::new(()),
        }
    }

    #[test]
    fn allocations_are_counted_up_to_the_drivers_limit() {
        let heaps = counters();

        heaps.charge(0, 100, 2).unwrap();
        heaps.charge(0, 100, 2).unwrap();
        let third = heaps.charge(0, 100, 2);

        assert_eq!(third, Err(AllocateError::TooMany { limit: 2 }));
        assert_eq!(heaps.used[0].load(Ordering::Relaxed), 200);
        heaps.release(0, 100);
        assert_eq!(heaps.used[0].load(Ordering::Relaxed), 100);
        heaps.charge(0, 100, 2).unwrap();
    }

    #[test]
    fn budget_counts_what_is_used() {
        let heap = HeapInfo {
            size: 1000,
            budget: 800,
            used: 300,
            device_local: false,
        };
        assert_eq!(check_budget(&heap, 500), Ok(()));
        assert_eq!(
            check_budget(&heap, 501),
            Err(AllocateError::OverBudget {
                size: 501,
                available: 500
            })
        );
        assert_eq!(
            check_budget(&heap, 1001),
            Err(AllocateError::TooLarge {
                size: 1001,
                limit: 1000
            })
        );
    }

    #[test]
    fn usage_over_the_budget_leaves_nothing() {
        let heap = HeapInfo {
            size: 1000,
            budget: 800,
            used: 900,
            device_local: false,
        };
        assert!(check_budget(&heap, 1).is_err());
    }
}
