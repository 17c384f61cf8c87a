//! `coherd-guest info`

mod report;
mod text;
mod verdict;

use std::error::Error;
use std::process::ExitCode;

use report::Report;

use super::cli::{Device, Info};
use super::open;

/// Prints what there is to know.
pub fn run(device: &Device, options: &Info) -> Result<ExitCode, Box<dyn Error>> {
    let context = open(device)?;
    let report = Report::new(&context, options.size, options.rounds)?;
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => println!("{}", text::write(&report)),
    }
    Ok(ExitCode::SUCCESS)
}
