//! Calls that are made to fail.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;

use VkLayer_coherd_incoherent::control::{Controls, library};

use crate::gpu::{Gpu, Instance, Validation};
use crate::isolation::{Skip, layer_test};
use crate::memory::{Buffer, Memory, SIZE};

const DMA_BUF: HandleTypes = HandleTypes::DMA_BUF_EXT;
const LOST: vk::Result = vk::Result::ERROR_DEVICE_LOST;

/// A life with memory, copies and files in it; ends at its first error, with nothing left.
fn live() -> Result<Result<(), vk::Result>, Skip> {
    let instance = match Instance::new(Validation::Off)? {
        Ok(instance) => Rc::new(instance),
        Err(error) => return Ok(Err(error)),
    };
    Ok(work(&instance))
}

fn work(instance: &Rc<Instance>) -> Result<(), vk::Result> {
    let gpu = Gpu::new(instance)?;
    let first = Buffer::exportable(&gpu, gpu.incoherent(), DMA_BUF)?;
    let bytes = first.memory.map()?;
    bytes.write(1);
    first.memory.flush(0, vk::WHOLE_SIZE)?;
    let file = first.memory.export(DMA_BUF)?;
    let second = Buffer::import(&gpu, gpu.incoherent(), DMA_BUF, file)?;
    gpu.copy(&first, &second)?;
    second.memory.invalidate(0, vk::WHOLE_SIZE)
}

/// Open files and mappings of the layer's memory in this process.
fn held() -> (usize, usize) {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mappings = maps.lines().filter(|line| line.contains("/memfd:coherd"));
    (files, mappings.count())
}

layer_test! {
    fn every_call_fails_in_turn_and_nothing_is_left() -> Result<(), Skip> {
        let controls = Controls::open(&library().unwrap()).unwrap();
        controls.arm(0, vk::Result::SUCCESS);
        live()?.unwrap();
        let calls = controls.calls();
        let before = held();
        let mut names = BTreeSet::new();

        for result in [LOST, vk::Result::ERROR_OUT_OF_HOST_MEMORY] {
            for nth in 1..=calls {
                controls.arm(nth, result);
                let outcome = live()?;
                let name = controls.fired().unwrap();
                assert_eq!(outcome, Err(result), "{name}");
                assert_eq!(controls.live_objects(), 0, "{name}: {}", controls.describe_live());
                assert_eq!(held(), before, "{name}");
                names.insert(name);
            }
        }

        controls.arm(calls + 1, LOST);
        assert_eq!(live()?, Ok(()));
        assert_eq!((controls.calls(), controls.fired()), (calls, None));
        let expected = [
            "vkAllocateCommandBuffers",
            "vkAllocateMemory",
            "vkBeginCommandBuffer",
            "vkBindBufferMemory",
            "vkCreateBuffer",
            "vkCreateCommandPool",
            "vkCreateDevice",
            "vkCreateFence",
            "vkCreateInstance",
            "vkEndCommandBuffer",
            // By the loader, on the way to a device.
            "vkEnumerateDeviceExtensionProperties",
            "vkEnumeratePhysicalDevices",
            "vkFlushMappedMemoryRanges",
            "vkGetMemoryFdKHR",
            "vkInvalidateMappedMemoryRanges",
            "vkMapMemory",
            "vkQueueSubmit",
            "vkWaitForFences",
        ];
        assert_eq!(names, expected.map(str::to_owned).into());
        Ok(())
    }
}

layer_test! {
    fn objects_that_live_are_counted() -> Result<(), Skip> {
        let controls = Controls::open(&library().unwrap()).unwrap();
        let gpu = Gpu::open(Validation::Off)?;
        let buffer = Buffer::new(&gpu, gpu.uncached()).unwrap();
        assert_eq!(
            controls.describe_live(),
            "1 VkBuffer, 1 VkDevice, 1 VkDeviceMemory, 1 VkInstance"
        );
        assert_eq!(controls.live_objects(), 4);
        drop(buffer);
        drop(gpu);
        assert_eq!((controls.live_objects(), controls.describe_live().as_str()), (0, ""));
        Ok(())
    }
}

layer_test! {
    fn a_lost_device_stays_lost_and_another_is_not() -> Result<(), Skip> {
        let controls = Controls::open(&library().unwrap()).unwrap();
        let gpu = Gpu::open(Validation::Off)?;
        let other = Gpu::new(&gpu.instance).unwrap();
        let buffer = Buffer::new(&gpu, gpu.incoherent()).unwrap();
        let untouched = Buffer::new(&other, other.incoherent()).unwrap();

        controls.arm_command(c"vkQueueSubmit", 2, LOST);
        assert_eq!(gpu.fill(&buffer, 1), Ok(()));
        assert_eq!(gpu.fill(&buffer, 2), Err(LOST));
        assert_eq!(gpu.fill(&buffer, 3), Err(LOST));
        // SAFETY: a live device, and nothing else uses it.
        assert_eq!(unsafe { gpu.vk.device_wait_idle() }, Err(LOST));
        assert_eq!(other.fill(&untouched, 4), Ok(()));

        let bytes = buffer.memory.map().unwrap();
        buffer.memory.invalidate(0, vk::WHOLE_SIZE).unwrap();
        assert!(bytes.is(1), "a call that fails has no effect");
        Ok(())
    }
}

layer_test! {
    fn an_import_that_is_made_to_fail_leaves_the_file() -> Result<(), Skip> {
        let controls = Controls::open(&library().unwrap()).unwrap();
        let gpu = Gpu::open(Validation::Off)?;
        let buffer = Buffer::exportable(&gpu, gpu.incoherent(), DMA_BUF).unwrap();
        let file = buffer.memory.export(DMA_BUF).unwrap();
        let mut import = vk::ImportMemoryFdInfoKHR::default()
            .handle_type(DMA_BUF)
            .fd(file.as_raw_fd());

        controls.arm(1, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        let result = Memory::new(&gpu, gpu.incoherent(), SIZE, &mut import).map(|_| ());

        assert_eq!(result, Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        assert!(rustix::fs::fstat(&file).is_ok());
        Ok(())
    }
}

layer_test! {
    with ["COHERD_LAYER_FAULT": "2:OUT_OF_DEVICE_MEMORY:vkAllocateMemory"]
    fn the_environment_arms_a_fault() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Off)?;
        let allocate = || Buffer::new(&gpu, gpu.coherent()).map(|_| ());
        assert_eq!(allocate(), Ok(()));
        assert_eq!(allocate(), Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        assert_eq!(allocate(), Ok(()));
        Ok(())
    }
}

layer_test! {
    with ["COHERD_LAYER_ATOM_SIZE": "4096"]
    fn the_environment_sets_the_atom() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Off)?;
        let mut properties = vk::PhysicalDeviceProperties2::default();
        // SAFETY: a live instance and its device.
        unsafe {
            gpu.instance
                .vk
                .get_physical_device_properties2(gpu.physical, &mut properties);
        };
        assert_eq!(properties.properties.limits.non_coherent_atom_size, 4096);
        Ok(())
    }
}
