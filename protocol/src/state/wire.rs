//! The structures in sections.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};

use crate::blob_context::reply::ImageLayout;
use crate::gpu::limits::MAX_SCANOUTS;
use crate::layout::wire;

/// Bytes of a context's name, those behind its end zero.
pub const NAME_LEN: usize = 64;

const OUTPUTS: usize = MAX_SCANOUTS as usize;

wire! {
    /// What is on an output; zeros where there is no display.
    Display, 8 { width: U32, height: U32, }
    /// The device as a whole. `bytes` is the size of all memory and images together.
    Device, 176 {
        features: U64, window_size: U64, bytes: U64, blob_alignment: U32, outputs: U32,
        events: U32, events_read: U32, reserved: U64, displays: [Display; OUTPUTS],
    }
    /// A queue, followed by `deferred` times [`DeferredChain`] and by `response` bytes.
    Ring, 24 { index: U32, flags: U32, position: U32, deferred: U32, response: U32, reserved: U32, }
    /// A chain whose answer is written and which is not in the used ring yet.
    DeferredChain, 8 { head: U16, reserved: U16, len: U32, }
    /// What a scanout shows; resource 0 is nothing.
    Scanout, 8 { index: U32, resource: U32, }
    /// The cursor of a scanout; resource 0 is none. `x` and `y` are signed.
    Cursor, 32 {
        index: U32, resource: U32, hot_x: U32, hot_y: U32, x: U32, y: U32, reserved: U64,
    }
    /// A context. `replies` is the resource of its reply buffer, or 0.
    Context, 104 {
        id: U32, state: U32, capset: U32, replies: U32, replies_offset: U64, replies_size: U64,
        reserved: U64, name: [u8; NAME_LEN],
    }
    /// Memory that was allocated by property. `told` is the `map_info` of the guest's mapping, or
    /// 0. The fields behind `size` but `layout` are those of ALLOCATE and IMAGE.
    Memory, 152 {
        size: U64, properties: U32, usage: U32, told: U32, flags: U32, width: U32, height: U32,
        fourcc: U32, reserved: U32, layout: ImageLayout,
    }
    /// A resource, followed by `entries` times [`Entry`]. `width` and `height` are those of a 2D
    /// resource, `memory` is that of a host blob; zeros elsewhere.
    Resource, 232 {
        id: U32, kind: U32, flags: U32, owner: U32, width: U32, height: U32, size: U64,
        map_offset: U64, uuid: [u8; 16], entries: U32, reserved: [u8; 20], memory: Memory,
    }
    /// A range of guest memory behind a resource.
    Entry, 12 { address: U64, length: U32, }
    /// A resource that a context may use. A section has one or more of them.
    Attachment, 8 { context: U32, resource: U32, }
    /// An object of a blob context.
    Object, 168 { context: U32, reserved: U32, blob_id: U64, memory: Memory, }
    /// An access that was begun `count` times and not ended.
    Bracket, 32 { context: U32, resource: U32, access: U32, count: U32, start: U64, end: U64, }
    /// Bytes at `offset`, which are behind this structure. `id` is a resource's, or the place of an
    /// object among those in the stream.
    Contents, 16 { kind: U32, id: U32, offset: U64, }
    /// The end. `sections` counts those before it, `bytes` the bytes in [`Contents`].
    End, 16 { sections: U64, bytes: U64, }
}

bitflags! {
    /// What is true of a queue.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RingFlags: u32 {
        /// Chains were taken from it.
        const USED = 1 << 0;
        /// The last chain that was taken is not executed, or its answer is not written.
        const PARKED = 1 << 1;
        /// The answer of that chain is known: it is the response behind the structure.
        const ANSWERED = 1 << 2;
    }
}

bitflags! {
    /// What is true of a resource.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ResourceFlags: u32 {
        /// The guest may map it.
        const MAPPABLE = 1 << 0;
        /// It is mapped, at `map_offset`.
        const MAPPED = 1 << 1;
        /// It has a UUID.
        const UUID = 1 << 2;
        /// It has guest memory behind it, also if that is no range at all.
        const BACKING = 1 << 3;
    }
}

bitflags! {
    /// What is true of memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MemoryFlags: u32 {
        /// It is an image, whose layout is given.
        const IMAGE = 1 << 0;
        /// Others can map it.
        const SHARED = 1 << 1;
        /// Accesses need no brackets.
        const COHERENT = 1 << 2;
    }
}

macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[repr(u32)]
            pub enum $name {
                $($(#[$vmeta])* $variant = $value,)*
            }

            impl $name {
                /// The word on the wire.
                pub fn to_wire(self) -> u32 {
                    self as u32
                }

                /// What a word says.
                pub fn from_wire(word: u32) -> Option<Self> {
                    match word {
                        $($value => Some(Self::$variant),)*
                        _ => None,
                    }
                }
            }
        )*
    };
}

words! {
    /// What a context does with commands.
    ContextState {
        /// Nothing.
        Inert = 0,
        /// It is a blob context.
        Rendered = 1,
        /// It is lost.
        Lost = 2,
    }
    /// What a resource is made of.
    ResourceKind {
        /// RESOURCE_CREATE_2D.
        TwoD = 1,
        /// A blob in guest memory alone.
        GuestBlob = 2,
        /// A blob of a blob context.
        HostBlob = 3,
    }
    /// What bytes belong to.
    ContentsKind {
        /// A 2D resource.
        Image = 1,
        /// A host blob.
        Blob = 2,
        /// An object.
        Object = 3,
    }
}
