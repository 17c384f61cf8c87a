//! Resources of the renderer that are not blobs: RESOURCE_CREATE_3D, TRANSFER_TO_HOST_3D and
//! TRANSFER_FROM_HOST_3D, as `linux/virtio_gpu.h` has them.
//!
//! Venus has none; the seam is for renderers such as virgl, and the tests' renderer uses it. A driver
//! in 3D mode may transfer 2D resources with these commands too.

use coherd_protocol::gpu::wire::{Rect, ResourceCreate3d, Transfer3d};
use coherd_protocol::gpu::{GpuError, Response};

use super::charge::Charge;
use super::context::State;
use super::image::{Area, Direction, Image, Layout};
use super::quota::Quota;
use super::resource::{Kind, Resource};
use super::{Device, Result};
use crate::memory::GuestRanges;
use crate::renderer::RendererError;

impl Device {
    /// RESOURCE_CREATE_3D
    pub(super) fn resource_create_3d(&mut self, request: &ResourceCreate3d) -> Result {
        let id = request.resource_id.get();
        self.check_new_resource(id)?;
        let size = match self.renderer.create_3d(request) {
            Ok(size) => size,
            Err(RendererError::Unsupported(what)) => return Err(GpuError::Unsupported(what).into()),
            Err(error) => {
                self.report(&format_args!("3D resource {id}: {error}"));
                return Err(GpuError::Renderer.into());
            }
        };
        if let Err(error) = self.check(Charge::vm(Quota::BlobBytes, size)) {
            self.renderer.destroy_resource(id);
            return Err(error.into());
        }
        self.add_resource(id, Resource::new(Kind::ThreeD { size }))
    }

    /// TRANSFER_TO_HOST_3D and TRANSFER_FROM_HOST_3D. The context has to have the resource.
    pub(super) fn transfer_3d(
        &mut self,
        ctx_id: u32,
        request: &Transfer3d,
        direction: Direction,
    ) -> Result {
        let id = request.resource_id.get();
        let context = self.context(ctx_id)?;
        let (state, attached) = (context.state, context.resources.contains(&id));
        let resource = self
            .resources
            .get_mut(&id)
            .filter(|_| attached)
            .ok_or(GpuError::UnknownResource(id))?;
        if matches!(resource.kind, Kind::GuestBlob { .. }) {
            // The guest's pages are the blob.
            return Ok(Response::OkNoData);
        }
        let backing = resource.backing.as_ref().ok_or(GpuError::NoBacking(id))?;
        if let Kind::TwoD(image) = &mut resource.kind {
            transfer_image(image, request, backing, direction)?;
            return Ok(Response::OkNoData);
        }
        match state {
            State::Rendered => {}
            State::Lost => return Err(GpuError::ContextLost(ctx_id).into()),
            State::Inert => return Err(GpuError::Unsupported("a context with a capset").into()),
        }
        if let Err(error) = self.renderer.transfer(ctx_id, request, backing, direction) {
            self.report(&format_args!(
                "transfer {direction} of resource {id}: {error}"
            ));
            return Err(GpuError::Renderer.into());
        }
        Ok(Response::OkNoData)
    }
}

/// Transfers a part of a 2D resource, which has one level and one layer.
fn transfer_image(
    image: &mut Image,
    request: &Transfer3d,
    backing: &GuestRanges,
    direction: Direction,
) -> std::result::Result<(), GpuError> {
    let part = &request.region;
    let flat = request.level.get() == 0 && part.z.get() == 0 && part.d.get() == 1;
    let rect = Rect {
        x: part.x,
        y: part.y,
        width: part.w,
        height: part.h,
    };
    let area = Area::inside(&rect, image.width(), image.height())
        .filter(|_| flat)
        .ok_or(GpuError::BadField("box"))?;
    let layout = Layout {
        offset: request.offset.get(),
        stride: match request.stride.get() {
            0 => image.stride(),
            stride => stride.into(),
        },
    };
    if image.transfer(area, backing, layout, direction) {
        Ok(())
    } else {
        Err(GpuError::BadField("offset or stride"))
    }
}
