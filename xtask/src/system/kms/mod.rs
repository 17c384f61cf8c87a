//! The guest's display through KMS: public tools on the card, and the kernel's console on it. Nobody sees the
//! picture; what counts is that every command of the driver is answered well.

mod card;
pub mod console;
mod keys;
pub mod modetest;

pub use card::Card;
use card::{Edid, agree};
use keys::Keys;

use super::app::{App, shell};
use super::failure::{Failure, expect};
use super::report::Verdict;
use super::rig::Rig;

/// What coherd shows a guest unless it is told otherwise.
const DISPLAY: (u64, u64) = (1280, 800);
const MONITOR: &str = "coherd 1";

/// Formats of the picture and of the cursor, of which Linux' driver has one each.
const FORMATS: [&str; 2] = ["XR24", "AR24"];

/// Finds the line in which the driver says that it was offered no 3D.
const WITHOUT_3D: &str = "busybox dmesg | grep 'features: -virgl'";

/// What vbltest says of a driver without vertical blanks.
const NO_BLANKS: &str = "drmWaitVBlank (relative) failed";

/// Frames of kmscube, which llvmpipe draws in the guest.
const FRAMES: u32 = 30;

/// Tools that list a card see coherd's display as its EDID describes it, and the planes of Linux' driver.
pub fn inventory(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let card = Card::find(&rig.vm)?;
    let edid = Edid::of_guest(&rig.vm)?;
    agree(&card, &edid)?;
    expect(
        card.driver == "virtio_gpu" && card.preferred.size == DISPLAY && edid.name == MONITOR,
        || format!("the guest has {card:?} and {edid:?}"),
    )?;
    let listed = shell(&rig.vm, "modetest -M virtio_gpu")?;
    let formats: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("formats: "))
        .collect();
    expect(
        formats == FORMATS && card.formats == FORMATS[..1] && card.cursor_size == (64, 64),
        || format!("the planes of the guest's card are others: {card:?}, {formats:?}"),
    )?;
    let properties = shell(&rig.vm, "proptest -M virtio_gpu")?;
    expect(properties.contains("DPMS"), || {
        format!("proptest does not list the connector's properties: {properties}")
    })?;
    // The driver has no vertical blanks to wait for.
    let blanks = App::start(&rig.vm, "vbltest -M virtio_gpu".to_owned())?.fails()?;
    expect(blanks.log.contains(NO_BLANKS), || {
        format!("vbltest failed for another reason: {blanks:?}")
    })?;
    rig.is_clean()?;
    Ok(Verdict::Passed(format!(
        "{} at {}, {} x {} mm, {} mode, {} and {}, no vertical blanks",
        edid.name,
        card.preferred.name,
        card.millimetres.0,
        card.millimetres.1,
        card.modes,
        formats[0],
        formats[1],
    )))
}

/// Modes are set, and pictures flipped, with a cursor and without, one ioctl at a time and in atomic commits.
pub fn page_flips(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let card = Card::find(&rig.vm)?;
    for format in &card.formats {
        modetest::shows(&rig.vm, &card, format)?;
    }
    let flips = modetest::flips(&rig.vm, &card, false)?;
    let with_cursor = modetest::flips(&rig.vm, &card, true)?;
    let atomic = modetest::flips_until_killed(&rig.vm, &card)?;
    let log = rig.is_clean()?;
    Ok(Verdict::Passed(format!(
        "flips/s: {flips:.0}, with a cursor {with_cursor:.0}, atomic {atomic:.0}; {} debug messages, no fault",
        log.debug_messages(),
    )))
}

/// A program draws with OpenGL on the guest's processor and shows it by GBM and KMS.
pub fn kmscube(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let mut rates = Vec::new();
    for way in ["", " --atomic"] {
        let line = format!("kmscube{way} --count {FRAMES}");
        let said = App::start(&rig.vm, Keys::new(&rig.vm)?.given_to(&line))?.succeeds()?;
        rates.push(frames_per_second(&said)?);
    }
    rig.is_clean()?;
    Ok(Verdict::Passed(format!(
        "{} frames a way, frames/s: {}, atomic {}",
        FRAMES, rates[0], rates[1]
    )))
}

/// Without a renderer, Linux makes its framebuffers from blobs in its own memory: console and KMS work on them.
pub fn two_d(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    shell(&rig.vm, WITHOUT_3D)?;
    console::is_used(&rig.vm)?;
    let card = Card::find(&rig.vm)?;
    let flips = modetest::flips(&rig.vm, &card, true)?;
    let log = rig.is_clean()?;
    Ok(Verdict::Passed(format!(
        "console and {flips:.0} flips/s; {} debug messages, no fault",
        log.debug_messages()
    )))
}

/// The rate in the last line of kmscube, whose frames it counts from 0.
fn frames_per_second(said: &str) -> Result<String, Failure> {
    let all = format!("Rendered {} frames", FRAMES - 1);
    said.lines()
        .rev()
        .find(|line| line.contains(&all))
        .and_then(|line| line.rsplit_once('(')?.1.split_once(' '))
        .map(|(rate, _)| rate.to_owned())
        .ok_or_else(|| Failure::Wrong(format!("kmscube did not render its frames: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kmscube_has_to_draw_all_frames() {
        let whole =
            "Rendered 16 frames in 2.0 sec (8.0 fps)\nRendered 29 frames in 3.5 sec (8.2 fps)\n";
        assert_eq!(frames_per_second(whole).unwrap(), "8.2");
        assert!(
            frames_per_second("Rendered 16 frames in 2.0 sec (8.0 fps)\nuser interrupted!\n")
                .is_err()
        );
    }
}
