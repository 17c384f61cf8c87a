//! The commands of a stream.

use bitflags::bitflags;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::limits::MAX_MODIFIERS;
use super::reply::Status;
use crate::layout::wire;

/// Stands for "no reply" in [`Head::reply_offset`].
pub const NO_REPLY: u32 = u32::MAX;

/// Command codes.
#[allow(missing_docs, reason = "named as in the format's page")]
pub mod opcode {
    pub const NOP: u32 = 0;
    pub const SET_REPLY_BUFFER: u32 = 1;
    pub const ALLOCATE: u32 = 2;
    pub const IMAGE: u32 = 3;
    pub const RELEASE: u32 = 4;
    pub const COPY: u32 = 5;
    pub const FILL: u32 = 6;
    pub const SYNC: u32 = 7;
    pub const QUERY: u32 = 8;
}

bitflags! {
    /// What the GPU does with an allocation, beyond copies and fills.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BufferUsage: u32 {
        /// Shaders read and write it.
        const STORAGE = 1 << 0;
        /// Shaders read it as constants.
        const UNIFORM = 1 << 1;
        /// It holds vertices.
        const VERTEX = 1 << 2;
        /// It holds indices.
        const INDEX = 1 << 3;
    }
}

bitflags! {
    /// What an image is for, beyond copies.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ImageUsage: u32 {
        /// Shaders sample it.
        const SAMPLED = 1 << 0;
        /// It is drawn to.
        const COLOR = 1 << 1;
        /// It is shown.
        const SCANOUT = 1 << 2;
    }
}

bitflags! {
    /// Flags of SYNC: those of `struct dma_buf_sync`. START is the absence of END.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SyncFlags: u32 {
        /// The CPU reads between START and END.
        const READ = 1 << 0;
        /// The CPU writes between START and END.
        const WRITE = 1 << 1;
        /// Ends the access.
        const END = 1 << 2;
    }
}

wire! {
    /// The head of every command. `size` counts the head and is a multiple of 8.
    Head, 16 { opcode: U32, size: U32, reply_offset: U32, sequence: U32, }
    /// SET_REPLY_BUFFER
    SetReplyBuffer, 24 { resource_id: U32, padding: U32, offset: U64, size: U64, }
    /// ALLOCATE
    Allocate, 32 { blob_id: U64, size: U64, required: U32, preferred: U32, usage: U32, flags: U32, }
    /// IMAGE, followed by `modifier_count` modifiers of 8 bytes
    Image, 40 {
        blob_id: U64, width: U32, height: U32, fourcc: U32, usage: U32, required: U32,
        preferred: U32, modifier_count: U32, flags: U32,
    }
    /// RELEASE
    Release, 8 { blob_id: U64, }
    /// COPY
    Copy, 32 { source: U32, destination: U32, source_offset: U64, destination_offset: U64, size: U64, }
    /// FILL
    Fill, 24 { resource_id: U32, value: U32, offset: U64, size: U64, }
    /// SYNC
    Sync, 32 { resource_id: U32, flags: U32, offset: U64, size: U64, timeout_ms: U32, padding: U32, }
    /// QUERY
    Query, 8 { resource_id: U32, padding: U32, }
}

/// A command, viewed in the buffer it was copied to.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as in the format's page")]
pub enum Command<'a> {
    Nop,
    SetReplyBuffer(&'a SetReplyBuffer),
    Allocate(&'a Allocate),
    Image(&'a Image, &'a [U64]),
    Release(&'a Release),
    Copy(&'a Copy),
    Fill(&'a Fill),
    Sync(&'a Sync),
    Query(&'a Query),
}

impl<'a> Command<'a> {
    /// Decodes the bytes behind a command's head. Bytes past the command's own are ignored.
    ///
    /// # Errors
    /// [`Status::UnknownCommand`], or [`Status::Invalid`] for a command that is too short or has
    /// too many modifiers.
    pub fn decode(opcode: u32, body: &'a [u8]) -> Result<Self, Status> {
        Ok(match opcode {
            opcode::NOP => Self::Nop,
            opcode::SET_REPLY_BUFFER => Self::SetReplyBuffer(fixed(body)?),
            opcode::ALLOCATE => Self::Allocate(fixed(body)?),
            opcode::IMAGE => {
                let (image, rest) = Image::ref_from_prefix(body).map_err(|_| Status::Invalid)?;
                let count = image.modifier_count.get();
                if count > MAX_MODIFIERS {
                    return Err(Status::Invalid);
                }
                let count = usize::try_from(count).map_err(|_| Status::Invalid)?;
                let (modifiers, _) = <[U64]>::ref_from_prefix_with_elems(rest, count)
                    .map_err(|_| Status::Invalid)?;
                Self::Image(image, modifiers)
            }
            opcode::RELEASE => Self::Release(fixed(body)?),
            opcode::COPY => Self::Copy(fixed(body)?),
            opcode::FILL => Self::Fill(fixed(body)?),
            opcode::SYNC => Self::Sync(fixed(body)?),
            opcode::QUERY => Self::Query(fixed(body)?),
            _ => return Err(Status::UnknownCommand),
        })
    }
}

fn fixed<T>(body: &[u8]) -> Result<&T, Status>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(body)
        .map(|(command, _)| command)
        .map_err(|_| Status::Invalid)
}
