//! What the tests of the allocator share: a device under the validation layer, no message of
//! which is forgiven.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod layer;

use std::error::Error;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coherd_blob::Backing;
use coherd_protocol::memory::MemoryProperties;
use coherd_vulkan::memory::{
    Allocation, AllocationRequest, ExportNeed, Exported, HostMemory, MappedFile, MemoryTypeInfo,
};
use coherd_vulkan::transfer::Submission;
use coherd_vulkan::{Device, EnumerateError, OpenError, Options, SelectError, Selector};

/// Longer than any transfer of a test takes on the slowest machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Set where a missing driver is a failure and not a reason to skip.
const REQUIRE: &str = "COHERD_REQUIRE_VULKAN";

/// Set where a driver that exports no dma-bufs is a failure.
const REQUIRE_DMA_BUF: &str = "COHERD_REQUIRE_DMA_BUF";

/// A device whose validation messages fail the test.
pub struct Checked {
    device: Option<Device>,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Checked {
    /// The device that any program would get; `None`, with a word, where there is none.
    pub fn open() -> Option<Self> {
        Self::open_with(&Selector::Any, Options::default())
    }

    /// As [`Self::open`], without some extensions.
    pub fn open_without(extensions: &[&str]) -> Option<Self> {
        let without_extensions = extensions.iter().map(|name| (*name).to_string()).collect();
        Self::open_with(
            &Selector::Any,
            Options {
                without_extensions,
                ..Options::default()
            },
        )
    }

    /// As [`Self::open`], the device that `selector` chooses.
    pub fn open_with(selector: &Selector, mut options: Options) -> Option<Self> {
        options.layers.extend(layer::names());
        let messages = Arc::new(Mutex::new(Vec::new()));
        let sink = messages.clone();
        options.validation = Some(Arc::new(move |message: &str| {
            sink.lock().unwrap().push(message.to_string());
        }));
        match Device::open(selector, &options) {
            Ok(device) => Some(Self {
                device: Some(device),
                messages,
            }),
            Err(error) if is_absence(&error) => {
                let causes =
                    std::iter::successors(Some(&error as &dyn Error), |error| (*error).source());
                let causes: Vec<String> = causes.map(ToString::to_string).collect();
                skip(&causes.join(": "));
                None
            }
            Err(error) => panic!("no device: {error:?}"),
        }
    }
}

impl Deref for Checked {
    type Target = Device;

    fn deref(&self) -> &Device {
        self.device.as_ref().unwrap()
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        // What destruction has to say counts too.
        self.device = None;
        if !std::thread::panicking() {
            let messages = self.messages.lock().unwrap();
            assert!(messages.is_empty(), "{}", messages.join("\n"));
        }
    }
}

fn is_absence(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::Enumerate(EnumerateError::Loader(_) | EnumerateError::NoLayer(_))
            | OpenError::Select(SelectError::NoDevice)
    )
}

/// Says that a test has no Vulkan, or fails where there has to be one.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os(REQUIRE).is_none(),
        "{REQUIRE} is set: {reason}"
    );
    println!("SKIPPED: {reason}");
}

/// Says that a test has no dma-bufs of the device, or fails where there have to be some.
pub fn skip_dma_buf(reason: &str) {
    let required = std::env::var_os(REQUIRE_DMA_BUF).is_some();
    assert!(!required, "{REQUIRE_DMA_BUF} is set: {reason}");
    println!("SKIPPED: {reason}");
}

/// A request for exactly the properties of `ty`.
pub fn of_type<'a>(name: &'a str, ty: &MemoryTypeInfo, size: u64) -> AllocationRequest<'a> {
    AllocationRequest {
        name,
        size,
        required: ty.properties,
        ..AllocationRequest::default()
    }
}

/// Memory the CPU can read and write.
pub fn visible(device: &Device, name: &str, size: u64, export: ExportNeed) -> Allocation {
    device
        .allocate(&AllocationRequest {
            name,
            size,
            required: MemoryProperties::HOST_VISIBLE,
            preferred: MemoryProperties::HOST_COHERENT | MemoryProperties::HOST_CACHED,
            export,
            ..AllocationRequest::default()
        })
        .unwrap()
}

/// Bytes that differ from place to place and from `seed` to `seed`.
pub fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..u32::try_from(len).unwrap())
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 13).to_le_bytes()[0])
        .collect()
}

/// Writes by the CPU, for the GPU.
pub fn write(allocation: &Allocation, bytes: &[u8]) {
    allocation.map().unwrap().write(0, bytes).unwrap();
    allocation.flush(0..bytes.len() as u64).unwrap();
}

/// Reads by the CPU what the GPU wrote.
pub fn read(allocation: &Allocation, len: usize) -> Vec<u8> {
    allocation.invalidate(0..len as u64).unwrap();
    let mut bytes = vec![0; len];
    allocation.map().unwrap().read(0, &mut bytes).unwrap();
    bytes
}

/// Copies by the GPU, and waits for it.
pub fn copy(device: &Device, source: &Allocation, destination: &Allocation, size: u64) {
    finish(&device.copy(source, 0, destination, 0, size).unwrap());
}

/// Waits for the GPU.
pub fn finish(submission: &Submission) {
    submission.wait(DEADLINE).unwrap();
}

/// Maps an exported file as another process does.
pub fn map(exported: Exported, size: u64) -> MappedFile {
    let pages = size.next_multiple_of(rustix::param::page_size() as u64);
    let backing = Backing::new(exported.fd, exported.kind, pages).unwrap();
    MappedFile::of(&backing).unwrap()
}

/// Reads from another process's mapping.
pub fn peek(mapped: &MappedFile, len: usize) -> Vec<u8> {
    assert!(len <= mapped.len());
    let mut bytes = vec![0; len];
    // SAFETY: as many bytes are mapped.
    unsafe {
        mapped
            .as_ptr()
            .copy_to_nonoverlapping(bytes.as_mut_ptr(), len);
    };
    bytes
}

/// Writes to another process's mapping.
pub fn poke(mapped: &MappedFile, bytes: &[u8]) {
    assert!(bytes.len() <= mapped.len());
    // SAFETY: as many bytes are mapped.
    unsafe {
        mapped
            .as_ptr()
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    };
}

/// A memfd of `size` bytes.
pub fn memfd(size: u64) -> OwnedFd {
    let flags = rustix::fs::MemfdFlags::ALLOW_SEALING | rustix::fs::MemfdFlags::CLOEXEC;
    let fd = rustix::fs::memfd_create("test", flags).unwrap();
    rustix::fs::ftruncate(&fd, size).unwrap();
    fd
}
