//! How the guest really accesses what it was told to map in some way: whether its own page tables
//! decide that.

mod host;
mod vmm;

use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

use coherd_blob::exporter::Location;
use coherd_blob::guest_pat::{Cpu, GuestPat, KvmFacts, KvmVerdict, effective};
use coherd_blob::memory_type::MapInfo;

pub(crate) use self::vmm::Accelerator;

/// What is known of this host before there is a VMM. Taken at the start: a cage hides it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFacts(KvmFacts);

impl HostFacts {
    /// Looks at the host.
    pub fn collect() -> Self {
        Self(host::facts(Path::new("/")))
    }

    /// A host of which nothing is known.
    pub fn unknown() -> Self {
        Self(KvmFacts::unknown(Cpu::Other))
    }
}

/// Who stands between the guest's page tables and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    /// KVM, or something that may be like it.
    Kvm(KvmVerdict),
    /// An emulated CPU, which accesses memory through the VMM's mapping.
    Emulation,
}

/// What becomes of the guest's own memory types, in a word.
impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emulation => "emulated",
            Self::Kvm(verdict) => match verdict.pat {
                GuestPat::Honoured => "honoured",
                GuestPat::Ignored => "ignored",
                GuestPat::Unknown => "unknown",
            },
        })
    }
}

impl Hypervisor {
    /// That of an unknown VMM.
    pub fn of_host(host: HostFacts) -> Self {
        Self::with(host, None)
    }

    /// That of the VMM behind a vhost-user socket. Its command line is a hint: it is believed
    /// where it says something, and nobody checks it.
    pub fn of_vmm(host: HostFacts, socket: impl AsFd) -> Self {
        // In a cage, nobody but the keeper outside sees the VMM.
        let accelerator = match crate::cage::door() {
            Some(door) => door.accelerator(socket),
            None => Accelerator::of_peer(socket, Path::new("/")),
        };
        Self::with(host, accelerator)
    }

    /// How a guest accesses memory that it was told to map as `told` and that an mmap of its file
    /// maps as `file`; `None` if that is not known.
    pub fn effective(
        self,
        told: MapInfo,
        file: Option<MapInfo>,
        location: Option<Location>,
    ) -> Option<MapInfo> {
        match self {
            Self::Kvm(verdict) => effective(told, verdict, location),
            Self::Emulation => file,
        }
    }

    fn with(HostFacts(facts): HostFacts, accelerator: Option<Accelerator>) -> Self {
        let facts = match accelerator {
            Some(Accelerator::Emulation) => return Self::Emulation,
            Some(Accelerator::Other) => KvmFacts::unknown(Cpu::Other),
            Some(Accelerator::Kvm { honours_pat }) => KvmFacts {
                opted_out: honours_pat,
                ..facts
            },
            None => facts,
        };
        Self::Kvm(facts.verdict())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coherd_blob::guest_pat::QUIRK_IGNORE_GUEST_PAT;

    fn intel() -> HostFacts {
        HostFacts(KvmFacts {
            quirks: Some(QUIRK_IGNORE_GUEST_PAT),
            nested_paging: Some(true),
            ..KvmFacts::unknown(Cpu::Intel)
        })
    }

    fn pat(accelerator: Option<Accelerator>) -> GuestPat {
        match Hypervisor::with(intel(), accelerator) {
            Hypervisor::Kvm(verdict) => verdict.pat,
            Hypervisor::Emulation => panic!("this is KVM"),
        }
    }

    #[test]
    fn vmm_decides_whether_intel_honours_the_guest() {
        let kvm = |honours_pat| Some(Accelerator::Kvm { honours_pat });
        assert_eq!(pat(kvm(Some(true))), GuestPat::Honoured);
        assert_eq!(pat(kvm(Some(false))), GuestPat::Ignored);
        assert_eq!(pat(kvm(None)), GuestPat::Unknown);
        assert_eq!(pat(None), GuestPat::Unknown);
        assert_eq!(pat(Some(Accelerator::Other)), GuestPat::Unknown);
    }

    #[test]
    fn emulated_guest_has_the_mapping_of_the_vmm() {
        let emulation = Hypervisor::with(intel(), Some(Accelerator::Emulation));
        for file in [None, Some(MapInfo::Cached), Some(MapInfo::WriteCombining)] {
            let told = MapInfo::WriteCombining;
            assert_eq!(emulation.effective(told, file, Some(Location::Ram)), file);
        }
    }

    #[test]
    fn unknown_host_promises_nothing_but_cached_ram() {
        let unknown = Hypervisor::of_host(HostFacts::unknown());
        let on_ram = |told| unknown.effective(told, None, Some(Location::Ram));
        assert_eq!(on_ram(MapInfo::Cached), Some(MapInfo::Cached));
        assert_eq!(on_ram(MapInfo::WriteCombining), None);
    }
}
