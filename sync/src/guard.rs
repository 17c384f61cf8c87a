//! Guards: the bytes of a bracket as long as it is open.
//!
//! A guard that is dropped ends its bracket, also when a panic unwinds.

use std::io::{self, Read, Write};

use crate::bracket::Bracket;
use crate::error::SyncError;

/// Bytes that are copied at once between files and mapped memory.
const CHUNK: usize = 64 << 10;

macro_rules! guard {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug)]
        #[must_use = "the bracket ends when the guard is dropped"]
        pub struct $name<'m>(Bracket<'m>);

        impl<'m> $name<'m> {
            pub(crate) fn new(bracket: Bracket<'m>) -> Self {
                Self(bracket)
            }

            /// How many bytes the bracket has.
            #[must_use]
            pub fn len(&self) -> usize {
                self.0.bytes().len()
            }

            /// Whether it has none, which no bracket is.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Where they are mapped, for those who access them by other means: only while the
            /// guard lives, only as it allows, and with an eye to others who do so too.
            #[must_use]
            pub fn as_ptr(&self) -> *mut u8 {
                self.0.bytes().as_ptr()
            }

            /// Ends the bracket and says whether that worked. After an error it is not open
            /// either, but what was written may not have arrived.
            ///
            /// # Errors
            /// See [`SyncError`].
            pub fn end(self) -> Result<(), SyncError> {
                self.0.end()
            }
        }
    };
}

macro_rules! reads {
    ($name:ident) => {
        impl $name<'_> {
            /// Copies the bytes from `offset` on to `out`. The other side can change them at any
            /// time: what was copied is what to look at.
            ///
            /// # Errors
            /// [`SyncError::OutOfRange`]; nothing is copied.
            pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> Result<(), SyncError> {
                self.0.bytes().load(offset, out)
            }

            /// A copy of all bytes.
            #[must_use]
            pub fn to_vec(&self) -> Vec<u8> {
                let mut out = vec![0; self.len()];
                let copied = self.copy_to(0, &mut out);
                debug_assert!(copied.is_ok(), "the whole bracket is inside it");
                out
            }

            /// Writes all bytes to `out`.
            ///
            /// # Errors
            /// Those of `out`.
            pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
                let mut chunk = vec![0; CHUNK.min(self.len())];
                let mut offset = 0;
                while offset < self.len() {
                    let len = CHUNK.min(self.len() - offset);
                    let chunk = chunk.get_mut(..len).unwrap_or_default();
                    self.copy_to(offset, chunk).map_err(io::Error::other)?;
                    out.write_all(chunk)?;
                    offset += len;
                }
                Ok(())
            }
        }
    };
}

macro_rules! writes {
    ($name:ident) => {
        impl $name<'_> {
            /// Copies `data` to the bytes from `offset` on.
            ///
            /// # Errors
            /// [`SyncError::OutOfRange`]; nothing is copied.
            pub fn copy_from(&mut self, offset: usize, data: &[u8]) -> Result<(), SyncError> {
                self.0.bytes().store(offset, data)
            }

            /// Reads all bytes from `source`.
            ///
            /// # Errors
            /// Those of `source`, and [`io::ErrorKind::UnexpectedEof`] if it has fewer.
            pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<()> {
                let mut chunk = vec![0; CHUNK.min(self.len())];
                let mut offset = 0;
                while offset < self.len() {
                    let len = CHUNK.min(self.len() - offset);
                    let chunk = chunk.get_mut(..len).unwrap_or_default();
                    source.read_exact(chunk)?;
                    self.copy_from(offset, chunk).map_err(io::Error::other)?;
                    offset += len;
                }
                Ok(())
            }
        }
    };
}

guard! {
    /// A bracket with READ.
    ReadGuard
}
reads!(ReadGuard);

guard! {
    /// A bracket with WRITE alone: every byte has to be written.
    WriteGuard
}
writes!(WriteGuard);

guard! {
    /// A bracket with READ and WRITE.
    ReadWriteGuard
}
reads!(ReadWriteGuard);
writes!(ReadWriteGuard);
