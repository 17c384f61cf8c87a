//! What the VMM's command line says of its hypervisor. KVM cannot be asked: it does not tell
//! which quirks a VM has disabled.

use std::os::fd::AsFd;
use std::path::Path;

use crate::credentials::Credentials;

/// How the VMM runs its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// With KVM.
    Kvm {
        /// Whether it had KVM honour the guest's PAT, where it was told to or not to.
        honours_pat: Option<bool>,
    },
    /// By emulation, which knows no cacheability: the guest has what the VMM mapped.
    Emulation,
    /// With another hypervisor.
    Other,
}

impl Accelerator {
    /// All there are, in the order of their codes, from 1.
    const CODES: [Self; 5] = [
        Self::Emulation,
        Self::Other,
        Self::Kvm { honours_pat: None },
        Self::Kvm {
            honours_pat: Some(false),
        },
        Self::Kvm {
            honours_pat: Some(true),
        },
    ];

    /// A finding as a number, for another process of coherd's.
    pub fn code(found: Option<Self>) -> i32 {
        (1..)
            .zip(Self::CODES)
            .find_map(|(code, one)| (Some(one) == found).then_some(code))
            .unwrap_or(0)
    }

    /// The finding that has this number.
    pub fn from_code(code: i32) -> Option<Self> {
        let index = usize::try_from(code).ok()?.checked_sub(1)?;
        Self::CODES.get(index).copied()
    }

    /// That of the process behind a socket, as `root`'s `proc` has it; `None` where it is not to
    /// be seen, as from within another namespace.
    pub fn of_peer(socket: impl AsFd, root: &Path) -> Option<Self> {
        let peer = Credentials::seen_from_here(socket).ok()?.pid;
        // Of a socket pair, the process that made it, which may hand it on.
        let is_another = ![0, std::process::id()].contains(&peer);
        let path = root.join(format!("proc/{peer}/cmdline"));
        let line = std::fs::read(path).ok().filter(|_| is_another)?;
        Self::of_command_line(&line)
    }

    /// That of a process with this `cmdline`: arguments that end with nul.
    fn of_command_line(line: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(line);
        let mut arguments = text.strip_suffix('\0')?.split('\0');
        let program = arguments.next().filter(|program| !program.is_empty())?;
        let program = Path::new(program).file_name()?.to_str()?;
        Some(match program {
            _ if program.starts_with("qemu") => of_qemu(program, arguments),
            // It never opts out.
            "crosvm" => Self::Kvm {
                honours_pat: Some(false),
            },
            _ => Self::Kvm { honours_pat: None },
        })
    }
}

/// The first accelerator that is named is used, if it can be; QEMU's documentation of -accel.
fn of_qemu<'a>(program: &str, mut arguments: impl Iterator<Item = &'a str>) -> Accelerator {
    while let Some(argument) = arguments.next() {
        let option = argument.strip_prefix('-').unwrap_or(argument);
        let named = match option.strip_prefix('-').unwrap_or(option) {
            "accel" => arguments.next().map(accelerator),
            "machine" | "M" => arguments.next().and_then(of_machine),
            "enable-kvm" => Some(accelerator("kvm")),
            _ => None,
        };
        if let Some(named) = named {
            return named;
        }
    }
    // QEMU's own default.
    accelerator(if program.ends_with("kvm") {
        "kvm"
    } else {
        "tcg"
    })
}

/// `accel=A:B` among the properties of a machine.
fn of_machine(value: &str) -> Option<Accelerator> {
    let names = value
        .split(',')
        .find_map(|property| property.strip_prefix("accel="))?;
    names.split(':').next().map(accelerator)
}

/// The property of QEMU's KVM that opts out of the quirk.
const HONOUR: &str = "honor-guest-pat=";

/// The value of `-accel`: a name, then properties.
fn accelerator(value: &str) -> Accelerator {
    let (name, properties) = value.split_once(',').unwrap_or((value, ""));
    let mut properties = properties.split(',');
    match name.strip_prefix("accel=").unwrap_or(name) {
        "kvm" => Accelerator::Kvm {
            honours_pat: properties
                .rfind(|property| property.starts_with(HONOUR))
                .and_then(|property| on_or_off(property.trim_start_matches(HONOUR))),
        },
        "tcg" => Accelerator::Emulation,
        _ => Accelerator::Other,
    }
}

/// What QEMU 11.1 does for `auto`, its default, is not documented.
fn on_or_off(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn of(arguments: &[&str]) -> Option<Accelerator> {
        let line: String = arguments.iter().flat_map(|part| [part, "\0"]).collect();
        Accelerator::of_command_line(line.as_bytes())
    }

    fn kvm(honours_pat: Option<bool>) -> Option<Accelerator> {
        Some(Accelerator::Kvm { honours_pat })
    }

    #[test]
    fn every_finding_has_a_number() {
        for found in [None].into_iter().chain(Accelerator::CODES.map(Some)) {
            assert_eq!(Accelerator::from_code(Accelerator::code(found)), found);
        }
        assert_eq!(Accelerator::from_code(-1), None);
        assert_eq!(Accelerator::from_code(99), None);
    }

    #[test]
    fn qemu_is_asked_for_kvm_in_many_ways() {
        for arguments in [
            ["-accel", "kvm"],
            ["--accel", "kvm,dirty-ring-size=4096"],
            ["-machine", "q35,accel=kvm"],
            ["-M", "accel=kvm:tcg,usb=off"],
            ["-enable-kvm", "-nodefaults"],
        ] {
            let line = [&["/usr/bin/qemu-system-x86_64", "-m", "4G"][..], &arguments].concat();
            assert_eq!(of(&line), kvm(None), "{arguments:?}");
        }
        assert_eq!(of(&["/usr/libexec/qemu-kvm", "-m", "4G"]), kvm(None));
    }

    #[test]
    fn opt_out_is_read_from_the_accelerator_alone() {
        let qemu = "qemu-system-x86_64";
        for (value, honours) in [
            ("kvm,honor-guest-pat=on", Some(true)),
            ("kvm,kernel-irqchip=split,honor-guest-pat=off", Some(false)),
            ("kvm,honor-guest-pat=on,honor-guest-pat=off", Some(false)),
            ("kvm,honor-guest-pat=auto", None),
        ] {
            assert_eq!(of(&[qemu, "-accel", value]), kvm(honours), "{value}");
        }
        let name = ["-name", "kvm,honor-guest-pat=on", "-accel", "kvm"];
        assert_eq!(of(&[&[qemu][..], &name].concat()), kvm(None));
    }

    #[test]
    fn qemu_emulates_if_told_to_or_not_told_otherwise() {
        let emulation = Some(Accelerator::Emulation);
        assert_eq!(of(&["qemu-system-x86_64"]), emulation);
        assert_eq!(of(&["qemu-system-x86_64", "-accel"]), emulation);
        for value in ["tcg", "tcg,thread=multi"] {
            let line = ["qemu-system-x86_64", "-accel", value, "-accel", "kvm"];
            assert_eq!(of(&line), emulation, "{value}");
        }
    }

    #[test]
    fn qemu_may_have_another_hypervisor() {
        let line = ["qemu-system-x86_64", "-accel", "mshv"];
        assert_eq!(of(&line), Some(Accelerator::Other));
    }

    #[test]
    fn other_vmms_have_kvm() {
        assert_eq!(of(&["/usr/bin/crosvm", "run"]), kvm(Some(false)));
        assert_eq!(of(&["muvm", "--", "glxgears"]), kvm(None));
    }

    #[test]
    fn process_without_a_command_line_says_nothing() {
        assert_eq!(Accelerator::of_command_line(b""), None);
        assert_eq!(Accelerator::of_command_line(b"\0-accel\0kvm\0"), None);
    }

    #[test]
    fn maker_of_a_socket_pair_is_not_taken_for_the_vmm() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(Accelerator::of_peer(&ours, Path::new("/")), None);
    }
}
