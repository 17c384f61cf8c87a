//! crosvm, `--vhost-user gpu`: the order of its requests, and how it serves the backend's.
//!
//! A worker thread serves the back channel from activation until after the last GET_VRING_BASE
//! of a stop; it ends the VM at the first request it does not like.

use vhost::vhost_user::message::{BackendReq, FrontendReq};

use super::back_channel::BackRequest;
use super::config::{F_PROTOCOL_FEATURES, protocol};
use super::error::FrontendError;
use super::fault::Fault;
use super::gate::Stage;
use super::log::Event;
use super::message::Header;
use super::request::MapRequest;
use super::session::Session;
use super::shared::Shared;

/// GET_CONFIG carries this flag, `VhostUserConfigFlags::WRITABLE`.
pub(super) const CONFIG_FLAGS: u32 = 1;

const EINVAL: u64 = 22u64.wrapping_neg();

/// `VhostUserFrontend::new`, and the question for the window that follows it.
pub(super) fn handshake(session: &mut Session) -> Result<(), FrontendError> {
    session.channel.tell(FrontendReq::SET_OWNER, &[], &[])?;
    session.negotiate()?;
    if session.has(protocol::BACKEND_REQ) {
        session.open_back_channel()?;
    }
    session.check_queues()?;
    if session.has(protocol::SHMEM) {
        session.ask_shmem()?;
    }
    Ok(())
}

/// What the guest's feature negotiation sends: one SET_FEATURES for each half it writes.
pub(super) fn acknowledge_features(session: &Session) -> Result<(), FrontendError> {
    let features = session.features();
    for half in [features & u64::from(u32::MAX), features] {
        let payload = (half | F_PROTOCOL_FEATURES).to_ne_bytes();
        session
            .channel
            .tell(FrontendReq::SET_FEATURES, &payload, &[])?;
    }
    Ok(())
}

/// `activate`, without the features.
pub(super) fn activate(session: &Session, bases: &[u16]) -> Result<(), FrontendError> {
    session.set_mem_table(&session.ram.table()?)?;
    for (index, base) in bases.iter().enumerate() {
        let ring = session.ring(index)?;
        let number = |value| Session::ring_state(index, value);
        let channel = &session.channel;
        let size = number(ring.layout().size.into());
        channel.tell(FrontendReq::SET_VRING_NUM, &size, &[])?;
        session.set_ring_addr(index, 0, 0)?;
        let base = number((*base).into());
        channel.tell(FrontendReq::SET_VRING_BASE, &base, &[])?;
        let call = Some(ring.call_event());
        session.set_ring_event(FrontendReq::SET_VRING_CALL, index, call)?;
        let kick = ring.kick_event();
        session.set_ring_event(FrontendReq::SET_VRING_KICK, index, Some(&kick))?;
        channel.tell(FrontendReq::SET_VRING_ENABLE, &number(1), &[])?;
    }
    Ok(())
}

/// `deactivate_vring` for every ring.
pub(super) fn deactivate(session: &Session) -> Result<Vec<u16>, FrontendError> {
    (0..session.rings.len())
        .map(|index| {
            let off = Session::ring_state(index, 0);
            session
                .channel
                .tell(FrontendReq::SET_VRING_ENABLE, &off, &[])?;
            session.ring_base(index)
        })
        .collect()
}

/// `FrontendServer::handle_request`. An error ends the VM.
pub(super) fn serve(shared: &Shared, request: BackRequest) -> Result<(), Fault> {
    let ended = |reason: &str| Fault::VmEnded(reason.to_owned());
    let BackRequest {
        header,
        payload,
        fds,
    } = request;
    if header.flags & !Header::NEED_REPLY != Header::VERSION {
        return Err(ended("message flags"));
    }
    match BackendReq::try_from(header.request) {
        Ok(BackendReq::CONFIG_CHANGE_MSG) if payload.is_empty() && fds.is_empty() => {
            shared.log.push(Event::ConfigChanged);
            shared.reply(&header, 0);
            return Ok(());
        }
        Ok(BackendReq::SHMEM_MAP) if fds.len() == 1 => {}
        Ok(BackendReq::SHMEM_UNMAP) if fds.is_empty() => {}
        Ok(_) => return Err(ended("message size, file descriptors or kind")),
        Err(_) => return Err(ended("unknown message")),
    }
    let map = MapRequest::from_bytes(&payload).ok_or_else(|| ended("message size"))?;
    if !map.has_known_flags() {
        return Err(ended("unknown flags"));
    }
    let window = shared
        .window
        .as_ref()
        .filter(|window| window.shmid() == map.shmid);
    let outcome = match (window, fds.into_iter().next()) {
        (None, _) => Err("bad shmid".to_owned()),
        (Some(window), Some(fd)) => window
            .map(map, fd, map.is_writable())
            .map(|()| {
                window.commit(map.shm_offset);
                Event::Committed(map)
            })
            .map_err(|error| error.to_string()),
        (Some(window), None) => window
            .unmap(map.shm_offset, None)
            .map(Event::Removed)
            .map_err(|error| error.to_string()),
    };
    shared.hold(Stage::BeforeReply)?;
    match outcome {
        Ok(event) => {
            shared.log.push(event);
            shared.reply(&header, 0);
            Ok(())
        }
        Err(reason) => {
            shared.reply(&header, EINVAL);
            Err(Fault::VmEnded(reason))
        }
    }
}
