//! The state of a device as a stream of sections: what `docs/snapshot.md` describes.
//!
//! A stream is a [`Header`] and sections, each a [`SectionHead`] and its payload. The last one is
//! [`Kind::End`]. A section is at most [`MAX_SECTION`] bytes long, so that a reader needs a buffer
//! of that size and no more.

mod section;
mod wire;

pub use section::{Header, Kind, MAGIC, MAX_SECTION, SectionHead, VERSION};
pub use wire::{
    Attachment, Bracket, Contents, ContentsKind, Context, ContextState, Cursor, DeferredChain,
    Device, Display, End, Entry, Memory, MemoryFlags, NAME_LEN, Object, Resource, ResourceFlags,
    ResourceKind, Ring, RingFlags, Scanout,
};
