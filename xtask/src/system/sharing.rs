//! Memory that leaves its program: exports, and swapchains, which need them.

use std::path::Path;

use super::app::{App, verdict};
use super::failure::{Failure, expect};
use super::report::Verdict;
use super::rig::Rig;
use super::scene::Scene;

/// How long the benchmark takes where it is to end.
pub const SHORT: u32 = 3;

/// A benchmark on Venus alone.
pub fn vkmark(seconds: u32) -> String {
    format!(
        "env VK_DRIVER_FILES=/usr/share/vulkan/icd.d/virtio_icd.json \
         vkmark --winsys headless --size 320x240 --benchmark vertex:duration={seconds}"
    )
}

const FRAMES: usize = 5;

/// On a host that exports dma-bufs, guests export memory and have swapchains.
pub fn with_export(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let losses = rig.losses();
    let export = rig.run("vk-memory", "export --expect offered")?;
    rig.run("vk-present", "--expect offered")?;
    Scene::start(&rig.vm, "scene", FRAMES)?.is_right(rig.lab)?;
    let benchmark = App::start(&rig.vm, vkmark(SHORT))?.succeeds()?;
    nothing_lost(rig, losses)?;
    Ok(Verdict::Passed(format!(
        "{}; vkmark {}",
        verdict(&export),
        score(&benchmark)
    )))
}

/// Memory of the blob context works in Vulkan, whose contexts have other workers.
pub fn blob_context_in_vulkan(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let losses = rig.losses();
    let said = rig.run("vk-import", "")?;
    nothing_lost(rig, losses)?;
    rig.lets_go()?;
    Ok(Verdict::Passed(verdict(&said).to_owned()))
}

/// On a host that cannot export, guests are not offered to, rather than lose their contexts.
pub fn without_export(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    if Path::new("/dev/udmabuf").exists() {
        return Ok(Verdict::Skipped(
            "this host has /dev/udmabuf, so its driver exports dma-bufs".to_owned(),
        ));
    }
    let losses = rig.losses();
    let export = rig.run("vk-memory", "export --expect hidden")?;
    // Mesa presents by copies where it has no dma-bufs.
    rig.run("vk-present", "--expect offered")?;
    Scene::start(&rig.vm, "scene", FRAMES)?.is_right(rig.lab)?;
    let benchmark = App::start(&rig.vm, vkmark(SHORT))?.ends()?;
    // A shell's word for a signal: an abort is no clean end.
    expect(benchmark.status < 128, || {
        format!("vkmark crashed ({}): {}", benchmark.status, benchmark.log)
    })?;
    nothing_lost(rig, losses)?;
    Ok(Verdict::Passed(format!(
        "{}; vkmark ended with status {}",
        verdict(&export),
        benchmark.status
    )))
}

fn nothing_lost(rig: &Rig<'_>, before: usize) -> Result<(), Failure> {
    let losses = rig.losses() - before;
    expect(losses == 0, || {
        format!("{losses} programs lost their contexts; coherd's log has the reasons")
    })
}

/// The line of vkmark that has its result.
pub fn score(said: &str) -> &str {
    said.lines()
        .find(|line| line.contains("FPS"))
        .unwrap_or("gave no figure")
        .trim()
}
