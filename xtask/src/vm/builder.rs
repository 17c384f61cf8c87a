//! The parts of a guest, and QEMU's command line for them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::agent::Agent;
use super::qemu::{CONSOLE, KEYS, OUTPUT, Qemu};
use super::qmp::Qmp;
use super::{Accel, Vm, VmError, autopsy, initramfs};
use crate::lab::{Lab, ROOT, SOURCE};
use crate::progress::Progress;

/// Where QEMU sees the writable share.
const SHARE: &str = "/run/share";

/// Names of the sockets between QEMU and this program.
const QMP: &str = "qmp";
const AGENT: &str = "agent";
const TERMINAL: &str = "terminal";

/// A guest that has not been started.
#[derive(Debug)]
pub struct Builder<'lab> {
    lab: &'lab Lab,
    memory_mib: u32,
    cpus: u32,
    gpu_socket: Option<PathBuf>,
    load_gpu: bool,
    kernel_arguments: String,
    share: Option<PathBuf>,
    extra: Vec<OsString>,
}

impl<'lab> Builder<'lab> {
    pub(super) fn new(lab: &'lab Lab) -> Self {
        Self {
            lab,
            memory_mib: 2048,
            cpus: 2,
            gpu_socket: None,
            load_gpu: true,
            kernel_arguments: String::new(),
            share: None,
            extra: Vec::new(),
        }
    }

    /// Memory of the guest; 2 GiB if not said.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Processors of the guest; 2 if not said.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Gives the guest a virtio-gpu whose back-end listens here, a path that is the same inside the lab.
    #[must_use]
    pub fn gpu_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.gpu_socket = Some(path.into());
        self
    }

    /// Whether the guest loads its virtio-gpu driver before it is ready; it does if not said.
    #[must_use]
    pub fn load_gpu(mut self, load: bool) -> Self {
        self.load_gpu = load;
        self
    }

    /// More arguments for the guest's kernel, separated by spaces.
    #[must_use]
    pub fn kernel_arguments(mut self, more: impl Into<String>) -> Self {
        self.kernel_arguments = more.into();
        self
    }

    /// The host folder that is writable at `/share` in the guest; one in the lab's run folder if not said.
    #[must_use]
    pub fn share(mut self, folder: impl Into<PathBuf>) -> Self {
        self.share = Some(folder.into());
        self
    }

    /// More arguments for QEMU, after all others.
    #[must_use]
    pub fn arguments<S: Into<OsString>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.extra.extend(more.into_iter().map(Into::into));
        self
    }

    /// Starts QEMU; the guest's own start is waited for with [`Vm::wait_ready`].
    ///
    /// QEMU is killed when the thread that calls this ends.
    pub fn start(self, progress: &Progress) -> Result<Vm, VmError> {
        let accel = Accel::detect(self.lab, progress)?;
        let dir = new_dir(self.lab.run_dir())?;
        let share = self.share.clone().unwrap_or_else(|| dir.join("share"));
        fs::create_dir_all(&share).map_err(VmError::io(format!(
            "create the folder {}",
            share.display()
        )))?;
        let initrd = dir.join("initrd");
        fs::write(&initrd, initramfs::build(self.lab.root())?)
            .map_err(VmError::io(format!("write {}", initrd.display())))?;
        let output = dir.join(OUTPUT);
        let output =
            File::create(&output).map_err(VmError::io(format!("create {}", output.display())))?;
        let errors = output
            .try_clone()
            .map_err(VmError::io("share QEMU's log"))?;
        // QEMU connects to sockets that are there before it, so nothing has to be tried again.
        let [qmp, agent, terminal] = [
            listen(&dir, QMP)?,
            listen(&dir, AGENT)?,
            listen(&dir, TERMINAL)?,
        ];
        let keys = fifo(&dir.join(KEYS))?;
        let mut qemu = self
            .lab
            .view()
            .bind(&share, SHARE)
            .directory("/")
            .command("qemu-system-x86_64");
        self.describe(&mut qemu, accel, &dir)?;
        let child = qemu
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(VmError::io("start QEMU inside the lab"))?;
        let qemu = Qemu::new(child, &dir)?;
        let qmp = qemu.connection(&qmp)?;
        let agent = qemu.connection(&agent)?;
        let terminal = qemu.connection(&terminal)?;
        Ok(Vm {
            agent: Agent::connect(agent, &share).map_err(VmError::io("listen to the guest"))?,
            qmp: Qmp::connect(qmp)
                .map_err(|error| qemu.monitor_failed(error, "the start of QEMU"))?,
            qemu,
            accel,
            terminal,
            keys,
            share,
        })
    }

    fn describe(&self, qemu: &mut Command, accel: Accel, dir: &Path) -> Result<(), VmError> {
        let kernel = initramfs::kernel_version(self.lab.root())?;
        let mut append = format!(
            "console=ttyS0 quiet panic=-1 mitigations=off {} {}",
            autopsy::KERNEL_ARGUMENTS,
            self.kernel_arguments
        );
        if !self.load_gpu {
            append.push_str(" coherd.nogpu");
        }
        let path = |name: &str| escape(&dir.join(name));
        qemu.args(["-name", "lab-guest", "-nodefaults", "-no-user-config"])
            .args(["-display", "none"])
            .args(accel.arguments())
            .args(["-machine", "q35,memory-backend=mem"])
            .args(["-smp", &self.cpus.to_string()])
            .args(["-m", &self.memory_mib.to_string()])
            .arg("-object")
            .arg(format!(
                "memory-backend-memfd,id=mem,size={}M,share=on",
                self.memory_mib
            ))
            .args(["-kernel", &format!("/boot/vmlinuz-{kernel}")])
            .arg("-initrd")
            .arg(dir.join("initrd"))
            .args(["-append", &append])
            .arg("-chardev")
            .arg(format!(
                "file,id=console,path={},input-path={}",
                path(CONSOLE),
                path(KEYS)
            ))
            .args(["-serial", "chardev:console"]);
        for socket in [QMP, AGENT, TERMINAL] {
            qemu.arg("-chardev")
                .arg(format!("socket,id={socket},path={}", path(socket)));
        }
        qemu.args(["-object", "monitor-qmp,id=monitor,chardev=qmp"])
            .args(["-device", "virtio-serial-pci"])
            .args(["-device", "virtconsole,chardev=terminal"])
            .args([
                "-device",
                "virtserialport,chardev=agent,name=org.coherd.agent",
            ]);
        for (tag, folder, access) in [
            ("root", ROOT, ",readonly=on"),
            ("src", SOURCE, ",readonly=on"),
            ("share", SHARE, ""),
        ] {
            qemu.arg("-fsdev").arg(format!(
                "local,id={tag},path={folder},security_model=none,multidevs=remap{access}"
            ));
            qemu.arg("-device")
                .arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
        }
        if let Some(socket) = &self.gpu_socket {
            qemu.arg("-chardev")
                .arg(format!("socket,id=vgpu,path={}", escape(socket)));
            qemu.arg("-device").arg(
                "vhost-user-test-device-pci,id=gpu0,chardev=vgpu,virtio-id=16,num_vqs=2,vq_size=256,config_size=20",
            );
        }
        qemu.args(&self.extra);
        Ok(())
    }
}

/// QEMU's options separate their parts by commas, and take a doubled one for itself.
fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

fn listen(dir: &Path, name: &str) -> Result<UnixListener, VmError> {
    let path = dir.join(name);
    UnixListener::bind(&path).map_err(VmError::io(format!("listen on {}", path.display())))
}

/// Opened for both ways, because QEMU waits for a writer.
fn fifo(path: &Path) -> Result<File, VmError> {
    let failed = || VmError::io(format!("make a FIFO of {}", path.display()));
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .map_err(|errno| failed()(errno.into()))?;
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed())
}

fn new_dir(run: &Path) -> Result<PathBuf, VmError> {
    let mut number = 0;
    loop {
        let dir = run.join(format!("vm{number}"));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(source) => {
                return Err(VmError::Io {
                    action: format!("create the folder {}", dir.display()),
                    source,
                });
            }
        }
    }
}
