//! The coherence daemon: a GPU for one virtual machine, as a process of its own.
//!
//! [`serve`] ties the rooms together; the way of a command is `queue`, `device`, `renderer` and
//! `window`.

#![deny(unsafe_code)]

pub mod cage;
pub mod cli;
pub mod coherence;
pub mod config;
pub mod device;
pub mod explain;
pub mod guest_pat;
mod heap;
pub mod limiter;
pub mod listen;
pub mod mailbox;
pub mod mapping_type;
pub mod memory;
pub mod queue;
pub mod reactor;
pub mod reload;
pub mod renderer;
pub mod serve;
pub mod size;
pub mod vhost_user;
pub mod window;
pub mod worker;
