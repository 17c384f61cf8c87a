//! libkrun, `krun_add_vhost_user_device`: the order of its requests. It has no back channel.

use vhost::vhost_user::message::FrontendReq;

use super::error::FrontendError;
use super::session::Session;

/// `VhostUserDevice::new`.
pub(super) fn handshake(session: &mut Session) -> Result<(), FrontendError> {
    session.negotiate()?;
    session.check_queues()
}

/// `activate_vhost_user`: SET_OWNER again each time, and always from base 0.
pub(super) fn activate(session: &Session) -> Result<(), FrontendError> {
    let channel = &session.channel;
    channel.tell(FrontendReq::SET_OWNER, &[], &[])?;
    session.set_mem_table(&session.ram.table()?)?;
    let features = session.features().to_ne_bytes();
    channel.tell(FrontendReq::SET_FEATURES, &features, &[])?;
    for (index, ring) in session.rings.iter().enumerate() {
        let number = |value| Session::ring_state(index, value);
        let size = number(ring.layout().size.into());
        channel.tell(FrontendReq::SET_VRING_NUM, &size, &[])?;
        channel.tell(FrontendReq::SET_VRING_BASE, &number(0), &[])?;
        session.set_ring_addr(index, 0, 0)?;
        let kick = ring.kick_event();
        session.set_ring_event(FrontendReq::SET_VRING_KICK, index, Some(&kick))?;
        let call = Some(ring.call_event());
        session.set_ring_event(FrontendReq::SET_VRING_CALL, index, call)?;
        channel.tell(FrontendReq::SET_VRING_ENABLE, &number(1), &[])?;
    }
    Ok(())
}

/// `reset`: the rings are disabled and never stopped.
pub(super) fn disable(session: &Session) -> Result<(), FrontendError> {
    for index in 0..session.rings.len() {
        let off = Session::ring_state(index, 0);
        session
            .channel
            .tell(FrontendReq::SET_VRING_ENABLE, &off, &[])?;
    }
    Ok(())
}
