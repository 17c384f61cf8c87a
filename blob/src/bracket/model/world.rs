//! Holders, a device and an executor around one book, and what each has to see.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use coherd_protocol::memory::Access;

use super::memory::{Cache, Memory, SIZE};
use crate::bracket::{Action, BracketError, BracketId, Brackets, Limits, Means, Started};
use crate::ledger::Holder;

/// A set of bytes of the blob, by bit.
type Bytes = u64;

fn bytes(range: &Range<usize>) -> Bytes {
    range.clone().fold(0, |all, offset| all | 1 << offset)
}

/// What happens once actions are carried out.
#[derive(Debug)]
enum Then {
    /// The book hears that a START is through.
    Start(BracketId),
    /// The holder hears that it may access the memory.
    Open(BracketId),
    /// These brackets have ended; the device may write there again.
    End(Vec<(BracketId, Range<usize>)>),
}

/// A bracket as its holder and the device know it.
#[derive(Debug)]
struct Known {
    holder: u64,
    access: Access,
    range: Range<usize>,
    deadline: Instant,
    /// The book has it open: the device does not write where it writes.
    claimed: bool,
    /// Its holder may access the memory.
    open: bool,
    /// Bytes that the device wrote since, of which a reader sees the old or the new ones.
    raced: Bytes,
    written: Bytes,
}

impl Known {
    fn writes(&self) -> bool {
        self.access.contains(Access::WRITE)
    }
}

#[derive(Debug)]
pub struct World {
    means: Means,
    pub memory: Memory,
    book: Brackets,
    /// Actions that were returned and not carried out, in order.
    queue: VecDeque<(Vec<Action>, Then)>,
    known: BTreeMap<BracketId, Known>,
    /// What every byte is, unless that is undefined.
    truth: [Option<u8>; SIZE],
    /// What brackets that have not ended wrote.
    unpublished: BTreeMap<BracketId, Bytes>,
    now: Instant,
    values: u8,
}

fn holder(id: u64) -> Holder {
    match id {
        0 => Holder::Guest,
        1 => Holder::Daemon,
        id => Holder::Peer(id),
    }
}

impl World {
    pub fn new(means: Means, cache: Cache) -> Self {
        let limits = Limits {
            per_holder: 6,
            total: 16,
        };
        Self {
            means,
            memory: Memory::new(means, cache),
            book: Brackets::new(means, SIZE as u64, limits),
            queue: VecDeque::new(),
            known: BTreeMap::new(),
            truth: [Some(0); SIZE],
            unpublished: BTreeMap::new(),
            now: Instant::now(),
            values: 0,
        }
    }

    pub fn begin(&mut self, id: u64, access: Access, range: Range<usize>, patience: u64) {
        let deadline = self.now + Duration::from_millis(patience);
        let bytes = range.start as u64..range.end as u64;
        let begun = match self.book.begin(holder(id), access, bytes, deadline) {
            Ok(begun) => begun,
            Err(BracketError::TooMany(_)) => return,
            Err(error) => panic!("{error}"),
        };
        let known = Known {
            holder: id,
            access,
            range,
            deadline,
            claimed: false,
            open: false,
            raced: 0,
            written: 0,
        };
        assert!(self.known.insert(begun.id, known).is_none());
        if begun.pending {
            self.queue.push_back((begun.actions, Then::Start(begun.id)));
        } else {
            self.claim(begun.id);
            self.queue.push_back((begun.actions, Then::Open(begun.id)));
        }
    }

    /// Ends an open bracket, or tries to end one that has not started.
    pub fn end(&mut self, pick: usize) {
        let Some((&id, known)) = self.known.iter().nth(pick % self.known.len().max(1)) else {
            return;
        };
        let owner = holder(known.holder);
        let stranger = holder(known.holder + 1);
        assert_eq!(self.book.end(stranger, id), Err(BracketError::Unknown));
        if !known.claimed {
            assert_eq!(self.book.end(owner, id), Err(BracketError::NotStarted));
        } else if known.open {
            self.keep_the_promise(id);
            let actions = self.book.end(owner, id).unwrap();
            self.forget(actions, &[id]);
        }
    }

    pub fn abandon(&mut self, id: u64) {
        let actions = self.book.abandon(holder(id));
        let gone: Vec<_> = self.known_where(|known| known.holder == id);
        self.forget(actions, &gone);
    }

    pub fn expire(&mut self, time: u64) {
        self.now += Duration::from_millis(time);
        let now = self.now;
        let late = self.known_where(|known| !known.claimed && known.deadline <= now);

        let expired: Vec<_> = self
            .book
            .expire(now)
            .into_iter()
            .map(|(_, id)| id)
            .collect();

        assert_eq!(expired, late);
        assert!(self.book.next_deadline().is_none_or(|next| next > now));
        self.forget(Vec::new(), &late);
    }

    /// Carries out the next actions.
    pub fn carry_out(&mut self, fail: bool) {
        let Some((actions, then)) = self.queue.pop_front() else {
            return;
        };
        // The last action is the START of the bracket itself.
        let fail = fail && matches!(then, Then::Start(_));
        for action in actions.iter().rev().skip(usize::from(fail)).rev() {
            self.memory.carry_out(action);
        }
        match then {
            Then::Start(id) if fail => {
                let actions = self.book.failed(id).unwrap();
                self.forget(actions, &[id]);
            }
            Then::Start(id) => match self.book.started(id).unwrap() {
                Started::TooLate(actions) => self.forget(actions, &[]),
                Started::Open(actions) => {
                    self.claim(id);
                    match actions.is_empty() {
                        true => self.open(id),
                        false => self.queue.push_back((actions, Then::Open(id))),
                    }
                }
            },
            Then::Open(id) => self.open(id),
            Then::End(ended) => {
                for (id, _) in ended {
                    self.unpublished.remove(&id);
                }
            }
        }
    }

    pub fn device_write(&mut self, range: &Range<usize>) {
        let ending = self.queue.iter().flat_map(|(_, then)| match then {
            Then::End(ended) => ended.as_slice(),
            _ => &[],
        });
        let claimed = self.known.values().filter(|known| known.claimed);
        let owned = ending.map(|(_, range)| range).chain(
            claimed
                .filter(|known| known.writes())
                .map(|known| &known.range),
        );
        if owned
            .map(|range| self.atoms(range))
            .any(|atoms| overlap(&atoms, range))
        {
            return;
        }
        let value = self.next_value();
        self.memory.device_write(range.clone(), value);
        self.truth[range.clone()].fill(Some(value));
        for known in self.known.values_mut().filter(|known| known.open) {
            known.raced |= bytes(range);
        }
    }

    pub fn cpu_write(&mut self, pick: usize, offset: usize) {
        let writers = self.known_where(|known| known.open && known.writes());
        if let Some(&id) = writers.get(pick % writers.len().max(1)) {
            let range = &self.known[&id].range;
            self.write(id, range.start + offset % range.len());
        }
    }

    /// Fails if somebody could see other bytes than he has to.
    pub fn check(&mut self) {
        let unpublished = self.unpublished.values().fold(0, |all, some| all | some);
        for (offset, truth) in self.truth.iter().enumerate() {
            if let Some(truth) = *truth
                && unpublished >> offset & 1 == 0
            {
                assert_eq!(self.memory.device_read(offset), truth, "device at {offset}");
            }
        }
        let reads = |known: &&Known| known.open && known.access.contains(Access::READ);
        for known in self.known.values().filter(reads) {
            for offset in known.range.clone() {
                if let Some(truth) = self.truth[offset]
                    && known.raced >> offset & 1 == 0
                {
                    assert_eq!(self.memory.cpu_read(offset), truth, "{known:?} at {offset}");
                }
            }
        }
        assert!(self.book.len() >= self.known.len());
    }

    /// Everybody goes, and nothing is left.
    pub fn finish(mut self) {
        for id in 0..4 {
            self.abandon(id);
        }
        self.drain();
        assert!(self.book.is_empty());
        assert_eq!(self.book.next_deadline(), None);
        self.memory.assert_settled();

        self.begin(0, Access::READ, 0..SIZE, 0);
        self.drain();
        assert!(self.known.values().all(|known| known.open));
        self.end(0);
        self.drain();
        assert!(self.book.is_empty());
        self.memory.assert_settled();
    }

    fn drain(&mut self) {
        while !self.queue.is_empty() {
            self.carry_out(false);
            self.check();
        }
    }

    fn claim(&mut self, id: BracketId) {
        let known = self.known.get_mut(&id).unwrap();
        known.claimed = true;
        if !known.access.contains(Access::READ) {
            self.truth[known.range.clone()].fill(None);
        }
    }

    /// The holder hears that it may begin, if it is still there.
    fn open(&mut self, id: BracketId) {
        if let Some(known) = self.known.get_mut(&id) {
            known.open = true;
        }
    }

    /// Brackets are gone; `actions` end them.
    fn forget(&mut self, actions: Vec<Action>, ids: &[BracketId]) {
        let gone = ids
            .iter()
            .filter_map(|id| Some((*id, self.known.remove(id)?)));
        let written = gone.filter(|(_, known)| known.claimed && known.writes());
        let ended = written.map(|(id, known)| (id, known.range)).collect();
        self.queue.push_back((actions, Then::End(ended)));
    }

    /// Writes what a holder that does not read has not written yet.
    fn keep_the_promise(&mut self, id: BracketId) {
        let known = &self.known[&id];
        if known.access == Access::WRITE {
            let missing: Vec<_> = known
                .range
                .clone()
                .filter(|offset| known.written >> offset & 1 == 0)
                .collect();
            for offset in missing {
                self.write(id, offset);
            }
        }
    }

    fn write(&mut self, id: BracketId, offset: usize) {
        let value = self.next_value();
        self.memory.cpu_write(offset, value);
        self.truth[offset] = Some(value);
        *self.unpublished.entry(id).or_default() |= 1 << offset;
        self.known.get_mut(&id).unwrap().written |= 1 << offset;
    }

    fn next_value(&mut self) -> u8 {
        self.values = self.values.wrapping_add(1);
        self.values
    }

    fn known_where(&self, matches: impl Fn(&Known) -> bool) -> Vec<BracketId> {
        let matching = self.known.iter().filter(|(_, known)| matches(known));
        matching.map(|(&id, _)| id).collect()
    }

    fn atoms(&self, range: &Range<usize>) -> Range<usize> {
        let atom = self
            .means
            .atom()
            .map_or(1, |atom| usize::try_from(atom).unwrap());
        range.start / atom * atom..range.end.div_ceil(atom) * atom
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}
