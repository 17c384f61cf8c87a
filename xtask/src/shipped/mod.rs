//! Checks of files that are shipped and that no compiler reads: units, the discovery file, the
//! libvirt domain.

#[cfg(test)]
mod discovery;
mod domain;
mod units;

use std::io;
use std::process::Output;

use crate::lab::Lab;
use crate::tally::Tally;

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ShippedError {
    /// A file could not be read or copied.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> ShippedError {
    let action = action.into();
    move |source| ShippedError::Io { action, source }
}

/// Makes every check with the lab's tools, after a build of coherd in it.
///
/// # Errors
/// [`ShippedError`] if a check could not be made; one that fails is counted.
pub fn check(lab: &Lab) -> Result<Tally, ShippedError> {
    let mut tally = Tally::default();
    units::verify(lab, &mut tally)?;
    units::exposure(lab, &mut tally)?;
    domain::validate(lab, &mut tally)?;
    Ok(tally)
}

/// Counts the output of a tool that has to succeed and to say nothing on standard error.
fn count(name: &str, output: &Output, tally: &mut Tally) {
    let complaints = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && complaints.trim().is_empty() {
        println!("test {name} ... ok");
        tally.passed += 1;
    } else {
        println!("test {name} ... FAILED");
        print!("{}{complaints}", String::from_utf8_lossy(&output.stdout));
        tally.failed += 1;
    }
}
