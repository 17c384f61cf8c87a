//! The Vulkan instance.

use std::ffi::{CStr, CString};

use ash::{ext, vk};
use thiserror::Error;

use crate::error::DeviceError;
use crate::loader;
use crate::messenger::{self, Messenger};
use crate::options::Options;

const VALIDATION_LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

/// Why the host's devices could not be listed.
#[derive(Debug, Error)]
pub enum EnumerateError {
    /// libvulkan.so.1 is missing.
    #[error("cannot load the Vulkan loader: install libvulkan1")]
    Loader(#[from] ash::LoadingError),
    /// The loader does not find a layer.
    #[error("no Vulkan layer {0}: install it, or name its folder in VK_ADD_LAYER_PATH")]
    NoLayer(String),
    /// A Vulkan call failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// A Vulkan 1.1 instance. What is newer is used through its extension, so that one way of doing
/// things fits all drivers.
pub struct Instance {
    raw: ash::Instance,
    messenger: Option<Messenger>,
    // Unloads the library when it is dropped, so it has to be the last field.
    _entry: ash::Entry,
}

impl Instance {
    /// Makes an instance with the layers of `options`; `None` if there is no driver at all.
    ///
    /// # Errors
    /// See [`EnumerateError`].
    pub fn new(options: &Options) -> Result<Option<Self>, EnumerateError> {
        // SAFETY: the loader is a system library that upholds the Vulkan ABI; the entry outlives
        // every function pointer taken from it.
        let entry = unsafe { ash::Entry::load() }?;
        let layers = layers(&entry, options)?;
        let Some(raw) = create(&entry, &layers, options)? else {
            return Ok(None);
        };
        let mut instance = Self {
            raw,
            messenger: None,
            _entry: entry.clone(),
        };
        if let Some(sink) = &options.validation {
            instance.messenger = Some(Messenger::new(&entry, &instance.raw, sink)?);
        }
        Ok(Some(instance))
    }

    /// The functions of the instance.
    pub fn raw(&self) -> &ash::Instance {
        &self.raw
    }

    /// Whether objects can be given names.
    pub fn names_objects(&self) -> bool {
        self.messenger.is_some()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.messenger = None;
        let _alone = loader::lock();
        // SAFETY: whatever is made from the instance keeps it alive, so nothing is left
        // (VUID-vkDestroyInstance-instance-00629).
        unsafe { self.raw.destroy_instance(None) };
    }
}

/// The layers to enable. They are looked for here because vkCreateInstance does not tell which of
/// them it misses.
fn layers(entry: &ash::Entry, options: &Options) -> Result<Vec<CString>, EnumerateError> {
    let mut layers = Vec::new();
    if options.validation.is_some() {
        layers.push(VALIDATION_LAYER.to_owned());
    }
    for name in &options.layers {
        let layer =
            CString::new(name.as_str()).map_err(|_| EnumerateError::NoLayer(name.clone()))?;
        if !layers.contains(&layer) {
            layers.push(layer);
        }
    }
    if layers.is_empty() {
        return Ok(layers);
    }
    // SAFETY: the loader is loaded.
    let present = unsafe { entry.enumerate_instance_layer_properties() }
        .map_err(|result| DeviceError::new("vkEnumerateInstanceLayerProperties", result))?;
    let missing = layers.iter().find(|layer| {
        !present
            .iter()
            .any(|p| p.layer_name_as_c_str() == Ok(layer.as_c_str()))
    });
    match missing {
        Some(layer) => Err(EnumerateError::NoLayer(
            layer.to_string_lossy().into_owned(),
        )),
        None => Ok(layers),
    }
}

fn create(
    entry: &ash::Entry,
    layers: &[CString],
    options: &Options,
) -> Result<Option<ash::Instance>, DeviceError> {
    let application = vk::ApplicationInfo::default()
        .application_name(c"coherd")
        .api_version(vk::API_VERSION_1_1);
    let layers: Vec<_> = layers.iter().map(|layer| layer.as_ptr()).collect();
    let create = vk::InstanceCreateInfo::default()
        .application_info(&application)
        .enabled_layer_names(&layers);
    // The validation layer has both.
    let extensions = [
        ext::debug_utils::NAME.as_ptr(),
        ext::validation_features::NAME.as_ptr(),
    ];
    let checks = [vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION];
    let mut features = vk::ValidationFeaturesEXT::default().enabled_validation_features(&checks);
    let mut messages = options.validation.as_ref().map(messenger::create_info);
    let create = match &mut messages {
        Some(messages) => create
            .enabled_extension_names(&extensions)
            .push_next(messages)
            .push_next(&mut features),
        None => create,
    };
    let _alone = loader::lock();
    // SAFETY: `create` and what it points to live through the call.
    match unsafe { entry.create_instance(&create, None) } {
        Ok(instance) => Ok(Some(instance)),
        Err(vk::Result::ERROR_INCOMPATIBLE_DRIVER) => Ok(None),
        Err(result) => Err(DeviceError::new("vkCreateInstance", result)),
    }
}
