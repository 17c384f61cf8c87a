//! Objects that the layer only counts: their creation, which may be made to fail, and their end.

use core::ffi::CStr;

use ash::vk;
use ash::vk::Handle as _;

use crate::forward::name;
use crate::{dispatch, live};

/// Writes the functions of each type: where the next entity's are, the creation and its
/// parameters, the destruction, the type.
macro_rules! objects {
    ($(
        $kind:ident: $table:ident.$create:ident $creation:literal $(| $creation_alias:literal)*
        ($info:ty), $($destroy:ident $destruction:literal $(| $destruction_alias:literal)*)?;
    )*) => {
        $(
            unsafe extern "system" fn $create(
                device: vk::Device,
                info: *const $info,
                allocator: *const vk::AllocationCallbacks<'_>,
                object: *mut vk::$kind,
            ) -> vk::Result {
                // SAFETY: the first parameter of a command is a live handle.
                let Some(next) = (unsafe { dispatch::device(&device) }) else {
                    return vk::Result::ERROR_UNKNOWN;
                };
                if let Err(fault) = next.admit(name!($creation)) {
                    return fault;
                }
                // SAFETY: the next entity gets what this one got.
                let result = unsafe {
                    (next.functions.$table.$create)(device, info, allocator, object)
                };
                if result == vk::Result::SUCCESS {
                    live::created(concat!("Vk", stringify!($kind)));
                }
                result
            }

            $(unsafe extern "system" fn $destroy(
                device: vk::Device,
                object: vk::$kind,
                allocator: *const vk::AllocationCallbacks<'_>,
            ) {
                // SAFETY: the first parameter of a command is a live handle.
                let Some(next) = (unsafe { dispatch::device(&device) }) else {
                    return;
                };
                // SAFETY: the next entity gets what this one got.
                unsafe { (next.functions.$table.$destroy)(device, object, allocator) };
                if !object.is_null() {
                    live::destroyed(concat!("Vk", stringify!($kind)));
                }
            })?
        )*

        /// The layer's function for a command.
        pub fn command(name: &str) -> Option<*const ()> {
            Some(match name {
                $(
                    $creation $(| $creation_alias)* => $create as *const (),
                    $($destruction $(| $destruction_alias)* => $destroy as *const (),)?
                )*
                "vkCreateGraphicsPipelines" => create_graphics_pipelines as *const (),
                "vkCreateComputePipelines" => create_compute_pipelines as *const (),
                "vkDestroyPipeline" => destroy_pipeline as *const (),
                _ => return None,
            })
        }
    };
}

objects! {
    Fence: v1_0.create_fence "vkCreateFence" (vk::FenceCreateInfo<'_>),
        destroy_fence "vkDestroyFence";
    Semaphore: v1_0.create_semaphore "vkCreateSemaphore" (vk::SemaphoreCreateInfo<'_>),
        destroy_semaphore "vkDestroySemaphore";
    Event: v1_0.create_event "vkCreateEvent" (vk::EventCreateInfo<'_>),
        destroy_event "vkDestroyEvent";
    CommandPool: v1_0.create_command_pool "vkCreateCommandPool" (vk::CommandPoolCreateInfo<'_>),
        destroy_command_pool "vkDestroyCommandPool";
    QueryPool: v1_0.create_query_pool "vkCreateQueryPool" (vk::QueryPoolCreateInfo<'_>),
        destroy_query_pool "vkDestroyQueryPool";
    BufferView: v1_0.create_buffer_view "vkCreateBufferView" (vk::BufferViewCreateInfo<'_>),
        destroy_buffer_view "vkDestroyBufferView";
    ImageView: v1_0.create_image_view "vkCreateImageView" (vk::ImageViewCreateInfo<'_>),
        destroy_image_view "vkDestroyImageView";
    Sampler: v1_0.create_sampler "vkCreateSampler" (vk::SamplerCreateInfo<'_>),
        destroy_sampler "vkDestroySampler";
    SamplerYcbcrConversion: v1_1.create_sampler_ycbcr_conversion
        "vkCreateSamplerYcbcrConversion" | "vkCreateSamplerYcbcrConversionKHR"
        (vk::SamplerYcbcrConversionCreateInfo<'_>),
        destroy_sampler_ycbcr_conversion
        "vkDestroySamplerYcbcrConversion" | "vkDestroySamplerYcbcrConversionKHR";
    ShaderModule: v1_0.create_shader_module "vkCreateShaderModule"
        (vk::ShaderModuleCreateInfo<'_>),
        destroy_shader_module "vkDestroyShaderModule";
    DescriptorSetLayout: v1_0.create_descriptor_set_layout "vkCreateDescriptorSetLayout"
        (vk::DescriptorSetLayoutCreateInfo<'_>),
        destroy_descriptor_set_layout "vkDestroyDescriptorSetLayout";
    DescriptorPool: v1_0.create_descriptor_pool "vkCreateDescriptorPool"
        (vk::DescriptorPoolCreateInfo<'_>),
        destroy_descriptor_pool "vkDestroyDescriptorPool";
    DescriptorUpdateTemplate: v1_1.create_descriptor_update_template
        "vkCreateDescriptorUpdateTemplate" | "vkCreateDescriptorUpdateTemplateKHR"
        (vk::DescriptorUpdateTemplateCreateInfo<'_>),
        destroy_descriptor_update_template
        "vkDestroyDescriptorUpdateTemplate" | "vkDestroyDescriptorUpdateTemplateKHR";
    PipelineLayout: v1_0.create_pipeline_layout "vkCreatePipelineLayout"
        (vk::PipelineLayoutCreateInfo<'_>),
        destroy_pipeline_layout "vkDestroyPipelineLayout";
    PipelineCache: v1_0.create_pipeline_cache "vkCreatePipelineCache"
        (vk::PipelineCacheCreateInfo<'_>),
        destroy_pipeline_cache "vkDestroyPipelineCache";
    RenderPass: v1_0.create_render_pass "vkCreateRenderPass" (vk::RenderPassCreateInfo<'_>),
        destroy_render_pass "vkDestroyRenderPass";
    RenderPass: v1_2.create_render_pass2 "vkCreateRenderPass2" | "vkCreateRenderPass2KHR"
        (vk::RenderPassCreateInfo2<'_>), ;
    Framebuffer: v1_0.create_framebuffer "vkCreateFramebuffer" (vk::FramebufferCreateInfo<'_>),
        destroy_framebuffer "vkDestroyFramebuffer";
    PrivateDataSlot: v1_3.create_private_data_slot
        "vkCreatePrivateDataSlot" | "vkCreatePrivateDataSlotEXT"
        (vk::PrivateDataSlotCreateInfo<'_>),
        destroy_private_data_slot "vkDestroyPrivateDataSlot" | "vkDestroyPrivateDataSlotEXT";
}

/// Writes a creation of several pipelines.
macro_rules! pipelines {
    ($($create:ident $creation:literal ($info:ty);)*) => {
        $(unsafe extern "system" fn $create(
            device: vk::Device,
            cache: vk::PipelineCache,
            count: u32,
            infos: *const $info,
            allocator: *const vk::AllocationCallbacks<'_>,
            pipelines: *mut vk::Pipeline,
        ) -> vk::Result {
            // SAFETY: the first parameter of a command is a live handle.
            let Some(next) = (unsafe { dispatch::device(&device) }) else {
                return vk::Result::ERROR_UNKNOWN;
            };
            if let Err(fault) = next.admit(name!($creation)) {
                return fault;
            }
            // SAFETY: the next entity gets what this one got.
            let result = unsafe {
                (next.functions.v1_0.$create)(device, cache, count, infos, allocator, pipelines)
            };
            // SAFETY: an array of `count` elements; what could not be created is null.
            let created = unsafe { core::slice::from_raw_parts(pipelines, count as usize) };
            for _ in created.iter().filter(|pipeline| !pipeline.is_null()) {
                live::created("VkPipeline");
            }
            result
        })*
    };
}

pipelines! {
    create_graphics_pipelines "vkCreateGraphicsPipelines" (vk::GraphicsPipelineCreateInfo<'_>);
    create_compute_pipelines "vkCreateComputePipelines" (vk::ComputePipelineCreateInfo<'_>);
}

unsafe extern "system" fn destroy_pipeline(
    device: vk::Device,
    pipeline: vk::Pipeline,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: VUID-vkDestroyPipeline-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: the next entity gets what this one got.
    unsafe { (next.functions.v1_0.destroy_pipeline)(device, pipeline, allocator) };
    if !pipeline.is_null() {
        live::destroyed("VkPipeline");
    }
}
