//! Standard output of a program that others read from.

use std::io::{self, ErrorKind, Write};

/// An output whose reader may hang up: what it does not want is left out, and what is done besides
/// is done to its end.
#[derive(Debug)]
pub struct Output<W>(pub W);

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wanted(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        wanted(self.0.flush(), ())
    }
}

fn wanted<T>(written: io::Result<T>, all: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(all),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_that_hung_up_is_no_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut output = Output(writer);
        output.write_all(b"text").unwrap();
        output.flush().unwrap();
    }

    #[test]
    fn full_disk_is_an_error() {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let error = Output(full.unwrap()).write_all(b"text").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
