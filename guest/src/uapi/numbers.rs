//! Numbers of ioctls, flags and parameters.

use rustix::ioctl::{Opcode, opcode};

use super::structs::{
    ContextInit, CreateBlob, ExecBuffer, GemClose, GetCaps, GetParam, Map, PrimeHandle,
    ResourceInfo, Version,
};

/// `DRM_IOCTL_BASE`
const GROUP: u8 = b'd';

pub const VERSION: Opcode = opcode::read_write::<Version>(GROUP, 0x00);
pub const GEM_CLOSE: Opcode = opcode::write::<GemClose>(GROUP, 0x09);
pub const PRIME_HANDLE_TO_FD: Opcode = opcode::read_write::<PrimeHandle>(GROUP, 0x2d);
pub const PRIME_FD_TO_HANDLE: Opcode = opcode::read_write::<PrimeHandle>(GROUP, 0x2e);

pub const MAP: Opcode = opcode::read_write::<Map>(GROUP, 0x41);
pub const EXECBUFFER: Opcode = opcode::read_write::<ExecBuffer>(GROUP, 0x42);
pub const GETPARAM: Opcode = opcode::read_write::<GetParam>(GROUP, 0x43);
pub const RESOURCE_INFO: Opcode = opcode::read_write::<ResourceInfo>(GROUP, 0x45);
pub const GET_CAPS: Opcode = opcode::read_write::<GetCaps>(GROUP, 0x49);
pub const CREATE_BLOB: Opcode = opcode::read_write::<CreateBlob>(GROUP, 0x4a);
pub const CONTEXT_INIT: Opcode = opcode::read_write::<ContextInit>(GROUP, 0x4b);

pub const EXECBUF_FENCE_FD_OUT: u32 = 0x02;
pub const EXECBUF_RING_IDX: u32 = 0x04;

pub const BLOB_MEM_GUEST: u32 = 1;
pub const BLOB_MEM_HOST3D: u32 = 2;

pub const CONTEXT_PARAM_CAPSET_ID: u64 = 1;
pub const CONTEXT_PARAM_NUM_RINGS: u64 = 2;
