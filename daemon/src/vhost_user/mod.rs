//! vhost-user: everything that is known of VMMs.
//!
//! The messages are vhost's; the ring state machine, the memory table and the back channel are
//! our own, because vhost-user-backend hides what the rules for QEMU and crosvm need.

pub mod back_channel;
pub mod config_events;
pub mod connection;
pub mod features;
pub mod handler;
pub mod memory_table;
pub mod peek;
pub mod ring;
pub mod rings;
