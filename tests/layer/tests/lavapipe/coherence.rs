//! What each side sees, with brackets and without.

use ash::vk;
use ash::vk::MemoryPropertyFlags as Flags;

use VkLayer_coherd_incoherent::control::{Controls, library};

use crate::gpu::{Gpu, Validation, messages};
use crate::isolation::{Skip, layer_test};
use crate::memory::{Buffer, Bytes, Memory, SIZE};

layer_test! {
    fn two_types_follow_those_of_the_driver() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;

        let properties = gpu.memory_properties();
        let types = properties.memory_types_as_slice();

        let own = types.len() - 2;
        let visible = Flags::DEVICE_LOCAL | Flags::HOST_VISIBLE;
        assert_eq!(types[own].property_flags, visible | Flags::HOST_CACHED);
        assert_eq!(types[own + 1].property_flags, visible | Flags::HOST_COHERENT);
        let base = types[usize::try_from(gpu.coherent()).unwrap()];
        assert_eq!(types[own].heap_index, base.heap_index);
        assert!(usize::try_from(gpu.coherent()).unwrap() < own);
        // SAFETY: a live instance and its device.
        let limits = unsafe {
            gpu.instance
                .vk
                .get_physical_device_properties(gpu.physical)
                .limits
        };
        assert_eq!(limits.non_coherent_atom_size, 256);
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn a_missing_flush_leaves_the_gpu_with_stale_bytes() -> Result<(), Skip> {
        flushes_matter(Validation::Above)
    }
}

layer_test! {
    fn what_the_layer_asks_of_the_driver_is_valid_when_flushing() -> Result<(), Skip> {
        flushes_matter(Validation::Below)
    }
}

fn flushes_matter(validation: Validation) -> Result<(), Skip> {
    let gpu = Gpu::open(validation)?;
    let incoherent = Buffer::new(&gpu, gpu.incoherent()).unwrap();
    let seen = Buffer::new(&gpu, gpu.coherent()).unwrap();
    let (bytes, result) = (incoherent.memory.map().unwrap(), seen.memory.map().unwrap());
    result.write(0xee);

    let mut before = 0;
    for value in [1, 2] {
        bytes.write(value);
        gpu.copy(&incoherent, &seen).unwrap();
        assert!(result.is(before), "the GPU saw what was not flushed");

        incoherent.memory.flush(0, vk::WHOLE_SIZE).unwrap();
        gpu.copy(&incoherent, &seen).unwrap();
        assert!(result.is(value), "the GPU did not see what was flushed");
        before = value;
    }
    assert_eq!(messages(), Vec::<String>::new());
    Ok(())
}

layer_test! {
    fn a_missing_invalidate_leaves_the_cpu_with_stale_bytes() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let incoherent = Buffer::new(&gpu, gpu.incoherent()).unwrap();
        let bytes = incoherent.memory.map().unwrap();

        let mut before = 0;
        for value in [3, 4] {
            gpu.fill(&incoherent, value).unwrap();
            assert!(bytes.is(before), "the CPU saw what was not invalidated");

            incoherent.memory.invalidate(0, vk::WHOLE_SIZE).unwrap();
            assert!(bytes.is(value), "the CPU did not see what was invalidated");
            before = value;
        }
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn brackets_reach_their_range_and_no_further() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let incoherent = Buffer::new(&gpu, gpu.incoherent()).unwrap();
        let seen = Buffer::new(&gpu, gpu.coherent()).unwrap();
        let (bytes, result) = (incoherent.memory.map().unwrap(), seen.memory.map().unwrap());

        bytes.write(5);
        incoherent.memory.flush(256, 512).unwrap();
        gpu.copy(&incoherent, &seen).unwrap();
        assert_eq!([255, 256, 767, 768].map(|at| result.byte(at)), [0, 5, 5, 0]);

        gpu.fill(&incoherent, 6).unwrap();
        incoherent.memory.invalidate(SIZE - 256, vk::WHOLE_SIZE).unwrap();
        assert_eq!([SIZE - 257, SIZE - 256, SIZE - 1].map(|at| bytes.byte(at)), [5, 6, 6]);
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn a_partial_mapping_starts_at_its_offset_and_ends_the_whole_range() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let incoherent = Buffer::new(&gpu, gpu.incoherent()).unwrap();
        let functions = ash::khr::map_memory2::Device::new(&gpu.instance.vk, &gpu.vk);
        let memory = incoherent.memory.vk;
        let map = vk::MemoryMapInfoKHR::default()
            .memory(memory)
            .offset(4096)
            .size(1024);
        let unmap = vk::MemoryUnmapInfoKHR::default().memory(memory);

        gpu.fill(&incoherent, 7).unwrap();
        // SAFETY: live memory, which is mapped up to the second call; the CPU reads 1 KiB there.
        unsafe {
            let mut address = core::ptr::null_mut();
            let map_memory2 = functions.fp().map_memory2_khr;
            map_memory2(functions.device(), &map, &mut address).result().unwrap();
            let address = address.cast::<u8>();
            incoherent.memory.invalidate(4096, vk::WHOLE_SIZE).unwrap();
            assert_eq!(address.read(), 7);
            assert_eq!(address.add(1023).read(), 7);
            let unmap_memory2 = functions.fp().unmap_memory2_khr;
            unmap_memory2(functions.device(), &unmap).result().unwrap();
        }

        let bytes = incoherent.memory.map().unwrap();
        assert_eq!([4095, 4096, 5119, 5120].map(|at| bytes.byte(at)), [0, 7, 7, 0]);
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn coherent_types_need_no_brackets() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        for memory_type in [gpu.uncached(), gpu.coherent()] {
            let coherent = Buffer::new(&gpu, memory_type).unwrap();
            let seen = Buffer::new(&gpu, gpu.coherent()).unwrap();
            let (bytes, result) = (coherent.memory.map().unwrap(), seen.memory.map().unwrap());

            bytes.write(8);
            gpu.copy(&coherent, &seen).unwrap();
            assert!(result.is(8));
            gpu.fill(&coherent, 9).unwrap();
            assert!(bytes.is(9));
        }
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn the_validation_layer_knows_the_larger_atom() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let incoherent = Buffer::new(&gpu, gpu.incoherent()).unwrap();
        incoherent.memory.map().unwrap();

        incoherent.memory.flush(128, 256).unwrap();

        let said = messages();
        assert!(said.iter().any(|message| message.contains("nonCoherentAtomSize")), "{said:?}");
        Ok(())
    }
}

layer_test! {
    fn brackets_are_counted() -> Result<(), Skip> {
        let controls = Controls::open(&library().unwrap()).unwrap();
        let gpu = Gpu::open(Validation::Above)?;
        let incoherent = Buffer::new(&gpu, gpu.incoherent()).unwrap();
        let coherent = Buffer::new(&gpu, gpu.coherent()).unwrap();
        let maps = [&incoherent, &coherent].map(|buffer| buffer.memory.map().unwrap());
        assert!(maps.into_iter().all(|bytes: Bytes| bytes.is(0)));

        incoherent.memory.flush(0, 512).unwrap();
        incoherent.memory.flush(1024, vk::WHOLE_SIZE).unwrap();
        coherent.memory.flush(0, 512).unwrap();
        incoherent.memory.invalidate(0, 256).unwrap();

        assert_eq!(controls.flushes(), 3);
        assert_eq!(controls.bytes_flushed(), 512 + SIZE - 1024);
        assert_eq!((controls.invalidates(), controls.bytes_invalidated()), (1, 256));
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn memory_that_the_heap_cannot_hold_is_an_error() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Off)?;
        for memory_type in [gpu.incoherent(), gpu.uncached(), gpu.coherent()] {
            for size in [1 << 45, u64::MAX] {
                let mut export = vk::ExportMemoryAllocateInfo::default()
                    .handle_types(vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT);
                let result = Memory::new(&gpu, memory_type, size, &mut export).map(|_| ());
                assert_eq!(result, Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
            }
        }
        Ok(())
    }
}
