//! The C example compiles with every warning an error, against the header and each of the two
//! libraries, and says what is wrong where there is no device.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a program needs that is linked with the static library.
const SYSTEM: [&str; 3] = ["-lpthread", "-ldl", "-lm"];

fn compiler() -> Option<&'static str> {
    let found = Command::new("cc").arg("--version").output().is_ok();
    if !found {
        // Past libtest, which hides what passing tests print.
        let _ = writeln!(
            io::stderr(),
            "SKIPPED: no C compiler, so the header is not compiled"
        );
    }
    found.then_some("cc")
}

/// Where cargo puts libraries. It builds none for tests of a package whose library no Rust program
/// can use, so it is asked to, in the target folder of this test.
fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--lib", "--target-dir"])
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success(), "the library does not build");
        profile.to_owned()
    })
}

fn compile(name: &str, link: impl Fn(&mut Command)) -> Option<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(name);
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(compiler()?);
    command
        .args(["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(package.join("../include"))
        .arg(package.join("examples/roundtrip.c"))
        .arg("-o")
        .arg(&program);
    link(&mut command);
    assert!(command.status().unwrap().success(), "{command:?}");
    Some((folder, program))
}

/// Runs a program on a file that is no device, with the shared library by the name that it has when
/// it is installed.
fn fails_without_a_device(program: &Path) {
    let folder = program.parent().unwrap();
    let library = libraries().join("libcoherd_guest.so");
    symlink(library, folder.join("libcoherd_guest.so.0")).unwrap();
    let output = Command::new(program)
        .arg("/dev/null")
        .env("LD_LIBRARY_PATH", folder)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said, "FAILED: open: /dev/null is not a DRM device\n");
}

#[test]
fn example_works_with_the_shared_library() {
    let compiled = compile("shared", |command| {
        command.arg(libraries().join("libcoherd_guest.so"));
    });
    if let Some((_folder, program)) = compiled {
        fails_without_a_device(&program);
    }
}

#[test]
fn example_works_with_the_static_library() {
    let compiled = compile("static", |command| {
        command
            .arg(libraries().join("libcoherd_guest.a"))
            .args(SYSTEM);
    });
    if let Some((_folder, program)) = compiled {
        fails_without_a_device(&program);
    }
}
