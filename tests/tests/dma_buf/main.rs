//! What this project believes of dma-bufs, asked of a kernel that has them.
//!
//! `cargo xtask dma-buf` runs this program in a virtual machine whose kernel has three exporters
//! without a GPU. On a machine without them its tests are skipped, each with a line that says so;
//! with COHERD_REQUIRE_DMA_BUF set they fail instead.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod brackets;
mod caged;
mod exporters;
mod fences;
mod limits;
mod mapping_types;
mod memfd;
mod records;
mod waits;

/// Bytes of a buffer that has several pages and takes no time.
const SIZE: u64 = 16 * PAGE;

/// Bytes of a page.
const PAGE: u64 = 4096;
