//! Checks of memory that a guest shares with the device, for `vk-memory`, of swapchains, for
//! `vk-present`, of fences in the guest's kernel, for `vk-sync`, and of memory from coherd's blob
//! context, for `vk-import` and `blob-keep`.

use std::error::Error;
use std::process::ExitCode;

use coherd::explain::one_line;

mod allocation;
mod churn;
mod compute;
mod error;
mod expectation;
mod export;
mod fresh_maps;
mod hold;
mod import;
mod keep;
mod pattern;
mod progress;
mod roundtrip;
mod shared;
mod swapchain;
mod sync_file;
mod transform;

pub use churn::{Churn, churn};
pub use error::CheckError;
pub use expectation::Expectation;
pub use export::{EXPORT_EXTENSIONS, ExportHandle, export};
pub use fresh_maps::{FreshMaps, fresh_maps};
pub use hold::{Hold, hold};
pub use import::import;
pub use keep::keep;
pub use roundtrip::roundtrip;
pub use swapchain::{Present, SWAPCHAIN_EXTENSIONS, SWAPCHAIN_INSTANCE_EXTENSIONS, swapchain};
pub use sync_file::{SYNC_FILE_EXTENSIONS, hang, sync_file};

/// Says how a check ended, on standard output in one line, and returns the exit status to match.
pub fn verdict(result: Result<String, impl Error>) -> ExitCode {
    match result {
        Ok(found) => {
            println!("ok: {found}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILED: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}
