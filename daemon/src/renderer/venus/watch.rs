//! Which workers of the render server have died.
//!
//! virglrenderer speaks to the worker of each context over a socket. When that hangs up it tells
//! nobody, and its thread for the context polls without a pause until the context is destroyed:
//! a guest that ends its own workers would have the processors of the host. So the sockets are
//! watched here too, by their numbers, because virglrenderer does not hand them out; that the render
//! server has made a socket tells it from those of peers who connect just then. The processes would
//! not tell: a worker that a guest has taken over can hang up and live.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::Pid;
use tracing::warn;

use crate::credentials::Credentials;
use crate::limiter::Limiter;

/// Contexts taken at a time; the rest is there at the next look.
const BATCH: usize = 16;

/// How far above the lowest free number a new fd may be: other threads open a few at a time.
const SPAN: RawFd = 64;

/// See the module's description.
#[derive(Debug)]
pub struct WorkerWatch {
    epoll: OwnedFd,
    sockets: HashMap<u32, RawFd>,
    server: Pid,
    log: Limiter,
}

impl WorkerWatch {
    /// Watches nobody, for now, of the workers of the render server with the process id `server`.
    ///
    /// # Errors
    /// The error of epoll_create1.
    pub fn new(server: Pid) -> Result<Self, Errno> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            sockets: HashMap::new(),
            server,
            log: Limiter::new(Duration::from_secs(60), 1),
        })
    }

    /// Readable while there is something to take.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Runs `create`, which has virglrenderer create a context, and watches its worker.
    pub fn create<T, E>(
        &mut self,
        ctx_id: u32,
        create: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let lowest = lowest_free(self.epoll.as_fd());
        let created = create()?;
        let watched = lowest.and_then(|lowest| self.watch(ctx_id, lowest));
        if let Err(error) = watched
            && let Some(held_back) = self.log.pass(Instant::now())
        {
            warn!(ctx_id, %error, held_back, "nobody will learn if the context's worker dies");
        }
        Ok(created)
    }

    /// Follows the end of a context. virglrenderer has closed the socket, which ended the watch.
    pub fn forget(&mut self, ctx_id: u32) {
        self.sockets.remove(&ctx_id);
    }

    /// Contexts whose workers are dead, again and again until they are destroyed.
    pub fn dead(&self) -> Vec<u32> {
        let mut events = [const { std::mem::MaybeUninit::<Event>::uninit() }; BATCH];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match epoll::wait(&self.epoll, &mut events, Some(&now)) {
            Ok((ready, _)) => ready
                .iter()
                .filter_map(|event| u32::try_from(event.data.u64()).ok())
                .collect(),
            Err(_) => Vec::new(),
        }
    }

    fn watch(&mut self, ctx_id: u32, lowest: RawFd) -> Result<(), Errno> {
        let known = |number: RawFd| self.sockets.values().any(|socket| *socket == number);
        let socket = (lowest..lowest.saturating_add(SPAN))
            .filter(|number| !known(*number))
            .find_map(|number| worker_socket(number, self.server))
            .ok_or(Errno::NOTSOCK)?;
        // A hang-up is reported without being asked for.
        let id = EventData::new_u64(ctx_id.into());
        epoll::add(&self.epoll, socket, id, EventFlags::empty())?;
        self.sockets.insert(ctx_id, socket.as_raw_fd());
        Ok(())
    }
}

/// The number that the next new fd gets.
fn lowest_free(any: BorrowedFd<'_>) -> Result<RawFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(any, 0).map(|fd| fd.as_raw_fd())
}

/// The fd of this number, if it is a socket that `server` has made as those to workers.
fn worker_socket(number: RawFd, server: Pid) -> Option<BorrowedFd<'static>> {
    // SAFETY: the number is one that virglrenderer has just opened, and keeps open until the
    // context is destroyed by the caller's thread; or it is looked at and not used.
    #[allow(unsafe_code, reason = "virglrenderer does not hand out its sockets")]
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let is_worker = sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
        && sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && Credentials::seen_from_here(fd)
            .is_ok_and(|maker| maker.pid == server.as_raw_pid().cast_unsigned());
    is_worker.then_some(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SocketFlags, socketpair};
    use rustix::process::{getpid, getppid};

    fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Errno> {
        socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
    }

    #[test]
    fn dead_worker_is_told_until_its_context_is_gone() {
        let _alone = super::super::alone();
        let mut watch = WorkerWatch::new(getpid()).unwrap();
        let (ours, theirs) = watch.create(7, || pair(SocketType::SEQPACKET)).unwrap();
        let (_others, _alive) = watch.create(8, || pair(SocketType::SEQPACKET)).unwrap();
        assert!(watch.dead().is_empty());
        drop(theirs);
        assert_eq!(watch.dead(), [7]);
        assert_eq!(watch.dead(), [7]);
        drop(ours);
        watch.forget(7);
        assert!(watch.dead().is_empty());
    }

    #[test]
    fn socket_that_the_server_has_not_made_is_no_workers() {
        let _alone = super::super::alone();
        let server = getppid().unwrap();
        let mut watch = WorkerWatch::new(server).unwrap();

        let (_ours, theirs) = watch.create(7, || pair(SocketType::SEQPACKET)).unwrap();

        drop(theirs);
        assert!(watch.dead().is_empty());
    }
}
