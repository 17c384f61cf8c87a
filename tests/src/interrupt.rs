//! A stop or a reset while the VMM is in the middle of a request.

use std::panic::resume_unwind;
use std::thread;

use crate::frontend::{Flavour, Frontend, Gate, Stage};
use crate::rig::Rig;

/// Every moment at which a VMM can be interrupted.
pub const MOMENTS: [(Flavour, Stage); 9] = [
    (Flavour::Qemu, Stage::Pending),
    (Flavour::Qemu, Stage::FirstPiece),
    (Flavour::Qemu, Stage::BeforeExecution),
    (Flavour::Qemu, Stage::BeforeReply),
    (Flavour::Qemu, Stage::BeforeCommit),
    (Flavour::Crosvm, Stage::Pending),
    (Flavour::Crosvm, Stage::FirstPiece),
    (Flavour::Crosvm, Stage::BeforeExecution),
    (Flavour::Crosvm, Stage::BeforeReply),
];

/// Waits until the VMM is held at `gate`, and lets it do `operation` as soon as it can: at once
/// while nothing of the request was read, else when it is done with the request.
///
/// # Panics
/// If the VMM does not come to `gate` in time.
pub fn interrupt<T: Send>(
    rig: &Rig,
    (stage, gate): (Stage, Gate),
    operation: impl FnOnce(&Frontend) -> T + Send,
) -> T {
    let frontend = &rig.frontend;
    assert!(gate.wait_held(frontend.deadline()), "no request comes");
    if stage == Stage::Pending {
        let result = operation(frontend);
        gate.open();
        return result;
    }
    thread::scope(|scope| {
        let operation = scope.spawn(|| operation(frontend));
        assert!(frontend.wait_contended(frontend.deadline()));
        gate.open();
        operation
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}
