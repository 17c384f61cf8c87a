//! modetest of libdrm, which ends with status 0 whatever happened, and tells what did.

use super::card::Card;
use super::keys::Keys;
use crate::system::app::App;
use crate::system::failure::{Failure, expect};
use crate::vm::Vm;

/// What it prints after each 60 flips, before their rate.
const RATE: &str = "freq: ";
const FLIPS_A_RATE: f64 = 60.0;

/// Rates that a run goes on for.
const RATES: usize = 3;

/// Words of lines that tell of a failure.
const FAILURES: [&str; 4] = ["failed", "timed out", "not found", "cannot"];

/// Sets the preferred mode with a picture of this format, shows it until a key is pressed, and flips nothing.
pub fn shows(vm: &Vm, card: &Card, format: &str) -> Result<(), Failure> {
    let keys = Keys::new(vm)?;
    let app = App::start(vm, keys.given_to(&format!("{}@{format}", line(card))))?;
    keys.press()?;
    went_well(&app.succeeds()?)
}

/// Flips between two pictures for some hundred frames, with a cursor that moves if asked for, and returns how many
/// flips there were per second.
pub fn flips(vm: &Vm, card: &Card, cursor: bool) -> Result<f64, Failure> {
    let keys = Keys::new(vm)?;
    let cursor = if cursor { " -C" } else { "" };
    let line = format!("{} -v{cursor}", line(card));
    let app = App::start(vm, keys.given_to(&line))?;
    app.repeats(RATE, RATES)?;
    keys.press()?;
    let said = app.succeeds()?;
    went_well(&said)?;
    flips_per_second(&said)
}

/// Flips by atomic commits, and is killed in the midst of them, since nothing else ends it.
pub fn flips_until_killed(vm: &Vm, card: &Card) -> Result<f64, Failure> {
    let keys = Keys::new(vm)?;
    let (mode, crtc) = (&card.preferred.name, card.crtc);
    let line = format!("{} -v -a -P {}@{crtc}:{mode}", line(card), card.plane);
    let app = App::start(vm, keys.given_to(&line))?;
    app.repeats(RATE, RATES)?;
    app.kill()?;
    let said = app.said();
    went_well(&said)?;
    flips_per_second(&said)
}

/// Sets the preferred mode; formats are XR24 if not said.
fn line(card: &Card) -> String {
    format!(
        "modetest -M {} -s {}@{}:{}",
        card.driver, card.connector, card.crtc, card.preferred.name
    )
}

fn went_well(said: &str) -> Result<(), Failure> {
    let failed = said
        .lines()
        .find(|line| FAILURES.iter().any(|word| line.contains(word)));
    expect(failed.is_none(), || {
        format!("modetest says {:?}", failed.unwrap_or_default())
    })
}

fn flips_per_second(said: &str) -> Result<f64, Failure> {
    let rates: Vec<f64> = said
        .lines()
        .filter_map(|line| line.strip_prefix(RATE)?.strip_suffix("Hz")?.parse().ok())
        .filter(|rate| *rate > 0.0)
        .collect();
    expect(!rates.is_empty(), || {
        "modetest flips no pictures".to_owned()
    })?;
    let seconds: f64 = rates.iter().map(|rate| FLIPS_A_RATE / rate).sum();
    let flips: f64 = rates.iter().map(|_| FLIPS_A_RATE).sum();
    Ok(flips / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_flips_weigh_as_much_as_they_last() {
        let said = "freq: 60.00Hz\nfreq: 30.00Hz\nopened device\nfreq: 0.";
        assert!((flips_per_second(said).unwrap() - 40.0).abs() < 1e-9);
        assert!(flips_per_second("opened device\n").is_err());
    }

    #[test]
    fn failure_is_found_though_the_status_is_0() {
        went_well("setting mode 1280x800-59.91Hz on connectors 37, crtc 36\n").unwrap();
        assert!(went_well("failed to set mode: Invalid argument\n").is_err());
        assert!(went_well("select timed out or error (ret 0)\n").is_err());
    }
}
