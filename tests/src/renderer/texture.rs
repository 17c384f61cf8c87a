//! Resources that are not blobs.

use coherd::device::image::Direction;
use coherd::memory::GuestRanges;
use coherd::renderer::RendererError;
use coherd_protocol::gpu::wire::{ResourceCreate3d, Transfer3d};

/// Bytes of a texel, whatever the format.
const TEXEL: usize = 4;
/// PIPE_MAX_TEXTURE_TYPES of virgl: targets are below it.
const TARGETS: u32 = 9;
/// Bytes of the largest texture.
const MAX_BYTES: usize = 64 << 20;

/// A box of texels with one level.
#[derive(Debug)]
pub(super) struct Texture {
    width: usize,
    height: usize,
    depth: usize,
    texels: Vec<u8>,
}

impl Texture {
    pub(super) fn new(request: &ResourceCreate3d) -> Result<Self, RendererError> {
        let [width, height, depth] = [request.width, request.height, request.depth]
            .map(|side| usize::try_from(side.get()).unwrap_or(usize::MAX));
        let size = TEXEL
            .checked_mul(width)
            .and_then(|row| row.checked_mul(height)?.checked_mul(depth))
            .filter(|size| (1..=MAX_BYTES).contains(size) && request.last_level.get() == 0)
            .filter(|_| request.target.get() < TARGETS);
        let size = size.ok_or_else(|| RendererError::Failed("no such texture".to_owned()))?;
        Ok(Self {
            width,
            height,
            depth,
            texels: vec![0; size],
        })
    }

    /// Bytes.
    pub(super) fn size(&self) -> u64 {
        self.texels.len() as u64
    }

    pub(super) fn transfer(
        &mut self,
        request: &Transfer3d,
        backing: &GuestRanges,
        direction: Direction,
    ) -> Option<()> {
        let part = &request.region;
        let [x, y, z, w, h, d] = [part.x, part.y, part.z, part.w, part.h, part.d]
            .map(|side| usize::try_from(side.get()).unwrap_or(usize::MAX));
        let inside = x.checked_add(w)? <= self.width
            && y.checked_add(h)? <= self.height
            && z.checked_add(d)? <= self.depth;
        if !inside || request.level.get() != 0 {
            return None;
        }
        let or_tight = |stride: u32, tight: usize| match stride {
            0 => tight,
            stride => usize::try_from(stride).unwrap_or(usize::MAX),
        };
        let stride = or_tight(request.stride.get(), self.width * TEXEL);
        let layer = or_tight(request.layer_stride.get(), stride.checked_mul(self.height)?);
        for (slice, row) in (0..d).flat_map(|slice| (0..h).map(move |row| (slice, row))) {
            let start = (((z + slice) * self.height + y + row) * self.width + x) * TEXEL;
            let texels = self.texels.get_mut(start..start + w * TEXEL)?;
            let within = slice
                .checked_mul(layer)?
                .checked_add(row.checked_mul(stride)?)?;
            let offset = request.offset.get().checked_add(within as u64)?;
            let copied = match direction {
                Direction::ToHost => backing.read(offset, texels),
                Direction::FromHost => backing.write(offset, texels),
            };
            copied.then_some(())?;
        }
        Some(())
    }
}
