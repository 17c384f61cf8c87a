//! The compiled shaders of `tests/shaders`.

use std::io::Cursor;

use ash::{Device, util, vk};

use super::error::{During, GuestError};
use super::gpu::Gpu;
use super::owned::Owned;

/// A shader source of `tests/shaders`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shader {
    /// The lit scene.
    Scene,
    /// The compute transformation of the memory checks.
    Transform,
    /// One that never ends.
    Endless,
}

impl Shader {
    /// Its SPIR-V.
    #[must_use]
    pub fn spirv(self) -> &'static [u8] {
        match self {
            Self::Scene => include_bytes!(concat!(env!("OUT_DIR"), "/scene.spv")),
            Self::Endless => include_bytes!(concat!(env!("OUT_DIR"), "/endless.spv")),
            Self::Transform => include_bytes!(concat!(env!("OUT_DIR"), "/transform.spv")),
        }
    }
}

/// A shader module, which pipelines do not need after their creation.
pub type ShaderModule<'g> = Owned<'g, vk::ShaderModule>;

impl Shader {
    /// Hands the shader to the driver.
    pub fn module(self, gpu: &Gpu) -> Result<ShaderModule<'_>, GuestError> {
        // Copied because the embedded bytes need not be aligned to words.
        let words = util::read_spv(&mut Cursor::new(self.spirv()))?;
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        // SAFETY: the code is SPIR-V which naga validated (VUID-VkShaderModuleCreateInfo-pCode-08737).
        let handle = unsafe { gpu.device().create_shader_module(&info, None) }
            .during("vkCreateShaderModule")?;
        Ok(Owned::new(gpu, handle, Device::destroy_shader_module))
    }
}
