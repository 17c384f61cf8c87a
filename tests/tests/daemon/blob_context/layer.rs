//! Vulkan with memory that is not coherent, and with faults at every call in turn.
//!
//! The loader reads its environment, and the layer counts for the whole process. So these tests
//! are this program again, as a child.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use VkLayer_coherd_incoherent::control::{self, Controls};
use ash::vk;
use coherd::renderer::blob_context::Vulkan;
use coherd_protocol::blob_context::Status;
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_tests::blob_rig::{BlobRig, vulkan};

use super::faults::use_everything;
use super::{RAM, VISIBLE, mapped, read, write};
use crate::{PAGE, pattern};

/// Set in a child that has the layer; the value is the file that it leaves at its end.
const MARK: &str = "COHERD_BLOB_CONTEXT_TEST_MARK";

/// Cached, and coherent only by SYNC.
const INCOHERENT: MemoryProperties = VISIBLE.union(MemoryProperties::HOST_CACHED);

/// Runs `body` of a test here in a process of its own that has the layer, on a device.
fn with_the_layer(test: &str, body: impl FnOnce(Arc<Vulkan>)) {
    of_path(&format!("blob_context::layer::{test}"), body);
}

/// The same for a test anywhere in this program.
pub fn of_path(test: &str, body: impl FnOnce(Arc<Vulkan>)) {
    in_a_child(test, control::enable, || body(vulkan().expect("a device")));
}

/// The same in a process whose devices have the layer only where they ask for it.
pub fn where_offered(test: &str, body: impl FnOnce()) {
    in_a_child(test, control::offer, body);
}

fn in_a_child(test: &str, prepare: fn(&mut Command, &Path), body: impl FnOnce()) {
    if let Some(mark) = std::env::var_os(MARK) {
        body();
        std::fs::write(mark, "").unwrap();
        return;
    }
    if vulkan().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    control::install(&control::library().unwrap(), folder.path()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    prepare(&mut child, folder.path());
    // The loader's implicit layers make calls of their own, which would be counted.
    child.env("VK_LOADER_LAYERS_DISABLE", "~implicit~");
    let output = child
        .env(MARK, &mark)
        .args([test, "--exact", "--nocapture"])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && mark.exists(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&text)
    );
}

fn controls() -> Controls {
    Controls::open(&control::library().unwrap()).unwrap()
}

/// A rig with resource 1 of incoherent memory and resource 2 of coherent memory, both mapped.
fn incoherent(vulkan: &Arc<Vulkan>) -> BlobRig {
    let mut rig = BlobRig::new(vulkan).unwrap();
    let memory = mapped(&mut rig, 1, 2, INCOHERENT);
    let coherent = MemoryProperties::HOST_COHERENT.bits();
    assert_eq!(
        memory.properties.get() & coherent,
        0,
        "the layer is not there"
    );
    mapped(&mut rig, 2, 2, RAM);
    rig
}

fn copy_out(rig: &mut BlobRig) -> Vec<u8> {
    let copied = rig.program.copy(&mut rig.gpu, (1, 0), (2, 0), PAGE);
    copied.unwrap().unwrap();
    read(rig, 2, 0, 4096)
}

#[test]
fn gpu_sees_what_the_guest_wrote_after_sync_and_stale_bytes_without() {
    with_the_layer(
        "gpu_sees_what_the_guest_wrote_after_sync_and_stale_bytes_without",
        |vulkan| {
            let mut rig = incoherent(&vulkan);
            for round in 1..4 {
                let before = copy_out(&mut rig);
                let started = rig.program.start(&mut rig.gpu, 1, Access::WRITE);
                started.unwrap().unwrap();
                write(&rig, 1, 0, &pattern(round, PAGE));
                assert_eq!(copy_out(&mut rig), before, "not stale");
                let ended = rig.program.end(&mut rig.gpu, 1, Access::WRITE);
                ended.unwrap().unwrap();
                assert_eq!(copy_out(&mut rig), pattern(round, PAGE));
            }
            rig.finish().unwrap();
        },
    );
}

#[test]
fn guest_sees_what_the_gpu_wrote_after_sync_and_stale_bytes_without() {
    with_the_layer(
        "guest_sees_what_the_gpu_wrote_after_sync_and_stale_bytes_without",
        |vulkan| {
            let mut rig = incoherent(&vulkan);
            for round in 1..4u8 {
                let before = read(&rig, 1, 0, 4096);
                let word = u32::from_le_bytes([round; 4]);
                let filled = rig.program.fill(&mut rig.gpu, 1, (0, PAGE), word);
                filled.unwrap().unwrap();
                assert_eq!(read(&rig, 1, 0, 4096), before, "not stale");
                let started = rig.program.start(&mut rig.gpu, 1, Access::READ);
                started.unwrap().unwrap();
                assert_eq!(read(&rig, 1, 0, 4096), [round; 4096]);
                let ended = rig.program.end(&mut rig.gpu, 1, Access::READ);
                ended.unwrap().unwrap();
            }
            rig.finish().unwrap();
        },
    );
}

#[test]
fn every_vulkan_call_that_fails_is_told_and_leaves_nothing() {
    with_the_layer(
        "every_vulkan_call_that_fails_is_told_and_leaves_nothing",
        |vulkan| {
            let controls = controls();
            let mut rig = BlobRig::new(&vulkan).unwrap();
            // What is made once and kept is there after this.
            for round in 0..3 {
                assert_eq!(use_everything(&mut rig, 10 * round + 1), []);
            }
            let live = controls.describe_live();
            controls.arm(0, vk::Result::SUCCESS);
            assert_eq!(use_everything(&mut rig, 41), []);
            let calls = controls.calls();
            assert!(calls > 20, "{calls}");
            for (result, status) in [
                (
                    vk::Result::ERROR_OUT_OF_HOST_MEMORY,
                    Status::OutOfHostMemory,
                ),
                (
                    vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
                    Status::OutOfDeviceMemory,
                ),
            ] {
                for call in 1..=calls {
                    controls.arm(call, result);
                    let failures = use_everything(&mut rig, 51);
                    let command = controls.fired();
                    controls.arm(0, vk::Result::SUCCESS);
                    // Where memory of one type is used up, that of another is taken.
                    let expected = failures.iter().all(|failure| *failure == status);
                    assert!(expected, "{command:?} {call}: {failures:?}");
                    assert_eq!(use_everything(&mut rig, 61), [], "{command:?} {call}");
                    assert_eq!(controls.describe_live(), live, "{command:?} {call}");
                }
            }
            rig.finish().unwrap();
        },
    );
}

#[test]
fn loss_of_the_device_at_any_call_is_told_and_leaves_nothing() {
    with_the_layer(
        "loss_of_the_device_at_any_call_is_told_and_leaves_nothing",
        |vulkan| {
            let controls = controls();
            let mut rig = BlobRig::new(&vulkan).unwrap();
            controls.arm(0, vk::Result::SUCCESS);
            assert_eq!(use_everything(&mut rig, 1), []);
            let calls = controls.calls();
            rig.finish().unwrap();
            drop(vulkan);
            let live = controls.live_objects();
            for call in 1..=calls {
                let vulkan = Arc::new(Vulkan::open(None).unwrap());
                let mut rig = BlobRig::new(&vulkan).unwrap();
                controls.arm(call, vk::Result::ERROR_DEVICE_LOST);
                let mut failures = use_everything(&mut rig, 1);
                let command = controls.fired();
                // Nobody waits for the last calls, but whoever comes next is told.
                failures.extend(use_everything(&mut rig, 11));
                let lost = failures
                    .iter()
                    .all(|failure| *failure == Status::DeviceLost);
                let told = !failures.is_empty() || command.is_none();
                assert!(lost && told, "{command:?} {call}: {failures:?}");
                controls.arm(0, vk::Result::SUCCESS);
                rig.finish().unwrap();
                drop(vulkan);
                let left = controls.describe_live();
                assert_eq!(controls.live_objects(), live, "{command:?} {call}: {left}");
            }
            let _ = writeln!(std::io::stderr(), "{calls} calls failed in turn");
        },
    );
}
