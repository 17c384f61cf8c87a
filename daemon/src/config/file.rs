//! The configuration file: TOML.

use std::path::Path;

use super::{ConfigError, Given};

/// Reads the options of a file.
pub fn read(path: &Path) -> Result<Given, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.into(),
        source,
    })?;
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
