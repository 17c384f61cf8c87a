//! What a guest has, held against its quotas.

use std::time::{Duration, Instant};

use coherd_protocol::gpu::GpuError;
use tracing::warn;

use super::quota::{Quota, Quotas, Scope};
use crate::limiter::Limiter;
use crate::metrics::QuotaMetrics;

/// At most one log line per quota in this time.
const LOG_PERIOD: Duration = Duration::from_secs(60);

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

    fn give_back(&mut self, quota: Quota, amount: u64) {
        self.set(quota, self.get(quota).saturating_sub(amount));
    }
}

/// Keeps a VM within its quotas.
#[derive(Debug)]
pub struct Bookkeeper {
    quotas: Quotas,
    vm: Account,
    metrics: QuotaMetrics,
    /// What is said of refusals over each.
    logs: [Limiter; Quota::ALL.len()],
}

impl Bookkeeper {
    /// A VM that has nothing.
    pub fn new(quotas: Quotas, metrics: QuotaMetrics) -> Self {
        Self {
            quotas,
            vm: Account::default(),
            metrics,
            logs: Quota::ALL.map(|_| Limiter::new(LOG_PERIOD, 1)),
        }
    }

    /// What the VM has.
    pub fn vm(&self) -> &Account {
        &self.vm
    }

    /// Commands refused over `quota` so far.
    pub fn refused(&self, quota: Quota) -> u64 {
        self.metrics.refused(quota)
    }

    /// Follows what is counted elsewhere: the VM has `vm` of `quota`.
    pub fn follow(&self, quota: Quota, vm: usize) {
        let vm = u64::try_from(vm).unwrap_or(u64::MAX);
        self.metrics.set_used(quota, vm);
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
        self.metrics.set_used(quota, self.vm.get(quota));
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

    /// Which quota is used up of what is counted elsewhere: the VM has `vm` of it, the context
    /// in question `context`.
    pub fn full(&self, quota: Quota, vm: usize, context: usize) -> Option<Scope> {
        let is_full = |(scope, count): &(Scope, usize)| {
            let count = u64::try_from(*count).unwrap_or(u64::MAX);
            count >= self.quotas.get(*scope, quota)
        };
        [(Scope::Vm, vm), (Scope::Context, context)]
            .into_iter()
            .find(is_full)
            .map(|(scope, _)| scope)
    }

    /// Takes off what is given back.
    pub fn give_back(&mut self, quota: Quota, amount: u64, context: Option<&mut Account>) {
        self.vm.give_back(quota, amount);
        self.metrics.set_used(quota, self.vm.get(quota));
        if let Some(account) = context {
            account.give_back(quota, amount);
        }
    }

    /// Forgets what the VM has, all of which is gone.
    pub fn clear(&mut self) {
        self.vm = Account::default();
        self.metrics.clear_used();
    }

    /// Counts a refusal and logs it, once per quota and [`LOG_PERIOD`].
    pub fn refuse(&mut self, quota: Quota, scope: Scope) -> GpuError {
        let name = quota.name();
        let limit = self.quotas.get(scope, quota);
        self.metrics.count_refusal(quota);
        let log = self.logs.get_mut(quota.index());
        if log.is_some_and(|log| log.pass(Instant::now()).is_some()) {
            let option = match scope {
                Scope::Vm => "--quota",
                Scope::Context => "--context-quota",
            };
            warn!(
                limit,
                refused = self.refused(quota),
                "guest is over its quota of {name}; {option} {name}=N raises it"
            );
        }
        GpuError::Quota(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_account_of_a_context_stops_it_and_leaves_the_vm_alone() {
        let mut quotas = Quotas::default();
        quotas.set(Scope::Context, Quota::Mappings, 2).unwrap();
        let mut books = Bookkeeper::new(quotas, QuotaMetrics::default());
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
        let mut books = Bookkeeper::new(Quotas::default(), QuotaMetrics::default());
        books.take(Quota::BlobBytes, 4096, None).unwrap();
        assert!(books.take(Quota::BlobBytes, u64::MAX, None).is_err());
        assert_eq!(books.vm().get(Quota::BlobBytes), 4096);
    }
}
