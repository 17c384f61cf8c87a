//! Quotas: how much of everything that a guest can make grow it may have, as a VM and in one
//! context.
//!
//! Over a quota a command is answered ERR_OUT_OF_MEMORY, and the guest keeps what it has.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use coherd_protocol::gpu::GpuError;
use coherd_protocol::gpu::limits::MAX_REQUEST_LEN;
use thiserror::Error;
use tracing::warn;

use crate::limiter::Limiter;

/// Largest queue: a driver has no more commands, hence no more fences, in flight.
const MAX_IN_FLIGHT: u64 = 1024;

/// Something that a guest can make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Bytes of blobs that the renderer allocates.
    BlobBytes,
    /// Bytes of 2D resources.
    ImageBytes,
    /// Resources; of a context, those that it created or that are attached to it.
    Resources,
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
    pub const ALL: [Self; 8] = [
        Self::BlobBytes,
        Self::ImageBytes,
        Self::Resources,
        Self::Contexts,
        Self::Mappings,
        Self::Fences,
        Self::SubmitBytes,
        Self::BackingEntries,
    ];

    /// The name in options, configuration and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlobBytes => "blob-bytes",
            Self::ImageBytes => "image-bytes",
            Self::Resources => "resources",
            Self::Contexts => "contexts",
            Self::Mappings => "mappings",
            Self::Fences => "fences",
            Self::SubmitBytes => "submit-bytes",
            Self::BackingEntries => "backing-entries",
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
            (Self::Resources, Scope::Context) => 1 << 16,
            (Self::Contexts, Scope::Vm) => 512,
            // QEMU aborts at 512 memory regions, those of its RAM included.
            (Self::Mappings, _) => 480,
            (Self::Fences, Scope::Vm) => 4 * MAX_IN_FLIGHT,
            (Self::Fences, Scope::Context) => 2 * MAX_IN_FLIGHT,
            (Self::SubmitBytes, Scope::Vm) => MAX_REQUEST_LEN as u64,
            (Self::BackingEntries, Scope::Vm) => 4 << 20,
            _ => return None,
        })
    }

    /// Values that work.
    const fn range(self) -> RangeInclusive<u64> {
        match self {
            // KVM has no more slots.
            Self::Mappings => 1..=32_000,
            // A driver that does nothing wrong is never refused: what it waits for would come
            // too early.
            Self::Fences => MAX_IN_FLIGHT..=1 << 20,
            Self::SubmitBytes => 4..=MAX_REQUEST_LEN as u64,
            Self::Resources | Self::Contexts => 1..=1 << 24,
            Self::BlobBytes | Self::ImageBytes | Self::BackingEntries => 1..=1 << 50,
        }
    }

    const fn index(self) -> usize {
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

/// What a VM or a context has at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account([u64; Quota::ALL.len()]);

impl Account {
    /// What it has of `quota`.
    pub fn get(&self, quota: Quota) -> u64 {
        self.0.get(quota.index()).copied().unwrap_or(0)
    }

    fn sum(&self, quota: Quota, amount: u64) -> u64 {
        self.get(quota).saturating_add(amount)
    }

    fn set(&mut self, quota: Quota, value: u64) {
        if let Some(slot) = self.0.get_mut(quota.index()) {
            *slot = value;
        }
    }

    /// Takes off what is given back.
    pub fn give_back(&mut self, quota: Quota, amount: u64) {
        self.set(quota, self.get(quota).saturating_sub(amount));
    }
}

/// Commands refused over one quota.
#[derive(Debug)]
struct Refused {
    count: u64,
    log: Limiter,
}

/// Keeps a VM within its quotas.
#[derive(Debug)]
pub struct Bookkeeper {
    quotas: Quotas,
    vm: Account,
    refused: [Refused; Quota::ALL.len()],
}

impl Bookkeeper {
    /// A VM that has nothing.
    pub fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            vm: Account::default(),
            refused: Quota::ALL.map(|_| Refused {
                count: 0,
                log: Limiter::new(Duration::from_secs(60), 1),
            }),
        }
    }

    /// What the VM has.
    pub fn vm(&self) -> &Account {
        &self.vm
    }

    /// Commands refused over `quota` so far.
    pub fn refused(&self, quota: Quota) -> u64 {
        self.refused
            .get(quota.index())
            .map_or(0, |refused| refused.count)
    }

    /// Enters `amount` for the VM and, if one is given, for a context.
    ///
    /// # Errors
    /// [`GpuError::Quota`]; nothing was entered then.
    pub fn take(
        &mut self,
        quota: Quota,
        amount: u64,
        context: Option<&mut Account>,
    ) -> Result<(), GpuError> {
        self.check(quota, amount, context.as_deref())?;
        self.vm.set(quota, self.vm.sum(quota, amount));
        if let Some(account) = context {
            account.set(quota, account.sum(quota, amount));
        }
        Ok(())
    }

    /// Whether `amount` more is within the quotas.
    ///
    /// # Errors
    /// [`GpuError::Quota`]
    pub fn check(
        &mut self,
        quota: Quota,
        amount: u64,
        context: Option<&Account>,
    ) -> Result<(), GpuError> {
        if self.vm.sum(quota, amount) > self.quotas.get(Scope::Vm, quota) {
            return Err(self.refuse(quota, Scope::Vm));
        }
        let limit = self.quotas.get(Scope::Context, quota);
        if context.is_some_and(|account| account.sum(quota, amount) > limit) {
            return Err(self.refuse(quota, Scope::Context));
        }
        Ok(())
    }

    /// Takes off what is given back.
    pub fn give_back(&mut self, quota: Quota, amount: u64, context: Option<&mut Account>) {
        self.vm.give_back(quota, amount);
        if let Some(account) = context {
            account.give_back(quota, amount);
        }
    }

    /// Counts a refusal and logs it, once per quota and minute.
    pub fn refuse(&mut self, quota: Quota, scope: Scope) -> GpuError {
        let name = quota.name();
        let limit = self.quotas.get(scope, quota);
        if let Some(refused) = self.refused.get_mut(quota.index()) {
            refused.count = refused.count.saturating_add(1);
            if refused.log.pass(Instant::now()).is_some() {
                let option = match scope {
                    Scope::Vm => "--quota",
                    Scope::Context => "--context-quota",
                };
                warn!(
                    limit,
                    refused = refused.count,
                    "guest is over its quota of {name}; {option} {name}=N raises it"
                );
            }
        }
        GpuError::Quota(name)
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
        let too_few = quotas.set(Scope::Vm, Quota::Fences, 1023).unwrap_err();
        assert_eq!(too_few.to_string(), "fences must be from 1024 to 1048576");
    }

    #[test]
    fn full_account_of_a_context_stops_it_and_leaves_the_vm_alone() {
        let mut quotas = Quotas::default();
        quotas.set(Scope::Context, Quota::Mappings, 2).unwrap();
        let mut books = Bookkeeper::new(quotas);
        let (mut one, mut other) = (Account::default(), Account::default());

        books.take(Quota::Mappings, 2, Some(&mut one)).unwrap();
        let refused = books.take(Quota::Mappings, 1, Some(&mut one));
        books.take(Quota::Mappings, 1, Some(&mut other)).unwrap();

        assert_eq!(refused, Err(GpuError::Quota("mappings")));
        assert_eq!(books.refused(Quota::Mappings), 1);
        assert_eq!(books.vm().get(Quota::Mappings), 3);
        books.give_back(Quota::Mappings, 1, Some(&mut one));
        books.take(Quota::Mappings, 1, Some(&mut one)).unwrap();
    }

    #[test]
    fn amounts_that_overflow_are_refused() {
        let mut books = Bookkeeper::new(Quotas::default());
        books.take(Quota::BlobBytes, 4096, None).unwrap();
        assert!(books.take(Quota::BlobBytes, u64::MAX, None).is_err());
        assert_eq!(books.vm().get(Quota::BlobBytes), 4096);
    }
}
