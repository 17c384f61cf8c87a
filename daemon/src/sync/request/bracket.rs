//! BEGIN and END

use std::collections::hash_map::Entry;
use std::mem::offset_of;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coherd_blob::Access;
use coherd_protocol::sync::limits::{DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS};
use coherd_protocol::sync::wire::{Begin, End};
use coherd_protocol::sync::{Header, Status};

use super::{Answer, Hub, Refusal, Reply, Result};
use crate::coherence::{AccessError, BlobRecord, Bracket, PatienceError};
use crate::sync::jobs::{BeginJob, OpenBracket, Ticket, Wanted};
use crate::sync::limits::{MAX_ALL_BRACKETS, MAX_BRACKETS, MAX_WAITING, MAX_WAITING_WORK};
use crate::sync::peer::{Held, Peer, Waiting};

impl Peer {
    /// BEGIN
    pub(super) fn begin(&mut self, hub: &mut Hub, header: &Header, begin: &Begin) -> Result {
        let (record, access, range) = self.check_begin(hub, begin)?;
        let timeout = match begin.timeout_ms.get() {
            0 => DEFAULT_TIMEOUT_MS,
            asked => asked.min(MAX_TIMEOUT_MS),
        };
        let deadline = Instant::now() + Duration::from_millis(timeout.into());
        let bracket = begin.bracket.get();
        let ticket = Arc::new(Ticket::new(Wanted {
            peer: self.id,
            blob: begin.blob.get(),
            bracket,
            record,
            access,
            range,
            deadline,
        }));
        let due = hub.deadlines.add(deadline, (self.id, bracket));
        let waiting = Waiting {
            ticket: Arc::clone(&ticket),
            header: *header,
            due,
        };
        self.brackets.insert(bracket, Held::Waiting(waiting));
        hub.brackets += 1;
        let done = Arc::clone(&hub.done);
        hub.beginners
            .submit(BeginJob::new(ticket, done, Arc::clone(&self.jobs)));
        Ok(Answer::Later)
    }

    fn check_begin(
        &self,
        hub: &Hub,
        begin: &Begin,
    ) -> std::result::Result<(Arc<BlobRecord>, Access, Range<u64>), Refusal> {
        let (id, access) = (begin.blob.get(), begin.access());
        let opened = self.opened.get(&id).ok_or(Status::NotOpen)?;
        let known = hub.blobs.get(id)?;
        let record = known.of.record.as_ref().ok_or(Status::NotOpen)?;
        if !opened.access.contains(access) {
            return Err(Status::Denied.into());
        }
        let bracket = begin.bracket.get();
        if bracket == 0 || self.brackets.contains_key(&bracket) {
            return Err(Status::InUse.into());
        }
        let (start, size) = (begin.offset.get(), record.backing().size());
        if start >= size {
            return Err(Refusal::invalid(offset_of!(Begin, offset)));
        }
        let end = match begin.size.get() {
            0 => Some(size),
            len => start.checked_add(len).filter(|end| *end <= size),
        };
        let end = end.ok_or(Refusal::invalid(offset_of!(Begin, size)))?;
        if self.brackets.len() >= MAX_BRACKETS {
            return Err(Refusal::over(MAX_BRACKETS));
        }
        if hub.brackets >= MAX_ALL_BRACKETS {
            return Err(Refusal::over(MAX_ALL_BRACKETS));
        }
        let is_busy = Arc::strong_count(&self.jobs) > MAX_WAITING_WORK;
        if is_busy || self.waiting() >= MAX_WAITING {
            return Err(Refusal::over(MAX_WAITING));
        }
        Ok((Arc::clone(record), access, start..end))
    }

    /// END
    pub(super) fn end(&mut self, hub: &mut Hub, header: &Header, end: &End) -> Result {
        let Entry::Occupied(held) = self.brackets.entry(end.bracket.get()) else {
            return Err(Status::NotOpen.into());
        };
        let open = match held.remove() {
            Held::Open(_, open) => open,
            Held::Waiting(waiting) => match self.cancel(hub, waiting)? {
                Some(open) => open,
                None => return Ok(Answer::done()),
            },
        };
        self.underway = Some(*header);
        hub.end(self.id, vec![open]);
        Ok(Answer::Later)
    }

    /// Ends the brackets that `matches` is true of: cancels what waits, and returns what is open
    /// and has to be ended.
    pub fn end_where(
        &mut self,
        hub: &mut Hub,
        matches: impl Fn(&Held) -> bool,
    ) -> Vec<OpenBracket> {
        let ended = self.brackets.extract_if(|_, held| matches(held));
        let ended: Vec<Held> = ended.map(|(_, held)| held).collect();
        let mut open = Vec::new();
        for held in ended {
            match held {
                Held::Open(_, bracket) => open.push(bracket),
                // One that had failed is not open.
                Held::Waiting(waiting) => {
                    open.extend(self.cancel(hub, waiting).ok().flatten());
                }
            }
        }
        open
    }

    /// Answers a BEGIN that waits, and is forgotten: with CANCELLED, or with what had become of
    /// it. Returns the bracket if it has to be ended.
    fn cancel(
        &mut self,
        hub: &mut Hub,
        waiting: Waiting,
    ) -> std::result::Result<Option<OpenBracket>, Refusal> {
        let Waiting {
            ticket,
            header,
            due,
        } = waiting;
        hub.deadlines.remove(due);
        match ticket.abandon() {
            Some(Ok(bracket)) => {
                self.answer(&header, Ok(Reply::default()));
                Ok(Some((Arc::clone(&ticket.wanted.record), bracket)))
            }
            Some(Err(error)) => {
                hub.brackets = hub.brackets.saturating_sub(1);
                self.answer(&header, Err(Refusal::from(&error)));
                Err(Status::NotOpen.into())
            }
            None => {
                hub.brackets = hub.brackets.saturating_sub(1);
                self.answer(&header, Err(Status::Cancelled.into()));
                Ok(None)
            }
        }
    }

    /// Follows a helper: a BEGIN has ended.
    pub fn begun(&mut self, hub: &mut Hub, ticket: &Arc<Ticket>) {
        if let Some(waiting) = self.take_waiting(ticket)
            && let Some(result) = ticket.take()
        {
            hub.deadlines.remove(waiting.due);
            self.answer_begin(hub, &waiting, result);
        }
    }

    /// A BEGIN has waited long enough.
    pub fn time_out(&mut self, hub: &mut Hub, bracket: u64) {
        let Some(Held::Waiting(waiting)) = self.brackets.get(&bracket) else {
            return;
        };
        let ticket = Arc::clone(&waiting.ticket);
        if let Some(waiting) = self.take_waiting(&ticket) {
            let late = Err(PatienceError::TimedOut.into());
            let result = ticket.abandon().unwrap_or(late);
            self.answer_begin(hub, &waiting, result);
        }
    }

    fn take_waiting(&mut self, ticket: &Arc<Ticket>) -> Option<Waiting> {
        let Entry::Occupied(held) = self.brackets.entry(ticket.wanted.bracket) else {
            return None;
        };
        let is_it =
            matches!(held.get(), Held::Waiting(waiting) if Arc::ptr_eq(&waiting.ticket, ticket));
        match is_it.then(|| held.remove()) {
            Some(Held::Waiting(waiting)) => Some(waiting),
            _ => None,
        }
    }

    fn answer_begin(
        &mut self,
        hub: &mut Hub,
        waiting: &Waiting,
        result: std::result::Result<Bracket, AccessError>,
    ) {
        let wanted = &waiting.ticket.wanted;
        let answer = match result {
            Ok(bracket) => {
                let open = (Arc::clone(&wanted.record), bracket);
                let held = Held::Open(wanted.blob, open);
                self.brackets.insert(wanted.bracket, held);
                Ok(Reply::default())
            }
            Err(error) => {
                hub.brackets = hub.brackets.saturating_sub(1);
                Err(Refusal::from(&error))
            }
        };
        self.answer(&waiting.header, answer);
    }

    /// Follows a helper: what CLOSE or END has asked for is done.
    pub fn ended(&mut self, result: &std::result::Result<(), AccessError>) {
        self.finish(match result {
            Ok(()) => Ok(()),
            Err(AccessError::DeviceLost) => Err(Status::DeviceLost.into()),
            Err(AccessError::Kernel(errno)) => Err(Refusal {
                status: Status::Failed,
                detail: errno.raw_os_error().unsigned_abs(),
            }),
            Err(_) => Err(Status::Failed.into()),
        });
    }

    /// Answers the request that a helper was at.
    pub fn finish(&mut self, result: std::result::Result<(), Refusal>) {
        if let Some(header) = self.underway.take() {
            self.answer(&header, result.map(|()| Reply::default()));
        }
    }
}
