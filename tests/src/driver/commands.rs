//! Commands of contexts and blobs, and what the device tells about itself.

use coherd_protocol::gpu::header::Fence;
use coherd_protocol::gpu::limits::{EDID_LEN, MAX_SCANOUTS};
use coherd_protocol::gpu::wire::{
    CapsetInfo, CreateBlob, CtxCreate, DisplayOne, EdidHead, GetCapset, GetCapsetInfo, GetEdid,
    MapBlob, MapInfoBody, ResourceRef, Submit3d,
};

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

/// A command on one resource.
pub(super) fn on_resource(kind: u32, resource_id: u32) -> Request {
    Request::new(kind).body(&ResourceRef {
        resource_id: resource_id.into(),
        padding: 0.into(),
    })
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
        let request = Request::new(kind::GET_DISPLAY_INFO);
        let answer = self.call(&request, room)?.expect_code(0x1101)?;
        answer.parse::<[DisplayOne; 16]>().map(Vec::from)
    }

    /// GET_EDID: the blocks.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn edid(&mut self, scanout: u32) -> Result<Vec<u8>, DriverError> {
        let request = Request::new(kind::GET_EDID).body(&GetEdid {
            scanout: scanout.into(),
            padding: 0.into(),
        });
        let room = room_for(size_of::<EdidHead>() + EDID_LEN);
        let answer = self.call(&request, room)?.expect_code(0x1104)?;
        let head: EdidHead = answer.parse()?;
        let blocks = answer.body().iter().skip(size_of::<EdidHead>());
        Ok(blocks.take(head.size.get() as usize).copied().collect())
    }

    /// GET_CAPSET_INFO.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn capset_info(&mut self, index: u32) -> Result<CapsetInfo, DriverError> {
        let request = Request::new(kind::GET_CAPSET_INFO).body(&GetCapsetInfo {
            capset_index: index.into(),
            padding: 0.into(),
        });
        self.call(&request, room_for(size_of::<CapsetInfo>()))?
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
        let request = Request::new(kind::GET_CAPSET).body(&GetCapset {
            capset_id: id.into(),
            capset_version: version.into(),
        });
        let answer = self.call(&request, room_for(max_size))?;
        Ok(answer.expect_code(0x1103)?.body().to_vec())
    }

    /// CTX_CREATE.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn ctx_create(&mut self, ctx_id: u32, capset: u32, name: &str) -> Result<(), DriverError> {
        let mut debug_name = [0; 64];
        for (out, byte) in debug_name.iter_mut().zip(name.bytes()) {
            *out = byte;
        }
        let nlen = u32::try_from(name.len().min(debug_name.len())).unwrap_or(0);
        let request = Request::new(kind::CTX_CREATE)
            .context(ctx_id)
            .body(&CtxCreate {
                nlen: nlen.into(),
                context_init: capset.into(),
                debug_name,
            });
        self.run(&request).map(drop)
    }

    /// CTX_DESTROY.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn ctx_destroy(&mut self, ctx_id: u32) -> Result<(), DriverError> {
        self.run(&Request::new(kind::CTX_DESTROY).context(ctx_id))
            .map(drop)
    }

    /// CTX_ATTACH_RESOURCE.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn ctx_attach(&mut self, ctx_id: u32, resource_id: u32) -> Result<(), DriverError> {
        let request = on_resource(kind::CTX_ATTACH_RESOURCE, resource_id).context(ctx_id);
        self.run(&request).map(drop)
    }

    /// CTX_DETACH_RESOURCE.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn ctx_detach(&mut self, ctx_id: u32, resource_id: u32) -> Result<(), DriverError> {
        let request = on_resource(kind::CTX_DETACH_RESOURCE, resource_id).context(ctx_id);
        self.run(&request).map(drop)
    }

    /// SUBMIT_3D, and waits for its answer.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn submit_3d(&mut self, ctx_id: u32, commands: &[u8]) -> Result<(), DriverError> {
        self.run(&submission(ctx_id, commands)).map(drop)
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
        self.submit(&submission(ctx_id, commands).fence(fence))
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
        let request = Request::new(kind::RESOURCE_MAP_BLOB).body(&MapBlob {
            resource_id: resource_id.into(),
            padding: 0.into(),
            offset: offset.into(),
        });
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
        self.run(&on_resource(kind::RESOURCE_UNMAP_BLOB, resource_id))
            .map(drop)
    }

    /// RESOURCE_ASSIGN_UUID.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn assign_uuid(&mut self, resource_id: u32) -> Result<[u8; 16], DriverError> {
        let request = on_resource(kind::RESOURCE_ASSIGN_UUID, resource_id);
        self.call(&request, room_for(16))?
            .expect_code(0x1105)?
            .parse()
    }

    /// RESOURCE_UNREF.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn unref(&mut self, resource_id: u32) -> Result<(), DriverError> {
        self.run(&on_resource(kind::RESOURCE_UNREF, resource_id))
            .map(drop)
    }
}

fn submission(ctx_id: u32, commands: &[u8]) -> Request {
    Request::new(kind::SUBMIT_3D)
        .context(ctx_id)
        .body(&Submit3d {
            size: u32::try_from(commands.len()).unwrap_or(u32::MAX).into(),
            padding: 0.into(),
        })
        .body(commands)
}
