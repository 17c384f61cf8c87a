//! 2D resources with pixels, and ways to see which pixels the host has.

use coherd_protocol::gpu::wire::{Box3, Rect, Transfer3d};
use coherd_protocol::gpu::{Features, Format};

use super::bench::Bench;
use super::failure::{Failure, ensure};
use crate::driver::{Buffer, Request};
use crate::frontend::Shown;

/// The note of a case that could not look at the pixels that it is about.
pub const UNSEEN: &str = "copy cannot be seen";

/// The context through which the host's pixels are read back.
const READER: u32 = 0xc0;

/// Bytes of a pixel.
pub const PIXEL: u32 = 4;

/// B8G8R8X8, the one format whose bytes QEMU's display socket carries as they are.
pub const FORMAT: u32 = Format::B8G8R8X8 as u32;

/// A rectangle in pixels.
pub fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect {
        x: x.into(),
        y: y.into(),
        width: width.into(),
        height: height.into(),
    }
}

/// Bytes of pixels that differ from each other and from those of another seed.
pub fn pattern(seed: u8, len: u32) -> Vec<u8> {
    (0..len)
        .map(|index| (index ^ index >> 8).to_le_bytes()[0].wrapping_add(seed))
        .collect()
}

/// A 2D resource with a backing.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Resource id.
    pub id: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Guest memory, with room for all pixels.
    pub backing: Vec<Buffer>,
}

impl Picture {
    /// Creates a resource and attaches one piece of guest memory to it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn new(bench: &mut Bench<'_>, id: u32, width: u32, height: u32) -> Result<Self, Failure> {
        Self::in_pieces(bench, id, width, height, width * height * PIXEL)
    }

    /// Creates a resource and attaches pieces of `piece` bytes to it, scattered over pages.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn in_pieces(
        bench: &mut Bench<'_>,
        id: u32,
        width: u32,
        height: u32,
        piece: u32,
    ) -> Result<Self, Failure> {
        bench.ok(&Request::create_2d(id, FORMAT, width, height))?;
        let len = width * height * PIXEL;
        let mut backing = (0..len / piece)
            .map(|_| bench.memory(piece.into()))
            .collect::<Result<Vec<_>, _>>()?;
        // Neighbouring entries shall not be neighbours in memory.
        backing.reverse();
        if !len.is_multiple_of(piece) {
            backing.push(bench.gpu.buffer(&vec![0; (len % piece) as usize])?);
        }
        bench.ok(&Request::attach_backing(id, &backing))?;
        Ok(Self {
            id,
            width,
            height,
            backing,
        })
    }

    /// All of the resource.
    pub fn whole(&self) -> Rect {
        rect(0, 0, self.width, self.height)
    }

    /// Bytes of all pixels.
    pub fn len(&self) -> u32 {
        self.width * self.height * PIXEL
    }

    /// Writes `bytes` to the backing, from its start.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn fill(&self, bench: &Bench<'_>, bytes: &[u8]) -> Result<(), Failure> {
        let mut rest = bytes;
        for buffer in &self.backing {
            let (now, later) = rest.split_at(rest.len().min(buffer.len as usize));
            bench.write(*buffer, now)?;
            rest = later;
        }
        Ok(())
    }

    /// The host has `expected`, as far as that can be seen: read back by TRANSFER_FROM_HOST_3D,
    /// or shown on the display socket. Says so in the report where it cannot.
    ///
    /// # Errors
    /// [`Failure::Wrong`] where other pixels are seen.
    pub fn expect(&self, bench: &mut Bench<'_>, expected: &[u8]) -> Result<(), Failure> {
        let seen = match self.read_back(bench)? {
            Some(seen) => Some(seen),
            None => self.shown(bench)?,
        };
        let Some(seen) = seen else {
            bench.note(UNSEEN);
            return Ok(());
        };
        // The fourth byte of a pixel has no meaning.
        let differs = |(index, (seen, expected)): (usize, (&u8, &u8))| {
            (index % 4 != 3 && seen != expected).then_some(index)
        };
        let wrong = seen.iter().zip(expected).enumerate().find_map(differs);
        ensure(wrong.is_none() && seen.len() == expected.len(), || {
            let pixel = wrong.unwrap_or(0) / 4;
            let (x, y) = (pixel % self.width as usize, pixel / self.width as usize);
            format!("pixel {x}, {y} has other bytes than the guest transferred")
        })
    }

    /// The pixels by way of a context, where the device lets that be.
    fn read_back(&self, bench: &mut Bench<'_>) -> Result<Option<Vec<u8>>, Failure> {
        let virgl = Features::VIRGL.bits();
        if bench.frontend.features() & virgl == 0 {
            return Ok(None);
        }
        let accepted = |bench: &mut Bench<'_>, request: &Request| {
            Ok::<_, Failure>(bench.call(request, 0)?.code() == super::codes::OK_NODATA)
        };
        if !accepted(bench, &Request::ctx_create(READER, 0, "reader"))? {
            return Ok(None);
        }
        let attached = accepted(bench, &Request::ctx_attach(READER, self.id))?;
        self.fill(bench, &vec![0; self.len() as usize])?;
        let back = Request::transfer_from_host_3d(READER, &self.transfer(self.whole(), 0));
        let copied = attached && accepted(bench, &back)?;
        let mut bytes = Vec::new();
        for buffer in &self.backing {
            bytes.extend(bench.gpu.read_buffer(*buffer)?);
        }
        accepted(bench, &Request::ctx_destroy(READER))?;
        if !copied {
            bench.note("no transfer back");
        }
        Ok(copied.then_some(bytes))
    }

    /// The pixels by way of the display socket, where the backend has one.
    fn shown(&self, bench: &mut Bench<'_>) -> Result<Option<Vec<u8>>, Failure> {
        if !bench.frontend.has_display() {
            return Ok(None);
        }
        bench.ok(&Request::set_scanout(0, self.id, self.whole()))?;
        let mark = bench.frontend.log().mark();
        bench.ok(&Request::flush(self.id, self.whole()))?;
        updated(bench, mark).map(|(_, pixels)| Some(pixels))
    }

    /// A transfer between `area` and the bytes of the backing from `offset` on, which have the
    /// resource's stride.
    pub fn transfer(&self, area: Rect, offset: u64) -> Transfer3d {
        Transfer3d {
            region: Box3 {
                x: area.x,
                y: area.y,
                z: 0.into(),
                w: area.width,
                h: area.height,
                d: 1.into(),
            },
            offset: offset.into(),
            resource_id: self.id.into(),
            level: 0.into(),
            stride: 0.into(),
            layer_stride: 0.into(),
        }
    }
}

/// The first update on the display socket since `mark`: its area and pixels.
///
/// # Errors
/// [`Failure::Wrong`] if there is none while the case lasts.
pub fn updated(bench: &Bench<'_>, mark: usize) -> Result<([u32; 5], Vec<u8>), Failure> {
    let is_update = |shown: &Shown| matches!(shown, Shown::Update { .. });
    match bench.see(mark, "update", is_update)? {
        Shown::Update { area, pixels } => Ok((area, pixels)),
        other => Err(Failure::Wrong(format!("{other:?} instead of an update"))),
    }
}

/// No scanout shows `picture`, which is larger than 8 by 8 pixels: a flush of it is not on the
/// display socket before the flush that is made when it is shown.
pub fn expect_on_no_scanout(bench: &mut Bench<'_>, picture: &Picture) -> Result<(), Failure> {
    let mark = bench.frontend.log().mark();
    bench.ok(&Request::flush(picture.id, rect(0, 0, 8, 8)))?;
    if !bench.frontend.has_display() {
        bench.note("scanout cannot be seen");
        return Ok(());
    }
    bench.ok(&Request::set_scanout(0, picture.id, picture.whole()))?;
    bench.ok(&Request::flush(picture.id, picture.whole()))?;
    let (area, _) = updated(bench, mark)?;
    ensure(area == [0, 0, 0, picture.width, picture.height], || {
        format!("area {area:?} was updated, which no scanout shows")
    })
}
