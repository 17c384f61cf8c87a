//! The graphics pipelines: shadows, objects, their mirror images, sky, ground and screen.

use std::ffi::CStr;

use ash::vk;

use super::mesh::Vertex;
use super::targets::Target;
use crate::guest::pipeline::take_pipeline;
use crate::guest::{Gpu, GuestError, Pipeline, Shader};

/// One pipeline for each kind of draw.
#[derive(Debug)]
pub struct Pipelines<'g> {
    /// Depth of the objects as the sun sees them.
    pub shadow: Pipeline<'g>,
    /// The objects.
    pub object: Pipeline<'g>,
    /// The objects below the ground, as its polish shows them.
    pub mirror: Pipeline<'g>,
    /// What is behind everything.
    pub sky: Pipeline<'g>,
    /// The ground, blended over the mirror images.
    pub ground: Pipeline<'g>,
    /// The picture with smooth edges.
    pub screen: Pipeline<'g>,
}

/// What tells one pipeline from another.
#[derive(Clone, Copy)]
struct Kind {
    vertex: &'static CStr,
    fragment: Option<&'static CStr>,
    front: vk::FrontFace,
    cull: vk::CullModeFlags,
    reads_vertices: bool,
    reads_normals: bool,
    tests_depth: bool,
    writes_depth: bool,
    blends: bool,
}

const OBJECT: Kind = Kind {
    vertex: c"object_vertex",
    fragment: Some(c"object_fragment"),
    front: vk::FrontFace::COUNTER_CLOCKWISE,
    cull: vk::CullModeFlags::BACK,
    reads_vertices: true,
    reads_normals: true,
    tests_depth: true,
    writes_depth: true,
    blends: false,
};

const SHADOW: Kind = Kind {
    vertex: c"shadow_vertex",
    fragment: None,
    // Only sides that the sun does not light cast shadows: none that it does shades itself, and
    // no bias is needed that would part a shadow from its object.
    cull: vk::CullModeFlags::FRONT,
    reads_normals: false,
    ..OBJECT
};

const MIRROR: Kind = Kind {
    vertex: c"mirror_vertex",
    fragment: Some(c"mirror_fragment"),
    // A mirror turns the winding round.
    front: vk::FrontFace::CLOCKWISE,
    ..OBJECT
};

const SKY: Kind = Kind {
    vertex: c"sky_vertex",
    fragment: Some(c"sky_fragment"),
    reads_vertices: false,
    reads_normals: false,
    writes_depth: false,
    ..OBJECT
};

const SCREEN: Kind = Kind {
    fragment: Some(c"screen_fragment"),
    tests_depth: false,
    ..SKY
};

const GROUND: Kind = Kind {
    vertex: c"ground_vertex",
    fragment: Some(c"ground_fragment"),
    reads_normals: false,
    blends: true,
    ..OBJECT
};

/// One buffer of whole vertices.
static BINDINGS: [vk::VertexInputBindingDescription; 1] = [vk::VertexInputBindingDescription {
    binding: 0,
    stride: Vertex::STRIDE,
    input_rate: vk::VertexInputRate::VERTEX,
}];

/// Position and normal.
static ATTRIBUTES: [vk::VertexInputAttributeDescription; 2] =
    [attribute(0, 0), attribute(1, Vertex::NORMAL_OFFSET)];

const fn attribute(location: u32, offset: u32) -> vk::VertexInputAttributeDescription {
    let format = vk::Format::R32G32B32_SFLOAT;
    vk::VertexInputAttributeDescription {
        location,
        binding: 0,
        format,
        offset,
    }
}

impl Kind {
    fn stages(&self, module: vk::ShaderModule) -> Vec<vk::PipelineShaderStageCreateInfo<'static>> {
        let stages = [
            (vk::ShaderStageFlags::VERTEX, Some(self.vertex)),
            (vk::ShaderStageFlags::FRAGMENT, self.fragment),
        ];
        let info = vk::PipelineShaderStageCreateInfo::default().module(module);
        stages
            .into_iter()
            .filter_map(|(stage, name)| Some(info.stage(stage).name(name?)))
            .collect()
    }

    fn vertex_input(&self) -> vk::PipelineVertexInputStateCreateInfo<'static> {
        let input = vk::PipelineVertexInputStateCreateInfo::default();
        if !self.reads_vertices {
            return input;
        }
        let attributes = if self.reads_normals {
            &ATTRIBUTES[..]
        } else {
            &ATTRIBUTES[..1]
        };
        input
            .vertex_binding_descriptions(&BINDINGS)
            .vertex_attribute_descriptions(attributes)
    }
}

impl<'g> Pipelines<'g> {
    /// Makes them all.
    pub fn new(
        gpu: &'g Gpu,
        layout: vk::PipelineLayout,
        shadow: &Target<'_>,
        picture: &Target<'_>,
        screen: &Target<'_>,
    ) -> Result<Self, GuestError> {
        let module = Shader::Scene.module(gpu)?;
        let make = |target: &Target<'_>, kind| {
            graphics_pipeline(gpu, module.handle(), layout, target, kind)
        };
        Ok(Self {
            shadow: make(shadow, SHADOW)?,
            object: make(picture, OBJECT)?,
            mirror: make(picture, MIRROR)?,
            sky: make(picture, SKY)?,
            ground: make(picture, GROUND)?,
            screen: make(screen, SCREEN)?,
        })
    }
}

fn graphics_pipeline<'g>(
    gpu: &'g Gpu,
    module: vk::ShaderModule,
    layout: vk::PipelineLayout,
    target: &Target<'_>,
    kind: Kind,
) -> Result<Pipeline<'g>, GuestError> {
    let stages = kind.stages(module);
    let input = kind.vertex_input();
    let assembly = vk::PipelineInputAssemblyStateCreateInfo::default()
        .topology(vk::PrimitiveTopology::TRIANGLE_LIST);
    let extent = target.extent();
    let (viewports, scissors) = ([viewport(extent)], [extent.into()]);
    let viewport = vk::PipelineViewportStateCreateInfo::default()
        .viewports(&viewports)
        .scissors(&scissors);
    let is_shadow = kind.fragment.is_none();
    let multisample = vk::PipelineMultisampleStateCreateInfo::default()
        .rasterization_samples(vk::SampleCountFlags::TYPE_1);
    let rasterization = vk::PipelineRasterizationStateCreateInfo::default()
        .cull_mode(kind.cull)
        .front_face(kind.front)
        .line_width(1.0);
    let depth = vk::PipelineDepthStencilStateCreateInfo::default()
        .depth_test_enable(kind.tests_depth)
        .depth_write_enable(kind.writes_depth)
        .depth_compare_op(vk::CompareOp::LESS_OR_EQUAL);
    let blends = [blend(kind.blends)];
    let mut blend = vk::PipelineColorBlendStateCreateInfo::default();
    if !is_shadow {
        blend = blend.attachments(&blends);
    }
    let info = vk::GraphicsPipelineCreateInfo::default()
        .stages(&stages)
        .vertex_input_state(&input)
        .input_assembly_state(&assembly)
        .viewport_state(&viewport)
        .rasterization_state(&rasterization)
        .multisample_state(&multisample)
        .depth_stencil_state(&depth)
        .color_blend_state(&blend)
        .layout(layout)
        .render_pass(target.pass());
    // SAFETY: the structures live until the call returns, and the shader's entry points fit the
    // layout, the vertex input and the attachments of the render pass.
    let result = unsafe {
        gpu.device()
            .create_graphics_pipelines(vk::PipelineCache::null(), &[info], None)
    };
    take_pipeline(gpu, result, "vkCreateGraphicsPipelines")
}

#[expect(clippy::cast_precision_loss, reason = "image sizes are far below 2^24")]
fn viewport(extent: vk::Extent2D) -> vk::Viewport {
    vk::Viewport {
        x: 0.0,
        y: 0.0,
        width: extent.width as f32,
        height: extent.height as f32,
        min_depth: 0.0,
        max_depth: 1.0,
    }
}

fn blend(enabled: bool) -> vk::PipelineColorBlendAttachmentState {
    vk::PipelineColorBlendAttachmentState::default()
        .blend_enable(enabled)
        .src_color_blend_factor(vk::BlendFactor::SRC_ALPHA)
        .dst_color_blend_factor(vk::BlendFactor::ONE_MINUS_SRC_ALPHA)
        .color_blend_op(vk::BlendOp::ADD)
        // The picture stays opaque.
        .src_alpha_blend_factor(vk::BlendFactor::ZERO)
        .dst_alpha_blend_factor(vk::BlendFactor::ONE)
        .alpha_blend_op(vk::BlendOp::ADD)
        .color_write_mask(vk::ColorComponentFlags::RGBA)
}
