//! What this host tells of its CPU and its KVM.

use std::fs;
use std::path::Path;

use coherd_blob::guest_pat::{Cpu, KVM_CAP_DISABLE_QUIRKS2, KvmFacts};
use kvm_ioctls::Kvm;

/// Reads the facts below `root`, which is `/` but for tests. Whatever is not there is not known,
/// and what the VMM decides is left out.
pub fn facts(root: &Path) -> KvmFacts {
    let cpu = cpu(root);
    KvmFacts {
        quirks: quirks(root),
        nested_paging: nested_paging(root),
        ..KvmFacts::unknown(cpu)
    }
}

fn cpu(root: &Path) -> Cpu {
    match std::env::consts::ARCH {
        "x86_64" | "x86" => {
            let text = fs::read_to_string(root.join("proc/cpuinfo"));
            text.map_or(Cpu::OtherX86, |text| x86(&text))
        }
        "aarch64" => Cpu::Arm64,
        "riscv64" => Cpu::Riscv64,
        _ => Cpu::Other,
    }
}

/// `vendor_id`, which is the same for every processor of a host.
fn x86(cpuinfo: &str) -> Cpu {
    let vendor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("vendor_id")?.split_once(':'))
        .map(|(_, vendor)| vendor.trim());
    match vendor {
        Some("GenuineIntel" | "CentaurHauls" | "Shanghai") => Cpu::Intel,
        Some("AuthenticAMD" | "HygonGenuine") => Cpu::Amd,
        _ => Cpu::OtherX86,
    }
}

/// A KVM without one of these modules, such as kvm_pvm, has shadow page tables.
fn nested_paging(root: &Path) -> Option<bool> {
    let modules = root.join("sys/module");
    let parameter = |path: &str| fs::read_to_string(modules.join(path)).ok();
    parameter("kvm_intel/parameters/ept")
        .or_else(|| parameter("kvm_amd/parameters/npt"))
        .map_or_else(
            || modules.join("kvm").is_dir().then_some(false),
            |value| is_yes(value.trim()),
        )
}

/// How the kernel writes parameters that are `bool`, or `int` in older versions.
fn is_yes(value: &str) -> Option<bool> {
    match value {
        "Y" | "1" => Some(true),
        "N" | "0" => Some(false),
        _ => None,
    }
}

fn quirks(root: &Path) -> Option<u32> {
    let device = root.join("dev/kvm");
    // Only the real one is asked: a file in its place may do anything.
    let kvm = Kvm::new().ok().filter(|_| device.exists())?;
    u32::try_from(kvm.check_extension_raw(KVM_CAP_DISABLE_QUIRKS2.into())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn root(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn vendor_is_that_of_the_first_processor() {
        let text = |vendor| format!("processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: x\n");
        assert_eq!(x86(&text("GenuineIntel")), Cpu::Intel);
        assert_eq!(x86(&text("  Shanghai  ")), Cpu::Intel);
        assert_eq!(x86(&text("AuthenticAMD")), Cpu::Amd);
        assert_eq!(x86(&text("HygonGenuine")), Cpu::Amd);
        assert_eq!(x86(&text("GenuineNew")), Cpu::OtherX86);
        assert_eq!(x86(""), Cpu::OtherX86);
    }

    #[test]
    fn nested_paging_is_a_parameter_of_the_module() {
        for (path, value, expected) in [
            ("sys/module/kvm_intel/parameters/ept", "Y\n", Some(true)),
            ("sys/module/kvm_intel/parameters/ept", "N\n", Some(false)),
            ("sys/module/kvm_amd/parameters/npt", "1\n", Some(true)),
            ("sys/module/kvm_amd/parameters/npt", "0\n", Some(false)),
            ("sys/module/kvm_amd/parameters/npt", "maybe\n", None),
        ] {
            let root = root(&[(path, value)]);
            assert_eq!(nested_paging(root.path()), expected, "{path} {value:?}");
        }
    }

    #[test]
    fn kvm_without_a_known_module_has_no_nested_paging() {
        let pvm = root(&[("sys/module/kvm/parameters/halt_poll_ns", "200000\n")]);
        assert_eq!(nested_paging(pvm.path()), Some(false));
    }

    #[test]
    fn host_that_shows_nothing_has_no_facts() {
        let nothing = root(&[]);
        let facts = facts(nothing.path());
        assert_eq!(facts, KvmFacts::unknown(facts.cpu));
    }
}
