//! Recording a frame: shadows, picture, screen, copy.

use ash::{Device, vk};

use super::mesh::MeshRange;
use super::pipelines::Pipelines;
use super::targets::Target;

/// A mesh and the instances of it in this frame.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The mesh.
    pub mesh: MeshRange,
    /// The first of its instances.
    pub first_instance: u32,
    /// How many there are.
    pub instance_count: u32,
}

/// Everything a frame's commands name.
#[derive(Clone, Copy)]
pub struct FrameCommands<'a, 'g> {
    /// The device that records.
    pub device: &'a Device,
    /// The command buffer.
    pub commands: vk::CommandBuffer,
    /// The pipelines.
    pub pipelines: &'a Pipelines<'g>,
    /// Layout of all pipelines.
    pub layout: vk::PipelineLayout,
    /// The one descriptor set.
    pub set: vk::DescriptorSet,
    /// Vertices of all meshes.
    pub vertices: vk::Buffer,
    /// Indices of all meshes.
    pub indices: vk::Buffer,
    /// The objects.
    pub objects: &'a [Draw],
    /// The ground.
    pub ground: Draw,
}

impl FrameCommands<'_, '_> {
    /// Records the shadow map.
    pub fn shadow(&self, target: &Target<'_>) {
        let clear = [depth_clear()];
        self.begin(target, &clear);
        self.bind();
        self.draw(self.pipelines.shadow.handle(), self.objects);
        // SAFETY: `begin` began a render pass.
        unsafe { self.device.cmd_end_render_pass(self.commands) };
    }

    /// Records the picture.
    pub fn picture(&self, target: &Target<'_>) {
        let clear = [depth_clear()];
        self.begin(target, &clear);
        self.bind();
        // Front to back, so that little is shaded in vain; the ground blends over what it mirrors
        // and so comes after it.
        self.draw(self.pipelines.object.handle(), self.objects);
        self.draw(self.pipelines.mirror.handle(), self.objects);
        self.fill(self.pipelines.sky.handle());
        self.draw(self.pipelines.ground.handle(), &[self.ground]);
        // SAFETY: `begin` began a render pass.
        unsafe { self.device.cmd_end_render_pass(self.commands) };
    }

    /// Records the last touch to the picture.
    pub fn screen(&self, target: &Target<'_>) {
        self.begin(target, &[]);
        self.bind();
        self.fill(self.pipelines.screen.handle());
        // SAFETY: `begin` began a render pass.
        unsafe { self.device.cmd_end_render_pass(self.commands) };
    }

    /// Records the copy of the picture, row after row, to the start of a buffer.
    pub fn copy(&self, target: &Target<'_>, readback: vk::Buffer) {
        let region = vk::BufferImageCopy::default()
            .image_subresource(vk::ImageSubresourceLayers {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                mip_level: 0,
                base_array_layer: 0,
                layer_count: 1,
            })
            .image_extent(target.extent().into());
        // SAFETY: the render pass left the image in this layout and made its writes visible to
        // transfers; the buffer holds four bytes for each pixel.
        unsafe {
            self.device.cmd_copy_image_to_buffer(
                self.commands,
                target.result().handle(),
                vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
                readback,
                &[region],
            );
        }
    }

    fn begin(&self, target: &Target<'_>, clear: &[vk::ClearValue]) {
        let info = vk::RenderPassBeginInfo::default()
            .render_pass(target.pass())
            .framebuffer(target.framebuffer())
            .render_area(target.extent().into())
            .clear_values(clear);
        // SAFETY: the command buffer is being recorded, outside a render pass, and the framebuffer
        // was made for this one.
        unsafe {
            self.device
                .cmd_begin_render_pass(self.commands, &info, vk::SubpassContents::INLINE);
        }
    }

    fn bind(&self) {
        // SAFETY: the command buffer is being recorded, and set and buffers outlive its run.
        unsafe {
            self.device.cmd_bind_descriptor_sets(
                self.commands,
                vk::PipelineBindPoint::GRAPHICS,
                self.layout,
                0,
                &[self.set],
                &[],
            );
            self.device
                .cmd_bind_vertex_buffers(self.commands, 0, &[self.vertices], &[0]);
            self.device.cmd_bind_index_buffer(
                self.commands,
                self.indices,
                0,
                vk::IndexType::UINT32,
            );
        }
    }

    /// Draws one triangle that covers the target.
    fn fill(&self, pipeline: vk::Pipeline) {
        // SAFETY: a render pass is begun, and the pipeline makes its three vertices itself.
        unsafe {
            self.device
                .cmd_bind_pipeline(self.commands, vk::PipelineBindPoint::GRAPHICS, pipeline);
            self.device.cmd_draw(self.commands, 3, 1, 0, 0);
        }
    }

    fn draw(&self, pipeline: vk::Pipeline, draws: &[Draw]) {
        // SAFETY: a render pass is begun, `bind` bound what the pipeline reads, and the ranges are
        // those of the meshes in the bound buffers.
        unsafe {
            self.device
                .cmd_bind_pipeline(self.commands, vk::PipelineBindPoint::GRAPHICS, pipeline);
            for draw in draws {
                self.device.cmd_draw_indexed(
                    self.commands,
                    draw.mesh.index_count,
                    draw.instance_count,
                    draw.mesh.first_index,
                    draw.mesh.vertex_offset,
                    draw.first_instance,
                );
            }
        }
    }
}

fn depth_clear() -> vk::ClearValue {
    vk::ClearValue {
        depth_stencil: vk::ClearDepthStencilValue {
            depth: 1.0,
            stencil: 0,
        },
    }
}
