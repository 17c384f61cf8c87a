//! Commands of 2D resources and scanouts.

use coherd_protocol::gpu::Format;
use coherd_protocol::gpu::wire::{
    AttachBacking, Rect, ResourceCreate2d, ResourceFlush, SetScanout, SetScanoutBlob,
    TransferToHost2d,
};

use super::commands::on_resource;
use super::descriptor::Buffer;
use super::error::DriverError;
use super::gpu::Gpu;
use super::request::{Request, kind};

impl Gpu {
    /// RESOURCE_CREATE_2D.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn create_2d(
        &mut self,
        resource_id: u32,
        format: Format,
        width: u32,
        height: u32,
    ) -> Result<(), DriverError> {
        let request = Request::new(kind::RESOURCE_CREATE_2D).body(&ResourceCreate2d {
            resource_id: resource_id.into(),
            format: (format as u32).into(),
            width: width.into(),
            height: height.into(),
        });
        self.run(&request).map(drop)
    }

    /// RESOURCE_ATTACH_BACKING.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn attach_backing(
        &mut self,
        resource_id: u32,
        entries: &[Buffer],
    ) -> Result<(), DriverError> {
        let request = Request::new(kind::RESOURCE_ATTACH_BACKING)
            .body(&AttachBacking {
                resource_id: resource_id.into(),
                nr_entries: u32::try_from(entries.len()).unwrap_or(u32::MAX).into(),
            })
            .entries(entries);
        self.run(&request).map(drop)
    }

    /// RESOURCE_DETACH_BACKING.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn detach_backing(&mut self, resource_id: u32) -> Result<(), DriverError> {
        self.run(&on_resource(kind::RESOURCE_DETACH_BACKING, resource_id))
            .map(drop)
    }

    /// TRANSFER_TO_HOST_2D.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn transfer_to_host_2d(
        &mut self,
        resource_id: u32,
        rect: Rect,
        offset: u64,
    ) -> Result<(), DriverError> {
        let request = Request::new(kind::TRANSFER_TO_HOST_2D).body(&TransferToHost2d {
            rect,
            offset: offset.into(),
            resource_id: resource_id.into(),
            padding: 0.into(),
        });
        self.run(&request).map(drop)
    }

    /// SET_SCANOUT; resource 0 disables the scanout.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn set_scanout(
        &mut self,
        scanout: u32,
        resource_id: u32,
        rect: Rect,
    ) -> Result<(), DriverError> {
        let request = Request::new(kind::SET_SCANOUT).body(&SetScanout {
            rect,
            scanout_id: scanout.into(),
            resource_id: resource_id.into(),
        });
        self.run(&request).map(drop)
    }

    /// SET_SCANOUT_BLOB.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn set_scanout_blob(&mut self, scanout: &SetScanoutBlob) -> Result<(), DriverError> {
        self.run(&Request::new(kind::SET_SCANOUT_BLOB).body(scanout))
            .map(drop)
    }

    /// RESOURCE_FLUSH.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn flush(&mut self, resource_id: u32, rect: Rect) -> Result<(), DriverError> {
        let request = Request::new(kind::RESOURCE_FLUSH).body(&ResourceFlush {
            rect,
            resource_id: resource_id.into(),
            padding: 0.into(),
        });
        self.run(&request).map(drop)
    }
}
