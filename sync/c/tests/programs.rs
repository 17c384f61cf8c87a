//! Programs in C, compiled with every warning an error, against the header and each of the two
//! libraries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs, thread};

use support::{Recipe, moves_memory, run, server};
use tempfile::TempDir;

/// The folder of the Rust library, which has the header and the example.
fn sync_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where cargo puts libraries. It builds none for tests of a package whose library no Rust program
/// can use, so it is asked to, in the target folder of this test.
fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        run(Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--lib", "--target-dir"])
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR")));
        profile.to_owned()
    })
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
    /// Compiles `source`, which is below the Rust library.
    fn new(source: &str, library: &Library) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-g", "-O1"])
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
            .args([sync_dir().join("include"), sync_dir().join(source)])
            .arg("-o")
            .arg(folder.path().join("program"));
        match library {
            Library::Static => {
                gcc.arg(libraries().join("libcoherd_sync.a"))
                    .args(["-lpthread", "-ldl", "-lm"])
            }
            Library::Shared => {
                let name = folder.path().join("libcoherd_sync.so.0");
                fs::copy(libraries().join("libcoherd_sync.so"), &name).unwrap();
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

    /// As [`CProgram::command`], so that errors, leaks and files that stay open are failures.
    fn command_under_valgrind(&self) -> Command {
        let mut valgrind = Command::new("bash");
        valgrind
            .args(["-c", WITHOUT_FILES, "bash", "valgrind"])
            .args(["--quiet", "--leak-check=full", "--show-leak-kinds=all"])
            .args(["--errors-for-leak-kinds=definite,indirect,possible"])
            .args(["--track-fds=yes", "--error-exitcode=99"])
            .arg(self.folder.path().join("program"));
        valgrind
    }
}

/// Runs a command with none of the files that other tests have open: from version 3.21 valgrind
/// holds it against a program that it inherits some.
const WITHOUT_FILES: &str = r#"
    for file in /proc/self/fd/*; do
        number=${file##*/}
        if [ "$number" -gt 2 ]; then eval "exec $number>&-"; fi
    done
    exec "$@"
"#;

/// Whether valgrind can be run; says so where it cannot.
fn has_valgrind() -> bool {
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--version").stdout(Stdio::null());
    match valgrind.status() {
        Ok(_) => true,
        Err(error) => {
            println!("SKIPPED: valgrind: {error}");
            false
        }
    }
}

#[test]
fn c_example_moves_memory_with_the_static_library() {
    let program = CProgram::new("examples/migrate.c", &Library::Static);
    moves_memory(|direction, socket, file| {
        run(program.command().arg(direction).args([socket, file]));
    });
}

#[test]
fn c_example_moves_memory_without_errors_in_valgrind() {
    if !has_valgrind() {
        return;
    }
    let program = CProgram::new("examples/migrate.c", &Library::Static);
    moves_memory(|direction, socket, file| {
        let mut valgrind = program.command_under_valgrind();
        run(valgrind.arg(direction).args([socket, file]));
    });
}

#[test]
fn c_example_moves_memory_with_the_shared_library() {
    let program = CProgram::new("examples/migrate.c", &Library::Shared);
    moves_memory(|direction, socket, file| {
        run(program.command().arg(direction).args([socket, file]));
    });
}

#[test]
fn c_example_is_short() {
    let source = fs::read_to_string(sync_dir().join("examples/migrate.c")).unwrap();
    let lines = source.lines().count();
    assert!(lines < 150, "{lines} lines");
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

/// Runs the program that calls every function, against a server of its own.
fn calls_every_function(mut program: Command) {
    let (fake, ids) = server(&[3 * 4096]);
    fake.hang(ids[0], true);
    let path = fake.path();
    thread::scope(|scope| {
        let running = scope.spawn(|| run(program.arg(&path)));
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

#[test]
fn every_function_works_from_c() {
    let program = CProgram::new("c/tests/every_function.c", &Library::Static);
    calls_every_function(program.command());
}

#[test]
fn every_function_works_from_c_without_errors_in_valgrind() {
    if !has_valgrind() {
        return;
    }
    let program = CProgram::new("c/tests/every_function.c", &Library::Static);
    calls_every_function(program.command_under_valgrind());
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
        Err(error) => println!("SKIPPED: g++: {error}"),
    }
}
