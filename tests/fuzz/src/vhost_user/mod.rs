//! The front-end's socket: any messages, with any files, and a guest behind them.
//!
//! The VMM is trusted with the guest's memory. It must not bring the daemon down by accident.

mod files;
mod message;
mod vmm;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use coherd::device::{Device, DeviceConfig};
use coherd::reactor::{Reactor, Wake};
use coherd::renderer::FenceSink;
use coherd::vhost_user::back_channel::BackChannel;
use coherd::vhost_user::connection::Connection;
use coherd::vhost_user::handler::{Handler, Offer};
use coherd::vhost_user::rings::Rings;
use coherd::window::HostWindow;
use coherd::worker::{Orders, Worker};
use coherd_blob::Window;
use coherd_protocol::gpu::{Config, Features};
use coherd_tests::renderer::Host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::vmm::Vmm;
use crate::vmm::{PAGE, WINDOW};

/// Messages of one input.
const STEPS: usize = 200;
/// Steps of the worker after which it spins.
const SPIN: usize = 1000;

/// See the module's description.
pub fn run(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let Ok(mut vmm) = Vmm::new(theirs, &mut u) else {
        return;
    };
    let mut daemon = Daemon::new(ours, u.arbitrary() == Ok(true));
    for _ in 0..STEPS {
        if u.is_empty() || !matches!(daemon.step(&mut vmm, &mut u), Ok(true)) {
            break;
        }
    }
    assert_eq!(daemon.host.complaints(), [""; 0]);
}

/// The daemon, in one thread.
struct Daemon {
    reactor: Arc<Reactor>,
    connection: Connection,
    worker: Worker,
    host: Host,
}

impl Daemon {
    fn new(stream: UnixStream, memory_slots: bool) -> Self {
        let reactor = Arc::new(Reactor::new().expect("an epoll set"));
        let channel = Arc::new(BackChannel::default());
        let rings = Rings::new(Arc::clone(&reactor), Arc::clone(&channel));
        let rings = Arc::new(rings.expect("rings"));
        let exported = Arc::default();
        let offer = Offer {
            features: Features::all(),
            config: Config::default(),
            window_size: WINDOW,
            memory_slots,
        };
        let handler = Handler::new(
            offer,
            Arc::clone(&rings),
            Arc::clone(&channel),
            Arc::clone(&exported),
        );
        let connection = Connection::new(stream, handler, Arc::clone(&channel));
        let host = Host::new().expect("an eventfd");
        let fences = FenceSink::new().expect("an eventfd");
        let renderer = host.factory()(fences.clone()).expect("the test's renderer starts");
        let config = DeviceConfig {
            features: Features::all(),
            blob_alignment: PAGE,
            display: (1280, 800),
            quotas: coherd::device::quota::Quotas::default(),
        };
        let window = HostWindow::new(Window::new(WINDOW, PAGE, 6), channel, exported);
        let device = Device::new(config, renderer, window);
        let wake = || Wake::new().expect("an eventfd");
        let orders = Arc::new(Orders {
            stop: wake(),
            status: wake(),
        });
        let mut worker = Worker::new(device, rings, Arc::clone(&reactor), fences, orders);
        worker.watch().expect("an epoll set");
        Self {
            reactor,
            connection: connection.expect("a duplicate of a socket"),
            worker,
            host,
        }
    }

    /// Lets the VMM or its guest do one thing; `false` once the connection is over.
    fn step(&mut self, vmm: &mut Vmm, u: &mut Unstructured<'_>) -> Result<bool> {
        vmm.act(u)?;
        // Bytes that are no whole message are the last ones, as when the VMM dies.
        while let Some(whole) = vmm.pending(&self.connection) {
            if !whole {
                vmm.hang_up();
            }
            if self.connection.serve_request().is_err() || !whole {
                return Ok(false);
            }
            vmm.take_answers();
        }
        for step in 0.. {
            assert!(step < SPIN, "the worker does not come to rest");
            if !is_readable(&*self.reactor) {
                break;
            }
            let flow = self.worker.step().expect("an epoll set");
            assert!(flow.is_continue());
        }
        self.host.signal_all();
        Ok(true)
    }
}

fn is_readable(fd: impl AsFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)) == Ok(1)
}
