//! The test layer: memory that is not coherent, and faults.
//!
//! The loader reads its environment, and the layer counts for the whole process. So a test with
//! the layer is this program again, as a child.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use VkLayer_coherd_incoherent::control;

/// Set in a child that has the layer; the value is the file that it leaves at its end.
const MARK: &str = "COHERD_VULKAN_TEST_MARK";

/// What the harness prints for a test that could not run.
const SKIPPED: &str = "SKIPPED: ";

/// The layers that devices of this process are opened with.
pub fn names() -> Option<String> {
    in_child().then(|| control::LAYER_NAME.to_string())
}

fn in_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs `body` in a process of its own that has the layer.
pub fn isolated(test: &str, body: impl FnOnce()) {
    if let Some(mark) = std::env::var_os(MARK) {
        body();
        std::fs::write(mark, "").unwrap();
        return;
    }
    run_child(&[test, "--exact"], test, true);
}

/// Runs every other test of this program again, in a process that has the layer.
pub fn all_but(test: &str) {
    if !in_child() {
        run_child(&["--skip", test], test, false);
    }
}

/// Functions and counters of the layer in this process.
pub fn controls() -> control::Controls {
    control::Controls::open(&control::library().unwrap()).unwrap()
}

fn run_child(arguments: &[&str], test: &str, leaves_mark: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let output = child(folder.path(), &mark)
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let ran = !leaves_mark || mark.exists();
    assert!(output.status.success() && ran, "{}: {text}", output.status);
    // Past the harness, which keeps what a successful test prints.
    let mut stderr = std::io::stderr();
    for line in text.lines().filter(|line| line.starts_with(SKIPPED)) {
        writeln!(stderr, "{line} ({test} with the layer)").unwrap();
    }
}

/// Whether Mesa's lavapipe is the only driver that has a device.
fn only_software() -> bool {
    coherd_vulkan::enumerate().is_ok_and(|adapters| {
        !adapters.is_empty() && adapters.iter().all(|a| a.name.starts_with("llvmpipe"))
    })
}

fn child(folder: &Path, mark: &Path) -> Command {
    control::install(&control::library().unwrap(), folder).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    control::offer(&mut child, folder);
    child.env(MARK, mark);
    // The loader's implicit layers make calls of their own, which would be counted.
    child.env("VK_LOADER_LAYERS_DISABLE", "~implicit~");
    // Most of the time of opening a device goes into drivers of GPUs that are not there.
    if only_software() {
        child.env("VK_LOADER_DRIVERS_SELECT", "*lvp*");
    }
    child.arg("--nocapture");
    child
}
