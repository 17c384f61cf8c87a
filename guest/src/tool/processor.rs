//! The processor that the guest runs on.

#![allow(unsafe_code, reason = "cpuid")]

use std::fmt;

use serde::{Serialize, Serializer};

/// What the processor says it is run by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    /// Nothing, or nothing that says so.
    None,
    /// Linux's KVM.
    Kvm,
    /// QEMU without a hypervisor: every access is carried out by a program, which has no caching
    /// to offer.
    Emulation,
    /// Another one, by its signature.
    Other(String),
    /// Nothing is known on this architecture.
    Unknown,
}

impl Hypervisor {
    /// Asks the processor.
    pub fn here() -> Self {
        signature().map_or(Self::Unknown, |signature| Self::of(&signature))
    }

    /// By the signature of leaf 0x40000000, or nothing where there is none.
    fn of(signature: &[u8]) -> Self {
        let text = String::from_utf8_lossy(signature);
        match text.trim_end_matches('\0') {
            "" => Self::None,
            "TCGTCGTCGTCG" => Self::Emulation,
            "KVMKVMKVM" => Self::Kvm,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Kvm => f.write_str("KVM"),
            Self::Emulation => f.write_str("emulation (QEMU TCG)"),
            Self::Other(signature) => f.write_str(signature),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl Serialize for Hypervisor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(target_arch = "x86_64")]
fn signature() -> Option<Vec<u8>> {
    use std::arch::x86_64::__cpuid;

    const FEATURES: u32 = 1;
    const HYPERVISOR: u32 = 0x4000_0000;
    // SAFETY: every x86-64 processor has cpuid, and leaf 1.
    #[allow(unused_unsafe, reason = "safe in later versions of Rust")]
    let features = unsafe { __cpuid(FEATURES) };
    if features.ecx & (1 << 31) == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the leaf is there where the bit is set.
    #[allow(unused_unsafe, reason = "safe in later versions of Rust")]
    let leaf = unsafe { __cpuid(HYPERVISOR) };
    Some(
        [leaf.ebx, leaf.ecx, leaf.edx]
            .map(u32::to_le_bytes)
            .concat(),
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn signature() -> Option<Vec<u8>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_name_hypervisors() {
        assert_eq!(Hypervisor::of(b""), Hypervisor::None);
        assert_eq!(Hypervisor::of(b"KVMKVMKVM\0\0\0"), Hypervisor::Kvm);
        assert_eq!(Hypervisor::of(b"TCGTCGTCGTCG"), Hypervisor::Emulation);
        assert_eq!(
            Hypervisor::of(b"Microsoft Hv"),
            Hypervisor::Other("Microsoft Hv".into())
        );
    }
}
