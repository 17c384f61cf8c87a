//! The library as programs use it: the example in Rust, and programs in C that are compiled with
//! every warning an error, against the header and each of the two libraries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

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

/// The library to link a program in C with, and what that needs.
enum Library {
    Static,
    Shared,
}

/// A program in C, compiled with every warning an error, in a folder of its own.
struct CProgram {
    folder: TempDir,
}

impl CProgram {
    /// Compiles `source`, which is below this crate.
    fn new(source: &str, library: &Library) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-g", "-O1"])
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
            .args([crate_dir().join("include"), crate_dir().join(source)])
            .arg("-o")
            .arg(folder.path().join("program"));
        match library {
            Library::Static => {
                gcc.arg(deps().join("libcoherd_sync.a"))
                    .args(["-lpthread", "-ldl", "-lm"])
            }
            Library::Shared => {
                let name = folder.path().join("libcoherd_sync.so.0");
                fs::copy(deps().join("libcoherd_sync.so"), &name).unwrap();
                gcc.arg(name)
            }
        };
        run(&mut gcc);
        Self { folder }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.folder.path().join("program"));
        command.env("LD_LIBRARY_PATH", self.folder.path());
        command
    }

    /// As [`CProgram::command`], so that errors and leaks are failures.
    fn command_under_valgrind(&self) -> Option<Command> {
        let mut valgrind = Command::new("valgrind");
        if valgrind.arg("--version").output().is_err() {
            println!("SKIPPED: a program in C under valgrind: valgrind is not installed");
            return None;
        }
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["--quiet", "--leak-check=full", "--error-exitcode=99"])
            .args(["--errors-for-leak-kinds=definite,indirect,possible"])
            .arg(self.folder.path().join("program"));
        Some(valgrind)
    }
}

#[test]
fn c_example_moves_memory_with_the_static_library_and_without_errors_in_valgrind() {
    let program = CProgram::new("examples/migrate.c", &Library::Static);
    moves_memory(|direction, socket, file| {
        run(program.command().arg(direction).args([socket, file]));
    });
    if program.command_under_valgrind().is_some() {
        moves_memory(|direction, socket, file| {
            let mut valgrind = program.command_under_valgrind().unwrap();
            run(valgrind.arg(direction).args([socket, file]));
        });
    }
}

#[test]
fn c_example_moves_memory_with_the_shared_library() {
    let program = CProgram::new("examples/migrate.c", &Library::Shared);
    moves_memory(|direction, socket, file| {
        run(program.command().arg(direction).args([socket, file]));
    });
}

#[test]
fn c_example_says_what_is_wrong() {
    let program = CProgram::new("examples/migrate.c", &Library::Shared);
    let output = program
        .command()
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
fn every_function_works_from_c_without_errors_in_valgrind() {
    let program = CProgram::new("tests/c/every_function.c", &Library::Static);
    let plain = Some(program.command());
    for mut command in plain.into_iter().chain(program.command_under_valgrind()) {
        let (fake, ids) = server(&[3 * 4096]);
        fake.hang(ids[0], true);
        let path = fake.path();
        thread::scope(|scope| {
            let running = scope.spawn(|| run(command.arg(&path)));
            fake.wait_until("it watches", |state| !state.watchers.is_empty());
            let second = fake.create(Recipe {
                size: 4096,
                ..Recipe::default()
            });
            running.join().unwrap();
            assert_eq!(fake.gpu(second)[100..150], [0x5b; 50]);
        });
        fake.wait_until("all is closed", |state| {
            state.opened.is_empty() && state.open.is_empty()
        });
    }
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
