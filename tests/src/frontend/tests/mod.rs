//! The front-end against a backend that knows just enough to answer.

mod crosvm;
mod display;
pub(crate) mod fake;
mod general;
mod libkrun;
mod qemu;
mod qemu_maps;
mod qemu_races;
