//! Developer commands of this workspace, run as `cargo xtask`.

pub mod audit;
pub mod cli;
pub mod coherd;
pub mod conformance;
pub mod demo;
pub mod dist;
pub mod dma_buf;
pub mod explain;
pub mod fuzz;
pub mod gpu_check;
pub mod graph;
pub mod lab;
pub mod lanes;
pub mod libtest;
pub mod progress;
pub mod shipped;
pub mod system;
pub mod tally;
pub mod test;
pub mod test_layer;
pub mod test_programs;
pub mod vm;
