//! What a guest is told before it asks for anything.

use coherd_blob::MemoryType;
use coherd_protocol::blob_context::CAPSET_BLOB;
use coherd_protocol::blob_context::capset::{CapsetFlags, TypeFlags};
use coherd_protocol::memory::MemoryProperties;
use coherd_tests::driver::BlobProgram;

use super::on_each_gpu;
use crate::PAGE;

#[test]
fn capset_is_offered_once_with_tables_that_hold() {
    on_each_gpu(|mut rig| {
        let capset = BlobProgram::capset(&mut rig.gpu).unwrap();
        assert_eq!(capset.head.page_size.get(), PAGE);
        assert_eq!(capset.head.max_sync_timeout_ms.get(), 10_000);
        assert!(capset.head.atom_size.get().is_power_of_two());
        assert!(capset.head.max_allocation_size.get() >= 1 << 20);
        assert!(!capset.device_name().is_empty());
        assert!(!capset.types.is_empty());
        for info in &capset.types {
            let properties = MemoryProperties::from_bits(info.properties.get()).unwrap();
            let flags = TypeFlags::from_bits(info.flags.get()).unwrap();
            let memory = MemoryType::from_properties(properties)
                .filter(|_| flags.contains(TypeFlags::MAPPABLE));
            let told = memory.map_or(0, |memory| memory.caching.to_wire());
            assert_eq!(info.map_info.get(), told, "{properties:?}");
            let needs_sync = memory.is_some_and(MemoryType::needs_brackets);
            assert_eq!(flags.contains(TypeFlags::NEEDS_SYNC), needs_sync);
            assert!((info.heap.get() as usize) < capset.heaps.len());
        }
        let has_images = capset.flags().contains(CapsetFlags::IMAGES);
        assert_eq!(has_images, !capset.formats.is_empty());
        assert_eq!(rig.gpu.capset_info(0).unwrap().capset_id.get(), CAPSET_BLOB);
        assert_eq!(crate::code(rig.gpu.capset_info(1)), 0x1205);
        rig.finish().unwrap();
    });
}
