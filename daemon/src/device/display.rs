//! Displays, and the outputs of the device that they are plugged into.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use coherd_protocol::gpu::limits::MAX_SCANOUTS;
use thiserror::Error;

/// Sides of a display in pixels. Linux's driver has no modes beyond the upper bound. Below the
/// lower one the display would be smaller than the 10 cm, and its pixel clock slower than the
/// 10 MHz, that an EDID is taken seriously with.
pub const SIDES: RangeInclusive<u32> = 400..=8192;

const MAX_OUTPUTS: usize = MAX_SCANOUTS as usize;

/// Why displays are not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DisplayError {
    /// Not a width and a height.
    #[error("not WIDTHxHEIGHT in pixels")]
    Syntax,
    /// A side that no guest can use.
    #[error("each side must have from {} to {} pixels", SIDES.start(), SIDES.end())]
    Side,
    /// A device without outputs, or with more than VIRTIO has.
    #[error("a device has from 1 to {MAX_OUTPUTS} outputs, not {0}")]
    Outputs(usize),
    /// More displays than outputs.
    #[error("more displays ({displays}) than outputs ({outputs})")]
    TooMany {
        /// Displays.
        displays: usize,
        /// Outputs.
        outputs: usize,
    },
}

/// What a display prefers: its width and height in pixels, at 60 Hz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    width: u32,
    height: u32,
}

impl Mode {
    /// The mode of a display of which nothing is said.
    pub const DEFAULT: Self = Self {
        width: 1280,
        height: 800,
    };

    /// A mode with sides within [`SIDES`].
    ///
    /// # Errors
    /// [`DisplayError::Side`]
    pub fn new(width: u32, height: u32) -> Result<Self, DisplayError> {
        if SIDES.contains(&width) && SIDES.contains(&height) {
            Ok(Self { width, height })
        } else {
            Err(DisplayError::Side)
        }
    }

    /// Width in pixels.
    pub const fn width(self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub const fn height(self) -> u32 {
        self.height
    }
}

impl FromStr for Mode {
    type Err = DisplayError;

    fn from_str(text: &str) -> Result<Self, DisplayError> {
        let (width, height) = text.split_once('x').ok_or(DisplayError::Syntax)?;
        let side = |text: &str| text.parse().map_err(|_| DisplayError::Syntax);
        Self::new(side(width)?, side(height)?)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}", self.width, self.height)
    }
}

/// The outputs of a device, called scanouts in VIRTIO, and the displays on the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outputs {
    count: usize,
    displays: [Option<Mode>; MAX_OUTPUTS],
}

impl Default for Outputs {
    fn default() -> Self {
        let mut displays = [None; MAX_OUTPUTS];
        displays[0] = Some(Mode::DEFAULT);
        Self { count: 1, displays }
    }
}

impl Outputs {
    /// `count` outputs; the display at each index of `displays` is on the output of that index.
    ///
    /// # Errors
    /// [`DisplayError::Outputs`] and [`DisplayError::TooMany`]
    pub fn new(count: usize, displays: &[Mode]) -> Result<Self, DisplayError> {
        if !(1..=MAX_OUTPUTS).contains(&count) {
            return Err(DisplayError::Outputs(count));
        }
        if displays.len() > count {
            return Err(DisplayError::TooMany {
                displays: displays.len(),
                outputs: count,
            });
        }
        let mut plugged = [None; MAX_OUTPUTS];
        for (output, display) in plugged.iter_mut().zip(displays) {
            *output = Some(*display);
        }
        Ok(Self {
            count,
            displays: plugged,
        })
    }

    /// Number of outputs, from 1 to 16.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What is on each output.
    pub fn iter(&self) -> impl Iterator<Item = Option<Mode>> {
        self.displays.into_iter().take(self.count)
    }
}

impl fmt::Display for Outputs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, output) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match output {
                Some(mode) => write!(formatter, "{comma}{mode}")?,
                None => write!(formatter, "{comma}none")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_read_as_it_is_written() {
        let mode: Mode = "1920x1080".parse().unwrap();
        assert_eq!((mode.width(), mode.height()), (1920, 1080));
        assert_eq!(mode.to_string(), "1920x1080");
    }

    #[test]
    fn text_that_is_no_usable_mode_is_refused() {
        for text in ["", "1920", "1920x", "x1080", "1920X1080", "1x2x3", "-1x5"] {
            assert_eq!(text.parse::<Mode>(), Err(DisplayError::Syntax), "{text}");
        }
        for text in ["399x800", "800x0", "8193x600"] {
            assert_eq!(text.parse::<Mode>(), Err(DisplayError::Side), "{text}");
        }
    }

    #[test]
    fn displays_take_the_first_outputs() {
        let outputs = Outputs::new(3, &[Mode::DEFAULT; 2]).unwrap();
        let plugged: Vec<_> = outputs.iter().collect();
        assert_eq!(plugged, [Some(Mode::DEFAULT), Some(Mode::DEFAULT), None]);
        assert_eq!(outputs.to_string(), "1280x800, 1280x800, none");
    }

    #[test]
    fn outputs_are_those_of_virtio_and_enough_for_the_displays() {
        assert_eq!(Outputs::new(0, &[]), Err(DisplayError::Outputs(0)));
        assert_eq!(Outputs::new(17, &[]), Err(DisplayError::Outputs(17)));
        assert!(Outputs::new(16, &[Mode::DEFAULT; 16]).is_ok());
        let too_many = DisplayError::TooMany {
            displays: 2,
            outputs: 1,
        };
        assert_eq!(Outputs::new(1, &[Mode::DEFAULT; 2]), Err(too_many));
    }
}
