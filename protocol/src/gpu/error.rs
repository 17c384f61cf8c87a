//! What can be wrong with a command, and the one map from that to a VIRTIO response code.

use thiserror::Error;

/// Error codes of a response, `enum virtio_gpu_ctrl_type` of VIRTIO 1.4 section 5.7.6.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorCode {
    /// VIRTIO_GPU_RESP_ERR_UNSPEC
    Unspec = 0x1200,
    /// VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY
    OutOfMemory = 0x1201,
    /// VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID
    InvalidScanoutId = 0x1202,
    /// VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID
    InvalidResourceId = 0x1203,
    /// VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID
    InvalidContextId = 0x1204,
    /// VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER
    InvalidParameter = 0x1205,
}

impl ErrorCode {
    /// Every code, by its word.
    pub const ALL: [Self; 6] = [
        Self::Unspec,
        Self::OutOfMemory,
        Self::InvalidScanoutId,
        Self::InvalidResourceId,
        Self::InvalidContextId,
        Self::InvalidParameter,
    ];

    /// The code with this word.
    pub fn from_wire(word: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u32 == word)
    }

    /// Its name in the specification, without what all have in common.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspec => "unspec",
            Self::OutOfMemory => "out_of_memory",
            Self::InvalidScanoutId => "invalid_scanout_id",
            Self::InvalidResourceId => "invalid_resource_id",
            Self::InvalidContextId => "invalid_context_id",
            Self::InvalidParameter => "invalid_parameter",
        }
    }
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GpuError {
    /// The request ends before its fixed part does.
    #[error("request of {got} bytes is shorter than the {need} bytes of its command")]
    Truncated {
        /// Bytes the command needs.
        need: usize,
        /// Bytes the request has.
        got: usize,
    },
    /// The request is longer than [`super::limits::MAX_REQUEST_LEN`].
    #[error("request of {0} bytes is too long")]
    TooLong(usize),
    /// The command code is not one of VIRTIO 1.4 or Linux.
    #[error("unknown command {0:#06x}")]
    UnknownCommand(u32),
    /// The command belongs to the other queue.
    #[error("command {0:#06x} does not belong to this queue")]
    WrongQueue(u32),
    /// The command needs a feature that was not negotiated or is not available.
    #[error("command needs {0}")]
    Unsupported(&'static str),
    /// No resource has this id.
    #[error("no resource {0}")]
    UnknownResource(u32),
    /// The id is zero or taken.
    #[error("resource id {0} is zero or in use")]
    ResourceIdInUse(u32),
    /// The resource has no backing.
    #[error("resource {0} has no backing")]
    NoBacking(u32),
    /// The resource has a backing already.
    #[error("resource {0} has a backing already")]
    BackingAttached(u32),
    /// The backing list is too long, shorter than its blob, or points outside guest memory.
    #[error("backing list of resource {0} is too long, too short or not guest memory")]
    BadBacking(u32),
    /// The resource is of a kind the command does not take.
    #[error("resource {0} is of the wrong kind")]
    WrongResourceKind(u32),
    /// No scanout has this index.
    #[error("no scanout {0}")]
    UnknownScanout(u32),
    /// No context has this id.
    #[error("no context {0}")]
    UnknownContext(u32),
    /// The id is zero or taken.
    #[error("context id {0} is zero or in use")]
    ContextIdInUse(u32),
    /// The context failed and only waits to be destroyed.
    #[error("context {0} was lost")]
    ContextLost(u32),
    /// A field has a value the specification or a limit forbids.
    #[error("bad {0}")]
    BadField(&'static str),
    /// The blob was not created mappable, or the host cannot map it.
    #[error("resource {0} is not mappable")]
    NotMappable(u32),
    /// The blob is mapped already.
    #[error("resource {0} is mapped already")]
    AlreadyMapped(u32),
    /// Allocation failed.
    #[error("out of {0}")]
    OutOf(&'static str),
    /// A quota is used up.
    #[error("over the quota of {0}")]
    Quota(&'static str),
    /// The renderer refused; the guest cannot know more.
    #[error("renderer refused the command")]
    Renderer,
    /// The VMM refused or could not be asked.
    #[error("front-end refused to change the window")]
    FrontEnd,
}

impl GpuError {
    /// The response code of this error. The standard maps nothing; where QEMU's device is silent
    /// the choice follows what the Linux driver can use.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownCommand(_)
            | Self::WrongQueue(_)
            | Self::Unsupported(_)
            | Self::NoBacking(_)
            | Self::BackingAttached(_)
            | Self::BadBacking(_)
            | Self::WrongResourceKind(_)
            | Self::ContextLost(_)
            | Self::Renderer
            | Self::FrontEnd => ErrorCode::Unspec,
            Self::OutOf(_) | Self::Quota(_) | Self::TooLong(_) => ErrorCode::OutOfMemory,
            Self::UnknownScanout(_) => ErrorCode::InvalidScanoutId,
            Self::UnknownResource(_) | Self::ResourceIdInUse(_) => ErrorCode::InvalidResourceId,
            Self::UnknownContext(_) | Self::ContextIdInUse(_) => ErrorCode::InvalidContextId,
            Self::Truncated { .. }
            | Self::BadField(_)
            | Self::NotMappable(_)
            | Self::AlreadyMapped(_) => ErrorCode::InvalidParameter,
        }
    }
}
