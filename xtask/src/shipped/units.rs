//! The units: that systemd takes them, and how much it leaves to a service that was taken over.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ShippedError, count, io};
use crate::coherd;
use crate::lab::Lab;
use crate::tally::Tally;

/// The folder of the units in the checkout.
pub const FOLDER: &str = "systemd";
/// The units, by their names in an installed system.
pub const UNITS: [&str; 3] = ["coherd@.socket", "coherd@.service", "coherd.slice"];
/// Drop-ins of the service, for a user to copy.
pub const DROP_INS: [&str; 2] = ["lavapipe.conf", "nvidia.conf"];
const SERVICE: &str = "coherd@.service";

/// Where the units have the program, which is elsewhere until it is installed.
const PROGRAM: &str = "/usr/bin/coherd";

/// The largest exposure of the service, with any drop-in, in tenths as `systemd-analyze` takes it.
const EXPOSURE: &str = "10";

/// Has systemd read the units, alone and with each drop-in, as an error whatever it warns of.
pub fn verify(lab: &Lab, tally: &mut Tally) -> Result<(), ShippedError> {
    for drop_in in [None].into_iter().chain(DROP_INS.map(Some)) {
        let folder = copy(lab, drop_in)?;
        let units = UNITS.map(|unit| folder.join(unit));
        let output = lab
            .command("systemd-analyze")
            .args(["verify", "--man=no"])
            .args(units)
            .output()
            .map_err(io("start systemd-analyze"))?;
        count(&name("systemd-analyze verify", drop_in), &output, tally);
    }
    Ok(())
}

/// Has systemd count what the service may do.
pub fn exposure(lab: &Lab, tally: &mut Tally) -> Result<(), ShippedError> {
    for drop_in in [None].into_iter().chain(DROP_INS.map(Some)) {
        let folder = copy(lab, drop_in)?;
        let mut output = lab
            .command("systemd-analyze")
            .args(["security", "--offline=true", "--threshold", EXPOSURE])
            .arg(folder.join(SERVICE))
            .output()
            .map_err(io("start systemd-analyze"))?;
        // It comments on what it cannot know offline.
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let verdict = said.lines().find(|line| line.contains("exposure level"));
        println!("{}", verdict.unwrap_or("no exposure level").trim());
        if output.status.success() && verdict.is_some() {
            output.stderr.clear();
        }
        count(&name("systemd-analyze security", drop_in), &output, tally);
    }
    Ok(())
}

fn name(check: &str, drop_in: Option<&str>) -> String {
    match drop_in {
        None => check.to_owned(),
        Some(drop_in) => format!("{check} with {drop_in}"),
    }
}

/// The units in a folder of their own, with the program where the lab has it.
fn copy(lab: &Lab, drop_in: Option<&str>) -> Result<PathBuf, ShippedError> {
    let folder = lab.run_dir().join(drop_in.unwrap_or("units"));
    let program = coherd::program("coherd");
    let source = lab.checkout().join(FOLDER);
    fs::create_dir_all(&folder).map_err(io("make a folder"))?;
    for unit in UNITS {
        let mut text = read(&source.join(unit))?;
        // What a drop-in does, where systemd-analyze does not look for one.
        if let Some(drop_in) = drop_in.filter(|_| unit == SERVICE) {
            text.push_str(&read(&source.join(drop_in))?);
        }
        let text = text.replace(PROGRAM, &program.to_string_lossy());
        let path = folder.join(unit);
        fs::write(&path, text).map_err(io(format!("write {}", path.display())))?;
    }
    Ok(folder)
}

fn read(path: &Path) -> Result<String, ShippedError> {
    fs::read_to_string(path).map_err(io(format!("read {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_starts_the_program_that_is_installed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(FOLDER);
        let text = fs::read_to_string(folder.join(SERVICE)).unwrap();
        assert!(text.lines().any(|line| {
            line.strip_prefix("ExecStart=")
                .is_some_and(|command| command.starts_with(PROGRAM))
        }));
    }
}
