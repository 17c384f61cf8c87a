//! 2D resources: RESOURCE_CREATE_2D and TRANSFER_TO_HOST_2D.

use coherd_protocol::gpu::wire::{ResourceCreate2d, TransferToHost2d};
use coherd_protocol::gpu::{Format, GpuError, Response};

use super::charge::Charge;
use super::image::{Area, Direction, Image, Layout};
use super::quota::Quota;
use super::resource::{Kind, Resource};
use super::{Device, Result};

impl Device {
    /// RESOURCE_CREATE_2D
    pub(super) fn resource_create_2d(&mut self, request: &ResourceCreate2d) -> Result {
        let id = request.resource_id.get();
        self.check_new_resource(id)?;
        Format::from_wire(request.format.get()).ok_or(GpuError::BadField("format"))?;
        let (width, height) = (request.width.get(), request.height.get());
        let size = Image::footprint(width, height).ok_or(GpuError::BadField("dimensions"))?;
        self.check(Charge::vm(Quota::ImageBytes, size))?;
        let image = Image::new(width, height).ok_or(GpuError::OutOf("memory"))?;
        self.add_resource(id, Resource::new(Kind::TwoD(image)))
    }

    /// TRANSFER_TO_HOST_2D: rows of the backing, which has the image's stride, to the image.
    pub(super) fn transfer_to_host_2d(&mut self, request: &TransferToHost2d) -> Result {
        let id = request.resource_id.get();
        let resource = self.resource_mut(id)?;
        let image = match &mut resource.kind {
            Kind::TwoD(image) => image,
            // Linux sends it for dumb buffers that are blobs too; the guest's pages are the blob.
            Kind::GuestBlob { .. } => return Ok(Response::OkNoData),
            _ => return Err(GpuError::WrongResourceKind(id).into()),
        };
        let backing = resource.backing.as_ref().ok_or(GpuError::NoBacking(id))?;
        let area = Area::inside(&request.rect, image.width(), image.height())
            .ok_or(GpuError::BadField("rectangle"))?;
        let layout = Layout {
            offset: request.offset.get(),
            stride: image.stride(),
        };
        if image.transfer(area, backing, layout, Direction::ToHost) {
            Ok(Response::OkNoData)
        } else {
            Err(GpuError::BadField("offset").into())
        }
    }
}
