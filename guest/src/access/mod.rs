//! Access to memory that somebody else changes at the same time.
//!
//! A mapped blob belongs to the device as much as to this process, so there is no `&[u8]` of it:
//! Rust assumes that nobody else writes what a reference shows. [`Bytes`] copies instead, with
//! instructions that the compiler does not look into. Whatever the device does meanwhile, the copy
//! is bytes that were there at some time; whether they are those that were meant is what brackets
//! and fences are for.

mod bytes;
mod copy;
mod map;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as blocks;
#[cfg(not(target_arch = "x86_64"))]
mod portable;
#[cfg(not(target_arch = "x86_64"))]
use portable as blocks;

pub use bytes::{Bytes, RangeError};
pub(crate) use map::SharedMap;
