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
