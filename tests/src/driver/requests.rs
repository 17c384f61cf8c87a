//! Every command of the device as a [`Request`].

use coherd_protocol::gpu::wire::{
    AttachBacking, CtxCreate, GetCapset, GetCapsetInfo, GetEdid, MapBlob, Rect, ResourceCreate2d,
    ResourceCreate3d, ResourceFlush, ResourceRef, SetScanout, SetScanoutBlob, Submit3d, Transfer3d,
    TransferToHost2d,
};

use super::descriptor::Buffer;
use super::request::{Request, kind};

/// Commands of 2D resources and scanouts.
impl Request {
    /// GET_DISPLAY_INFO.
    pub fn display_info() -> Self {
        Self::new(kind::GET_DISPLAY_INFO)
    }

    /// GET_EDID.
    pub fn edid(scanout: u32) -> Self {
        Self::new(kind::GET_EDID).body(&GetEdid {
            scanout: scanout.into(),
            padding: 0.into(),
        })
    }

    /// RESOURCE_CREATE_2D, `format` as on the wire and dimensions in pixels.
    pub fn create_2d(resource_id: u32, format: u32, width: u32, height: u32) -> Self {
        Self::new(kind::RESOURCE_CREATE_2D).body(&ResourceCreate2d {
            resource_id: resource_id.into(),
            format: format.into(),
            width: width.into(),
            height: height.into(),
        })
    }

    /// RESOURCE_UNREF.
    pub fn unref(resource_id: u32) -> Self {
        Self::on_resource(kind::RESOURCE_UNREF, resource_id)
    }

    /// RESOURCE_ATTACH_BACKING with as many entries as it says.
    pub fn attach_backing(resource_id: u32, entries: &[Buffer]) -> Self {
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        Self::attach_backing_counted(resource_id, count, entries)
    }

    /// RESOURCE_ATTACH_BACKING that says it has `count` entries.
    pub fn attach_backing_counted(resource_id: u32, count: u32, entries: &[Buffer]) -> Self {
        Self::new(kind::RESOURCE_ATTACH_BACKING)
            .body(&AttachBacking {
                resource_id: resource_id.into(),
                nr_entries: count.into(),
            })
            .entries(entries)
    }

    /// RESOURCE_DETACH_BACKING.
    pub fn detach_backing(resource_id: u32) -> Self {
        Self::on_resource(kind::RESOURCE_DETACH_BACKING, resource_id)
    }

    /// TRANSFER_TO_HOST_2D, `offset` in bytes of the backing.
    pub fn transfer_to_host_2d(resource_id: u32, rect: Rect, offset: u64) -> Self {
        Self::new(kind::TRANSFER_TO_HOST_2D).body(&TransferToHost2d {
            rect,
            offset: offset.into(),
            resource_id: resource_id.into(),
            padding: 0.into(),
        })
    }

    /// SET_SCANOUT; resource 0 disables the scanout.
    pub fn set_scanout(scanout: u32, resource_id: u32, rect: Rect) -> Self {
        Self::new(kind::SET_SCANOUT).body(&SetScanout {
            rect,
            scanout_id: scanout.into(),
            resource_id: resource_id.into(),
        })
    }

    /// SET_SCANOUT_BLOB; resource 0 disables the scanout.
    pub fn set_scanout_blob(scanout: &SetScanoutBlob) -> Self {
        Self::new(kind::SET_SCANOUT_BLOB).body(scanout)
    }

    /// RESOURCE_FLUSH.
    pub fn flush(resource_id: u32, rect: Rect) -> Self {
        Self::new(kind::RESOURCE_FLUSH).body(&ResourceFlush {
            rect,
            resource_id: resource_id.into(),
            padding: 0.into(),
        })
    }

    /// RESOURCE_ASSIGN_UUID.
    pub fn assign_uuid(resource_id: u32) -> Self {
        Self::on_resource(kind::RESOURCE_ASSIGN_UUID, resource_id)
    }

    fn on_resource(kind: u32, resource_id: u32) -> Self {
        Self::new(kind).body(&ResourceRef {
            resource_id: resource_id.into(),
            padding: 0.into(),
        })
    }
}

/// Commands of capability sets, contexts, 3D resources and mappings.
impl Request {
    /// GET_CAPSET_INFO.
    pub fn capset_info(index: u32) -> Self {
        Self::new(kind::GET_CAPSET_INFO).body(&GetCapsetInfo {
            capset_index: index.into(),
            padding: 0.into(),
        })
    }

    /// GET_CAPSET.
    pub fn capset(id: u32, version: u32) -> Self {
        Self::new(kind::GET_CAPSET).body(&GetCapset {
            capset_id: id.into(),
            capset_version: version.into(),
        })
    }

    /// CTX_CREATE with as much of `name` as there is room for.
    pub fn ctx_create(ctx_id: u32, context_init: u32, name: &str) -> Self {
        let nlen = u32::try_from(name.len()).unwrap_or(u32::MAX).min(64);
        Self::ctx_create_named(ctx_id, context_init, nlen, name)
    }

    /// CTX_CREATE that says its name has `nlen` bytes.
    pub fn ctx_create_named(ctx_id: u32, context_init: u32, nlen: u32, name: &str) -> Self {
        let mut debug_name = [0; 64];
        for (out, byte) in debug_name.iter_mut().zip(name.bytes()) {
            *out = byte;
        }
        Self::new(kind::CTX_CREATE)
            .context(ctx_id)
            .body(&CtxCreate {
                nlen: nlen.into(),
                context_init: context_init.into(),
                debug_name,
            })
    }

    /// CTX_DESTROY.
    pub fn ctx_destroy(ctx_id: u32) -> Self {
        Self::new(kind::CTX_DESTROY).context(ctx_id)
    }

    /// CTX_ATTACH_RESOURCE.
    pub fn ctx_attach(ctx_id: u32, resource_id: u32) -> Self {
        Self::on_resource(kind::CTX_ATTACH_RESOURCE, resource_id).context(ctx_id)
    }

    /// CTX_DETACH_RESOURCE.
    pub fn ctx_detach(ctx_id: u32, resource_id: u32) -> Self {
        Self::on_resource(kind::CTX_DETACH_RESOURCE, resource_id).context(ctx_id)
    }

    /// SUBMIT_3D.
    pub fn submit_3d(ctx_id: u32, commands: &[u8]) -> Self {
        let size = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        Self::submit_3d_sized(ctx_id, size, commands)
    }

    /// SUBMIT_3D that says it has `size` bytes of commands.
    pub fn submit_3d_sized(ctx_id: u32, size: u32, commands: &[u8]) -> Self {
        Self::new(kind::SUBMIT_3D)
            .context(ctx_id)
            .body(&Submit3d {
                size: size.into(),
                padding: 0.into(),
            })
            .body(commands)
    }

    /// RESOURCE_CREATE_3D.
    pub fn create_3d(resource: &ResourceCreate3d) -> Self {
        Self::new(kind::RESOURCE_CREATE_3D).body(resource)
    }

    /// TRANSFER_TO_HOST_3D.
    pub fn transfer_to_host_3d(ctx_id: u32, transfer: &Transfer3d) -> Self {
        Self::new(kind::TRANSFER_TO_HOST_3D)
            .context(ctx_id)
            .body(transfer)
    }

    /// TRANSFER_FROM_HOST_3D.
    pub fn transfer_from_host_3d(ctx_id: u32, transfer: &Transfer3d) -> Self {
        Self::new(kind::TRANSFER_FROM_HOST_3D)
            .context(ctx_id)
            .body(transfer)
    }

    /// RESOURCE_MAP_BLOB, `offset` in bytes of the window.
    pub fn map_blob(resource_id: u32, offset: u64) -> Self {
        Self::new(kind::RESOURCE_MAP_BLOB).body(&MapBlob {
            resource_id: resource_id.into(),
            padding: 0.into(),
            offset: offset.into(),
        })
    }

    /// RESOURCE_UNMAP_BLOB.
    pub fn unmap_blob(resource_id: u32) -> Self {
        Self::on_resource(kind::RESOURCE_UNMAP_BLOB, resource_id)
    }
}
