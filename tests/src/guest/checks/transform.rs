//! The compute half of the round trip: `transform.wgsl` over a buffer.

use ash::vk;

use super::error::CheckError;
use crate::guest::{
    Commands, DescriptorSet, Gpu, MappedBuffer, Pipeline, Shader, compute_pipeline,
};

/// Threads in a workgroup, as in the shader.
const WORKGROUP: u64 = 64;
/// `maxComputeWorkGroupCount` promises as many.
const MOST_GROUPS: u64 = 65535;

/// The pipeline and its descriptors.
#[derive(Debug)]
pub struct Transform<'g> {
    pipeline: Pipeline<'g>,
    set: DescriptorSet<'g>,
}

impl<'g> Transform<'g> {
    /// Makes the pipeline.
    pub fn new(gpu: &'g Gpu) -> Result<Self, CheckError> {
        let set = DescriptorSet::new(
            gpu,
            &[vk::DescriptorType::STORAGE_BUFFER],
            vk::ShaderStageFlags::COMPUTE,
        )?;
        let module = Shader::Transform.module(gpu)?;
        let pipeline = compute_pipeline(gpu, &module, set.layout())?;
        Ok(Self { pipeline, set })
    }

    /// Transforms the whole words of a buffer in place; it must have one at least.
    pub fn run(
        &self,
        commands: &Commands<'_>,
        buffer: &MappedBuffer<'_>,
    ) -> Result<(), CheckError> {
        let words = buffer.size() / 4;
        let storage = vk::DescriptorType::STORAGE_BUFFER;
        self.set
            .write_buffer(0, storage, buffer.handle(), words * 4);
        let groups = words.div_ceil(WORKGROUP).clamp(1, MOST_GROUPS);
        let groups = u32::try_from(groups).unwrap_or(1);
        commands.run(|device, commands| {
            // SAFETY: the set describes a buffer that outlives the run, and the number of groups
            // is within the limit (VUID-vkCmdDispatch-groupCountX-00386).
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
        })?;
        Ok(())
    }
}
