//! What the host's device offers.

use std::io;

use coherd_protocol::blob_context::Capset;
use coherd_protocol::blob_context::capset::CapsetFlags;
use coherd_protocol::blob_context::command::ImageUsage;
use thiserror::Error;

use crate::memory::MemoryType;
use crate::transport::Transport;

/// Bytes that are asked for at first, and at most. The kernel does not tell how long a capset is.
const CAPSET_LEN: usize = 64 << 10;
const MAX_CAPSET_LEN: usize = 16 << 20;

/// Why it is not known what the host offers.
#[derive(Debug, Error)]
pub enum HostError {
    /// The kernel could not get it.
    #[error("cannot get the capset of the blob context")]
    Kernel(#[source] io::Error),
    /// The host did not answer, or what it answered is no capset.
    #[error("the host sent no valid capset; its log may say why")]
    Malformed,
}

/// A heap of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Bytes.
    pub size: u64,
    /// Whether it is memory of the device.
    pub device_local: bool,
}

/// A format of images with a modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Its code in `drm_fourcc.h`.
    pub fourcc: u32,
    /// The modifier, also of `drm_fourcc.h`.
    pub modifier: u64,
    /// Memory planes.
    pub planes: u32,
    /// What images of it can be used for.
    pub usage: ImageUsage,
}

/// What the host's device is, and which memory it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name of the host's device.
    pub name: String,
    /// Whether images can be made.
    pub images: bool,
    /// Whether blobs are dma-bufs on the host, which Venus contexts can import.
    pub dma_buf: bool,
    /// Whether the device is a processor.
    pub software: bool,
    /// Brackets work on ranges that are rounded to this many bytes.
    pub atom_size: u64,
    /// Sizes of blobs are multiples of this many bytes.
    pub page_size: u64,
    /// Bytes of the largest allocation.
    pub max_allocation_size: u64,
    /// The longest wait of a bracket, in milliseconds.
    pub max_sync_timeout_ms: u32,
    /// Pixels along the longest side of an image.
    pub max_image_dimension: u32,
    /// `VkPhysicalDeviceIDProperties::deviceUUID`
    pub device_uuid: [u8; 16],
    /// `VkPhysicalDeviceIDProperties::driverUUID`
    pub driver_uuid: [u8; 16],
    /// Types of memory.
    pub types: Vec<MemoryType>,
    /// Heaps of memory.
    pub heaps: Vec<Heap>,
    /// Formats of images.
    pub formats: Vec<Format>,
}

impl Host {
    pub(crate) fn of(transport: &dyn Transport) -> Result<Self, HostError> {
        let mut len = CAPSET_LEN;
        while len <= MAX_CAPSET_LEN {
            let mut bytes = vec![0; len];
            transport.capset(&mut bytes).map_err(HostError::Kernel)?;
            if let Some(capset) = Capset::decode(&bytes) {
                return Ok(Self::new(&capset));
            }
            // Either it is no capset, or its tables are cut off.
            len *= 4;
        }
        Err(HostError::Malformed)
    }

    fn new(capset: &Capset) -> Self {
        let (head, flags) = (&capset.head, capset.flags());
        Self {
            name: capset.device_name(),
            images: flags.contains(CapsetFlags::IMAGES),
            dma_buf: flags.contains(CapsetFlags::DMA_BUF),
            software: flags.contains(CapsetFlags::SOFTWARE),
            atom_size: u64::from(head.atom_size.get()).max(1),
            page_size: head.page_size.get().max(4096),
            max_allocation_size: head.max_allocation_size.get(),
            max_sync_timeout_ms: head.max_sync_timeout_ms.get(),
            max_image_dimension: head.max_image_dimension.get(),
            device_uuid: head.device_uuid,
            driver_uuid: head.driver_uuid,
            types: (0..)
                .zip(&capset.types)
                .map(|(index, wire)| MemoryType::new(index, wire))
                .collect(),
            heaps: capset
                .heaps
                .iter()
                .map(|wire| Heap {
                    size: wire.size.get(),
                    device_local: wire.flags.get() & 1 != 0,
                })
                .collect(),
            formats: capset
                .formats
                .iter()
                .map(|wire| Format {
                    fourcc: wire.fourcc.get(),
                    modifier: wire.modifier.get(),
                    planes: wire.planes.get(),
                    usage: ImageUsage::from_bits_truncate(wire.usage.get()),
                })
                .collect(),
        }
    }
}
