//! Commands of 2D resources and scanouts.

use coherd_protocol::gpu::Format;
use coherd_protocol::gpu::wire::{Rect, SetScanoutBlob};

use super::descriptor::Buffer;
use super::error::DriverError;
use super::gpu::Gpu;
use super::request::Request;

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
        let request = Request::create_2d(resource_id, format as u32, width, height);
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
        self.run(&Request::attach_backing(resource_id, entries))
            .map(drop)
    }

    /// RESOURCE_DETACH_BACKING.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn detach_backing(&mut self, resource_id: u32) -> Result<(), DriverError> {
        self.run(&Request::detach_backing(resource_id)).map(drop)
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
        self.run(&Request::transfer_to_host_2d(resource_id, rect, offset))
            .map(drop)
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
        self.run(&Request::set_scanout(scanout, resource_id, rect))
            .map(drop)
    }

    /// SET_SCANOUT_BLOB.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn set_scanout_blob(&mut self, scanout: &SetScanoutBlob) -> Result<(), DriverError> {
        self.run(&Request::set_scanout_blob(scanout)).map(drop)
    }

    /// RESOURCE_FLUSH.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn flush(&mut self, resource_id: u32, rect: Rect) -> Result<(), DriverError> {
        self.run(&Request::flush(resource_id, rect)).map(drop)
    }
}
