//! Brackets of a blob, carried out.

use std::fmt;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{Ordering, fence};

use coherd_blob::bracket::{Action, BracketError, BracketId, Edge, Limits, Means, Started};
use coherd_blob::{Access, Backing, Brackets, Holder, MemoryProperties};
use rustix::io::Errno;
use thiserror::Error;
use tracing::debug;

use super::dma_buf;
use super::patience::{Patience, PatienceError};
use super::record::BlobRecord;

/// Open brackets of one blob. All that peers may have together leave room for the guest.
const LIMITS: Limits = Limits {
    per_holder: 1024,
    total: 8192,
};

/// Why an access did not begin, or did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AccessError {
    /// It is no access that could be.
    #[error(transparent)]
    Bracket(#[from] BracketError),
    /// The GPU is not done.
    #[error(transparent)]
    Patience(#[from] PatienceError),
    /// The GPU is lost.
    #[error("the GPU is lost")]
    DeviceLost,
    /// The driver has no memory of the host left.
    #[error("the driver is out of host memory")]
    OutOfHostMemory,
    /// The driver has no memory of the GPU left.
    #[error("the driver is out of device memory")]
    OutOfDeviceMemory,
    /// The driver failed.
    #[error("the driver failed: {0}")]
    Driver(String),
    /// The kernel did not synchronise the dma-buf.
    #[error("the kernel does not synchronise the dma-buf")]
    Kernel(#[source] Errno),
}

/// The memory of a blob as the GPU driver of this process has it.
pub trait DeviceMemory: fmt::Debug + Send + Sync {
    /// `nonCoherentAtomSize` if the memory is not coherent: it has to be invalidated and flushed.
    fn atom(&self) -> Option<u64>;

    /// Its place in the driver's table of memory types, and the properties of that type.
    fn memory_type(&self) -> (u32, MemoryProperties);

    /// Waits for the work that this process gave the GPU, as far as it conflicts with `access`.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn wait(&self, access: Access, patience: &Patience<'_>) -> Result<(), AccessError>;

    /// Makes what the GPU wrote visible to processors.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn invalidate(&self, range: Range<u64>) -> Result<(), AccessError>;

    /// Makes what processors wrote visible to the GPU.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn flush(&self, range: Range<u64>) -> Result<(), AccessError>;
}

/// An access that has begun; [`BlobRecord::end`] ends it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an access that has begun has to be ended"]
pub struct Bracket {
    holder: Holder,
    of_file: Option<BracketId>,
    of_memory: Option<BracketId>,
}

/// What a book is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Book {
    /// The kernel's part.
    File,
    /// The driver's part.
    Memory,
}

/// The books of one blob. A dma-buf wants the kernel's part, memory that is not coherent the
/// driver's, and some want both.
#[derive(Debug)]
pub struct Books {
    file: Option<Brackets>,
    memory: Option<Brackets>,
}

impl Books {
    /// The books of a blob, with nothing open.
    pub fn new(backing: &Backing, memory: Option<&dyn DeviceMemory>) -> Self {
        let book = |means| Brackets::new(means, backing.size(), LIMITS);
        let file = backing.exporter().is_dma_buf().then(|| book(Means::DmaBuf));
        let memory = match memory.and_then(DeviceMemory::atom) {
            Some(atom) => Some(book(Means::Mapped { atom })),
            None if file.is_none() => Some(book(Means::Coherent)),
            None => None,
        };
        Self { file, memory }
    }

    fn get(&mut self, book: Book) -> Option<&mut Brackets> {
        match book {
            Book::File => self.file.as_mut(),
            Book::Memory => self.memory.as_mut(),
        }
    }
}

impl BlobRecord {
    /// Waits until an access would begin without waiting for the GPU, or for somebody else's.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn wait_ready(&self, access: Access, patience: &Patience<'_>) -> Result<(), AccessError> {
        self.wait(access, patience)?;
        self.turn().take(patience)?;
        Ok(())
    }

    fn wait(&self, access: Access, patience: &Patience<'_>) -> Result<(), AccessError> {
        if let Some(memory) = self.memory() {
            memory.wait(access, patience)?;
        }
        if self.backing().exporter().is_dma_buf() {
            dma_buf::wait(self.backing().as_fd(), access, patience)?;
        }
        Ok(())
    }

    /// Begins an access of `holder` to the bytes of `range`: waits until the GPU does not use them
    /// in a way that conflicts, and makes visible what it wrote if they are read.
    ///
    /// This may block, for as long as the kernel does not follow `patience`.
    ///
    /// # Errors
    /// See [`AccessError`]; nothing has begun then.
    pub fn begin(
        &self,
        holder: Holder,
        access: Access,
        range: Range<u64>,
        patience: &Patience<'_>,
    ) -> Result<Bracket, AccessError> {
        self.wait(access, patience)?;
        let _turn = self.turn().take(patience)?;
        let of_file = self.begin_in(Book::File, (holder, access, range.clone()), patience)?;
        let of_memory = self
            .begin_in(Book::Memory, (holder, access, range), patience)
            .inspect_err(|_| {
                let _ = self.end_in(Book::File, holder, of_file, Some(patience));
            })?;
        self.lock().count_open(holder, 1);
        Ok(Bracket {
            holder,
            of_file,
            of_memory,
        })
    }

    /// Ends an access: makes visible to the GPU what was written.
    ///
    /// # Errors
    /// See [`AccessError`]: the access is over, but the GPU may see stale bytes.
    #[expect(clippy::needless_pass_by_value, reason = "an access ends once")]
    pub fn end(&self, bracket: Bracket, patience: &Patience<'_>) -> Result<(), AccessError> {
        let Bracket {
            holder,
            of_file,
            of_memory,
        } = bracket;
        // The books end it in any case.
        let turn = self.turn().take(patience);
        let patience = turn.is_ok().then_some(patience);
        let memory = self.end_in(Book::Memory, holder, of_memory, patience);
        let file = self.end_in(Book::File, holder, of_file, patience);
        self.lock().count_open(holder, -1);
        turn?;
        memory.and(file)
    }

    fn begin_in(
        &self,
        book: Book,
        (holder, access, range): (Holder, Access, Range<u64>),
        patience: &Patience<'_>,
    ) -> Result<Option<BracketId>, AccessError> {
        let begun = match self.lock().books.get(book) {
            Some(brackets) => brackets.begin(holder, access, range, patience.deadline())?,
            None => return Ok(None),
        };
        let id = begun.id;
        let started = match self.carry_out_all(&begun.actions, patience) {
            Ok(()) if begun.pending => self.in_book(book, |brackets| brackets.started(id))?,
            Ok(()) => return Ok(Some(id)),
            Err(error) => {
                let left = self.in_book(book, |brackets| brackets.failed(id))?;
                let _ = self.settle(&left, patience);
                return Err(error);
            }
        };
        match started {
            Started::Open(actions) => match self.carry_out_all(&actions, patience) {
                Ok(()) => Ok(Some(id)),
                Err(error) => {
                    let _ = self.end_in(book, holder, Some(id), Some(patience));
                    Err(error)
                }
            },
            Started::TooLate(actions) => {
                let _ = self.settle(&actions, patience);
                Err(PatienceError::TimedOut.into())
            }
        }
    }

    fn in_book<T>(
        &self,
        book: Book,
        act: impl FnOnce(&mut Brackets) -> Result<T, BracketError>,
    ) -> Result<T, BracketError> {
        let mut state = self.lock();
        state
            .books
            .get(book)
            .ok_or(BracketError::Unknown)
            .and_then(act)
    }

    /// Ends a bracket in one of the books. Without patience nothing is done about it.
    fn end_in(
        &self,
        book: Book,
        holder: Holder,
        id: Option<BracketId>,
        patience: Option<&Patience<'_>>,
    ) -> Result<(), AccessError> {
        let Some(id) = id else { return Ok(()) };
        let actions = self.in_book(book, |brackets| brackets.end(holder, id))?;
        match patience {
            Some(patience) => self.settle(&actions, patience),
            None => Ok(()),
        }
    }

    /// Carries out what a new access depends on.
    fn carry_out_all(
        &self,
        actions: &[Action],
        patience: &Patience<'_>,
    ) -> Result<(), AccessError> {
        actions.iter().try_for_each(|action| {
            let done = self.carry_out(action, patience);
            match (action, done) {
                (
                    Action::DmaBufSync {
                        edge: Edge::End, ..
                    },
                    Err(error),
                ) => {
                    debug!(%error, "END of a dma-buf failed; bytes may be stale");
                    Ok(())
                }
                (_, done) => done,
            }
        })
    }

    /// Carries out every action, whether one fails or not, and returns the first failure.
    fn settle(&self, actions: &[Action], patience: &Patience<'_>) -> Result<(), AccessError> {
        let mut result = Ok(());
        for action in actions {
            let carried_out = self.carry_out(action, patience);
            if let Err(error) = &carried_out {
                debug!(?action, %error, "bytes of a blob may be stale");
            }
            result = result.and(carried_out);
        }
        result
    }

    fn carry_out(&self, action: &Action, patience: &Patience<'_>) -> Result<(), AccessError> {
        match action {
            Action::DmaBufSync { edge, access } => {
                dma_buf::sync(self.backing(), *edge, *access, patience)
            }
            Action::Invalidate(range) => match self.memory() {
                Some(memory) => memory.invalidate(range.clone()),
                None => Ok(()),
            },
            Action::Flush(range) => match self.memory() {
                Some(memory) => memory.flush(range.clone()),
                None => Ok(()),
            },
            Action::Order => {
                fence(Ordering::SeqCst);
                Ok(())
            }
        }
    }
}
