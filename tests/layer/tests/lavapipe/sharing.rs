//! Memory that leaves a device as a file, and comes back to it or to another.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::gpu::{Gpu, Validation, messages};
use crate::isolation::{Skip, again, layer_test};
use crate::memory::{Buffer, Bytes, Memory, SIZE, Unbound, create_info};

const DMA_BUF: HandleTypes = HandleTypes::DMA_BUF_EXT;
const OPAQUE: HandleTypes = HandleTypes::OPAQUE_FD;

/// Names the file that [`peer`] is to import.
const FILE: &str = "COHERD_LAYER_TEST_FILE";

/// Maps the first `SIZE` bytes of a file, as a process without Vulkan does, to the end of the
/// process.
fn map_file(fd: &OwnedFd) -> Bytes {
    let size = usize::try_from(SIZE).unwrap();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses the address; the mapping is never undone.
    unsafe {
        let address =
            rustix::mm::mmap(core::ptr::null_mut(), size, access, MapFlags::SHARED, fd, 0);
        Bytes::at(address.unwrap().cast())
    }
}

fn file_size(fd: &OwnedFd) -> u64 {
    u64::try_from(rustix::fs::fstat(fd).unwrap().st_size).unwrap()
}

layer_test! {
    fn an_exported_file_shows_the_cpu_side() -> Result<(), Skip> {
        exports_show_the_cpu_side(Validation::Above)
    }
}

layer_test! {
    fn what_the_layer_asks_of_the_driver_is_valid_when_exporting() -> Result<(), Skip> {
        exports_show_the_cpu_side(Validation::Below)
    }
}

fn exports_show_the_cpu_side(validation: Validation) -> Result<(), Skip> {
    let gpu = Gpu::open(validation)?;
    for kind in [DMA_BUF, OPAQUE] {
        let buffer = Buffer::exportable(&gpu, gpu.incoherent(), kind).unwrap();
        let seen = Buffer::new(&gpu, gpu.coherent()).unwrap();
        let (bytes, result) = (buffer.memory.map().unwrap(), seen.memory.map().unwrap());
        let file = buffer.memory.export(kind).unwrap();
        let elsewhere = map_file(&file);

        elsewhere.write(1);
        assert!(bytes.is(1));
        gpu.copy(&buffer, &seen).unwrap();
        assert!(result.is(0), "the GPU saw what was not flushed");
        buffer.memory.flush(0, vk::WHOLE_SIZE).unwrap();
        gpu.copy(&buffer, &seen).unwrap();
        assert!(result.is(1));

        gpu.fill(&buffer, 2).unwrap();
        assert!(
            elsewhere.is(1),
            "a file's mapping saw what was not invalidated"
        );
        buffer.memory.invalidate(0, vk::WHOLE_SIZE).unwrap();
        assert!(elsewhere.is(2));

        assert_eq!(file_size(&file), 2 * SIZE);
        let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
        assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW));
    }
    assert_eq!(messages(), Vec::<String>::new());
    Ok(())
}

layer_test! {
    fn an_exported_file_of_coherent_memory_needs_no_brackets() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        for memory_type in [gpu.coherent(), gpu.uncached()] {
            let buffer = Buffer::exportable(&gpu, memory_type, DMA_BUF).unwrap();
            let file = buffer.memory.export(DMA_BUF).unwrap();

            gpu.fill(&buffer, 3).unwrap();

            assert!(map_file(&file).is(3));
            assert_eq!(file_size(&file), SIZE);
        }
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

/// Imports `file` in a new device and checks that both GPUs work on the same bytes.
fn share(gpu: &Rc<Gpu>, kind: HandleTypes) {
    let other = Gpu::new(&gpu.instance).unwrap();
    let first = Buffer::exportable(gpu, gpu.incoherent(), kind).unwrap();
    let file = first.memory.export(kind).unwrap();
    let second = Buffer::import(&other, other.incoherent(), kind, file).unwrap();
    let (first_bytes, second_bytes) = (first.memory.map().unwrap(), second.memory.map().unwrap());

    gpu.fill(&first, 4).unwrap();
    assert!(second_bytes.is(0), "the CPU saw what was not invalidated");
    second.memory.invalidate(0, vk::WHOLE_SIZE).unwrap();
    assert!(second_bytes.is(4));
    assert!(first_bytes.is(4), "the CPU's side is one");

    first_bytes.write(5);
    first.memory.flush(0, vk::WHOLE_SIZE).unwrap();
    let seen = Buffer::new(&other, other.coherent()).unwrap();
    other.copy(&second, &seen).unwrap();
    assert!(seen.memory.map().unwrap().is(5));
}

layer_test! {
    fn an_import_in_a_second_device_shares_both_sides() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        share(&gpu, DMA_BUF);
        share(&gpu, OPAQUE);
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn what_the_layer_asks_of_the_driver_is_valid_when_importing() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Below)?;
        share(&gpu, DMA_BUF);
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn an_import_in_a_second_process_shares_the_gpu_side() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let buffer = Buffer::exportable(&gpu, gpu.incoherent(), DMA_BUF).unwrap();
        let bytes = buffer.memory.map().unwrap();
        let file = buffer.memory.export(DMA_BUF).unwrap();
        gpu.fill(&buffer, 6).unwrap();

        let output = again("sharing::peer")
            .env(FILE, format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
            .output()
            .unwrap();

        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("6 became 7"), "{text}");
        assert!(bytes.is(0), "the CPU saw what was not invalidated");
        buffer.memory.invalidate(0, vk::WHOLE_SIZE).unwrap();
        assert!(bytes.is(7));
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

#[test]
#[ignore = "the other process of an_import_in_a_second_process_shares_the_gpu_side"]
fn peer() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let Ok(gpu) = Gpu::open(Validation::Above) else {
        panic!("the first process had Vulkan");
    };
    let buffer = Buffer::import(&gpu, gpu.incoherent(), DMA_BUF, file.into()).unwrap();
    let seen = Buffer::new(&gpu, gpu.coherent()).unwrap();
    gpu.copy(&buffer, &seen).unwrap();
    let before = seen.memory.map().unwrap().byte(SIZE - 1);
    gpu.fill(&buffer, 7).unwrap();
    println!("{before} became 7");
}

layer_test! {
    fn memory_types_of_files_are_told_apart() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let functions = ash::khr::external_memory_fd::Device::new(&gpu.instance.vk, &gpu.vk);
        let bits = |fd: &OwnedFd| {
            let mut properties = vk::MemoryFdPropertiesKHR::default();
            // SAFETY: an open file.
            let result = unsafe {
                functions.get_memory_fd_properties(DMA_BUF, fd.as_raw_fd(), &mut properties)
            };
            result.map(|()| properties.memory_type_bits)
        };
        let export = |memory_type| {
            let buffer = Buffer::exportable(&gpu, memory_type, DMA_BUF).unwrap();
            buffer.memory.export(DMA_BUF).unwrap()
        };
        let all = [gpu.incoherent(), gpu.uncached(), gpu.coherent()];
        let [incoherent, uncached, coherent] = all.map(|index| 1 << index);

        assert_eq!(bits(&export(gpu.incoherent())), Ok(incoherent));
        assert_eq!(bits(&export(gpu.uncached())), Ok(uncached | coherent));
        assert_eq!(bits(&export(gpu.coherent())), Ok(uncached | coherent));
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn an_import_that_does_not_fit_fails_and_leaves_the_file() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Off)?;
        let import = |file: &OwnedFd, memory_type, size| {
            let mut import = vk::ImportMemoryFdInfoKHR::default()
                .handle_type(DMA_BUF)
                .fd(file.as_raw_fd());
            Memory::new(&gpu, memory_type, size, &mut import).map(|_| ())
        };
        let invalid = Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
        let own = Buffer::exportable(&gpu, gpu.incoherent(), DMA_BUF).unwrap();
        let own = own.memory.export(DMA_BUF).unwrap();
        let other = rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&other, SIZE).unwrap();

        assert_eq!(import(&own, gpu.coherent(), SIZE), invalid);
        assert_eq!(import(&own, gpu.uncached(), SIZE), invalid);
        assert_eq!(import(&own, gpu.incoherent(), SIZE + 1), invalid);
        assert_eq!(import(&other, gpu.incoherent(), SIZE), invalid);

        assert_eq!(file_size(&own), 2 * SIZE);
        assert_eq!(file_size(&other), SIZE);
        Ok(())
    }
}

layer_test! {
    fn a_file_of_somebody_else_goes_to_the_driver() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Off)?;
        let file = rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, SIZE).unwrap();
        let bytes = map_file(&file);

        let buffer = Buffer::import(&gpu, gpu.coherent(), DMA_BUF, file).unwrap();
        gpu.fill(&buffer, 8).unwrap();

        assert!(bytes.is(8));
        Ok(())
    }
}

layer_test! {
    fn host_memory_becomes_the_cpu_side_of_an_import() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let file = rustix::fs::memfd_create("host", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, SIZE).unwrap();
        let bytes = map_file(&file);
        bytes.write(9);
        let buffer = Buffer::import_host(&gpu, gpu.incoherent(), bytes.address()).unwrap();
        let seen = Buffer::new(&gpu, gpu.coherent()).unwrap();
        let result = seen.memory.map().unwrap();
        buffer.memory.map().unwrap();

        gpu.copy(&buffer, &seen).unwrap();
        assert!(result.is(0), "the GPU saw what was not flushed");
        buffer.memory.flush(0, vk::WHOLE_SIZE).unwrap();
        gpu.copy(&buffer, &seen).unwrap();
        assert!(result.is(9));
        gpu.fill(&buffer, 10).unwrap();
        assert!(bytes.is(9), "the CPU saw what was not invalidated");
        buffer.memory.invalidate(0, vk::WHOLE_SIZE).unwrap();
        assert!(bytes.is(10));
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn requirements_name_the_types_that_will_do() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let all = [gpu.incoherent(), gpu.uncached(), gpu.coherent()]
            .into_iter()
            .fold(0, |bits, index| bits | 1 << index);
        for kind in [HandleTypes::empty(), DMA_BUF] {
            let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(kind);
            let info = create_info(&mut external);
            let buffer = Unbound::new(&gpu, kind).unwrap();
            let query = vk::DeviceBufferMemoryRequirements::default().create_info(&info);
            let mut early = vk::MemoryRequirements2::default();
            // SAFETY: a live device, and information that lives through the call.
            unsafe {
                gpu.vk
                    .get_device_buffer_memory_requirements(&query, &mut early);
            };

            assert_eq!(buffer.requirements().memory_type_bits, all);
            assert_eq!(early.memory_requirements.memory_type_bits, all);
        }
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn buffers_can_be_exported_and_imported() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        for kind in [DMA_BUF, OPAQUE] {
            let info = vk::PhysicalDeviceExternalBufferInfo::default()
                .usage(vk::BufferUsageFlags::TRANSFER_SRC)
                .handle_type(kind);
            let mut properties = vk::ExternalBufferProperties::default();
            // SAFETY: a live instance and its device.
            unsafe {
                gpu.instance.vk.get_physical_device_external_buffer_properties(
                    gpu.physical,
                    &info,
                    &mut properties,
                );
            };
            let answer = properties.external_memory_properties;
            assert_eq!(
                answer.external_memory_features,
                vk::ExternalMemoryFeatureFlags::EXPORTABLE
                    | vk::ExternalMemoryFeatureFlags::IMPORTABLE
            );
            assert_eq!(answer.compatible_handle_types, DMA_BUF | OPAQUE);
        }
        Ok(())
    }
}
