//! Commands as bytes.

use coherd_protocol::gpu::header::{Fence, Header, HeaderFlags, Timeline};
use coherd_protocol::gpu::wire::MemEntry;
use zerocopy::{Immutable, IntoBytes};

use super::descriptor::Buffer;

/// Command codes, `enum virtio_gpu_ctrl_type`.
#[allow(missing_docs, reason = "named as in the specification")]
pub mod kind {
    pub const GET_DISPLAY_INFO: u32 = 0x0100;
    pub const RESOURCE_CREATE_2D: u32 = 0x0101;
    pub const RESOURCE_UNREF: u32 = 0x0102;
    pub const SET_SCANOUT: u32 = 0x0103;
    pub const RESOURCE_FLUSH: u32 = 0x0104;
    pub const TRANSFER_TO_HOST_2D: u32 = 0x0105;
    pub const RESOURCE_ATTACH_BACKING: u32 = 0x0106;
    pub const RESOURCE_DETACH_BACKING: u32 = 0x0107;
    pub const GET_CAPSET_INFO: u32 = 0x0108;
    pub const GET_CAPSET: u32 = 0x0109;
    pub const GET_EDID: u32 = 0x010a;
    pub const RESOURCE_ASSIGN_UUID: u32 = 0x010b;
    pub const RESOURCE_CREATE_BLOB: u32 = 0x010c;
    pub const SET_SCANOUT_BLOB: u32 = 0x010d;
    pub const CTX_CREATE: u32 = 0x0200;
    pub const CTX_DESTROY: u32 = 0x0201;
    pub const CTX_ATTACH_RESOURCE: u32 = 0x0202;
    pub const CTX_DETACH_RESOURCE: u32 = 0x0203;
    pub const RESOURCE_CREATE_3D: u32 = 0x0204;
    pub const TRANSFER_TO_HOST_3D: u32 = 0x0205;
    pub const TRANSFER_FROM_HOST_3D: u32 = 0x0206;
    pub const SUBMIT_3D: u32 = 0x0207;
    pub const RESOURCE_MAP_BLOB: u32 = 0x0208;
    pub const RESOURCE_UNMAP_BLOB: u32 = 0x0209;
    pub const UPDATE_CURSOR: u32 = 0x0300;
    pub const MOVE_CURSOR: u32 = 0x0301;
}

/// A command, built field by field.
#[derive(Clone, Debug)]
pub struct Request {
    header: Header,
    body: Vec<u8>,
}

impl Request {
    /// A command with an empty body.
    pub fn new(kind: u32) -> Self {
        Self {
            header: Header {
                kind: kind.into(),
                ..Header::default()
            },
            body: Vec::new(),
        }
    }

    /// The command code.
    pub fn kind(&self) -> u32 {
        self.header.kind.get()
    }

    /// Names the context.
    #[must_use]
    pub fn context(mut self, ctx_id: u32) -> Self {
        self.header.ctx_id = ctx_id.into();
        self
    }

    /// Asks for a fence. A ring's fence also names its context.
    #[must_use]
    pub fn fence(mut self, fence: Fence) -> Self {
        let mut flags = HeaderFlags::FENCE;
        if let Timeline::Ring { ctx_id, ring_idx } = fence.timeline {
            flags |= HeaderFlags::INFO_RING_IDX;
            self.header.ctx_id = ctx_id.into();
            self.header.ring_idx = ring_idx;
        }
        self.header.flags = flags.bits().into();
        self.header.fence_id = fence.id.into();
        self
    }

    /// Appends a structure or bytes.
    #[must_use]
    pub fn body<T: IntoBytes + Immutable + ?Sized>(mut self, part: &T) -> Self {
        self.body.extend_from_slice(part.as_bytes());
        self
    }

    /// Appends a backing list.
    #[must_use]
    pub fn entries(mut self, entries: &[Buffer]) -> Self {
        for entry in entries {
            let entry = MemEntry {
                addr: entry.addr.0.into(),
                length: entry.len.into(),
                padding: 0.into(),
            };
            self.body.extend_from_slice(entry.as_bytes());
        }
        self
    }

    /// The command as it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.header.as_bytes(), &self.body].concat()
    }
}
