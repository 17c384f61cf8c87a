//! What of the quotas the guest's things take up.

use std::collections::HashMap;

use coherd_protocol::gpu::GpuError;

use super::Device;
use super::account::Account;
use super::context::{Context, Owner};
use super::quota::Quota;
use super::resource::{HostBlob, Kind, Resource};
use crate::memory::GuestRanges;

/// An amount of a quota, of the VM and of a context that is responsible for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What is counted.
    pub quota: Quota,
    /// How much of it.
    pub amount: u64,
    /// Who is responsible besides the VM.
    pub owner: Option<Owner>,
}

impl Charge {
    /// A charge on the VM alone.
    pub fn vm(quota: Quota, amount: u64) -> Self {
        Self {
            quota,
            amount,
            owner: None,
        }
    }

    /// The charge for a backing.
    pub fn backing(backing: &GuestRanges) -> Self {
        Self::vm(Quota::BackingEntries, backing.entries())
    }
}

impl Resource {
    /// What this resource takes up from its creation to its end, mapping aside.
    fn charges(&self) -> impl Iterator<Item = Charge> {
        let memory = match &self.kind {
            Kind::TwoD(image) => Some(Charge::vm(Quota::ImageBytes, image.size())),
            Kind::ThreeD { size } => Some(Charge::vm(Quota::BlobBytes, *size)),
            Kind::GuestBlob { .. } => None,
            Kind::HostBlob(blob) => Some(blob.charge()),
        };
        let backing = self.backing.as_deref().map(Charge::backing);
        let slot = Charge::vm(Quota::Resources, 1);
        [Some(slot), memory, backing].into_iter().flatten()
    }
}

impl HostBlob {
    /// What its memory takes up.
    pub fn charge(&self) -> Charge {
        self.of_owner(Quota::BlobBytes, self.size)
    }

    /// What a mapping of it takes up.
    pub fn mapping_charge(&self) -> Charge {
        self.of_owner(Quota::Mappings, 1)
    }

    fn of_owner(&self, quota: Quota, amount: u64) -> Charge {
        Charge {
            quota,
            amount,
            owner: self.owner,
        }
    }
}

impl Device {
    /// Whether the guest may have so much more.
    pub(super) fn check(&mut self, charge: Charge) -> Result<(), GpuError> {
        let account = account(&mut self.contexts, charge.owner);
        self.books
            .check(charge.quota, charge.amount, account.as_deref())
    }

    /// Enters a charge.
    pub(super) fn take(&mut self, charge: Charge) -> Result<(), GpuError> {
        let account = account(&mut self.contexts, charge.owner);
        self.books.take(charge.quota, charge.amount, account)
    }

    /// Takes a charge off.
    pub(super) fn give_back(&mut self, charge: Charge) {
        let account = account(&mut self.contexts, charge.owner);
        self.books.give_back(charge.quota, charge.amount, account);
    }

    /// Enters what a new resource takes up. Its creation has checked that.
    pub(super) fn take_all(&mut self, resource: &Resource) -> Result<(), GpuError> {
        resource.charges().try_for_each(|charge| self.take(charge))
    }

    /// Takes off what a resource took up.
    pub(super) fn give_back_all(&mut self, resource: &Resource) {
        resource.charges().for_each(|charge| self.give_back(charge));
    }
}

/// The account of a context; none if it is gone, also if another has its id.
pub fn account(contexts: &mut HashMap<u32, Context>, owner: Option<Owner>) -> Option<&mut Account> {
    let owner = owner?;
    let context = contexts.get_mut(&owner.ctx_id)?;
    (context.owner(owner.ctx_id) == owner).then_some(&mut context.account)
}
