//! The driver: commands in, answers out.

use std::collections::BTreeMap;
use std::time::Duration;

use coherd_protocol::gpu::header::{Fence, Header, Timeline};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::answer::Answer;
use super::descriptor::Buffer;
use super::error::DriverError;
use super::pages::Pages;
use super::port::{Port, Shape, Submission};
use super::request::Request;
use super::virtqueue::Virtqueue;
use crate::frontend::{Deadline, Frontend, RING_BYTES};

/// Room for the answer of a command that has no data.
const NO_DATA: u32 = 24;

/// One of the two queues of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Queue 0.
    Control,
    /// Queue 1.
    Cursor,
}

/// A command in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    queue: QueueKind,
    id: u64,
}

/// A virtio-gpu driver on the queues of a front-end that was started.
///
/// After a reset a new one takes its place; after a stop and resume the same one goes on.
#[derive(Debug)]
pub struct Gpu {
    control: Port,
    cursor: Port,
    pages: Pages,
    shape: Shape,
    done: BTreeMap<u64, Answer>,
    next_id: u64,
    next_fence: u64,
    position: u64,
    patience: Duration,
}

impl Gpu {
    /// A driver on the first two queues of `frontend`.
    ///
    /// # Errors
    /// [`DriverError::NoQueue`].
    pub fn new(frontend: &Frontend) -> Result<Self, DriverError> {
        let event_idx = frontend.features() & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        let memory = frontend.memory();
        let port = |index: usize| {
            let ring = frontend
                .rings()
                .get(index)
                .ok_or(DriverError::NoQueue(index))?;
            let queue = Virtqueue::new(memory.clone(), ring.layout(), event_idx);
            Ok::<_, DriverError>(Port::new(queue, ring.clone()))
        };
        let reserved = frontend.rings().len() as u64 * RING_BYTES;
        Ok(Self {
            control: port(0)?,
            cursor: port(1)?,
            pages: Pages::new(memory, reserved),
            shape: Shape::WHOLE,
            done: BTreeMap::new(),
            next_id: 0,
            next_fence: 1,
            position: 0,
            patience: frontend.timeout(),
        })
    }

    /// The driver goes on with the same queues on another front-end.
    ///
    /// # Errors
    /// [`DriverError::NoQueue`].
    pub fn move_to(&mut self, frontend: &Frontend) -> Result<(), DriverError> {
        for (index, port) in [&mut self.control, &mut self.cursor]
            .into_iter()
            .enumerate()
        {
            let ring = frontend.rings().get(index);
            port.move_to(ring.ok_or(DriverError::NoQueue(index))?.clone());
        }
        Ok(())
    }

    /// Chooses how the commands to come lie in descriptors.
    pub fn set_shape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// A fence on `timeline` with the next number of the driver's one counter.
    pub fn next_fence(&mut self, timeline: Timeline) -> Fence {
        let id = self.next_fence;
        self.next_fence += 1;
        Fence { id, timeline }
    }

    /// Puts a command on the control queue, with room for `capacity` bytes of answer.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn send(&mut self, command: &[u8], capacity: u32) -> Result<Token, DriverError> {
        self.send_on(QueueKind::Control, command, capacity)
    }

    /// Puts a command on either queue, with room for `capacity` bytes of answer.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn send_on(
        &mut self,
        queue: QueueKind,
        command: &[u8],
        capacity: u32,
    ) -> Result<Token, DriverError> {
        let id = self.next_id;
        self.next_id += 1;
        let submission = Submission {
            id,
            bytes: command,
            capacity,
            shape: self.shape,
        };
        let port = match queue {
            QueueKind::Control => &mut self.control,
            QueueKind::Cursor => &mut self.cursor,
        };
        port.submit(&mut self.pages, submission)?;
        Ok(Token { queue, id })
    }

    /// Puts a command without data in its answer on the control queue.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn submit(&mut self, request: &Request) -> Result<Token, DriverError> {
        self.send(&request.to_bytes(), NO_DATA)
    }

    /// Waits for the answer to one command; others that come meanwhile are kept.
    ///
    /// # Errors
    /// [`DriverError::Timeout`], after which the token can be waited for again.
    pub fn wait(&mut self, token: Token, deadline: Deadline) -> Result<Answer, DriverError> {
        loop {
            self.collect()?;
            if let Some(answer) = self.done.remove(&token.id) {
                return Ok(answer);
            }
            if token.id >= self.next_id {
                return Err(DriverError::UnknownToken(token.id));
            }
            let port = match token.queue {
                QueueKind::Control => &self.control,
                QueueKind::Cursor => &self.cursor,
            };
            if !port.wait(deadline)? && deadline.passed() {
                return Err(DriverError::Timeout);
            }
        }
    }

    /// The answer to a command, if it is there; never waits.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn try_take(&mut self, token: Token) -> Result<Option<Answer>, DriverError> {
        self.collect()?;
        Ok(self.done.remove(&token.id))
    }

    /// Sends a command on the control queue and waits for its answer, as long as the front-end
    /// waits for anything.
    ///
    /// # Errors
    /// See [`DriverError`]. An error of the device is an answer, not an error.
    pub fn call(&mut self, request: &Request, capacity: u32) -> Result<Answer, DriverError> {
        let token = self.send(&request.to_bytes(), capacity)?;
        let deadline = self.patience();
        self.wait(token, deadline)
    }

    /// Sends a command that has no data in its answer and fails unless the device accepts it.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn run(&mut self, request: &Request) -> Result<Answer, DriverError> {
        self.call(request, NO_DATA)?.expect_code(0x1100)
    }

    /// Guest pages with `bytes` in them, as one buffer.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn buffer(&mut self, bytes: &[u8]) -> Result<Buffer, DriverError> {
        let len = u32::try_from(bytes.len()).map_err(|_| DriverError::TooLong(bytes.len()))?;
        let addr = self.pages.alloc(len.into())?;
        self.memory().write_slice(bytes, addr)?;
        Ok(Buffer { addr, len })
    }

    /// What lies in a buffer.
    ///
    /// # Errors
    /// [`DriverError::Memory`].
    pub fn read_buffer(&self, buffer: Buffer) -> Result<Vec<u8>, DriverError> {
        let mut bytes = vec![0; buffer.len as usize];
        self.memory().read_slice(&mut bytes, buffer.addr)?;
        Ok(bytes)
    }

    /// A guest page for chains built by hand.
    ///
    /// # Errors
    /// [`DriverError::OutOfPages`].
    pub fn page(&mut self) -> Result<GuestAddress, DriverError> {
        self.pages.alloc(1)
    }

    /// The queue itself, for what no correct driver does. Kick with [`Self::kick`].
    pub fn queue(&mut self, queue: QueueKind) -> &mut Virtqueue {
        match queue {
            QueueKind::Control => &mut self.control.queue,
            QueueKind::Cursor => &mut self.cursor.queue,
        }
    }

    /// Kicks a queue if the device wants that.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn kick(&mut self, queue: QueueKind) -> Result<(), DriverError> {
        match queue {
            QueueKind::Control => self.control.kick_if_wanted(),
            QueueKind::Cursor => self.cursor.kick_if_wanted(),
        }
    }

    /// Guest RAM.
    pub fn memory(&self) -> &GuestMemoryMmap {
        self.control.queue.memory()
    }

    /// How long commands may take that are waited for without a deadline of their own.
    pub(super) fn patience(&self) -> Deadline {
        Deadline::after(self.patience)
    }

    fn collect(&mut self) -> Result<(), DriverError> {
        for port in [&mut self.control, &mut self.cursor] {
            let answers = port.collect(&mut self.pages, &mut self.position)?;
            self.done.extend(answers);
        }
        Ok(())
    }
}

/// Room for an answer with `data` bytes after the header.
pub(super) fn room_for(data: usize) -> u32 {
    u32::try_from(Header::LEN + data).unwrap_or(u32::MAX)
}
