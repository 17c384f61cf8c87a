//! Where the host-visible window is in the guest's physical memory.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor, stat};

/// `IORESOURCE_MEM` of `include/linux/ioport.h`
const RESOURCE_MEM: u64 = 0x200;

/// How far above the virtio device its bus device is.
const LEVELS: usize = 3;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
    /// Whether it is the window itself, and not only a PCI region that it lies in.
    pub exact: bool,
}

impl Window {
    /// That of the device behind a node, if it can be found.
    pub fn of(node: &Path) -> Option<Self> {
        let number = stat(node).ok()?.st_rdev;
        let device = format!("/sys/dev/char/{}:{}/device", major(number), minor(number));
        let device = fs::canonicalize(device).ok()?;
        let memory = fs::read_to_string("/proc/iomem").unwrap_or_default();
        Self::find(&device, &memory)
    }

    /// By what the driver has claimed, which root may see, or by the largest region of the PCI
    /// device.
    fn find(device: &Path, memory: &str) -> Option<Self> {
        let claimed = virtio_device(device).and_then(|name| claimed(memory, &name));
        claimed.or_else(|| largest(&bus_device(device)?))
    }
}

/// The name of the virtio device, which is the DRM device's parent or, on PCI, a child of it.
fn virtio_device(device: &Path) -> Option<String> {
    let name = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        name.starts_with("virtio").then(|| name.to_owned())
    };
    name(device).or_else(|| {
        let children = fs::read_dir(device).ok()?.flatten();
        children
            .map(|child| child.path())
            .find_map(|path| name(&path))
    })
}

/// A line `  380000000-3bfffffff : virtio0` of /proc/iomem.
fn claimed(memory: &str, name: &str) -> Option<Window> {
    let line = memory.lines().find(|line| {
        let owner = line.split_once(" : ").map(|(_, owner)| owner.trim());
        owner == Some(name)
    })?;
    let (range, _) = line.split_once(" : ")?;
    let (start, last) = range.trim().split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let last = u64::from_str_radix(last, 16).ok()?;
    // Others than root are told zeros.
    (last > start).then_some(Window {
        start,
        end: last.saturating_add(1),
        exact: true,
    })
}

/// The folder of the PCI device, which has a file `resource`.
fn bus_device(device: &Path) -> Option<PathBuf> {
    let mut folders = device.ancestors().take(LEVELS);
    folders
        .find(|folder| folder.join("resource").is_file())
        .map(Into::into)
}

fn largest(folder: &Path) -> Option<Window> {
    let text = fs::read_to_string(folder.join("resource")).ok()?;
    let regions = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().map(|word| {
            let digits = word.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        });
        let (start, last, flags) = (words.next()??, words.next()??, words.next()??);
        (flags & RESOURCE_MEM != 0 && last > start).then_some(Window {
            start,
            end: last.saturating_add(1),
            exact: false,
        })
    });
    regions.max_by_key(|region| region.end - region.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOURCE: &str = "0x00000000febd0000 0x00000000febd0fff 0x0000000000040200\n\
                            0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                            0x000000000000c000 0x000000000000c07f 0x0000000000040101\n\
                            0x0000000380000000 0x00000003bfffffff 0x000000000014220c\n";

    fn device() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("0000:00:04.0/virtio3");
        fs::create_dir_all(&device).unwrap();
        fs::write(folder.path().join("0000:00:04.0/resource"), RESOURCE).unwrap();
        (folder, device)
    }

    #[test]
    fn range_that_the_driver_claimed_is_exact() {
        let (_folder, device) = device();
        let memory = "00000000-00000fff : Reserved\n\
                      380000000-3bfffffff : 0000:00:04.0\n  \
                      380000000-38fffffff : virtio3\n";
        let window = Window::find(&device, memory).unwrap();
        assert_eq!((window.start, window.end), (0x3_8000_0000, 0x3_9000_0000));
        assert!(window.exact);
    }

    #[test]
    fn virtio_device_of_a_pci_device_is_found() {
        let (_folder, device) = device();
        let memory = "  380000000-3bfffffff : 0000:00:04.0\n    380000000-38fffffff : virtio3\n";
        let window = Window::find(device.parent().unwrap(), memory).unwrap();
        assert_eq!((window.start, window.end), (0x3_8000_0000, 0x3_9000_0000));
    }

    #[test]
    fn largest_memory_region_is_taken_where_addresses_are_hidden() {
        let (_folder, device) = device();
        let memory = "00000000-00000000 : 0000:00:04.0\n  00000000-00000000 : virtio3\n";
        let window = Window::find(&device, memory).unwrap();
        assert_eq!((window.start, window.end), (0x3_8000_0000, 0x3_c000_0000));
        assert!(!window.exact);
    }

    #[test]
    fn device_without_regions_has_no_window() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Window::find(&folder.path().join("virtio0"), ""), None);
    }
}
