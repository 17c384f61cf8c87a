//! The front-end's socket: any messages, with any files, and a guest behind them.
//!
//! The VMM is trusted with the guest's memory. It must not bring the daemon down by accident.

mod files;
mod message;
mod vmm;

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use coherd::device::config_space::ConfigSpace;
use coherd::device::quota::Quotas;
use coherd::reactor::Reactor;
use coherd::vhost_user::back_channel::BackChannel;
use coherd::vhost_user::config_events::ConfigEvents;
use coherd::vhost_user::connection::Connection;
use coherd::vhost_user::handler::{Handler, Offer};
use coherd::vhost_user::rings::Rings;
use coherd::window::HostWindow;
use coherd_blob::Window;
use coherd_protocol::gpu::{Config, Features};
use coherd_tests::renderer::Host;

use self::vmm::Vmm;
use crate::device_thread::{DeviceThread, Parts};
use crate::vmm::{PAGE, WINDOW};

/// Messages of one input.
const STEPS: usize = 200;

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
    connection: Connection,
    thread: DeviceThread,
    host: Host,
}

impl Daemon {
    fn new(stream: UnixStream, memory_slots: bool) -> Self {
        let reactor = Arc::new(Reactor::new().expect("an epoll set"));
        let channel = Arc::new(BackChannel::default());
        let rings = Rings::new(Arc::clone(&reactor), Arc::clone(&channel));
        let rings = Arc::new(rings.expect("rings"));
        let exported = Arc::default();
        let space = Arc::new(ConfigSpace::new(Config::default()));
        let offer = Offer {
            features: Features::all(),
            config: Arc::clone(&space),
            window_size: WINDOW,
            memory_slots,
            dirty_log: true,
        };
        let handler = Handler::new(
            offer,
            Arc::clone(&rings),
            Arc::clone(&channel),
            Arc::clone(&exported),
            None,
        );
        let connection = Connection::new(stream, handler, Arc::clone(&channel));
        let host = Host::new().expect("an eventfd");
        let parts = Parts {
            reactor,
            rings,
            events: ConfigEvents::new(space, Arc::clone(&channel)),
            window: HostWindow::new(Window::new(WINDOW, PAGE, 6), channel, exported),
            quotas: Quotas::default(),
        };
        Self {
            connection: connection.expect("a duplicate of a socket"),
            thread: DeviceThread::new(parts, &host, |renderer| renderer),
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
        self.thread.turn(|| {});
        self.host.signal_all();
        Ok(true)
    }
}
