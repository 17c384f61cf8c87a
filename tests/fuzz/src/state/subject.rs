//! A device that is loaded, step by step as the device thread and a transfer do it.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coherd::device::display::Outputs;
use coherd::device::hang::HangPolicy;
use coherd::device::quota::{Quota, Quotas, Scope};
use coherd::device::{Device, DeviceConfig};
use coherd::mapping_type::{MappingTypes, Policies};
use coherd::memory::GuestMemory;
use coherd::renderer::FenceSink;
use coherd::renderer::blob_context::BlobContexts;
use coherd::snapshot::{Progress, Reader, SnapshotError, State, Writer, contents};
use coherd::vhost_user::back_channel::BackChannelError;
use coherd::window::{HostWindow, Vmm};
use coherd_blob::{MismatchPolicy, Window};
use coherd_protocol::gpu::Features;
use coherd_tests::blob_gpu::MemoryGpu;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::vmm::{Flavour, VmmWindow};
pub use crate::vmm::{PAGE, WINDOW};

/// The features of the driver.
pub const FEATURES: u64 = Features::all().bits();
/// Bytes of memory, and of images.
const BYTES: u64 = 4 << 20;

/// See the module's description.
pub struct Subject {
    gpu: MemoryGpu,
    quotas: Quotas,
    device: Device,
    window: Arc<Recorder>,
    memory: GuestMemory,
}

struct Recorder(Mutex<VmmWindow>);

impl Recorder {
    fn change<T>(&self, change: impl FnOnce(&mut VmmWindow) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Vmm for Recorder {
    fn map(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        shm_offset: u64,
        len: u64,
    ) -> Result<(), BackChannelError> {
        self.change(|window| window.map(fd, [fd_offset, shm_offset, len], 0))
    }

    fn unmap(&self, shm_offset: u64, len: u64) -> Result<(), BackChannelError> {
        self.change(|window| window.unmap(shm_offset, len, 0))
    }

    fn unmaps_on_reset(&self) -> bool {
        true
    }
}

impl Subject {
    pub fn new() -> Self {
        let mut quotas = Quotas::default();
        for quota in [Quota::BlobBytes, Quota::ImageBytes] {
            quotas.set(Scope::Vm, quota, BYTES).expect("a quota");
        }
        let gpu = MemoryGpu::new();
        let types = MappingTypes::default();
        types.set_policies(Policies::all(MismatchPolicy::Warn));
        let types = Arc::new(types);
        let fences = FenceSink::new().expect("an eventfd");
        let renderer = BlobContexts::new(Arc::new(gpu.clone()), Arc::clone(&types), fences);
        let window = Arc::new(Recorder(Mutex::new(VmmWindow::new(Flavour::Qemu))));
        let table = Window::new(WINDOW, PAGE, 8);
        let config = DeviceConfig {
            features: Features::all(),
            blob_alignment: PAGE,
            outputs: Outputs::default(),
            quotas,
            mapping_types: types,
            blobs: None,
            hangs: HangPolicy::default(),
        };
        let host_window = HostWindow::new(table, Arc::clone(&window), Arc::default());
        let size = usize::try_from(16 * PAGE).expect("a small number");
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)]).expect("memory");
        Self {
            gpu,
            quotas,
            device: Device::new(config, Box::new(renderer.without_threads()), host_window),
            window,
            memory: Arc::new(memory),
        }
    }

    /// Loads a stream that may be anything.
    pub fn check(&mut self, stream: &[u8]) {
        if self.load(stream).is_ok() {
            // It runs, and what is saved is a state again.
            assert!(self.device.resume(&self.memory).is_ok());
            let saved = self.save();
            self.reset();
            let again = self.load(&saved);
            assert!(again.is_ok(), "{:?}", again.err());
        }
        self.reset();
    }

    /// Loads a stream; the device is empty if that fails.
    pub fn load(&mut self, stream: &[u8]) -> Result<(), SnapshotError> {
        let loaded = self.try_load(stream);
        if loaded.is_err() {
            self.reset();
        }
        loaded
    }

    fn try_load(&mut self, stream: &[u8]) -> Result<(), SnapshotError> {
        let mut reader = Reader::new(stream)?;
        let state = State::read(&mut reader, &self.quotas)?;
        let mut pieces = self.device.load(&state, state.device.features.get())?;
        let filled = contents::load(&mut pieces, &mut reader, &Progress::default());
        self.device.take_back(pieces);
        filled
    }

    fn save(&mut self) -> Vec<u8> {
        self.device
            .check_savable()
            .expect("what was loaded can be saved");
        let quiet = self.device.quiesce(Duration::from_secs(1));
        let quiet = quiet.expect("nothing is to be done");
        let (mut state, mut pieces) = self.device.capture(quiet).expect("nothing is pending");
        state.device.features = FEATURES.into();
        let mut writer = Writer::new(Vec::new()).expect("memory takes bytes");
        state.write(&mut writer).expect("memory takes bytes");
        let written = contents::save(&mut pieces, &mut writer, &Progress::default());
        written.expect("memory takes bytes");
        self.device.take_back(pieces);
        writer.finish().expect("memory takes bytes")
    }

    /// The device is reset, and keeps nothing.
    pub fn reset(&mut self) {
        self.device.reset(FEATURES);
        self.window.change(VmmWindow::reset);
        assert_eq!(self.gpu.blobs(), 0, "memory is left behind");
    }
}
