//! START and END of a dma-buf, which know neither ranges nor nesting.
//!
//! Exporters differ, and the calls have to be right for all of them:
//! - Without hardware coherence a START with READ discards what the CPU wrote and nobody flushed
//!   (`dma_sync_sgtable_for_cpu`, arm64).
//! - i915 flushes at an END only what was written since a START with WRITE; any END in between
//!   makes it forget that START.

use coherd_protocol::memory::Access;

use super::action::Action;

/// What begins a bracket while others write or not.
pub(super) fn start(access: Access, writers: bool) -> Vec<Action> {
    if writers && access.contains(Access::READ) {
        // What they wrote must not be discarded, and they go on writing.
        vec![
            Action::end(Access::WRITE),
            Action::start(Access::READ | Access::WRITE),
        ]
    } else {
        vec![Action::start(access)]
    }
}

/// What ends brackets with `access` in all, while others still write or not.
pub(super) fn end(access: Access, writers: bool, deferred: &mut Access) -> Vec<Action> {
    if !writers {
        let all = access | std::mem::replace(deferred, Access::empty());
        return vec![Action::end(all)];
    }
    if access.contains(Access::WRITE) {
        vec![Action::end(access), Action::start(Access::WRITE)]
    } else {
        // The END of a reader does nothing for coherence but would end the writers' START.
        *deferred |= access;
        Vec::new()
    }
}
