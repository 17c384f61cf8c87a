//! A guest with two virtqueues.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use coherd_protocol::gpu::header::{Fence, Header};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use zerocopy::FromBytes;

use super::belief::Beliefs;
use super::breach::Breach;
use super::chain::Chain;
use super::command::{Command, command};
use super::slots::{QUEUES, Slot, Slots};
use crate::driver::{Descriptor, Virtqueue, VirtqueueError};
use crate::frontend::RingLayout;

/// How commands ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Chains that were offered.
    pub offered: u64,
    /// Commands that were carried out.
    pub done: u64,
    /// Commands that were refused.
    pub refused: u64,
    /// Chains that came back without an answer that can be told.
    pub mute: u64,
}

impl Score {
    /// Adds the counts of another guest.
    pub fn add(&mut self, other: Self) {
        self.offered += other.offered;
        self.done += other.done;
        self.refused += other.refused;
        self.mute += other.mute;
    }
}

/// How far a guest goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Its commands and chains may be wrong; what comes back can be relied on.
    Tame,
    /// Its chains may make the device write over anything.
    Wild,
}

#[derive(Debug)]
struct InFlight {
    slot: Slot,
    room: u32,
    sound: bool,
    command: u32,
    fence: Option<Fence>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Guest {
    temper: Temper,
    beliefs: Beliefs,
    memory: GuestMemoryMmap,
    /// Address and bytes of each range of RAM.
    ram: Vec<(u64, u64)>,
    queues: [Virtqueue; QUEUES],
    layouts: [RingLayout; QUEUES],
    slots: Slots,
    in_flight: [BTreeMap<u16, InFlight>; QUEUES],
    /// The rings are as a driver leaves them and no chain makes the device write elsewhere, so
    /// that each chain comes back once, with its answer.
    honest: bool,
    score: Score,
}

impl Guest {
    /// A driver on zeroed rings at the start of `memory`.
    pub fn new(
        memory: &GuestMemoryMmap,
        layouts: [RingLayout; QUEUES],
        event_idx: bool,
        temper: Temper,
    ) -> Self {
        let ranges = memory
            .iter()
            .map(|region| (region.start_addr().0, region.len()));
        let ram: Vec<(u64, u64)> = ranges.collect();
        Self {
            temper,
            beliefs: Beliefs::default(),
            queues: layouts.map(|layout| Virtqueue::new(memory.clone(), layout, event_idx)),
            memory: memory.clone(),
            slots: Slots::new(ram.first().map_or(0, |(_, len)| *len)),
            ram,
            layouts,
            in_flight: Default::default(),
            honest: true,
            score: Score::default(),
        }
    }

    /// Puts one command into a queue; `false` if there was no room.
    ///
    /// # Errors
    /// [`arbitrary::Error`] if the input ends.
    pub fn offer(&mut self, u: &mut Unstructured<'_>, queue: usize) -> arbitrary::Result<bool> {
        let command = command(u, &mut self.beliefs, &self.ram, queue != 0)?;
        let Some(slot) = self.slots.take() else {
            return Ok(false);
        };
        let len = u32::try_from(command.bytes.len()).unwrap_or(u32::MAX);
        let tame = self.temper == Temper::Tame;
        let drawn = Chain::draw(u, slot, (len, command.room), tame)
            .and_then(|chain| Ok((chain.table(slot, u)?, chain)));
        let (table, chain) = match drawn {
            Ok(drawn) => drawn,
            Err(error) => {
                self.slots.give_back(slot);
                return Err(error);
            }
        };
        let placed = self.place(queue, slot, &command, &chain, table);
        let Ok(head) = placed else {
            self.slots.give_back(slot);
            return Ok(false);
        };
        self.honest &= chain.is_harmless(slot);
        self.score.offered += 1;
        let header = Header::read_from_prefix(&command.bytes).ok();
        let (command_code, fence) =
            header.map_or((0, None), |(header, _)| (header.kind.get(), header.fence()));
        let entry = InFlight {
            slot,
            room: command.room,
            sound: chain.sound,
            command: command_code,
            fence,
        };
        if let Some(in_flight) = self.in_flight.get_mut(queue) {
            in_flight.insert(head, entry);
        }
        Ok(true)
    }

    fn place(
        &mut self,
        queue: usize,
        slot: Slot,
        command: &Command,
        chain: &Chain,
        table: Descriptor,
    ) -> Result<u16, VirtqueueError> {
        let queue = self.queues.get_mut(queue).ok_or(VirtqueueError::Full)?;
        self.memory.write_slice(&command.bytes, slot.request())?;
        let descriptors: &[Descriptor] = if chain.indirect {
            let entries: Vec<u8> = chain
                .descriptors
                .iter()
                .flat_map(|d| d.to_bytes())
                .collect();
            self.memory.write_slice(&entries, slot.table())?;
            &[table]
        } else {
            &chain.descriptors
        };
        let indexes = queue.take_descriptors(descriptors.len())?;
        for (index, descriptor) in indexes.iter().zip(descriptors) {
            let next = indexes
                .get(usize::from(descriptor.next))
                .copied()
                .unwrap_or(descriptor.next);
            queue.write_descriptor(
                *index,
                Descriptor {
                    next,
                    ..*descriptor
                },
            )?;
        }
        queue.offer(indexes)
    }

    /// Does to the rings what no driver does.
    ///
    /// # Errors
    /// [`arbitrary::Error`] if the input ends.
    pub fn corrupt(&mut self, u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        self.give_up();
        let index = u.choose_index(QUEUES)?;
        let (Some(queue), Some(layout)) = (self.queues.get_mut(index), self.layouts.get(index))
        else {
            return Ok(());
        };
        // Rings inside guest RAM can be written, whatever is written.
        let _ = match u.int_in_range(0..=3u8)? {
            0 => queue.set_avail_index(u.arbitrary()?),
            1 => queue.push(u.arbitrary()?),
            2 => {
                let descriptor = Descriptor {
                    addr: u.arbitrary()?,
                    len: u.arbitrary()?,
                    flags: u.arbitrary()?,
                    next: u.arbitrary()?,
                };
                queue.write_descriptor(u.int_in_range(0..=layout.size - 1)?, descriptor)
            }
            _ => {
                let len = layout.used.0 + 4 - layout.desc.0 + 8 * u64::from(layout.size);
                let at = GuestAddress(layout.desc.0 + u.int_in_range(0..=len)?);
                let bytes: [u8; 4] = u.arbitrary()?;
                self.memory.write_slice(&bytes, at).map_err(Into::into)
            }
        };
        Ok(())
    }

    /// Whether the device wants a kick.
    pub fn wants_kick(&mut self, queue: usize) -> bool {
        self.queues
            .get_mut(queue)
            .is_some_and(|queue| queue.needs_kick().unwrap_or(true))
    }

    /// Takes what the device returned.
    ///
    /// # Errors
    /// See [`Breach`].
    pub fn collect(&mut self) -> Result<(), Breach> {
        for index in 0..QUEUES {
            while let Some((entry, used)) = self.take_returned(index)? {
                let checked = self.judge(index, &entry, used);
                self.slots.give_back(entry.slot);
                checked?;
            }
        }
        Ok(())
    }

    fn take_returned(&mut self, index: usize) -> Result<Option<(InFlight, u32)>, Breach> {
        let (Some(queue), Some(in_flight)) =
            (self.queues.get_mut(index), self.in_flight.get_mut(index))
        else {
            return Ok(None);
        };
        let source = match queue.pop() {
            Ok(None) => return Ok(None),
            Ok(Some(used)) => match in_flight.remove(&used.head) {
                Some(entry) => return Ok(Some((entry, used.len))),
                None => VirtqueueError::UnknownChain(used.head.into()),
            },
            Err(source) => source,
        };
        if self.honest {
            return Err(Breach::Ring {
                queue: index,
                source,
            });
        }
        Ok(None)
    }

    fn judge(&mut self, queue: usize, entry: &InFlight, used: u32) -> Result<(), Breach> {
        let room = entry.room;
        let header = u32::try_from(Header::LEN).unwrap_or(0);
        // A cursor queue that is stopped gets its buffers back without an answer.
        let may_be_empty = room < header || queue != 0;
        if !self.honest || !entry.sound || (used == 0 && may_be_empty) {
            self.score.mute += 1;
            return Ok(());
        }
        if used > room || used < header {
            return Err(Breach::Length { used, room });
        }
        let mut bytes = [0; Header::LEN];
        let read = self.memory.read_slice(&mut bytes, entry.slot.response());
        let Some(header) = read
            .ok()
            .and_then(|()| Header::read_from_bytes(&bytes).ok())
        else {
            return Err(Breach::Length { used, room });
        };
        match header.kind.get() {
            0x1100..=0x1106 => self.score.done += 1,
            0x1200..=0x1205 => self.score.refused += 1,
            code => {
                let command = entry.command;
                return Err(Breach::Code { command, code });
            }
        }
        if header.fence() != entry.fence {
            return Err(Breach::Fence {
                asked: entry.fence,
                answered: header.fence(),
            });
        }
        Ok(())
    }

    /// Asks for an interrupt at the next chain that comes back; `true` if one is back already.
    pub fn listen(&self, queue: usize) -> bool {
        let queue = self.queues.get(queue);
        queue.is_some_and(|queue| queue.enable_interrupt().unwrap_or(true))
    }

    /// Whether everything came back that has to, now that the device has nothing left to do.
    ///
    /// # Errors
    /// [`Breach::Lost`]
    pub fn expect_all_returned(&self) -> Result<(), Breach> {
        match self.outstanding() {
            left if left > 0 && self.honest => Err(Breach::Lost(left)),
            _ => Ok(()),
        }
    }

    /// Chains that did not come back.
    pub fn outstanding(&self) -> usize {
        self.in_flight.iter().map(BTreeMap::len).sum()
    }

    /// Queue, command and fence of each chain that did not come back.
    pub fn left(&self) -> impl Iterator<Item = (usize, u32, Option<Fence>)> {
        let queues = self.in_flight.iter().enumerate();
        queues.flat_map(|(queue, chains)| {
            let entries = chains.values();
            entries.map(move |entry| (queue, entry.command, entry.fence))
        })
    }

    /// Chains of one queue that did not come back.
    pub fn outstanding_on(&self, queue: usize) -> usize {
        self.in_flight.get(queue).map_or(0, BTreeMap::len)
    }

    /// How commands ended so far.
    pub fn score(&self) -> Score {
        self.score
    }

    /// Tells that what comes back proves nothing from now on.
    pub fn give_up(&mut self) {
        self.honest = false;
    }

    /// How far it goes.
    pub fn temper(&self) -> Temper {
        self.temper
    }

    /// Whether what comes back proves something.
    pub fn is_honest(&self) -> bool {
        self.honest
    }
}
