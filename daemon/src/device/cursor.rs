//! The cursor queue: UPDATE_CURSOR and MOVE_CURSOR.

use coherd_protocol::gpu::limits::CURSOR_SIDE;
use coherd_protocol::gpu::wire::UpdateCursor;
use coherd_protocol::gpu::{Format, GpuError, Response};
use coherd_protocol::state;

use super::resource::Kind;
use super::{Device, Result};

/// Bytes of a cursor image.
const CURSOR_BYTES: u64 = (CURSOR_SIDE * CURSOR_SIDE * Format::BYTES_PER_PIXEL) as u64;

/// The cursor of a scanout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The image; `None` while the cursor is hidden.
    resource_id: Option<u32>,
    /// The pixel of the image that points.
    hot_spot: (u32, u32),
    /// Where it points on the scanout; negative near the upper left edges.
    position: (i32, i32),
}

impl Cursor {
    /// What it is, to be saved.
    pub fn save(&self, index: u32) -> state::Cursor {
        state::Cursor {
            index: index.into(),
            resource: self.resource_id.unwrap_or(0).into(),
            hot_x: self.hot_spot.0.into(),
            hot_y: self.hot_spot.1.into(),
            x: self.position.0.cast_unsigned().into(),
            y: self.position.1.cast_unsigned().into(),
            reserved: 0.into(),
        }
    }

    /// Becomes what was saved.
    pub fn load(&mut self, saved: &state::Cursor) {
        let (x, y) = (saved.x.get(), saved.y.get());
        *self = Self {
            resource_id: Some(saved.resource.get()).filter(|id| *id != 0),
            hot_spot: (saved.hot_x.get(), saved.hot_y.get()),
            position: (x.cast_signed(), y.cast_signed()),
        };
    }

    /// Hides the cursor if its image goes away.
    pub fn forget(&mut self, resource_id: u32) {
        if self.resource_id == Some(resource_id) {
            self.resource_id = None;
        }
    }

    /// Whether it is shown.
    pub fn is_visible(&self) -> bool {
        self.resource_id.is_some()
    }
}

impl Device {
    /// UPDATE_CURSOR; resource 0 hides the cursor.
    pub(super) fn update_cursor(&mut self, request: &UpdateCursor) -> Result {
        let id = request.resource_id.get();
        self.cursor_mut(request)?;
        if id != 0 {
            self.check_cursor_image(id)?;
        }
        // A hot spot outside the image points nowhere; drivers pass on what programs say.
        let hot = |value: u32| value.min(CURSOR_SIDE - 1);
        let cursor = self.cursor_mut(request)?;
        cursor.resource_id = (id != 0).then_some(id);
        cursor.hot_spot = (hot(request.hot_x.get()), hot(request.hot_y.get()));
        self.move_cursor(request)
    }

    /// MOVE_CURSOR; everything but the position is ignored.
    pub(super) fn move_cursor(&mut self, request: &UpdateCursor) -> Result {
        let (x, y) = (request.pos.x.get(), request.pos.y.get());
        self.cursor_mut(request)?.position = (x.cast_signed(), y.cast_signed());
        Ok(Response::OkNoData)
    }

    fn check_cursor_image(&mut self, id: u32) -> std::result::Result<(), super::Refusal> {
        let fits = match &self.resource_mut(id)?.kind {
            Kind::TwoD(image) => (image.width(), image.height()) == (CURSOR_SIDE, CURSOR_SIDE),
            Kind::GuestBlob { size } => *size >= CURSOR_BYTES,
            Kind::HostBlob(blob) => blob.size >= CURSOR_BYTES,
            Kind::ThreeD { .. } => return Err(GpuError::WrongResourceKind(id).into()),
        };
        if fits {
            Ok(())
        } else {
            Err(GpuError::BadField("cursor size").into())
        }
    }

    fn cursor_mut(&mut self, request: &UpdateCursor) -> std::result::Result<&mut Cursor, GpuError> {
        let scanout = request.pos.scanout_id.get();
        usize::try_from(scanout)
            .ok()
            .and_then(|index| self.cursors.get_mut(index))
            .ok_or(GpuError::UnknownScanout(scanout))
    }
}
