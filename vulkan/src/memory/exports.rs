//! The ways in which memory of a device can be shared, found out by sharing some.
//!
//! Asking is not enough. Drivers may take memory of the host in general and refuse that of files,
//! as amdgpu does; not every dma-buf can be mapped; and an opaque fd cannot be mapped, except that
//! of llvmpipe.

use std::sync::Arc;

use coherd_blob::Backing;
use coherd_blob::backing::ExportKind;
use coherd_protocol::memory::MemoryProperties;

use crate::error::DeviceError;
use crate::extensions::Extensions;
use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::allocate::another_type_may_do;
use crate::memory::attempt::attempt;
use crate::memory::choose::allows;
use crate::memory::host::MappedFile;
use crate::memory::{AllocateError, AllocationRequest, ExportError, ExportNeed};

/// The ways, the best first, with the extension each needs.
const WAYS: [(ExportKind, Extensions); 3] = [
    (ExportKind::DmaBuf, Extensions::DMA_BUF),
    (ExportKind::Opaque, Extensions::MEMORY_FD),
    (ExportKind::Shm, Extensions::HOST_MEMORY),
];

/// What each memory type can do: a bit for each index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Its memory can be exported as dma-buf.
    dma_buf: u32,
    /// Its memory can be mapped by others, in each of the ways.
    mappable: [u32; WAYS.len()],
}

/// What came of sharing a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    Failed,
    Exported,
    Mapped,
}

impl Exports {
    /// Shares a page of each type in each way.
    ///
    /// # Errors
    /// The loss of the device, and lack of memory. Refusals are no error.
    pub fn probe(device: &Arc<LogicalDevice>) -> Result<Self, AllocateError> {
        let mut exports = Self::default();
        for ty in &device.facts().types {
            for ((kind, extension), mappable) in WAYS.into_iter().zip(&mut exports.mappable) {
                if !device.has(extension) || !worth_trying(ty, kind) {
                    continue;
                }
                let bit = 1 << ty.index;
                let trial = share_a_page(device, ty, kind)?;
                if trial == Trial::Mapped {
                    *mappable |= bit;
                }
                if trial != Trial::Failed && kind == ExportKind::DmaBuf {
                    exports.dma_buf |= bit;
                }
            }
        }
        Ok(exports)
    }

    /// The best way to share memory of type `ty`, if there is one.
    pub fn best(&self, ty: &TypeFacts, need: ExportNeed) -> Option<ExportKind> {
        let dma_buf = allows(self.dma_buf, ty).then_some(ExportKind::DmaBuf);
        let mappable = WAYS
            .into_iter()
            .zip(self.mappable)
            .find(|(_, types)| allows(*types, ty))
            .map(|((kind, _), _)| kind);
        match need {
            ExportNeed::None => None,
            ExportNeed::DmaBuf => dma_buf,
            ExportNeed::Mappable => mappable,
            ExportNeed::IfPossible => mappable.or(dma_buf),
        }
    }
}

/// Memory the CPU cannot see can be shared with other devices, but mapped by nobody.
fn worth_trying(ty: &TypeFacts, kind: ExportKind) -> bool {
    kind == ExportKind::DmaBuf || is_visible(ty)
}

fn is_visible(ty: &TypeFacts) -> bool {
    ty.properties.contains(MemoryProperties::HOST_VISIBLE)
}

fn share_a_page(
    device: &Arc<LogicalDevice>,
    ty: &TypeFacts,
    kind: ExportKind,
) -> Result<Trial, AllocateError> {
    let size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let request = AllocationRequest {
        name: "probe",
        size,
        ..AllocationRequest::default()
    };
    let memory = match attempt(device, ty, Some(kind), size, &request) {
        Ok(memory) => memory,
        // Others use up the heap, which will not last: the driver is believed.
        Err(AllocateError::OverBudget { .. }) if kind == ExportKind::DmaBuf => {
            return Ok(if is_visible(ty) {
                Trial::Mapped
            } else {
                Trial::Exported
            });
        }
        Err(error @ AllocateError::Device(DeviceError::OutOfDeviceMemory)) => return Err(error),
        Err(error) if another_type_may_do(&error) => return Ok(Trial::Failed),
        Err(error) => return Err(error),
    };
    let exported = match memory.export() {
        Ok(exported) => exported,
        Err(ExportError::Device(DeviceError::Call { .. }) | ExportError::NotExportable) => {
            return Ok(Trial::Failed);
        }
        Err(ExportError::Device(error)) => return Err(error.into()),
        Err(ExportError::Duplicate(error)) => return Err(AllocateError::Shm(error)),
    };
    let mapped = is_visible(ty)
        && Backing::new(exported.fd, exported.kind, size)
            .is_ok_and(|backing| MappedFile::of(&backing).is_ok());
    Ok(if mapped {
        Trial::Mapped
    } else {
        Trial::Exported
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHED: TypeFacts = TypeFacts {
        index: 1,
        heap: 0,
        properties: MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_CACHED),
    };
    const LOCAL: TypeFacts = TypeFacts {
        index: 0,
        heap: 0,
        properties: MemoryProperties::DEVICE_LOCAL,
    };

    #[test]
    fn dma_bufs_that_map_come_before_what_only_maps() {
        let exports = Exports {
            dma_buf: 0b10,
            mappable: [0b10, 0b10, 0b10],
        };
        for need in [
            ExportNeed::DmaBuf,
            ExportNeed::Mappable,
            ExportNeed::IfPossible,
        ] {
            assert_eq!(exports.best(&CACHED, need), Some(ExportKind::DmaBuf));
        }
        assert_eq!(exports.best(&CACHED, ExportNeed::None), None);
    }

    #[test]
    fn need_for_a_dma_buf_is_not_met_by_anything_else() {
        let exports = Exports {
            dma_buf: 0,
            mappable: [0, 0b10, 0b10],
        };
        assert_eq!(exports.best(&CACHED, ExportNeed::DmaBuf), None);
        let mappable = exports.best(&CACHED, ExportNeed::Mappable);
        assert_eq!(mappable, Some(ExportKind::Opaque));
    }

    #[test]
    fn dma_buf_that_cannot_be_mapped_gives_way_to_what_can() {
        let exports = Exports {
            dma_buf: 0b10,
            mappable: [0, 0, 0b10],
        };
        let best = |need| exports.best(&CACHED, need);
        assert_eq!(best(ExportNeed::DmaBuf), Some(ExportKind::DmaBuf));
        assert_eq!(best(ExportNeed::Mappable), Some(ExportKind::Shm));
        assert_eq!(best(ExportNeed::IfPossible), Some(ExportKind::Shm));
    }

    #[test]
    fn memory_the_cpu_cannot_see_is_shared_with_devices_alone() {
        let exports = Exports {
            dma_buf: 0b01,
            mappable: [0; 3],
        };
        let best = |need| exports.best(&LOCAL, need);
        assert_eq!(best(ExportNeed::Mappable), None);
        assert_eq!(best(ExportNeed::DmaBuf), Some(ExportKind::DmaBuf));
        assert_eq!(best(ExportNeed::IfPossible), Some(ExportKind::DmaBuf));
        assert!(worth_trying(&LOCAL, ExportKind::DmaBuf));
        assert!(!worth_trying(&LOCAL, ExportKind::Shm));
    }
}
