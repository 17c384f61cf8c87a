//! Ends of the virtual machine: what a real VMM does not survive.

use thiserror::Error;

/// Why the VMM is dead. A conforming backend never causes one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// QEMU has no device to look at while the rings are stopped.
    #[error("QEMU: SIGSEGV, request {request} was executed while the device was stopped")]
    NullDevice {
        /// SHMEM_MAP, SHMEM_UNMAP or CONFIG_CHANGE_MSG.
        request: u32,
    },
    /// QEMU maps what KVM cannot.
    #[error("QEMU: mapping {offset:#x}+{len:#x} is not page aligned")]
    Unaligned {
        /// Offset in the window.
        offset: u64,
        /// Bytes of the mapping.
        len: u64,
    },
    /// QEMU aborts when it runs out of memory slots.
    #[error("QEMU: abort, {0} memory slots are in use")]
    OutOfSlots(usize),
    /// QEMU dereferences dropped maps when a backend with memory slots is started again.
    #[error("QEMU: SIGSEGV, memory slots outlived the maps that a reset dropped")]
    StaleSlots,
    /// QEMU aborts at realize.
    #[error("QEMU: abort, the shared memory regions add up to {0:#x} bytes")]
    WindowSize(u64),
    /// crosvm takes every refused or unknown request as a crash of the device.
    #[error("crosvm: VM ended: {0}")]
    VmEnded(String),
    /// A request started and never became whole, while its receiver could do nothing else.
    #[error("request stayed incomplete: {0}")]
    Incomplete(String),
    /// A known request has an impossible size or too many bytes.
    #[error("malformed request {request} of {size} bytes")]
    Malformed {
        /// Request code.
        request: u32,
        /// Bytes of its payload.
        size: u32,
    },
    /// The backend did not answer the front-end in the middle of a backend request.
    #[error("memory table was not taken: {0}")]
    TableNotTaken(String),
    /// A gate stayed closed or an operation held the main loop for too long.
    #[error("harness waited too long: {0}")]
    Stuck(&'static str),
}
