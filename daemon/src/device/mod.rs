//! The virtio-gpu device, VIRTIO 1.4 section 5.7: one function per command, and nothing of
//! vhost-user.

mod account;
mod blob;
mod capset;
mod charge;
pub mod config_space;
mod context;
mod cursor;
pub mod display;
mod edid;
mod export;
pub mod fence;
pub mod hang;
pub mod image;
mod lent;
pub mod quota;
mod resource;
mod scanout;
mod snapshot;
mod three_d;
mod two_d;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coherd_protocol::gpu::header::{Fence, Timeline};
use coherd_protocol::gpu::limits::MAX_RINGS;
use coherd_protocol::gpu::{Command, Features, GpuError, Header, Response, command};
use tracing::{debug, info, warn};

use self::account::Bookkeeper;
pub use self::context::Hang;
use self::context::{Context, State};
use self::cursor::Cursor;
use self::display::Outputs;
use self::fence::FenceTable;
use self::hang::{HangPolicy, HangWatch};
use self::image::Direction;
use self::quota::{Quota, Quotas, Scope};
use self::resource::Resource;
use self::scanout::Scanout;
use crate::coherence::Registry;
use crate::limiter::Limiter;
use crate::mapping_type::MappingTypes;
use crate::memory::GuestMemory;
use crate::metrics::Metrics;
use crate::renderer::Renderer;
use crate::window::HostWindow;

/// Why a command has no successful answer.
#[derive(Debug)]
pub enum Refusal {
    /// It is wrong.
    Gpu(GpuError),
    /// See [`Stopped`].
    Stopped,
}

impl From<GpuError> for Refusal {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}

/// The device was stopped in the middle of a command. Nothing was done; the command is to be
/// executed again once the device runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// The answer to a command.
pub type Result = std::result::Result<Response, Refusal>;

/// Which queue a command came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Queue 0.
    Control,
    /// Queue 1.
    Cursor,
}

/// A reply whose response is written and which goes out when its fence is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// First descriptor of the chain on the control queue.
    pub head: u16,
    /// Bytes written.
    pub len: u32,
}

/// What a device is made with.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Features the device has.
    pub features: Features,
    /// Blob sizes and window offsets are multiples of this, in bytes.
    pub blob_alignment: u64,
    /// Outputs, and the displays on them.
    pub outputs: Outputs,
    /// How much of everything the guest may have.
    pub quotas: Quotas,
    /// Decides how blobs are mapped.
    pub mapping_types: Arc<MappingTypes>,
    /// What is done about work that does not get done.
    pub hangs: HangPolicy,
    /// Where other processes find the guest's blobs, if there are such processes.
    pub blobs: Option<Arc<Registry>>,
}

impl DeviceConfig {
    fn scanouts(&self) -> Vec<Scanout> {
        vec![Scanout::default(); self.outputs.count()]
    }
}

/// See the module's description.
pub struct Device {
    config: DeviceConfig,
    /// Features in force.
    features: Features,
    blob_alignment: u64,
    renderer: Box<dyn Renderer>,
    window: HostWindow,
    resources: HashMap<u32, Resource>,
    contexts: HashMap<u32, Context>,
    scanouts: Vec<Scanout>,
    fences: FenceTable<Reply>,
    hang_watch: HangWatch,
    metrics: Arc<Metrics>,
    /// Replies whose fences are complete, until the caller takes them.
    released: Vec<Reply>,
    books: Bookkeeper,
    cursors: Vec<Cursor>,
    /// Bytes of images that went since the heap was last returned.
    freed: u64,
    /// Contexts created so far.
    serial: u64,
    commands: Vec<u8>,
    /// What a loaded device waits for.
    pending: Option<snapshot::Pending>,
    log: Limiter,
}

impl Device {
    /// A device in the state after a reset.
    pub fn new(config: DeviceConfig, renderer: Box<dyn Renderer>, window: HostWindow) -> Self {
        let types = Arc::clone(&config.mapping_types);
        let metrics = Arc::new(Metrics::new(&config.quotas, types));
        Self {
            features: config.features,
            blob_alignment: config.blob_alignment,
            renderer,
            window,
            resources: HashMap::new(),
            contexts: HashMap::new(),
            scanouts: config.scanouts(),
            fences: FenceTable::default(),
            hang_watch: HangWatch::default(),
            released: Vec::new(),
            books: Bookkeeper::new(config.quotas, metrics.quotas.clone()),
            metrics,
            cursors: vec![Cursor::default(); config.outputs.count()],
            freed: 0,
            serial: 0,
            commands: Vec::new(),
            pending: None,
            log: Limiter::new(Duration::from_secs(10), 10),
            config,
        }
    }

    /// Follows a reset by the driver, which accepted `features`.
    pub fn reset(&mut self, features: u64) {
        debug!(
            resources = self.resources.len(),
            contexts = self.contexts.len(),
            mappings = self.window.len(),
            "device is reset"
        );
        self.fences.clear();
        self.released.clear();
        self.pending = None;
        self.destroy_all_resources();
        self.destroy_all_contexts();
        self.window.reset();
        self.books.clear();
        self.scanouts = self.config.scanouts();
        self.cursors.fill(Cursor::default());
        self.features = self.config.features & Features::from_bits_truncate(features);
    }

    /// Executes a request. A wrong one has an error as its answer.
    ///
    /// # Errors
    /// See [`Stopped`].
    pub fn execute(
        &mut self,
        request: &[u8],
        queue: QueueKind,
        memory: &GuestMemory,
    ) -> std::result::Result<Response, Stopped> {
        let answer = Command::decode(request)
            .map_err(Refusal::from)
            .and_then(|command| {
                let header = Command::header(request)?;
                if command.is_cursor() != (queue == QueueKind::Cursor) {
                    return Err(GpuError::WrongQueue(header.kind.get()).into());
                }
                self.check_fence(header)?;
                self.dispatch(header.ctx_id.get(), &command, memory)
            });
        let response = match answer {
            Ok(response) => response,
            Err(Refusal::Gpu(error)) => self.refuse(&error),
            Err(Refusal::Stopped) => return Err(Stopped),
        };
        self.metrics.count_command(request);
        Ok(response)
    }

    /// The answer to a request with a mistake.
    pub fn refuse(&mut self, error: &GpuError) -> Response {
        self.metrics.count_refusal(error.code());
        // The books count and log what is over a quota.
        if !matches!(error, GpuError::Quota(_)) {
            self.report(&format_args!("command is refused: {error}"));
        }
        Response::Error(error.code())
    }

    /// Registers the reply to an executed control request. It goes out, by way of
    /// [`Device::take_released`], when its fence is complete: at once where it has none.
    pub fn reply(&mut self, request: &[u8], response: &Response, reply: Reply) {
        let header = Command::header(request).ok();
        let Some(fence) = header.and_then(Header::fence) else {
            self.released.push(reply);
            return;
        };
        let failed = matches!(response, Response::Error(_));
        let released = &mut self.released;
        match fence.timeline {
            Timeline::Ring { ctx_id, ring_idx } => {
                let state = self.contexts.get(&ctx_id).map(|context| context.state);
                let waits = state == Some(State::Rendered) && !failed;
                let ring = (ctx_id, ring_idx);
                let number = self.fences.add_to_ring(ring, waits, reply, released);
                if waits && let Err(error) = self.renderer.create_fence(ctx_id, ring_idx, number) {
                    self.report(&format_args!("fence of context {ctx_id}: {error}"));
                    self.fences.give_up(ring, number, &mut self.released);
                }
            }
            Timeline::Global => {
                let submitted = header.filter(|header| header.kind.get() == command::SUBMIT_3D);
                let follows = submitted.map(|header| header.ctx_id.get());
                self.fences.add_global(follows, reply, released);
            }
        }
    }

    /// Follows the renderer: these fences, with the numbers that [`Renderer::create_fence`] was
    /// given, are signalled.
    pub fn signal(&mut self, fences: &[Fence]) {
        for fence in fences {
            self.fences.signal(*fence, &mut self.released);
        }
    }

    /// Takes the replies that can go out.
    pub fn take_released(&mut self, into: &mut Vec<Reply>) {
        into.append(&mut self.released);
        self.books.follow(Quota::Fences, self.fences.len());
    }

    /// Logs what the device holds.
    pub fn log_status(&self) {
        let types = self.config.mapping_types.counts();
        info!(
            resources = self.resources.len(),
            contexts = self.contexts.len(),
            mappings = self.window.len(),
            fences = self.fences.len(),
            hangs = self.metrics.hangs.total(),
            image_bytes = self.books.vm().get(Quota::ImageBytes),
            blob_bytes = self.books.vm().get(Quota::BlobBytes),
            blob_bytes_copied = self.renderer.blob_bytes_copied(),
            backing_entries = self.books.vm().get(Quota::BackingEntries),
            types_corrected = types.corrected,
            types_mismatched = types.mismatched,
            types_refused = types.refused,
            guest_types = %self.config.mapping_types.hypervisor(),
            "status"
        );
        for quota in Quota::ALL {
            let commands = self.books.refused(quota);
            if commands > 0 {
                info!(commands, "refused over the quota of {}", quota.name());
            }
        }
        for (scanout, cursor) in self.cursors.iter().enumerate() {
            if cursor.is_visible() {
                info!(scanout, ?cursor, "shown");
            }
        }
    }

    /// What happens to the device, in numbers.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The renderer.
    pub fn renderer(&self) -> &dyn Renderer {
        &*self.renderer
    }

    /// The renderer.
    pub fn renderer_mut(&mut self) -> &mut dyn Renderer {
        &mut *self.renderer
    }

    fn dispatch(&mut self, ctx_id: u32, command: &Command<'_>, memory: &GuestMemory) -> Result {
        if command.is_3d() {
            self.require(Features::VIRGL, "VIRGL")?;
        }
        match *command {
            Command::GetDisplayInfo => self.get_display_info(),
            Command::ResourceCreate2d(request) => self.resource_create_2d(request),
            Command::ResourceUnref(id) => self.resource_unref(id),
            Command::SetScanout(request) => self.set_scanout(request),
            Command::ResourceFlush(request) => self.resource_flush(request),
            Command::TransferToHost2d(request) => self.transfer_to_host_2d(request),
            Command::ResourceAttachBacking(id, entries) => {
                self.resource_attach_backing(id, entries, memory)
            }
            Command::ResourceDetachBacking(id) => self.resource_detach_backing(id),
            Command::GetCapsetInfo(request) => self.get_capset_info(request),
            Command::GetCapset(request) => self.get_capset(request),
            Command::GetEdid(request) => self.get_edid(request.scanout.get()),
            Command::ResourceAssignUuid(id) => self.resource_assign_uuid(id),
            Command::ResourceCreateBlob(request, entries) => {
                self.resource_create_blob(ctx_id, request, entries, memory)
            }
            Command::SetScanoutBlob(request) => self.set_scanout_blob(request),
            Command::ResourceMapBlob(request) => self.resource_map_blob(request),
            Command::ResourceUnmapBlob(id) => self.resource_unmap_blob(id),
            Command::UpdateCursor(request) => self.update_cursor(request),
            Command::MoveCursor(request) => self.move_cursor(request),
            Command::CtxCreate(request) => self.ctx_create(ctx_id, request),
            Command::CtxDestroy => self.ctx_destroy(ctx_id),
            Command::CtxAttachResource(id) => self.ctx_attach_resource(ctx_id, id),
            Command::CtxDetachResource(id) => self.ctx_detach_resource(ctx_id, id),
            Command::ResourceCreate3d(request) => self.resource_create_3d(request),
            Command::TransferToHost3d(request) => {
                self.transfer_3d(ctx_id, request, Direction::ToHost)
            }
            Command::TransferFromHost3d(request) => {
                self.transfer_3d(ctx_id, request, Direction::FromHost)
            }
            Command::Submit3d(commands) => self.submit_3d(ctx_id, commands),
        }
    }

    fn require(&self, feature: Features, name: &'static str) -> std::result::Result<(), Refusal> {
        if self.features.contains(feature) {
            Ok(())
        } else {
            Err(GpuError::Unsupported(name).into())
        }
    }

    fn check_fence(&mut self, header: &Header) -> std::result::Result<(), Refusal> {
        let Some(Fence { timeline, .. }) = header.fence() else {
            return Ok(());
        };
        if matches!(timeline, Timeline::Ring { ring_idx, .. } if ring_idx >= MAX_RINGS) {
            return Err(GpuError::BadField("ring index").into());
        }
        match self.full_of_fences(timeline) {
            Some(scope) => Err(self.books.refuse(Quota::Fences, scope).into()),
            None => Ok(()),
        }
    }

    /// The quota that forbids one more fence on a timeline.
    fn full_of_fences(&self, timeline: Timeline) -> Option<Scope> {
        let of_context = match timeline {
            Timeline::Ring { ctx_id, .. } => self.fences.len_of_context(ctx_id),
            Timeline::Global => 0,
        };
        self.books
            .full(Quota::Fences, self.fences.len(), of_context)
    }

    /// Writes a log line that a guest can cause.
    fn report(&mut self, what: &fmt::Arguments<'_>) {
        if let Some(held_back) = self.log.pass(Instant::now()) {
            warn!(held_back, "{what}");
        }
    }
}
