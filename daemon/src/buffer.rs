//! Buffers that serve one command after the other.

/// Bytes a buffer keeps between commands.
const KEPT: usize = 256 << 10;

/// Gives back the memory of an unusually large command.
pub fn trim(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT {
        *buffer = Vec::new();
    }
}
