//! The example in C moves a VM's memory from one server to another. It is compiled with every
//! warning an error, against the header and each of the two libraries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{deps, moves_memory, run};
use tempfile::TempDir;

/// The folder of the Rust library, which has the header and the example.
fn sync_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compiles the example in C, with these arguments behind.
fn compile(folder: &TempDir, library: &[&OsStr]) -> PathBuf {
    let program = folder.path().join("migrate");
    let warnings = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
    run(Command::new("gcc")
        .args(warnings)
        .args(["-g", "-O1", "-I"])
        .arg(sync_dir().join("include"))
        .arg(sync_dir().join("examples/migrate.c"))
        .arg("-o")
        .arg(&program)
        .args(library));
    program
}

#[test]
fn c_example_moves_memory_with_the_static_library_and_without_errors_in_valgrind() {
    let folder = tempfile::tempdir().unwrap();
    let library = deps().join("libcoherd_sync.a");
    let system = ["-lpthread", "-ldl", "-lm"].map(OsStr::new);
    let program = compile(&folder, &[&[library.as_os_str()][..], &system].concat());

    moves_memory(|direction, socket, file| {
        run(Command::new(&program).arg(direction).args([socket, file]));
    });

    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: the example under valgrind: valgrind is not installed");
        return;
    }
    moves_memory(|direction, socket, file| {
        run(Command::new("valgrind")
            .args(["--quiet", "--leak-check=full", "--show-leak-kinds=all"])
            .args(["--errors-for-leak-kinds=definite,indirect,possible"])
            .args(["--track-fds=yes", "--error-exitcode=99"])
            .arg(&program)
            .arg(direction)
            .args([socket, file]));
    });
}

#[test]
fn c_example_moves_memory_with_the_shared_library() {
    let folder = tempfile::tempdir().unwrap();
    let name = "libcoherd_sync.so.0";
    fs::copy(deps().join("libcoherd_sync.so"), folder.path().join(name)).unwrap();
    let library = folder.path().join(name);
    let program = compile(&folder, &[library.as_os_str()]);

    moves_memory(|direction, socket, file| {
        run(Command::new(&program)
            .env("LD_LIBRARY_PATH", folder.path())
            .arg(direction)
            .args([socket, file]));
    });
}

#[test]
fn c_example_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let name = "libcoherd_sync.so.0";
    let library = folder.path().join(name);
    fs::copy(deps().join("libcoherd_sync.so"), &library).unwrap();
    let program = compile(&folder, &[library.as_os_str()]);
    let output = Command::new(&program)
        .env("LD_LIBRARY_PATH", folder.path())
        .args(["save", "/nonexistent/sync", "/dev/null"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("cannot connect to /nonexistent/sync")
            && text.contains("No such file or directory"),
        "{text}"
    );
}

#[test]
fn page_has_c_that_compiles() {
    let page = fs::read_to_string(sync_dir().join("../docs/sync-protocol.md")).unwrap();
    let (_, code) = page.split_once("```c\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("page.c");
    fs::write(&source, code).unwrap();
    run(Command::new("gcc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"])
        .arg(&source));
}

#[test]
fn header_is_also_that_of_a_cpp_program() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("empty.cpp");
    fs::write(&source, "#include \"coherd-sync.h\"\n").unwrap();
    let output = Command::new("g++")
        .args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(sync_dir().join("include"))
        .arg(&source)
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => println!("SKIPPED: the header as C++: g++: {error}"),
    }
}
