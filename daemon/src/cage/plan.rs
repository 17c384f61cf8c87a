//! What of the host has to be seen from the cage. Lists, and nothing that touches the host but
//! to look which GPUs it has.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Vulkan drivers that need the same of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriverFamily {
    /// Mesa's driver for the CPU, which makes machine code at run time.
    Lavapipe,
    /// Mesa's drivers for GPUs.
    Mesa,
    /// NVIDIA's own.
    Nvidia,
}

/// What may be done with something of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Data,
    /// Read and mapped as code.
    Code,
    /// Read and executed as a program.
    Program,
    /// Opened as a device, for reading and writing.
    Device,
    /// Read and written.
    Cache,
}

/// Something of the host that is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where it is on the host.
    pub path: PathBuf,
    /// Where it is in the cage.
    pub at: PathBuf,
    /// What for.
    pub access: Access,
    /// Without it the cage is not entered; else it may be absent.
    pub required: bool,
}

/// How much of /proc there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proc {
    /// The processes of the cage.
    Processes,
    /// What else the kernel tells of itself, for reading.
    Whole,
}

/// A GPU of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its render node.
    pub node: PathBuf,
    /// The name of its kernel driver.
    pub driver: String,
}

/// What the daemon is about to do.
#[derive(Clone, Debug, Default)]
pub struct Purpose {
    /// Whether it uses Vulkan.
    pub vulkan: bool,
    /// The render node that was asked for.
    pub render_node: Option<PathBuf>,
    /// The render server's program, if one will be started.
    pub server: Option<PathBuf>,
    /// The Vulkan layer beside the program, where packages did not put it.
    pub layer: Option<PathBuf>,
    /// The folder for compiled shaders, if they are kept.
    pub shader_cache: Option<PathBuf>,
}

/// What of the host is seen, and what follows from the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Files, folders and devices.
    pub shown: Vec<Shown>,
    /// How much of /proc.
    pub proc: Proc,
    /// Whether memory may become code: the driver is a compiler.
    pub jit: bool,
    /// The render server's program.
    pub server: Option<PathBuf>,
}

/// Libraries, and what finds them.
const CODE: [&str; 8] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/gnu/store",
    "/run/opengl-driver",
];

/// What the dynamic and the Vulkan loader and Mesa read.
const DATA: [&str; 7] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/vulkan",
    "/usr/share/vulkan",
    "/usr/local/share/vulkan",
    "/usr/share/drirc.d",
    "/etc/drirc",
];

/// Devices without which programs fail, and one that CPU drivers export memory with.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/udmabuf"];

/// Where the layer that hides extensions is looked for, besides beside the program.
const LAYER_AT: &str = "/usr/libexec/coherd/libVkLayer_coherd.so";

/// Variables of the loaders that name files or folders, separated by colons.
const PATH_VARIABLES: [&str; 7] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "VK_ADD_DRIVER_FILES",
    "VK_ADD_LAYER_PATH",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_LAYER_PATH",
];

impl DriverFamily {
    /// The family that drives a GPU, by its kernel driver.
    pub fn of_kernel_driver(name: &str) -> Self {
        match name {
            "nvidia" => Self::Nvidia,
            _ => Self::Mesa,
        }
    }

    /// Devices beside the render node.
    fn devices(self) -> &'static [&'static str] {
        match self {
            Self::Lavapipe | Self::Mesa => &[],
            Self::Nvidia => &[
                "/dev/nvidiactl",
                "/dev/nvidia-uvm",
                "/dev/nvidia-uvm-tools",
                "/dev/nvidia-modeset",
                "/dev/nvidia-caps",
            ],
        }
    }

    /// Files that tell of the hardware, and of the driver's peculiarities.
    fn data(self) -> &'static [&'static str] {
        match self {
            Self::Lavapipe => &["/sys/devices/system/cpu"],
            Self::Mesa => &[
                "/sys/bus/pci",
                "/sys/class/drm",
                "/sys/dev/char",
                "/sys/devices",
                "/usr/share/libdrm",
            ],
            Self::Nvidia => &[
                "/etc/glvnd",
                "/etc/nvidia",
                "/sys/bus/pci",
                "/sys/class/drm",
                "/sys/dev/char",
                "/sys/devices",
                "/sys/module/nvidia",
                "/usr/share/glvnd",
                "/usr/share/nvidia",
            ],
        }
    }

    /// NVIDIA's libraries read /proc/driver/nvidia and /proc/devices.
    fn proc(self) -> Proc {
        match self {
            Self::Nvidia => Proc::Whole,
            Self::Lavapipe | Self::Mesa => Proc::Processes,
        }
    }
}

impl Plan {
    /// What `purpose` needs on a host with these GPUs. `variable` looks in the environment.
    pub fn new(
        purpose: Purpose,
        gpus: &[Gpu],
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Self {
        let wanted = |gpu: &&Gpu| {
            purpose
                .render_node
                .as_ref()
                .is_none_or(|node| *node == gpu.node)
        };
        let gpus: Vec<&Gpu> = gpus.iter().filter(wanted).collect();
        let mut families: Vec<DriverFamily> = gpus
            .iter()
            .map(|gpu| DriverFamily::of_kernel_driver(&gpu.driver))
            .collect();
        families.sort_unstable();
        families.dedup();
        if families.is_empty() {
            families.push(DriverFamily::Lavapipe);
        }
        let mut shown = Vec::new();
        if purpose.vulkan {
            let named = PATH_VARIABLES.iter().filter_map(|name| variable(name));
            shown = of_families(&families);
            shown.extend(of_gpus(&gpus));
            shown.extend(named.flat_map(|value| of_variable(&value)));
        }
        let one = |path, at: &Path, access| Shown {
            path,
            at: at.to_owned(),
            access,
            required: true,
        };
        let whole = families.iter().any(|family| family.proc() == Proc::Whole);
        if let Some(layer) = purpose.layer {
            shown.push(one(layer, Path::new(LAYER_AT), Access::Code));
        }
        if let Some(server) = &purpose.server {
            shown.push(one(server.clone(), server, Access::Program));
        }
        if let Some(cache) = &purpose.shader_cache {
            shown.push(one(cache.clone(), cache, Access::Cache));
        }
        Self {
            shown,
            proc: if whole && purpose.vulkan {
                Proc::Whole
            } else {
                Proc::Processes
            },
            jit: purpose.vulkan && families.contains(&DriverFamily::Lavapipe),
            server: purpose.server,
        }
    }

    /// The folder for compiled shaders.
    pub fn shader_cache(&self) -> Option<&Path> {
        let mut shown = self.shown.iter();
        let cache = shown.find(|one| one.access == Access::Cache);
        cache.map(|one| one.at.as_path())
    }
}

fn of_families(families: &[DriverFamily]) -> Vec<Shown> {
    let all = |paths: &[&str], access| -> Vec<Shown> {
        let one = |path: &&str| optional(Path::new(path), access);
        paths.iter().map(one).collect()
    };
    let mut shown = all(&CODE, Access::Code);
    shown.extend(all(&DATA, Access::Data));
    shown.extend(all(&DEVICES, Access::Device));
    for family in families {
        shown.extend(all(family.data(), Access::Data));
        shown.extend(all(family.devices(), Access::Device));
    }
    shown
}

/// The GPUs themselves. NVIDIA has a device of its own for each card, and the cards are numbered
/// by a minor number that only the driver knows: all are shown.
fn of_gpus(gpus: &[&Gpu]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = gpus
        .iter()
        .map(|gpu| Shown {
            required: true,
            ..optional(&gpu.node, Access::Device)
        })
        .collect();
    let nvidia = |gpu: &&Gpu| DriverFamily::of_kernel_driver(&gpu.driver) == DriverFamily::Nvidia;
    if gpus.iter().any(nvidia) {
        let cards = (0..16).map(|number| PathBuf::from(format!("/dev/nvidia{number}")));
        shown.extend(cards.map(|card| optional(&card, Access::Device)));
    }
    shown
}

/// A file of a loader's variable, with what is beside it: a manifest names a library there.
fn of_variable(value: &OsStr) -> Vec<Shown> {
    std::env::split_paths(value)
        .filter(|path| path.is_absolute())
        .map(|path| match path.extension() {
            Some(end) if end == "json" => path.parent().unwrap_or(&path).to_owned(),
            _ => path,
        })
        .map(|path| optional(&path, Access::Code))
        .collect()
}

fn optional(path: &Path, access: Access) -> Shown {
    Shown {
        path: path.to_owned(),
        at: path.to_owned(),
        access,
        required: false,
    }
}

/// The GPUs below `root`, which is `/` but for tests. Virtual ones have no driver with a bus.
pub fn gpus(root: &Path) -> Vec<Gpu> {
    let Ok(listing) = fs::read_dir(root.join("sys/class/drm")) else {
        return Vec::new();
    };
    let mut gpus: Vec<Gpu> = listing
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str().filter(|name| name.starts_with("renderD"))?;
            let driver = fs::read_link(entry.path().join("device/driver")).ok()?;
            let driver = driver.file_name()?.to_str()?.to_owned();
            let node = Path::new("/dev/dri").join(name);
            (!matches!(driver.as_str(), "vgem" | "vkms")).then_some(Gpu { node, driver })
        })
        .collect();
    gpus.sort_by(|a, b| a.node.cmp(&b.node));
    gpus
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn vulkan() -> Purpose {
        Purpose {
            vulkan: true,
            ..Purpose::default()
        }
    }

    fn gpu(number: u32, driver: &str) -> Gpu {
        Gpu {
            node: format!("/dev/dri/renderD{number}").into(),
            driver: driver.into(),
        }
    }

    fn plan(purpose: Purpose, gpus: &[Gpu]) -> Plan {
        Plan::new(purpose, gpus, |_| None)
    }

    fn devices(plan: &Plan) -> Vec<&str> {
        let devices = plan.shown.iter().filter(|one| one.access == Access::Device);
        devices.map(|one| one.path.to_str().unwrap()).collect()
    }

    #[test]
    fn framebuffer_needs_nothing_of_the_host() {
        let plan = plan(Purpose::default(), &[gpu(128, "amdgpu")]);
        assert_eq!(plan.shown, []);
        assert!(!plan.jit);
    }

    #[test]
    fn cpu_driver_alone_may_make_code_and_sees_no_gpu() {
        let lavapipe = plan(vulkan(), &[]);
        assert!(lavapipe.jit);
        assert_eq!(
            devices(&lavapipe),
            ["/dev/null", "/dev/urandom", "/dev/udmabuf"]
        );
        for driver in [
            "amdgpu", "i915", "xe", "nouveau", "msm", "panfrost", "nvidia",
        ] {
            assert!(!plan(vulkan(), &[gpu(128, driver)]).jit, "{driver}");
        }
    }

    #[test]
    fn mesa_sees_its_render_node_and_what_the_bus_tells() {
        let plan = plan(vulkan(), &[gpu(128, "i915"), gpu(129, "amdgpu")]);
        assert!(devices(&plan).contains(&"/dev/dri/renderD128"));
        assert!(devices(&plan).contains(&"/dev/dri/renderD129"));
        assert!(!devices(&plan).iter().any(|path| path.contains("nvidia")));
        let sees = |path: &str| plan.shown.iter().any(|one| one.path == Path::new(path));
        assert!(sees("/sys/dev/char") && sees("/sys/devices"));
        assert_eq!(plan.proc, Proc::Processes);
    }

    #[test]
    fn nvidia_sees_its_control_devices_and_what_the_kernel_tells() {
        let plan = plan(vulkan(), &[gpu(128, "nvidia")]);
        for device in [
            "/dev/nvidiactl",
            "/dev/nvidia-uvm",
            "/dev/nvidia0",
            "/dev/dri/renderD128",
        ] {
            assert!(devices(&plan).contains(&device), "{device}");
        }
        assert_eq!(plan.proc, Proc::Whole);
    }

    #[test]
    fn chosen_gpu_is_the_only_one() {
        let purpose = Purpose {
            render_node: Some("/dev/dri/renderD129".into()),
            ..vulkan()
        };
        let plan = plan(purpose, &[gpu(128, "nvidia"), gpu(129, "xe")]);
        assert!(!devices(&plan).iter().any(|path| path.contains("nvidia")));
        assert!(!devices(&plan).contains(&"/dev/dri/renderD128"));
        assert!(devices(&plan).contains(&"/dev/dri/renderD129"));
    }

    #[test]
    fn no_device_but_a_cache_can_be_written() {
        let purpose = Purpose {
            shader_cache: Some("/var/cache/coherd".into()),
            server: Some("/usr/libexec/virgl_render_server".into()),
            ..vulkan()
        };
        let plan = plan(purpose, &[gpu(128, "amdgpu"), gpu(129, "nvidia")]);
        let written = plan.shown.iter().filter(|one| one.access == Access::Cache);
        assert_eq!(written.count(), 1);
        let programs = plan
            .shown
            .iter()
            .filter(|one| one.access == Access::Program);
        assert_eq!(programs.count(), 1);
        for one in &plan.shown {
            let path = one.path.to_str().unwrap();
            assert_eq!(one.access == Access::Device, path.starts_with("/dev/"));
        }
    }

    #[test]
    fn what_the_environment_names_is_seen() {
        let variable = |name: &str| match name {
            "VK_DRIVER_FILES" => Some("/opt/mesa/share/icd.json:relative".into()),
            "LD_LIBRARY_PATH" => Some("/opt/mesa/lib".into()),
            _ => None,
        };
        let plan = Plan::new(vulkan(), &[], variable);
        let code = |path: &str| {
            let found = plan.shown.iter().find(|one| one.path == Path::new(path));
            found.is_some_and(|one| one.access == Access::Code)
        };
        assert!(code("/opt/mesa/share") && code("/opt/mesa/lib"));
        assert!(plan.shown.iter().all(|one| one.path.is_absolute()));
    }

    #[test]
    fn gpus_are_found_with_their_drivers() {
        let root = tempfile::tempdir().unwrap();
        let drm = root.path().join("sys/class/drm");
        for (node, driver) in [
            ("renderD129", Some("nvidia")),
            ("renderD128", Some("i915")),
            ("renderD130", Some("vgem")),
            ("renderD131", None),
            ("card0", Some("i915")),
        ] {
            let device = drm.join(node).join("device");
            fs::create_dir_all(&device).unwrap();
            if let Some(driver) = driver {
                let target = Path::new("../../../bus/pci/drivers").join(driver);
                symlink(target, device.join("driver")).unwrap();
            }
        }
        assert_eq!(gpus(root.path()), [gpu(128, "i915"), gpu(129, "nvidia")]);
        assert_eq!(gpus(Path::new("/nonexistent")), []);
    }
}
