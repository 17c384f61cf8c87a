//! What is known of a Vulkan device, and the choice of one.

use std::fmt;

use thiserror::Error;

/// Why no device was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectError {
    /// The Vulkan loader works and no driver has a device.
    #[error("no Vulkan device: install a driver for this host's GPU, or Mesa's lavapipe")]
    NoDevice,
    /// No Vulkan device belongs to the render node that was asked for.
    #[error("no Vulkan device belongs to the render node; the host has {available}")]
    NotThere {
        /// The devices there are.
        available: String,
    },
}

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
    /// PCI vendor or Khronos vendor id.
    pub vendor_id: u32,
    /// Vendor's device id.
    pub device_id: u32,
    /// Its render node, where the driver tells.
    pub render_node: Option<RenderNode>,
    /// Whether host-visible memory can be exported as dma-buf. A driver may advertise
    /// VK_EXT_external_memory_dma_buf for import alone.
    pub exports_dma_buf: bool,
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

/// Chooses a device: the one of `render_node` if given, else the first hardware device, else the
/// first software device.
///
/// # Errors
/// See [`SelectError`].
pub fn select(
    adapters: &[Adapter],
    render_node: Option<RenderNode>,
) -> Result<&Adapter, SelectError> {
    match render_node {
        Some(node) => adapters
            .iter()
            .find(|adapter| adapter.render_node == Some(node))
            .ok_or_else(|| {
                let names: Vec<String> = adapters.iter().map(ToString::to_string).collect();
                SelectError::NotThere {
                    available: if names.is_empty() {
                        "none".into()
                    } else {
                        names.join(", ")
                    },
                }
            }),
        None => adapters
            .iter()
            .min_by_key(|adapter| adapter.kind)
            .ok_or(SelectError::NoDevice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, kind: AdapterKind, minor: Option<u32>) -> Adapter {
        Adapter {
            name: name.into(),
            kind,
            vendor_id: 0x1002,
            device_id: 1,
            render_node: minor.map(|minor| RenderNode { major: 226, minor }),
            exports_dma_buf: true,
        }
    }

    #[test]
    fn hardware_comes_before_software() {
        let adapters = [
            adapter("llvmpipe", AdapterKind::Software, None),
            adapter("gpu", AdapterKind::Hardware, Some(128)),
            adapter("second", AdapterKind::Hardware, Some(129)),
        ];
        assert_eq!(select(&adapters, None).unwrap().name, "gpu");
    }

    #[test]
    fn render_node_decides_over_the_order() {
        let adapters = [
            adapter("gpu", AdapterKind::Hardware, Some(128)),
            adapter("second", AdapterKind::Hardware, Some(129)),
        ];
        let node = RenderNode {
            major: 226,
            minor: 129,
        };
        assert_eq!(select(&adapters, Some(node)).unwrap().name, "second");
    }

    #[test]
    fn missing_render_node_is_an_error_and_never_another_device() {
        let adapters = [adapter("llvmpipe", AdapterKind::Software, None)];
        let node = RenderNode {
            major: 226,
            minor: 128,
        };
        let error = select(&adapters, Some(node)).unwrap_err();
        assert!(error.to_string().contains("llvmpipe (1002:0001)"));
    }

    #[test]
    fn no_device_is_an_error() {
        assert_eq!(select(&[], None), Err(SelectError::NoDevice));
    }
}
