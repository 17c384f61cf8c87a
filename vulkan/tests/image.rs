//! Images by format and modifier.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use coherd_protocol::blob_context::command::ImageUsage;
use coherd_protocol::memory::MemoryProperties;
use coherd_vulkan::Device;
use coherd_vulkan::image::{Image, ImageError, ImageRequest};
use coherd_vulkan::memory::{AllocateError, ExportNeed};
use coherd_vulkan::transfer::TransferError;
use common::{Checked, copy, map, pattern, peek, poke, read, skip_dma_buf, visible, write};

/// `DRM_FORMAT_XRGB8888`
const XR24: u32 = u32::from_le_bytes(*b"XR24");
/// `DRM_FORMAT_MOD_LINEAR`
const LINEAR: u64 = 0;
/// `DRM_FORMAT_MOD_INVALID`, which no driver has.
const INVALID: u64 = 0x00ff_ffff_ffff_ffff;

fn request() -> ImageRequest<'static> {
    ImageRequest {
        name: "image",
        width: 641,
        height: 479,
        fourcc: XR24,
        modifiers: &[LINEAR],
        ..ImageRequest::default()
    }
}

/// A device with images; without, the error has to be the honest one.
fn with_images() -> Option<Checked> {
    let device = Checked::open()?;
    if !device.formats().is_empty() {
        return Some(device);
    }
    let error = device.create_image(&request()).unwrap_err();
    assert_eq!(error, ImageError::Unsupported);
    skip_dma_buf("the device has no images with DRM format modifiers");
    None
}

fn is_linear_and_shared(device: &Device) -> bool {
    device
        .formats()
        .iter()
        .any(|f| f.fourcc == XR24 && f.modifier == LINEAR && f.exportable)
}

fn check_planes(image: &Image, width: u64, height: u64, bytes: u64) {
    let [plane] = image.planes() else {
        panic!("{:?}", image.planes());
    };
    assert!(plane.pitch >= width * bytes);
    assert!(plane.size >= plane.pitch * (height - 1) + width * bytes);
    assert!(plane.offset + plane.size <= image.allocation().size());
}

#[test]
fn without_the_extension_images_are_unsupported() {
    let Some(device) = Checked::open_without(&["VK_EXT_image_drm_format_modifier"]) else {
        return;
    };
    assert!(device.formats().is_empty());
    let error = device.create_image(&request()).unwrap_err();
    assert_eq!(error, ImageError::Unsupported);
}

#[test]
fn linear_image_has_one_plane_of_rows() {
    let Some(device) = with_images() else { return };
    let image = device.create_image(&request()).unwrap();
    assert_eq!(image.modifier(), LINEAR);
    check_planes(&image, 641, 479, 4);
}

#[test]
fn every_format_and_modifier_makes_an_image() {
    let Some(device) = with_images() else { return };
    for format in device.formats() {
        for (usage, export) in [
            (format.usage, ExportNeed::None),
            (ImageUsage::empty(), ExportNeed::DmaBuf),
        ] {
            if export == ExportNeed::DmaBuf && !format.exportable {
                continue;
            }
            let image = device
                .create_image(&ImageRequest {
                    width: 64,
                    height: 64,
                    fourcc: format.fourcc,
                    modifiers: &[format.modifier],
                    usage,
                    export,
                    ..request()
                })
                .unwrap_or_else(|error| panic!("{format:?}: {error:?}"));
            assert_eq!(image.modifier(), format.modifier);
            assert_eq!(image.planes().len(), format.planes as usize);
        }
    }
}

#[test]
fn driver_chooses_where_no_modifier_is_named() {
    let Some(device) = with_images() else { return };
    let image = device
        .create_image(&ImageRequest {
            modifiers: &[],
            ..request()
        })
        .unwrap();
    let listed = |f: &&coherd_vulkan::image::FormatModifier| {
        f.fourcc == XR24 && f.modifier == image.modifier()
    };
    assert!(device.formats().iter().any(|f| listed(&f)));
}

#[test]
fn unknown_formats_are_refused() {
    let Some(device) = with_images() else { return };
    for fourcc in [0, u32::MAX, u32::from_le_bytes(*b"XXXX")] {
        let error = device.create_image(&ImageRequest {
            fourcc,
            ..request()
        });
        assert_eq!(error.unwrap_err(), ImageError::UnsupportedFormat { fourcc });
    }
}

#[test]
fn modifiers_that_do_not_match_are_refused() {
    let Some(device) = with_images() else { return };
    for modifiers in [&[INVALID][..], &[INVALID, 0x0100_0000_0000_ffff][..]] {
        let error = device.create_image(&ImageRequest {
            modifiers,
            ..request()
        });
        assert_eq!(error.unwrap_err(), ImageError::UnsupportedModifier);
    }
}

#[test]
fn impossible_sizes_are_refused() {
    let Some(device) = with_images() else { return };
    let too_wide = device.max_image_dimension().saturating_add(1);
    for (width, height) in [(0, 1), (1, 0), (too_wide, 1), (u32::MAX, u32::MAX)] {
        let error = device.create_image(&ImageRequest {
            width,
            height,
            ..request()
        });
        assert_eq!(
            error.unwrap_err(),
            ImageError::UnsupportedSize { width, height }
        );
    }
}

#[test]
fn odd_sizes_of_shared_chroma_are_refused() {
    let Some(device) = with_images() else { return };
    let fourcc = u32::from_le_bytes(*b"NV12");
    let Some(format) = device.formats().iter().find(|f| f.fourcc == fourcc) else {
        println!("SKIPPED: the device has no NV12");
        return;
    };
    let nv12 = |width, height| {
        device.create_image(&ImageRequest {
            width,
            height,
            fourcc,
            modifiers: &[format.modifier],
            ..request()
        })
    };
    assert!(nv12(64, 64).is_ok());
    for (width, height) in [(63, 64), (64, 63)] {
        assert_eq!(
            nv12(width, height).unwrap_err(),
            ImageError::UnsupportedSize { width, height }
        );
    }
}

#[test]
fn memory_type_that_images_cannot_have_is_refused() {
    let Some(device) = with_images() else { return };
    let required = MemoryProperties::from_bits_retain(1 << 20);
    let error = device.create_image(&ImageRequest {
        required,
        ..request()
    });
    assert_eq!(
        error.unwrap_err(),
        ImageError::Allocate(AllocateError::NoMemoryType { required })
    );
}

#[test]
fn exported_linear_image_is_rows_of_pixels_for_others() {
    let Some(device) = with_images() else { return };
    if !is_linear_and_shared(&device) {
        skip_dma_buf("the device does not export linear images");
        return;
    }
    let image = device
        .create_image(&ImageRequest {
            required: MemoryProperties::HOST_VISIBLE,
            usage: ImageUsage::SAMPLED | ImageUsage::SCANOUT,
            export: ExportNeed::DmaBuf,
            ..request()
        })
        .unwrap();
    let memory = image.allocation();
    let size = memory.size();
    let bytes = pattern(usize::try_from(size).unwrap(), 1);

    let outside = map(memory.export().unwrap(), size);
    poke(&outside, &bytes);
    memory.flush(0..size).unwrap();
    let inside = memory.map().unwrap();
    let mut seen = vec![0; bytes.len()];
    memory.invalidate(0..size).unwrap();
    inside.read(0, &mut seen).unwrap();

    assert!(seen == bytes);
    check_planes(&image, 641, 479, 4);
}

#[test]
fn linear_image_is_copied_as_bytes_or_refused() {
    let Some(device) = with_images() else { return };
    for export in [ExportNeed::None, ExportNeed::DmaBuf] {
        if export == ExportNeed::DmaBuf && !is_linear_and_shared(&device) {
            continue;
        }
        let image = device
            .create_image(&ImageRequest {
                required: MemoryProperties::HOST_VISIBLE,
                export,
                ..request()
            })
            .unwrap();
        let memory = image.into_allocation();
        let size = memory.size();
        let bytes = pattern(usize::try_from(size).unwrap(), 2);
        write(&memory, &bytes);
        let target = visible(&device, "target", size, ExportNeed::None);

        match device.copy(&memory, 0, &target, 0, size) {
            Ok(_) => {
                copy(&device, &memory, &target, size);
                assert!(read(&target, bytes.len()) == bytes);
            }
            Err(error) => {
                assert_eq!(error, TransferError::Unsupported);
                println!("SKIPPED: the driver wants memory of the image's own ({export:?})");
            }
        }
    }
}

#[test]
fn bytes_of_exported_image_outlive_it() {
    let Some(device) = with_images() else { return };
    if !is_linear_and_shared(&device) {
        skip_dma_buf("the device does not export linear images");
        return;
    }
    let image = device
        .create_image(&ImageRequest {
            required: MemoryProperties::HOST_VISIBLE,
            export: ExportNeed::Mappable,
            ..request()
        })
        .unwrap();
    let size = image.allocation().size();
    write(image.allocation(), b"picture");
    let outside = map(image.allocation().export().unwrap(), size);
    drop(image);
    drop(device);
    assert_eq!(peek(&outside, 7), b"picture");
}

#[test]
fn everything_holds_with_incoherent_memory_and_its_dma_bufs() {
    common::layer::all_but("everything_holds_with_incoherent_memory_and_its_dma_bufs");
}
