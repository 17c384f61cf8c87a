//! Quotas: how much of everything that a guest can make grow it may have, as a VM and in one
//! context.
//!
//! Over a quota a command is answered ERR_OUT_OF_MEMORY, and the guest keeps what it has.

use std::ops::RangeInclusive;

use coherd_protocol::gpu::limits::{MAX_QUEUE_SIZE, MAX_SUBMIT_LEN};
use thiserror::Error;

/// Something that a guest can make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Bytes of blobs that the renderer allocates.
    BlobBytes,
    /// Bytes of 2D resources.
    ImageBytes,
    /// Resources.
    Resources,
    /// Resources that contexts may use, each counted once per context.
    Attachments,
    /// Contexts.
    Contexts,
    /// Blobs mapped into the window.
    Mappings,
    /// Fences that are not complete.
    Fences,
    /// Bytes of one command stream.
    SubmitBytes,
    /// Entries of all backing lists together.
    BackingEntries,
    /// Commands of blob contexts that wait for the GPU.
    Jobs,
    /// Accesses that blob contexts have begun.
    Brackets,
}

/// What a quota is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole VM.
    Vm,
    /// One context.
    Context,
}

/// Why a quota is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuotaError {
    /// The scope does not count this.
    #[error("a context has no quota of {0}")]
    NotOfContexts(&'static str),
    /// Outside what works.
    #[error("{name} must be from {} to {}", range.start(), range.end())]
    Range {
        /// Name of the quota.
        name: &'static str,
        /// Values that work.
        range: RangeInclusive<u64>,
    },
}

impl Quota {
    /// Every quota.
    pub const ALL: [Self; 11] = [
        Self::BlobBytes,
        Self::ImageBytes,
        Self::Resources,
        Self::Attachments,
        Self::Contexts,
        Self::Mappings,
        Self::Fences,
        Self::SubmitBytes,
        Self::BackingEntries,
        Self::Jobs,
        Self::Brackets,
    ];

    /// The name in options, configuration and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlobBytes => "blob-bytes",
            Self::ImageBytes => "image-bytes",
            Self::Resources => "resources",
            Self::Attachments => "attachments",
            Self::Contexts => "contexts",
            Self::Mappings => "mappings",
            Self::Fences => "fences",
            Self::SubmitBytes => "submit-bytes",
            Self::BackingEntries => "backing-entries",
            Self::Jobs => "jobs",
            Self::Brackets => "brackets",
        }
    }

    /// The quota with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quota| quota.name() == name)
    }

    /// The value that holds unless another is set; `None` where the scope does not count it.
    pub const fn default_of(self, scope: Scope) -> Option<u64> {
        Some(match (self, scope) {
            (Self::BlobBytes, _) => 16 << 30,
            (Self::ImageBytes, Scope::Vm) => 512 << 20,
            (Self::Resources, Scope::Vm) => 1 << 17,
            (Self::Attachments, Scope::Vm) => 1 << 18,
            (Self::Attachments, Scope::Context) => 1 << 17,
            (Self::Contexts, Scope::Vm) => 512,
            // QEMU aborts at 512 memory regions, those of its RAM included.
            (Self::Mappings, _) => 480,
            // A driver has no more commands in flight.
            (Self::Fences, _) => MAX_QUEUE_SIZE as u64,
            (Self::SubmitBytes, Scope::Vm) => MAX_SUBMIT_LEN as u64,
            (Self::BackingEntries, Scope::Vm) => 4 << 20,
            (Self::Jobs, Scope::Vm) => 1 << 16,
            (Self::Jobs, Scope::Context) => 1 << 12,
            (Self::Brackets, Scope::Vm) => 1 << 14,
            (Self::Brackets, Scope::Context) => 1 << 10,
            _ => return None,
        })
    }

    /// Values that work.
    const fn range(self) -> RangeInclusive<u64> {
        match self {
            // KVM has no more slots.
            Self::Mappings => 1..=32_000,
            Self::Fences => 1..=MAX_QUEUE_SIZE as u64,
            Self::SubmitBytes => 4..=MAX_SUBMIT_LEN as u64,
            Self::Resources | Self::Attachments | Self::Contexts => 1..=1 << 24,
            Self::Jobs | Self::Brackets => 1..=1 << 20,
            Self::BlobBytes | Self::ImageBytes | Self::BackingEntries => 1..=1 << 50,
        }
    }

    /// Place in [`Quota::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The quotas of a VM and of each of its contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    vm: [u64; Quota::ALL.len()],
    context: [u64; Quota::ALL.len()],
}

impl Default for Quotas {
    fn default() -> Self {
        let of = |scope| Quota::ALL.map(|quota| quota.default_of(scope).unwrap_or(u64::MAX));
        Self {
            vm: of(Scope::Vm),
            context: of(Scope::Context),
        }
    }
}

impl Quotas {
    /// The value of a quota; no limit where the scope does not count it.
    pub fn get(&self, scope: Scope, quota: Quota) -> u64 {
        let values = match scope {
            Scope::Vm => &self.vm,
            Scope::Context => &self.context,
        };
        values.get(quota.index()).copied().unwrap_or(u64::MAX)
    }

    /// Sets a quota.
    ///
    /// # Errors
    /// See [`QuotaError`].
    pub fn set(&mut self, scope: Scope, quota: Quota, value: u64) -> Result<(), QuotaError> {
        if quota.default_of(scope).is_none() {
            return Err(QuotaError::NotOfContexts(quota.name()));
        }
        let range = quota.range();
        if !range.contains(&value) {
            let name = quota.name();
            return Err(QuotaError::Range { name, range });
        }
        let values = match scope {
            Scope::Vm => &mut self.vm,
            Scope::Context => &mut self.context,
        };
        if let Some(slot) = values.get_mut(quota.index()) {
            *slot = value;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for quota in Quota::ALL {
            assert_eq!(Quota::from_name(quota.name()), Some(quota));
        }
        assert_eq!(Quota::from_name("threads"), None);
    }

    #[test]
    fn defaults_are_values_that_can_be_set() {
        let mut quotas = Quotas::default();
        for quota in Quota::ALL {
            for scope in [Scope::Vm, Scope::Context] {
                if let Some(value) = quota.default_of(scope) {
                    quotas.set(scope, quota, value).unwrap();
                }
            }
        }
        assert_eq!(quotas, Quotas::default());
    }

    #[test]
    fn values_that_do_not_work_are_refused() {
        let mut quotas = Quotas::default();
        let no_quota = quotas.set(Scope::Context, Quota::Contexts, 1);
        assert_eq!(no_quota, Err(QuotaError::NotOfContexts("contexts")));
        let too_many = quotas.set(Scope::Vm, Quota::Fences, 1025).unwrap_err();
        assert_eq!(too_many.to_string(), "fences must be from 1 to 1024");
    }
}
