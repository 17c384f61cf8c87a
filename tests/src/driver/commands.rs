//! Commands of contexts and blobs, and what the device tells about itself.

use coherd_protocol::gpu::header::Fence;
use coherd_protocol::gpu::limits::{EDID_LEN, MAX_SCANOUTS};
use coherd_protocol::gpu::wire::{CapsetInfo, CreateBlob, DisplayOne, EdidHead, MapInfoBody};

use super::answer::Answer;
use super::descriptor::Buffer;
use super::error::DriverError;
use super::gpu::{Gpu, Token, room_for};
use super::request::{Request, kind};

/// RESOURCE_CREATE_BLOB without its backing list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blob {
    /// Context the blob belongs to, 0 for none.
    pub ctx_id: u32,
    /// Number the guest gives it.
    pub resource_id: u32,
    /// 1 guest, 2 host3d, 3 host3d_guest.
    pub mem: u32,
    /// 1 mappable, 2 shareable, 4 cross-device.
    pub flags: u32,
    /// Number of the object inside its context.
    pub blob_id: u64,
    /// Bytes.
    pub size: u64,
}

impl Blob {
    /// The command with its backing list.
    pub fn request(&self, entries: &[Buffer]) -> Request {
        Request::new(kind::RESOURCE_CREATE_BLOB)
            .context(self.ctx_id)
            .body(&CreateBlob {
                resource_id: self.resource_id.into(),
                blob_mem: self.mem.into(),
                blob_flags: self.flags.into(),
                nr_entries: u32::try_from(entries.len()).unwrap_or(u32::MAX).into(),
                blob_id: self.blob_id.into(),
                size: self.size.into(),
            })
            .entries(entries)
    }
}

impl Gpu {
    /// GET_DISPLAY_INFO.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn display_info(&mut self) -> Result<Vec<DisplayOne>, DriverError> {
        let count = usize::try_from(MAX_SCANOUTS).unwrap_or(0);
        let room = room_for(count * size_of::<DisplayOne>());
        let answer = self
            .call(&Request::display_info(), room)?
            .expect_code(0x1101)?;
        answer.parse::<[DisplayOne; 16]>().map(Vec::from)
    }

    /// GET_EDID: the blocks.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn edid(&mut self, scanout: u32) -> Result<Vec<u8>, DriverError> {
        let room = room_for(size_of::<EdidHead>() + EDID_LEN);
        let answer = self
            .call(&Request::edid(scanout), room)?
            .expect_code(0x1104)?;
        let head: EdidHead = answer.parse()?;
        let blocks = answer.body().iter().skip(size_of::<EdidHead>());
        Ok(blocks.take(head.size.get() as usize).copied().collect())
    }

    /// GET_CAPSET_INFO.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn capset_info(&mut self, index: u32) -> Result<CapsetInfo, DriverError> {
        let room = room_for(size_of::<CapsetInfo>());
        self.call(&Request::capset_info(index), room)?
            .expect_code(0x1102)?
            .parse()
    }

    /// GET_CAPSET: its bytes, at most `max_size`.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn capset(
        &mut self,
        id: u32,
        version: u32,
        max_size: usize,
    ) -> Result<Vec<u8>, DriverError> {
        let answer = self.call(&Request::capset(id, version), room_for(max_size))?;
        Ok(answer.expect_code(0x1103)?.body().to_vec())
    }

    /// CTX_CREATE.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn ctx_create(&mut self, ctx_id: u32, capset: u32, name: &str) -> Result<(), DriverError> {
        self.run(&Request::ctx_create(ctx_id, capset, name))
            .map(drop)
    }

    /// CTX_DESTROY.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn ctx_destroy(&mut self, ctx_id: u32) -> Result<(), DriverError> {
        self.run(&Request::ctx_destroy(ctx_id)).map(drop)
    }

    /// CTX_ATTACH_RESOURCE.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn ctx_attach(&mut self, ctx_id: u32, resource_id: u32) -> Result<(), DriverError> {
        self.run(&Request::ctx_attach(ctx_id, resource_id))
            .map(drop)
    }

    /// CTX_DETACH_RESOURCE.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn ctx_detach(&mut self, ctx_id: u32, resource_id: u32) -> Result<(), DriverError> {
        self.run(&Request::ctx_detach(ctx_id, resource_id))
            .map(drop)
    }

    /// SUBMIT_3D, and waits for its answer.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn submit_3d(&mut self, ctx_id: u32, commands: &[u8]) -> Result<(), DriverError> {
        self.run(&Request::submit_3d(ctx_id, commands)).map(drop)
    }

    /// SUBMIT_3D with a fence; the answer comes when the fence signals.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn submit_3d_fenced(
        &mut self,
        ctx_id: u32,
        commands: &[u8],
        fence: Fence,
    ) -> Result<Token, DriverError> {
        self.submit(&Request::submit_3d(ctx_id, commands).fence(fence))
    }

    /// RESOURCE_CREATE_BLOB.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn create_blob(&mut self, blob: &Blob, entries: &[Buffer]) -> Result<(), DriverError> {
        self.run(&blob.request(entries)).map(drop)
    }

    /// RESOURCE_MAP_BLOB: the map_info.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn map_blob(&mut self, resource_id: u32, offset: u64) -> Result<u32, DriverError> {
        let token = self.send_map_blob(resource_id, offset)?;
        let deadline = self.patience();
        self.wait(token, deadline).and_then(Gpu::map_info)
    }

    /// RESOURCE_MAP_BLOB without waiting; see [`Self::map_info`].
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn send_map_blob(&mut self, resource_id: u32, offset: u64) -> Result<Token, DriverError> {
        let request = Request::map_blob(resource_id, offset);
        self.send(&request.to_bytes(), room_for(size_of::<MapInfoBody>()))
    }

    /// The map_info in an answer to RESOURCE_MAP_BLOB.
    ///
    /// # Errors
    /// [`DriverError::Refused`] and [`DriverError::BadAnswer`].
    pub fn map_info(answer: Answer) -> Result<u32, DriverError> {
        let body: MapInfoBody = answer.expect_code(0x1106)?.parse()?;
        Ok(body.map_info.get())
    }

    /// RESOURCE_UNMAP_BLOB.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn unmap_blob(&mut self, resource_id: u32) -> Result<(), DriverError> {
        self.run(&Request::unmap_blob(resource_id)).map(drop)
    }

    /// RESOURCE_ASSIGN_UUID.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn assign_uuid(&mut self, resource_id: u32) -> Result<[u8; 16], DriverError> {
        self.call(&Request::assign_uuid(resource_id), room_for(16))?
            .expect_code(0x1105)?
            .parse()
    }

    /// RESOURCE_UNREF.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn unref(&mut self, resource_id: u32) -> Result<(), DriverError> {
        self.run(&Request::unref(resource_id)).map(drop)
    }
}
