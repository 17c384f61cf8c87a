//! Finding coherd's device.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use coherd_protocol::blob_context::{CAPSET_BLOB, VERSION};
use thiserror::Error;

use crate::access::SharedMap;
use crate::transport::Transport;
use crate::uapi::{BlobFlags, BlobHandle, Parameter, calls};

/// Where the kernel puts device nodes.
const NODES: &str = "/dev/dri";

/// The name of the driver.
const DRIVER: &str = "virtio_gpu";

/// Rings of a context. One is enough: the host executes a context's commands in order anyway.
const RINGS: u32 = 1;

/// Why no context could be opened.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The kernel has no device node for rendering.
    #[error(
        "no render node in /dev/dri; the VM needs a virtio-gpu from coherd, and the guest's kernel the driver virtio_gpu"
    )]
    NoNode,
    /// There are render nodes, and none is of the right device.
    #[error(
        "none of the render nodes is a virtio-gpu with a blob context ({found}); the VM needs one from coherd"
    )]
    NoDevice {
        /// What each node is, for people.
        found: String,
    },
    /// A render node could not be opened.
    #[error("cannot open {}{}", path.display(), hint(source))]
    Open {
        /// The node.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device is there and cannot do what is needed.
    #[error("{} is {what}", path.display())]
    Unsuitable {
        /// The node.
        path: PathBuf,
        /// What it is instead.
        what: Unsuitable,
    },
    /// The kernel refused something.
    #[error("cannot {action}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Why a device will not do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unsuitable {
    /// No DRM device.
    #[error("not a DRM device")]
    NotDrm,
    /// Not a virtio-gpu.
    #[error("of the driver {0:?}, not a virtio-gpu")]
    Driver(String),
    /// The kernel is too old.
    #[error("a virtio-gpu whose driver has no context types; Linux 5.16 or later is needed")]
    Kernel,
    /// The host has no such context type.
    #[error(
        "a virtio-gpu without a blob context (capset 28); its host is not coherd, or runs without a renderer for it"
    )]
    Capset,
    /// There is no window.
    #[error(
        "a virtio-gpu without a host-visible window; the VMM has to pass it on (on QEMU by vhost-user-test-device-pci)"
    )]
    Window,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; add the user to the group of the node, often `render`"
        }
        _ => "",
    }
}

/// A render node that is a context of the blob type.
#[derive(Debug)]
pub(crate) struct RenderNode {
    file: File,
}

impl RenderNode {
    /// Opens a node, or the first of `/dev/dri` that will do.
    pub fn open(path: Option<&Path>) -> Result<(Self, PathBuf), DeviceError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => find(Path::new(NODES))?,
        };
        let file = open(&path)?;
        if let Some(what) = inspect(file.as_fd()) {
            return Err(DeviceError::Unsuitable { path, what });
        }
        calls::init_context(file.as_fd(), CAPSET_BLOB, RINGS).map_err(|source| {
            DeviceError::Kernel {
                action: "make a blob context",
                source,
            }
        })?;
        Ok((Self { file }, path))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open(path: &Path) -> Result<File, DeviceError> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.map_err(|source| DeviceError::Open {
        path: path.to_owned(),
        source,
    })
}

/// The first node that will do, in the order of their numbers.
fn find(folder: &Path) -> Result<PathBuf, DeviceError> {
    let (mut found, mut closed) = (Vec::new(), None);
    for path in render_nodes(folder) {
        match open(&path) {
            Err(error) => closed = closed.or(Some(error)),
            Ok(file) => match inspect(file.as_fd()) {
                None => return Ok(path),
                Some(what) => found.push((path, what)),
            },
        }
    }
    if let Some(error) = closed {
        return Err(error);
    }
    match <[_; 1]>::try_from(found) {
        // With one device there is one thing to say.
        Ok([(path, what)]) => Err(DeviceError::Unsuitable { path, what }),
        Err(found) if found.is_empty() => Err(DeviceError::NoNode),
        Err(found) => {
            let each = found
                .iter()
                .map(|(path, what)| format!("{} is {what}", path.display()));
            Err(DeviceError::NoDevice {
                found: each.collect::<Vec<_>>().join("; "),
            })
        }
    }
}

fn render_nodes(folder: &Path) -> Vec<PathBuf> {
    let number = |path: &PathBuf| -> Option<u32> {
        path.file_name()?
            .to_str()?
            .strip_prefix("renderD")?
            .parse()
            .ok()
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut nodes: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| number(path).is_some())
        .collect();
    nodes.sort_by_key(number);
    nodes
}

/// Why a device will not do, if so.
fn inspect(fd: BorrowedFd<'_>) -> Option<Unsuitable> {
    match calls::driver_name(fd) {
        Err(_) => return Some(Unsuitable::NotDrm),
        Ok(driver) if driver != DRIVER => return Some(Unsuitable::Driver(driver)),
        Ok(_) => {}
    }
    let has = |parameter| calls::parameter(fd, parameter).is_ok_and(|value| value != 0);
    if !has(Parameter::ContextInit) {
        return Some(Unsuitable::Kernel);
    }
    let capsets = calls::parameter(fd, Parameter::SupportedCapsetIds).unwrap_or(0);
    if capsets & (1 << CAPSET_BLOB) == 0 {
        return Some(Unsuitable::Capset);
    }
    (!has(Parameter::HostVisible)).then_some(Unsuitable::Window)
}

impl Transport for RenderNode {
    fn capset(&self, out: &mut [u8]) -> io::Result<()> {
        calls::capset(self.fd(), CAPSET_BLOB, VERSION, out)
    }

    fn create_guest_blob(&self, size: u64) -> io::Result<BlobHandle> {
        calls::create_guest_blob(self.fd(), size)
    }

    fn create_host_blob(
        &self,
        blob_id: u64,
        size: u64,
        flags: BlobFlags,
    ) -> io::Result<BlobHandle> {
        calls::create_host_blob(self.fd(), blob_id, size, flags)
    }

    fn close(&self, handle: u32) {
        // It fails only for what is no handle.
        let _ = calls::close(self.fd(), handle);
    }

    fn map(&self, handle: u32, len: usize) -> io::Result<SharedMap> {
        let offset = calls::map_offset(self.fd(), handle)?;
        SharedMap::new(self.fd(), offset, len)
    }

    fn submit(&self, stream: &[u8]) -> io::Result<()> {
        calls::submit(self.fd(), stream)
    }

    fn submit_fenced(&self, stream: &[u8]) -> io::Result<OwnedFd> {
        calls::submit_fenced(self.fd(), stream)
    }

    fn export(&self, handle: u32) -> io::Result<OwnedFd> {
        calls::export(self.fd(), handle)
    }

    fn import(&self, file: BorrowedFd<'_>) -> io::Result<BlobHandle> {
        let handle = calls::import(self.fd(), file)?;
        let resource_id = calls::resource_id(self.fd(), handle)?;
        Ok(BlobHandle {
            handle,
            resource_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_taken_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["renderD129", "card0", "renderD128", "by-path", "renderDx"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = render_nodes(folder.path())
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["renderD128", "renderD129"]);
    }

    #[test]
    fn no_node_at_all_says_what_the_vm_needs() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(folder.path()).unwrap_err();
        assert!(matches!(error, DeviceError::NoNode));
        assert!(error.to_string().contains("needs a virtio-gpu from coherd"));
    }

    #[test]
    fn files_that_are_no_devices_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("renderD128"), "").unwrap();
        let one = find(folder.path()).unwrap_err();
        assert!(
            matches!(
                one,
                DeviceError::Unsuitable {
                    what: Unsuitable::NotDrm,
                    ..
                }
            ),
            "{one}"
        );

        fs::write(folder.path().join("renderD129"), "").unwrap();
        let two = find(folder.path()).unwrap_err().to_string();
        assert!(
            two.contains("renderD128 is") && two.contains("renderD129 is"),
            "{two}"
        );
    }

    #[test]
    fn node_that_is_not_there_is_named() {
        let error = RenderNode::open(Some(Path::new("/nonexistent/renderD128"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /nonexistent/renderD128");
    }
}
