//! The pixels of a 2D resource.

use std::fmt;

use coherd_protocol::gpu::Format;
use coherd_protocol::gpu::limits::MAX_2D_DIMENSION;
use coherd_protocol::gpu::wire::Rect;
use zerocopy::FromZeros;

use crate::memory::GuestRanges;

/// Bytes of a pixel.
const PIXEL: u64 = Format::BYTES_PER_PIXEL as u64;

/// Pixels in this process.
///
/// Large ones get pages that cost nothing until a transfer touches them. Each small one must not be
/// a mapping: a process has some 65,000, and dies of the lack of them.
#[derive(Debug)]
pub struct Image {
    width: u32,
    height: u32,
    pixels: Box<[u8]>,
}

/// A rectangle inside an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Not zero.
    pub width: u32,
    /// Not zero.
    pub height: u32,
}

/// Where the rows of an area lie in a backing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// First byte of the area's first row.
    pub offset: u64,
    /// Bytes from row to row, not less than a row of the area.
    pub stride: u64,
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the guest's backing to the host's resource.
    ToHost,
    /// From the host's resource to the guest's backing.
    FromHost,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToHost => "to the host",
            Self::FromHost => "from the host",
        })
    }
}

impl Area {
    /// `rect`, if it is not empty and inside `width` by `height` pixels.
    pub fn inside(rect: &Rect, width: u32, height: u32) -> Option<Self> {
        let area = Self {
            x: rect.x.get(),
            y: rect.y.get(),
            width: rect.width.get(),
            height: rect.height.get(),
        };
        let fits = |start: u32, len: u32, bound| {
            len > 0 && start.checked_add(len).is_some_and(|end| end <= bound)
        };
        (fits(area.x, area.width, width) && fits(area.y, area.height, height)).then_some(area)
    }
}

impl Image {
    /// Bytes of memory for an image, in whole pages, if its dimensions are within bounds.
    pub fn footprint(width: u32, height: u32) -> Option<u64> {
        let ok = |side| (1..=MAX_2D_DIMENSION).contains(&side);
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        (ok(width) && ok(height))
            .then(|| u64::from(width) * u64::from(height) * PIXEL)?
            .checked_next_multiple_of(page)
    }

    /// A black image, or `None` if the dimensions are out of bounds or there is no memory.
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let len = usize::try_from(Self::footprint(width, height)?).ok()?;
        Some(Self {
            width,
            height,
            pixels: <[u8]>::new_box_zeroed_with_elems(len).ok()?,
        })
    }

    /// Gives its pixels away; it has none until [`Image::take_back`].
    pub fn lend(&mut self) -> Box<[u8]> {
        std::mem::take(&mut self.pixels)
    }

    /// Takes back what [`Image::lend`] gave away.
    pub fn take_back(&mut self, pixels: Box<[u8]>) {
        self.pixels = pixels;
    }

    /// Bytes of memory, lent or not.
    pub fn size(&self) -> u64 {
        Self::footprint(self.width, self.height).unwrap_or(u64::MAX)
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes of a row.
    pub fn stride(&self) -> u64 {
        u64::from(self.width) * PIXEL
    }

    /// Copies an area of this image; `false` if rows overlap in the backing or are not all in it.
    #[must_use]
    pub fn transfer(
        &mut self,
        area: Area,
        backing: &GuestRanges,
        layout: Layout,
        direction: Direction,
    ) -> bool {
        let row_len = u64::from(area.width) * PIXEL;
        let end = u64::from(area.height)
            .checked_sub(1)
            .and_then(|rows| rows.checked_mul(layout.stride)?.checked_add(row_len))
            .and_then(|len| layout.offset.checked_add(len));
        if layout.stride < row_len || end.is_none_or(|end| end > backing.len()) {
            return false;
        }
        let whole = self.stride() == layout.stride && row_len == layout.stride;
        let (rows, len) = if whole {
            (1, row_len * u64::from(area.height))
        } else {
            (u64::from(area.height), row_len)
        };
        (0..rows).all(|row| {
            let first = u64::from(area.y) + row;
            let start = first * self.stride() + u64::from(area.x) * PIXEL;
            let offset = layout.offset + row * layout.stride;
            let pixels = usize::try_from(start)
                .ok()
                .zip(usize::try_from(start + len).ok())
                .and_then(|(start, end)| self.pixels.get_mut(start..end));
            pixels.is_some_and(|pixels| match direction {
                Direction::ToHost => backing.read(offset, pixels),
                Direction::FromHost => backing.write(offset, pixels),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coherd_protocol::gpu::wire::MemEntry;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::memory::GuestMemory;

    const BACKING: u32 = 0x3000;

    fn guest() -> (GuestMemory, GuestRanges) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        for address in 0..0x4000u64 {
            let byte = (address % 251).to_le_bytes()[0];
            memory.write_obj(byte, GuestAddress(address)).unwrap();
        }
        let memory = Arc::new(memory);
        let entry = MemEntry {
            addr: 0.into(),
            length: BACKING.into(),
            padding: 0.into(),
        };
        let ranges = GuestRanges::resolve(&memory, &[entry]).unwrap();
        (memory, ranges)
    }

    fn area(x: u32, y: u32, width: u32, height: u32) -> Area {
        Area {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn part_of_an_image_comes_back_at_another_place() {
        let (memory, backing) = guest();
        let mut image = Image::new(32, 16).unwrap();
        let part = area(3, 5, 7, 2);
        let there = Layout {
            offset: 100,
            stride: 64,
        };
        let back = Layout {
            offset: 0x2000,
            stride: 28,
        };

        assert!(image.transfer(part, &backing, there, Direction::ToHost));
        assert!(image.transfer(part, &backing, back, Direction::FromHost));

        let read = |address: u64| {
            let mut bytes = [0; 28];
            memory
                .read_slice(&mut bytes, GuestAddress(address))
                .unwrap();
            bytes
        };
        assert_eq!(read(0x2000), read(100));
        assert_eq!(read(0x2000 + 28), read(164));
    }

    #[test]
    fn whole_image_is_copied_as_its_rows_are() {
        let (_, backing) = guest();
        let layout = Layout {
            offset: 16,
            stride: 128,
        };
        let mut whole = Image::new(32, 16).unwrap();
        let mut rows = Image::new(32, 16).unwrap();

        assert!(whole.transfer(area(0, 0, 32, 16), &backing, layout, Direction::ToHost));
        for row in 0..16 {
            let layout = Layout {
                offset: 16 + u64::from(row) * 128,
                stride: 128,
            };
            assert!(rows.transfer(area(0, row, 32, 1), &backing, layout, Direction::ToHost));
        }

        assert_eq!(whole.pixels[..], rows.pixels[..]);
    }

    #[test]
    fn rows_that_overlap_or_leave_the_backing_are_refused() {
        let (_, backing) = guest();
        let mut image = Image::new(32, 16).unwrap();
        let len = u64::from(BACKING);
        for (offset, stride) in [
            (0, 127),
            (len - 16 * 128 + 1, 128),
            (len, 128),
            (u64::MAX, 128),
            (0, u64::MAX),
        ] {
            let layout = Layout { offset, stride };
            let whole = area(0, 0, 32, 16);
            assert!(!image.transfer(whole, &backing, layout, Direction::ToHost));
        }
    }

    #[test]
    fn dimensions_out_of_bounds_have_no_image() {
        for (width, height) in [(0, 1), (1, 0), (16385, 1), (1, u32::MAX)] {
            assert!(Image::new(width, height).is_none());
        }
        assert_eq!(Image::new(1, 1).unwrap().size(), 4096);
    }
}
