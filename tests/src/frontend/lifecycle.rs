//! Start, stop, reset and resume.

use std::sync::MutexGuard;

use vhost::vhost_user::message::FrontendReq;

use super::config::{Flavour, protocol};
use super::error::FrontendError;
use super::fault::Fault;
use super::log::Event;
use super::session::Session;
use super::shared::Shared;
use super::turn::Turn;
use super::{crosvm, general, libkrun, lock, qemu};

impl Shared {
    /// The session and, for QEMU, its one main loop, with which everything waits for everything.
    pub(super) fn enter(
        &self,
    ) -> Result<(Option<Turn<'_>>, MutexGuard<'_, Session>), FrontendError> {
        let turn = match self.flavour {
            Flavour::Qemu | Flavour::General => Some(self.turn()?),
            Flavour::Crosvm | Flavour::Libkrun => None,
        };
        self.check_alive()?;
        Ok((turn, lock(&self.session)))
    }

    /// Activates the device from `bases`, fresh from a reset if there are none.
    pub(super) fn activate(&self, bases: Option<&[u16]>) -> Result<(), FrontendError> {
        let (_turn, mut session) = self.enter()?;
        if self.is_running() {
            return Err(FrontendError::State("running already"));
        }
        let fresh = vec![0; session.rings.len()];
        if bases.is_none() {
            for ring in &session.rings {
                ring.layout().clear(session.ram.memory())?;
            }
        }
        let features_are_new = std::mem::take(&mut session.is_new_driver) || bases.is_none();
        let bases = bases.unwrap_or(&fresh);
        if bases.len() != session.rings.len() {
            return Err(FrontendError::Config("one base per ring"));
        }
        match self.flavour {
            Flavour::Qemu => {
                let table = self.table(&session)?;
                qemu::start(&mut session, bases, &table)?;
                self.set_running(true)
            }
            Flavour::General => {
                general::start(&mut session, bases)?;
                self.set_running(true)
            }
            Flavour::Crosvm => {
                if features_are_new {
                    crosvm::acknowledge_features(&session)?;
                }
                crosvm::activate(&session, bases)?;
                self.set_running(true)
            }
            Flavour::Libkrun => {
                libkrun::activate(&session)?;
                self.set_running(true)
            }
        }
    }

    /// Stops the device and returns where its rings are.
    pub(super) fn deactivate(&self) -> Result<Vec<u16>, FrontendError> {
        let (turn, mut session) = self.enter()?;
        if !self.is_running() {
            return Err(FrontendError::State("stopped already"));
        }
        self.deactivate_entered(turn.as_ref(), &mut session)
    }

    fn deactivate_entered(
        &self,
        _main_loop: Option<&Turn<'_>>,
        session: &mut Session,
    ) -> Result<Vec<u16>, FrontendError> {
        match self.flavour {
            Flavour::Qemu => {
                let bases = qemu::stop(session);
                self.set_running(false)?;
                bases
            }
            Flavour::General => {
                let bases = general::stop(session);
                self.set_running(false)?;
                bases
            }
            Flavour::Crosvm => {
                let bases = crosvm::deactivate(session)?;
                // Joining the worker waits for the request it serves.
                let _worker = self.turn()?;
                self.set_running(false)?;
                Ok(bases)
            }
            Flavour::Libkrun => {
                libkrun::disable(session)?;
                self.set_running(false)?;
                Ok(vec![0; session.rings.len()])
            }
        }
    }

    /// Resets the device: what stop does, or RESET_DEVICE alone, and what the VMM then does to
    /// the window.
    pub(super) fn reset(&self, by_request: bool) -> Result<(), FrontendError> {
        let (turn, mut session) = self.enter()?;
        if by_request {
            if !session.has(protocol::RESET_DEVICE) {
                return Err(FrontendError::Missing("RESET_DEVICE"));
            }
            let request = FrontendReq::RESET_DEVICE;
            session.channel.tell_acked(request, &[], &[])?;
            self.set_running(false)?;
        } else if self.is_running() {
            self.deactivate_entered(turn.as_ref(), &mut session)?;
        }
        let window = self.window.as_ref().filter(|_| self.flavour.is_like_qemu());
        let dropped = window.map_or(0, |window| window.clear());
        if dropped > 0 {
            self.log.push(Event::MapsDropped(dropped));
            session.stale_slots |= session.has(protocol::CONFIGURE_MEM_SLOTS);
        }
        Ok(())
    }

    /// Sends SET_FEATURES.
    pub(super) fn send_features(&self) -> Result<(), FrontendError> {
        let (_turn, session) = self.enter()?;
        let features = session.features().to_ne_bytes();
        session
            .channel
            .tell(FrontendReq::SET_FEATURES, &features, &[])
    }

    /// Sends the memory table again.
    pub(super) fn repeat_memory(&self) -> Result<(), FrontendError> {
        let (_turn, mut session) = self.enter()?;
        if self.flavour == Flavour::Qemu {
            let table = self.table(&session)?;
            return qemu::send_table(&mut session, &table);
        }
        session.set_mem_table(&session.ram.table()?)
    }

    /// Plugs or unplugs RAM. QEMU tells a running device at once, others at the next activation.
    pub(super) fn plug(&self, plugged: bool) -> Result<(), FrontendError> {
        let (_turn, mut session) = self.enter()?;
        session.ram.set_plugged(plugged);
        if self.flavour == Flavour::Qemu && self.is_running() {
            qemu::update_table(self, &mut session)?;
        }
        Ok(())
    }

    /// Reads the configuration space as a guest's access does.
    pub(super) fn read_config(&self, offset: u32, size: u32) -> Result<Vec<u8>, FrontendError> {
        let (_turn, mut session) = self.enter()?;
        match self.flavour {
            Flavour::Qemu => {
                let whole = session.config.config_size;
                session.config_space = session.read_config(0, whole, 0)?;
                let range = offset as usize..(offset as usize).saturating_add(size as usize);
                session
                    .config_space
                    .get(range)
                    .map(<[u8]>::to_vec)
                    .ok_or(FrontendError::Config("access past config_size"))
            }
            Flavour::Crosvm => session.read_config(offset, size, crosvm::CONFIG_FLAGS),
            Flavour::Libkrun | Flavour::General => session.read_config(offset, size, 0),
        }
    }

    /// Writes the configuration space as a guest's access does.
    pub(super) fn write_config(&self, offset: u32, bytes: &[u8]) -> Result<(), FrontendError> {
        let (_turn, mut session) = self.enter()?;
        if self.flavour != Flavour::Qemu {
            return session.write_config(offset, bytes);
        }
        let whole = session.config.config_size as usize;
        session.config_space.resize(whole, 0);
        let start = offset as usize;
        session
            .config_space
            .get_mut(start..start.saturating_add(bytes.len()))
            .ok_or(FrontendError::Config("access past config_size"))?
            .copy_from_slice(bytes);
        session.write_config(0, &session.config_space)
    }

    /// The fault that ended the VMM, if one did.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.check_alive().err()
    }
}
