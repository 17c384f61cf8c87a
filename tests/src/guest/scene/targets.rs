//! The images the scene is drawn into, and the render passes that do it.

use ash::{Device, vk};

use crate::guest::{During, Gpu, GuestError, Image, ImageDescription, Owned};

/// Side of the shadow map in pixels; `SHADOW_TEXEL` of the shader is one over it.
const SHADOW_SIZE: u32 = 1024;
/// What the picture is stored in between its passes. Every device can blend and sample it.
const PICTURE_FORMAT: vk::Format = vk::Format::R8G8B8A8_UNORM;
/// What the result is stored in: in memory red, green, blue, alpha.
const SCREEN_FORMAT: vk::Format = vk::Format::R8G8B8A8_SRGB;

/// A render pass with its framebuffer.
#[derive(Debug)]
pub struct Target<'g> {
    framebuffer: Owned<'g, vk::Framebuffer>,
    pass: Owned<'g, vk::RenderPass>,
    _depth: Option<Image<'g>>,
    result: Image<'g>,
    extent: vk::Extent2D,
}

impl<'g> Target<'g> {
    /// The shadow map: depth alone, read by the fragments of the picture.
    pub fn shadow(gpu: &'g Gpu) -> Result<Self, GuestError> {
        let format = gpu.supported_format(
            &[vk::Format::D16_UNORM, vk::Format::D32_SFLOAT],
            vk::FormatFeatureFlags::DEPTH_STENCIL_ATTACHMENT
                | vk::FormatFeatureFlags::SAMPLED_IMAGE
                | vk::FormatFeatureFlags::SAMPLED_IMAGE_FILTER_LINEAR,
        )?;
        let extent = vk::Extent2D {
            width: SHADOW_SIZE,
            height: SHADOW_SIZE,
        };
        let usage = vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT | vk::ImageUsageFlags::SAMPLED;
        let aspect = vk::ImageAspectFlags::DEPTH;
        let image = Image::new(
            gpu,
            ImageDescription {
                extent,
                format,
                usage,
                aspect,
            },
        )?;
        let attachments = [attachment(&image)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)
            .final_layout(vk::ImageLayout::DEPTH_STENCIL_READ_ONLY_OPTIMAL)];
        let depth = reference(0, vk::ImageLayout::DEPTH_STENCIL_ATTACHMENT_OPTIMAL);
        let subpass = vk::SubpassDescription::default().depth_stencil_attachment(&depth);
        let leave = vk::SubpassDependency::default()
            .src_subpass(0)
            .dst_subpass(vk::SUBPASS_EXTERNAL)
            .src_stage_mask(vk::PipelineStageFlags::LATE_FRAGMENT_TESTS)
            .src_access_mask(vk::AccessFlags::DEPTH_STENCIL_ATTACHMENT_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags::FRAGMENT_SHADER)
            .dst_access_mask(vk::AccessFlags::SHADER_READ);
        let pass = render_pass(gpu, &attachments, subpass, &[leave])?;
        Self::with_framebuffer(gpu, pass, None, image)
    }

    /// The picture: depth, and colour that the fragments of the screen read.
    pub fn picture(gpu: &'g Gpu, extent: vk::Extent2D) -> Result<Self, GuestError> {
        let depth_format = gpu.supported_format(
            &[vk::Format::D32_SFLOAT, vk::Format::X8_D24_UNORM_PACK32],
            vk::FormatFeatureFlags::DEPTH_STENCIL_ATTACHMENT,
        )?;
        let depth = Image::new(
            gpu,
            ImageDescription {
                extent,
                format: depth_format,
                usage: vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT
                    | vk::ImageUsageFlags::TRANSIENT_ATTACHMENT,
                aspect: vk::ImageAspectFlags::DEPTH,
            },
        )?;
        let color = color_image(gpu, extent, PICTURE_FORMAT, vk::ImageUsageFlags::SAMPLED)?;
        let attachments = [
            attachment(&depth)
                .load_op(vk::AttachmentLoadOp::CLEAR)
                .store_op(vk::AttachmentStoreOp::DONT_CARE)
                .final_layout(vk::ImageLayout::DEPTH_STENCIL_ATTACHMENT_OPTIMAL),
            // The sky leaves no pixel undrawn.
            attachment(&color)
                .load_op(vk::AttachmentLoadOp::DONT_CARE)
                .store_op(vk::AttachmentStoreOp::STORE)
                .final_layout(vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL),
        ];
        let depth_reference = reference(0, vk::ImageLayout::DEPTH_STENCIL_ATTACHMENT_OPTIMAL);
        let colors = [reference(1, vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)];
        let subpass = vk::SubpassDescription::default()
            .color_attachments(&colors)
            .depth_stencil_attachment(&depth_reference);
        let leave = color_dependency()
            .dst_stage_mask(vk::PipelineStageFlags::FRAGMENT_SHADER)
            .dst_access_mask(vk::AccessFlags::SHADER_READ);
        let pass = render_pass(gpu, &attachments, subpass, &[leave])?;
        Self::with_framebuffer(gpu, pass, Some(depth), color)
    }

    /// The finished picture, which transfers read.
    pub fn screen(gpu: &'g Gpu, extent: vk::Extent2D) -> Result<Self, GuestError> {
        let color = color_image(
            gpu,
            extent,
            SCREEN_FORMAT,
            vk::ImageUsageFlags::TRANSFER_SRC,
        )?;
        let attachments = [attachment(&color)
            .load_op(vk::AttachmentLoadOp::DONT_CARE)
            .store_op(vk::AttachmentStoreOp::STORE)
            .final_layout(vk::ImageLayout::TRANSFER_SRC_OPTIMAL)];
        let colors = [reference(0, vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)];
        let subpass = vk::SubpassDescription::default().color_attachments(&colors);
        let leave = color_dependency()
            .dst_stage_mask(vk::PipelineStageFlags::TRANSFER)
            .dst_access_mask(vk::AccessFlags::TRANSFER_READ);
        let pass = render_pass(gpu, &attachments, subpass, &[leave])?;
        Self::with_framebuffer(gpu, pass, None, color)
    }

    fn with_framebuffer(
        gpu: &'g Gpu,
        pass: Owned<'g, vk::RenderPass>,
        depth: Option<Image<'g>>,
        result: Image<'g>,
    ) -> Result<Self, GuestError> {
        let extent = result.description().extent;
        let views: Vec<_> = depth.iter().chain([&result]).map(Image::view).collect();
        let info = vk::FramebufferCreateInfo::default()
            .render_pass(pass.handle())
            .attachments(&views)
            .width(extent.width)
            .height(extent.height)
            .layers(1);
        // SAFETY: the views are of this render pass's attachments, in their order.
        let framebuffer = unsafe { gpu.device().create_framebuffer(&info, None) }
            .during("vkCreateFramebuffer")?;
        let framebuffer = Owned::new(gpu, framebuffer, Device::destroy_framebuffer);
        Ok(Self {
            framebuffer,
            pass,
            _depth: depth,
            result,
            extent,
        })
    }

    /// The render pass.
    pub fn pass(&self) -> vk::RenderPass {
        self.pass.handle()
    }

    /// The framebuffer.
    pub fn framebuffer(&self) -> vk::Framebuffer {
        self.framebuffer.handle()
    }

    /// Width and height.
    pub fn extent(&self) -> vk::Extent2D {
        self.extent
    }

    /// The image that a later pass or copy reads.
    pub fn result(&self) -> &Image<'g> {
        &self.result
    }
}

fn color_image(
    gpu: &Gpu,
    extent: vk::Extent2D,
    format: vk::Format,
    usage: vk::ImageUsageFlags,
) -> Result<Image<'_>, GuestError> {
    let usage = usage | vk::ImageUsageFlags::COLOR_ATTACHMENT;
    let aspect = vk::ImageAspectFlags::COLOR;
    Image::new(
        gpu,
        ImageDescription {
            extent,
            format,
            usage,
            aspect,
        },
    )
}

fn color_dependency() -> vk::SubpassDependency {
    vk::SubpassDependency::default()
        .src_subpass(0)
        .dst_subpass(vk::SUBPASS_EXTERNAL)
        .src_stage_mask(vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT)
        .src_access_mask(vk::AccessFlags::COLOR_ATTACHMENT_WRITE)
}

fn attachment(image: &Image<'_>) -> vk::AttachmentDescription {
    vk::AttachmentDescription::default()
        .format(image.description().format)
        .samples(vk::SampleCountFlags::TYPE_1)
        .stencil_load_op(vk::AttachmentLoadOp::DONT_CARE)
        .stencil_store_op(vk::AttachmentStoreOp::DONT_CARE)
        .initial_layout(vk::ImageLayout::UNDEFINED)
}

fn reference(attachment: u32, layout: vk::ImageLayout) -> vk::AttachmentReference {
    vk::AttachmentReference { attachment, layout }
}

fn render_pass<'g>(
    gpu: &'g Gpu,
    attachments: &[vk::AttachmentDescription],
    subpass: vk::SubpassDescription<'_>,
    dependencies: &[vk::SubpassDependency],
) -> Result<Owned<'g, vk::RenderPass>, GuestError> {
    let subpasses = [subpass.pipeline_bind_point(vk::PipelineBindPoint::GRAPHICS)];
    let info = vk::RenderPassCreateInfo::default()
        .attachments(attachments)
        .subpasses(&subpasses)
        .dependencies(dependencies);
    // SAFETY: the structures live until the call returns.
    let pass =
        unsafe { gpu.device().create_render_pass(&info, None) }.during("vkCreateRenderPass")?;
    Ok(Owned::new(gpu, pass, Device::destroy_render_pass))
}
