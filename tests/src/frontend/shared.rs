//! What the operations of the front-end and the back-channel thread share.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::config::Flavour;
use super::deadline::Deadline;
use super::error::FrontendError;
use super::event::Event as WakeUp;
use super::fault::Fault;
use super::gate::{Gates, Stage};
use super::lock;
use super::log::{Event, Log};
use super::memory::TableRegion;
use super::message::{self, Header};
use super::session::Session;
use super::turn::{Turn, Turns};
use super::window::Window;

/// State of a VMM that plays a front-end.
///
/// Locks are taken in this order: the main loop ([`Turns`]), the session, the window. Only
/// crosvm's stop takes the main loop with the session locked, and nothing that crosvm serves
/// needs the session.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) flavour: Flavour,
    pub(super) takes_config_changes: bool,
    pub(super) timeout: Duration,
    pub(super) log: Arc<Log>,
    pub(super) gates: Arc<Gates>,
    pub(super) turns: Turns,
    /// Whether QEMU has a device and crosvm a worker. Changes only while the main loop is taken.
    pub(super) running: AtomicBool,
    pub(super) window: Option<Window>,
    pub(super) session: Mutex<Session>,
    /// Wakes the back-channel thread to look at `running` and `closing` again.
    pub(super) wake: WakeUp,
    pub(super) closing: AtomicBool,
    main: UnixStream,
    back: Option<UnixStream>,
    fault: Mutex<Option<Fault>>,
}

impl Shared {
    pub(super) fn new(session: Session, log: Arc<Log>) -> Result<Self, FrontendError> {
        let clone = |stream: &UnixStream| stream.try_clone().map_err(FrontendError::Connect);
        let window = match *session.shmem.as_slice() {
            [(shmid, size)] => Some(Window::new(shmid, size)),
            _ => None,
        };
        Ok(Self {
            flavour: session.config.flavour,
            takes_config_changes: session.config.takes_config_changes,
            timeout: session.config.timeout,
            log,
            gates: Arc::default(),
            turns: Turns::default(),
            running: AtomicBool::new(false),
            window,
            wake: WakeUp::new()?,
            closing: AtomicBool::new(false),
            main: clone(session.channel.stream())?,
            back: session.back.as_ref().map(clone).transpose()?,
            fault: Mutex::default(),
            session: Mutex::new(session),
        })
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    /// Takes the main loop.
    pub(super) fn turn(&self) -> Result<Turn<'_>, Fault> {
        self.turns
            .take(self.deadline())
            .ok_or(Fault::Stuck("for the main loop"))
    }

    /// Holds a request at a closed gate.
    pub(super) fn hold(&self, stage: Stage) -> Result<(), Fault> {
        if self.gates.pass(stage, self.deadline()) {
            Ok(())
        } else {
            Err(Fault::Stuck("at a gate"))
        }
    }

    /// Guest RAM and the window's mappings, sorted by address.
    pub(super) fn table(&self, session: &Session) -> Result<Vec<TableRegion>, FrontendError> {
        let mut table = session.ram.table()?;
        table.extend(self.window.iter().flat_map(Window::table));
        table.sort_by_key(|region| region.gpa);
        Ok(table)
    }

    /// Acknowledges a backend request, if that is wanted. A backend that is gone by then gets
    /// nothing and shows up elsewhere.
    pub(super) fn reply(&self, request: &Header, value: u64) {
        let Some(stream) = self.back.as_ref().filter(|_| request.needs_reply()) else {
            return;
        };
        let reply = Header {
            request: request.request,
            flags: Header::VERSION | Header::REPLY,
            size: 8,
        };
        let bytes = [reply.to_bytes().as_slice(), &value.to_ne_bytes()].concat();
        self.log.push(Event::Replied {
            request: request.request,
            value,
        });
        if message::send(stream, &bytes, &[], self.deadline()).is_err() {
            self.log.push(Event::BackChannelClosed);
        }
    }

    /// Refuses a backend request.
    pub(super) fn refuse(&self, request: &Header, reason: String) {
        self.log.push(Event::Refused {
            request: request.request,
            reason,
        });
        self.reply(request, 1);
    }

    /// Ends the VMM: every socket is hung up, as when its process dies.
    pub(super) fn die(&self, fault: Fault) {
        let mut dead = lock(&self.fault);
        if dead.is_none() {
            self.log.push(Event::Fault(fault.clone()));
            *dead = Some(fault);
        }
        self.hang_up();
    }

    /// Hangs up every socket.
    pub(super) fn hang_up(&self) {
        for stream in [Some(&self.main), self.back.as_ref()].into_iter().flatten() {
            // A stream whose peer is gone cannot be shut down, and need not be.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether the backend has hung up the main channel.
    pub(super) fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.main, PollFlags::empty())];
        let gone = PollFlags::HUP | PollFlags::ERR;
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) => fds.iter().any(|fd| fd.revents().intersects(gone)),
            Err(_) => false,
        }
    }

    /// Fails if the VMM is dead.
    pub(super) fn check_alive(&self) -> Result<(), Fault> {
        lock(&self.fault).clone().map_or(Ok(()), Err)
    }

    /// Lets a fault that surfaced in an operation end the VMM.
    pub(super) fn settle<T>(&self, result: Result<T, FrontendError>) -> Result<T, FrontendError> {
        if let Err(FrontendError::Dead(fault)) = &result {
            self.die(fault.clone());
        }
        result
    }

    pub(super) fn set_running(&self, running: bool) -> Result<(), FrontendError> {
        self.running.store(running, Ordering::SeqCst);
        Ok(self.wake.signal()?)
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }
}
