//! What is known of a Vulkan device before it is opened.

use std::fmt;

use coherd_protocol::memory::MemoryProperties;

/// How a device renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A GPU.
    Hardware,
    /// The CPU.
    Software,
}

/// Device number of a DRM render node, as in VK_EXT_physical_device_drm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderNode {
    /// Major number, 226 on Linux.
    pub major: u32,
    /// Minor number, 128 and up.
    pub minor: u32,
}

/// A Vulkan physical device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// `deviceName`
    pub name: String,
    /// How it renders.
    pub kind: AdapterKind,
    /// Whether the GPU shares the CPU's memory; `None` if it is not told.
    pub integrated: Option<bool>,
    /// PCI vendor or Khronos vendor id.
    pub vendor_id: u32,
    /// Vendor's device id.
    pub device_id: u32,
    /// Its render node, where the driver tells.
    pub render_node: Option<RenderNode>,
    /// `deviceUUID`: the same for one device in every process and every API.
    pub device_uuid: [u8; 16],
    /// `driverUUID`: the same for drivers that can share memory through opaque fds.
    pub driver_uuid: [u8; 16],
    /// Whether host-visible memory can be exported as dma-buf. A driver may advertise
    /// VK_EXT_external_memory_dma_buf for import alone.
    pub exports_dma_buf: bool,
    /// Properties of each memory type, in Vulkan's order.
    pub memory_types: Vec<MemoryProperties>,
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({:04x}:{:04x})",
            self.name, self.vendor_id, self.device_id
        )
    }
}
