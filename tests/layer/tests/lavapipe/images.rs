//! Images: on the layer's memory, and with the one modifier.

use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::rc::Rc;

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;

use crate::gpu::{Gpu, Validation, messages};
use crate::isolation::{Skip, layer_test};
use crate::memory::{Buffer, Memory, SIZE};

const DMA_BUF: HandleTypes = HandleTypes::DMA_BUF_EXT;
const FORMAT: vk::Format = vk::Format::B8G8R8A8_UNORM;
/// `DRM_FORMAT_MOD_LINEAR`
const LINEAR: u64 = 0;
/// `I915_FORMAT_MOD_X_TILED`
const TILED: u64 = 1 << 56 | 1;
/// Texels of 4 bytes in a row, so that rows are padded.
const WIDTH: u32 = 20;
const HEIGHT: u32 = 16;

/// An image without memory.
struct Image {
    vk: vk::Image,
    gpu: Rc<Gpu>,
}

impl Image {
    fn new(gpu: &Rc<Gpu>, info: &vk::ImageCreateInfo<'_>) -> Result<Self, vk::Result> {
        Ok(Self {
            // SAFETY: a live device.
            vk: unsafe { gpu.vk.create_image(info, None) }?,
            gpu: Rc::clone(gpu),
        })
    }

    fn plain(gpu: &Rc<Gpu>, tiling: vk::ImageTiling) -> Self {
        Self::new(gpu, &info(tiling)).unwrap()
    }

    /// An image that is to be exported, with any of the modifiers.
    fn exportable(gpu: &Rc<Gpu>, modifiers: &[u64]) -> Result<Self, vk::Result> {
        let mut external = vk::ExternalMemoryImageCreateInfo::default().handle_types(DMA_BUF);
        let mut list =
            vk::ImageDrmFormatModifierListCreateInfoEXT::default().drm_format_modifiers(modifiers);
        let info = info(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
            .push_next(&mut external)
            .push_next(&mut list);
        Self::new(gpu, &info)
    }

    /// An image that is to be imported, with the given bytes from row to row.
    fn with_layout(gpu: &Rc<Gpu>, row_pitch: u64) -> Result<Self, vk::Result> {
        let plane = [vk::SubresourceLayout {
            row_pitch,
            ..Default::default()
        }];
        let mut external = vk::ExternalMemoryImageCreateInfo::default().handle_types(DMA_BUF);
        let mut explicit = vk::ImageDrmFormatModifierExplicitCreateInfoEXT::default()
            .drm_format_modifier(LINEAR)
            .plane_layouts(&plane);
        let info = info(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
            .push_next(&mut external)
            .push_next(&mut explicit);
        Self::new(gpu, &info)
    }

    fn requirements(&self) -> vk::MemoryRequirements {
        // SAFETY: a live image.
        unsafe { self.gpu.vk.get_image_memory_requirements(self.vk) }
    }

    fn bind(&self, memory: &Memory) {
        // SAFETY: both are live, and the image is not yet bound.
        unsafe { self.gpu.vk.bind_image_memory(self.vk, memory.vk, 0) }.unwrap();
    }

    /// Binds new memory that can be exported.
    fn exported(&self, memory_type: u32) -> Memory {
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(DMA_BUF);
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().image(self.vk);
        export.p_next = (&raw mut dedicated).cast();
        let size = self.requirements().size;
        let info = vk::MemoryAllocateInfo {
            p_next: (&raw const export).cast(),
            ..vk::MemoryAllocateInfo::default()
                .allocation_size(size)
                .memory_type_index(memory_type)
        };
        let memory = Memory {
            // SAFETY: a live device; the chain lives through the call.
            vk: unsafe { self.gpu.vk.allocate_memory(&info, None) }.unwrap(),
            gpu: Rc::clone(&self.gpu),
        };
        self.bind(&memory);
        memory
    }

    /// Binds the memory behind a file.
    fn imported(&self, memory_type: u32, file: OwnedFd) -> Memory {
        let mut import = vk::ImportMemoryFdInfoKHR::default()
            .handle_type(DMA_BUF)
            .fd(file.into_raw_fd());
        let size = self.requirements().size;
        let memory = Memory::new(&self.gpu, memory_type, size, &mut import).unwrap();
        self.bind(&memory);
        memory
    }

    /// Has the GPU write every byte of every texel.
    fn clear(&self, value: u8) {
        let colour = vk::ClearColorValue {
            float32: [f32::from(value) / 255.0; 4],
        };
        self.gpu
            .submit(|commands| {
                self.barrier(commands, vk::ImageLayout::UNDEFINED);
                // SAFETY: a recording command buffer, and a live image in that layout.
                unsafe {
                    self.gpu.vk.cmd_clear_color_image(
                        commands,
                        self.vk,
                        vk::ImageLayout::GENERAL,
                        &colour,
                        &[whole()],
                    );
                };
            })
            .unwrap();
    }

    /// Has the GPU copy the texels, row after row, to a buffer.
    fn read(&self, buffer: &Buffer) {
        let region = vk::BufferImageCopy::default()
            .image_subresource(
                vk::ImageSubresourceLayers::default()
                    .aspect_mask(vk::ImageAspectFlags::COLOR)
                    .layer_count(1),
            )
            .image_extent(extent());
        self.gpu
            .submit(|commands| {
                // What somebody else wrote is there in this layout.
                self.barrier(commands, vk::ImageLayout::GENERAL);
                // SAFETY: as above.
                unsafe {
                    self.gpu.vk.cmd_copy_image_to_buffer(
                        commands,
                        self.vk,
                        vk::ImageLayout::GENERAL,
                        buffer.handle(),
                        &[region],
                    );
                };
            })
            .unwrap();
    }

    fn barrier(&self, commands: vk::CommandBuffer, from: vk::ImageLayout) {
        let barrier = vk::ImageMemoryBarrier::default()
            .dst_access_mask(vk::AccessFlags::TRANSFER_READ | vk::AccessFlags::TRANSFER_WRITE)
            .old_layout(from)
            .new_layout(vk::ImageLayout::GENERAL)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(self.vk)
            .subresource_range(whole());
        // SAFETY: as above.
        unsafe {
            self.gpu.vk.cmd_pipeline_barrier(
                commands,
                vk::PipelineStageFlags::TOP_OF_PIPE,
                vk::PipelineStageFlags::TRANSFER,
                vk::DependencyFlags::empty(),
                &[],
                &[],
                &[barrier],
            );
        };
    }

    /// Where the plane of an image with a modifier is.
    fn plane(&self) -> vk::SubresourceLayout {
        let plane =
            vk::ImageSubresource::default().aspect_mask(vk::ImageAspectFlags::MEMORY_PLANE_0_EXT);
        // SAFETY: a live image with a modifier.
        unsafe { self.gpu.vk.get_image_subresource_layout(self.vk, plane) }
    }

    fn modifier(&self) -> Result<u64, vk::Result> {
        let functions =
            ash::ext::image_drm_format_modifier::Device::new(&self.gpu.instance.vk, &self.gpu.vk);
        let mut properties = vk::ImageDrmFormatModifierPropertiesEXT::default();
        // SAFETY: as above.
        unsafe { functions.get_image_drm_format_modifier_properties(self.vk, &mut properties) }
            .map(|()| properties.drm_format_modifier)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: nothing is submitted that uses it.
        unsafe { self.gpu.vk.destroy_image(self.vk, None) };
    }
}

fn extent() -> vk::Extent3D {
    vk::Extent3D {
        width: WIDTH,
        height: HEIGHT,
        depth: 1,
    }
}

fn whole() -> vk::ImageSubresourceRange {
    vk::ImageSubresourceRange::default()
        .aspect_mask(vk::ImageAspectFlags::COLOR)
        .level_count(1)
        .layer_count(1)
}

fn info(tiling: vk::ImageTiling) -> vk::ImageCreateInfo<'static> {
    vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(FORMAT)
        .extent(extent())
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .tiling(tiling)
        .usage(vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::TRANSFER_DST)
}

fn all_types(gpu: &Gpu) -> u32 {
    [gpu.incoherent(), gpu.uncached(), gpu.coherent()]
        .into_iter()
        .fold(0, |bits, index| bits | 1 << index)
}

layer_test! {
    fn images_can_be_on_every_type() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        for tiling in [vk::ImageTiling::OPTIMAL, vk::ImageTiling::LINEAR] {
            let info = info(tiling);
            let query = vk::DeviceImageMemoryRequirements::default().create_info(&info);
            let mut early = vk::MemoryRequirements2::default();
            // SAFETY: a live device, and information that lives through the call.
            unsafe {
                gpu.vk
                    .get_device_image_memory_requirements(&query, &mut early);
            };
            let image = Image::plain(&gpu, tiling);
            assert_eq!(image.requirements().memory_type_bits, all_types(&gpu));
            assert_eq!(early.memory_requirements.memory_type_bits, all_types(&gpu));
        }
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

fn linear_image_on_incoherent_memory(validation: Validation) -> Result<(), Skip> {
    let gpu = Gpu::open(validation)?;
    let image = Image::plain(&gpu, vk::ImageTiling::LINEAR);
    let flags = &mut vk::MemoryAllocateFlagsInfo::default();
    let size = image.requirements().size;
    let memory = Memory::new(&gpu, gpu.incoherent(), size, flags).unwrap();
    image.bind(&memory);
    let bytes = memory.map().unwrap();

    image.clear(1);
    assert_eq!(bytes.byte(0), 0, "the CPU saw what was not invalidated");
    memory.invalidate(0, vk::WHOLE_SIZE).unwrap();
    assert_eq!(bytes.byte(0), 1);
    assert_eq!(messages(), Vec::<String>::new());
    Ok(())
}

layer_test! {
    fn a_missing_invalidate_shows_in_an_image() -> Result<(), Skip> {
        linear_image_on_incoherent_memory(Validation::Above)
    }
}

layer_test! {
    fn what_the_layer_asks_of_the_driver_is_valid_for_images() -> Result<(), Skip> {
        linear_image_on_incoherent_memory(Validation::Below)
    }
}

layer_test! {
    fn formats_with_four_bytes_have_the_linear_modifier() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let modifiers = |format| {
            let query = |list: &mut vk::DrmFormatModifierPropertiesListEXT<'_>| {
                let mut properties = vk::FormatProperties2::default().push_next(list);
                // SAFETY: a live instance and its device; a list of as many as it says.
                unsafe {
                    gpu.instance.vk.get_physical_device_format_properties2(
                        gpu.physical,
                        format,
                        &mut properties,
                    );
                };
                properties.format_properties.linear_tiling_features
            };
            let mut count = vk::DrmFormatModifierPropertiesListEXT::default();
            query(&mut count);
            let room = usize::try_from(count.drm_format_modifier_count).unwrap();
            let mut array = vec![vk::DrmFormatModifierPropertiesEXT::default(); room];
            let mut list = vk::DrmFormatModifierPropertiesListEXT::default()
                .drm_format_modifier_properties(&mut array);
            let linear = query(&mut list);
            array
                .into_iter()
                .map(|entry| {
                    assert_eq!(entry.drm_format_modifier_tiling_features, linear);
                    (entry.drm_format_modifier, entry.drm_format_modifier_plane_count)
                })
                .collect::<Vec<_>>()
        };

        assert_eq!(modifiers(FORMAT), [(LINEAR, 1)]);
        assert_eq!(modifiers(vk::Format::A2B10G10R10_UNORM_PACK32), [(LINEAR, 1)]);
        assert_eq!(modifiers(vk::Format::D32_SFLOAT), []);
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

layer_test! {
    fn images_with_the_linear_modifier_can_be_exported() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let features = |modifier| {
            let mut modifier = vk::PhysicalDeviceImageDrmFormatModifierInfoEXT::default()
                .drm_format_modifier(modifier);
            let mut external =
                vk::PhysicalDeviceExternalImageFormatInfo::default().handle_type(DMA_BUF);
            let info = vk::PhysicalDeviceImageFormatInfo2::default()
                .format(FORMAT)
                .ty(vk::ImageType::TYPE_2D)
                .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
                .usage(vk::ImageUsageFlags::TRANSFER_DST)
                .push_next(&mut external)
                .push_next(&mut modifier);
            let mut answer = vk::ExternalImageFormatProperties::default();
            let mut properties = vk::ImageFormatProperties2::default().push_next(&mut answer);
            // SAFETY: a live instance and its device.
            let result = unsafe {
                gpu.instance.vk.get_physical_device_image_format_properties2(
                    gpu.physical,
                    &info,
                    &mut properties,
                )
            };
            result.map(|()| answer.external_memory_properties.external_memory_features)
        };

        assert_eq!(
            features(LINEAR),
            Ok(vk::ExternalMemoryFeatureFlags::EXPORTABLE
                | vk::ExternalMemoryFeatureFlags::IMPORTABLE)
        );
        assert_eq!(features(TILED), Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED));
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}

fn share(validation: Validation) -> Result<(), Skip> {
    let gpu = Gpu::open(validation)?;
    let image = Image::exportable(&gpu, &[LINEAR]).unwrap();
    assert_eq!(image.modifier(), Ok(LINEAR));
    assert_eq!(image.requirements().memory_type_bits, all_types(&gpu));
    let plane = image.plane();
    assert!(plane.row_pitch >= u64::from(WIDTH) * 4);
    let memory = image.exported(gpu.incoherent());
    let file = memory.export(DMA_BUF).unwrap();
    assert!(file.as_raw_fd() >= 0);
    let bytes = memory.map().unwrap();
    let last_row = plane.offset + plane.row_pitch * u64::from(HEIGHT - 1);

    image.clear(2);
    assert_eq!(
        bytes.byte(last_row),
        0,
        "the CPU saw what was not invalidated"
    );
    memory.invalidate(0, vk::WHOLE_SIZE).unwrap();
    assert_eq!(bytes.byte(last_row), 2);

    let other = Gpu::new(&gpu.instance).unwrap();
    let same = Image::with_layout(&other, plane.row_pitch).unwrap();
    let _memory = same.imported(other.incoherent(), file);
    let seen = Buffer::new(&other, other.coherent()).unwrap();
    same.read(&seen);
    let texels = seen.memory.map().unwrap();
    let size = u64::from(WIDTH * HEIGHT * 4);
    assert_eq!([0, size - 1, size].map(|at| texels.byte(at)), [2, 2, 0]);
    assert!(size < SIZE);
    assert_eq!(messages(), Vec::<String>::new());
    Ok(())
}

layer_test! {
    fn an_image_with_a_modifier_is_shared_with_a_second_device() -> Result<(), Skip> {
        share(Validation::Above)
    }
}

layer_test! {
    fn what_the_layer_asks_of_the_driver_is_valid_for_modifiers() -> Result<(), Skip> {
        share(Validation::Below)
    }
}

layer_test! {
    fn layouts_and_modifiers_that_the_layer_has_not_are_refused() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Off)?;
        let pitch = Image::exportable(&gpu, &[TILED, LINEAR]).unwrap().plane().row_pitch;

        let other = Image::exportable(&gpu, &[TILED]).map(|_| ());
        let padded = Image::with_layout(&gpu, pitch + 256).map(|_| ());

        assert_eq!(other, Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED));
        assert_eq!(
            padded,
            Err(vk::Result::ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT)
        );
        Ok(())
    }
}

layer_test! {
    fn layouts_are_the_same_by_every_command() -> Result<(), Skip> {
        let gpu = Gpu::open(Validation::Above)?;
        let image = Image::exportable(&gpu, &[LINEAR]).unwrap();
        let functions = ash::khr::maintenance5::Device::new(&gpu.instance.vk, &gpu.vk);
        let subresource = vk::ImageSubresource2KHR::default().image_subresource(
            vk::ImageSubresource::default()
                .aspect_mask(vk::ImageAspectFlags::MEMORY_PLANE_0_EXT),
        );
        let mut second = vk::SubresourceLayout2KHR::default();
        // SAFETY: a live image.
        unsafe {
            functions.get_image_subresource_layout2(image.vk, &subresource, &mut second);
        };

        let first = image.plane();
        assert_eq!(second.subresource_layout.row_pitch, first.row_pitch);
        assert_eq!(second.subresource_layout.offset, first.offset);
        assert_eq!(messages(), Vec::<String>::new());
        Ok(())
    }
}
