//! Which device is opened, and how.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use coherd_vulkan::{
    AdapterKind, Device, EnumerateError, OpenError, Options, RenderNode, SelectError, Selector,
    enumerate,
};
use common::{Checked, skip};

#[test]
fn any_device_is_a_gpu_if_there_is_one() {
    let Some(device) = Checked::open() else {
        return;
    };
    let gpus = enumerate()
        .unwrap()
        .into_iter()
        .any(|adapter| adapter.kind == AdapterKind::Hardware);

    let expected = if gpus {
        AdapterKind::Hardware
    } else {
        AdapterKind::Software
    };

    assert_eq!(device.adapter().kind, expected);
}

#[test]
fn each_device_is_opened_by_what_it_has_of_its_own() {
    let adapters = match enumerate() {
        Ok(adapters) if !adapters.is_empty() => adapters,
        other => return skip(&format!("{other:?}")),
    };
    for adapter in adapters {
        let mut selectors = vec![
            Selector::Uuid(adapter.device_uuid),
            Selector::Name(adapter.name.clone()),
        ];
        selectors.extend(adapter.render_node.map(Selector::RenderNode));
        for selector in selectors {
            let Some(device) = Checked::open_with(&selector, Options::default()) else {
                return;
            };
            assert_eq!(*device.adapter(), adapter, "{selector:?}");
        }
    }
}

#[test]
fn device_that_is_not_there_is_never_another() {
    let Some(_some) = Checked::open() else { return };
    let selectors = [
        Selector::Uuid(*b"of no device yet"),
        Selector::Name("no device is called this".into()),
        Selector::RenderNode(RenderNode {
            major: 226,
            minor: 4095,
        }),
    ];
    for selector in selectors {
        let error = Device::open(&selector, &Options::default()).unwrap_err();
        assert!(
            matches!(error, OpenError::Select(SelectError::NotThere { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn layer_that_is_not_there_is_named() {
    let Some(_some) = Checked::open() else { return };
    let options = Options {
        layers: vec!["VK_LAYER_COHERD_absent".into()],
        ..Options::default()
    };
    match Device::open(&Selector::Any, &options) {
        Err(OpenError::Enumerate(EnumerateError::NoLayer(name))) => {
            assert_eq!(name, "VK_LAYER_COHERD_absent");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn device_works_without_any_optional_extension() {
    let all = [
        "VK_KHR_external_memory_fd",
        "VK_EXT_external_memory_host",
        "VK_EXT_memory_budget",
        "VK_EXT_queue_family_foreign",
        "VK_KHR_timeline_semaphore",
        "VK_KHR_external_semaphore_fd",
        "VK_KHR_image_format_list",
        "VK_KHR_maintenance4",
    ];
    let Some(device) = Checked::open_without(&all) else {
        return;
    };
    let need = coherd_vulkan::memory::ExportNeed::None;
    let source = common::visible(&device, "source", 4096, need);
    let target = common::visible(&device, "target", 4096, need);
    let bytes = common::pattern(4096, 1);

    common::write(&source, &bytes);
    common::copy(&device, &source, &target, 4096);

    assert!(common::read(&target, 4096) == bytes);
    assert!(device.memory_types().iter().all(|ty| ty.export.is_none()));
    assert!(device.formats().is_empty());
}

#[test]
fn memory_types_are_numbered_by_their_place() {
    let Some(device) = Checked::open() else {
        return;
    };
    let heaps = device.heaps();
    for (ty, place) in device.memory_types().iter().zip(0..) {
        assert_eq!(ty.index, place);
        assert!(usize::try_from(ty.heap).unwrap() < heaps.len());
    }
    assert!(device.atom_size().is_power_of_two());
    assert!(device.max_allocation_size() >= 1 << 30);
    assert!(device.max_image_dimension() >= 4096);
}
