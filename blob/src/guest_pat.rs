//! What KVM makes of the memory type a guest asks for.
//!
//! The guest's page tables name a type (PAT on x86, attributes on Arm, PBMT on RISC-V). Whether
//! the CPU follows them is KVM's choice: `vmx_get_mt_mask` in Linux 7.3
//! `arch/x86/kvm/vmx/vmx.c` for Intel, the nested page table on AMD, stage 2 on Arm.

use crate::exporter::Location;
use crate::memory_type::MapInfo;

/// `KVM_CAP_DISABLE_QUIRKS2`: the quirks that a VMM can disable, as bits.
pub const KVM_CAP_DISABLE_QUIRKS2: u32 = 213;
/// `KVM_X86_QUIRK_IGNORE_GUEST_PAT`: memory is write-back whatever the guest's PAT says. Since
/// Linux 6.16 and 6.12.78.
pub const QUIRK_IGNORE_GUEST_PAT: u32 = 1 << 9;

/// Whose rules KVM follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// x86 with VMX: Intel, Zhaoxin.
    Intel,
    /// x86 with SVM: AMD, Hygon.
    Amd,
    /// Another x86.
    OtherX86,
    /// 64-bit Arm.
    Arm64,
    /// 64-bit RISC-V.
    Riscv64,
    /// Anything else.
    Other,
}

/// What can be found out about KVM on this host. Every `None` means that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvmFacts {
    /// The CPU.
    pub cpu: Cpu,
    /// x86: KVM_CHECK_EXTENSION of [`KVM_CAP_DISABLE_QUIRKS2`]; 0 on kernels without it.
    pub quirks: Option<u32>,
    /// x86: parameter `ept` of kvm_intel or `npt` of kvm_amd; `false` also where neither module
    /// is there, as with kvm_pvm.
    pub nested_paging: Option<bool>,
    /// x86: the VMM disabled [`QUIRK_IGNORE_GUEST_PAT`] with KVM_ENABLE_CAP.
    pub opted_out: Option<bool>,
    /// Intel: the VM is known to have a VFIO device whose DMA is not coherent. Then KVM honours
    /// the guest's types.
    pub non_coherent_vfio: bool,
    /// Arm: ID_AA64MMFR2_EL1.FWB, with which KVM forces RAM to be write-back.
    pub fwb: Option<bool>,
}

/// Whether the type in the guest's page tables counts for RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestPat {
    /// It counts.
    Honoured,
    /// RAM is write-back whatever the guest asks for.
    Ignored,
    /// Nobody knows.
    Unknown,
}

/// What a guest gets on the memory of a device, such as video memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePages {
    /// Write-combining if it asks for that, else uncached: Intel.
    WriteCombiningOrUncached,
    /// What it asks for, but the host's MTRRs count where it asks for cached: AMD.
    AsAskedUnlessCached,
    /// Device-nGnRE, on which unaligned accesses and DC ZVA fault: Arm.
    DeviceMemory,
    /// Nobody knows.
    Unknown,
}

/// What KVM makes of a guest's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvmVerdict {
    /// On RAM.
    pub pat: GuestPat,
    /// On device memory.
    pub device: DevicePages,
}

impl KvmFacts {
    /// A host with this CPU of which nothing else is known.
    pub fn unknown(cpu: Cpu) -> Self {
        Self {
            cpu,
            quirks: None,
            nested_paging: None,
            opted_out: None,
            non_coherent_vfio: false,
            fwb: None,
        }
    }

    /// The verdict for every guest type and location.
    pub fn verdict(&self) -> KvmVerdict {
        KvmVerdict {
            pat: self.pat(),
            device: self.device_pages(),
        }
    }

    /// Whether the guest's types count for RAM.
    ///
    /// | CPU | condition, the first that holds | RAM |
    /// |---|---|---|
    /// | x86 | no nested paging | ignored |
    /// | Intel | non-coherent VFIO device | honoured |
    /// | Intel | quirk bit absent (old kernel, no self-snoop) | ignored |
    /// | Intel | VMM did not opt out | ignored |
    /// | Intel | quirk bit there, VMM opted out | honoured |
    /// | AMD | nested paging; the quirk bit says nothing | honoured |
    /// | Arm | FWB | ignored |
    /// | Arm | no FWB | honoured |
    /// | RISC-V | | honoured |
    /// | any | the facts do not decide | unknown |
    fn pat(&self) -> GuestPat {
        let x86 = matches!(self.cpu, Cpu::Intel | Cpu::Amd | Cpu::OtherX86);
        if x86 && self.nested_paging == Some(false) {
            return GuestPat::Ignored;
        }
        match self.cpu {
            Cpu::Intel => self.intel_pat(),
            Cpu::Amd if self.nested_paging == Some(true) => GuestPat::Honoured,
            Cpu::Arm64 => match self.fwb {
                Some(true) => GuestPat::Ignored,
                Some(false) => GuestPat::Honoured,
                None => GuestPat::Unknown,
            },
            Cpu::Riscv64 => GuestPat::Honoured,
            Cpu::Amd | Cpu::OtherX86 | Cpu::Other => GuestPat::Unknown,
        }
    }

    fn intel_pat(&self) -> GuestPat {
        match (self.can_opt_out(), self.opted_out) {
            _ if self.non_coherent_vfio => match self.intel_nested_paging() {
                true => GuestPat::Honoured,
                false => GuestPat::Unknown,
            },
            (Some(false), _) | (_, Some(false)) => GuestPat::Ignored,
            (Some(true), Some(true)) => GuestPat::Honoured,
            _ => GuestPat::Unknown,
        }
    }

    fn can_opt_out(&self) -> Option<bool> {
        self.quirks
            .map(|quirks| quirks & QUIRK_IGNORE_GUEST_PAT != 0)
    }

    /// Whether nested paging is known to be on. Intel has the quirk bit only with it.
    fn intel_nested_paging(&self) -> bool {
        self.nested_paging == Some(true) || self.can_opt_out() == Some(true)
    }

    fn device_pages(&self) -> DevicePages {
        match (self.cpu, self.nested_paging) {
            (Cpu::Intel | Cpu::Amd, Some(false)) => DevicePages::Unknown,
            (Cpu::Intel, _) if self.intel_nested_paging() => DevicePages::WriteCombiningOrUncached,
            (Cpu::Amd, Some(true)) => DevicePages::AsAskedUnlessCached,
            (Cpu::Arm64, _) => DevicePages::DeviceMemory,
            _ => DevicePages::Unknown,
        }
    }
}

/// How a guest under KVM really accesses memory that it was told to map as `told`; `None` if that
/// is not known.
///
/// A guest kernel may still turn cached into uncached on its own, where its MTRRs do not make the
/// window write-back; the host cannot see that. A guest whose CPU is emulated accesses memory
/// through the VMM's mapping: there the caching of the fd's mmap is the answer.
pub fn effective(
    told: MapInfo,
    verdict: KvmVerdict,
    location: Option<Location>,
) -> Option<MapInfo> {
    match location {
        Some(Location::Ram) => on_ram(told, verdict.pat),
        Some(Location::Device) => on_device(told, verdict.device),
        None => {
            on_ram(told, verdict.pat).filter(|&ram| on_device(told, verdict.device) == Some(ram))
        }
    }
}

fn on_ram(told: MapInfo, pat: GuestPat) -> Option<MapInfo> {
    match (pat, told) {
        (GuestPat::Honoured, told) => Some(told),
        (GuestPat::Ignored, _) | (GuestPat::Unknown, MapInfo::Cached) => Some(MapInfo::Cached),
        (GuestPat::Unknown, _) => None,
    }
}

fn on_device(told: MapInfo, device: DevicePages) -> Option<MapInfo> {
    match (device, told) {
        (DevicePages::WriteCombiningOrUncached, MapInfo::WriteCombining) => {
            Some(MapInfo::WriteCombining)
        }
        (DevicePages::WriteCombiningOrUncached | DevicePages::DeviceMemory, _) => {
            Some(MapInfo::Uncached)
        }
        (DevicePages::AsAskedUnlessCached, MapInfo::Cached) | (DevicePages::Unknown, _) => None,
        (DevicePages::AsAskedUnlessCached, told) => Some(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MapInfo::{Cached, Uncached, WriteCombining};

    const UNKNOWN: [Option<bool>; 3] = [None, Some(false), Some(true)];
    const CPUS: [Cpu; 6] = [
        Cpu::Intel,
        Cpu::Amd,
        Cpu::OtherX86,
        Cpu::Arm64,
        Cpu::Riscv64,
        Cpu::Other,
    ];

    /// Everything that can be known of a CPU: 3 x 3 x 3 x 2 x 3 facts. Quirks other than the one
    /// that matters are set now and then.
    fn facts(cpu: Cpu) -> impl Iterator<Item = KvmFacts> {
        let quirks = [None, Some(0x1ff), Some(QUIRK_IGNORE_GUEST_PAT)];
        (0..162usize).map(move |index| KvmFacts {
            cpu,
            quirks: quirks[index % 3],
            nested_paging: UNKNOWN[index / 3 % 3],
            opted_out: UNKNOWN[index / 9 % 3],
            non_coherent_vfio: index / 27 % 2 == 1,
            fwb: UNKNOWN[index / 54],
        })
    }

    #[test]
    fn x86_without_nested_paging_ignores_the_guest() {
        for cpu in [Cpu::Intel, Cpu::Amd, Cpu::OtherX86] {
            for facts in facts(cpu).filter(|facts| facts.nested_paging == Some(false)) {
                let verdict = facts.verdict();
                assert_eq!(verdict.pat, GuestPat::Ignored, "{facts:?}");
                assert_eq!(verdict.device, DevicePages::Unknown, "{facts:?}");
            }
        }
    }

    #[test]
    fn intel_ignores_the_guest_unless_the_vmm_opted_out() {
        for facts in facts(Cpu::Intel).filter(|facts| facts.nested_paging != Some(false)) {
            let quirk = facts
                .quirks
                .map(|quirks| quirks & QUIRK_IGNORE_GUEST_PAT != 0);
            let nested = facts.nested_paging == Some(true) || quirk == Some(true);
            let expected = match (facts.non_coherent_vfio, quirk, facts.opted_out) {
                (true, ..) if nested => GuestPat::Honoured,
                (true, ..) => GuestPat::Unknown,
                (false, Some(false), _) => GuestPat::Ignored,
                (false, _, Some(false)) => GuestPat::Ignored,
                (false, Some(true), Some(true)) => GuestPat::Honoured,
                (false, Some(true), None) | (false, None, _) => GuestPat::Unknown,
            };
            assert_eq!(facts.verdict().pat, expected, "{facts:?}");
            let device = match nested {
                true => DevicePages::WriteCombiningOrUncached,
                false => DevicePages::Unknown,
            };
            assert_eq!(facts.verdict().device, device, "{facts:?}");
        }
    }

    #[test]
    fn amd_honours_the_guest_with_nested_paging_whatever_the_quirk_says() {
        for facts in facts(Cpu::Amd).filter(|facts| facts.nested_paging != Some(false)) {
            let (pat, device) = match facts.nested_paging {
                Some(_) => (GuestPat::Honoured, DevicePages::AsAskedUnlessCached),
                None => (GuestPat::Unknown, DevicePages::Unknown),
            };
            assert_eq!(facts.verdict(), KvmVerdict { pat, device }, "{facts:?}");
        }
    }

    #[test]
    fn arm_follows_fwb_and_maps_devices_as_devices() {
        for facts in facts(Cpu::Arm64) {
            let pat = match facts.fwb {
                Some(true) => GuestPat::Ignored,
                Some(false) => GuestPat::Honoured,
                None => GuestPat::Unknown,
            };
            let device = DevicePages::DeviceMemory;
            assert_eq!(facts.verdict(), KvmVerdict { pat, device }, "{facts:?}");
        }
    }

    #[test]
    fn other_cpus_are_unknown_but_for_riscv() {
        for (cpu, pat) in [
            (Cpu::Riscv64, GuestPat::Honoured),
            (Cpu::Other, GuestPat::Unknown),
            (Cpu::OtherX86, GuestPat::Unknown),
        ] {
            let x86 = cpu == Cpu::OtherX86;
            let device = DevicePages::Unknown;
            for facts in facts(cpu).filter(|facts| !x86 || facts.nested_paging != Some(false)) {
                assert_eq!(facts.verdict(), KvmVerdict { pat, device }, "{facts:?}");
            }
        }
    }

    #[test]
    fn host_of_which_nothing_is_known_is_unknown() {
        for cpu in CPUS {
            let expected = match cpu {
                Cpu::Riscv64 => GuestPat::Honoured,
                _ => GuestPat::Unknown,
            };
            assert_eq!(KvmFacts::unknown(cpu).verdict().pat, expected, "{cpu:?}");
        }
    }

    #[test]
    fn amd_under_software_paging_ignores_the_guest() {
        // Measured with kvm_pvm on Linux 6.18.
        let facts = KvmFacts {
            quirks: Some(0x5ff & !QUIRK_IGNORE_GUEST_PAT),
            nested_paging: Some(false),
            ..KvmFacts::unknown(Cpu::Amd)
        };
        assert_eq!(facts.verdict().pat, GuestPat::Ignored);
    }

    #[test]
    fn every_type_on_ram() {
        for told in [Cached, Uncached, WriteCombining] {
            let unknown = (told == Cached).then_some(Cached);
            for (pat, expected) in [
                (GuestPat::Honoured, Some(told)),
                (GuestPat::Ignored, Some(Cached)),
                (GuestPat::Unknown, unknown),
            ] {
                for device in DEVICES {
                    let verdict = KvmVerdict { pat, device };
                    assert_eq!(effective(told, verdict, Some(Location::Ram)), expected);
                }
            }
        }
    }

    const DEVICES: [DevicePages; 4] = [
        DevicePages::WriteCombiningOrUncached,
        DevicePages::AsAskedUnlessCached,
        DevicePages::DeviceMemory,
        DevicePages::Unknown,
    ];
    const PATS: [GuestPat; 3] = [GuestPat::Honoured, GuestPat::Ignored, GuestPat::Unknown];

    #[test]
    fn every_type_on_a_device() {
        let (uc, wc) = (Some(Uncached), Some(WriteCombining));
        let table = [
            // (told, then per kind of DEVICES)
            (Cached, [uc, None, uc, None]),
            (Uncached, [uc, uc, uc, None]),
            (WriteCombining, [wc, wc, uc, None]),
        ];
        for (told, expected) in table {
            for (device, expected) in DEVICES.into_iter().zip(expected) {
                for pat in PATS {
                    let verdict = KvmVerdict { pat, device };
                    assert_eq!(
                        effective(told, verdict, Some(Location::Device)),
                        expected,
                        "{told} {device:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn without_a_place_only_what_holds_in_both_is_known() {
        for told in [Cached, Uncached, WriteCombining] {
            for pat in PATS {
                for device in DEVICES {
                    let verdict = KvmVerdict { pat, device };
                    let ram = effective(told, verdict, Some(Location::Ram));
                    let device = effective(told, verdict, Some(Location::Device));
                    let expected = if ram == device { ram } else { None };
                    assert_eq!(effective(told, verdict, None), expected, "{verdict:?}");
                }
            }
        }
    }
}
