//! Creation of images.

use std::sync::Arc;

use ash::vk;
use coherd_blob::backing::ExportKind;

use crate::facts::TypeFacts;
use crate::image::format::by_fourcc;
use crate::image::handle::ImageHandle;
use crate::image::modifiers::{Candidate, Limits};
use crate::image::{ImageError, ImageRequest, PlaneLayout};
use crate::logical::LogicalDevice;
use crate::memory::{
    AllocateError, Buffer, Dedicated, DeviceMemory, ExportNeed, Memory, Parts, Requirements, Share,
    Source, TRANSFERS, allows, another_type_may_do, rank,
};

/// `DRM_FORMAT_MOD_LINEAR`
const LINEAR: u64 = 0;

/// The aspects of memory planes, in their order.
const PLANES: [vk::ImageAspectFlags; 4] = [
    vk::ImageAspectFlags::MEMORY_PLANE_0_EXT,
    vk::ImageAspectFlags::MEMORY_PLANE_1_EXT,
    vk::ImageAspectFlags::MEMORY_PLANE_2_EXT,
    vk::ImageAspectFlags::MEMORY_PLANE_3_EXT,
];

/// An image that was created.
pub struct Created {
    /// Its memory, which has the image.
    pub memory: Memory,
    /// The modifier the driver chose.
    pub modifier: u64,
    /// Its memory planes.
    pub planes: Vec<PlaneLayout>,
}

/// Creates the image that `request` asks for.
///
/// # Errors
/// See [`ImageError`].
pub fn create(
    device: &Arc<LogicalDevice>,
    candidates: &[Candidate],
    request: &ImageRequest<'_>,
) -> Result<Created, ImageError> {
    let as_asked = |export| {
        let request = ImageRequest { export, ..*request };
        create_for(device, candidates, &request)
    };
    match request.export {
        ExportNeed::IfPossible => match as_asked(ExportNeed::DmaBuf) {
            Err(ImageError::UnsupportedModifier) => as_asked(ExportNeed::None),
            other => other,
        },
        export => as_asked(export),
    }
}

fn create_for(
    device: &Arc<LogicalDevice>,
    candidates: &[Candidate],
    request: &ImageRequest<'_>,
) -> Result<Created, ImageError> {
    device.ensure_alive()?;
    if candidates.is_empty() {
        return Err(ImageError::Unsupported);
    }
    let welcome = welcome(candidates, request)?;
    let (fitting, dedicated) = fitting(device, &welcome, request)?;
    let image = image(device, &fitting, request)?;
    let modifier = image.modifier()?.ok_or(ImageError::Unsupported)?;
    // A driver that chooses what nobody asked for is not to be believed.
    let chosen = fitting.iter().find(|c| c.info.modifier == modifier);
    let planes = layouts(&image, chosen.ok_or(ImageError::Layout)?)?;
    let mut requirements = image.requirements();
    requirements.dedicated = requirements.dedicated.max(dedicated);
    check_layout(&planes, requirements.size)?;
    let memory = allocate(device, request, image, &requirements, modifier)?;
    Ok(Created {
        memory,
        modifier,
        planes,
    })
}

/// The candidates of the right format, modifier and usage.
fn welcome(
    candidates: &[Candidate],
    request: &ImageRequest<'_>,
) -> Result<Vec<Candidate>, ImageError> {
    let fourcc = request.fourcc;
    let mut of_format = candidates
        .iter()
        .filter(|candidate| candidate.info.fourcc == fourcc)
        .peekable();
    if by_fourcc(fourcc).is_none() || of_format.peek().is_none() {
        return Err(ImageError::UnsupportedFormat { fourcc });
    }
    let welcome: Vec<Candidate> = of_format
        .filter(|candidate| {
            let info = &candidate.info;
            let shareable = request.export == ExportNeed::None || info.exportable;
            let named = request.modifiers.is_empty() || request.modifiers.contains(&info.modifier);
            named && shareable && info.usage.contains(request.usage)
        })
        .copied()
        .collect();
    if welcome.is_empty() {
        return Err(ImageError::UnsupportedModifier);
    }
    Ok(welcome)
}

/// Those of `welcome` that can have as many pixels, and whether one of them has to have memory of
/// its own.
fn fitting(
    device: &LogicalDevice,
    welcome: &[Candidate],
    request: &ImageRequest<'_>,
) -> Result<(Vec<Candidate>, Dedicated), ImageError> {
    let handle_type = handle_type(request.export);
    let mut works = false;
    let mut fitting = Vec::new();
    let mut dedicated = Dedicated::Indifferent;
    for candidate in welcome {
        let usage = candidate.usage(request.usage);
        let Some(limits) = candidate.limits(device, usage, handle_type)? else {
            continue;
        };
        let external = limits.external;
        let exportable = external.contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE);
        if request.export != ExportNeed::None && !exportable {
            continue;
        }
        works = true;
        if !fits(request, candidate, &limits) {
            continue;
        }
        if external.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY) {
            dedicated = Dedicated::Required;
        }
        fitting.push(*candidate);
    }
    match (fitting.is_empty(), works) {
        (false, _) => Ok((fitting, dedicated)),
        (true, true) => Err(ImageError::UnsupportedSize {
            width: request.width,
            height: request.height,
        }),
        (true, false) => Err(ImageError::UnsupportedModifier),
    }
}

/// VUID-VkImageCreateInfo-extent-00944, -00945, -02252, -02253, -format-04712, -04713
fn fits(request: &ImageRequest<'_>, candidate: &Candidate, limits: &Limits) -> bool {
    let granule = candidate.format.granule;
    (1..=limits.width).contains(&request.width)
        && (1..=limits.height).contains(&request.height)
        && request.width.is_multiple_of(granule)
        && request.height.is_multiple_of(granule)
        && u64::from(request.width) * u64::from(request.height) <= limits.size
}

fn handle_type(export: ExportNeed) -> vk::ExternalMemoryHandleTypeFlags {
    match export {
        ExportNeed::None => vk::ExternalMemoryHandleTypeFlags::empty(),
        ExportNeed::Mappable | ExportNeed::DmaBuf | ExportNeed::IfPossible => {
            vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT
        }
    }
}

fn image(
    device: &Arc<LogicalDevice>,
    fitting: &[Candidate],
    request: &ImageRequest<'_>,
) -> Result<ImageHandle, ImageError> {
    let first = fitting.first().ok_or(ImageError::UnsupportedModifier)?;
    // Usages that only some of the modifiers have are not among them all.
    let usage = fitting
        .iter()
        .map(|candidate| candidate.usage(request.usage))
        .fold(vk::ImageUsageFlags::from_raw(u32::MAX), |all, one| {
            all & one
        });
    if usage.is_empty() {
        return Err(ImageError::UnsupportedModifier);
    }
    let modifiers: Vec<u64> = fitting.iter().map(|c| c.info.modifier).collect();
    let mut list =
        vk::ImageDrmFormatModifierListCreateInfoEXT::default().drm_format_modifiers(&modifiers);
    let handle_type = handle_type(request.export);
    let mut external = vk::ExternalMemoryImageCreateInfo::default().handle_types(handle_type);
    let mut info = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(first.format.vulkan)
        .extent(vk::Extent3D {
            width: request.width,
            height: request.height,
            depth: 1,
        })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
        .usage(usage)
        .sharing_mode(vk::SharingMode::EXCLUSIVE)
        .initial_layout(vk::ImageLayout::UNDEFINED)
        .push_next(&mut list);
    if !handle_type.is_empty() {
        info = info.push_next(&mut external);
    }
    // SAFETY: tiling and list go together (VUID-VkImageCreateInfo-tiling-02261, -pNext-02262), the
    // driver has images of this extent, usage and handle type with each modifier
    // (VUID-VkImageDrmFormatModifierListCreateInfoEXT-pDrmFormatModifiers-02263,
    // VUID-VkImageCreateInfo-pNext-00990), and the layout is undefined
    // (VUID-VkImageCreateInfo-pNext-01443).
    Ok(unsafe { ImageHandle::new(device, &info) }?)
}

fn layouts(image: &ImageHandle, chosen: &Candidate) -> Result<Vec<PlaneLayout>, ImageError> {
    let count = usize::try_from(chosen.info.planes).unwrap_or(usize::MAX);
    let aspects = PLANES.get(..count).ok_or(ImageError::Layout)?;
    Ok(aspects
        .iter()
        .map(|aspect| {
            let layout = image.layout(*aspect);
            PlaneLayout {
                offset: layout.offset,
                pitch: layout.row_pitch,
                size: layout.size,
            }
        })
        .collect())
}

/// Planes are in the memory. A driver need not tell the size of a plane whose modifier is not
/// linear.
fn check_layout(planes: &[PlaneLayout], memory: u64) -> Result<(), ImageError> {
    let inside = planes.iter().all(|plane| {
        plane
            .offset
            .checked_add(plane.size)
            .is_some_and(|end| end <= memory)
    });
    if inside && !planes.is_empty() {
        Ok(())
    } else {
        Err(ImageError::Layout)
    }
}

fn allocate(
    device: &Arc<LogicalDevice>,
    request: &ImageRequest<'_>,
    image: ImageHandle,
    requirements: &Requirements,
    modifier: u64,
) -> Result<Memory, ImageError> {
    let types = &device.facts().types;
    let allowed = requirements.types;
    let ranked = rank(types, allowed, request.required, request.preferred);
    let mut failure = AllocateError::NoMemoryType {
        required: request.required,
    };
    for (attempt, ty) in ranked.iter().enumerate() {
        match memory_for(device, ty, &image, requirements, request.export) {
            Ok(memory) => return bind(device, request, image, memory, requirements, modifier),
            Err(error) if another_type_may_do(&error) && attempt > 0 => {}
            Err(error) if another_type_may_do(&error) => failure = error,
            Err(error) => return Err(error.into()),
        }
    }
    Err(failure.into())
}

fn memory_for(
    device: &Arc<LogicalDevice>,
    ty: &TypeFacts,
    image: &ImageHandle,
    requirements: &Requirements,
    export: ExportNeed,
) -> Result<DeviceMemory, AllocateError> {
    let is_dedicated = requirements.dedicated >= Dedicated::Preferred;
    // What maps it maps whole pages, and copies of its bytes shall reach all that is mapped.
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let size = match requirements.size.checked_next_multiple_of(page) {
        Some(pages) if !is_dedicated => pages,
        _ => requirements.size,
    };
    let limit = device.facts().max_allocation_size;
    if size > limit {
        return Err(AllocateError::TooLarge { size, limit });
    }
    let handle_type = handle_type(export);
    let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().image(image.raw());
    let mut shared = vk::ExportMemoryAllocateInfo::default().handle_types(handle_type);
    let mut info = vk::MemoryAllocateInfo::default().allocation_size(size);
    if is_dedicated {
        info = info.push_next(&mut dedicated);
    }
    if !handle_type.is_empty() {
        info = info.push_next(&mut shared);
    }
    // SAFETY: the handle type can be exported for this image
    // (VUID-VkExportMemoryAllocateInfo-handleTypes-00656), and the memory is dedicated where that
    // is needed (VUID-VkMemoryAllocateInfo-pNext-00639), to an image of the same size
    // (VUID-VkMemoryDedicatedAllocateInfo-image-02964).
    unsafe { DeviceMemory::allocate(device, ty, Source::New, info) }
}

fn bind(
    device: &Arc<LogicalDevice>,
    request: &ImageRequest<'_>,
    image: ImageHandle,
    memory: DeviceMemory,
    requirements: &Requirements,
    modifier: u64,
) -> Result<Memory, ImageError> {
    // SAFETY: type, size and handle type are those the image wants, the memory is dedicated to it
    // or to nobody, and `Memory` frees it after the image.
    unsafe { image.bind(memory.raw()) }?;
    let shared = requirements.dedicated >= Dedicated::Preferred;
    let buffer = if modifier == LINEAR && !shared {
        bytes_of(device, &memory, handle_type(request.export))?
    } else {
        None
    };
    let exported = request.export != ExportNeed::None;
    device.name(image.raw(), request.name);
    Ok(Memory::new(Parts {
        buffer,
        image: Some(image),
        size: memory.size(),
        memory,
        host: None,
        share: exported.then_some(Share::Driver(ExportKind::DmaBuf)),
        foreign: exported,
        name: request.name.into(),
    }))
}

/// A buffer over the memory of a linear image, so that the GPU can copy its bytes; `None` if the
/// memory cannot have one.
fn bytes_of(
    device: &Arc<LogicalDevice>,
    memory: &DeviceMemory,
    handle_type: vk::ExternalMemoryHandleTypeFlags,
) -> Result<Option<Buffer>, ImageError> {
    let buffer = Buffer::new(device, memory.size(), TRANSFERS, handle_type)?;
    let requirements = buffer.requirements();
    let fits = requirements.size <= memory.size()
        && allows(requirements.types, memory.ty())
        && requirements.dedicated != Dedicated::Required;
    if !fits {
        return Ok(None);
    }
    // SAFETY: type, size and handle type are those the buffer wants, the memory is dedicated to
    // nobody, and `Memory` frees it after the buffer.
    unsafe { buffer.bind(memory.raw()) }?;
    Ok(Some(buffer))
}
