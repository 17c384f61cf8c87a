//! 2D resources: RESOURCE_CREATE_2D and TRANSFER_TO_HOST_2D.

use coherd_protocol::gpu::limits::MAX_2D_DIMENSION;
use coherd_protocol::gpu::wire::{Rect, ResourceCreate2d, TransferToHost2d};
use coherd_protocol::gpu::{Format, GpuError, Response};

use super::resource::{Kind, Resource};
use super::{Device, MAX_IMAGE_BYTES, Result};

/// Pixels in this process.
#[derive(Debug)]
pub struct Image {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// A rectangle inside an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Not zero.
    pub width: u32,
    /// Not zero.
    pub height: u32,
}

impl Area {
    /// `rect`, if it is not empty and inside `width` by `height` pixels.
    pub fn inside(rect: &Rect, width: u32, height: u32) -> Option<Self> {
        let area = Self {
            x: rect.x.get(),
            y: rect.y.get(),
            width: rect.width.get(),
            height: rect.height.get(),
        };
        let fits = |start: u32, len: u32, bound| {
            len > 0 && start.checked_add(len).is_some_and(|end| end <= bound)
        };
        (fits(area.x, area.width, width) && fits(area.y, area.height, height)).then_some(area)
    }
}

impl Image {
    /// Bytes of an image, if its dimensions are within bounds.
    fn size(width: u32, height: u32) -> Option<u64> {
        let ok = |side| (1..=MAX_2D_DIMENSION).contains(&side);
        (ok(width) && ok(height))
            .then(|| u64::from(width) * u64::from(height) * u64::from(Format::BYTES_PER_PIXEL))
    }

    /// Bytes of pixels.
    pub fn len(&self) -> u64 {
        u64::try_from(self.pixels.len()).unwrap_or(u64::MAX)
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes of one row of `area`, mutable.
    fn row_mut(&mut self, area: Area, row: u32) -> Option<&mut [u8]> {
        let pixel = |x: u32, y: u32| {
            let index = u64::from(y) * u64::from(self.width) + u64::from(x);
            usize::try_from(index * u64::from(Format::BYTES_PER_PIXEL)).ok()
        };
        let start = pixel(area.x, area.y.checked_add(row)?)?;
        let len = pixel(area.width, 0)?;
        self.pixels.get_mut(start..start.checked_add(len)?)
    }
}

impl Device {
    /// RESOURCE_CREATE_2D
    pub(super) fn resource_create_2d(&mut self, request: &ResourceCreate2d) -> Result {
        let id = request.resource_id.get();
        self.check_new_resource(id)?;
        Format::from_wire(request.format.get()).ok_or(GpuError::BadField("format"))?;
        let (width, height) = (request.width.get(), request.height.get());
        let size = Image::size(width, height).ok_or(GpuError::BadField("dimensions"))?;
        if self.image_bytes.saturating_add(size) > MAX_IMAGE_BYTES {
            return Err(GpuError::OutOf("memory for 2D resources").into());
        }
        let len = usize::try_from(size).map_err(|_| GpuError::BadField("dimensions"))?;
        let mut pixels = Vec::new();
        pixels
            .try_reserve_exact(len)
            .map_err(|_| GpuError::OutOf("memory"))?;
        pixels.resize(len, 0);
        let image = Image {
            width,
            height,
            pixels,
        };
        self.image_bytes += size;
        self.resources.insert(id, Resource::new(Kind::TwoD(image)));
        Ok(Response::OkNoData)
    }

    /// TRANSFER_TO_HOST_2D: rows of the backing, which has the image's stride, to the image.
    pub(super) fn transfer_to_host_2d(&mut self, request: &TransferToHost2d) -> Result {
        let id = request.resource_id.get();
        let resource = self.resource_mut(id)?;
        let Kind::TwoD(image) = &mut resource.kind else {
            return Err(GpuError::WrongResourceKind(id).into());
        };
        let backing = resource.backing.as_ref().ok_or(GpuError::NoBacking(id))?;
        let area = Area::inside(&request.rect, image.width, image.height)
            .ok_or(GpuError::BadField("rectangle"))?;
        let stride = u64::from(image.width) * u64::from(Format::BYTES_PER_PIXEL);
        let last = u64::from(area.height - 1) * stride
            + u64::from(area.width) * u64::from(Format::BYTES_PER_PIXEL);
        let offset = request.offset.get();
        if offset
            .checked_add(last)
            .is_none_or(|end| end > backing.len())
        {
            return Err(GpuError::BadField("offset").into());
        }
        for row in 0..area.height {
            let from = offset + u64::from(row) * stride;
            let to = image
                .row_mut(area, row)
                .ok_or(GpuError::BadField("rectangle"))?;
            if !backing.read(from, to) {
                return Err(GpuError::BadBacking(id).into());
            }
        }
        Ok(Response::OkNoData)
    }
}
