//! How a device is opened.

use std::fmt;
use std::sync::Arc;

/// Takes the messages of validation layers, from any thread.
pub type MessageSink = Arc<dyn Fn(&str) + Send + Sync>;

/// Options for [`Device::open`](crate::Device::open).
#[derive(Clone, Default)]
pub struct Options {
    /// Layers to enable, the one nearest to this crate first. `VK_ADD_LAYER_PATH` says where the
    /// loader looks for more of them.
    pub layers: Vec<String>,
    /// Enables `VK_LAYER_KHRONOS_validation`, with checks of synchronisation, above all other
    /// layers, and takes its errors and warnings.
    pub validation: Option<MessageSink>,
    /// Optional device extensions to leave alone even where the driver has them.
    pub without_extensions: Vec<String>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("layers", &self.layers)
            .field("validation", &self.validation.is_some())
            .field("without_extensions", &self.without_extensions)
            .finish()
    }
}
