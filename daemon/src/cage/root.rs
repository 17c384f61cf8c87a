//! A root of the process's own: an empty file system in memory with mounts of what is shown.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Component, Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, chroot, pivot_root};

use super::plan::{Access, Plan, Proc, Shown};
use super::{CageError, Sandbox};

/// Where the root is put together. What it hides there was opened before.
const BASES: [&str; 4] = ["/tmp", "/run", "/mnt", "/var"];

/// Links from path to path that are followed at most, as in the kernel.
const LINKS: usize = 40;

/// What is at a path of the new root.
enum Entry {
    Link(PathBuf),
    Mount { tree: OwnedFd, folder: bool },
}

/// Makes the root and enters it.
pub fn enter(plan: &Plan, sandbox: Sandbox) -> Result<(), CageError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(CageError::root("keep mounts from the host"))?;
    let entries = open(plan)?;
    let base = BASES.into_iter().map(Path::new).find(|base| base.is_dir());
    let base = base.unwrap_or(Path::new("/"));
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    mount("coherd", base, "tmpfs", plain, c"mode=755,size=1m")
        .map_err(CageError::root("mount a file system in memory"))?;
    chdir(base).map_err(CageError::root("go to the new root"))?;
    for (path, entry) in entries {
        let inside = path.strip_prefix("/").unwrap_or(&path);
        place(inside, entry).map_err(|source| CageError::Root {
            action: format!("show {}", path.display()),
            source,
        })?;
    }
    make_folder(Path::new("tmp")).map_err(|error| CageError::root("make /tmp")(of_io(&error)))?;
    let data = plain | MountFlags::NOEXEC;
    mount("coherd", "tmp", "tmpfs", data, c"mode=700,size=16m")
        .map_err(CageError::root("mount /tmp"))?;
    mount_proc(plan.proc)?;
    match sandbox {
        Sandbox::Chroot => chroot(".").map_err(CageError::root("change the root"))?,
        _ => {
            // With the same folder twice the old root ends up on top of the new one.
            pivot_root(".", ".").map_err(CageError::root("change the root"))?;
            unmount(".", UnmountFlags::DETACH).map_err(CageError::root("leave the old root"))?;
        }
    }
    chdir("/").map_err(CageError::root("go to the new root"))?;
    let new_root = open_path("/").map_err(CageError::root("look at the new root"))?;
    restrict(&new_root, libc::MOUNT_ATTR_RDONLY, false)
        .map_err(CageError::root("make the new root read-only"))?;
    redirect_folders(&new_root).map_err(CageError::root("leave open folders"))
}

/// A folder that was open is a way out of the cage: `..` leads on. Whoever has it keeps its number,
/// which is the cage's root from now on.
fn redirect_folders(new_root: &OwnedFd) -> Result<(), Errno> {
    use rustix::fs::{FileType, fstat};

    let listing = fs::read_dir("/proc/self/fd").map_err(|error| of_io(&error))?;
    let numbers: Vec<RawFd> = listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers {
        // SAFETY: the number was open just now, and this process has one thread; the folder of
        // the listing itself is closed, which fstat finds out.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let is_folder = fstat(fd)
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Directory);
        if is_folder && number != new_root.as_raw_fd() {
            // SAFETY: both are open; what `number` meant is closed by the kernel.
            let result = unsafe { libc::dup3(new_root.as_raw_fd(), number, libc::O_CLOEXEC) };
            if result < 0 {
                return Err(of_io(&io::Error::last_os_error()));
            }
        }
    }
    Ok(())
}

/// Every mount is opened before the first is made, since those hide things.
fn open(plan: &Plan) -> Result<BTreeMap<PathBuf, Entry>, CageError> {
    let mut entries = BTreeMap::new();
    for shown in &plan.shown {
        let opened = reveal(shown, &mut entries);
        match opened {
            Err(error) if shown.required => {
                return Err(CageError::Show {
                    path: shown.path.clone(),
                    source: error.into(),
                });
            }
            _ => {}
        }
    }
    // What is below something that is shown is there already.
    let roots: Vec<PathBuf> = entries.keys().cloned().collect();
    let within = |path: &PathBuf| {
        let is_mount = |above: &&PathBuf| matches!(entries.get(*above), Some(Entry::Mount { .. }));
        let mut above = roots
            .iter()
            .filter(|root| *root != path && path.starts_with(root));
        above.any(|root| is_mount(&root))
    };
    let hidden: Vec<PathBuf> = roots.iter().filter(|path| within(path)).cloned().collect();
    for path in hidden {
        entries.remove(&path);
    }
    Ok(entries)
}

/// Adds what is shown: each link on the way, and a copy of the mount at its end.
fn reveal(shown: &Shown, entries: &mut BTreeMap<PathBuf, Entry>) -> Result<(), Errno> {
    let target = if shown.at == shown.path {
        follow(&shown.path, entries)?
    } else {
        shown.at.clone()
    };
    if entries.contains_key(&target) {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, &shown.path, flags)?;
    restrict(&tree, attributes(shown.access), true)?;
    let folder = fs::metadata(&shown.path)
        .map_err(|error| of_io(&error))?
        .is_dir();
    entries.insert(target, Entry::Mount { tree, folder });
    Ok(())
}

/// The path without links; those that were followed become entries.
fn follow(path: &Path, entries: &mut BTreeMap<PathBuf, Entry>) -> Result<PathBuf, Errno> {
    let mut rest: Vec<PathBuf> = parts(path);
    let mut done = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            done.pop();
            continue;
        }
        let here = done.join(&part);
        let metadata = fs::symlink_metadata(&here).map_err(|error| of_io(&error))?;
        if !metadata.is_symlink() {
            done = here;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Errno::LOOP);
        }
        let target = fs::read_link(&here).map_err(|error| of_io(&error))?;
        rest.extend(parts(&target));
        if target.is_absolute() {
            done = PathBuf::from("/");
        }
        entries.insert(here, Entry::Link(target));
    }
    Ok(done)
}

/// Its components but the root, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

fn attributes(access: Access) -> u64 {
    let nothing = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    match access {
        Access::Data => nothing | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
        Access::Code | Access::Program => nothing | libc::MOUNT_ATTR_NODEV,
        // What is written to a device is not written to its mount.
        Access::Device => nothing | libc::MOUNT_ATTR_NOEXEC,
        Access::Cache => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
    }
}

/// Adds restrictions to a mount; those it has stay. rustix has no mount_setattr.
fn restrict(mount: &OwnedFd, attributes: u64, recursive: bool) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, and the attributes are as large as is said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(of_io(&io::Error::last_os_error())),
    }
}

/// Puts an entry at `path`, which is relative to the new root.
fn place(path: &Path, entry: Entry) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    match entry {
        Entry::Link(target) => symlink(target, path),
        Entry::Mount { tree, folder } => {
            if folder {
                make_folder(path)?;
            } else {
                File::create(path)?;
            }
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            Ok(move_mount(tree.as_fd(), "", CWD, path, flags)?)
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// The processes of this pid namespace, unchangeable. Root's files in /proc/sys obey root's
/// number, whatever its capabilities.
fn mount_proc(proc: Proc) -> Result<(), CageError> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    make_folder(Path::new("proc")).map_err(CageError::Proc)?;
    let options = match proc {
        Proc::Processes => c"subset=pid",
        Proc::Whole => c"",
    };
    mount("proc", "proc", "proc", flags, options).map_err(|errno| CageError::Proc(errno.into()))
}

fn open_path(path: &str) -> Result<OwnedFd, Errno> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn of_io(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::IO, Errno::from_raw_os_error)
}
