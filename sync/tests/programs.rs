//! The library as programs use it: the example in Rust. Programs in C are tested in `c/`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use support::{deps, moves_memory, run};

#[test]
fn rust_example_moves_memory() {
    // Cargo builds examples for a whole `cargo test`, not for one with `--test`.
    let program = deps().with_file_name("examples").join("migrate");
    assert!(program.exists(), "run `cargo test -p coherd-sync` first");

    moves_memory(|direction, socket, file| {
        run(Command::new(&program).arg(direction).args([socket, file]));
    });
}
