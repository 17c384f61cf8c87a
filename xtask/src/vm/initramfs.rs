//! The guest's kernel, and the archive it starts from.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::VmError;

/// Modules that mount a 9p root; what they depend on comes along.
const MODULES: &[&str] = &["9pnet_virtio", "9p"];

const INIT: &str = include_str!("guest/init");
const AGENT: &str = include_str!("guest/agent");

/// File kinds and permissions of archive members.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DATA: u32 = 0o100_644;

/// The version of the one kernel in the lab.
pub fn kernel_version(root: &Path) -> Result<String, VmError> {
    let boot = root.join("boot");
    let listing = fs::read_dir(&boot).map_err(VmError::io(format!("list {}", boot.display())))?;
    listing
        .flatten()
        .find_map(|entry| {
            Some(
                entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("vmlinuz-")?
                    .to_owned(),
            )
        })
        .ok_or_else(|| missing("kernel in /boot"))
}

/// An archive with busybox, the first program, the agent and the modules a guest of this lab needs.
pub fn build(root: &Path) -> Result<Vec<u8>, VmError> {
    let tree = root.join("usr/lib/modules").join(kernel_version(root)?);
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules", "new", "proc", "sys"] {
        archive.add(folder, FOLDER, &[]);
    }
    archive.add("init", PROGRAM, INIT.as_bytes());
    archive.add("agent", DATA, AGENT.as_bytes());
    archive.add(
        "bin/busybox",
        PROGRAM,
        &read(&root.join("usr/bin/busybox"))?,
    );
    let mut order = String::new();
    for module in load_order(&read_text(&tree.join("modules.dep"))?, MODULES) {
        let name = module.rsplit('/').next().unwrap_or(module);
        archive.add(&format!("modules/{name}"), DATA, &read(&tree.join(module))?);
        order.push_str(name);
        order.push('\n');
    }
    archive.add("modules/order", DATA, order.as_bytes());
    Ok(archive.finish())
}

/// Files of the modules and what they depend on, each after its own dependencies; built-in ones are not listed.
fn load_order<'a>(dependencies: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let table: HashMap<&str, (&str, Vec<&str>)> = dependencies
        .lines()
        .filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            Some((
                module_name(file),
                (file, needs.split_whitespace().collect()),
            ))
        })
        .collect();
    let mut order = Vec::new();
    for (file, needs) in wanted.iter().filter_map(|name| table.get(name)) {
        // The kernel's list names the nearest dependency first.
        for module in needs.iter().rev().chain([file]) {
            if !order.contains(module) {
                order.push(module);
            }
        }
    }
    order
}

fn module_name(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name)
}

fn missing(what: &str) -> VmError {
    VmError::Missing {
        what: what.to_owned(),
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, VmError> {
    fs::read(path).map_err(VmError::io(format!("read {}", path.display())))
}

fn read_text(path: &PathBuf) -> Result<String, VmError> {
    fs::read_to_string(path).map_err(VmError::io(format!("read {}", path.display())))
}

/// A cpio archive in the `newc` format.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    members: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.members += 1;
        // inode, mode, owner, group, links, time, size, device and special device numbers, name size, checksum.
        let fields = [
            u64::from(self.members),
            u64::from(mode),
            0,
            0,
            1,
            0,
            content.len() as u64,
            0,
            0,
            0,
            0,
            name.len() as u64 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let table = "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz\n\
                     kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz\n";
        assert_eq!(
            load_order(table, &["9pnet_virtio", "9p", "built_in"]),
            [
                "kernel/fs/netfs/netfs.ko.xz",
                "kernel/net/9p/9pnet.ko.xz",
                "kernel/net/9p/9pnet_virtio.ko.xz",
                "kernel/fs/9p/9p.ko.xz",
            ]
        );
    }

    #[test]
    fn members_are_aligned() {
        let mut archive = Archive::default();
        archive.add("abc", DATA, b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[110..121], b"abc\x00\x00\x0012345");
    }
}
