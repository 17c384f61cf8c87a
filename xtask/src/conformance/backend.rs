//! The backends that the lab has.

use std::ffi::OsString;
use std::path::Path;

use clap::ValueEnum;

use crate::coherd;
use crate::lab::Lab;

/// In the arguments of a backend, the path where it has to listen.
const SOCKET: &str = "{socket}";

/// A backend that the lab can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// coherd with Venus, on the processor
    Coherd,
    /// QEMU's vhost-user-gpu, 2D
    Qemu,
    /// QEMU's vhost-user-gpu with OpenGL
    QemuVirgl,
}

impl Backend {
    /// What reports call it, with the versions that count.
    pub fn name(self, lab: &Lab) -> String {
        let version = |part| lab.version(part).unwrap_or("unknown");
        let qemu = version("QEMU");
        match self {
            Self::Coherd => format!(
                "coherd {}, virglrenderer {}, Mesa {}",
                env!("CARGO_PKG_VERSION"),
                version("virglrenderer"),
                version("Mesa Vulkan drivers")
            ),
            Self::Qemu => format!("vhost-user-gpu of QEMU {qemu}"),
            Self::QemuVirgl => format!("vhost-user-gpu --virgl of QEMU {qemu}"),
        }
    }

    /// How the runner has to treat it.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            // Contexts on the processor of a loaded host take their time.
            Self::Coherd => &["--timeout", "60", "--require-pixels"],
            // It keeps its resources over a reset, and one case would spoil the next.
            Self::Qemu | Self::QemuVirgl => &["--timeout", "5", "--display-socket", "--fresh"],
        }
    }

    /// Its command line inside the lab.
    pub fn command(self) -> Vec<OsString> {
        let program = match self {
            Self::Coherd => coherd::program("coherd"),
            Self::Qemu | Self::QemuVirgl => Path::new("/usr/lib/qemu/vhost-user-gpu").to_owned(),
        };
        let mut command = vec![program.into(), "--socket-path".into(), SOCKET.into()];
        if self == Self::QemuVirgl {
            command.push("--virgl".into());
        }
        command
    }
}
