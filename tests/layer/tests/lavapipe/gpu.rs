//! The little Vulkan that the tests need. Everything is destroyed on drop, in any order.

use core::ffi::{CStr, c_void};
use std::ffi::CString;
use std::rc::Rc;
use std::sync::Mutex;

use ash::vk;
use ash::vk::MemoryPropertyFlags as Flags;

use VkLayer_coherd_incoherent::control::LAYER_NAME;

use crate::isolation::Skip;
use crate::memory::{Buffer, SIZE};

pub const VALIDATION: &CStr = c"VK_LAYER_KHRONOS_validation";

/// Where the validation layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// It checks what a test does.
    Above,
    /// It checks what the layer makes of it.
    Below,
    /// Nowhere.
    Off,
}

/// An instance, and what the validation layer said of its use.
pub struct Instance {
    pub vk: ash::Instance,
    messenger: Option<(ash::ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)>,
    _entry: ash::Entry,
}

static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What the validation layer said so far, in this process.
pub fn messages() -> Vec<String> {
    MESSAGES.lock().unwrap().clone()
}

unsafe extern "system" fn note(
    _: vk::DebugUtilsMessageSeverityFlagsEXT,
    _: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    _: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: the loader passes a message that ends in a nul.
    let message = unsafe { CStr::from_ptr((*data).p_message) };
    let message = message.to_string_lossy().into_owned();
    MESSAGES.lock().unwrap().push(message);
    vk::FALSE
}

impl Instance {
    /// # Errors
    /// Why the test cannot begin; a fault is the test's to see.
    pub fn new(validation: Validation) -> Result<Result<Self, vk::Result>, Skip> {
        // SAFETY: the loader is a system library that upholds the Vulkan ABI.
        let entry = unsafe { ash::Entry::load() }
            .map_err(|_| Skip("the Vulkan loader is not installed".into()))?;
        // SAFETY: a query without an instance.
        let layers = unsafe { entry.enumerate_instance_layer_properties() }.unwrap();
        if validation != Validation::Off
            && !layers
                .iter()
                .any(|layer| layer.layer_name_as_c_str() == Ok(VALIDATION))
        {
            return Err(Skip("the Vulkan validation layer is not installed".into()));
        }
        let own = CString::new(LAYER_NAME).unwrap();
        let names = match validation {
            Validation::Above => vec![VALIDATION.as_ptr(), own.as_ptr()],
            Validation::Below => vec![own.as_ptr(), VALIDATION.as_ptr()],
            Validation::Off => vec![own.as_ptr()],
        };
        let extensions = [ash::ext::debug_utils::NAME.as_ptr()];
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let mut info = vk::InstanceCreateInfo::default()
            .application_info(&application)
            .enabled_layer_names(&names);
        if validation != Validation::Off {
            info = info.enabled_extension_names(&extensions);
        }
        // SAFETY: the information lives through the call.
        Ok(match unsafe { entry.create_instance(&info, None) } {
            Err(vk::Result::ERROR_INCOMPATIBLE_DRIVER) => {
                return Err(Skip("there is no Vulkan driver".into()));
            }
            Err(error) => Err(error),
            Ok(instance) => Ok(Self {
                messenger: (validation != Validation::Off).then(|| messenger(&entry, &instance)),
                vk: instance,
                _entry: entry,
            }),
        })
    }

    /// The first device.
    pub fn physical(&self) -> Result<vk::PhysicalDevice, vk::Result> {
        // SAFETY: a live instance.
        let devices = unsafe { self.vk.enumerate_physical_devices() }?;
        Ok(devices[0])
    }
}

fn messenger(
    entry: &ash::Entry,
    instance: &ash::Instance,
) -> (ash::ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT) {
    let functions = ash::ext::debug_utils::Instance::new(entry, instance);
    let info = vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(
            vk::DebugUtilsMessageSeverityFlagsEXT::WARNING
                | vk::DebugUtilsMessageSeverityFlagsEXT::ERROR,
        )
        .message_type(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
        .pfn_user_callback(Some(note));
    // SAFETY: the callback is a function of this program.
    let messenger = unsafe { functions.create_debug_utils_messenger(&info, None) }.unwrap();
    (functions, messenger)
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: everything made from the instance holds a reference to it, and is gone.
        unsafe {
            if let Some((functions, messenger)) = &self.messenger {
                functions.destroy_debug_utils_messenger(*messenger, None);
            }
            self.vk.destroy_instance(None);
        }
    }
}

/// A device with one queue.
pub struct Gpu {
    pub vk: ash::Device,
    pub physical: vk::PhysicalDevice,
    queue: vk::Queue,
    pub instance: Rc<Instance>,
}

impl Gpu {
    pub fn new(instance: &Rc<Instance>) -> Result<Rc<Self>, vk::Result> {
        let physical = instance.physical()?;
        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
        let extensions = [
            ash::khr::external_memory_fd::NAME.as_ptr(),
            ash::ext::external_memory_dma_buf::NAME.as_ptr(),
            ash::ext::external_memory_host::NAME.as_ptr(),
            ash::khr::map_memory2::NAME.as_ptr(),
            ash::ext::image_drm_format_modifier::NAME.as_ptr(),
            ash::khr::maintenance5::NAME.as_ptr(),
        ];
        let mut features = vk::PhysicalDeviceVulkan13Features::default()
            .synchronization2(true)
            .maintenance4(true);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .push_next(&mut features);
        // SAFETY: the information lives through the call; llvmpipe has what it asks for.
        let device = unsafe { instance.vk.create_device(physical, &info, None) }?;
        // SAFETY: the queue was asked for.
        let queue = unsafe { device.get_device_queue(0, 0) };
        Ok(Rc::new(Self {
            vk: device,
            physical,
            queue,
            instance: Rc::clone(instance),
        }))
    }

    /// An instance and its device, where nothing is expected to fail.
    pub fn open(validation: Validation) -> Result<Rc<Self>, Skip> {
        let instance = Rc::new(Instance::new(validation)?.unwrap());
        Ok(Self::new(&instance).unwrap())
    }

    pub fn memory_properties(&self) -> vk::PhysicalDeviceMemoryProperties {
        // SAFETY: a live instance and its device.
        unsafe {
            self.instance
                .vk
                .get_physical_device_memory_properties(self.physical)
        }
    }

    /// The first memory type that is coherent or cached exactly as `flags` says.
    pub fn memory_type(&self, flags: Flags) -> u32 {
        let relevant = Flags::HOST_VISIBLE | Flags::HOST_COHERENT | Flags::HOST_CACHED;
        let properties = self.memory_properties();
        let types = properties.memory_types_as_slice();
        let index = types
            .iter()
            .position(|kind| kind.property_flags & relevant == flags)
            .unwrap();
        u32::try_from(index).unwrap()
    }

    pub fn incoherent(&self) -> u32 {
        self.memory_type(Flags::HOST_VISIBLE | Flags::HOST_CACHED)
    }

    pub fn uncached(&self) -> u32 {
        self.memory_type(Flags::HOST_VISIBLE | Flags::HOST_COHERENT)
    }

    /// The driver's own.
    pub fn coherent(&self) -> u32 {
        self.memory_type(Flags::HOST_VISIBLE | Flags::HOST_COHERENT | Flags::HOST_CACHED)
    }

    /// Copies all of a buffer to another and waits.
    pub fn copy(self: &Rc<Self>, from: &Buffer, to: &Buffer) -> Result<(), vk::Result> {
        let region = vk::BufferCopy::default().size(SIZE);
        self.submit(|commands| {
            // SAFETY: a recording command buffer, and live buffers of the device.
            unsafe {
                self.vk
                    .cmd_copy_buffer(commands, from.handle(), to.handle(), &[region]);
            };
        })
    }

    /// Fills a buffer and waits.
    pub fn fill(self: &Rc<Self>, buffer: &Buffer, value: u8) -> Result<(), vk::Result> {
        let value = u32::from_ne_bytes([value; 4]);
        self.submit(|commands| {
            // SAFETY: as above.
            unsafe {
                self.vk
                    .cmd_fill_buffer(commands, buffer.handle(), 0, SIZE, value);
            };
        })
    }

    /// Records commands, submits them and waits for them.
    pub fn submit(
        self: &Rc<Self>,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<(), vk::Result> {
        let pool = Pool::new(self)?;
        let fence = Fence::new(self)?;
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool.vk)
            .command_buffer_count(1);
        let begin = vk::CommandBufferBeginInfo::default();
        // All that the commands and the host wrote becomes visible to the other.
        let barrier = [vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
            .dst_access_mask(vk::AccessFlags::HOST_READ)];
        // SAFETY: objects of this device; the commands are recorded between begin and end, and
        // are complete when the wait returns.
        unsafe {
            let commands = self.vk.allocate_command_buffers(&info)?[0];
            self.vk.begin_command_buffer(commands, &begin)?;
            record(commands);
            self.vk.cmd_pipeline_barrier(
                commands,
                vk::PipelineStageFlags::ALL_COMMANDS,
                vk::PipelineStageFlags::HOST,
                vk::DependencyFlags::empty(),
                &barrier,
                &[],
                &[],
            );
            self.vk.end_command_buffer(commands)?;
            let commands = [commands];
            let submit = vk::SubmitInfo::default().command_buffers(&commands);
            self.vk.queue_submit(self.queue, &[submit], fence.vk)?;
            let complete = self.vk.wait_for_fences(&[fence.vk], true, u64::MAX);
            // A wait that was made to fail has not waited.
            complete.or_else(|error| self.vk.device_wait_idle().and(Err(error)))
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: everything made from the device holds a reference to it, and is gone.
        unsafe { self.vk.destroy_device(None) };
    }
}

/// A command pool.
struct Pool {
    vk: vk::CommandPool,
    gpu: Rc<Gpu>,
}

impl Pool {
    fn new(gpu: &Rc<Gpu>) -> Result<Self, vk::Result> {
        let info = vk::CommandPoolCreateInfo::default();
        Ok(Self {
            // SAFETY: a live device.
            vk: unsafe { gpu.vk.create_command_pool(&info, None) }?,
            gpu: Rc::clone(gpu),
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: what was submitted from it is complete.
        unsafe { self.gpu.vk.destroy_command_pool(self.vk, None) };
    }
}

/// A fence.
struct Fence {
    vk: vk::Fence,
    gpu: Rc<Gpu>,
}

impl Fence {
    fn new(gpu: &Rc<Gpu>) -> Result<Self, vk::Result> {
        let info = vk::FenceCreateInfo::default();
        Ok(Self {
            // SAFETY: a live device.
            vk: unsafe { gpu.vk.create_fence(&info, None) }?,
            gpu: Rc::clone(gpu),
        })
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: as for the pool.
        unsafe { self.gpu.vk.destroy_fence(self.vk, None) };
    }
}
