//! Signalled fences on their way from the renderer's threads to the device thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use coherd_protocol::gpu::header::Fence;
use rustix::io::Errno;

use crate::reactor::Wake;

#[derive(Debug)]
struct Inner {
    signalled: Mutex<Vec<Fence>>,
    wake: Wake,
}

/// A mailbox: renderer threads put fences in, the device thread takes them out.
#[derive(Clone, Debug)]
pub struct FenceSink(Arc<Inner>);

impl FenceSink {
    /// An empty mailbox.
    ///
    /// # Errors
    /// The error of eventfd2.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self(Arc::new(Inner {
            signalled: Mutex::default(),
            wake: Wake::new()?,
        })))
    }

    /// Says that `fence`, and every earlier one of its timeline, is done.
    pub fn signal(&self, fence: Fence) {
        self.0
            .signalled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fence);
        self.0.wake.send();
    }

    /// Takes what was signalled, in order.
    pub fn take(&self) -> Vec<Fence> {
        self.0.wake.take();
        std::mem::take(
            &mut *self
                .0
                .signalled
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl AsFd for FenceSink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}
