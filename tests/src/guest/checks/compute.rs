//! A compute shader over one buffer.

use ash::vk;

use super::error::CheckError;
use crate::guest::{DescriptorSet, Gpu, MappedBuffer, Pipeline, Shader, compute_pipeline};

/// The pipeline and its descriptors.
#[derive(Debug)]
pub struct Compute<'g> {
    pipeline: Pipeline<'g>,
    set: DescriptorSet<'g>,
}

impl<'g> Compute<'g> {
    /// Makes the pipeline of a shader that has one storage buffer.
    pub fn new(gpu: &'g Gpu, shader: Shader) -> Result<Self, CheckError> {
        let set = DescriptorSet::new(
            gpu,
            &[vk::DescriptorType::STORAGE_BUFFER],
            vk::ShaderStageFlags::COMPUTE,
        )?;
        let module = shader.module(gpu)?;
        let pipeline = compute_pipeline(gpu, &module, set.layout())?;
        Ok(Self { pipeline, set })
    }

    /// Makes the first bytes of a buffer the shader's. Nothing of it may be at work.
    pub fn bind(&self, buffer: &MappedBuffer<'_>, size: u64) {
        let storage = vk::DescriptorType::STORAGE_BUFFER;
        self.set.write_buffer(0, storage, buffer.handle(), size);
    }

    /// Records a run in so many workgroups, which the device has to allow
    /// (VUID-vkCmdDispatch-groupCountX-00386).
    pub fn record(&self, device: &ash::Device, commands: vk::CommandBuffer, groups: u32) {
        // SAFETY: the command buffer is being recorded, and the set describes a buffer that its
        // user keeps until the work is done.
        unsafe {
            device.cmd_bind_pipeline(
                commands,
                vk::PipelineBindPoint::COMPUTE,
                self.pipeline.handle(),
            );
            device.cmd_bind_descriptor_sets(
                commands,
                vk::PipelineBindPoint::COMPUTE,
                self.set.layout(),
                0,
                &[self.set.handle()],
                &[],
            );
            device.cmd_dispatch(commands, groups, 1, 1);
        }
    }
}
