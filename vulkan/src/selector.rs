//! The choice of a device.

use thiserror::Error;

use crate::adapter::{Adapter, AdapterKind, RenderNode};

/// Which device to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selector {
    /// The first GPU, else the first device that renders with the CPU. Which of the two it became
    /// is told by [`Adapter::kind`].
    #[default]
    Any,
    /// The first device that renders with the CPU.
    Software,
    /// The device a DRM render node belongs to.
    RenderNode(RenderNode),
    /// The device with this `deviceUUID`.
    Uuid([u8; 16]),
    /// The device with this name, or the only one whose name has this in it, in any case.
    Name(String),
}

impl From<Option<RenderNode>> for Selector {
    fn from(node: Option<RenderNode>) -> Self {
        node.map_or(Self::Any, Self::RenderNode)
    }
}

/// Why no device was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectError {
    /// The Vulkan loader works and no driver has a device.
    #[error("no Vulkan device: install a driver for this host's GPU, or Mesa's lavapipe")]
    NoDevice,
    /// No Vulkan device is the one that was asked for.
    #[error("no Vulkan device {wanted}; the host has {available}")]
    NotThere {
        /// What was asked for.
        wanted: String,
        /// The devices there are.
        available: String,
    },
    /// More than one device has a part of the name.
    #[error("\"{name}\" is in the names of several Vulkan devices: {matching}")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The devices that have it in their names.
        matching: String,
    },
}

/// Chooses a device.
///
/// # Errors
/// See [`SelectError`].
pub fn select(
    adapters: &[Adapter],
    selector: impl Into<Selector>,
) -> Result<&Adapter, SelectError> {
    let index = position(adapters, &selector.into())?;
    adapters.get(index).ok_or(SelectError::NoDevice)
}

/// The place of the chosen device in `adapters`.
pub(crate) fn position(adapters: &[Adapter], selector: &Selector) -> Result<usize, SelectError> {
    let find = |test: &dyn Fn(&Adapter) -> bool, wanted: String| {
        adapters
            .iter()
            .position(test)
            .ok_or_else(|| SelectError::NotThere {
                wanted,
                available: list(adapters.iter()),
            })
    };
    match selector {
        Selector::Any => adapters
            .iter()
            .enumerate()
            .min_by_key(|(_, adapter)| adapter.kind)
            .map(|(index, _)| index)
            .ok_or(SelectError::NoDevice),
        Selector::Software => find(
            &|adapter| adapter.kind == AdapterKind::Software,
            "renders with the CPU".into(),
        ),
        Selector::RenderNode(node) => find(
            &|adapter| adapter.render_node == Some(*node),
            format!("belongs to the render node {}:{}", node.major, node.minor),
        ),
        Selector::Uuid(uuid) => find(
            &|adapter| adapter.device_uuid == *uuid,
            format!("has the UUID {:032x}", u128::from_be_bytes(*uuid)),
        ),
        Selector::Name(name) => by_name(adapters, name),
    }
}

fn by_name(adapters: &[Adapter], name: &str) -> Result<usize, SelectError> {
    if let Some(exact) = adapters.iter().position(|adapter| adapter.name == name) {
        return Ok(exact);
    }
    let part = name.to_lowercase();
    let has_part = |adapter: &&Adapter| adapter.name.to_lowercase().contains(&part);
    match adapters.iter().filter(has_part).count() {
        1 => Ok(adapters.iter().position(|a| has_part(&a)).unwrap_or(0)),
        0 => Err(SelectError::NotThere {
            wanted: format!("is called \"{name}\""),
            available: list(adapters.iter()),
        }),
        _ => Err(SelectError::Ambiguous {
            name: name.into(),
            matching: list(adapters.iter().filter(has_part)),
        }),
    }
}

fn list<'a>(adapters: impl Iterator<Item = &'a Adapter>) -> String {
    let names: Vec<String> = adapters.map(ToString::to_string).collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, kind: AdapterKind, minor: Option<u32>) -> Adapter {
        Adapter {
            name: name.into(),
            kind,
            integrated: None,
            vendor_id: 0x1002,
            device_id: 1,
            render_node: minor.map(|minor| RenderNode { major: 226, minor }),
            device_uuid: [u8::try_from(name.len()).unwrap(); 16],
            driver_uuid: [0; 16],
            exports_dma_buf: true,
            memory_types: Vec::new(),
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
        assert_eq!(
            select(&adapters, Selector::RenderNode(node)).unwrap().name,
            "second"
        );
    }

    #[test]
    fn missing_render_node_is_an_error_and_never_another_device() {
        let adapters = [adapter("llvmpipe", AdapterKind::Software, None)];
        let node = RenderNode {
            major: 226,
            minor: 128,
        };
        let error = select(&adapters, Selector::RenderNode(node)).unwrap_err();
        assert!(error.to_string().contains("llvmpipe (1002:0001)"));
    }

    #[test]
    fn no_device_is_an_error() {
        assert_eq!(select(&[], None), Err(SelectError::NoDevice));
    }

    #[test]
    fn software_is_taken_before_hardware_only_if_asked_for() {
        let adapters = [
            adapter("gpu", AdapterKind::Hardware, Some(128)),
            adapter("llvmpipe", AdapterKind::Software, None),
        ];
        let chosen = select(&adapters, Selector::Software).unwrap();
        assert_eq!(chosen.name, "llvmpipe");
        assert!(select(&adapters[..1], Selector::Software).is_err());
    }

    #[test]
    fn uuid_decides_over_the_order() {
        let adapters = [
            adapter("gpu", AdapterKind::Hardware, Some(128)),
            adapter("second", AdapterKind::Hardware, Some(129)),
        ];
        let chosen = select(&adapters, Selector::Uuid([6; 16])).unwrap();
        assert_eq!(chosen.name, "second");
        let error = select(&adapters, Selector::Uuid([1; 16])).unwrap_err();
        assert!(error.to_string().contains("01010101"));
    }

    #[test]
    fn name_may_be_a_part_that_one_device_has() {
        let adapters = [
            adapter("AMD Radeon RX 7900", AdapterKind::Hardware, Some(128)),
            adapter("AMD Radeon RX", AdapterKind::Hardware, Some(129)),
        ];
        let by_name = |name: &str| select(&adapters, Selector::Name(name.into()));
        assert_eq!(by_name("radeon rx 79").unwrap().name, "AMD Radeon RX 7900");
        assert_eq!(by_name("AMD Radeon RX").unwrap().name, "AMD Radeon RX");
        assert!(matches!(by_name("amd"), Err(SelectError::Ambiguous { .. })));
        assert!(matches!(by_name("nv"), Err(SelectError::NotThere { .. })));
    }
}
