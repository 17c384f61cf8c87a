//! A connection to a server, for any number of threads.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coherd_protocol::memory::Access;
use coherd_protocol::sync::limits::MAX_TIMEOUT_MS;
use coherd_protocol::sync::reply::{self, Call};
use coherd_protocol::sync::wire::{Capabilities, Hello, Welcome};
use coherd_protocol::sync::{Header, MAGIC, Status, VERSION, text};
use rustix::event::PollFlags;
use rustix::io::Errno;
use zerocopy::IntoBytes;

use crate::error::SyncError;
use crate::inbox::{End, Inbox, Reply};
use crate::socket::Socket;

/// Messages that are looked at after a deadline: what is there counts as in time, but a server
/// must not keep a peer by sending ever more.
const MAX_LATE: u32 = 256;

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// What this process is called in ledgers and in the server's log; cut at 31 bytes.
    pub name: String,
    /// What it wants to do beyond reading. It gets what the server has and allows, see
    /// [`Connection::capabilities`].
    pub capabilities: Capabilities,
    /// How long the server may take for an answer, the GPU's time not counted.
    pub answer_within: Duration,
}

impl Default for Options {
    /// The name `coherd-sync`, everything that needs no writing, 5 seconds.
    fn default() -> Self {
        Self {
            name: "coherd-sync".to_owned(),
            capabilities: Capabilities::WATCH | Capabilities::DESCRIBE | Capabilities::EXPORT_FENCE,
            answer_within: Duration::from_secs(5),
        }
    }
}

/// A connection. Clones are the same one.
///
/// There is no thread behind it: of those who wait for an answer one reads for all.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: Socket,
    inbox: Mutex<Inbox>,
    /// Something came, or nobody reads.
    news: Condvar,
    answer_within: Duration,
    welcome: Welcome,
    last_bracket: AtomicU64,
}

/// The fixed part of an answer, the bytes behind it, and the file that came with it.
pub struct Answer<T> {
    pub head: T,
    pub rest: Vec<u8>,
    pub file: Option<OwnedFd>,
}

impl Connection {
    /// Connects to the server that listens at `path`.
    ///
    /// # Errors
    /// [`SyncError::Connect`], or as [`Connection::from_fd`].
    pub fn connect(path: impl AsRef<Path>, options: &Options) -> Result<Self, SyncError> {
        Self::greet(Socket::connect(path.as_ref())?, options)
    }

    /// Takes a socket that is connected to a server, such as an inherited one.
    ///
    /// # Errors
    /// [`SyncError::NotASyncSocket`], [`SyncError::NotASyncServer`], [`SyncError::Version`], or
    /// [`SyncError::Refused`] with [`Status::Denied`] where this process may not connect.
    pub fn from_fd(fd: OwnedFd, options: &Options) -> Result<Self, SyncError> {
        Self::greet(Socket::new(fd)?, options)
    }

    fn greet(socket: Socket, options: &Options) -> Result<Self, SyncError> {
        let mut shared = Shared {
            socket,
            inbox: Mutex::default(),
            news: Condvar::new(),
            answer_within: options.answer_within,
            welcome: zerocopy::FromZeros::new_zeroed(),
            last_bracket: AtomicU64::new(0),
        };
        let hello = Hello {
            magic: MAGIC,
            version: VERSION.into(),
            oldest: VERSION.into(),
            reserved: 0.into(),
            capabilities: options.capabilities.bits().into(),
            name: text::encode(&options.name),
        };
        let answer = shared.call(&hello, None, options.answer_within);
        shared.welcome = match answer {
            Ok(answer) => answer.head,
            Err(SyncError::Refused {
                status: Status::Version,
                detail,
                ..
            }) => return Err(SyncError::Version(detail)),
            Err(error) => return Err(error),
        };
        if shared.welcome.magic != MAGIC {
            return Err(SyncError::NotASyncServer);
        }
        if shared.welcome.version.get() != VERSION {
            return Err(SyncError::Version(shared.welcome.version.get()));
        }
        Ok(Self(Arc::new(shared)))
    }

    /// What this connection may do beyond reading.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        Capabilities::from_bits_truncate(self.0.welcome.capabilities.get())
    }

    /// What this connection may do to blobs.
    #[must_use]
    pub fn access(&self) -> Access {
        Access::from_bits_truncate(self.0.welcome.access.get())
    }

    /// A random number of the server's life. Ids of blobs mean nothing to another one.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.0.welcome.instance.get()
    }

    /// The id under which ledgers show this connection.
    #[must_use]
    pub fn peer(&self) -> u64 {
        self.0.welcome.peer.get()
    }

    /// The server's name and version, for humans.
    #[must_use]
    pub fn server(&self) -> String {
        text::decode(&self.0.welcome.name)
    }

    /// What to ask of BEGIN, in milliseconds, and how long the server then waits for the GPU.
    pub(crate) fn gpu_time(&self, asked: Option<Duration>) -> (u32, Duration) {
        let millis = |word: u32| Duration::from_millis(word.into());
        let most = millis(self.0.welcome.max_timeout_ms.get().min(MAX_TIMEOUT_MS));
        match asked {
            None => (0, millis(self.0.welcome.default_timeout_ms.get()).min(most)),
            Some(asked) => {
                // Rounded up, since 0 is the server's default.
                let asked = asked.as_nanos().div_ceil(1_000_000).max(1);
                let asked = u32::try_from(asked).unwrap_or(u32::MAX);
                (asked, millis(asked).min(most))
            }
        }
    }

    /// An id that no bracket of this connection has had.
    pub(crate) fn next_bracket(&self) -> u64 {
        self.0.last_bracket.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Asks and waits for the answer.
    pub(crate) fn call<C: Call>(&self, body: &C) -> Result<Answer<C::Reply>, SyncError> {
        self.0.call(body, None, self.0.answer_within)
    }

    /// Asks something that takes the GPU's time too.
    pub(crate) fn call_within<C: Call>(
        &self,
        body: &C,
        gpu_time: Duration,
    ) -> Result<Answer<C::Reply>, SyncError> {
        let limit = self.0.answer_within.saturating_add(gpu_time);
        self.0.call(body, None, limit)
    }

    /// Asks with a file.
    pub(crate) fn call_with<C: Call>(
        &self,
        body: &C,
        file: BorrowedFd<'_>,
    ) -> Result<Answer<C::Reply>, SyncError> {
        self.0.call(body, Some(file), self.0.answer_within)
    }

    /// Asks and does not wait: there is nobody who could do anything about the answer.
    pub(crate) fn tell<C: Call>(&self, body: &C) {
        // What a connection that has ended leaves behind is ended by the server.
        let _ = self
            .0
            .send(body, None, false, self.0.deadline(self.0.answer_within));
    }

    /// Waits until `take` finds something in the inbox, or until `deadline`.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Instant,
        take: impl FnMut(&mut Inbox) -> Option<T>,
    ) -> Result<Option<T>, SyncError> {
        self.0.wait_for(deadline, take)
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.0.inbox()
    }
}

impl AsFd for Connection {
    /// The socket, to be polled for events; nobody else may read it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing panics while it has the lock.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deadline(&self, limit: Duration) -> Instant {
        let now = Instant::now();
        // Far enough to be never.
        let never = Duration::from_secs(1 << 30);
        now.checked_add(limit.min(never)).unwrap_or(now)
    }

    fn call<C: Call>(
        &self,
        body: &C,
        file: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> Result<Answer<C::Reply>, SyncError> {
        let deadline = self.deadline(limit);
        let tag = self.send(body, file, true, deadline)?;
        let Some(reply) = self.wait_for(deadline, |inbox| inbox.take(tag))? else {
            self.inbox().give_up(tag);
            let request = C::KIND;
            return Err(SyncError::NoAnswer { request, limit });
        };
        answer::<C>(reply)
    }

    /// Sends a request and returns its tag.
    fn send<C: Call>(
        &self,
        body: &C,
        file: Option<BorrowedFd<'_>>,
        awaited: bool,
        deadline: Instant,
    ) -> Result<u32, SyncError> {
        let tag = {
            let mut inbox = self.inbox();
            if let Some(end) = inbox.end {
                return Err(end.into());
            }
            inbox.expect(awaited)
        };
        let header = Header::request(C::KIND, tag);
        let sent = loop {
            match self.socket.send([header.as_bytes(), body.as_bytes()], file) {
                Err(Errno::AGAIN) => match self.make_room(deadline) {
                    Ok(true) => {}
                    Ok(false) => {
                        let (request, limit) = (C::KIND, self.answer_within);
                        break Err(SyncError::NoAnswer { request, limit });
                    }
                    Err(error) => break Err(End::Failed(error).into()),
                },
                Err(error) => break Err(End::Failed(error).into()),
                Ok(()) => break Ok(tag),
            }
        };
        if sent.is_err() {
            self.inbox().unsent(tag);
        }
        sent
    }

    /// The server reads no requests while its replies are not read: reads some and waits until
    /// there is room. Returns `false` at the deadline.
    fn make_room(&self, deadline: Instant) -> Result<bool, Errno> {
        let mut inbox = self.inbox();
        if inbox.reading {
            drop(inbox);
            let ready = self.socket.wait(PollFlags::OUT, deadline)?;
            return Ok(!ready.is_empty());
        }
        inbox.reading = true;
        drop(inbox);
        let ready = self.socket.wait(PollFlags::OUT | PollFlags::IN, deadline);
        let received = self.receive();
        self.stop_reading(received);
        Ok(!ready?.is_empty())
    }

    fn wait_for<T>(
        &self,
        deadline: Instant,
        mut take: impl FnMut(&mut Inbox) -> Option<T>,
    ) -> Result<Option<T>, SyncError> {
        let mut inbox = self.inbox();
        let mut late = 0;
        loop {
            if let Some(found) = take(&mut inbox) {
                return Ok(Some(found));
            }
            if let Some(end) = inbox.end {
                return Err(end.into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                late += 1;
            }
            if late > MAX_LATE || left.is_zero() && inbox.reading {
                return Ok(None);
            }
            if inbox.reading {
                let woken = self.news.wait_timeout(inbox, left);
                inbox = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            inbox.reading = true;
            drop(inbox);
            let ready = self.socket.wait(PollFlags::IN, deadline);
            let nothing = matches!(ready, Ok(ready) if ready.is_empty());
            self.stop_reading(ready.map_err(End::Failed).and_then(|_| self.receive()));
            inbox = self.inbox();
            if nothing {
                late = MAX_LATE;
            }
        }
    }

    /// Receives a message if there is one. Only the thread that reads does this.
    fn receive(&self) -> Result<(), End> {
        match self.socket.receive() {
            Ok(Some(datagram)) => self.inbox().deliver(datagram),
            Ok(None) => return Err(End::Closed),
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(End::Failed(error)),
        }
        Ok(())
    }

    fn stop_reading(&self, received: Result<(), End>) {
        let mut inbox = self.inbox();
        inbox.reading = false;
        if let Err(end) = received {
            inbox.end.get_or_insert(end);
        }
        drop(inbox);
        self.news.notify_all();
    }
}

/// Whether a reply says what was asked for.
fn answer<C: Call>(reply: Reply) -> Result<Answer<C::Reply>, SyncError> {
    let Reply { header, body, file } = reply;
    if !header.is_reply_to(C::KIND) {
        return Err(SyncError::NotASyncServer);
    }
    match Status::from_wire(header.status.get()) {
        Status::Ok => {
            let decoded = reply::decode::<C>(&body);
            let (head, rest) = decoded.map_err(|error| SyncError::Malformed(C::KIND, error))?;
            let rest = rest.to_vec();
            Ok(Answer { head, rest, file })
        }
        status => Err(SyncError::Refused {
            request: C::KIND,
            status,
            detail: header.detail.get(),
        }),
    }
}
