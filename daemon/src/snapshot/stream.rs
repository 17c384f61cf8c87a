//! Sections, written and read one at a time through a buffer of a fixed size.

use std::io::{self, ErrorKind, Read, Write};

use coherd_protocol::state::{Header, Kind, MAGIC, MAX_SECTION, SectionHead, VERSION};
use crc32fast::Hasher;
use zerocopy::{FromZeros, IntoBytes};

use super::error::SnapshotError;

/// Bytes of a head that its checksum covers.
const HEADER_SUMMED: usize = size_of::<Header>() - size_of::<u32>();
const HEAD_SUMMED: usize = size_of::<SectionHead>() - size_of::<u32>();

/// Writes sections.
pub struct Writer<W> {
    out: W,
    sections: u32,
}

impl<W: Write> Writer<W> {
    /// Begins a stream.
    ///
    /// # Errors
    /// [`SnapshotError::Transfer`]
    pub fn new(mut out: W) -> Result<Self, SnapshotError> {
        let mut header = Header {
            magic: MAGIC,
            version: VERSION.into(),
            ..Header::new_zeroed()
        };
        header.crc = header_sum(&header).into();
        out.write_all(header.as_bytes())?;
        Ok(Self { out, sections: 0 })
    }

    /// Writes a section, whose payload is all of `parts`.
    ///
    /// # Errors
    /// [`SnapshotError::Transfer`]
    pub fn section(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<(), SnapshotError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MAX_SECTION {
            return Err(SnapshotError::Impossible("a section is too long"));
        }
        let mut head = SectionHead {
            kind: kind.to_wire().into(),
            sequence: self.sections.into(),
            length: u64::try_from(length).unwrap_or(u64::MAX).into(),
            ..SectionHead::new_zeroed()
        };
        head.crc = section_sum(&head, parts).into();
        self.out.write_all(head.as_bytes())?;
        for part in parts {
            self.out.write_all(part)?;
        }
        let overflow = SnapshotError::Impossible("there are too many sections");
        self.sections = self.sections.checked_add(1).ok_or(overflow)?;
        Ok(())
    }

    /// Sections so far.
    pub fn sections(&self) -> u64 {
        self.sections.into()
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// [`SnapshotError::Transfer`]
    pub fn finish(mut self) -> Result<W, SnapshotError> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads sections.
pub struct Reader<R> {
    input: R,
    sections: u32,
    payload: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Begins a stream.
    ///
    /// # Errors
    /// [`SnapshotError::NotAState`], [`SnapshotError::Newer`] and [`SnapshotError::Damaged`]
    pub fn new(mut input: R) -> Result<Self, SnapshotError> {
        let mut header = Header::new_zeroed();
        fill(&mut input, header.as_mut_bytes(), 0).map_err(|error| match error {
            SnapshotError::Truncated(_) => SnapshotError::NotAState,
            error => error,
        })?;
        if header.magic != MAGIC {
            return Err(SnapshotError::NotAState);
        }
        let version = header.version.get();
        if version > VERSION {
            return Err(SnapshotError::Newer {
                found: version,
                known: VERSION,
            });
        }
        if header.crc.get() != header_sum(&header) {
            return Err(SnapshotError::Damaged(0));
        }
        let is_known = version == VERSION && header.flags.get() == 0;
        if !is_known || header.reserved.get() != 0 {
            return Err(SnapshotError::Impossible(
                "a version or flag that never was",
            ));
        }
        Ok(Self {
            input,
            sections: 0,
            payload: Vec::new(),
        })
    }

    /// Reads the next section, whose checksum is right.
    ///
    /// # Errors
    /// [`SnapshotError::Truncated`], [`SnapshotError::Damaged`], [`SnapshotError::Impossible`] and
    /// [`SnapshotError::Transfer`]
    pub fn section(&mut self) -> Result<(Kind, &[u8]), SnapshotError> {
        let place = u64::from(self.sections);
        let mut head = SectionHead::new_zeroed();
        fill(&mut self.input, head.as_mut_bytes(), place)?;
        let length = usize::try_from(head.length.get()).unwrap_or(usize::MAX);
        if length > MAX_SECTION {
            return Err(SnapshotError::Damaged(place));
        }
        self.payload.resize(length, 0);
        fill(&mut self.input, &mut self.payload, place)?;
        if head.crc.get() != section_sum(&head, &[&self.payload]) {
            return Err(SnapshotError::Damaged(place));
        }
        if head.sequence.get() != self.sections || head.reserved.get() != 0 {
            return Err(SnapshotError::Impossible("sections are out of order"));
        }
        let kind = Kind::from_wire(head.kind.get());
        let kind = kind.ok_or(SnapshotError::Impossible("a section is of no known kind"))?;
        self.sections = self.sections.saturating_add(1);
        Ok((kind, &self.payload))
    }

    /// Sections so far.
    pub fn sections(&self) -> u64 {
        self.sections.into()
    }

    /// Makes sure that nothing follows.
    ///
    /// # Errors
    /// [`SnapshotError::Impossible`]
    pub fn expect_end(&mut self) -> Result<(), SnapshotError> {
        match fill(&mut self.input, &mut [0], 0) {
            Err(SnapshotError::Truncated(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(SnapshotError::Impossible("bytes follow its end")),
        }
    }
}

fn fill(input: &mut impl Read, bytes: &mut [u8], place: u64) -> Result<(), SnapshotError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => SnapshotError::Truncated(place),
        _ => transfer(error),
    })
}

/// The error of a stream that may carry one of ours.
fn transfer(error: io::Error) -> SnapshotError {
    match error.downcast::<SnapshotError>() {
        Ok(error) => error,
        Err(error) => SnapshotError::Transfer(error),
    }
}

fn header_sum(header: &Header) -> u32 {
    crc32fast::hash(header.as_bytes().get(..HEADER_SUMMED).unwrap_or_default())
}

fn section_sum(head: &SectionHead, parts: &[&[u8]]) -> u32 {
    let mut sum = Hasher::new();
    sum.update(head.as_bytes().get(..HEAD_SUMMED).unwrap_or_default());
    for part in parts {
        sum.update(part);
    }
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.section(Kind::Device, &[b"abc", b"de"]).unwrap();
        writer.section(Kind::End, &[]).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Kind, Vec<u8>)>, SnapshotError> {
        let mut reader = Reader::new(bytes)?;
        let mut sections = Vec::new();
        loop {
            let (kind, payload) = reader.section()?;
            sections.push((kind, payload.to_vec()));
            if kind == Kind::End {
                reader.expect_end()?;
                return Ok(sections);
            }
        }
    }

    #[test]
    fn sections_come_back_in_order() {
        let expected = [(Kind::Device, b"abcde".to_vec()), (Kind::End, Vec::new())];
        assert_eq!(read(&stream()).unwrap(), expected);
    }

    #[test]
    fn stream_that_is_cut_or_goes_on_is_refused_wherever_that_is() {
        let whole = stream();
        for len in 0..whole.len() {
            let error = read(&whole[..len]).unwrap_err();
            let is_cut = matches!(
                error,
                SnapshotError::Truncated(_) | SnapshotError::NotAState
            );
            assert!(is_cut, "{error:?}");
        }
        let error = read(&[whole, vec![0]].concat()).unwrap_err();
        assert!(matches!(error, SnapshotError::Impossible(_)));
    }

    #[test]
    fn no_bit_can_change_without_being_noticed() {
        let whole = stream();
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn newer_version_is_told_from_damage() {
        let mut newer = stream();
        newer[8] = 2;
        let error = read(&newer).unwrap_err();
        assert!(matches!(error, SnapshotError::Newer { found: 2, known: 1 }));
    }
}
