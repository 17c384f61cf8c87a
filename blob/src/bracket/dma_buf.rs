//! START and END of a dma-buf, which know neither ranges nor nesting.
//!
//! Exporters differ, and the calls have to be right for all of them:
//! - Without hardware coherence a START with READ discards what the CPU wrote and nobody flushed
//!   (`dma_sync_sgtable_for_cpu`, arm64).
//! - i915 flushes at an END only what was written since a START with WRITE; any END in between
//!   makes it forget that START.

use coherd_protocol::memory::Access;

use super::action::Action;

/// What the exporter was told.
#[derive(Debug, Default)]
pub(super) struct Exporter {
    /// Accesses of STARTs that succeeded, or must, and whose END was not returned.
    unended: Access,
}

impl Exporter {
    /// What begins a bracket while others write or not. The last one is its own START.
    pub(super) fn start(&mut self, access: Access, writers: bool) -> Vec<Action> {
        let start = Action::start(access);
        if writers && access.contains(Access::READ) {
            // What they wrote must not be discarded, and they go on writing even if the START
            // fails.
            vec![self.end_of(Access::WRITE), self.start_again(), start]
        } else {
            vec![start]
        }
    }

    /// A START for `access` succeeded.
    pub(super) fn started(&mut self, access: Access) {
        self.unended |= access;
    }

    /// What follows a START that failed and left no other bracket.
    pub(super) fn failed(&mut self) -> Vec<Action> {
        match self.unended.is_empty() {
            true => Vec::new(),
            false => vec![self.end_of(self.unended)],
        }
    }

    /// What ends brackets with `access` in all, while others still write or not.
    pub(super) fn end(&mut self, access: Access, writers: bool) -> Vec<Action> {
        if !writers {
            vec![self.end_of(access | self.unended)]
        } else if access.contains(Access::WRITE) {
            vec![self.end_of(access), self.start_again()]
        } else {
            // The END of a reader does nothing for coherence but would take the writers' START
            // away. Theirs covers it.
            Vec::new()
        }
    }

    fn end_of(&mut self, access: Access) -> Action {
        self.unended -= access;
        Action::end(access)
    }

    fn start_again(&mut self) -> Action {
        self.unended |= Access::WRITE;
        Action::start(Access::WRITE)
    }
}
