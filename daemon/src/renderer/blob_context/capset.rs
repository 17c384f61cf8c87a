//! The capset: what a guest is told before it asks for anything.

use coherd_blob::MemoryType;
use coherd_blob::backing::ExportKind;
use coherd_protocol::blob_context::Capset;
use coherd_protocol::blob_context::capset::{
    CapsetFlags, FormatModifier, Head, Heap, MemoryType as WireType, TypeFlags,
};
use coherd_protocol::blob_context::limits::{MAX_IMAGE_DIMENSION, MAX_SYNC_TIMEOUT_MS};
use coherd_vulkan::memory::{HeapInfo, MemoryTypeInfo};
use coherd_vulkan::{AdapterKind, Device};
use zerocopy::FromZeros;

/// Adds what does not depend on the GPU.
pub fn complete(mut capset: Capset) -> Capset {
    let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let head = &mut capset.head;
    head.max_sync_timeout_ms = MAX_SYNC_TIMEOUT_MS.into();
    head.max_image_dimension = head
        .max_image_dimension
        .get()
        .min(MAX_IMAGE_DIMENSION)
        .into();
    head.page_size = page_size.into();
    capset
}

/// What a Vulkan device decides of the capset.
pub fn of_device(device: &Device) -> Capset {
    let adapter = device.adapter();
    let types = device.memory_types();
    let dma_buf = types
        .iter()
        .filter(|info| MemoryType::from_properties(info.properties).is_some())
        .all(|info| info.export == Some(ExportKind::DmaBuf));
    let mut flags = CapsetFlags::empty();
    flags.set(CapsetFlags::IMAGES, !device.formats().is_empty());
    flags.set(CapsetFlags::DMA_BUF, dma_buf);
    flags.set(CapsetFlags::SOFTWARE, adapter.kind == AdapterKind::Software);
    let formats = device.formats().iter().map(|info| FormatModifier {
        fourcc: info.fourcc.into(),
        planes: info.planes.into(),
        modifier: info.modifier.into(),
        usage: info.usage.bits().into(),
        padding: 0.into(),
    });
    Capset {
        head: Head {
            flags: flags.bits().into(),
            atom_size: u32::try_from(device.atom_size()).unwrap_or(u32::MAX).into(),
            max_image_dimension: device.max_image_dimension().into(),
            max_allocation_size: device.max_allocation_size().into(),
            device_uuid: adapter.device_uuid,
            driver_uuid: adapter.driver_uuid,
            device_name: name(&adapter.name),
            ..Head::new_zeroed()
        },
        types: types.iter().map(memory_type).collect(),
        heaps: device.heaps().iter().map(heap).collect(),
        formats: formats.collect(),
    }
}

fn memory_type(info: &MemoryTypeInfo) -> WireType {
    let memory = MemoryType::from_properties(info.properties).filter(|_| info.export.is_some());
    let mut flags = TypeFlags::empty();
    flags.set(TypeFlags::MAPPABLE, memory.is_some());
    flags.set(
        TypeFlags::NEEDS_SYNC,
        memory.is_some_and(MemoryType::needs_brackets),
    );
    WireType {
        properties: info.properties.bits().into(),
        heap: info.heap.into(),
        map_info: memory.map_or(0, |memory| memory.caching.to_wire()).into(),
        flags: flags.bits().into(),
    }
}

fn heap(info: &HeapInfo) -> Heap {
    Heap {
        size: info.size.into(),
        flags: u32::from(info.device_local).into(),
        padding: 0.into(),
    }
}

/// The name, cut between characters, with a nul behind it.
fn name(name: &str) -> [u8; 64] {
    let mut bytes = [0; 64];
    let mut end = name.len().min(bytes.len() - 1);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(end)) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters_and_end_with_a_nul() {
        let long = "ä".repeat(40);
        let cut = name(&long);
        assert_eq!(cut[63], 0);
        assert_eq!(std::str::from_utf8(&cut[..62]).unwrap(), "ä".repeat(31));
        assert_eq!(&name("llvmpipe")[..9], b"llvmpipe\0");
    }

    #[test]
    fn type_that_is_not_shared_cannot_be_mapped() {
        use coherd_blob::MemoryProperties;

        let info = MemoryTypeInfo {
            index: 0,
            vulkan_index: 0,
            heap: 0,
            properties: MemoryProperties::HOST_VISIBLE | MemoryProperties::HOST_CACHED,
            export: Some(ExportKind::DmaBuf),
        };
        let told = |info| {
            let told = memory_type(&info);
            (told.map_info.get(), told.flags.get())
        };
        assert_eq!(told(info), (1, 3));
        assert_eq!(
            told(MemoryTypeInfo {
                export: None,
                ..info
            }),
            (0, 0)
        );
    }
}
