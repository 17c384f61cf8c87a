//! A host in this process, for tests: the blob context over memfds, with one file per context.
//!
//! Memory that needs brackets is two copies. Mappings show the processor's, copies and fills work
//! on the GPU's, and only SYNC brings one to the other. So a missing bracket shows every time.

#![allow(clippy::cast_possible_truncation, reason = "tests choose small sizes")]

mod execute;
mod file;
mod resource;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use coherd_protocol::blob_context::capset::{
    Capset, CapsetFlags, FormatModifier, Head, Heap, MemoryType, TypeFlags,
};
use coherd_protocol::blob_context::command::ImageUsage;
use coherd_protocol::blob_context::{CAPSET_BLOB, Status};
use coherd_protocol::memory::MemoryProperties;
use zerocopy::FromZeros;

use crate::context::{Context, Options};
use file::File;
use resource::Resource;

/// What brackets are rounded to.
pub const ATOM: u64 = 64;

/// The largest allocation.
pub const MAX_ALLOCATION: u64 = 1 << 30;

/// `DRM_FORMAT_XRGB8888`
pub const XRGB8888: u32 = u32::from_le_bytes(*b"XR24");

/// A modifier that is not linear.
pub const TILED: u64 = 0x0100_0000_0000_0001;

/// A host. Contexts are opened on it as on a device.
#[derive(Clone, Debug)]
pub struct FakeHost {
    state: Arc<Mutex<State>>,
}

/// What goes wrong, from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Nothing is executed, and no fence is signalled.
    Hang,
    /// Everything is refused without a reply, as for a lost context.
    Lost,
    /// Commands of this kind have this status.
    Refuse(u32, Status),
    /// RESOURCE_CREATE_BLOB fails, which a guest is not told.
    NoBlob,
    /// The window is full.
    WindowFull,
    /// RESOURCE_MAP_BLOB fails.
    NoMap,
    /// The device makes no images, says the capset.
    NoImages,
}

#[derive(Debug)]
struct State {
    types: Vec<MemoryType>,
    resources: HashMap<u32, Resource>,
    objects: HashMap<(u32, u64), Resource>,
    held: Vec<OwnedFd>,
    next_id: u32,
    log: Vec<String>,
    fault: Fault,
}

/// The types of memory of a device with all kinds.
pub fn all_kinds() -> Vec<MemoryProperties> {
    use MemoryProperties as P;
    vec![
        P::DEVICE_LOCAL,
        P::HOST_VISIBLE | P::HOST_COHERENT,
        P::HOST_VISIBLE | P::HOST_COHERENT | P::HOST_CACHED,
        P::HOST_VISIBLE | P::HOST_CACHED,
        P::HOST_VISIBLE,
    ]
}

impl FakeHost {
    /// A host with all kinds of memory.
    pub fn new() -> Self {
        Self::with_types(&all_kinds())
    }

    /// A host with these types of memory.
    pub fn with_types(types: &[MemoryProperties]) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                types: types
                    .iter()
                    .map(|properties| memory_type(*properties))
                    .collect(),
                resources: HashMap::new(),
                objects: HashMap::new(),
                held: Vec::new(),
                next_id: 1,
                log: Vec::new(),
                fault: Fault::None,
            })),
        }
    }

    /// Opens a context.
    pub fn open(&self) -> Context {
        self.open_with(&Options::default())
    }

    /// Opens a context.
    pub fn open_with(&self, options: &Options) -> Context {
        Context::over(Arc::new(self.file()), options).unwrap()
    }

    /// Opens the device.
    pub fn file(&self) -> File {
        let mut state = self.lock();
        let context = state.new_id();
        File::new(Arc::clone(&self.state), context)
    }

    /// Has something go wrong from now on.
    pub fn fail(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// Signals what [`Fault::Hang`] has held back.
    pub fn signal_held(&self) {
        for fence in std::mem::take(&mut self.lock().held) {
            file::signal(&fence);
        }
    }

    /// What was executed since the last call, but for the reply buffer's commands.
    pub fn executed(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().log)
    }

    /// How many resources there are beside the reply buffers, and objects without one.
    pub fn holdings(&self) -> (usize, usize) {
        let state = self.lock();
        let blobs = state.resources.values().filter(|it| !it.is_guest());
        (blobs.count(), state.objects.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn capset(&self) -> Vec<u8> {
        let mut head = Head::new_zeroed();
        let mut flags = CapsetFlags::all();
        flags.set(CapsetFlags::IMAGES, self.fault != Fault::NoImages);
        head.flags = flags.bits().into();
        head.atom_size = (ATOM as u32).into();
        head.max_sync_timeout_ms = 10_000.into();
        head.max_image_dimension = 4096.into();
        head.page_size = 4096.into();
        head.max_allocation_size = MAX_ALLOCATION.into();
        head.device_name[..4].copy_from_slice(b"fake");
        let format = |modifier: u64| FormatModifier {
            fourcc: XRGB8888.into(),
            planes: 1.into(),
            modifier: modifier.into(),
            usage: ImageUsage::all().bits().into(),
            padding: 0.into(),
        };
        let capset = Capset {
            head,
            types: self.types.clone(),
            heaps: vec![Heap {
                size: (4 << 30).into(),
                flags: 1.into(),
                padding: 0.into(),
            }],
            formats: vec![format(0), format(TILED)],
        };
        assert_eq!(CAPSET_BLOB, 28);
        capset.encode()
    }
}

fn memory_type(properties: MemoryProperties) -> MemoryType {
    use MemoryProperties as P;
    let visible = properties.contains(P::HOST_VISIBLE);
    let mut flags = TypeFlags::empty();
    flags.set(TypeFlags::MAPPABLE, visible);
    flags.set(
        TypeFlags::NEEDS_SYNC,
        visible && !properties.contains(P::HOST_COHERENT),
    );
    let map_info = match (visible, properties.contains(P::HOST_CACHED)) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 3,
    };
    MemoryType {
        properties: properties.bits().into(),
        heap: 0.into(),
        map_info: map_info.into(),
        flags: flags.bits().into(),
    }
}
