//! The C header is that of the code.

use std::path::Path;
use std::{env, fs};

/// Sources of the interface, in the order of the header.
const SOURCES: [&str; 7] = [
    "error",
    "constants",
    "memory",
    "context",
    "allocation",
    "mapping",
    "transfer",
];

/// Set to write the header rather than to compare it.
const WRITE: &str = "COHERD_WRITE_HEADER";

#[test]
fn header_is_what_cbindgen_makes_of_the_sources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = folder.join("../include/coherd-guest.h");
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let builder = SOURCES
        .iter()
        .fold(cbindgen::Builder::new().with_config(config), |it, name| {
            it.with_src(folder.join(format!("src/{name}.rs")))
        });
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    if env::var_os(WRITE).is_some() {
        fs::write(&header, &made).unwrap();
    }
    let there = fs::read_to_string(&header).unwrap_or_default();
    assert!(
        there == made,
        "{} is not that of the code; {WRITE}=1 cargo test -p coherd-guest-c --test header writes it",
        header.display()
    );
}
