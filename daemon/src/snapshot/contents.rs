//! Bytes on their way between memory and a stream: only pages that are not zero, inside brackets.

use std::io::{Read, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use coherd_blob::Access;
use coherd_protocol::state::{Contents, ContentsKind, End, Kind, MAX_SECTION};
use zerocopy::{FromBytes, IntoBytes};

use super::error::SnapshotError;
use super::progress::Progress;
use super::stream::{Reader, Writer};
use crate::coherence::{AccessError, Patience};

/// Bytes that are tested for zeros at a time.
const PAGE: usize = 4096;
/// Bytes that are read at a time: so many whole pages as a section holds.
const CHUNK: usize = (MAX_SECTION - size_of::<Contents>()) / PAGE * PAGE;
/// How long the GPU may take for one piece.
const LONGEST_ACCESS: Duration = Duration::from_secs(10);

static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// Memory whose bytes are saved or loaded.
pub trait Bytes: Send {
    /// How many.
    fn size(&self) -> u64;

    /// Whether they are zero until something is written.
    fn is_new_zeroed(&self) -> bool;

    /// The first part behind `offset` that may have anything but zeros.
    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        (offset < self.size()).then(|| offset..self.size())
    }

    /// Begins an access to all of them.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn begin(&mut self, access: Access, patience: &Patience<'_>) -> Result<(), AccessError>;

    /// Copies bytes out.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), AccessError>;

    /// Copies bytes in.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), AccessError>;

    /// Ends the access.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn end(&mut self, patience: &Patience<'_>) -> Result<(), AccessError>;
}

/// Pixels of a 2D resource, which are lent by the device.
#[derive(Debug)]
pub struct Pixels(pub Box<[u8]>);

impl Pixels {
    fn part(&mut self, offset: u64, len: usize) -> Result<&mut [u8], AccessError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = self.0.get_mut(start..start.saturating_add(len));
        part.ok_or_else(|| AccessError::Driver("pixels outside of their image".to_owned()))
    }
}

impl Bytes for Pixels {
    fn size(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    fn is_new_zeroed(&self) -> bool {
        true
    }

    fn begin(&mut self, _: Access, _: &Patience<'_>) -> Result<(), AccessError> {
        Ok(())
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        into.copy_from_slice(self.part(offset, into.len())?);
        Ok(())
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        self.part(offset, from.len())?.copy_from_slice(from);
        Ok(())
    }

    fn end(&mut self, _: &Patience<'_>) -> Result<(), AccessError> {
        Ok(())
    }
}

/// Where bytes are.
pub enum Store {
    /// Pixels of a resource.
    Image(Pixels),
    /// Memory of a renderer.
    Memory(Box<dyn Bytes>),
}

/// Bytes and whose they are.
pub struct Piece {
    /// What they belong to.
    pub kind: ContentsKind,
    /// The id of a resource, or the place of an object.
    pub id: u32,
    /// Where they are.
    pub store: Store,
}

impl Piece {
    /// Bytes.
    pub fn size(&mut self) -> u64 {
        self.bytes().size()
    }

    fn bytes(&mut self) -> &mut dyn Bytes {
        match &mut self.store {
            Store::Image(pixels) => pixels,
            Store::Memory(bytes) => &mut **bytes,
        }
    }

    fn failed(&self) -> impl Fn(AccessError) -> SnapshotError + use<> {
        let what = match self.kind {
            ContentsKind::Image | ContentsKind::Blob => format!("resource {}", self.id),
            ContentsKind::Object => format!("object {}", self.id),
        };
        move |source| SnapshotError::Access {
            what: what.clone(),
            source,
        }
    }
}

fn patience() -> Patience<'static> {
    Patience::until(Instant::now() + LONGEST_ACCESS)
}

/// Writes the bytes of all pieces and ends the stream.
///
/// # Errors
/// [`SnapshotError::Access`] and [`SnapshotError::Transfer`]
pub fn save(
    pieces: &mut [Piece],
    writer: &mut Writer<impl Write>,
    progress: &Progress,
) -> Result<(), SnapshotError> {
    let mut buffer = vec![0; CHUNK];
    let mut written = 0;
    for piece in pieces {
        let failed = piece.failed();
        piece
            .bytes()
            .begin(Access::READ, &patience())
            .map_err(&failed)?;
        let saved = save_piece(piece, &mut buffer, writer, progress);
        let ended = piece.bytes().end(&patience()).map_err(&failed);
        written += saved?;
        ended?;
    }
    let end = End {
        sections: writer.sections().into(),
        bytes: written.into(),
    };
    writer.section(Kind::End, &[end.as_bytes()])
}

fn save_piece(
    piece: &mut Piece,
    buffer: &mut [u8],
    writer: &mut Writer<impl Write>,
    progress: &Progress,
) -> Result<u64, SnapshotError> {
    let failed = piece.failed();
    let (kind, id) = (piece.kind.to_wire(), piece.id);
    let bytes = piece.bytes();
    let size = bytes.size();
    let (mut offset, mut written) = (0, 0);
    while let Some(data) = bytes.data_from(offset) {
        progress.advance(data.start.saturating_sub(offset));
        let len = usize::try_from(data.end.saturating_sub(data.start)).unwrap_or(usize::MAX);
        let chunk = buffer.get_mut(..len.min(CHUNK)).unwrap_or_default();
        bytes.read(data.start, chunk).map_err(&failed)?;
        for run in runs(chunk) {
            let place = data.start + u64::try_from(run.start).unwrap_or(0);
            let some = chunk.get(run).unwrap_or_default();
            let contents = Contents {
                kind: kind.into(),
                id: id.into(),
                offset: place.into(),
            };
            writer.section(Kind::Contents, &[contents.as_bytes(), some])?;
            written += u64::try_from(some.len()).unwrap_or(0);
        }
        let done = u64::try_from(chunk.len()).unwrap_or(0);
        progress.advance(done);
        offset = data.start + done;
    }
    progress.advance(size.saturating_sub(offset));
    Ok(written)
}

/// The runs of pages that are not all zero.
fn runs(chunk: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (start, page) in (0..).step_by(PAGE).zip(chunk.chunks(PAGE)) {
        if ZEROS.get(..page.len()) == Some(page) {
            continue;
        }
        let end = start + page.len();
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

/// Reads the bytes of all pieces and the end of the stream. What the stream does not have is zero.
///
/// # Errors
/// Those of [`Reader::section`], [`SnapshotError::Impossible`] and [`SnapshotError::Access`]
pub fn load(
    pieces: &mut [Piece],
    reader: &mut Reader<impl Read>,
    progress: &Progress,
) -> Result<(), SnapshotError> {
    let mut read = 0;
    let mut loading: Option<Loading<'_>> = None;
    let mut left = pieces.iter_mut();
    loop {
        let sections = reader.sections();
        let (kind, payload) = reader.section()?;
        match kind {
            Kind::Contents => {
                let (head, some) = Contents::ref_from_prefix(payload)
                    .map_err(|_| SnapshotError::Impossible("bytes have no place"))?;
                while !loading.as_ref().is_some_and(|now| now.is_of(head)) {
                    if let Some(done) = loading.take() {
                        done.finish(progress)?;
                    }
                    // They come in the order in which they were described.
                    let next = left.next();
                    let next = next.ok_or(SnapshotError::Impossible("bytes are nobody's"))?;
                    loading = Some(Loading::begin(next)?);
                }
                if let Some(now) = &mut loading {
                    now.take(head.offset.get(), some, progress)?;
                }
                read += u64::try_from(some.len()).unwrap_or(0);
            }
            Kind::End => {
                let end = End::ref_from_bytes(payload)
                    .map_err(|_| SnapshotError::Impossible("its end is none"))?;
                if end.sections.get() != sections || end.bytes.get() != read {
                    return Err(SnapshotError::Impossible("its end does not agree with it"));
                }
                break;
            }
            _ => return Err(SnapshotError::Impossible("a section is out of place")),
        }
    }
    if let Some(done) = loading {
        done.finish(progress)?;
    }
    for piece in left {
        Loading::begin(piece)?.finish(progress)?;
    }
    reader.expect_end()
}

/// A piece that is written to.
struct Loading<'a> {
    piece: &'a mut Piece,
    /// Whether it has been written to, and has a bracket.
    is_open: bool,
    position: u64,
}

impl<'a> Loading<'a> {
    fn begin(piece: &'a mut Piece) -> Result<Self, SnapshotError> {
        let mut loading = Self {
            piece,
            is_open: false,
            position: 0,
        };
        if !loading.piece.bytes().is_new_zeroed() {
            loading.open()?;
        }
        Ok(loading)
    }

    fn open(&mut self) -> Result<(), SnapshotError> {
        if !self.is_open {
            let failed = self.piece.failed();
            let bytes = self.piece.bytes();
            bytes.begin(Access::WRITE, &patience()).map_err(failed)?;
            self.is_open = true;
        }
        Ok(())
    }

    fn is_of(&self, head: &Contents) -> bool {
        (self.piece.kind.to_wire(), self.piece.id) == (head.kind.get(), head.id.get())
    }

    fn take(&mut self, offset: u64, some: &[u8], progress: &Progress) -> Result<(), SnapshotError> {
        let len = u64::try_from(some.len()).unwrap_or(u64::MAX);
        let end = offset.checked_add(len);
        let size = self.piece.bytes().size();
        let end = end.filter(|end| offset >= self.position && *end <= size);
        let end = end.ok_or(SnapshotError::Impossible("bytes are out of place"))?;
        let written = self.open().and_then(|()| {
            self.zero_until(offset)?;
            let failed = self.piece.failed();
            self.piece.bytes().write(offset, some).map_err(failed)
        });
        if let Err(error) = written {
            let _ = self.close();
            return Err(error);
        }
        progress.advance(end - self.position);
        self.position = end;
        Ok(())
    }

    fn zero_until(&mut self, end: u64) -> Result<(), SnapshotError> {
        if self.piece.bytes().is_new_zeroed() {
            return Ok(());
        }
        let failed = self.piece.failed();
        let mut position = self.position;
        while position < end {
            let len = usize::try_from(end - position).unwrap_or(usize::MAX);
            let zeros = ZEROS.get(..len.min(CHUNK)).unwrap_or_default();
            let bytes = self.piece.bytes();
            bytes.write(position, zeros).map_err(&failed)?;
            position += u64::try_from(zeros.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn finish(mut self, progress: &Progress) -> Result<(), SnapshotError> {
        let size = self.piece.bytes().size();
        let zeroed = self.zero_until(size);
        progress.advance(size.saturating_sub(self.position));
        let closed = self.close();
        zeroed.and(closed)
    }

    fn close(&mut self) -> Result<(), SnapshotError> {
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        let failed = self.piece.failed();
        self.piece.bytes().end(&patience()).map_err(failed)
    }
}

/// A load that fails leaves no access open.
impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(id: u32, bytes: Vec<u8>) -> Piece {
        Piece {
            kind: ContentsKind::Image,
            id,
            store: Store::Image(Pixels(bytes.into())),
        }
    }

    fn saved(pieces: &mut [Piece]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        save(pieces, &mut writer, &Progress::default()).unwrap();
        writer.finish().unwrap()
    }

    fn loaded(stream: &[u8], sizes: &[usize]) -> Result<Vec<Vec<u8>>, SnapshotError> {
        let mut pieces: Vec<Piece> = (0..)
            .zip(sizes)
            .map(|(id, size)| piece(id, vec![0; *size]))
            .collect();
        load(&mut pieces, &mut Reader::new(stream)?, &Progress::default())?;
        let bytes = |piece: Piece| match piece.store {
            Store::Image(pixels) => pixels.0.into_vec(),
            Store::Memory(_) => Vec::new(),
        };
        Ok(pieces.into_iter().map(bytes).collect())
    }

    fn sample() -> Vec<Vec<u8>> {
        let mut sparse = vec![0; 5 << 20];
        sparse[(3 << 20) + 7] = 9;
        sparse[CHUNK - 1] = 1;
        sparse[CHUNK] = 2;
        vec![vec![0; 1 << 20], sparse, vec![7; PAGE + 100], vec![]]
    }

    #[test]
    fn bytes_come_back_and_zero_pages_cost_nothing() {
        let all = sample();
        let mut pieces: Vec<Piece> = (0..)
            .zip(&all)
            .map(|(id, bytes)| piece(id, bytes.clone()))
            .collect();
        let stream = saved(&mut pieces);
        assert!(stream.len() < 6 * PAGE, "{}", stream.len());
        let sizes: Vec<usize> = all.iter().map(Vec::len).collect();
        assert_eq!(loaded(&stream, &sizes).unwrap(), all);
    }

    #[test]
    fn bytes_that_are_nobodys_or_do_not_fit_are_refused() {
        let stream = saved(&mut [piece(0, vec![1; PAGE]), piece(1, vec![2; PAGE])]);
        for sizes in [&[PAGE][..], &[PAGE, PAGE - 1], &[0, PAGE], &[]] {
            let error = loaded(&stream, sizes).unwrap_err();
            assert!(matches!(error, SnapshotError::Impossible(_)), "{error:?}");
        }
    }
}
