//! `sync/include/coherd-sync.h` is what cbindgen makes of `sync/src/capi/`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::{env, fs};

/// Set to write the header instead of comparing it.
const WRITE: &str = "COHERD_WRITE_HEADER";

#[test]
fn header_is_that_of_the_code() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = crate_dir.join("../include/coherd-sync.h");
    let config = cbindgen::Config::from_file(crate_dir.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    // In the order in which a reader wants them; none of them has modules of its own.
    for module in [
        "name",
        "result",
        "connection",
        "blob",
        "bracket",
        "ledger",
        "watch",
    ] {
        builder = builder.with_src(crate_dir.join(format!("../src/capi/{module}.rs")));
    }
    let mut made = Vec::new();

    builder.generate().unwrap().write(&mut made);

    let made = String::from_utf8(made).unwrap();
    if env::var_os(WRITE).is_some() {
        fs::write(&header, &made).unwrap();
    }
    let committed = fs::read_to_string(&header).unwrap_or_default();
    assert!(
        committed == made,
        "{} is out of date: run `{WRITE}=1 cargo test -p coherd-sync-c --test header`",
        header.display()
    );
}
