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

    /// Says that `fence`, by the id that the renderer was given, and every earlier one of its
    /// timeline is done.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Reactor;
    use coherd_protocol::gpu::header::Timeline;
    use std::thread;

    const THREADS: u8 = 4;
    const SIGNALS: u16 = 5000;

    fn fence(ring_idx: u8, id: u16) -> Fence {
        let timeline = Timeline::Ring {
            ctx_id: 1,
            ring_idx,
        };
        Fence {
            id: id.into(),
            timeline,
        }
    }

    #[test]
    fn signals_of_many_threads_all_wake_the_reader_and_keep_their_order() {
        let sink = FenceSink::new().unwrap();
        let reactor = Reactor::new().unwrap();
        reactor.add(&sink, 0).unwrap();
        let mut taken = Vec::new();

        thread::scope(|scope| {
            for ring_idx in 0..THREADS {
                let sink = sink.clone();
                let signal = move |id| sink.signal(fence(ring_idx, id));
                scope.spawn(|| (0..SIGNALS).for_each(signal));
            }
            let mut tokens = Vec::new();
            while taken.len() < usize::from(THREADS) * usize::from(SIGNALS) {
                reactor.wait(&mut tokens).unwrap();
                taken.extend(sink.take());
            }
        });

        for ring_idx in 0..THREADS {
            let timeline = fence(ring_idx, 0).timeline;
            let of_thread = taken.iter().filter(|fence| fence.timeline == timeline);
            assert!(
                of_thread
                    .copied()
                    .eq((0..SIGNALS).map(|id| fence(ring_idx, id)))
            );
        }
    }
}
