//! Capability sets: GET_CAPSET_INFO and GET_CAPSET.

use coherd_protocol::gpu::wire::{CapsetInfo, GetCapset, GetCapsetInfo};
use coherd_protocol::gpu::{GpuError, Response};

use super::{Device, Result};

impl Device {
    /// GET_CAPSET_INFO
    pub(super) fn get_capset_info(&self, request: &GetCapsetInfo) -> Result {
        let index = usize::try_from(request.capset_index.get()).unwrap_or(usize::MAX);
        let capset = self
            .renderer
            .capsets()
            .get(index)
            .ok_or(GpuError::BadField("capset index"))?;
        Ok(Response::CapsetInfo(CapsetInfo {
            capset_id: capset.id.into(),
            max_version: capset.version.into(),
            max_size: u32::try_from(capset.data.len()).unwrap_or(0).into(),
            padding: 0.into(),
        }))
    }

    /// GET_CAPSET
    pub(super) fn get_capset(&self, request: &GetCapset) -> Result {
        let id = request.capset_id.get();
        let capset = self
            .renderer
            .capsets()
            .iter()
            .find(|capset| capset.id == id);
        Ok(Response::Capset(
            capset.ok_or(GpuError::BadField("capset id"))?.data.clone(),
        ))
    }
}
