//! Descriptor chains, right and wrong.

use arbitrary::{Result, Unstructured};
use vm_memory::GuestAddress;

use super::draw::one_in;
use super::slots::{Slot, TABLE};
use crate::driver::{Buffer, Descriptor};

const NEXT: u16 = Descriptor::NEXT;
const WRITE: u16 = Descriptor::WRITE;
const INDIRECT: u16 = Descriptor::INDIRECT;

/// Most pieces of a request or a response.
const PIECES: u8 = 4;

/// A chain to be put into a queue. `next` counts from the chain's first descriptor.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) descriptors: Vec<Descriptor>,
    /// Whether it goes through the slot's indirect table.
    pub(super) indirect: bool,
    /// Whether it says what its command is and where the answer goes.
    pub(super) sound: bool,
}

impl Chain {
    /// Draws a chain for a request of `len` bytes and `room` for its answer, both in `slot`. A
    /// tame one may be wrong, but makes the device write nowhere else.
    pub(super) fn draw(
        u: &mut Unstructured<'_>,
        slot: Slot,
        (len, room): (u32, u32),
        tame: bool,
    ) -> Result<Self> {
        let request = Buffer {
            addr: slot.request(),
            len,
        };
        let response = Buffer {
            addr: slot.response(),
            len: room,
        };
        let mut descriptors = pieces(u, request, 0)?;
        descriptors.extend(pieces(u, response, WRITE)?);
        if descriptors.is_empty() {
            descriptors.push(piece(request, 0));
        }
        link(&mut descriptors);
        let mut chain = Self {
            descriptors,
            indirect: u.arbitrary()?,
            sound: true,
        };
        if one_in(u, 16)? {
            let good = chain.clone();
            chain.spoil(u)?;
            if tame && !chain.is_harmless(slot) {
                return Ok(good);
            }
        }
        Ok(chain)
    }

    /// The one descriptor that names the slot's indirect table.
    pub(super) fn table(&self, slot: Slot, u: &mut Unstructured<'_>) -> Result<Descriptor> {
        let len = self.descriptors.len() as u64 * Descriptor::LEN;
        let wrong = !self.sound && one_in(u, 4)?;
        Ok(Descriptor {
            addr: slot.table().0,
            len: if wrong {
                u.arbitrary()?
            } else {
                u32::try_from(len).unwrap_or(TABLE)
            },
            flags: INDIRECT,
            next: 0,
        })
    }

    fn spoil(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.sound = false;
        let index = u.choose_index(self.descriptors.len())?;
        let Some(victim) = self.descriptors.get_mut(index) else {
            return Ok(());
        };
        match u.int_in_range(0..=6u8)? {
            // A loop.
            0 => {
                victim.flags |= NEXT;
                victim.next = 0;
            }
            1 => {
                victim.flags |= NEXT;
                victim.next = u.arbitrary()?;
            }
            2 => victim.flags = u.arbitrary()?,
            3 => victim.len = u.arbitrary()?,
            4 => victim.addr = u.arbitrary()?,
            // What is written comes before what is read.
            5 => {
                self.descriptors.reverse();
                link(&mut self.descriptors);
            }
            _ => victim.flags |= INDIRECT,
        }
        Ok(())
    }

    /// Whether every byte that the device may write lies where its answer belongs.
    pub(super) fn is_harmless(&self, slot: Slot) -> bool {
        let (start, end) = (slot.response().0, slot.table().0);
        self.sound
            || self.descriptors.iter().all(|descriptor| {
                let fits = descriptor.addr >= start
                    && descriptor
                        .addr
                        .checked_add(descriptor.len.into())
                        .is_some_and(|stop| stop <= end);
                let follows = usize::from(descriptor.next) < self.descriptors.len();
                (fits || descriptor.flags & WRITE == 0)
                    && (follows || descriptor.flags & NEXT == 0)
                    && descriptor.flags & INDIRECT == 0
            })
    }
}

fn pieces(u: &mut Unstructured<'_>, buffer: Buffer, flags: u16) -> Result<Vec<Descriptor>> {
    if buffer.len == 0 {
        return Ok(Vec::new());
    }
    let count = u32::from(u.int_in_range(1..=PIECES)?);
    let step = buffer.len.div_ceil(count).max(1);
    Ok((0..buffer.len)
        .step_by(usize::try_from(step).unwrap_or(usize::MAX))
        .map(|offset| {
            let part = Buffer {
                addr: GuestAddress(buffer.addr.0 + u64::from(offset)),
                len: step.min(buffer.len - offset),
            };
            piece(part, flags)
        })
        .collect())
}

fn piece(buffer: Buffer, flags: u16) -> Descriptor {
    Descriptor {
        addr: buffer.addr.0,
        len: buffer.len,
        flags,
        next: 0,
    }
}

fn link(descriptors: &mut [Descriptor]) {
    let last = descriptors.len().saturating_sub(1);
    for (descriptor, (index, next)) in descriptors.iter_mut().zip((0..).zip(1..)) {
        descriptor.flags &= !NEXT;
        descriptor.next = 0;
        if index < last {
            descriptor.flags |= NEXT;
            descriptor.next = next;
        }
    }
}
