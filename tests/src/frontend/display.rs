//! The other end of the display socket, `docs/interop/vhost-user-gpu.rst` of QEMU: it tells a
//! backend what the display is and logs what the backend shows.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use coherd_protocol::gpu::Response;
use coherd_protocol::gpu::wire::{DisplayOne, Rect};

use super::deadline::Deadline;
use super::log::{Event, Log};
use super::message::{self, Header, Incoming, MessageError, u32_at};

/// Pixels of the one display.
const SIZE: (u32, u32) = (1280, 800);

/// VHOST_USER_GPU_PROTOCOL_F_EDID and DMABUF2, which QEMU 11.1 has.
const PROTOCOL_FEATURES: u64 = 0b11;

/// Largest payload: an update of 4096 by 4096 pixels.
const MAX_PAYLOAD: u32 = (64 << 20) + 20;

/// How long the rest of a message may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests, `enum VhostUserGpuRequest`.
mod request {
    pub const GET_PROTOCOL_FEATURES: u32 = 1;
    pub const GET_DISPLAY_INFO: u32 = 3;
    pub const CURSOR_POS: u32 = 4;
    pub const CURSOR_POS_HIDE: u32 = 5;
    pub const CURSOR_UPDATE: u32 = 6;
    pub const SCANOUT: u32 = 7;
    pub const UPDATE: u32 = 8;
    pub const DMABUF_SCANOUT: u32 = 9;
    pub const DMABUF_UPDATE: u32 = 10;
    pub const GET_EDID: u32 = 11;
    pub const DMABUF_SCANOUT2: u32 = 12;
}

/// Something the backend shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The cursor moved.
    CursorMoved {
        /// Scanout, x and y in pixels.
        position: [u32; 3],
    },
    /// The cursor was hidden.
    CursorHidden,
    /// The cursor has a new image.
    Cursor {
        /// Scanout, x and y in pixels.
        position: [u32; 3],
        /// Hot spot, x and y in pixels of the image.
        hot_spot: [u32; 2],
        /// 64 by 64 pixels, a8r8g8b8.
        pixels: Vec<u8>,
    },
    /// A scanout changed its size; 0 by 0 turns it off.
    Scanout {
        /// Scanout, width and height in pixels.
        scanout: [u32; 3],
    },
    /// Pixels of a scanout changed.
    Update {
        /// Scanout, x, y, width and height in pixels.
        area: [u32; 5],
        /// Rows without gaps, x8r8g8b8.
        pixels: Vec<u8>,
    },
    /// A scanout shows a dma-buf.
    Dmabuf,
    /// The dma-buf of a scanout changed.
    DmabufUpdate,
}

/// A display that can be plugged in.
#[derive(Debug)]
pub(super) struct Display {
    log: Arc<Log>,
    plug: Option<(UnixStream, JoinHandle<()>)>,
}

impl Display {
    pub(super) fn new(log: Arc<Log>) -> Self {
        Self { log, plug: None }
    }

    /// Serves a fresh socket, the backend's end of which is returned.
    pub(super) fn plug(&mut self) -> io::Result<UnixStream> {
        self.unplug();
        let (ours, theirs) = UnixStream::pair()?;
        let (stream, log) = (ours.try_clone()?, Arc::clone(&self.log));
        let thread = thread::Builder::new()
            .name("display".to_owned())
            .spawn(move || {
                // Whatever a backend does wrong here shows in what is missing from the log.
                while serve_one(&stream, &log).is_ok() {}
            })?;
        self.plug = Some((ours, thread));
        Ok(theirs)
    }

    /// Hangs up.
    pub(super) fn unplug(&mut self) {
        if let Some((stream, thread)) = self.plug.take() {
            // A stream whose peer is gone cannot be shut down, and need not be.
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.unplug();
    }
}

fn serve_one(stream: &UnixStream, log: &Log) -> Result<(), MessageError> {
    let mut incoming = Incoming::default();
    while incoming.is_empty() {
        match incoming.receive_piece(stream, Header::LEN, Deadline::after(PATIENCE)) {
            // An idle backend.
            Err(MessageError::Timeout(_)) => {}
            result => result?,
        }
    }
    let deadline = Deadline::after(PATIENCE);
    incoming.receive(stream, Header::LEN, deadline)?;
    let header = incoming.header().ok_or(MessageError::Closed)?;
    if header.size > MAX_PAYLOAD {
        return Err(MessageError::Closed);
    }
    incoming.receive(stream, Header::LEN + header.size as usize, deadline)?;
    let (payload, _fds) = incoming.into_parts();
    let reply = match header.request {
        request::GET_PROTOCOL_FEATURES => Some(PROTOCOL_FEATURES.to_ne_bytes().to_vec()),
        request::GET_DISPLAY_INFO => Some(encode(&Response::DisplayInfo(vec![display_one()]))),
        // As QEMU, which leaves the backend waiting for a display that is not there.
        request::GET_EDID if word(&payload, 0) == 0 => {
            Some(encode(&Response::Edid(edid().to_vec())))
        }
        request::DMABUF_UPDATE => {
            log.push(Event::Shown(Shown::DmabufUpdate));
            Some(Vec::new())
        }
        request => {
            if let Some(shown) = shown(request, &payload) {
                log.push(Event::Shown(shown));
            }
            None
        }
    };
    let Some(reply) = reply else {
        return Ok(());
    };
    let header = Header {
        request: header.request,
        flags: Header::REPLY,
        size: u32::try_from(reply.len()).unwrap_or(0),
    };
    let bytes = [header.to_bytes().as_slice(), &reply].concat();
    message::send(stream, &bytes, &[], deadline)
}

fn shown(request: u32, payload: &[u8]) -> Option<Shown> {
    let pixels = |start: usize| payload.get(start..).unwrap_or_default().to_vec();
    match request {
        request::CURSOR_POS => Some(Shown::CursorMoved {
            position: words(payload, 0),
        }),
        request::CURSOR_POS_HIDE => Some(Shown::CursorHidden),
        request::CURSOR_UPDATE => Some(Shown::Cursor {
            position: words(payload, 0),
            hot_spot: words(payload, 3),
            pixels: pixels(20),
        }),
        request::SCANOUT => Some(Shown::Scanout {
            scanout: words(payload, 0),
        }),
        request::UPDATE => Some(Shown::Update {
            area: words(payload, 0),
            pixels: pixels(20),
        }),
        request::DMABUF_SCANOUT | request::DMABUF_SCANOUT2 => Some(Shown::Dmabuf),
        _ => None,
    }
}

fn word(payload: &[u8], index: usize) -> u32 {
    u32_at(payload, 4 * index).unwrap_or(0)
}

fn words<const N: usize>(payload: &[u8], first: usize) -> [u32; N] {
    std::array::from_fn(|index| word(payload, first + index))
}

fn encode(response: &Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    response.encode(&coherd_protocol::gpu::Header::default(), &mut bytes);
    bytes
}

fn display_one() -> DisplayOne {
    let (width, height) = SIZE;
    DisplayOne {
        rect: Rect {
            x: 0.into(),
            y: 0.into(),
            width: width.into(),
            height: height.into(),
        },
        enabled: 1.into(),
        flags: 0.into(),
    }
}

/// The smallest valid EDID, VESA E-EDID 1.4: its header, its version and a checksum.
fn edid() -> [u8; 128] {
    let mut block = [0; 128];
    block[1..7].fill(0xff);
    block[18..20].copy_from_slice(&[1, 4]);
    let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    block[127] = 0u8.wrapping_sub(sum);
    block
}
