//! The demonstration: an unmodified guest under stock QEMU runs Vulkan programs through coherd.

mod film;
mod table;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use self::film::FilmError;
use self::table::Table;
use self::workload::{Driver, Scene, Vkmark};
use crate::coherd::{self, Coherd, CoherdError, Vulkan};
use crate::lab::{Lab, LabError};
use crate::progress::Progress;
use crate::vm::{Vm, VmError};

/// What a guest's `deviceName` begins with when its Vulkan goes through coherd.
const VENUS: &str = "Virtio-GPU Venus";

const BOOT: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(180);

/// Options of `cargo xtask demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave the guest up at the end, with a shell on this terminal
    #[arg(long)]
    keep: bool,
    /// Render with the GPU of this DRM render node instead of the CPU
    #[arg(long, value_name = "PATH")]
    render_node: Option<PathBuf>,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The lab does not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// coherd does not work.
    #[error(transparent)]
    Coherd(#[from] CoherdError),
    /// The guest does not work.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The film could not be made.
    #[error(transparent)]
    Film(#[from] FilmError),
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program in the guest failed.
    #[error("{program} failed in the guest with status {status}:\n{log}")]
    Guest {
        /// Which.
        program: &'static str,
        /// Its exit status.
        status: i32,
        /// What it said.
        log: String,
    },
    /// A program in the guest said something unexpected.
    #[error("{program} in the guest did not say {what}:\n{log}")]
    Unclear {
        /// Which.
        program: &'static str,
        /// What was looked for.
        what: &'static str,
        /// What it said.
        log: String,
    },
    /// The guest does not use coherd.
    #[error("the guest's Vulkan device is {0:?}, which is not coherd's")]
    WrongDevice(String),
}

/// Runs the demonstration; the last line on standard output tells how it went.
///
/// # Errors
/// See [`DemoError`].
pub fn run(args: &DemoArgs, progress: &Progress) -> Result<(), DemoError> {
    let lab = Lab::ensure(progress)?;
    coherd::build(&lab, progress)?;
    let output = lab.checkout().join("target/demo");
    write(&output, |output| fs::create_dir_all(output))?;

    let node = args
        .render_node
        .as_ref()
        .map(|path| path.display().to_string());
    let (vulkan, arguments) = match &node {
        Some(node) => (Vulkan::Host, vec!["--render-node", node]),
        None if Path::new("/dev/udmabuf").exists() => (Vulkan::Host, Vec::new()),
        None => {
            progress.say("this host has no /dev/udmabuf: the renderer gets a stand-in for it");
            (Vulkan::Exporting, Vec::new())
        }
    };
    let daemon = Coherd::start(&lab, vulkan, &arguments)?;
    progress.say("coherd is ready; booting a guest under QEMU");
    let vm = boot(&lab, daemon.socket(), progress)?;
    progress.say(&format!("the guest is up ({:?})", vm.accel()));

    let device = show_device(&vm, &output, progress)?;
    let table = measure(&vm, &output, progress)?;
    println!("\n{table}");
    println!("picture: {}", output.join("frame.png").display());
    println!("film:    {}", output.join("film.png").display());
    if args.keep {
        progress.say("a shell in the guest; vkmark and vulkaninfo are there; exit ends it");
        vm.interact()?;
    }
    vm.stop();
    println!("demo: ok - {device}");
    Ok(())
}

/// Has a guest draw the film with the GPU that listens at `socket`, and tells with which device and
/// how fast.
///
/// # Errors
/// See [`DemoError`].
pub fn draw(lab: &Lab, socket: &Path, progress: &Progress) -> Result<String, DemoError> {
    let vm = boot(lab, socket, progress)?;
    let film = Scene {
        keep: false,
        ..Scene::FILM
    };
    let report = workload::scene(&vm, Driver::Coherd, &film, progress)?;
    let name = device_name(&report)?;
    vm.stop();
    let (frames, median) = (film.frames, median(&report));
    Ok(format!("{name}: {frames} frames, {median} us each"))
}

fn boot(lab: &Lab, socket: &Path, progress: &Progress) -> Result<Vm, DemoError> {
    let vm = Vm::builder(lab).gpu_socket(socket).start(progress)?;
    let _waiting = progress.waiting("booting the guest");
    vm.wait_ready(BOOT)?;
    Ok(vm)
}

/// What a scene was drawn with, which has to be coherd.
fn device_name(report: &Value) -> Result<String, DemoError> {
    let name = report["device"]["name"].as_str().unwrap_or_default();
    match name.starts_with(VENUS) {
        true => Ok(name.to_owned()),
        false => Err(DemoError::WrongDevice(name.to_owned())),
    }
}

/// Microseconds a frame.
fn median(report: &Value) -> u64 {
    report["time_us"]["median"].as_u64().unwrap_or(0)
}

/// Runs `vulkaninfo`, keeps its output, prints what matters and returns the device's name.
fn show_device(vm: &Vm, output: &Path, progress: &Progress) -> Result<String, DemoError> {
    progress.say("running vulkaninfo in the guest");
    let info = workload::vulkaninfo(vm)?;
    write(&output.join("vulkaninfo.txt"), |path| {
        fs::write(path, &info)
    })?;
    let scene = workload::scene(vm, Driver::Coherd, &Scene::QUICK, progress)?;
    let device = &scene["device"];
    let text = |key: &str| device[key].as_str().unwrap_or_default().to_owned();
    let name = device_name(&scene)?;
    println!("device:      {name}");
    println!("API version: {}", text("api_version"));
    println!(
        "driver:      {} {}",
        text("driver_name"),
        text("driver_info")
    );
    for memory_type in device["memory_types"].as_array().into_iter().flatten() {
        let properties: Vec<&str> = memory_type["properties"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        println!(
            "memory type: {} {}",
            memory_type["index"],
            properties.join(" | ")
        );
    }
    Ok(name)
}

/// Runs the same work through coherd and on the guest's own lavapipe.
fn measure(vm: &Vm, output: &Path, progress: &Progress) -> Result<Table, DemoError> {
    let mut table = Table::default();
    for scene in Vkmark::SCENES {
        let ours = workload::vkmark(vm, Driver::Coherd, scene, progress)?;
        let alone = workload::vkmark(vm, Driver::Lavapipe, scene, progress)?;
        table.add_rate(&format!("vkmark {}", scene.name), ours, alone);
    }
    let ours = workload::scene(vm, Driver::Coherd, &Scene::FILM, progress)?;
    film::write(vm.share(), &Scene::FILM, output)?;
    let alone = workload::scene(vm, Driver::Lavapipe, &Scene::ALONE, progress)?;
    table.add_time("frame of our scene, ms", median(&ours), median(&alone));
    Ok(table)
}

fn write(path: &Path, action: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), DemoError> {
    action(path).map_err(|source| DemoError::Write {
        path: path.to_owned(),
        source,
    })
}
