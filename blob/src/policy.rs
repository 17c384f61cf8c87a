//! What to do where a blob would not be cached as the guest is told.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::memory_type::MapInfo;

/// What the operator wants done about mismatches: `--on-type-mismatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MismatchPolicy {
    /// Go on and say so.
    Warn,
    /// Answer the guest with an error.
    Refuse,
    /// Allocate cached memory instead. Where that is not possible, refuse what is certainly wrong
    /// and warn of the rest.
    PreferCached,
}

/// A word that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown policy `{0}`, use warn, refuse or prefer-cached")]
pub struct PolicyError(String);

impl FromStr for MismatchPolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text {
            "warn" => Ok(Self::Warn),
            "refuse" => Ok(Self::Refuse),
            "prefer-cached" => Ok(Self::PreferCached),
            other => Err(PolicyError(other.to_owned())),
        }
    }
}

impl fmt::Display for MismatchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warn => "warn",
            Self::Refuse => "refuse",
            Self::PreferCached => "prefer-cached",
        })
    }
}

/// All that is known of how a blob is going to be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What the guest is told: the type of vkMapMemory.
    pub told: MapInfo,
    /// Whether that memory is coherent.
    pub coherent: bool,
    /// Whether this guest can bracket its accesses: the blob context can, Venus cannot.
    pub guest_brackets: bool,
    /// How an mmap of the fd is cached: [`crate::exporter::fd_caching`].
    pub fd: Option<MapInfo>,
    /// How the guest really accesses it: [`crate::guest_pat::effective`].
    pub effective: Option<MapInfo>,
    /// Whether the allocator could give cached memory instead.
    pub can_prefer_cached: bool,
}

/// How a claim fails to hold; the gravest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Mismatch {
    /// Memory that needs brackets, for a guest that has none.
    #[error("the memory needs flush and invalidate, which this guest cannot do")]
    NoBrackets,
    /// The guest's accesses are cached although the memory is not.
    #[error(
        "KVM makes the guest's accesses cached, but the memory is not: the GPU may not see them"
    )]
    GuestCaches,
    /// The guest is told cached, but the memory behind the fd is not.
    #[error("the guest is told cached, but the memory is not")]
    MemoryUncached,
    /// The fd maps cached although the memory is not, so that host processes have to bracket.
    #[error("an mmap of the file is cached, but the memory is not: host processes must bracket")]
    FdCaches,
    /// Nobody knows how the guest accesses it.
    #[error("it is not known whether KVM honours the guest's memory type")]
    GuestUnknown,
    /// Nobody knows how the fd maps.
    #[error("it is not known how an mmap of the file is cached")]
    FdUnknown,
    /// The accesses are right but slower than promised.
    #[error("accesses bypass the cache or are not combined, and so are slower than told")]
    Slower,
}

impl Mismatch {
    /// Whether somebody certainly gets wrong bytes sooner or later.
    pub fn is_wrong(self) -> bool {
        matches!(
            self,
            Self::NoBrackets | Self::GuestCaches | Self::MemoryUncached
        )
    }
}

/// What to do with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everybody agrees.
    Accept,
    /// Serve it and say why it may be wrong.
    Warn(Mismatch),
    /// Refuse it with this reason.
    Refuse(Mismatch),
    /// Allocate memory of this type instead, for this reason, and decide again.
    Prefer(MapInfo, Mismatch),
}

impl Claim {
    /// The gravest way in which the claim fails to hold, if any.
    pub fn mismatch(&self) -> Option<Mismatch> {
        let brackets = (!self.coherent && !self.guest_brackets).then_some(Mismatch::NoBrackets);
        [brackets, self.guest_mismatch(), self.fd_mismatch()]
            .into_iter()
            .flatten()
            .min()
    }

    fn guest_mismatch(&self) -> Option<Mismatch> {
        match (self.told, self.effective) {
            (_, None) => Some(Mismatch::GuestUnknown),
            (told, Some(effective)) if told == effective => None,
            (_, Some(MapInfo::Cached)) => Some(Mismatch::GuestCaches),
            (_, Some(_)) => Some(Mismatch::Slower),
        }
    }

    fn fd_mismatch(&self) -> Option<Mismatch> {
        match (self.told, self.fd) {
            (_, None) => Some(Mismatch::FdUnknown),
            (told, Some(fd)) if told == fd => None,
            (MapInfo::Cached, Some(_)) => Some(Mismatch::MemoryUncached),
            (_, Some(MapInfo::Cached)) => Some(Mismatch::FdCaches),
            (_, Some(_)) => Some(Mismatch::Slower),
        }
    }
}

/// What to do with a blob under a policy.
pub fn decide(policy: MismatchPolicy, claim: &Claim) -> Decision {
    let Some(mismatch) = claim.mismatch() else {
        return Decision::Accept;
    };
    match policy {
        MismatchPolicy::Warn => Decision::Warn(mismatch),
        MismatchPolicy::Refuse => Decision::Refuse(mismatch),
        MismatchPolicy::PreferCached
            if claim.can_prefer_cached && claim.told != MapInfo::Cached =>
        {
            Decision::Prefer(MapInfo::Cached, mismatch)
        }
        MismatchPolicy::PreferCached if mismatch.is_wrong() => Decision::Refuse(mismatch),
        MismatchPolicy::PreferCached => Decision::Warn(mismatch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MapInfo::{Cached, Uncached, WriteCombining};

    const TYPES: [MapInfo; 3] = [Cached, Uncached, WriteCombining];
    const POLICIES: [MismatchPolicy; 3] = [
        MismatchPolicy::Warn,
        MismatchPolicy::Refuse,
        MismatchPolicy::PreferCached,
    ];

    fn maybe() -> impl Iterator<Item = Option<MapInfo>> + Clone {
        TYPES.into_iter().map(Some).chain([None])
    }

    /// All claims: 3 types told, 4 of the fd, 4 effective, 3 flags.
    fn claims() -> impl Iterator<Item = Claim> {
        TYPES.into_iter().flat_map(|told| {
            maybe().flat_map(move |fd| {
                maybe().flat_map(move |effective| {
                    (0..8).map(move |flags| Claim {
                        told,
                        coherent: flags & 1 != 0,
                        guest_brackets: flags & 2 != 0,
                        fd,
                        effective,
                        can_prefer_cached: flags & 4 != 0,
                    })
                })
            })
        })
    }

    #[test]
    fn claim_is_accepted_if_and_only_if_everything_is_known_and_agrees() {
        for claim in claims() {
            let agrees = claim.fd == Some(claim.told) && claim.effective == Some(claim.told);
            let usable = claim.coherent || claim.guest_brackets;
            for policy in POLICIES {
                assert_eq!(
                    decide(policy, &claim) == Decision::Accept,
                    agrees && usable,
                    "{policy} {claim:?}"
                );
            }
        }
    }

    #[test]
    fn warn_and_refuse_do_so_for_every_mismatch() {
        for claim in claims() {
            if let Some(mismatch) = claim.mismatch() {
                let warned = decide(MismatchPolicy::Warn, &claim);
                let refused = decide(MismatchPolicy::Refuse, &claim);
                assert_eq!(warned, Decision::Warn(mismatch), "{claim:?}");
                assert_eq!(refused, Decision::Refuse(mismatch), "{claim:?}");
            }
        }
    }

    #[test]
    fn prefer_cached_prefers_refuses_what_is_wrong_and_warns_of_the_rest() {
        for claim in claims() {
            let Some(mismatch) = claim.mismatch() else {
                continue;
            };
            let expected = match mismatch {
                _ if claim.can_prefer_cached && claim.told != Cached => {
                    Decision::Prefer(Cached, mismatch)
                }
                Mismatch::NoBrackets | Mismatch::GuestCaches | Mismatch::MemoryUncached => {
                    Decision::Refuse(mismatch)
                }
                Mismatch::FdCaches
                | Mismatch::GuestUnknown
                | Mismatch::FdUnknown
                | Mismatch::Slower => Decision::Warn(mismatch),
            };
            assert_eq!(
                decide(MismatchPolicy::PreferCached, &claim),
                expected,
                "{claim:?}"
            );
        }
    }

    #[test]
    fn cached_memory_is_never_given_up_for_cached_memory() {
        for claim in claims().filter(|claim| claim.told == Cached) {
            for policy in POLICIES {
                assert!(!matches!(decide(policy, &claim), Decision::Prefer(..)));
            }
        }
    }

    #[test]
    fn each_mismatch_alone_is_named() {
        let fine = |told| Claim {
            told,
            coherent: true,
            guest_brackets: false,
            fd: Some(told),
            effective: Some(told),
            can_prefer_cached: false,
        };
        for told in TYPES {
            for other in TYPES {
                let by_guest = Claim {
                    effective: Some(other),
                    ..fine(told)
                };
                let by_fd = Claim {
                    fd: Some(other),
                    ..fine(told)
                };
                let (guest, fd) = match (told, other) {
                    (told, other) if told == other => (None, None),
                    (Cached, _) => (Some(Mismatch::Slower), Some(Mismatch::MemoryUncached)),
                    (_, Cached) => (Some(Mismatch::GuestCaches), Some(Mismatch::FdCaches)),
                    _ => (Some(Mismatch::Slower), Some(Mismatch::Slower)),
                };
                assert_eq!(by_guest.mismatch(), guest, "{told} but {other}");
                assert_eq!(by_fd.mismatch(), fd, "{told} but {other}");
            }
            let unknown_guest = Claim {
                effective: None,
                ..fine(told)
            };
            let unknown_fd = Claim {
                fd: None,
                ..fine(told)
            };
            let incoherent = Claim {
                coherent: false,
                ..fine(told)
            };
            assert_eq!(unknown_guest.mismatch(), Some(Mismatch::GuestUnknown));
            assert_eq!(unknown_fd.mismatch(), Some(Mismatch::FdUnknown));
            assert_eq!(incoherent.mismatch(), Some(Mismatch::NoBrackets));
        }
    }

    #[test]
    fn gravest_mismatch_is_the_one_reported() {
        let claim = Claim {
            told: WriteCombining,
            coherent: true,
            guest_brackets: true,
            fd: None,
            effective: Some(Cached),
            can_prefer_cached: false,
        };
        assert_eq!(claim.mismatch(), Some(Mismatch::GuestCaches));
        for claim in claims() {
            let wrong = (!claim.coherent && !claim.guest_brackets)
                || (claim.told != Cached && claim.effective == Some(Cached))
                || (claim.told == Cached && claim.fd.is_some_and(|fd| fd != Cached));
            let reported = claim.mismatch();
            assert_eq!(reported.is_some_and(Mismatch::is_wrong), wrong, "{claim:?}");
        }
    }

    #[test]
    fn policies_are_read_as_they_are_shown() {
        for policy in POLICIES {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("refuse".parse(), Ok(MismatchPolicy::Refuse));
        let error = "Warn".parse::<MismatchPolicy>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown policy `Warn`, use warn, refuse or prefer-cached"
        );
    }
}
