//! Memory of this process that a guest's large moments must not leave behind.

/// Bytes a buffer keeps between commands.
const KEPT: usize = 256 << 10;

/// Gives back the memory of an unusually large command.
pub fn trim(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT {
        *buffer = Vec::new();
    }
}

/// Gives what is free in the heap back to the system. It takes about a millisecond.
///
/// glibc keeps free memory below a threshold that grows with the largest allocation it has seen,
/// to tens of megabytes after a large table.
pub fn release() {
    // SAFETY: malloc_trim has no preconditions and moves nothing that is allocated.
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "the standard library has no such call")]
    unsafe {
        libc::malloc_trim(0);
    }
}
