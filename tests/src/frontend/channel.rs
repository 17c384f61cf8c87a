//! The main channel: requests to the backend and its answers.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use vhost::vhost_user::message::FrontendReq;

use super::deadline::Deadline;
use super::error::FrontendError;
use super::log::{Event, Log};
use super::message::{self, Header, Incoming, MessageError, u64_at};

/// Largest payload of an answer that is waited for.
const MAX_ANSWER: u32 = 4096;

/// The main channel.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    log: Arc<Log>,
    timeout: Duration,
    /// Whether REPLY_ACK was negotiated and this VMM makes use of it.
    pub(super) acknowledges: bool,
}

impl Channel {
    pub(super) fn new(stream: UnixStream, log: Arc<Log>, timeout: Duration) -> Self {
        Self {
            stream,
            log,
            timeout,
            acknowledges: false,
        }
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends a request and waits for nothing.
    pub(super) fn tell(
        &self,
        request: FrontendReq,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), FrontendError> {
        self.send(request, false, payload, fds)
    }

    /// Sends a request and waits for its acknowledgement, where those were negotiated.
    pub(super) fn tell_acked(
        &self,
        request: FrontendReq,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), FrontendError> {
        self.send(request, self.acknowledges, payload, fds)?;
        if !self.acknowledges {
            return Ok(());
        }
        let answer = self.answer(request)?;
        match u64_at(&answer, 0) {
            Some(0) => Ok(()),
            Some(code) => Err(FrontendError::Refused { request, code }),
            None => Err(FrontendError::BadAnswer {
                request,
                what: "acknowledgement is too short",
            }),
        }
    }

    /// Sends a request that has an answer of its own, and waits for it.
    pub(super) fn ask(
        &self,
        request: FrontendReq,
        payload: &[u8],
    ) -> Result<Vec<u8>, FrontendError> {
        self.send(request, false, payload, &[])?;
        self.answer(request)
    }

    /// Sends a request whose answer is a number, and waits for it.
    pub(super) fn ask_u64(&self, request: FrontendReq) -> Result<u64, FrontendError> {
        let answer = self.ask(request, &[])?;
        if answer.len() != size_of::<u64>() {
            return Err(FrontendError::BadAnswer {
                request,
                what: "not a u64",
            });
        }
        Ok(u64_at(&answer, 0).unwrap_or(0))
    }

    /// Waits for the answer to a request that was sent, which is a number.
    pub(super) fn answer_u64(&self, request: FrontendReq) -> Result<u64, FrontendError> {
        let answer = self.answer(request)?;
        u64_at(&answer, 0).ok_or(FrontendError::BadAnswer {
            request,
            what: "not a u64",
        })
    }

    fn send(
        &self,
        request: FrontendReq,
        need_reply: bool,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), FrontendError> {
        let reply_flag = if need_reply { Header::NEED_REPLY } else { 0 };
        let header = Header {
            request: request.into(),
            flags: Header::VERSION | reply_flag,
            size: u32::try_from(payload.len())
                .map_err(|_| FrontendError::Config("payload is too long"))?,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        self.log.push(Event::Sent {
            request,
            need_reply,
            fds: fds.len(),
            payload: payload.to_vec(),
        });
        message::send(&self.stream, &bytes, fds, self.deadline())
            .map_err(|source| FrontendError::Message { request, source })
    }

    /// Waits for the answer to a request that was sent.
    pub(super) fn answer(&self, request: FrontendReq) -> Result<Vec<u8>, FrontendError> {
        let failed = |source: MessageError| FrontendError::Message { request, source };
        let bad = |what| FrontendError::BadAnswer { request, what };
        let deadline = self.deadline();
        let mut incoming = Incoming::default();
        incoming
            .receive(&self.stream, Header::LEN, deadline)
            .map_err(failed)?;
        let header = incoming.header().ok_or_else(|| bad("no header"))?;
        if header.request != u32::from(request) {
            return Err(bad("it answers another request"));
        }
        if header.flags != Header::VERSION | Header::REPLY {
            return Err(bad("flags are not those of a reply"));
        }
        if header.size > MAX_ANSWER {
            return Err(bad("it is too long"));
        }
        let total = Header::LEN + header.size as usize;
        incoming
            .receive(&self.stream, total, deadline)
            .map_err(failed)?;
        let (payload, _fds) = incoming.into_parts();
        self.log.push(Event::Answered {
            request,
            payload: payload.clone(),
        });
        Ok(payload)
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }
}
