//! How the end of a submission is known: by one timeline semaphore or, without
//! VK_KHR_timeline_semaphore, by a fence each.

use std::sync::Arc;
use std::time::Duration;

use ash::{khr, vk};

use crate::error::DeviceError;
use crate::logical::LogicalDevice;
use crate::transfer::WaitError;

/// The way of a device.
pub enum Completion {
    /// Each submission sets the semaphore to its number.
    Timeline(Timeline),
    /// Each submission signals a fence.
    Fences,
}

/// A timeline semaphore.
pub struct Timeline {
    device: Arc<LogicalDevice>,
    functions: khr::timeline_semaphore::Device,
    raw: vk::Semaphore,
}

/// How the end of one submission is known.
#[derive(Clone, Debug)]
pub enum Ticket {
    /// The timeline semaphore reaches this value.
    Timeline(u64),
    /// The fence is signaled.
    Fence(Arc<Fence>),
}

/// A fence of one submission.
#[derive(Debug)]
pub struct Fence {
    device: Arc<LogicalDevice>,
    raw: vk::Fence,
}

impl Completion {
    /// The best way `device` has.
    ///
    /// # Errors
    /// That of vkCreateSemaphore.
    pub fn new(device: &Arc<LogicalDevice>) -> Result<Self, DeviceError> {
        let Some(functions) = device.functions().timeline.clone() else {
            return Ok(Self::Fences);
        };
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(0);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the feature is enabled (VUID-VkSemaphoreTypeCreateInfo-timelineSemaphore-03252)
        // and the chain lives through the call.
        let raw = device.outcome("vkCreateSemaphore", unsafe {
            device.raw().create_semaphore(&info, None)
        })?;
        Ok(Self::Timeline(Timeline {
            device: device.clone(),
            functions,
            raw,
        }))
    }

    /// The ticket of submission `number`.
    ///
    /// # Errors
    /// That of vkCreateFence.
    pub fn ticket(&self, device: &Arc<LogicalDevice>, number: u64) -> Result<Ticket, DeviceError> {
        Ok(match self {
            Self::Timeline(_) => Ticket::Timeline(number),
            Self::Fences => Ticket::Fence(Arc::new(Fence::new(device)?)),
        })
    }

    /// The timeline semaphore, if that is the way.
    pub fn semaphore(&self) -> Option<vk::Semaphore> {
        match self {
            Self::Timeline(timeline) => Some(timeline.raw),
            Self::Fences => None,
        }
    }

    /// Whether the submission of `ticket` is complete.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn is_done(&self, ticket: &Ticket) -> Result<bool, DeviceError> {
        match (self, ticket) {
            (Self::Timeline(timeline), Ticket::Timeline(number)) => {
                Ok(timeline.value()? >= *number)
            }
            (_, Ticket::Fence(fence)) => fence.is_signaled(),
            // A device has one way.
            (Self::Fences, Ticket::Timeline(_)) => Ok(false),
        }
    }

    /// Waits until the submission of `ticket` is complete.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub fn wait(&self, ticket: &Ticket, timeout: Duration) -> Result<(), WaitError> {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        match (self, ticket) {
            (Self::Timeline(timeline), Ticket::Timeline(number)) => {
                timeline.wait(*number, nanoseconds)
            }
            (_, Ticket::Fence(fence)) => fence.wait(nanoseconds),
            (Self::Fences, Ticket::Timeline(_)) => Err(WaitError::TimedOut),
        }
    }
}

impl Timeline {
    fn value(&self) -> Result<u64, DeviceError> {
        // SAFETY: the semaphore is alive and a timeline
        // (VUID-vkGetSemaphoreCounterValue-semaphore-03255).
        self.device.outcome("vkGetSemaphoreCounterValue", unsafe {
            self.functions.get_semaphore_counter_value(self.raw)
        })
    }

    fn wait(&self, value: u64, nanoseconds: u64) -> Result<(), WaitError> {
        let semaphores = [self.raw];
        let values = [value];
        let info = vk::SemaphoreWaitInfo::default()
            .semaphores(&semaphores)
            .values(&values);
        // SAFETY: as above (VUID-VkSemaphoreWaitInfo-pSemaphores-03256).
        let result = unsafe { self.functions.wait_semaphores(&info, nanoseconds) };
        waited(&self.device, "vkWaitSemaphores", result)
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        // SAFETY: the queue waited for what uses it (VUID-vkDestroySemaphore-semaphore-05149).
        unsafe { self.device.raw().destroy_semaphore(self.raw, None) };
    }
}

impl Fence {
    fn new(device: &Arc<LogicalDevice>) -> Result<Self, DeviceError> {
        // SAFETY: the structure has no chain.
        let raw = device.outcome("vkCreateFence", unsafe {
            device
                .raw()
                .create_fence(&vk::FenceCreateInfo::default(), None)
        })?;
        Ok(Self {
            device: device.clone(),
            raw,
        })
    }

    /// The handle.
    pub fn raw(&self) -> vk::Fence {
        self.raw
    }

    fn is_signaled(&self) -> Result<bool, DeviceError> {
        // SAFETY: the fence is alive.
        self.device.outcome("vkGetFenceStatus", unsafe {
            self.device.raw().get_fence_status(self.raw)
        })
    }

    fn wait(&self, nanoseconds: u64) -> Result<(), WaitError> {
        // SAFETY: as above.
        let result = unsafe {
            self.device
                .raw()
                .wait_for_fences(&[self.raw], true, nanoseconds)
        };
        waited(&self.device, "vkWaitForFences", result)
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: the queue keeps the fence until its submission is complete
        // (VUID-vkDestroyFence-fence-01120).
        unsafe { self.device.raw().destroy_fence(self.raw, None) };
    }
}

fn waited(
    device: &LogicalDevice,
    call: &'static str,
    result: Result<(), vk::Result>,
) -> Result<(), WaitError> {
    if result == Err(vk::Result::TIMEOUT) {
        return Err(WaitError::TimedOut);
    }
    Ok(device.outcome(call, result)?)
}
