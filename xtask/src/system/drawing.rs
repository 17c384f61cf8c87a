//! Frames that a guest draws through coherd.

use super::app::{App, verdict};
use super::failure::Failure;
use super::report::Verdict;
use super::rig::Rig;
use super::scene::Scene;

const FRAMES: usize = 10;

/// A guest's frames are those of the host's driver, pixel for pixel.
pub fn frames_match(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let frames = Scene::start(&rig.vm, "scene", FRAMES)?.is_right(rig.lab)?;
    Ok(Verdict::Passed(format!(
        "{FRAMES} frames on {}, {:.0} ms median",
        frames.device, frames.median_ms
    )))
}

/// Programs that use the GPU at the same time do not disturb each other.
pub fn two_apps(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let scenes = [
        Scene::start(&rig.vm, "scene-1", FRAMES)?,
        Scene::start(&rig.vm, "scene-2", FRAMES)?,
    ];
    let memory = App::venus(&rig.vm, "vk-memory", "churn --iterations 200 --live 16")?;
    for scene in &scenes {
        scene.is_right(rig.lab)?;
    }
    let said = memory.succeeds()?;
    Ok(Verdict::Passed(format!(
        "two scenes beside {}",
        verdict(&said)
    )))
}
