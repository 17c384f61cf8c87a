//! One queue with the buffers of what is in flight on it.

use std::collections::BTreeMap;

use vm_memory::{Bytes, GuestAddress};

use super::answer::Answer;
use super::descriptor::{Buffer, Descriptor};
use super::error::DriverError;
use super::pages::{PAGE, Pages};
use super::virtqueue::{Used, Virtqueue};
use crate::frontend::{Deadline, Ring};

/// How commands lie in descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether chains go through an indirect table.
    pub indirect: bool,
    /// Bytes per descriptor, at most.
    pub piece: u32,
}

impl Shape {
    /// One descriptor for the request and one for the response.
    pub const WHOLE: Self = Self {
        indirect: false,
        piece: u32::MAX,
    };
}

#[derive(Debug)]
struct InFlight {
    id: u64,
    command: u32,
    response: Option<Buffer>,
    pages: Vec<(GuestAddress, u64)>,
}

/// One queue with the buffers of what is in flight on it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) queue: Virtqueue,
    ring: Ring,
    in_flight: BTreeMap<u16, InFlight>,
}

/// A command and the room for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submission<'a> {
    pub(super) id: u64,
    pub(super) bytes: &'a [u8],
    pub(super) capacity: u32,
    pub(super) shape: Shape,
}

impl Port {
    pub(super) fn new(queue: Virtqueue, ring: Ring) -> Self {
        Self {
            queue,
            ring,
            in_flight: BTreeMap::new(),
        }
    }

    pub(super) fn move_to(&mut self, ring: Ring) {
        self.ring = ring;
    }

    pub(super) fn submit(
        &mut self,
        pages: &mut Pages,
        submission: Submission<'_>,
    ) -> Result<(), DriverError> {
        let mut held = Vec::new();
        let result = self.fill(pages, submission, &mut held);
        match result {
            Ok((head, response)) => {
                let command = submission
                    .bytes
                    .first_chunk()
                    .map_or(0, |word| u32::from_le_bytes(*word));
                let in_flight = InFlight {
                    id: submission.id,
                    command,
                    response,
                    pages: held,
                };
                self.in_flight.insert(head, in_flight);
                self.kick_if_wanted()
            }
            Err(error) => {
                release(pages, held);
                Err(error)
            }
        }
    }

    fn fill(
        &mut self,
        pages: &mut Pages,
        submission: Submission<'_>,
        held: &mut Vec<(GuestAddress, u64)>,
    ) -> Result<(u16, Option<Buffer>), DriverError> {
        let Submission {
            bytes,
            capacity,
            shape,
            ..
        } = submission;
        let mut hold = |len: u64| {
            let addr = pages.alloc(len)?;
            held.push((addr, len));
            Ok::<_, DriverError>(addr)
        };
        let len = u32::try_from(bytes.len()).map_err(|_| DriverError::TooLong(bytes.len()))?;
        let addr = hold(len.into())?;
        self.queue.memory().write_slice(bytes, addr)?;
        let read = split(Buffer { addr, len }, shape.piece);
        let response = match capacity {
            0 => None,
            len => Some(Buffer {
                addr: hold(len.into())?,
                len,
            }),
        };
        let write: Vec<Buffer> = response
            .into_iter()
            .flat_map(|buffer| split(buffer, shape.piece))
            .collect();
        let head = if shape.indirect {
            let entries = (read.len() + write.len()) as u64;
            let table = hold((entries * Descriptor::LEN).max(PAGE))?;
            self.queue.add_indirect(table, &read, &write)?
        } else {
            self.queue.add(&read, &write)?
        };
        Ok((head, response))
    }

    pub(super) fn kick_if_wanted(&mut self) -> Result<(), DriverError> {
        if self.queue.needs_kick()? {
            self.ring.kick()?;
        }
        Ok(())
    }

    /// Takes every answer that is there.
    pub(super) fn collect(
        &mut self,
        pages: &mut Pages,
        position: &mut u64,
    ) -> Result<Vec<(u64, Answer)>, DriverError> {
        let mut answers = Vec::new();
        while let Some(used) = self.queue.pop()? {
            // Chains built by hand are not the port's.
            if let Some(in_flight) = self.in_flight.remove(&used.head) {
                let answer = self.answer(&in_flight, used, *position)?;
                *position += 1;
                answers.push((in_flight.id, answer));
                release(pages, in_flight.pages);
            }
        }
        Ok(answers)
    }

    fn answer(
        &self,
        in_flight: &InFlight,
        used: Used,
        position: u64,
    ) -> Result<Answer, DriverError> {
        let room = in_flight.response.map_or(0, |buffer| buffer.len);
        let mut bytes = vec![0; room.min(used.len) as usize];
        if let Some(response) = in_flight.response {
            self.queue.memory().read_slice(&mut bytes, response.addr)?;
        }
        Ok(Answer {
            command: in_flight.command,
            bytes,
            used: used.len,
            position,
        })
    }

    /// Waits for an interrupt unless something was returned already; `false` after the deadline.
    pub(super) fn wait(&self, deadline: Deadline) -> Result<bool, DriverError> {
        Ok(self.queue.enable_interrupt()? || self.ring.wait_call(deadline)?)
    }
}

fn split(buffer: Buffer, piece: u32) -> Vec<Buffer> {
    let step = usize::try_from(piece.max(1)).unwrap_or(usize::MAX);
    (0..buffer.len)
        .step_by(step)
        .map(|offset| Buffer {
            addr: GuestAddress(buffer.addr.0 + u64::from(offset)),
            len: (buffer.len - offset).min(piece.max(1)),
        })
        .collect()
}

fn release(pages: &mut Pages, held: Vec<(GuestAddress, u64)>) {
    for (addr, len) in held {
        pages.free(addr, len);
    }
}
