//! QEMU 11.1, `vhost-user-test-device-pci`: the order of its requests, and how it serves the
//! backend's.
//!
//! Everything here runs in QEMU's one main loop, with its big lock held.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use vhost::vhost_user::message::{BackendReq, FrontendReq};

use super::back_channel::BackRequest;
use super::config::protocol;
use super::error::FrontendError;
use super::fault::Fault;
use super::gate::Stage;
use super::lock;
use super::log::Event;
use super::memory::TableRegion;
use super::message::Header;
use super::request::MapRequest;
use super::session::Session;
use super::shared::Shared;
use super::window::check_read_write;
use super::window_error::WindowError;

/// Regions of a memory table without memory slots.
const BASELINE_REGIONS: usize = 8;

/// Memory slots at which QEMU aborts.
const MAX_SLOTS: usize = 512;

/// Host pages, the granularity of KVM's memory slots.
const PAGE: u64 = 4096;

/// `vhost_dev_init`.
pub(super) fn handshake(session: &mut Session) -> Result<(), FrontendError> {
    session.negotiate()?;
    if !session.has(protocol::CONFIG) {
        return Err(FrontendError::Missing("CONFIG"));
    }
    session.channel.acknowledges = session.has(protocol::REPLY_ACK);
    session.check_queues()?;
    if session.has(protocol::CONFIGURE_MEM_SLOTS) {
        session.channel.ask_u64(FrontendReq::GET_MAX_MEM_SLOTS)?;
    }
    if session.has(protocol::BACKEND_REQ) {
        session.open_back_channel()?;
    }
    session.channel.tell(FrontendReq::SET_OWNER, &[], &[])?;
    session.offered = session.channel.ask_u64(FrontendReq::GET_FEATURES)?;
    for (index, ring) in session.rings.iter().enumerate() {
        let masked = Some(ring.masked_event());
        session.set_ring_event(FrontendReq::SET_VRING_CALL, index, masked)?;
        let error = Some(ring.error_event());
        session.set_ring_event(FrontendReq::SET_VRING_ERR, index, error)?;
    }
    if session.has(protocol::SHMEM) {
        session.ask_shmem()?;
        let total = session.shmem.iter().map(|(_, size)| size).sum::<u64>();
        if !session.shmem.is_empty() && !total.is_power_of_two() {
            return Err(Fault::WindowSize(total).into());
        }
    }
    Ok(())
}

/// `vhost_dev_start`, and the unmasking that follows it.
pub(super) fn start(
    session: &mut Session,
    bases: &[u16],
    table: &[TableRegion],
) -> Result<(), FrontendError> {
    if session.stale_slots {
        return Err(Fault::StaleSlots.into());
    }
    let features = session.features().to_ne_bytes();
    session
        .channel
        .tell(FrontendReq::SET_FEATURES, &features, &[])?;
    send_table(session, table)?;
    for (index, base) in bases.iter().enumerate() {
        let ring = session.ring(index)?;
        let number = |value| Session::ring_state(index, value);
        let size = number(ring.layout().size.into());
        session
            .channel
            .tell(FrontendReq::SET_VRING_NUM, &size, &[])?;
        let base = number((*base).into());
        session
            .channel
            .tell(FrontendReq::SET_VRING_BASE, &base, &[])?;
        session.set_ring_addr(index, 0, ring.layout().used.0)?;
        let kick = ring.renew_kick()?;
        session.set_ring_event(FrontendReq::SET_VRING_KICK, index, Some(&kick))?;
        let masked = Some(ring.masked_event());
        session.set_ring_event(FrontendReq::SET_VRING_CALL, index, masked)?;
    }
    enable(session, true)?;
    for (index, ring) in session.rings.iter().enumerate() {
        let call = Some(ring.call_event());
        session.set_ring_event(FrontendReq::SET_VRING_CALL, index, call)?;
        ring.unmask()?;
    }
    Ok(())
}

/// `vhost_dev_stop`.
pub(super) fn stop(session: &Session) -> Result<Vec<u16>, FrontendError> {
    enable(session, false)?;
    (0..session.rings.len())
        .map(|index| session.ring_base(index))
        .collect()
}

fn enable(session: &Session, on: bool) -> Result<(), FrontendError> {
    for index in 0..session.rings.len() {
        let state = Session::ring_state(index, on.into());
        session
            .channel
            .tell_acked(FrontendReq::SET_VRING_ENABLE, &state, &[])?;
        if !session.channel.acknowledges {
            session.channel.ask_u64(FrontendReq::GET_FEATURES)?;
        }
    }
    Ok(())
}

/// `vhost_user_set_mem_table`.
pub(super) fn send_table(
    session: &mut Session,
    table: &[TableRegion],
) -> Result<(), FrontendError> {
    if session.has(protocol::CONFIGURE_MEM_SLOTS) {
        return send_slots(session, table);
    }
    if table.len() > BASELINE_REGIONS {
        return Err(FrontendError::TableFull(table.len()));
    }
    session.set_mem_table(table)
}

fn send_slots(session: &mut Session, table: &[TableRegion]) -> Result<(), FrontendError> {
    if table.len() >= MAX_SLOTS {
        return Err(Fault::OutOfSlots(table.len()).into());
    }
    let is_in =
        |list: &[TableRegion], region: &TableRegion| list.iter().any(|other| other.is_same(region));
    let payload = |region: &TableRegion| [vec![0; 8], region.to_bytes()].concat();
    for region in session.slots.iter().filter(|slot| !is_in(table, slot)) {
        session
            .channel
            .tell_acked(FrontendReq::REM_MEM_REG, &payload(region), &[])?;
    }
    for region in table.iter().filter(|region| !is_in(&session.slots, region)) {
        let fds = [region.file.as_fd()];
        session
            .channel
            .tell_acked(FrontendReq::ADD_MEM_REG, &payload(region), &fds)?;
    }
    session.slots = table.to_vec();
    Ok(())
}

/// `backend_read`, once a whole request is there. An error ends QEMU.
pub(super) fn serve(shared: &Shared, request: BackRequest) -> Result<(), Fault> {
    let code = request.header.request;
    let value = match BackendReq::try_from(code) {
        Ok(BackendReq::SHMEM_MAP | BackendReq::SHMEM_UNMAP) => return serve_map(shared, request),
        Ok(BackendReq::CONFIG_CHANGE_MSG) if !shared.takes_config_changes => {
            shared.log.push(Event::Refused {
                request: code,
                reason: "no configuration notifier".to_owned(),
            });
            1
        }
        Ok(BackendReq::CONFIG_CHANGE_MSG) => {
            if !shared.is_running() {
                return Err(Fault::NullDevice { request: code });
            }
            shared.log.push(Event::ConfigChanged);
            0
        }
        // Objects of no owner: added, or silently not removed.
        Ok(BackendReq::SHARED_OBJECT_ADD | BackendReq::SHARED_OBJECT_REMOVE) => 0,
        Ok(BackendReq::SHARED_OBJECT_LOOKUP) => 1,
        _ => {
            shared.refuse(&request.header, "unexpected msg type".to_owned());
            return Ok(());
        }
    };
    shared.reply(&request.header, value);
    Ok(())
}

fn serve_map(shared: &Shared, request: BackRequest) -> Result<(), Fault> {
    let BackRequest {
        header,
        payload,
        fds,
    } = request;
    if !shared.running.load(Ordering::SeqCst) {
        return Err(Fault::NullDevice {
            request: header.request,
        });
    }
    let map = MapRequest::from_bytes(&payload).ok_or(Fault::Malformed {
        request: header.request,
        size: header.size,
    })?;
    if !map.shm_offset.is_multiple_of(PAGE) || !map.len.is_multiple_of(PAGE) {
        return Err(Fault::Unaligned {
            offset: map.shm_offset,
            len: map.len,
        });
    }
    let outcome = change_window(shared, &header, map, fds);
    shared.hold(Stage::BeforeReply)?;
    match outcome {
        Ok(change) => {
            shared.reply(&header, 0);
            shared.hold(Stage::BeforeCommit)?;
            commit(shared, change)
        }
        Err(error) => {
            shared.refuse(&header, error.to_string());
            Ok(())
        }
    }
}

/// A change of the window that the guest does not see yet.
pub(super) enum Change {
    Added(MapRequest),
    Removed(MapRequest),
}

pub(super) fn change_window(
    shared: &Shared,
    header: &Header,
    map: MapRequest,
    fds: Vec<OwnedFd>,
) -> Result<Change, WindowError> {
    let window = shared
        .window
        .as_ref()
        .filter(|window| window.shmid() == map.shmid)
        .ok_or(WindowError::NoRegion(map.shmid))?;
    if header.request == u32::from(BackendReq::SHMEM_UNMAP) {
        window.check_bounds(&map)?;
        return window
            .unmap(map.shm_offset, Some(map.len))
            .map(Change::Removed);
    }
    let fd = fds.into_iter().next().ok_or(WindowError::Access)?;
    check_read_write(&fd)?;
    // QEMU maps writable even where the backend asks for read-only.
    window.map(map, fd, true)?;
    Ok(Change::Added(map))
}

/// `vhost_commit`: a table that does not fit is not sent, and that is all.
pub(super) fn update_table(shared: &Shared, session: &mut Session) -> Result<(), FrontendError> {
    let table = shared.table(session)?;
    match send_table(session, &table) {
        Err(FrontendError::TableFull(regions)) => {
            shared.log.push(Event::TableFull(regions));
            Ok(())
        }
        sent => sent,
    }
}

/// `memory_region_transaction_commit`, which comes after the reply.
fn commit(shared: &Shared, change: Change) -> Result<(), Fault> {
    let mut session = lock(&shared.session);
    update_table(shared, &mut session).map_err(|error| match error {
        FrontendError::Dead(fault) => fault,
        error => Fault::TableNotTaken(error.to_string()),
    })?;
    match (change, &shared.window) {
        (Change::Added(map), Some(window)) => {
            window.commit(map.shm_offset);
            shared.log.push(Event::Committed(map));
        }
        (Change::Removed(map) | Change::Added(map), _) => {
            shared.log.push(Event::Removed(map));
        }
    }
    Ok(())
}
