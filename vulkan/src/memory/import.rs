//! Memory of others.

use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use ash::vk;
use coherd_blob::Backing;
use coherd_blob::backing::ExportKind;

use crate::extensions::Extensions;
use crate::external::external_buffers;
use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::allocate::checked_size;
use crate::memory::allocation::{Memory, Parts};
use crate::memory::buffer::{Buffer, Dedicated, Requirements, usage_flags};
use crate::memory::choose::rank;
use crate::memory::device_memory::{DeviceMemory, Source};
use crate::memory::host::HostMemory;
use crate::memory::{AllocateError, ImportError, ImportRequest, pointer};

const DMA_BUF: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;

/// Imports a dma-buf.
///
/// # Errors
/// See [`ImportError`].
pub fn dma_buf(
    device: &Arc<LogicalDevice>,
    fd: OwnedFd,
    request: &ImportRequest<'_>,
) -> Result<Memory, ImportError> {
    device.ensure_alive().map_err(AllocateError::from)?;
    if !device.has(Extensions::DMA_BUF) {
        return Err(AllocateError::Unsupported("import dma-bufs").into());
    }
    let (buffer, requirements) = buffer(device, DMA_BUF, request)?;
    let backing = Backing::new(fd, ExportKind::DmaBuf, whole_pages(requirements.size))?;
    let allowed = fd_types(device, &backing)? & requirements.types;
    let ty = best(device, allowed, request)?;
    let memory = import_fd(device, &ty, &backing, &buffer, &requirements)?;
    finish(request, buffer, memory, None)
}

/// Imports memory of the host.
///
/// # Errors
/// See [`ImportError`].
pub fn host(
    device: &Arc<LogicalDevice>,
    host: Arc<dyn HostMemory>,
    request: &ImportRequest<'_>,
) -> Result<Memory, ImportError> {
    device.ensure_alive().map_err(AllocateError::from)?;
    if !device.has(Extensions::HOST_MEMORY) {
        return Err(AllocateError::Unsupported("use memory of the host").into());
    }
    let (buffer, requirements) = buffer(device, pointer::HANDLE_TYPE, request)?;
    // VUID-VkMemoryAllocateInfo-pNext-02806
    if requirements.dedicated == Dedicated::Required {
        return Err(AllocateError::Unsupported("dedicate memory of the host to a buffer").into());
    }
    let size = host_range(device, &*host, requirements.size)?;
    let allowed = pointer::types(device, &*host).map_err(refusal)? & requirements.types;
    let ty = best(device, allowed, request)?;
    // SAFETY: the memory is kept with the memory object; `host_range` checked alignment and size.
    let memory =
        unsafe { pointer::import(device, &ty, Source::Imported, &*host, size) }.map_err(refusal)?;
    finish(request, buffer, memory, Some(host))
}

/// A buffer for memory that is imported as `handle_type`, of which the device has the extension.
fn buffer(
    device: &Arc<LogicalDevice>,
    handle_type: vk::ExternalMemoryHandleTypeFlags,
    request: &ImportRequest<'_>,
) -> Result<(Buffer, Requirements), AllocateError> {
    checked_size(device, request.size)?;
    let usage = usage_flags(request.usage);
    let features = external_buffers(device.instance(), device.physical(), handle_type, usage);
    // VUID-VkImportMemoryFdInfoKHR-handleType-00667,
    // VUID-VkImportMemoryHostPointerInfoEXT-handleType-01747
    if !features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE) {
        return Err(AllocateError::Unsupported(
            "import memory of this kind for this usage",
        ));
    }
    let buffer = Buffer::new(device, request.size, usage, handle_type)?;
    let mut requirements = buffer.requirements();
    if features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY) {
        requirements.dedicated = Dedicated::Required;
    }
    Ok((buffer, requirements))
}

fn whole_pages(size: u64) -> u64 {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    size.checked_next_multiple_of(page).unwrap_or(size)
}

fn best(
    device: &LogicalDevice,
    allowed: u32,
    request: &ImportRequest<'_>,
) -> Result<TypeFacts, AllocateError> {
    let types = &device.facts().types;
    rank(types, allowed, request.required, request.preferred)
        .first()
        .copied()
        .ok_or(AllocateError::NoMemoryType {
            required: request.required,
        })
}

/// The types as which the device can take a dma-buf, a bit for each index.
fn fd_types(device: &LogicalDevice, backing: &Backing) -> Result<u32, ImportError> {
    let functions = device.functions().memory_fd.as_ref();
    let functions = functions.ok_or(AllocateError::Unsupported("import dma-bufs"))?;
    let mut properties = vk::MemoryFdPropertiesKHR::default();
    // SAFETY: the fd is alive, and the handle type is not that of opaque fds
    // (VUID-vkGetMemoryFdPropertiesKHR-handleType-00674). Whether it is a dma-buf of use to this
    // device (VUID-vkGetMemoryFdPropertiesKHR-fd-00673) is for the driver to say.
    let result = device.outcome("vkGetMemoryFdPropertiesKHR", unsafe {
        let fd = backing.as_fd().as_raw_fd();
        functions.get_memory_fd_properties(DMA_BUF, fd, &mut properties)
    });
    result.map_err(|error| refusal(error.into()))?;
    Ok(properties.memory_type_bits)
}

fn import_fd(
    device: &Arc<LogicalDevice>,
    ty: &TypeFacts,
    backing: &Backing,
    buffer: &Buffer,
    requirements: &Requirements,
) -> Result<DeviceMemory, ImportError> {
    let fd = rustix::io::fcntl_dupfd_cloexec(backing, 0).map_err(ImportError::Duplicate)?;
    let mut import = vk::ImportMemoryFdInfoKHR::default()
        .handle_type(DMA_BUF)
        .fd(fd.as_raw_fd());
    let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().buffer(buffer.raw());
    let mut info = vk::MemoryAllocateInfo::default()
        .allocation_size(requirements.size)
        .push_next(&mut import);
    if requirements.dedicated == Dedicated::Required {
        info = info.push_next(&mut dedicated);
    }
    // SAFETY: the handle type can be imported (VUID-VkImportMemoryFdInfoKHR-handleType-00667), the
    // type is one the device takes the fd as (VUID-VkMemoryAllocateInfo-memoryTypeIndex-00648),
    // and the file has as many bytes.
    let memory =
        unsafe { DeviceMemory::allocate(device, ty, Source::Imported, info) }.map_err(refusal)?;
    // The driver owns the fd now, and closes it.
    let _ = fd.into_raw_fd();
    Ok(memory)
}

/// How many bytes of `memory` the device has to be given for a buffer of `size` bytes.
fn host_range(
    device: &LogicalDevice,
    memory: &dyn HostMemory,
    size: u64,
) -> Result<u64, ImportError> {
    let alignment = device.facts().host_alignment;
    // VUID-VkImportMemoryHostPointerInfoEXT-pHostPointer-01749
    if !(memory.as_ptr().addr() as u64).is_multiple_of(alignment) {
        return Err(ImportError::Misaligned { alignment });
    }
    // VUID-VkMemoryAllocateInfo-allocationSize-01745
    let size = size.next_multiple_of(alignment);
    let available = memory.len() as u64;
    // VUID-VkImportMemoryHostPointerInfoEXT-handleType-01750
    if size > available {
        return Err(ImportError::TooSmall { size, available });
    }
    Ok(size)
}

fn refusal(error: AllocateError) -> ImportError {
    if pointer::refused(&error) {
        ImportError::Refused
    } else {
        error.into()
    }
}

fn finish(
    request: &ImportRequest<'_>,
    buffer: Buffer,
    memory: DeviceMemory,
    host: Option<Arc<dyn HostMemory>>,
) -> Result<Memory, ImportError> {
    // SAFETY: type, size and handle type are those the buffer wants, the memory is dedicated to it
    // or to nobody, and `Memory` frees it after the buffer.
    unsafe { buffer.bind(memory.raw()) }.map_err(AllocateError::from)?;
    Ok(Memory::new(Parts {
        buffer: Some(buffer),
        image: None,
        memory,
        host,
        share: None,
        foreign: true,
        name: request.name.into(),
        size: request.size,
    }))
}
