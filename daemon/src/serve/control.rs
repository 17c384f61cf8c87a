//! The door to a device for threads that do not serve it.

use std::sync::Arc;

use crate::device::display::{DisplayError, Mode, Outputs};
use crate::mapping_type::{MappingTypes, Policies};
use crate::metrics::Metrics;
use crate::snapshot::Transfers;
use crate::worker::Orders;

/// Looks at and changes a device that runs; usable from any thread.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) orders: Arc<Orders>,
    pub(super) transfers: Arc<Transfers>,
    pub(super) outputs: usize,
    pub(super) mapping_types: Arc<MappingTypes>,
    pub(super) metrics: Arc<Metrics>,
}

impl Control {
    /// Saves and loads the device.
    pub fn transfers(&self) -> Arc<Transfers> {
        Arc::clone(&self.transfers)
    }

    /// What happens to the device, in numbers.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Number of outputs, which stays what it was at the start.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Plugs these displays into the first outputs, in place of those that were there, and tells
    /// the guest.
    ///
    /// # Errors
    /// [`DisplayError::TooMany`]
    pub fn set_displays(&self, displays: &[Mode]) -> Result<(), DisplayError> {
        let outputs = Outputs::new(self.outputs, displays)?;
        self.orders.displays.put(outputs);
        Ok(())
    }

    /// Treats blobs to come by these policies.
    pub fn set_type_mismatch(&self, policies: Policies) {
        self.mapping_types.set_policies(policies);
    }
}
