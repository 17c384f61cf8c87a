//! `coherd-guest bench`

mod commands;
mod report;
mod text;

use std::error::Error;
use std::process::ExitCode;

use report::Report;

use super::cli::{Bench, Device};
use super::open;

/// Measures and prints.
pub fn run(device: &Device, options: &Bench) -> Result<ExitCode, Box<dyn Error>> {
    let context = open(device)?;
    let report = Report::new(&context, options.size, options.rounds)?;
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => println!("{}", text::write(&report)),
    }
    let slow = options.expect_ratio.map(|ratio| report.below(ratio));
    let slow = slow.unwrap_or_default();
    match (slow.is_empty(), options.json) {
        (true, true) => {}
        (true, false) => println!("{}", text::verdict(&report, options.expect_ratio)),
        // JSON goes to standard output alone.
        (false, true) => eprintln!("FAILED: {}", slow.join("; ")),
        (false, false) => println!("FAILED: {}", slow.join("; ")),
    }
    Ok(match slow.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
