//! Programs that the guest runs, unmodified from Debian but for our own scene.

use std::time::Duration;

use serde_json::Value;

use super::{COMMAND, DemoError};
use crate::coherd;
use crate::progress::Progress;
use crate::vm::Vm;

/// Lavapipe compiles shaders for minutes where QEMU emulates the processor.
const PATIENCE: Duration = Duration::from_secs(150);

/// Which Vulkan driver of the guest runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Mesa's Venus, hence coherd and the host's driver.
    Coherd,
    /// Mesa's lavapipe: what the guest has without a GPU.
    Lavapipe,
}

impl Driver {
    fn environment(self) -> &'static str {
        match self {
            Self::Coherd => "VK_DRIVER_FILES=/usr/share/vulkan/icd.d/virtio_icd.json",
            Self::Lavapipe => "VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Coherd => "through coherd",
            Self::Lavapipe => "on lavapipe in the guest",
        }
    }
}

/// A run of our scene.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames.
    pub frames: u32,
    /// Whether the frames and a picture are left in the share.
    pub keep: bool,
}

impl Scene {
    /// One small frame, to learn the device.
    pub const QUICK: Self = Self {
        width: 64,
        height: 36,
        frames: 1,
        keep: false,
    };
    /// The film.
    pub const FILM: Self = Self {
        width: 640,
        height: 360,
        frames: 60,
        keep: true,
    };
    /// As many frames of the film as lavapipe can be asked for in an emulated guest.
    pub const ALONE: Self = Self {
        frames: 3,
        keep: false,
        ..Self::FILM
    };

    /// Name of the raw frames in the share.
    pub const RAW: &'static str = "frames.rgba";
    /// Name of the picture in the share.
    pub const PICTURE: &'static str = "frame.png";
}

/// A scene of vkmark.
#[derive(Clone, Copy, Debug)]
pub struct Vkmark {
    /// Name of the scene.
    pub name: &'static str,
}

impl Vkmark {
    /// The scenes that are shown.
    pub const SCENES: [Self; 3] = [
        Self { name: "vertex" },
        Self { name: "texture" },
        Self { name: "shading" },
    ];
}

/// Output of `vulkaninfo`.
pub fn vulkaninfo(vm: &Vm) -> Result<String, DemoError> {
    checked(
        vm,
        "vulkaninfo",
        &format!("{} vulkaninfo", Driver::Coherd.environment()),
        COMMAND,
    )
}

/// Frames per second of a vkmark scene, or `None` where the driver did not get to a first result
/// in time.
pub fn vkmark(
    vm: &Vm,
    driver: Driver,
    scene: Vkmark,
    progress: &Progress,
) -> Result<Option<f64>, DemoError> {
    progress.say(&format!("running vkmark {} {}", scene.name, driver.name()));
    let _waiting = progress.waiting("running vkmark");
    let script = format!(
        "{} timeout {} vkmark --winsys headless --size 400x300 --benchmark {}:duration=4",
        driver.environment(),
        PATIENCE.as_secs(),
        scene.name
    );
    let output = vm.run(&script, PATIENCE + Duration::from_secs(30))?;
    match (output.status, frame_rate(&output.log)) {
        (0, Some(rate)) => Ok(Some(rate)),
        (TIMED_OUT, _) if driver == Driver::Lavapipe => Ok(None),
        (0, None) => Err(DemoError::Unclear {
            program: "vkmark",
            what: "a frame rate",
            log: output.log,
        }),
        (status, _) => Err(DemoError::Guest {
            program: "vkmark",
            status,
            log: output.log,
        }),
    }
}

/// Exit status of timeout(1) where it ended the program.
const TIMED_OUT: i32 = 124;

/// The report of our scene, as it writes it.
pub fn scene(
    vm: &Vm,
    driver: Driver,
    scene: &Scene,
    progress: &Progress,
) -> Result<Value, DemoError> {
    if scene.frames > 1 {
        progress.say(&format!(
            "rendering {} frames {}",
            scene.frames,
            driver.name()
        ));
    }
    let _waiting = progress.waiting("rendering");
    let mut script = format!(
        "{} {} --width {} --height {} --frames {} --json /share/report.json",
        driver.environment(),
        coherd::program("vk-scene").display(),
        scene.width,
        scene.height,
        scene.frames,
    );
    if scene.keep {
        script += &format!(
            " --raw /share/{} --png /share/{}",
            Scene::RAW,
            Scene::PICTURE
        );
    }
    let log = checked(vm, "vk-scene", &script, PATIENCE * 2)?;
    std::fs::read(vm.share().join("report.json"))
        .ok()
        .and_then(|report| serde_json::from_slice(&report).ok())
        .ok_or(DemoError::Unclear {
            program: "vk-scene",
            what: "a report",
            log,
        })
}

fn checked(
    vm: &Vm,
    program: &'static str,
    script: &str,
    timeout: Duration,
) -> Result<String, DemoError> {
    let output = vm.run(script, timeout)?;
    match output.status {
        0 => Ok(output.log),
        status => Err(DemoError::Guest {
            program,
            status,
            log: output.log,
        }),
    }
}

/// The rate in vkmark's line `[scene] options: FPS: 12 FrameTime: 80.0 ms`. The frame time has
/// more digits where the rate is low.
fn frame_rate(log: &str) -> Option<f64> {
    let line = log.lines().rfind(|line| line.contains("FPS:"))?;
    let number = |name: &str| -> Option<f64> {
        line.split_once(name)?
            .1
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    match number("FrameTime:") {
        Some(time) if time > 0.0 => Some(1000.0 / time),
        _ => number("FPS:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_comes_from_the_frame_time() {
        let log = "=====\n[vertex] duration=4: FPS: 0 FrameTime: 1250.000 ms\n=====\n";
        assert_eq!(frame_rate(log), Some(0.8));
        assert_eq!(
            frame_rate("[vertex] : FPS: 150 FrameTime: 0.000 ms"),
            Some(150.0)
        );
        assert_eq!(frame_rate("nothing"), None);
    }
}
