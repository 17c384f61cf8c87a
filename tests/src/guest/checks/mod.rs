//! Checks of memory that a guest shares with the device, for `vk-memory`.

mod allocation;
mod churn;
mod error;
mod export;
mod fresh_maps;
mod hold;
mod pattern;
mod progress;
mod roundtrip;
mod shared;
mod transform;

pub use churn::{Churn, churn};
pub use error::CheckError;
pub use export::{EXPORT_EXTENSIONS, Expectation, ExportHandle, export};
pub use fresh_maps::{FreshMaps, fresh_maps};
pub use hold::{Hold, hold};
pub use roundtrip::roundtrip;
