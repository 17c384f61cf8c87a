//! Real dma-bufs, made without a GPU by three exporters of the kernel, and a look at what the
//! kernel does with them.
//!
//! [`Udmabuf`] makes them out of memfds, [`SystemHeap`] of fresh pages, and [`Vgem`] is a render
//! node without hardware, whose buffers map write-combined and have fences. A machine without one
//! of these skips what needs it, and says so.

mod calls;
mod find;
mod heap;
mod mapping;
mod storm;
mod sync;
mod udmabuf;
mod vgem;

pub use calls::{Call, CallError, Calls, Direction};
pub use find::NotFound;
pub use heap::SystemHeap;
pub use mapping::{Mapping, map_flags};
pub use storm::Storm;
pub use sync::{SyncFlags, export_sync_file, set_name, sync};
pub use udmabuf::{Item, Udmabuf};
pub use vgem::{Buffer, Fence, Vgem};
