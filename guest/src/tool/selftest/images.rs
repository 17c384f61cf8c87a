//! Checks of images: each format and modifier of the host.

use std::io;

use coherd_protocol::blob_context::Status;

use super::Place;
use super::movement::{Memory, to_u64};
use super::pattern::{compare, pattern};
use super::runner::{Outcome, Runner, Stop};
use crate::tool::words;
use crate::{Format, Image, ImageError, ImageRequest, ImageUsage, LINEAR, MemoryProperties};

/// Sizes that are no powers of two, and one that is.
const SIZES: [(u32, u32); 3] = [(64, 64), (33, 17), (1, 1)];

/// Runs the checks.
pub fn check(runner: &mut Runner<'_>, place: &Place) -> io::Result<()> {
    let host = place.context.host();
    if !host.images || host.formats.is_empty() {
        return runner.run("images", || {
            Err(Stop::Skipped("the host makes none".to_owned()))
        });
    }
    for format in &host.formats {
        let name = words::fourcc(format.fourcc);
        let modifier = match format.modifier {
            LINEAR => "linear".to_owned(),
            modifier => format!("modifier {modifier:#x}"),
        };
        runner.run(&format!("image {name}, {modifier}"), || {
            formats(place, *format)
        })?;
    }
    runner.run("image of a format that does not exist", || {
        refused(place, &request(7, &[], 64, 64), Status::UnsupportedFormat)
    })?;
    runner.run("image with a modifier that does not exist", || {
        let fourcc = host.formats.first().map_or(0, |format| format.fourcc);
        let modifier = 0x00ff_ffff_ffff_fff0;
        refused(
            place,
            &request(fourcc, &[modifier], 64, 64),
            Status::UnsupportedModifier,
        )
    })
}

fn request(fourcc: u32, modifiers: &[u64], width: u32, height: u32) -> ImageRequest {
    ImageRequest {
        width,
        height,
        fourcc,
        modifiers: modifiers.to_vec(),
        usage: ImageUsage::empty(),
        required: MemoryProperties::empty(),
        preferred: MemoryProperties::empty(),
        shareable: false,
    }
}

fn formats(place: &Place, format: Format) -> Outcome {
    for (width, height) in SIZES {
        let mut request = request(format.fourcc, &[format.modifier], width, height);
        request.usage = format.usage;
        let image = place.context.create_image(&request)?;
        layout(&image, format, width)?;
        match format.modifier {
            LINEAR => bytes(place, &image)?,
            _ => opaque(place, &image)?,
        }
    }
    Ok(())
}

/// The layout is that of the format. That planes are inside the memory is checked by the library.
fn layout(image: &Image, format: Format, width: u32) -> Outcome {
    if image.modifier() != format.modifier {
        return Err(Stop::Failed(format!(
            "the modifier is {:#x}",
            image.modifier()
        )));
    }
    let planes = image.planes();
    if u32::try_from(planes.len()) != Ok(format.planes) {
        return Err(Stop::Failed(format!(
            "{} planes instead of {}",
            planes.len(),
            format.planes
        )));
    }
    match planes
        .iter()
        .find(|plane| plane.size == 0 || plane.pitch == 0)
    {
        Some(plane) => Err(Stop::Failed(format!("{width} pixels have {plane:?}"))),
        None => Ok(()),
    }
}

/// A linear image is copied as bytes.
fn bytes(place: &Place, image: &Image) -> Outcome {
    let memory = Memory::of(place, image.allocation().clone())?;
    let sent = pattern(5, memory.len());
    memory.write(0, &sent)?;
    compare(&sent, &memory.read(0..memory.len())?)?;
    place
        .context
        .fill(image.allocation().at(0), to_u64(memory.len()), 7)?
        .wait()?;
    compare(
        &7u32.to_le_bytes().repeat(memory.len() / 4),
        &memory.read(0..memory.len())?,
    )
}

/// Another one is not.
fn opaque(place: &Place, image: &Image) -> Outcome {
    let work = place.context.fill(image.allocation().at(0), 4096, 7)?;
    match work.wait() {
        Err(error) if error.call().status() == Some(Status::Unsupported) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => Err(Stop::Failed("it is filled as bytes".to_owned())),
    }
}

fn refused(place: &Place, request: &ImageRequest, expected: Status) -> Outcome {
    match place.context.create_image(request) {
        Err(ImageError::Host { source, .. }) if source.status() == Some(expected) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(Stop::Failed("it was made".to_owned())),
    }
}
