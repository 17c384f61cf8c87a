//! Conformance of a vhost-user GPU to VIRTIO 1.4 section 5.7, of any of them.
//!
//! A [`Case`] says what it must see and where that is written. [`run`] gives each case a device
//! that was just reset, bounds the time it takes, and makes sure that the device still answers
//! when it is over. Misuse may be answered with any of the ERR codes, for the standard maps no
//! mistake to a code; a code is demanded only where its name decides, as INVALID_RESOURCE_ID
//! does for a resource that is not there.

mod bench;
mod case;
mod codes;
mod facts;
mod failure;
mod groups;
mod mapping;
mod picture;
pub mod report;
mod runner;
mod target;

pub use bench::Bench;
pub use case::{Case, Group, Need, Outcome, Setup};
pub use facts::Facts;
pub use failure::Failure;
pub use groups::all;
pub use report::{Entry, Report, Verdict};
pub use runner::{Options, run};
pub use target::{Backend, Connected, Renewal, Target, TargetError};
