//! The queue, and what the GPU is not done with.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ash::vk;

use crate::error::DeviceError;
use crate::logical::LogicalDevice;
use crate::transfer::completion::{Completion, Ticket};
use crate::transfer::record::Work;
use crate::transfer::sync_file::SyncSemaphore;
use crate::transfer::{TransferError, WaitError};

/// Transfers that may wait for the GPU. Each keeps its memory, so there have to be bounds.
const MAX_PENDING: usize = 256;

/// A queue with its command buffers. It is not kept alive by memory, which it keeps itself.
pub struct Queue {
    device: Arc<LogicalDevice>,
    raw: vk::Queue,
    completion: Completion,
    state: Mutex<State>,
}

/// What only one thread at a time may touch (VkQueue and VkCommandPool are externally
/// synchronized).
struct State {
    pool: vk::CommandPool,
    free: Vec<vk::CommandBuffer>,
    pending: VecDeque<Pending>,
    submitted: u64,
}

/// A submission, and what it uses.
struct Pending {
    ticket: Ticket,
    commands: vk::CommandBuffer,
    _work: Work,
    _sync: Option<Arc<SyncSemaphore>>,
}

/// What is left to whoever submitted.
pub struct Submitted {
    /// How its end is known.
    pub ticket: Ticket,
    /// What a sync file can be made from.
    pub sync: Option<Arc<SyncSemaphore>>,
}

impl Queue {
    /// The queue of `device`.
    ///
    /// # Errors
    /// Those of vkCreateSemaphore and vkCreateCommandPool.
    pub fn new(device: &Arc<LogicalDevice>) -> Result<Self, DeviceError> {
        let completion = Completion::new(device)?;
        let info = vk::CommandPoolCreateInfo::default()
            .flags(
                vk::CommandPoolCreateFlags::TRANSIENT
                    | vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER,
            )
            .queue_family_index(device.family());
        // SAFETY: the family is one of the device's
        // (VUID-vkCreateCommandPool-queueFamilyIndex-01937).
        let pool = device.outcome("vkCreateCommandPool", unsafe {
            device.raw().create_command_pool(&info, None)
        })?;
        // SAFETY: the device was made with one queue of this family
        // (VUID-vkGetDeviceQueue-queueFamilyIndex-00384).
        let raw = unsafe { device.raw().get_device_queue(device.family(), 0) };
        Ok(Self {
            device: device.clone(),
            raw,
            completion,
            state: Mutex::new(State {
                pool,
                free: Vec::new(),
                pending: VecDeque::new(),
                submitted: 0,
            }),
        })
    }

    /// Submits `work`, whose ranges are checked.
    ///
    /// # Errors
    /// [`TransferError::TooMany`] and [`TransferError::Device`].
    pub fn submit(&self, work: Work) -> Result<Submitted, TransferError> {
        self.device.ensure_alive()?;
        let mut state = self.lock();
        let done = self.take_done(&mut state);
        if state.pending.len() >= MAX_PENDING {
            return Err(TransferError::TooMany { limit: MAX_PENDING });
        }
        let ticket = self.completion.ticket(&self.device, state.submitted + 1)?;
        let sync = SyncSemaphore::new(&self.device)?;
        let commands = self.command_buffer(&mut state)?;
        // SAFETY: the state is locked, the command buffer is new or its last submission complete,
        // and the memory is kept by `pending`.
        let result = unsafe { work.record(&self.device, commands) }
            .and_then(|()| Ok(self.give(commands, &ticket, sync.as_deref())?));
        if let Err(error) = result {
            // After a loss the GPU may have seen it nevertheless: what it uses stays.
            if error != TransferError::Device(DeviceError::Lost) {
                self.free(&state, commands);
                return Err(error);
            }
        } else {
            state.submitted += 1;
        }
        state.pending.push_back(Pending {
            ticket: ticket.clone(),
            commands,
            _work: work,
            _sync: sync.clone(),
        });
        drop(state);
        drop(done);
        result?;
        Ok(Submitted { ticket, sync })
    }

    /// Whether a submission is complete.
    ///
    /// # Errors
    /// That of the call.
    pub fn is_done(&self, ticket: &Ticket) -> Result<bool, DeviceError> {
        self.device.ensure_alive()?;
        self.completion.is_done(ticket)
    }

    /// Waits for a submission, and lets go of what is complete.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub fn wait(&self, ticket: &Ticket, timeout: Duration) -> Result<(), WaitError> {
        self.device.ensure_alive()?;
        self.completion.wait(ticket, timeout)?;
        self.reap();
        Ok(())
    }

    /// Lets go of what complete submissions used.
    pub fn reap(&self) {
        let done = self.take_done(&mut self.lock());
        drop(done);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The submissions that are complete. Their memory is freed by whoever drops them, without
    /// the lock. What a lost device used is kept until the device is dropped.
    fn take_done(&self, state: &mut State) -> Vec<Pending> {
        let mut done = Vec::new();
        while !self.device.lost()
            && let Some(first) = state.pending.front()
            && self.completion.is_done(&first.ticket).unwrap_or(false)
            && let Some(first) = state.pending.pop_front()
        {
            state.free.push(first.commands);
            done.push(first);
        }
        done
    }

    fn command_buffer(&self, state: &mut State) -> Result<vk::CommandBuffer, DeviceError> {
        if let Some(free) = state.free.pop() {
            return Ok(free);
        }
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(state.pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        // SAFETY: the pool is alive and locked.
        let buffers = self.device.outcome("vkAllocateCommandBuffers", unsafe {
            self.device.raw().allocate_command_buffers(&info)
        })?;
        buffers.first().copied().ok_or(DeviceError::OutOfHostMemory)
    }

    fn free(&self, state: &State, commands: vk::CommandBuffer) {
        // SAFETY: the command buffer was not submitted
        // (VUID-vkFreeCommandBuffers-pCommandBuffers-00047), and its pool is locked.
        unsafe {
            self.device
                .raw()
                .free_command_buffers(state.pool, &[commands]);
        }
    }

    /// Gives a recorded command buffer to the GPU.
    fn give(
        &self,
        commands: vk::CommandBuffer,
        ticket: &Ticket,
        sync: Option<&SyncSemaphore>,
    ) -> Result<(), DeviceError> {
        let commands = [commands];
        let mut semaphores = Vec::with_capacity(2);
        let mut values = Vec::with_capacity(2);
        let mut fence = vk::Fence::null();
        match (self.completion.semaphore(), ticket) {
            (Some(timeline), Ticket::Timeline(number)) => {
                semaphores.push(timeline);
                values.push(*number);
            }
            (_, Ticket::Fence(own)) => fence = own.raw(),
            (None, Ticket::Timeline(_)) => {}
        }
        if let Some(sync) = sync {
            semaphores.push(sync.raw());
            // Binary semaphores have no value; the place counts.
            values.push(0);
        }
        let mut timeline =
            vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
        let mut info = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .signal_semaphores(&semaphores);
        if self.completion.semaphore().is_some() {
            info = info.push_next(&mut timeline);
        }
        // SAFETY: the queue is locked; the command buffer is recorded and not pending
        // (VUID-vkQueueSubmit-pCommandBuffers-00070, -00071), values of the timeline only grow
        // (VUID-VkSubmitInfo-pSignalSemaphores-03242), and fence and binary semaphore are unused
        // (VUID-vkQueueSubmit-fence-00063, -pSignalSemaphores-00067).
        self.device.outcome("vkQueueSubmit", unsafe {
            self.device.raw().queue_submit(self.raw, &[info], fence)
        })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !state.pending.is_empty() {
            wait_idle(&self.device);
        }
        state.pending.clear();
        // SAFETY: the GPU is done with the command buffers, or the device is lost and everything
        // counts as done (VUID-vkDestroyCommandPool-commandPool-00041).
        unsafe {
            self.device.raw().destroy_command_pool(state.pool, None);
        }
    }
}

/// Waits until the GPU is done. A lost device is, in finite time, and other errors are those of a
/// driver that has no memory for the wait, for a while.
fn wait_idle(device: &LogicalDevice) {
    const ATTEMPTS: u32 = 8;
    for _ in 0..ATTEMPTS {
        // SAFETY: the queue is this thread's, which drops it.
        match unsafe { device.raw().device_wait_idle() } {
            Ok(()) | Err(vk::Result::ERROR_DEVICE_LOST) => return,
            Err(_) => std::thread::yield_now(),
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}
