//! A process for each test: the loader reads its environment, and the layer counts for the whole
//! process.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use VkLayer_coherd_incoherent::control;

/// Tells a test that it is in its own process; the value is the file that it leaves at its end.
const MARK: &str = "COHERD_LAYER_TEST_MARK";

/// Set where a test without Vulkan is a failure.
const REQUIRED: &str = "COHERD_REQUIRE_VULKAN";

/// What a test prints that could not begin, before the reason.
const SKIPPED: &str = "SKIPPED: ";

/// Why a test could not begin.
pub struct Skip(pub String);

/// Writes a test of the layer.
macro_rules! layer_test {
    (fn $name:ident() -> $result:ty $body:block) => {
        layer_test! { with [] fn $name() -> $result $body }
    };
    (with [$($variable:literal: $value:literal)?] fn $name:ident() -> $result:ty $body:block) => {
        #[test]
        fn $name() {
            fn body() -> $result $body
            let name = concat!(module_path!(), "::", stringify!($name));
            crate::isolation::run(name, &[$(($variable, $value))?], body);
        }
    };
}
pub(crate) use layer_test;

/// Runs `body` in a process that finds the layer, with `environment` added.
pub fn run(test: &str, environment: &[(&str, &str)], body: impl FnOnce() -> Result<(), Skip>) {
    if let Some(mark) = std::env::var_os(MARK) {
        if let Err(Skip(reason)) = body() {
            assert!(std::env::var_os(REQUIRED).is_none(), "no Vulkan: {reason}");
            println!("{SKIPPED}{reason}");
        }
        std::fs::write(mark, "").unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    control::install(&control::library().unwrap(), folder.path()).unwrap();
    let (_, test) = test.split_once("::").unwrap();
    let mark = folder.path().join("mark");
    let mut child = again(test);
    control::offer(&mut child, folder.path());
    child.env(MARK, &mark);
    // The loader's implicit layers make calls of their own, which would be counted.
    child.env("VK_LOADER_LAYERS_DISABLE", "~implicit~");
    child.envs(environment.iter().copied());
    let output = child.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && mark.exists(),
        "{}: {text}",
        output.status
    );
    // Past the test harness, which keeps what a successful test prints.
    let mut terminal = std::io::stderr();
    for line in text.lines().filter(|line| line.starts_with(SKIPPED)) {
        writeln!(terminal, "{line} ({test})").unwrap();
    }
}

/// This program, to run one test again, or one that is ignored.
pub fn again(test: &str) -> Command {
    let mut command = Command::new(program());
    command.args([test, "--exact", "--include-ignored", "--nocapture"]);
    command
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}
