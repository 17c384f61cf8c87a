//! The back channel: the thread that serves the backend's requests.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::config::Flavour;
use super::error::FrontendError;
use super::fault::Fault;
use super::gate::Stage;
use super::log::Event;
use super::message::{Header, Incoming, MessageError};
use super::shared::Shared;
use super::{crosvm, general, qemu};

/// Largest payload that is received, that of GET_SHMEM_CONFIG.
const MAX_PAYLOAD: u32 = 2056;

/// How often the thread looks around without being woken.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A whole backend request.
#[derive(Debug)]
pub(super) struct BackRequest {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

/// Serves `stream` until the backend hangs up, the VMM dies or the front-end is dropped.
pub(super) fn spawn(
    shared: Arc<Shared>,
    stream: UnixStream,
) -> Result<JoinHandle<()>, FrontendError> {
    thread::Builder::new()
        .name("back-channel".to_owned())
        .spawn(move || {
            if let Err(fault) = serve(&shared, &stream) {
                shared.die(fault);
            }
        })
        .map_err(FrontendError::Connect)
}

fn serve(shared: &Shared, stream: &UnixStream) -> Result<(), Fault> {
    while !shared.closing.load(Ordering::SeqCst) {
        // QEMU's main loop watches the channel always, crosvm's worker exists while activated.
        let watched = shared.flavour.is_like_qemu() || shared.is_running();
        if !wait(shared, stream, watched).map_err(|_| Fault::Stuck("for the back channel"))? {
            continue;
        }
        shared.hold(Stage::Pending)?;
        let _turn = shared.turn()?;
        if shared.flavour == Flavour::Crosvm && !shared.is_running() {
            continue;
        }
        if !serve_one(shared, stream)? {
            shared.log.push(Event::BackChannelClosed);
            break;
        }
    }
    Ok(())
}

/// Waits until the stream is readable, if it is watched, or something else changed; `true` for
/// the former.
fn wait(shared: &Shared, stream: &UnixStream, watched: bool) -> Result<bool, Errno> {
    let mut fds = vec![PollFd::new(&shared.wake, PollFlags::IN)];
    if watched {
        fds.push(PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN));
    }
    let heartbeat = Timespec::try_from(HEARTBEAT).map_err(|_| Errno::INVAL)?;
    match poll(&mut fds, Some(&heartbeat)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error),
    }
    let readable = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
    shared.wake.take()?;
    Ok(readable && !shared.closing.load(Ordering::SeqCst))
}

/// Receives and serves one request; `false` if the backend hung up instead.
fn serve_one(shared: &Shared, stream: &UnixStream) -> Result<bool, Fault> {
    let deadline = shared.deadline();
    let incomplete = |error: MessageError| Fault::Incomplete(error.to_string());
    let mut incoming = Incoming::default();
    match incoming.receive_piece(stream, Header::LEN, deadline) {
        Err(MessageError::Closed) => return Ok(false),
        result => result.map_err(incomplete)?,
    }
    if incoming.is_empty() {
        return Ok(true);
    }
    shared.hold(Stage::FirstPiece)?;
    incoming
        .receive(stream, Header::LEN, deadline)
        .map_err(incomplete)?;
    let header = incoming
        .header()
        .ok_or_else(|| Fault::Incomplete("no header".to_owned()))?;
    if header.size > MAX_PAYLOAD {
        return Err(Fault::Malformed {
            request: header.request,
            size: header.size,
        });
    }
    incoming
        .receive(stream, Header::LEN + header.size as usize, deadline)
        .map_err(incomplete)?;
    let (payload, fds) = incoming.into_parts();
    shared.log.push(Event::Taken {
        request: header.request,
        need_reply: header.needs_reply(),
        fds: fds.len(),
        payload: payload.clone(),
        running: shared.is_running(),
    });
    shared.hold(Stage::BeforeExecution)?;
    let request = BackRequest {
        header,
        payload,
        fds,
    };
    match shared.flavour {
        Flavour::Qemu => qemu::serve(shared, request)?,
        Flavour::General => general::serve(shared, request)?,
        Flavour::Crosvm | Flavour::Libkrun => crosvm::serve(shared, request)?,
    }
    Ok(true)
}
