//! A VMM that takes any backend as it is: it insists on no feature, keeps to no VMM's limits, and
//! has a display socket for backends that show their picture there.

use std::os::fd::AsFd;

use vhost::vhost_user::message::{BackendReq, FrontendReq};

use super::back_channel::BackRequest;
use super::config::protocol;
use super::error::FrontendError;
use super::fault::Fault;
use super::log::Event;
use super::qemu::{self, Change};
use super::request::MapRequest;
use super::session::Session;
use super::shared::Shared;

/// The handshake, with no question about what the backend does not offer.
pub(super) fn handshake(session: &mut Session) -> Result<(), FrontendError> {
    session.negotiate()?;
    session.channel.acknowledges = session.has(protocol::REPLY_ACK);
    session.channel.tell(FrontendReq::SET_OWNER, &[], &[])?;
    if session.has(protocol::MQ) {
        session.check_queues()?;
    }
    if session.has(protocol::BACKEND_REQ) {
        session.open_back_channel()?;
        if session.has(protocol::SHMEM) {
            session.ask_shmem()?;
        }
    }
    Ok(())
}

/// What QEMU's `vhost-user-gpu-pci` does when the driver comes up: a fresh display socket, then
/// the rings.
pub(super) fn start(session: &mut Session, bases: &[u16]) -> Result<(), FrontendError> {
    if let Some(display) = &mut session.display {
        let theirs = display.plug().map_err(FrontendError::Connect)?;
        session
            .channel
            .tell(FrontendReq::GPU_SET_SOCKET, &[], &[theirs.as_fd()])?;
    }
    let table = session.ram.table()?;
    qemu::start(session, bases, &table)
}

/// Serves a request of the backend. A mapping is there before it is acknowledged, and not in the
/// memory table; a request that cannot be carried out is refused, and nothing else comes of it.
pub(super) fn serve(shared: &Shared, request: BackRequest) -> Result<(), Fault> {
    let code = request.header.request;
    match BackendReq::try_from(code) {
        Ok(BackendReq::SHMEM_MAP | BackendReq::SHMEM_UNMAP) if shared.is_running() => {}
        Ok(BackendReq::SHMEM_MAP | BackendReq::SHMEM_UNMAP) => {
            shared.refuse(&request.header, "device is stopped".to_owned());
            return Ok(());
        }
        // The end of a VMM that has no device then, as QEMU's, is a rule of that VMM.
        Ok(BackendReq::CONFIG_CHANGE_MSG) => {
            shared.log.push(Event::ConfigChanged);
            shared.reply(&request.header, 0);
            return Ok(());
        }
        _ => return qemu::serve(shared, request),
    }
    let map = MapRequest::from_bytes(&request.payload).ok_or(Fault::Malformed {
        request: code,
        size: request.header.size,
    })?;
    match qemu::change_window(shared, &request.header, map, request.fds) {
        Ok(change) => {
            if let (Change::Added(map), Some(window)) = (change, &shared.window) {
                window.commit(map.shm_offset);
            }
            shared.reply(&request.header, 0);
        }
        Err(error) => shared.refuse(&request.header, error.to_string()),
    }
    Ok(())
}

/// Stops the rings and hangs the display up.
pub(super) fn stop(session: &mut Session) -> Result<Vec<u16>, FrontendError> {
    let bases = qemu::stop(session);
    if let Some(display) = &mut session.display {
        display.unplug();
    }
    bases
}
