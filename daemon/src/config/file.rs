//! The configuration file: TOML.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{ConfigError, Given};
use crate::cage;

/// In a cage the path leads nowhere, and the keeper outside opens the file.
fn open(path: &Path) -> io::Result<File> {
    match cage::door() {
        Some(door) => door.config(),
        None => File::open(path),
    }
}

/// Reads the options of a file.
pub fn read(path: &Path) -> Result<Given, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.into(),
        source,
    };
    let mut text = String::new();
    open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(failed)?;
    toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.bytes().take(start);
        ConfigError::Syntax {
            path: path.into(),
            line: before.filter(|byte| *byte == b'\n').count() + 1,
            message: error.message().replace('\n', "; "),
        }
    })
}
