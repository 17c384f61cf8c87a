//! Watches.

use std::time::Duration;

use super::connection::{
    argument, coherd_sync_connection, coherd_sync_entry, give, give_boxed, release,
};
use super::result::{coherd_sync_result, run};
use crate::info::Entry;
use crate::watch::{Event, Watch};

/// Nothing happened.
pub const COHERD_SYNC_EVENT_NONE: u32 = 0;
/// A blob was created.
pub const COHERD_SYNC_EVENT_CREATED: u32 = 1;
/// A blob was destroyed; its id alone is valid.
pub const COHERD_SYNC_EVENT_DESTROYED: u32 = 2;
/// This process was too slow, and events are missing here: list again.
pub const COHERD_SYNC_EVENT_LOST: u32 = 3;

/// Events of a connection.
pub struct coherd_sync_watch(Watch);

/// What happened.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct coherd_sync_event {
    /// COHERD_SYNC_EVENT_*
    pub kind: u32,
    /// The blob.
    pub entry: coherd_sync_entry,
}

/// Begins to watch. A connection has one watch at a time. What `watch` is set to is freed by
/// `coherd_sync_unwatch`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_begin_watch(
    connection: *const coherd_sync_connection,
    watch: *mut *mut coherd_sync_watch,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promises.
        unsafe {
            let begun = argument(connection, "connection")?.0.watch()?;
            give_boxed(watch, coherd_sync_watch(begun), "watch")
        }
    })
}

/// Sets `event` to the next one, of kind COHERD_SYNC_EVENT_NONE if there is none within `timeout_ms`
/// milliseconds. With 0 it does not wait: for loops that poll `coherd_sync_socket`, and ask until
/// there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_next_event(
    watch: *const coherd_sync_watch,
    timeout_ms: u32,
    event: *mut coherd_sync_event,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promise.
        let watch = unsafe { argument(watch, "watch") }?;
        let next = watch.0.next(Duration::from_millis(timeout_ms.into()))?;
        // SAFETY: the caller's promise.
        unsafe { give(event, of(next), "event") }
    })
}

fn of(event: Option<Event>) -> coherd_sync_event {
    let (kind, entry) = match event {
        None => (COHERD_SYNC_EVENT_NONE, None),
        Some(Event::Created(entry)) => (COHERD_SYNC_EVENT_CREATED, Some(entry)),
        Some(Event::Destroyed(blob)) => {
            let entry = Entry {
                blob,
                ..Entry::default()
            };
            (COHERD_SYNC_EVENT_DESTROYED, Some(entry))
        }
        Some(Event::Lost) => (COHERD_SYNC_EVENT_LOST, None),
    };
    let entry = (&entry.unwrap_or_default()).into();
    coherd_sync_event { kind, entry }
}

/// Ends the watch, which may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_unwatch(watch: *mut coherd_sync_watch) {
    // SAFETY: the caller's promise.
    unsafe { release(watch) };
}
