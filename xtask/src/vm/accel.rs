//! KVM where it really runs a guest, QEMU's translator elsewhere.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{VmError, initramfs};
use crate::lab::Lab;
use crate::progress::Progress;

/// What the first program prints when it was asked to do no more; see `guest/init`.
const ALIVE: &str = "lab-guest-alive";

/// With KVM the first program runs within a second.
const PROBE_TIME: Duration = Duration::from_secs(15);

/// What runs a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The processor, through `/dev/kvm`.
    Kvm,
    /// QEMU's translator; about ten times slower.
    Tcg,
}

impl Accel {
    /// The choice of `COHERD_ACCEL`, else KVM if a tiny guest boots with it; that answer is kept until the host reboots.
    pub fn detect(lab: &Lab, progress: &Progress) -> Result<Self, VmError> {
        let choice = env::var_os("COHERD_ACCEL").unwrap_or_default();
        match choice.to_string_lossy().as_ref() {
            "" => {}
            "kvm" => return Ok(Self::Kvm),
            "tcg" => return Ok(Self::Tcg),
            value => {
                return Err(VmError::Accelerator {
                    value: value.to_owned(),
                });
            }
        }
        if File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Self::Tcg);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(VmError::io("read the boot id of this machine"))?;
        let memory = lab.entry().join(format!("kvm-{}", boot.trim()));
        match fs::read_to_string(&memory).as_deref() {
            Ok("works") => return Ok(Self::Kvm),
            Ok("fails") => return Ok(Self::Tcg),
            _ => {}
        }
        progress.say("trying whether KVM boots a guest here");
        let works = probe(lab)?;
        let (accel, verdict) = if works {
            (Self::Kvm, "works")
        } else {
            (Self::Tcg, "fails")
        };
        progress.say(&format!("KVM {verdict} on this machine"));
        fs::write(&memory, verdict).map_err(VmError::io(format!("write {}", memory.display())))?;
        Ok(accel)
    }

    /// QEMU's arguments for it.
    #[must_use]
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

fn probe(lab: &Lab) -> Result<bool, VmError> {
    let initrd = lab.run_dir().join("kvm-probe");
    fs::write(&initrd, initramfs::build(lab.root())?)
        .map_err(VmError::io(format!("write {}", initrd.display())))?;
    let kernel = format!("/boot/vmlinuz-{}", initramfs::kernel_version(lab.root())?);
    let mut qemu = lab
        .command("qemu-system-x86_64")
        .args(Accel::Kvm.arguments())
        .args(["-machine", "q35", "-m", "256", "-no-reboot"])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-serial", "stdio", "-kernel", &kernel, "-initrd"])
        .arg(&initrd)
        .args(["-append", "console=ttyS0 quiet panic=-1 coherd.probe"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(VmError::io("start QEMU to try KVM"))?;
    let (found, verdict) = mpsc::channel();
    if let Some(output) = qemu.stdout.take() {
        thread::spawn(move || {
            // The receiver may have given up by now.
            let _ = found.send(says_alive(output));
        });
    }
    let works = verdict.recv_timeout(PROBE_TIME).unwrap_or(false);
    // It may have ended by itself.
    let _ = qemu.kill();
    qemu.wait()
        .map_err(VmError::io("wait for the QEMU that tried KVM"))?;
    remove(&initrd)?;
    Ok(works)
}

fn says_alive(output: impl Read) -> bool {
    BufReader::new(output)
        .split(b'\n')
        .map_while(Result::ok)
        .any(|line| String::from_utf8_lossy(&line).contains(ALIVE))
}

fn remove(path: &Path) -> Result<(), VmError> {
    fs::remove_file(path).map_err(VmError::io(format!("remove {}", path.display())))
}
