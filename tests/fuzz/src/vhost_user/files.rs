//! Files that a VMM may send along.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use arbitrary::{Result, Unstructured};
use coherd_tests::frontend::EventFd;
use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create, open};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::vmm::PAGE;

/// Bytes of an answer on the back channel.
const ANSWER: usize = 20;

/// Files of one connection.
#[derive(Debug)]
pub struct Files {
    ram: OwnedFd,
    kick: EventFd,
    /// Other ends of what was sent.
    peers: Vec<OwnedFd>,
}

impl Files {
    /// Files with `ram` as guest RAM.
    pub fn new(ram: OwnedFd) -> Self {
        Self {
            ram,
            kick: EventFd::new().expect("an eventfd"),
            peers: Vec::new(),
        }
    }

    /// Guest RAM.
    pub fn ram(&self) -> OwnedFd {
        duplicate(&self.ram)
    }

    /// A doorbell, the same each time.
    pub fn kick(&self) -> OwnedFd {
        duplicate(&self.kick)
    }

    /// The guest rings its doorbell.
    pub fn ring_doorbell(&self) {
        // A counter at its maximum is a kick too.
        let _ = self.kick.signal();
    }

    /// Draws a file of any kind.
    ///
    /// # Errors
    /// [`arbitrary::Error`] if the input ends.
    pub fn draw(&mut self, u: &mut Unstructured<'_>) -> Result<OwnedFd> {
        Ok(match u.int_in_range(0..=7u8)? {
            0 => self.ram(),
            1 => self.kick(),
            2 => memfd(PAGE * u.int_in_range(0..=4)?),
            3 => memfd(u.int_in_range(0..=2 * PAGE)?),
            4 => duplicate(EventFd::new().expect("an eventfd")),
            5 => self.channel(u)?,
            6 => {
                let (reader, writer) =
                    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe");
                self.peers.push(reader);
                writer
            }
            _ => open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .expect("/dev/null is everywhere"),
        })
    }

    /// A back channel with answers in it, behind which nobody is.
    ///
    /// # Errors
    /// [`arbitrary::Error`] if the input ends.
    pub fn channel(&mut self, u: &mut Unstructured<'_>) -> Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        for _ in 0..u.int_in_range(0..=4u8)? {
            let code = *u.choose(&[9, 10, 7, 0x109])?;
            let value = u.int_in_range(0..=3u64)?.saturating_sub(2);
            let answer = [
                u32::to_ne_bytes(code).as_slice(),
                &5u32.to_ne_bytes(),
                &8u32.to_ne_bytes(),
                &value.to_ne_bytes(),
            ]
            .concat();
            debug_assert_eq!(answer.len(), ANSWER);
            (&ours).write_all(&answer).expect("room in a fresh socket");
        }
        ours.shutdown(std::net::Shutdown::Write)
            .expect("a connected socket");
        self.peers.push(ours.into());
        Ok(theirs.into())
    }
}

fn memfd(size: u64) -> OwnedFd {
    let fd = memfd_create("file", MemfdFlags::CLOEXEC).expect("a memfd");
    ftruncate(&fd, size).expect("a memfd takes any size");
    fd
}

fn duplicate(fd: impl AsFd) -> OwnedFd {
    fd.as_fd().try_clone_to_owned().expect("a duplicate")
}
