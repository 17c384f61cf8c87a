//! Messages of validation layers, by VK_EXT_debug_utils.

use std::borrow::Cow;
use std::ffi::{CStr, c_void};

use ash::ext::debug_utils;
use ash::vk;

use crate::error::DeviceError;
use crate::options::MessageSink;

/// Delivers messages until it is dropped, which has to be before the instance is destroyed.
pub struct Messenger {
    functions: debug_utils::Instance,
    raw: vk::DebugUtilsMessengerEXT,
    // The driver keeps a pointer to it.
    _sink: Box<MessageSink>,
}

impl Messenger {
    /// Starts to deliver messages to `sink`.
    ///
    /// # Errors
    /// That of vkCreateDebugUtilsMessengerEXT.
    pub fn new(
        entry: &ash::Entry,
        instance: &ash::Instance,
        sink: &MessageSink,
    ) -> Result<Self, DeviceError> {
        let sink = Box::new(sink.clone());
        let functions = debug_utils::Instance::new(entry, instance);
        // SAFETY: the instance has VK_EXT_debug_utils; the sink outlives the messenger.
        let raw = unsafe { functions.create_debug_utils_messenger(&create_info(&sink), None) }
            .map_err(|result| DeviceError::new("vkCreateDebugUtilsMessengerEXT", result))?;
        Ok(Self {
            functions,
            raw,
            _sink: sink,
        })
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        // SAFETY: the messenger is alive and so is its instance.
        unsafe { self.functions.destroy_debug_utils_messenger(self.raw, None) };
    }
}

/// What a messenger is made from, also good for the chain of `VkInstanceCreateInfo`, where it
/// covers the creation and destruction of the instance.
///
/// GENERAL messages are those of the loader about drivers it passes over, and no concern here.
pub fn create_info(sink: &MessageSink) -> vk::DebugUtilsMessengerCreateInfoEXT<'_> {
    vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(
            vk::DebugUtilsMessageSeverityFlagsEXT::WARNING
                | vk::DebugUtilsMessageSeverityFlagsEXT::ERROR,
        )
        .message_type(
            vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION
                | vk::DebugUtilsMessageTypeFlagsEXT::PERFORMANCE,
        )
        .pfn_user_callback(Some(deliver))
        .user_data(std::ptr::from_ref(sink).cast_mut().cast())
}

unsafe extern "system" fn deliver(
    _severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _types: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: `user` is the sink of `create_info`, which lives as long as messages can come.
    let sink = unsafe { &*user.cast::<MessageSink>().cast_const() };
    // SAFETY: the caller's structure lives through the call.
    let text = unsafe { data.as_ref() }.map_or(Cow::Borrowed(""), |data| {
        if data.p_message.is_null() {
            Cow::Borrowed("")
        } else {
            // SAFETY: a string that ends with a nul, by the specification of the structure.
            unsafe { CStr::from_ptr(data.p_message) }.to_string_lossy()
        }
    });
    sink(&text);
    // The call that caused the message goes on.
    vk::FALSE
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use ash::vk;

    use crate::instance::EnumerateError;
    use crate::memory::{Buffer, TRANSFERS};
    use crate::open::{OpenError, open};
    use crate::options::Options;
    use crate::selector::{SelectError, Selector};

    /// The control of all tests that want no message.
    #[test]
    fn mistakes_are_reported() {
        let messages = Arc::new(Mutex::new(Vec::new()));
        let sink = messages.clone();
        let options = Options {
            validation: Some(Arc::new(move |message: &str| {
                sink.lock().unwrap().push(message.to_string());
            })),
            ..Options::default()
        };
        let opened = match open(&Selector::Any, &options) {
            Ok(opened) => opened,
            Err(
                error @ (OpenError::Enumerate(
                    EnumerateError::Loader(_) | EnumerateError::NoLayer(_),
                )
                | OpenError::Select(SelectError::NoDevice)),
            ) if std::env::var_os("COHERD_REQUIRE_VULKAN").is_none() => {
                println!("SKIPPED: {error}");
                return;
            }
            Err(error) => panic!("{error:?}"),
        };

        let none = vk::ExternalMemoryHandleTypeFlags::empty();
        drop(Buffer::new(&opened.device, 0, TRANSFERS, none));

        let messages = messages.lock().unwrap();
        let [message] = &messages[..] else {
            panic!("{messages:?}");
        };
        assert!(
            message.contains("VkBufferCreateInfo-size-00912"),
            "{message}"
        );
    }
}
