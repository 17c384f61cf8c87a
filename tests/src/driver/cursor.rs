//! Commands of the cursor queue, for which Linux supplies no room for an answer.

use coherd_protocol::gpu::wire::{CursorPos, UpdateCursor};

use super::answer::Answer;
use super::error::DriverError;
use super::gpu::{Gpu, QueueKind};
use super::request::{Request, kind};

/// A cursor; the position may be left of or above the scanout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Scanout.
    pub scanout: u32,
    /// Pixels from the left.
    pub x: i32,
    /// Pixels from the top.
    pub y: i32,
    /// Image, 0 for none.
    pub resource_id: u32,
    /// Hot spot, pixels from the left of the image.
    pub hot_x: u32,
    /// Hot spot, pixels from the top of the image.
    pub hot_y: u32,
}

impl Cursor {
    /// UPDATE_CURSOR or MOVE_CURSOR.
    pub fn request(&self, kind: u32) -> Request {
        Request::new(kind).body(&UpdateCursor {
            pos: CursorPos {
                scanout_id: self.scanout.into(),
                x: self.x.cast_unsigned().into(),
                y: self.y.cast_unsigned().into(),
                padding: 0.into(),
            },
            resource_id: self.resource_id.into(),
            hot_x: self.hot_x.into(),
            hot_y: self.hot_y.into(),
            padding: 0.into(),
        })
    }
}

impl Gpu {
    /// UPDATE_CURSOR: waits until the device returned the buffer.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn update_cursor(&mut self, cursor: &Cursor) -> Result<Answer, DriverError> {
        self.call_cursor(&cursor.request(kind::UPDATE_CURSOR))
    }

    /// MOVE_CURSOR: waits until the device returned the buffer.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn move_cursor(&mut self, cursor: &Cursor) -> Result<Answer, DriverError> {
        self.call_cursor(&cursor.request(kind::MOVE_CURSOR))
    }

    fn call_cursor(&mut self, request: &Request) -> Result<Answer, DriverError> {
        let token = self.send_on(QueueKind::Cursor, &request.to_bytes(), 0)?;
        let deadline = self.patience();
        self.wait(token, deadline)
    }
}
