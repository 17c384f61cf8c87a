//! The device thread, which is told when to work.

use std::sync::Arc;

use coherd::device::display::Outputs;
use coherd::device::hang::HangPolicy;
use coherd::device::quota::Quotas;
use coherd::device::{Device, DeviceConfig};
use coherd::reactor::Reactor;
use coherd::renderer::{FenceSink, Renderer};
use coherd::vhost_user::config_events::ConfigEvents;
use coherd::vhost_user::rings::Rings;
use coherd::window::HostWindow;
use coherd::worker::{Orders, Worker};
use coherd_protocol::gpu::Features;
use coherd_tests::renderer::Host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::vmm::PAGE;

/// Steps after which it spins.
const SPIN: usize = 1000;

/// What the device works with.
pub struct Parts {
    pub reactor: Arc<Reactor>,
    pub rings: Arc<Rings>,
    pub events: ConfigEvents,
    pub window: HostWindow,
    pub quotas: Quotas,
}

/// See the module's description.
pub struct DeviceThread {
    reactor: Arc<Reactor>,
    worker: Worker,
}

impl DeviceThread {
    /// A device with all features, whose renderer is that of `host` with what `wrap` puts around
    /// it.
    pub fn new(
        parts: Parts,
        host: &Host,
        wrap: impl FnOnce(Box<dyn Renderer>) -> Box<dyn Renderer>,
    ) -> Self {
        let config = DeviceConfig {
            features: Features::all(),
            blob_alignment: PAGE,
            outputs: Outputs::default(),
            quotas: parts.quotas,
            mapping_types: Arc::default(),
            blobs: None,
            hangs: HangPolicy::default(),
        };
        let fences = FenceSink::new().expect("an eventfd");
        let renderer = host.factory()(fences.clone()).expect("the test's renderer starts");
        let device = Device::new(config, wrap(renderer), parts.window);
        let orders = Arc::new(Orders::new().expect("an eventfd"));
        let reactor = parts.reactor;
        let mut worker = Worker::new(
            device,
            parts.rings,
            Arc::clone(&reactor),
            fences,
            orders,
            parts.events,
        )
        .expect("a timer");
        worker.watch().expect("an epoll set");
        Self { reactor, worker }
    }

    /// Works until there is nothing left to do, and calls `before` ahead of each step.
    pub fn turn(&mut self, before: impl Fn()) {
        for step in 0.. {
            assert!(step < SPIN, "the worker does not come to rest");
            if !self.is_awake() {
                break;
            }
            before();
            let flow = self.worker.step().expect("an epoll set");
            assert!(flow.is_continue());
        }
    }

    fn is_awake(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&*self.reactor, PollFlags::IN)];
        poll(&mut fds, Some(&now)) == Ok(1)
    }
}
