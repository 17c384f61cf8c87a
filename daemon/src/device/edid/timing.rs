//! Timings of VESA CVT 1.2 with reduced blanking, version 1, at 60 Hz.

/// Refresh rate in Hz.
const REFRESH: u32 = 60;
/// Horizontal blanking in pixels, and its front porch and sync.
const H_BLANK: u32 = 160;
const H_FRONT: u32 = 48;
const H_SYNC: u32 = 32;
/// Shortest vertical blanking in microseconds.
const V_BLANK_US: u64 = 460;
/// Front porch and shortest back porch in lines.
const V_FRONT: u32 = 3;
const V_BACK_MIN: u32 = 6;
/// Step of the pixel clock in kHz.
const CLOCK_STEP: u64 = 250;

/// A video timing. Lengths are in pixels for `h_` and in lines for `v_`; blanking contains front
/// porch, sync and back porch. The horizontal sync is positive, the vertical one negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Visible pixels of a line.
    pub width: u32,
    /// Visible lines.
    pub height: u32,
    /// Horizontal blanking.
    pub h_blank: u32,
    /// Horizontal front porch.
    pub h_front: u32,
    /// Horizontal sync.
    pub h_sync: u32,
    /// Vertical blanking.
    pub v_blank: u32,
    /// Vertical front porch.
    pub v_front: u32,
    /// Vertical sync.
    pub v_sync: u32,
    /// Pixel clock in units of 10 kHz.
    pub clock: u32,
}

impl Timing {
    /// The timing for `width` by `height` pixels, each at most 2^15.
    pub fn reduced_blanking(width: u32, height: u32) -> Self {
        let v_sync = v_sync(width, height);
        let frame_us = 1_000_000;
        let blank_us = V_BLANK_US * u64::from(REFRESH);
        let lines = blank_us * u64::from(height) / (frame_us - blank_us) + 1;
        let v_blank = u32::try_from(lines)
            .unwrap_or(u32::MAX)
            .max(V_FRONT + v_sync + V_BACK_MIN);
        let pixels = u64::from(width + H_BLANK) * u64::from(height + v_blank);
        let steps = pixels * u64::from(REFRESH) / (CLOCK_STEP * 1000);
        Self {
            width,
            height,
            h_blank: H_BLANK,
            h_front: H_FRONT,
            h_sync: H_SYNC,
            v_blank,
            v_front: V_FRONT,
            v_sync,
            clock: u32::try_from(steps * CLOCK_STEP / 10).unwrap_or(u32::MAX),
        }
    }
}

/// Lines of vertical sync, which encodes the aspect ratio: table 3-2 of CVT.
fn v_sync(width: u32, height: u32) -> u32 {
    let is = |x: u32, y: u32| width * y == height * x;
    match () {
        () if is(4, 3) => 4,
        () if is(16, 9) => 5,
        () if is(16, 10) => 6,
        () if is(5, 4) || is(15, 9) => 7,
        () => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Total pixels and lines, sync lines and clock in 10 kHz, as edid-decode calculates them.
    fn totals(width: u32, height: u32) -> (u32, u32, u32, u32) {
        let timing = Timing::reduced_blanking(width, height);
        let line = timing.width + timing.h_blank;
        (
            line,
            timing.height + timing.v_blank,
            timing.v_sync,
            timing.clock,
        )
    }

    #[test]
    fn timings_are_those_of_the_cvt_calculator() {
        assert_eq!(totals(1280, 800), (1440, 823, 6, 7100));
        assert_eq!(totals(1920, 1080), (2080, 1111, 5, 13850));
        assert_eq!(totals(3840, 2160), (4000, 2222, 5, 53325));
    }
}
