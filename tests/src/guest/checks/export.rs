//! Exportable memory: is it offered, and does what was exported show the same bytes?

use std::ffi::CStr;
use std::fmt;

use ash::{ext, khr, vk};

use super::error::CheckError;
use super::expectation::Expectation;
use super::pattern;
use super::shared::{Exported, map_and_read};
use crate::guest::{Gpu, MappedBuffer};

/// Bytes that are shared.
const SIZE: u64 = 256 * 1024;

/// What a device must enable for the check where it can.
pub const EXPORT_EXTENSIONS: &[&CStr] = &[
    khr::external_memory_fd::NAME,
    ext::external_memory_dma_buf::NAME,
];

/// A kind of handle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExportHandle {
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT`.
    OpaqueFd,
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT`.
    DmaBuf,
}

impl ExportHandle {
    /// Its bit.
    #[must_use]
    pub fn bit(self) -> vk::ExternalMemoryHandleTypeFlags {
        match self {
            Self::OpaqueFd => vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD,
            Self::DmaBuf => vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::OpaqueFd => "opaque-fd",
            Self::DmaBuf => "dma-buf",
        }
    }

    /// Extensions without which it does not exist.
    fn extensions(self) -> &'static [&'static CStr] {
        match self {
            Self::OpaqueFd => &EXPORT_EXTENSIONS[..1],
            Self::DmaBuf => EXPORT_EXTENSIONS,
        }
    }
}

impl fmt::Display for ExportHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Runs the check for some kinds of handles and says what it found.
pub fn export(
    gpu: &Gpu,
    handles: &[ExportHandle],
    expectation: Option<Expectation>,
) -> Result<String, CheckError> {
    let mut found = Vec::new();
    for handle in handles {
        let offer = offer(gpu, *handle);
        let offered = !matches!(offer, Offer::No(_));
        if let Offer::No(reason) = &offer {
            eprintln!("{handle}: {reason}");
        }
        if let Some(expectation) = expectation {
            expectation.check(handle.name(), offered)?;
        }
        match offer {
            Offer::No(_) => {}
            Offer::ExportOnly => {
                Exported::new(gpu, SIZE, handle.bit())?.export()?;
                found.push(format!("{handle} can be exported, but not imported"));
            }
            Offer::Yes => {
                found.push(format!(
                    "{handle} shows the same bytes{}",
                    share(gpu, *handle)?
                ));
            }
        }
    }
    Ok(if found.is_empty() {
        "not offered".to_owned()
    } else {
        found.join(", ")
    })
}

/// Whether buffers can be exported.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Offer {
    Yes,
    /// Venus exports what its host can, yet may be unable to import.
    ExportOnly,
    No(String),
}

fn offer(gpu: &Gpu, handle: ExportHandle) -> Offer {
    if let Some(missing) = handle
        .extensions()
        .iter()
        .find(|name| !gpu.advertises(name))
    {
        return Offer::No(format!("{} is not advertised", missing.to_string_lossy()));
    }
    let info = vk::PhysicalDeviceExternalBufferInfo::default()
        .usage(Exported::USAGE)
        .handle_type(handle.bit());
    let mut properties = vk::ExternalBufferProperties::default();
    // SAFETY: the physical device belongs to the instance; the structures live until the call
    // returns.
    unsafe {
        gpu.instance()
            .get_physical_device_external_buffer_properties(gpu.physical(), &info, &mut properties);
    }
    let features = properties
        .external_memory_properties
        .external_memory_features;
    if !features.contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE) {
        Offer::No(format!("advertised, but buffers are only {features:?}"))
    } else if features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE) {
        Offer::Yes
    } else {
        Offer::ExportOnly
    }
}

/// Exports memory, imports it again, and looks at each side's bytes from the other.
fn share(gpu: &Gpu, handle: ExportHandle) -> Result<&'static str, CheckError> {
    let first = Exported::new(gpu, SIZE, handle.bit())?;
    let fd = first.export()?;
    let second = first.import(fd.try_clone().map_err(|source| CheckError::System {
        call: "Duplicating the exported handle",
        source,
    })?)?;
    write(first.buffer(), 1)?;
    verify(second.buffer(), 1, handle, "imported")?;
    write(second.buffer(), 2)?;
    verify(first.buffer(), 2, handle, "exported")?;
    if handle != ExportHandle::DmaBuf {
        return Ok("");
    }
    let mut found = scratch();
    match map_and_read(&fd, &mut found) {
        Ok(()) => {
            compare(2, &found, handle, "mapped from its fd")?;
            Ok(", also mapped from its fd")
        }
        Err(error) => {
            eprintln!("{handle}: mmap of the fd: {error}");
            Ok(", its fd cannot be mapped")
        }
    }
}

fn scratch() -> Vec<u8> {
    vec![0; usize::try_from(SIZE).unwrap_or(0)]
}

fn write(buffer: &MappedBuffer<'_>, seed: u64) -> Result<(), CheckError> {
    let mut bytes = scratch();
    pattern::fill(seed, &mut bytes);
    Ok(buffer.upload(0, &bytes)?)
}

fn verify(
    buffer: &MappedBuffer<'_>,
    seed: u64,
    handle: ExportHandle,
    side: &str,
) -> Result<(), CheckError> {
    let mut found = scratch();
    buffer.download(0, &mut found)?;
    compare(seed, &found, handle, side)
}

fn compare(seed: u64, found: &[u8], handle: ExportHandle, side: &str) -> Result<(), CheckError> {
    let mut expected = scratch();
    pattern::fill(seed, &mut expected);
    pattern::compare(&expected, found).map_err(|mismatch| CheckError::Bytes {
        what: format!("{handle}, {side}"),
        mismatch,
    })
}
