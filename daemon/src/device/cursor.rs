//! The cursor queue: UPDATE_CURSOR and MOVE_CURSOR.

use coherd_protocol::gpu::limits::CURSOR_SIDE;
use coherd_protocol::gpu::wire::UpdateCursor;
use coherd_protocol::gpu::{GpuError, Response};

use super::resource::Kind;
use super::{Device, Result};

impl Device {
    /// UPDATE_CURSOR; resource 0 hides the cursor.
    pub(super) fn update_cursor(&mut self, request: &UpdateCursor) -> Result {
        self.move_cursor(request)?;
        let id = request.resource_id.get();
        if id == 0 {
            return Ok(Response::OkNoData);
        }
        match &self.resource_mut(id)?.kind {
            Kind::TwoD(image) if (image.width(), image.height()) != (CURSOR_SIDE, CURSOR_SIDE) => {
                Err(GpuError::BadField("cursor size").into())
            }
            _ => Ok(Response::OkNoData),
        }
    }

    /// MOVE_CURSOR; everything but the position is ignored.
    pub(super) fn move_cursor(&mut self, request: &UpdateCursor) -> Result {
        let scanout = request.pos.scanout_id.get();
        let index = usize::try_from(scanout).unwrap_or(usize::MAX);
        self.scanouts
            .get(index)
            .ok_or(GpuError::UnknownScanout(scanout))?;
        Ok(Response::OkNoData)
    }
}
