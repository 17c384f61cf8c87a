//! The device's state, saved and loaded by the VMM: SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use vhost::vhost_user::message::FrontendReq;

use super::Frontend;
use super::config::protocol;
use super::error::FrontendError;
use super::lock;
use super::message::words;
use super::session::Session;
use super::shared::Shared;

const SAVE: u32 = 0;
const LOAD: u32 = 1;
/// The phase in which the device is stopped.
const STOPPED: u32 = 0;
/// Set in the answer where no file comes with it.
const NO_FD: u64 = 1 << 8;

impl Frontend {
    /// Saves the state of the stopped device.
    ///
    /// # Errors
    /// [`FrontendError::Refused`] if the backend says no, at the beginning or at the end.
    pub fn save_state(&self) -> Result<Vec<u8>, FrontendError> {
        self.shared.settle(self.shared.save_state())
    }

    /// Loads the state of a device, which goes on at the next [`Frontend::resume`].
    ///
    /// # Errors
    /// As for [`Frontend::save_state`].
    pub fn load_state(&self, state: &[u8]) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.load_state(state))
    }

    /// The backend has the state of a device already, which goes on at the next
    /// [`Frontend::resume`].
    pub fn adopt(&self) {
        lock(&self.shared.session).is_new_driver = true;
    }
}

impl Shared {
    fn save_state(&self) -> Result<Vec<u8>, FrontendError> {
        let (_turn, session) = self.enter()?;
        let (reader, writer) = pipe()?;
        begin(&session, SAVE, writer)?;
        let mut state = Vec::new();
        let read = File::from(reader).read_to_end(&mut state);
        read.map_err(FrontendError::Connect)?;
        check(&session)?;
        Ok(state)
    }

    fn load_state(&self, state: &[u8]) -> Result<(), FrontendError> {
        let (_turn, mut session) = self.enter()?;
        let (reader, writer) = pipe()?;
        begin(&session, LOAD, reader)?;
        // A backend that refuses it reads no more.
        let written = File::from(writer).write_all(state);
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(FrontendError::Connect(error));
            }
            _ => {}
        }
        check(&session)?;
        session.is_new_driver = true;
        Ok(())
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), FrontendError> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

fn begin(session: &Session, direction: u32, file: OwnedFd) -> Result<(), FrontendError> {
    if !session.has(protocol::DEVICE_STATE) {
        return Err(FrontendError::Missing("DEVICE_STATE"));
    }
    let request = FrontendReq::SET_DEVICE_STATE_FD;
    let payload = words(&[direction, STOPPED]);
    session.channel.tell(request, &payload, &[file.as_fd()])?;
    // The backend's end of the pipe is the only one.
    drop(file);
    match session.channel.answer_u64(request)? {
        NO_FD => Ok(()),
        code => Err(FrontendError::Refused { request, code }),
    }
}

fn check(session: &Session) -> Result<(), FrontendError> {
    let request = FrontendReq::CHECK_DEVICE_STATE;
    match session.channel.ask_u64(request)? {
        0 => Ok(()),
        code => Err(FrontendError::Refused { request, code }),
    }
}
