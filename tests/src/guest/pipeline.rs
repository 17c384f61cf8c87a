//! Descriptor sets and pipelines.

use ash::{Device, vk};

use super::error::{During, GuestError};
use super::gpu::Gpu;
use super::owned::Owned;
use super::shader::ShaderModule;

/// One descriptor set with its layouts, for pipelines that need no other set.
#[derive(Debug)]
pub struct DescriptorSet<'g> {
    gpu: &'g Gpu,
    pool: vk::DescriptorPool,
    set_layout: vk::DescriptorSetLayout,
    layout: vk::PipelineLayout,
    set: vk::DescriptorSet,
}

impl<'g> DescriptorSet<'g> {
    /// Makes a set with these descriptors at bindings 0, 1, 2 and so on, seen by some stages.
    pub fn new(
        gpu: &'g Gpu,
        types: &[vk::DescriptorType],
        stages: vk::ShaderStageFlags,
    ) -> Result<Self, GuestError> {
        let mut made = Self {
            gpu,
            pool: vk::DescriptorPool::null(),
            set_layout: vk::DescriptorSetLayout::null(),
            layout: vk::PipelineLayout::null(),
            set: vk::DescriptorSet::null(),
        };
        let device = gpu.device();
        let bindings: Vec<_> = (0..)
            .zip(types)
            .map(|(binding, descriptor_type)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_type(*descriptor_type)
                    .descriptor_count(1)
                    .stage_flags(stages)
            })
            .collect();
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: the structures live until the call returns.
        made.set_layout = unsafe { device.create_descriptor_set_layout(&info, None) }
            .during("vkCreateDescriptorSetLayout")?;
        let set_layouts = [made.set_layout];
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&set_layouts);
        // SAFETY: the structures live until the call returns.
        made.layout = unsafe { device.create_pipeline_layout(&info, None) }
            .during("vkCreatePipelineLayout")?;
        let sizes: Vec<_> = types
            .iter()
            .map(|ty| {
                vk::DescriptorPoolSize::default()
                    .ty(*ty)
                    .descriptor_count(1)
            })
            .collect();
        let info = vk::DescriptorPoolCreateInfo::default()
            .max_sets(1)
            .pool_sizes(&sizes);
        // SAFETY: the structures live until the call returns.
        made.pool = unsafe { device.create_descriptor_pool(&info, None) }
            .during("vkCreateDescriptorPool")?;
        let info = vk::DescriptorSetAllocateInfo::default()
            .descriptor_pool(made.pool)
            .set_layouts(&set_layouts);
        // SAFETY: the pool has room for exactly this set.
        let sets =
            unsafe { device.allocate_descriptor_sets(&info) }.during("vkAllocateDescriptorSets")?;
        made.set = sets.first().copied().unwrap_or_default();
        Ok(made)
    }

    /// Points a binding at the first bytes of a buffer.
    pub fn write_buffer(
        &self,
        binding: u32,
        descriptor_type: vk::DescriptorType,
        buffer: vk::Buffer,
        range: u64,
    ) {
        let buffers = [vk::DescriptorBufferInfo {
            buffer,
            offset: 0,
            range,
        }];
        self.write(
            vk::WriteDescriptorSet::default()
                .dst_binding(binding)
                .descriptor_type(descriptor_type)
                .buffer_info(&buffers),
        );
    }

    /// Points a binding at an image that will be in a layout when it is read.
    pub fn write_image(&self, binding: u32, view: vk::ImageView, layout: vk::ImageLayout) {
        let images = [vk::DescriptorImageInfo::default()
            .image_view(view)
            .image_layout(layout)];
        self.write(
            vk::WriteDescriptorSet::default()
                .dst_binding(binding)
                .descriptor_type(vk::DescriptorType::SAMPLED_IMAGE)
                .image_info(&images),
        );
    }

    /// Points a binding at a sampler.
    pub fn write_sampler(&self, binding: u32, sampler: vk::Sampler) {
        let images = [vk::DescriptorImageInfo::default().sampler(sampler)];
        self.write(
            vk::WriteDescriptorSet::default()
                .dst_binding(binding)
                .descriptor_type(vk::DescriptorType::SAMPLER)
                .image_info(&images),
        );
    }

    fn write(&self, write: vk::WriteDescriptorSet<'_>) {
        // SAFETY: every submission is waited for, so the set is in no use
        // (VUID-vkUpdateDescriptorSets-None-03047).
        unsafe {
            self.gpu
                .device()
                .update_descriptor_sets(&[write.dst_set(self.set)], &[]);
        };
    }

    /// The set.
    #[must_use]
    pub fn handle(&self) -> vk::DescriptorSet {
        self.set
    }

    /// The layout of pipelines that use the set.
    #[must_use]
    pub fn layout(&self) -> vk::PipelineLayout {
        self.layout
    }
}

impl Drop for DescriptorSet<'_> {
    fn drop(&mut self) {
        // SAFETY: no submission uses the set any more; null handles are ignored, and the set goes
        // with its pool.
        unsafe {
            self.gpu.device().destroy_descriptor_pool(self.pool, None);
            self.gpu.device().destroy_pipeline_layout(self.layout, None);
            self.gpu
                .device()
                .destroy_descriptor_set_layout(self.set_layout, None);
        }
    }
}

/// A pipeline.
pub type Pipeline<'g> = Owned<'g, vk::Pipeline>;

/// Makes a compute pipeline of a shader's `main`.
pub fn compute_pipeline<'g>(
    gpu: &'g Gpu,
    module: &ShaderModule<'_>,
    layout: vk::PipelineLayout,
) -> Result<Pipeline<'g>, GuestError> {
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module.handle())
        .name(c"main");
    let info = vk::ComputePipelineCreateInfo::default()
        .stage(stage)
        .layout(layout);
    // SAFETY: the structures live until the call returns.
    let result = unsafe {
        gpu.device()
            .create_compute_pipelines(vk::PipelineCache::null(), &[info], None)
    };
    take_pipeline(gpu, result, "vkCreateComputePipelines")
}

/// The one pipeline of a creation call.
pub(super) fn take_pipeline<'g>(
    gpu: &'g Gpu,
    result: Result<Vec<vk::Pipeline>, (Vec<vk::Pipeline>, vk::Result)>,
    command: &'static str,
) -> Result<Pipeline<'g>, GuestError> {
    // A failed call leaves null handles, which need no cleaning up when only one was asked for.
    let pipelines = result.map_err(|(_, error)| error).during(command)?;
    Ok(Owned::new(
        gpu,
        pipelines.first().copied().unwrap_or_default(),
        Device::destroy_pipeline,
    ))
}
