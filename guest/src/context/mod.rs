//! A context: one open file of the device, and what it has on the host.

mod call;
mod handles;
mod replies;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use coherd_protocol::blob_context::command::{self, opcode};
use thiserror::Error;
use zerocopy::{FromZeros, Immutable, IntoBytes};

pub use call::{CallError, Pending, Reply};
use handles::Handles;
use replies::Replies;

use crate::device::{DeviceError, RenderNode};
use crate::host::{Host, HostError};
use crate::transport::Transport;

/// How long a call waits if not told otherwise: longer than the host lets a bracket wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a call waits at most, so that no sum of times overflows.
const MOST_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why there is no context.
#[derive(Debug, Error)]
pub enum OpenError {
    /// There is no device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// It does not say what it offers.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no memory for replies.
    #[error("cannot make a blob of guest memory for replies")]
    ReplyMemory(#[source] std::io::Error),
    /// The host does not take it.
    #[error("the host does not take the memory for replies")]
    ReplyBuffer(#[source] CallError),
}

/// How a context is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The render node; the first of `/dev/dri` that will do if not given.
    pub render_node: Option<PathBuf>,
    /// How long a call waits for the host; 30 seconds if not given.
    pub patience: Option<Duration>,
    /// How long a bracket waits until the GPU does not use the memory; the host's choice, 5
    /// seconds, if not given.
    pub sync_timeout: Option<Duration>,
}

/// A context of the host's device. It is closed with the last of its clones and of what was made
/// with it.
///
/// All threads may use it at once. The host executes the copies, fills and brackets of a context
/// one after the other, in the order in which they were sent.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) shared: Arc<Shared>,
    node: Option<PathBuf>,
}

/// What the parts of a context have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    replies: Replies,
    pub handles: Handles,
    pub transport: Arc<dyn Transport>,
    pub host: Host,
    pub sync_timeout_ms: u32,
    patience: Duration,
    next_sequence: AtomicU32,
    next_blob_id: AtomicU64,
}

impl Context {
    /// Opens the first device that has a blob context.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open() -> Result<Self, OpenError> {
        Self::with_options(&Options::default())
    }

    /// Opens a device.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn with_options(options: &Options) -> Result<Self, OpenError> {
        let (node, path) = RenderNode::open(options.render_node.as_deref())?;
        let mut context = Self::over(Arc::new(node), options)?;
        context.node = Some(path);
        Ok(context)
    }

    /// Makes a context of an open file.
    pub(crate) fn over(
        transport: Arc<dyn Transport>,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let host = Host::of(transport.as_ref())?;
        let handles = Handles::new(Arc::clone(&transport));
        let replies = Replies::new(transport.as_ref(), &handles).map_err(OpenError::ReplyMemory)?;
        let sync_timeout = options.sync_timeout.unwrap_or_default().as_millis();
        let shared = Arc::new(Shared {
            replies,
            handles,
            transport,
            host,
            sync_timeout_ms: u32::try_from(sync_timeout).unwrap_or(u32::MAX),
            patience: options.patience.unwrap_or(PATIENCE).min(MOST_PATIENCE),
            next_sequence: AtomicU32::new(1),
            next_blob_id: AtomicU64::new(1),
        });
        let buffer = command::SetReplyBuffer {
            resource_id: shared.replies.resource_id().into(),
            size: shared.replies.size().into(),
            ..command::SetReplyBuffer::new_zeroed()
        };
        shared
            .call(opcode::SET_REPLY_BUFFER, &buffer)
            .map_err(OpenError::ReplyBuffer)?;
        Ok(Self { shared, node: None })
    }

    /// What the host's device is and which memory it has.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.shared.host
    }

    /// The render node that was opened.
    #[must_use]
    pub fn render_node(&self) -> Option<&std::path::Path> {
        self.node.as_deref()
    }

    /// Sends any command and waits for its reply: for commands and mistakes that this crate has no
    /// function for. `fixed` is the command behind its head, `array` what follows that.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn call<T, U>(&self, opcode: u32, fixed: &T, array: &[U]) -> Result<Reply, CallError>
    where
        T: IntoBytes + Immutable,
        U: IntoBytes + Immutable,
    {
        self.shared.start(opcode, fixed, array)?.wait()
    }

    /// Waits until the host has executed everything that was sent so far.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn wait_idle(&self) -> Result<(), CallError> {
        self.shared.call(opcode::NOP, &()).map(|_| ())
    }
}

impl Shared {
    /// A blob id that no other object of the context has.
    pub fn new_blob_id(&self) -> u64 {
        self.next_blob_id.fetch_add(1, Ordering::Relaxed)
    }
}
