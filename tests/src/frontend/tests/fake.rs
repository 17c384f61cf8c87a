//! A backend that answers the front-end from a thread, and sends what a test tells it to.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::message::FrontendReq;

use crate::frontend::message::{
    self, Header, Incoming, MessageError, double_words, u32_at, u64_at,
};
use crate::frontend::{
    Config, Deadline, Event, F_PROTOCOL_FEATURES, Flavour, Frontend, FrontendError, lock,
};

pub(crate) const WINDOW: u64 = 1 << 20;
pub(crate) const MAP: u32 = 9;
pub(crate) const UNMAP: u32 = 10;
pub(crate) const REMOVE: u32 = 7;

/// What the answering thread learns.
#[derive(Debug, Default)]
struct Learnt {
    back: Mutex<Option<UnixStream>>,
    calls: Mutex<HashMap<u64, Arc<OwnedFd>>>,
}

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) frontend: Frontend,
    learnt: Arc<Learnt>,
}

impl Fake {
    pub(crate) fn new(flavour: Flavour) -> Self {
        Self::with(config(flavour), !0).unwrap()
    }

    /// A backend that offers the `protocol` features among those it knows.
    pub(crate) fn with(config: Config, protocol: u64) -> Result<Self, FrontendError> {
        let (front, backend) = UnixStream::pair().unwrap();
        let learnt = Arc::new(Learnt::default());
        let thread_learnt = Arc::clone(&learnt);
        thread::spawn(move || answer_all(&backend, protocol, &thread_learnt));
        let frontend = Frontend::from_stream(front, config)?;
        Ok(Self { frontend, learnt })
    }

    pub(crate) fn back(&self) -> UnixStream {
        let back = lock(&self.learnt.back);
        back.as_ref().unwrap().try_clone().unwrap()
    }

    /// The event that interrupts the guest for queue `index`.
    pub(crate) fn call(&self, index: u64) {
        let calls = lock(&self.learnt.calls);
        rustix::io::write(&**calls.get(&index).unwrap(), &1u64.to_ne_bytes()).unwrap();
    }

    pub(crate) fn send(&self, bytes: &[u8], file: Option<&File>) {
        let fds: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
        message::send(&self.back(), bytes, &fds, soon()).unwrap();
    }

    pub(crate) fn reply(&self) -> u64 {
        self.try_reply().unwrap()
    }

    pub(crate) fn try_reply(&self) -> Result<u64, MessageError> {
        let mut incoming = Incoming::default();
        incoming.receive(&self.back(), Header::LEN + 8, soon())?;
        Ok(u64_at(&incoming.into_parts().0, 0).unwrap())
    }

    pub(crate) fn request(&self, code: u32, payload: &[u8], file: Option<&File>) -> u64 {
        self.send(&framed(code, payload), file);
        self.reply()
    }

    pub(crate) fn map(&self, file: &File, offset: u64) -> u64 {
        self.request(MAP, &map_payload(offset, 4096), Some(file))
    }

    pub(crate) fn unmap(&self, offset: u64) -> u64 {
        self.request(UNMAP, &map_payload(offset, 4096), None)
    }

    /// Waits for an event since `mark`, which must come.
    pub(crate) fn await_event(&self, mark: usize, wanted: impl Fn(&Event) -> bool) -> Event {
        self.frontend.log().wait(mark, soon(), wanted).unwrap()
    }
}

pub(crate) fn config(flavour: Flavour) -> Config {
    let mut config = Config::new(flavour);
    config.timeout = Duration::from_secs(5);
    config
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

pub(crate) fn page_file() -> File {
    let fd = memfd_create("blob", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, 4096).unwrap();
    File::from(fd)
}

pub(crate) fn map_payload(offset: u64, len: u64) -> Vec<u8> {
    double_words(&[1, 0, offset, len, 1])
}

pub(crate) fn framed(request: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        request,
        flags: Header::VERSION | Header::NEED_REPLY,
        size: u32::try_from(payload.len()).unwrap(),
    };
    [header.to_bytes().as_slice(), payload].concat()
}

fn answer_all(stream: &UnixStream, protocol: u64, learnt: &Learnt) {
    while answer_one(stream, protocol, learnt).is_ok() {}
}

fn answer_one(stream: &UnixStream, protocol: u64, learnt: &Learnt) -> Result<(), MessageError> {
    let forever = Deadline::after(Duration::from_secs(60));
    let mut incoming = Incoming::default();
    incoming.receive(stream, Header::LEN, forever)?;
    let header = incoming.header().unwrap();
    incoming.receive(stream, Header::LEN + header.size as usize, forever)?;
    let (payload, mut fds) = incoming.into_parts();
    let request = FrontendReq::try_from(header.request).unwrap();
    match request {
        FrontendReq::SET_BACKEND_REQ_FD => {
            *lock(&learnt.back) = Some(UnixStream::from(fds.remove(0)));
        }
        FrontendReq::SET_VRING_CALL => {
            let index = u64_at(&payload, 0).unwrap();
            lock(&learnt.calls).insert(index, Arc::new(fds.remove(0)));
        }
        _ => {}
    }
    let answer = match request {
        FrontendReq::GET_FEATURES => double_words(&[0x1_3000_003f | F_PROTOCOL_FEATURES]),
        FrontendReq::GET_PROTOCOL_FEATURES => double_words(&[protocol & 0x44_a629]),
        FrontendReq::GET_QUEUE_NUM => double_words(&[2]),
        FrontendReq::GET_MAX_MEM_SLOTS => double_words(&[509]),
        FrontendReq::GET_VRING_BASE => [&payload[..4], &7u32.to_ne_bytes()].concat(),
        FrontendReq::GET_SHMEM_CONFIG => {
            let mut sizes = vec![0; 257];
            (sizes[0], sizes[2]) = (1, WINDOW);
            double_words(&sizes)
        }
        FrontendReq::GET_CONFIG => {
            let size = u32_at(&payload, 4).unwrap();
            let space = (0..size).map(|at| u8::try_from(at).unwrap());
            payload[..12].iter().copied().chain(space).collect()
        }
        _ if header.needs_reply() => double_words(&[0]),
        _ => return Ok(()),
    };
    let reply = Header {
        request: header.request,
        flags: Header::VERSION | Header::REPLY,
        size: u32::try_from(answer.len()).unwrap(),
    };
    message::send(
        stream,
        &[reply.to_bytes().to_vec(), answer].concat(),
        &[],
        forever,
    )
}
