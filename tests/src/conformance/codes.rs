//! Names of commands and responses, for people.

use crate::driver::kind;

/// VIRTIO_GPU_RESP_OK_NODATA
pub const OK_NODATA: u32 = 0x1100;
/// VIRTIO_GPU_RESP_OK_DISPLAY_INFO
pub const OK_DISPLAY_INFO: u32 = 0x1101;
/// VIRTIO_GPU_RESP_ERR_UNSPEC, the first of the ERR codes.
pub const ERR_UNSPEC: u32 = 0x1200;
/// VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID
pub const INVALID_SCANOUT_ID: u32 = 0x1202;
/// VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID
pub const INVALID_RESOURCE_ID: u32 = 0x1203;
/// VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID
pub const INVALID_CONTEXT_ID: u32 = 0x1204;
/// VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, the last of the ERR codes.
pub const ERR_INVALID_PARAMETER: u32 = 0x1205;

/// What the success of a command is called.
pub fn success(command: u32) -> u32 {
    match command {
        kind::GET_DISPLAY_INFO => OK_DISPLAY_INFO,
        kind::GET_CAPSET_INFO => 0x1102,
        kind::GET_CAPSET => 0x1103,
        kind::GET_EDID => 0x1104,
        kind::RESOURCE_ASSIGN_UUID => 0x1105,
        kind::RESOURCE_MAP_BLOB => 0x1106,
        _ => OK_NODATA,
    }
}

/// A response code with its name.
pub fn response(code: u32) -> String {
    let name = match code {
        0 => return "nothing".to_owned(),
        0x1100 => "OK_NODATA",
        0x1101 => "OK_DISPLAY_INFO",
        0x1102 => "OK_CAPSET_INFO",
        0x1103 => "OK_CAPSET",
        0x1104 => "OK_EDID",
        0x1105 => "OK_RESOURCE_UUID",
        0x1106 => "OK_MAP_INFO",
        0x1200 => "ERR_UNSPEC",
        0x1201 => "ERR_OUT_OF_MEMORY",
        0x1202 => "ERR_INVALID_SCANOUT_ID",
        0x1203 => "ERR_INVALID_RESOURCE_ID",
        0x1204 => "ERR_INVALID_CONTEXT_ID",
        0x1205 => "ERR_INVALID_PARAMETER",
        other => return format!("{other:#06x}"),
    };
    name.to_owned()
}

/// A command code with its name.
pub fn command(code: u32) -> String {
    let name = match code {
        kind::GET_DISPLAY_INFO => "GET_DISPLAY_INFO",
        kind::RESOURCE_CREATE_2D => "RESOURCE_CREATE_2D",
        kind::RESOURCE_UNREF => "RESOURCE_UNREF",
        kind::SET_SCANOUT => "SET_SCANOUT",
        kind::RESOURCE_FLUSH => "RESOURCE_FLUSH",
        kind::TRANSFER_TO_HOST_2D => "TRANSFER_TO_HOST_2D",
        kind::RESOURCE_ATTACH_BACKING => "RESOURCE_ATTACH_BACKING",
        kind::RESOURCE_DETACH_BACKING => "RESOURCE_DETACH_BACKING",
        kind::GET_CAPSET_INFO => "GET_CAPSET_INFO",
        kind::GET_CAPSET => "GET_CAPSET",
        kind::GET_EDID => "GET_EDID",
        kind::RESOURCE_ASSIGN_UUID => "RESOURCE_ASSIGN_UUID",
        kind::RESOURCE_CREATE_BLOB => "RESOURCE_CREATE_BLOB",
        kind::SET_SCANOUT_BLOB => "SET_SCANOUT_BLOB",
        kind::CTX_CREATE => "CTX_CREATE",
        kind::CTX_DESTROY => "CTX_DESTROY",
        kind::CTX_ATTACH_RESOURCE => "CTX_ATTACH_RESOURCE",
        kind::CTX_DETACH_RESOURCE => "CTX_DETACH_RESOURCE",
        kind::RESOURCE_CREATE_3D => "RESOURCE_CREATE_3D",
        kind::TRANSFER_TO_HOST_3D => "TRANSFER_TO_HOST_3D",
        kind::TRANSFER_FROM_HOST_3D => "TRANSFER_FROM_HOST_3D",
        kind::SUBMIT_3D => "SUBMIT_3D",
        kind::RESOURCE_MAP_BLOB => "RESOURCE_MAP_BLOB",
        kind::RESOURCE_UNMAP_BLOB => "RESOURCE_UNMAP_BLOB",
        kind::UPDATE_CURSOR => "UPDATE_CURSOR",
        kind::MOVE_CURSOR => "MOVE_CURSOR",
        other => return format!("command {other:#x}"),
    };
    name.to_owned()
}
