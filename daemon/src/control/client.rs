//! The end of `coherd ctl`.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::io::retry_on_intr;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{ControlError, DONE, END_OF_METRICS, ERROR, METRICS, PROGRESS, SAVE};

/// Has the coherd at `path` write its device's state to `file`. `tell` is told of bytes that are
/// done, of how many.
///
/// # Errors
/// See [`ControlError`]; what is in `file` is of no use then.
pub fn save(path: &Path, file: &File, mut tell: impl FnMut(u64, u64)) -> Result<(), ControlError> {
    let server = connect(path)?;
    send(&server, file)?;
    for line in BufReader::new(server).lines() {
        let line = line?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            DONE => return Ok(()),
            ERROR => return Err(ControlError::Refused(printable(rest))),
            PROGRESS => {
                let numbers = rest.split_once(' ');
                let numbers = numbers.map(|(done, total)| (done.parse(), total.parse()));
                if let Some((Ok(done), Ok(total))) = numbers {
                    tell(done, total);
                }
            }
            _ => {}
        }
    }
    Err(hung_up())
}

/// What happens to the device of the coherd at `path`, as OpenMetrics text.
///
/// # Errors
/// See [`ControlError`].
pub fn metrics(path: &Path) -> Result<String, ControlError> {
    let mut server = connect(path)?;
    server.write_all(METRICS)?;
    let mut text = String::new();
    server.read_to_string(&mut text)?;
    let last = text.lines().next_back().unwrap_or_default();
    match last.split_once(' ') {
        _ if last == END_OF_METRICS => Ok(text),
        Some((ERROR, why)) => Err(ControlError::Refused(printable(why))),
        _ => Err(hung_up()),
    }
}

fn connect(path: &Path) -> Result<UnixStream, ControlError> {
    UnixStream::connect(path).map_err(|source| ControlError::Connect {
        path: path.into(),
        source,
    })
}

fn hung_up() -> ControlError {
    std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()
}

fn send(server: &UnixStream, file: &File) -> std::io::Result<()> {
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    retry_on_intr(|| {
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let bytes = [IoSlice::new(SAVE)];
        sendmsg(server, &bytes, &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '_' } else { c };
    text.chars().map(shown).collect()
}
