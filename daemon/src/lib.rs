//! The coherence daemon: a GPU for one virtual machine, as a process of its own.
//!
//! [`serve`] ties the rooms together; the way of a command is `queue`, `device`, `renderer` and
//! `window`.

#![deny(unsafe_code)]

pub mod cage;
pub mod cli;
pub mod coherence;
pub mod config;
pub mod control;
pub mod credentials;
pub mod ctl;
pub mod device;
pub mod dirty_log;
pub mod exit;
pub mod explain;
pub mod guest_pat;
mod heap;
pub mod limiter;
pub mod listen;
pub mod mailbox;
pub mod mapping_type;
pub mod memory;
pub mod metrics;
pub mod output;
pub mod pulse;
pub mod queue;
pub mod reactor;
pub mod reload;
pub mod renderer;
pub mod serve;
pub mod service_manager;
pub mod size;
pub mod snapshot;
pub mod socket_file;
pub mod sync;
pub mod vhost_user;
pub mod watchdog;
pub mod window;
pub mod worker;
