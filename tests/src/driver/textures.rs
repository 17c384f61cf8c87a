//! Commands of resources that the renderer has and that are not blobs.

use coherd_protocol::gpu::wire::{Box3, ResourceCreate3d, Transfer3d};

use super::error::DriverError;
use super::gpu::Gpu;
use super::request::Request;

/// PIPE_TEXTURE_2D of virgl.
const TARGET_2D: u32 = 2;
/// VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM, which is virgl's number too.
const FORMAT: u32 = 1;

/// A transfer of a box; zero strides stand for rows and layers without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Context that has the resource.
    pub ctx_id: u32,
    /// The resource.
    pub resource_id: u32,
    /// x, y, z, width, height and depth.
    pub region: [u32; 6],
    /// First byte in the backing.
    pub offset: u64,
    /// Mipmap level.
    pub level: u32,
    /// Bytes from row to row.
    pub stride: u32,
    /// Bytes from layer to layer.
    pub layer_stride: u32,
}

impl Transfer {
    fn to_wire(self) -> Transfer3d {
        let [x, y, z, w, h, d] = self.region.map(Into::into);
        Transfer3d {
            region: Box3 { x, y, z, w, h, d },
            offset: self.offset.into(),
            resource_id: self.resource_id.into(),
            level: self.level.into(),
            stride: self.stride.into(),
            layer_stride: self.layer_stride.into(),
        }
    }
}

impl Gpu {
    /// RESOURCE_CREATE_3D: a texture of `size` texels with one level.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn create_3d(&mut self, resource_id: u32, size: [u32; 3]) -> Result<(), DriverError> {
        let [width, height, depth] = size.map(Into::into);
        let request = Request::create_3d(&ResourceCreate3d {
            resource_id: resource_id.into(),
            target: TARGET_2D.into(),
            format: FORMAT.into(),
            bind: 0.into(),
            width,
            height,
            depth,
            array_size: 1.into(),
            last_level: 0.into(),
            nr_samples: 0.into(),
            flags: 0.into(),
            padding: 0.into(),
        });
        self.run(&request).map(drop)
    }

    /// TRANSFER_TO_HOST_3D.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn transfer_to_host_3d(&mut self, transfer: &Transfer) -> Result<(), DriverError> {
        let request = Request::transfer_to_host_3d(transfer.ctx_id, &transfer.to_wire());
        self.run(&request).map(drop)
    }

    /// TRANSFER_FROM_HOST_3D.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn transfer_from_host_3d(&mut self, transfer: &Transfer) -> Result<(), DriverError> {
        let request = Request::transfer_from_host_3d(transfer.ctx_id, &transfer.to_wire());
        self.run(&request).map(drop)
    }
}
