//! The structures of requests and responses as they lie in guest memory.
//!
//! Field meanings are those of VIRTIO 1.4 section 5.7.6 and `linux/virtio_gpu.h`; each structure
//! leaves out the [`Header`](super::Header) that precedes it.

use zerocopy::little_endian::{U32, U64};

use crate::layout::wire;

wire! {
    /// A rectangle in pixels.
    Rect, 16 { x: U32, y: U32, width: U32, height: U32, }
    /// A box in texels.
    Box3, 24 { x: U32, y: U32, z: U32, w: U32, h: U32, d: U32, }
    /// One range of guest memory, an element of a backing list.
    MemEntry, 16 { addr: U64, length: U32, padding: U32, }
    /// RESOURCE_CREATE_2D
    ResourceCreate2d, 16 { resource_id: U32, format: U32, width: U32, height: U32, }
    /// RESOURCE_UNREF, DETACH_BACKING, ASSIGN_UUID, CTX_ATTACH, CTX_DETACH and UNMAP_BLOB
    ResourceRef, 8 { resource_id: U32, padding: U32, }
    /// SET_SCANOUT
    SetScanout, 24 { rect: Rect, scanout_id: U32, resource_id: U32, }
    /// RESOURCE_FLUSH
    ResourceFlush, 24 { rect: Rect, resource_id: U32, padding: U32, }
    /// TRANSFER_TO_HOST_2D
    TransferToHost2d, 32 { rect: Rect, offset: U64, resource_id: U32, padding: U32, }
    /// RESOURCE_ATTACH_BACKING, followed by `nr_entries` [`MemEntry`]
    AttachBacking, 8 { resource_id: U32, nr_entries: U32, }
    /// GET_CAPSET_INFO
    GetCapsetInfo, 8 { capset_index: U32, padding: U32, }
    /// GET_CAPSET
    GetCapset, 8 { capset_id: U32, capset_version: U32, }
    /// GET_EDID
    GetEdid, 8 { scanout: U32, padding: U32, }
    /// RESOURCE_CREATE_BLOB, followed by `nr_entries` [`MemEntry`]
    CreateBlob, 32 {
        resource_id: U32, blob_mem: U32, blob_flags: U32, nr_entries: U32, blob_id: U64, size: U64,
    }
    /// SET_SCANOUT_BLOB
    SetScanoutBlob, 72 {
        rect: Rect, scanout_id: U32, resource_id: U32, width: U32, height: U32, format: U32,
        padding: U32, strides: [U32; 4], offsets: [U32; 4],
    }
    /// CTX_CREATE
    CtxCreate, 72 { nlen: U32, context_init: U32, debug_name: [u8; 64], }
    /// RESOURCE_CREATE_3D
    ResourceCreate3d, 48 {
        resource_id: U32, target: U32, format: U32, bind: U32, width: U32, height: U32, depth: U32,
        array_size: U32, last_level: U32, nr_samples: U32, flags: U32, padding: U32,
    }
    /// TRANSFER_TO_HOST_3D and TRANSFER_FROM_HOST_3D
    Transfer3d, 48 {
        region: Box3, offset: U64, resource_id: U32, level: U32, stride: U32, layer_stride: U32,
    }
    /// SUBMIT_3D, followed by `size` bytes
    Submit3d, 8 { size: U32, padding: U32, }
    /// RESOURCE_MAP_BLOB
    MapBlob, 16 { resource_id: U32, padding: U32, offset: U64, }
    /// A cursor position; `x` and `y` are signed values carried in unsigned fields.
    CursorPos, 16 { scanout_id: U32, x: U32, y: U32, padding: U32, }
    /// UPDATE_CURSOR and MOVE_CURSOR
    UpdateCursor, 32 { pos: CursorPos, resource_id: U32, hot_x: U32, hot_y: U32, padding: U32, }
    /// One scanout in a DISPLAY_INFO response.
    DisplayOne, 24 { rect: Rect, enabled: U32, flags: U32, }
    /// OK_CAPSET_INFO
    CapsetInfo, 16 { capset_id: U32, max_version: U32, max_size: U32, padding: U32, }
    /// OK_EDID, followed by 1024 bytes
    EdidHead, 8 { size: U32, padding: U32, }
    /// OK_MAP_INFO
    MapInfoBody, 8 { map_info: U32, padding: U32, }
}
