//! The compute half of the round trip: `transform.wgsl` over a buffer.

use super::compute::Compute;
use super::error::CheckError;
use crate::guest::{Commands, Gpu, MappedBuffer, Shader};

/// Threads in a workgroup, as in the shader.
const WORKGROUP: u64 = 64;
/// `maxComputeWorkGroupCount` promises as many.
const MOST_GROUPS: u64 = 65535;

/// The shader, ready to run.
#[derive(Debug)]
pub struct Transform<'g>(Compute<'g>);

impl<'g> Transform<'g> {
    /// Makes the pipeline.
    pub fn new(gpu: &'g Gpu) -> Result<Self, CheckError> {
        Compute::new(gpu, Shader::Transform).map(Self)
    }

    /// Transforms the whole words of a buffer in place; it must have one at least.
    pub fn run(
        &self,
        commands: &Commands<'_>,
        buffer: &MappedBuffer<'_>,
    ) -> Result<(), CheckError> {
        let words = buffer.size() / 4;
        self.0.bind(buffer, words * 4);
        let groups = words.div_ceil(WORKGROUP).clamp(1, MOST_GROUPS);
        let groups = u32::try_from(groups).unwrap_or(1);
        commands.run(|device, commands| self.0.record(device, commands, groups))?;
        Ok(())
    }
}
