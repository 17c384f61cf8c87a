//! The example in Rust and the one in C move a VM's memory from one server to another. The one in
//! C is compiled with every warning an error, against the header and each of the two libraries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Fake, Recipe, Rules};
use tempfile::TempDir;

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo puts libraries and tests.
fn deps() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned()
}

/// Runs a program that has to succeed.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A server whose blobs have these sizes.
fn server(sizes: &[u64]) -> (Fake, Vec<u64>) {
    let fake = Fake::new(Rules::default());
    let ids = sizes.iter().map(|size| {
        fake.create(Recipe {
            size: *size,
            ..Recipe::default()
        })
    });
    let ids = ids.collect();
    (fake, ids)
}

/// Has `migrate`, which is given direction, socket and file, move the memory of one server to
/// another.
fn moves_memory(migrate: impl Fn(&str, &Path, &Path)) {
    let sizes = [4096, 3 * 4096, 65536 + 4096, 1 << 20];
    let (from, source) = server(&sizes);
    from.create(Recipe {
        openable: false,
        ..Recipe::default()
    });
    let (to, target) = server(&sizes);
    for (id, size) in target.iter().zip(sizes) {
        to.gpu_writes(*id, &vec![0; usize::try_from(size).unwrap()]);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory");

    migrate("save", &from.path(), &file);
    migrate("load", &to.path(), &file);

    for (source, target) in source.iter().zip(&target) {
        assert!(from.gpu(*source) == to.gpu(*target), "blob {source}");
    }
    from.wait_until("the first is done", |state| state.opened.is_empty());
    to.wait_until("the second is done", |state| state.opened.is_empty());
    assert_eq!(from.open_brackets() + to.open_brackets(), 0);
}

#[test]
fn rust_example_moves_memory() {
    // Cargo builds examples for a whole `cargo test`, not for one with `--test`.
    let program = deps().with_file_name("examples").join("migrate");
    assert!(program.exists(), "run `cargo test -p coherd-sync` first");

    moves_memory(|direction, socket, file| {
        run(Command::new(&program).arg(direction).args([socket, file]));
    });
}

/// Compiles the example in C, with these arguments behind.
fn compile(folder: &TempDir, library: &[&OsStr]) -> PathBuf {
    let program = folder.path().join("migrate");
    let warnings = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
    run(Command::new("gcc")
        .args(warnings)
        .args(["-g", "-O1", "-I"])
        .arg(crate_dir().join("include"))
        .arg(crate_dir().join("examples/migrate.c"))
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
    let page = fs::read_to_string(crate_dir().join("../docs/sync-protocol.md")).unwrap();
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
        .arg(crate_dir().join("include"))
        .arg(&source)
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => println!("SKIPPED: the header as C++: g++: {error}"),
    }
}
