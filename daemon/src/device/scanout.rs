//! Scanouts: GET_DISPLAY_INFO, GET_EDID, SET_SCANOUT, SET_SCANOUT_BLOB and RESOURCE_FLUSH.

use coherd_protocol::gpu::wire::{DisplayOne, Rect, ResourceFlush, SetScanout, SetScanoutBlob};
use coherd_protocol::gpu::{Features, Format, GpuError, Response};
use coherd_protocol::state;

use super::display::{Mode, Outputs};
use super::image::Area;
use super::resource::Kind;
use super::{Device, Result, edid};

/// Smallest side of a scanout, as in QEMU's device.
const MIN_SIDE: u32 = 16;

/// What an output shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanout {
    resource_id: Option<u32>,
}

impl Scanout {
    /// What it shows, to be saved.
    pub fn save(&self, index: u32) -> state::Scanout {
        state::Scanout {
            index: index.into(),
            resource: self.resource_id.unwrap_or(0).into(),
        }
    }

    /// Shows what was saved.
    pub fn load(&mut self, saved: &state::Scanout) {
        self.resource_id = Some(saved.resource.get()).filter(|id| *id != 0);
    }

    /// Stops showing a resource that goes away.
    pub fn forget(&mut self, resource_id: u32) {
        if self.resource_id == Some(resource_id) {
            self.resource_id = None;
        }
    }
}

impl Device {
    /// Plugs displays in, out, or others in their place; `false` if nothing changes thereby. The
    /// number of outputs stays as it was.
    pub fn set_displays(&mut self, outputs: Outputs) -> bool {
        let current = &mut self.config.outputs;
        let changes = outputs != *current && outputs.count() == current.count();
        if changes {
            *current = outputs;
        }
        changes
    }

    /// GET_DISPLAY_INFO. The displays stand side by side.
    pub(super) fn get_display_info(&self) -> Result {
        let mut left = 0;
        let one = |display: Option<Mode>| {
            let (width, height) = display.map_or((0, 0), |mode| (mode.width(), mode.height()));
            let x = if display.is_some() { left } else { 0 };
            left += width;
            DisplayOne {
                rect: Rect {
                    x: x.into(),
                    y: 0.into(),
                    width: width.into(),
                    height: height.into(),
                },
                enabled: u32::from(display.is_some()).into(),
                flags: 0.into(),
            }
        };
        Ok(Response::DisplayInfo(
            self.config.outputs.iter().map(one).collect(),
        ))
    }

    /// GET_EDID, which is empty for an output without a display.
    pub(super) fn get_edid(&self, scanout: u32) -> Result {
        self.require(Features::EDID, "EDID")?;
        let display = usize::try_from(scanout)
            .ok()
            .and_then(|index| self.config.outputs.iter().nth(index))
            .ok_or(GpuError::BadField("scanout"))?;
        let edid = display.map_or_else(Vec::new, |mode| edid::edid(scanout, mode));
        Ok(Response::Edid(edid))
    }

    /// SET_SCANOUT
    pub(super) fn set_scanout(&mut self, request: &SetScanout) -> Result {
        let id = request.resource_id.get();
        let scanout = self.scanout_index(request.scanout_id.get())?;
        if id == 0 {
            return self.show(scanout, None);
        }
        let resource = self.resource_mut(id)?;
        let Kind::TwoD(image) = &resource.kind else {
            return Err(GpuError::WrongResourceKind(id).into());
        };
        resource.backing.as_ref().ok_or(GpuError::NoBacking(id))?;
        check_visible(&request.rect, image.width(), image.height())?;
        self.show(scanout, Some(id))
    }

    /// SET_SCANOUT_BLOB
    pub(super) fn set_scanout_blob(&mut self, request: &SetScanoutBlob) -> Result {
        self.require_blobs()?;
        let id = request.resource_id.get();
        let scanout = self.scanout_index(request.scanout_id.get())?;
        if id == 0 {
            return self.show(scanout, None);
        }
        let resource = self.resource_mut(id)?;
        let size = match &resource.kind {
            Kind::TwoD(_) | Kind::ThreeD { .. } => {
                return Err(GpuError::WrongResourceKind(id).into());
            }
            Kind::GuestBlob { size } => *size,
            Kind::HostBlob(blob) => blob
                .record
                .as_ref()
                .map(|record| record.backing().size())
                .ok_or(GpuError::NoBacking(id))?,
        };
        Format::from_wire(request.format.get()).ok_or(GpuError::BadField("format"))?;
        let (width, height) = (request.width.get(), request.height.get());
        check_visible(&request.rect, width, height)?;
        let row = u64::from(width) * u64::from(Format::BYTES_PER_PIXEL);
        let [stride, ..] = request.strides.map(|stride| u64::from(stride.get()));
        let [offset, ..] = request.offsets.map(|offset| u64::from(offset.get()));
        let end = u64::from(height)
            .checked_sub(1)
            .and_then(|rows| rows.checked_mul(stride))
            .and_then(|start| start.checked_add(row)?.checked_add(offset));
        if stride < row || end.is_none_or(|end| end > size) {
            return Err(GpuError::BadField("stride or size").into());
        }
        self.show(scanout, Some(id))
    }

    /// RESOURCE_FLUSH
    pub(super) fn resource_flush(&mut self, request: &ResourceFlush) -> Result {
        let id = request.resource_id.get();
        if let Kind::TwoD(image) = &self.resource_mut(id)?.kind {
            Area::inside(&request.rect, image.width(), image.height())
                .ok_or(GpuError::BadField("rectangle"))?;
        }
        Ok(Response::OkNoData)
    }

    fn scanout_index(&self, id: u32) -> std::result::Result<usize, GpuError> {
        usize::try_from(id)
            .ok()
            .filter(|index| *index < self.scanouts.len())
            .ok_or(GpuError::UnknownScanout(id))
    }

    fn show(&mut self, index: usize, resource_id: Option<u32>) -> Result {
        if let Some(scanout) = self.scanouts.get_mut(index) {
            scanout.resource_id = resource_id;
        }
        Ok(Response::OkNoData)
    }
}

fn check_visible(rect: &Rect, width: u32, height: u32) -> std::result::Result<(), GpuError> {
    Area::inside(rect, width, height)
        .filter(|area| area.width >= MIN_SIDE && area.height >= MIN_SIDE)
        .map(drop)
        .ok_or(GpuError::BadField("rectangle"))
}
