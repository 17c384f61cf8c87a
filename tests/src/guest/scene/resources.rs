//! What the scene's pipelines read: meshes, uniforms, and the descriptors that name them.

use ash::{Device, vk};

use super::layout::instance_count;
use super::mesh::{Mesh, MeshRange};
use super::shapes;
use super::targets::Target;
use super::uniforms::{FRAME_SIZE, INSTANCE_SIZE};
use crate::guest::commands::memory_barrier;
use crate::guest::{
    Commands, DescriptorSet, During, Gpu, GuestError, MappedBuffer, MemoryWish, Owned,
};

/// Descriptors in the order of the shader's bindings.
const BINDINGS: [vk::DescriptorType; 6] = [
    vk::DescriptorType::UNIFORM_BUFFER,
    vk::DescriptorType::STORAGE_BUFFER,
    vk::DescriptorType::SAMPLED_IMAGE,
    vk::DescriptorType::SAMPLER,
    vk::DescriptorType::SAMPLED_IMAGE,
    vk::DescriptorType::SAMPLER,
];

/// The meshes in memory of the device.
#[derive(Debug)]
pub struct Geometry<'g> {
    /// Vertices of all meshes.
    pub vertices: MappedBuffer<'g>,
    /// Indices of all meshes.
    pub indices: MappedBuffer<'g>,
    /// The moving shapes, in the order of their instances.
    pub shapes: [MeshRange; 3],
    /// The ground.
    pub ground: MeshRange,
}

impl<'g> Geometry<'g> {
    /// Makes the meshes and uploads them.
    pub fn new(gpu: &'g Gpu, commands: &Commands<'_>) -> Result<Self, GuestError> {
        let (mesh, [knot, sphere, cube, ground]) = Mesh::concatenate(&[
            shapes::torus_knot(192, 12, 0.225),
            shapes::sphere(28, 14),
            shapes::beveled_cube(0.16),
            shapes::ground(1500.0),
        ]);
        let upload = |bytes: &[u8], usage| device_buffer(gpu, commands, bytes, usage);
        Ok(Self {
            vertices: upload(&mesh.vertex_bytes(), vk::BufferUsageFlags::VERTEX_BUFFER)?,
            indices: upload(&mesh.index_bytes(), vk::BufferUsageFlags::INDEX_BUFFER)?,
            shapes: [knot, sphere, cube],
            ground,
        })
    }
}

/// The descriptor set, and the buffers that are written anew for each frame.
#[derive(Debug)]
pub struct Bindings<'g> {
    /// The one set of all pipelines.
    pub set: DescriptorSet<'g>,
    /// `Frame` of the shader.
    pub frame: MappedBuffer<'g>,
    /// The array of `Instance` of the shader.
    pub instances: MappedBuffer<'g>,
    // Samplers must outlive the set that names them.
    _samplers: [Owned<'g, vk::Sampler>; 2],
}

impl<'g> Bindings<'g> {
    /// Makes buffers and samplers, and points the set at them and at what the passes draw.
    pub fn new(
        gpu: &'g Gpu,
        shadow: &Target<'_>,
        picture: &Target<'_>,
    ) -> Result<Self, GuestError> {
        let stages = vk::ShaderStageFlags::VERTEX | vk::ShaderStageFlags::FRAGMENT;
        let set = DescriptorSet::new(gpu, &BINDINGS, stages)?;
        let frame = MappedBuffer::new(
            gpu,
            FRAME_SIZE,
            vk::BufferUsageFlags::UNIFORM_BUFFER,
            MemoryWish::UPLOAD,
        )?;
        let instances = MappedBuffer::new(
            gpu,
            INSTANCE_SIZE * u64::from(instance_count()),
            vk::BufferUsageFlags::STORAGE_BUFFER,
            MemoryWish::UPLOAD,
        )?;
        let samplers = [shadow_sampler(gpu)?, picture_sampler(gpu)?];
        set.write_buffer(0, BINDINGS[0], frame.handle(), frame.size());
        set.write_buffer(1, BINDINGS[1], instances.handle(), instances.size());
        let depth = vk::ImageLayout::DEPTH_STENCIL_READ_ONLY_OPTIMAL;
        set.write_image(2, shadow.result().view(), depth);
        set.write_sampler(3, samplers[0].handle());
        let color = vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL;
        set.write_image(4, picture.result().view(), color);
        set.write_sampler(5, samplers[1].handle());
        Ok(Self {
            set,
            frame,
            instances,
            _samplers: samplers,
        })
    }
}

/// A buffer of the device's memory, filled by a copy.
fn device_buffer<'g>(
    gpu: &'g Gpu,
    commands: &Commands<'_>,
    bytes: &[u8],
    usage: vk::BufferUsageFlags,
) -> Result<MappedBuffer<'g>, GuestError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let staging = MappedBuffer::new(
        gpu,
        size,
        vk::BufferUsageFlags::TRANSFER_SRC,
        MemoryWish::UPLOAD,
    )?;
    staging.upload(0, bytes)?;
    let usage = usage | vk::BufferUsageFlags::TRANSFER_DST;
    let buffer = MappedBuffer::new(gpu, size, usage, MemoryWish::DEVICE)?;
    commands.run(|device, commands| {
        let region = [vk::BufferCopy {
            src_offset: 0,
            dst_offset: 0,
            size,
        }];
        // SAFETY: both buffers have this size and outlive the run.
        unsafe { device.cmd_copy_buffer(commands, staging.handle(), buffer.handle(), &region) };
        memory_barrier(
            device,
            commands,
            (
                vk::PipelineStageFlags::TRANSFER,
                vk::AccessFlags::TRANSFER_WRITE,
            ),
            (
                vk::PipelineStageFlags::VERTEX_INPUT,
                vk::AccessFlags::VERTEX_ATTRIBUTE_READ | vk::AccessFlags::INDEX_READ,
            ),
        );
    })?;
    Ok(buffer)
}

fn shadow_sampler(gpu: &Gpu) -> Result<Owned<'_, vk::Sampler>, GuestError> {
    let info = linear_sampler(vk::SamplerAddressMode::CLAMP_TO_BORDER)
        // What the map does not cover is in the sun.
        .border_color(vk::BorderColor::FLOAT_OPAQUE_WHITE)
        .compare_enable(true)
        .compare_op(vk::CompareOp::LESS_OR_EQUAL);
    sampler(gpu, &info)
}

fn picture_sampler(gpu: &Gpu) -> Result<Owned<'_, vk::Sampler>, GuestError> {
    sampler(gpu, &linear_sampler(vk::SamplerAddressMode::CLAMP_TO_EDGE))
}

fn linear_sampler(outside: vk::SamplerAddressMode) -> vk::SamplerCreateInfo<'static> {
    vk::SamplerCreateInfo::default()
        .mag_filter(vk::Filter::LINEAR)
        .min_filter(vk::Filter::LINEAR)
        .address_mode_u(outside)
        .address_mode_v(outside)
        .address_mode_w(outside)
}

fn sampler<'g>(
    gpu: &'g Gpu,
    info: &vk::SamplerCreateInfo<'_>,
) -> Result<Owned<'g, vk::Sampler>, GuestError> {
    // SAFETY: the structure lives until the call returns.
    let sampler = unsafe { gpu.device().create_sampler(info, None) }.during("vkCreateSampler")?;
    Ok(Owned::new(gpu, sampler, Device::destroy_sampler))
}
