//! `coherd::window::HostWindow` against a VMM that refuses, breaks or was stopped.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use arbitrary::{Result, Unstructured};
use coherd::vhost_user::back_channel::BackChannelError;
use coherd::window::{HostWindow, HostWindowError, Vmm};
use coherd_blob::backing::ExportKind;
use coherd_blob::{Backing, Mapping, Window, WindowError};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::vmm::{Flavour, PAGE, VmmWindow, WINDOW};

/// A request with this fate meets a stopped device.
const STOPPED: u8 = 253;

struct State {
    window: VmmWindow,
    fate: u8,
    /// Whether a request had another fate than to be carried out.
    failed: bool,
}

struct Recorder(Mutex<State>);

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic goes on")
    }

    fn serve(
        &self,
        change: impl FnOnce(&mut VmmWindow, u8) -> std::result::Result<(), BackChannelError>,
    ) -> std::result::Result<(), BackChannelError> {
        let mut state = self.lock();
        let fate = state.fate;
        let result = if fate == STOPPED {
            Err(BackChannelError::Stopped)
        } else {
            change(&mut state.window, fate)
        };
        state.failed |= result.is_err();
        result
    }
}

impl Vmm for Recorder {
    fn map(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        shm_offset: u64,
        len: u64,
    ) -> std::result::Result<(), BackChannelError> {
        self.serve(|window, fate| window.map(fd, [fd_offset, shm_offset, len], fate))
    }

    fn unmap(&self, shm_offset: u64, len: u64) -> std::result::Result<(), BackChannelError> {
        self.serve(|window, fate| window.unmap(shm_offset, len, fate))
    }

    fn unmaps_on_reset(&self) -> bool {
        self.lock().window.unmaps_on_reset()
    }
}

/// Maps, unmaps and resets, and compares what the daemon and the VMM believe.
///
/// # Errors
/// [`arbitrary::Error`] once the input ends.
pub fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let budget = u.int_in_range(1..=5)?;
    let flavour = *u.choose(&[Flavour::Qemu, Flavour::Crosvm])?;
    let vmm = Arc::new(Recorder(Mutex::new(State {
        window: VmmWindow::new(flavour),
        fate: 0,
        failed: false,
    })));
    let table = Window::new(WINDOW, PAGE, budget);
    let mut window = HostWindow::new(table, Arc::clone(&vmm), Arc::default());
    let backings = [1, 2, 5].map(backing);
    let mut live: Vec<Mapping> = Vec::new();
    let mut spotless = true;
    while !u.is_empty() {
        {
            let mut state = vmm.lock();
            state.fate = u.arbitrary()?;
            state.failed = false;
        }
        match u.int_in_range(0..=7u8)? {
            0..=4 => {
                let backing = u.choose(&backings)?;
                let offset = offset(u)?;
                match window.map(offset, backing) {
                    Ok(mapping) => {
                        assert_eq!((mapping.offset, mapping.len), (offset, backing.size()));
                        live.push(mapping);
                    }
                    Err(HostWindowError::Window(error)) => {
                        let failed = vmm.lock().failed;
                        assert!(!failed, "{error} after the VMM was asked");
                        let known = (live.as_slice(), budget, spotless);
                        check_refusal(&error, known, (offset, backing.size()));
                    }
                    Err(error) => assert!(vmm.lock().failed, "{error} without a reason"),
                }
            }
            5..=6 if !live.is_empty() => {
                let mapping = live.swap_remove(u.choose_index(live.len())?);
                match window.unmap(mapping) {
                    Ok(()) => assert!(!vmm.lock().window.has(mapping.offset, mapping.len)),
                    Err(HostWindowError::Stopped) => live.push(mapping),
                    // The range is stuck; the resource is rid of it.
                    Err(error) => assert!(vmm.lock().failed, "{error} without a reason"),
                }
            }
            _ => {
                vmm.lock().window.reset();
                window.reset();
                live.clear();
            }
        }
        let state = vmm.lock();
        spotless &= !state.failed || state.fate == STOPPED;
        assert!(window.len() <= budget, "over the budget");
        assert!(state.window.len() <= window.len(), "the VMM has more");
        let known = |mapping: &Mapping| state.window.has(mapping.offset, mapping.len);
        assert!(live.iter().all(known), "the VMM has less");
    }
    Ok(())
}

/// A refusal has its reason in what was asked, in the live mappings, or in ranges that are stuck
/// because a request failed.
fn check_refusal(
    error: &WindowError,
    (live, budget, spotless): (&[Mapping], usize, bool),
    (offset, len): (u64, u64),
) {
    let fits =
        offset.is_multiple_of(PAGE) && offset.checked_add(len).is_some_and(|end| end <= WINDOW);
    let mut others = live.iter();
    match error {
        WindowError::Unaligned { .. } | WindowError::Outside { .. } => assert!(!fits),
        WindowError::Busy { .. } => {
            assert!(fits);
            assert!(
                !spotless
                    || others
                        .any(|known| known.offset < offset + len
                            && offset < known.offset + known.len)
            );
        }
        WindowError::Budget(_) => assert!(fits && (!spotless || live.len() >= budget)),
    }
}

fn offset(u: &mut Unstructured<'_>) -> Result<u64> {
    if u.int_in_range(0..=15u8)? == 15 {
        return u.arbitrary();
    }
    Ok(PAGE * u.int_in_range(0..=WINDOW / PAGE)?)
}

fn backing(pages: u64) -> Backing {
    let fd = memfd_create("blob", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let fd = fd.expect("a memfd");
    ftruncate(&fd, pages * PAGE).expect("a memfd takes any size");
    Backing::new(fd, ExportKind::Shm, pages * PAGE).expect("a backing")
}
