//! Frames of known colours, presented to a surface without a window.

use std::ffi::CStr;

use ash::{Device, khr, vk};

use super::error::CheckError;
use super::expectation::Expectation;
use super::pattern;
use crate::guest::random::mix;
use crate::guest::{
    Commands, During, Gpu, GuestError, HEADLESS_SURFACE, MappedBuffer, MemoryWish, Owned,
    Semaphores, Surface, Swapchain, SwapchainWish,
};

/// What an instance must enable for the check where it can.
pub const SWAPCHAIN_INSTANCE_EXTENSIONS: &[&CStr] = HEADLESS_SURFACE;
/// What a device must enable for the check where it can.
pub const SWAPCHAIN_EXTENSIONS: &[&CStr] = &[khr::swapchain::NAME];

/// Formats that keep a byte of each channel as it was cleared.
const FORMATS: [vk::Format; 2] = [vk::Format::B8G8R8A8_UNORM, vk::Format::R8G8B8A8_UNORM];

/// What is presented.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// Number of frames.
    pub frames: u32,
    /// Number of images, where the surface allows it.
    pub images: u32,
    /// Size in pixels.
    pub extent: vk::Extent2D,
}

/// Presents frames, reads each back before, and says what was found.
pub fn swapchain(
    gpu: &Gpu,
    options: &Present,
    expectation: Option<Expectation>,
) -> Result<String, CheckError> {
    let missing = missing(gpu);
    if let Some(expectation) = expectation {
        expectation.check("VK_KHR_swapchain", missing.is_none())?;
    }
    if let Some(missing) = missing {
        eprintln!("{} is not advertised", missing.to_string_lossy());
        return Ok("not offered".to_owned());
    }
    let surface = Surface::headless(gpu)?;
    let wish = wish(&surface, options)?;
    let swapchain = Swapchain::new(&surface, &wish)?;
    let presenter = Presenter::new(gpu, &swapchain, &wish)?;
    for frame in 0..options.frames {
        presenter.present(frame)?;
    }
    let vk::Extent2D { width, height } = swapchain.extent();
    Ok(format!(
        "{} frames on {} images, {width}x{height} {:?}{}",
        options.frames,
        swapchain.images().len(),
        wish.format.format,
        if presenter.readback.is_some() {
            ", each with its colour"
        } else {
            ", colours not read back"
        }
    ))
}

fn missing(gpu: &Gpu) -> Option<&'static CStr> {
    let instance = SWAPCHAIN_INSTANCE_EXTENSIONS
        .iter()
        .find(|name| !gpu.instance_advertises(name));
    let device = SWAPCHAIN_EXTENSIONS
        .iter()
        .find(|name| !gpu.advertises(name));
    instance.or(device).copied()
}

fn wish(surface: &Surface<'_>, options: &Present) -> Result<SwapchainWish, CheckError> {
    if !surface.is_supported()? {
        return Err(CheckError::Surface("this device's queue to present"));
    }
    let format = surface
        .formats()?
        .into_iter()
        .filter_map(|found| Some((FORMATS.iter().position(|f| *f == found.format)?, found)))
        .min_by_key(|(position, _)| *position)
        .map(|(_, format)| format)
        .ok_or(CheckError::Surface("8-bit UNORM images"))?;
    // VUID-VkSwapchainCreateInfoKHR-presentMode-01427
    let allowed = surface.capabilities()?.supported_usage_flags;
    if !allowed.contains(vk::ImageUsageFlags::TRANSFER_DST) {
        return Err(CheckError::Surface("images to be cleared"));
    }
    Ok(SwapchainWish {
        format,
        extent: options.extent,
        usage: allowed & (vk::ImageUsageFlags::TRANSFER_DST | vk::ImageUsageFlags::TRANSFER_SRC),
        images: options.images,
    })
}

/// Clears, reads and presents one image at a time.
#[derive(Debug)]
struct Presenter<'g, 's> {
    // Dropped first: it waits for the queue, which uses the semaphores.
    commands: Commands<'g>,
    swapchain: &'s Swapchain<'s>,
    /// One, since every submission is waited for and with it the wait for this semaphore.
    acquired: Owned<'g, vk::Semaphore>,
    /// One for each image: only its next acquisition says that a presentation waited.
    drawn: Vec<Owned<'g, vk::Semaphore>>,
    /// None where images cannot be read.
    readback: Option<MappedBuffer<'g>>,
    format: vk::Format,
}

impl<'g, 's> Presenter<'g, 's> {
    fn new(
        gpu: &'g Gpu,
        swapchain: &'s Swapchain<'s>,
        wish: &SwapchainWish,
    ) -> Result<Self, CheckError> {
        let vk::Extent2D { width, height } = swapchain.extent();
        let readable = wish.usage.contains(vk::ImageUsageFlags::TRANSFER_SRC);
        let readback = readable.then(|| {
            MappedBuffer::new(
                gpu,
                u64::from(width) * u64::from(height) * 4,
                vk::BufferUsageFlags::TRANSFER_DST,
                MemoryWish::READBACK,
            )
        });
        let drawn = swapchain.images().iter().map(|_| semaphore(gpu));
        Ok(Self {
            commands: Commands::new(gpu)?,
            swapchain,
            acquired: semaphore(gpu)?,
            drawn: drawn.collect::<Result<_, _>>()?,
            readback: readback.transpose()?,
            format: wish.format.format,
        })
    }

    fn present(&self, frame: u32) -> Result<(), CheckError> {
        let index = self.swapchain.acquire(self.acquired.handle())?;
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        let (Some(image), Some(drawn)) = (
            self.swapchain.images().get(position),
            self.drawn.get(position),
        ) else {
            return Err(CheckError::BadImage(index));
        };
        let color = Color::of(frame);
        let semaphores = Semaphores {
            wait: Some(self.acquired.handle()),
            signal: Some(drawn.handle()),
        };
        self.commands.run_between(semaphores, |device, commands| {
            self.record(device, commands, *image, color);
        })?;
        self.verify(frame, color)?;
        Ok(self.swapchain.present(index, drawn.handle())?)
    }

    fn record(&self, device: &Device, commands: vk::CommandBuffer, image: vk::Image, color: Color) {
        let clear = vk::ImageLayout::TRANSFER_DST_OPTIMAL;
        let mut layout = clear;
        change_layout(device, commands, image, vk::ImageLayout::UNDEFINED, clear);
        // SAFETY: the image is in this layout and of a float format, outside a render pass.
        unsafe {
            device.cmd_clear_color_image(commands, image, clear, &color.clear_value(), &[RANGE]);
        }
        if let Some(readback) = &self.readback {
            layout = vk::ImageLayout::TRANSFER_SRC_OPTIMAL;
            change_layout(device, commands, image, clear, layout);
            let region = vk::BufferImageCopy::default()
                .image_subresource(vk::ImageSubresourceLayers {
                    aspect_mask: RANGE.aspect_mask,
                    mip_level: 0,
                    base_array_layer: 0,
                    layer_count: 1,
                })
                .image_extent(self.swapchain.extent().into());
            // SAFETY: the image is in this layout, and the buffer has its size
            // (VUID-vkCmdCopyImageToBuffer-pRegions-00183).
            unsafe {
                device.cmd_copy_image_to_buffer(
                    commands,
                    image,
                    layout,
                    readback.handle(),
                    &[region],
                );
            }
        }
        let presented = vk::ImageLayout::PRESENT_SRC_KHR;
        change_layout(device, commands, image, layout, presented);
    }

    fn verify(&self, frame: u32, color: Color) -> Result<(), CheckError> {
        let Some(readback) = &self.readback else {
            return Ok(());
        };
        let mut found = vec![0; usize::try_from(readback.size()).unwrap_or(0)];
        readback.download(0, &mut found)?;
        let expected = color.bytes(self.format).repeat(found.len() / 4);
        pattern::compare(&expected, &found).map_err(|mismatch| CheckError::Bytes {
            what: format!("frame {frame}"),
            mismatch,
        })
    }
}

/// The one layer and level of a swapchain's image.
const RANGE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: 1,
    base_array_layer: 0,
    layer_count: 1,
};

/// Moves an image on, after whatever came before.
fn change_layout(
    device: &Device,
    commands: vk::CommandBuffer,
    image: vk::Image,
    from: vk::ImageLayout,
    to: vk::ImageLayout,
) {
    let barrier = vk::ImageMemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
        .dst_access_mask(vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE)
        .old_layout(from)
        .new_layout(to)
        .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
        .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
        .image(image)
        .subresource_range(RANGE);
    // SAFETY: the caller is recording this command buffer, and the image is in this layout
    // (VUID-VkImageMemoryBarrier-oldLayout-01197).
    unsafe {
        device.cmd_pipeline_barrier(
            commands,
            vk::PipelineStageFlags::ALL_COMMANDS,
            vk::PipelineStageFlags::ALL_COMMANDS,
            vk::DependencyFlags::empty(),
            &[],
            &[],
            &[barrier],
        );
    }
}

fn semaphore(gpu: &Gpu) -> Result<Owned<'_, vk::Semaphore>, GuestError> {
    let info = vk::SemaphoreCreateInfo::default();
    // SAFETY: the structure lives until the call returns.
    let handle =
        unsafe { gpu.device().create_semaphore(&info, None) }.during("vkCreateSemaphore")?;
    Ok(Owned::new(gpu, handle, Device::destroy_semaphore))
}

/// An opaque colour: red, green and blue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Color([u8; 3]);

impl Color {
    /// The colour of a frame, unlike those of its neighbours.
    fn of(frame: u32) -> Self {
        let [red, green, blue, ..] = mix(u64::from(frame) + 1).to_le_bytes();
        Self([red, green, blue])
    }

    fn clear_value(self) -> vk::ClearColorValue {
        let [red, green, blue] = self.0.map(|channel| f32::from(channel) / 255.0);
        vk::ClearColorValue {
            float32: [red, green, blue, 1.0],
        }
    }

    /// A pixel of one of [`FORMATS`].
    fn bytes(self, format: vk::Format) -> [u8; 4] {
        let [red, green, blue] = self.0;
        if format == vk::Format::B8G8R8A8_UNORM {
            [blue, green, red, u8::MAX]
        } else {
            [red, green, blue, u8::MAX]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_of_neighbours_differs() {
        assert!((0..1000).all(|frame| Color::of(frame) != Color::of(frame + 1)));
    }

    #[test]
    fn color_bytes_follow_the_format() {
        let color = Color([1, 2, 3]);
        assert_eq!(color.bytes(vk::Format::B8G8R8A8_UNORM), [3, 2, 1, 255]);
        assert_eq!(color.bytes(vk::Format::R8G8B8A8_UNORM), [1, 2, 3, 255]);
    }
}
