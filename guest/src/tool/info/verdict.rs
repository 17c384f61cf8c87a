//! What a measured type means beside the promised one.

use serde::Serialize;

use crate::Caching;
use crate::tool::processor::Hypervisor;

/// How a type was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As promised.
    AsPromised,
    /// The processor is emulated: everything is cached, and nothing follows from it.
    Emulated,
    /// Cached although write-combining or uncached was promised: the hypervisor decides.
    Forced,
    /// Slower than promised.
    Slower,
    /// Write-combining although uncached was promised.
    Looser,
    /// It could not be told.
    Unclear,
}

impl Verdict {
    /// Compares.
    pub fn of(promised: Caching, measured: Option<Caching>, hypervisor: &Hypervisor) -> Self {
        let Some(measured) = measured else {
            return Self::Unclear;
        };
        match (promised, measured) {
            _ if *hypervisor == Hypervisor::Emulation => Self::Emulated,
            (promised, measured) if promised == measured => Self::AsPromised,
            (_, Caching::Cached) => Self::Forced,
            (Caching::Uncached, Caching::WriteCombining) => Self::Looser,
            _ => Self::Slower,
        }
    }

    /// What a person should know about it, if there is anything.
    pub fn meaning(self) -> Option<&'static str> {
        match self {
            Self::AsPromised => None,
            Self::Emulated => Some(
                "the processor is emulated and ignores types of memory: all of it is measured as cached, \
                 and coherence errors cannot show",
            ),
            Self::Forced => Some(
                "a type is mapped write-back whatever this guest asks for. KVM does so on Intel hosts \
                 unless the VMM opts out (QEMU: -accel kvm,honor-guest-pat=on) and on Arm ones with FWB. \
                 For system memory that is wrong if the GPU does not snoop the processor's caches",
            ),
            Self::Slower => Some(
                "a type is slower than promised: Linux or the hypervisor maps it with a stricter type. \
                 The traps above say why, if this guest shows it",
            ),
            Self::Looser => Some("a type that should be uncached collects writes"),
            Self::Unclear => Some(
                "a type could not be told by its speed; measure again on an idle machine, or with a \
                 larger --size",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Caching::{Cached, Uncached, WriteCombining};

    #[test]
    fn emulation_proves_nothing_whatever_was_measured() {
        for promised in [Cached, WriteCombining] {
            let verdict = Verdict::of(promised, Some(Cached), &Hypervisor::Emulation);
            assert_eq!(verdict, Verdict::Emulated);
        }
    }

    #[test]
    fn each_difference_has_its_meaning() {
        let of = |promised, measured| Verdict::of(promised, measured, &Hypervisor::Kvm);
        assert_eq!(of(Cached, Some(Cached)), Verdict::AsPromised);
        assert_eq!(
            of(WriteCombining, Some(WriteCombining)),
            Verdict::AsPromised
        );
        assert_eq!(of(WriteCombining, Some(Cached)), Verdict::Forced);
        assert_eq!(of(Cached, Some(Uncached)), Verdict::Slower);
        assert_eq!(of(WriteCombining, Some(Uncached)), Verdict::Slower);
        assert_eq!(of(Uncached, Some(WriteCombining)), Verdict::Looser);
        assert_eq!(of(Cached, None), Verdict::Unclear);
    }
}
