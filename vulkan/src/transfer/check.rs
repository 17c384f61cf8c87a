//! What a transfer has to be before the GPU hears of it.

use std::sync::Arc;

use ash::vk;

use crate::logical::LogicalDevice;
use crate::memory::Memory;
use crate::transfer::TransferError;
use crate::transfer::record::{Work, buffer};

/// A copy of `size` bytes.
///
/// # Errors
/// See [`TransferError`].
pub fn copy(
    device: &Arc<LogicalDevice>,
    (source, source_offset): (&Arc<Memory>, u64),
    (destination, destination_offset): (&Arc<Memory>, u64),
    size: u64,
) -> Result<Work, TransferError> {
    usable(device, source)?;
    usable(device, destination)?;
    // VUID-vkCmdCopyBuffer-srcOffset-00113, -size-00115
    range(source.size(), source_offset, size)?;
    // VUID-vkCmdCopyBuffer-dstOffset-00114, -size-00116
    range(destination.size(), destination_offset, size)?;
    // VUID-vkCmdCopyBuffer-pRegions-00117
    if Arc::ptr_eq(source, destination) && source_offset.abs_diff(destination_offset) < size {
        return Err(TransferError::Overlap);
    }
    Ok(Work::Copy {
        source: source.clone(),
        destination: destination.clone(),
        region: vk::BufferCopy {
            src_offset: source_offset,
            dst_offset: destination_offset,
            size,
        },
    })
}

/// A fill of `size` bytes.
///
/// # Errors
/// See [`TransferError`].
pub fn fill(
    device: &Arc<LogicalDevice>,
    destination: &Arc<Memory>,
    offset: u64,
    size: u64,
    value: u32,
) -> Result<Work, TransferError> {
    usable(device, destination)?;
    // VUID-vkCmdFillBuffer-dstOffset-00024, -size-00027
    range(destination.size(), offset, size)?;
    // VUID-vkCmdFillBuffer-dstOffset-00025, -size-00028
    if !offset.is_multiple_of(4) || !size.is_multiple_of(4) {
        return Err(TransferError::Misaligned { offset, size });
    }
    Ok(Work::Fill {
        destination: destination.clone(),
        offset,
        size,
        value,
    })
}

/// VUID-vkCmdCopyBuffer-commonparent, VUID-vkCmdFillBuffer-commonparent
fn usable(device: &Arc<LogicalDevice>, memory: &Memory) -> Result<(), TransferError> {
    if !Arc::ptr_eq(device, memory.device()) {
        return Err(TransferError::OtherDevice);
    }
    buffer(memory).map(drop)
}

/// VUID-VkBufferCopy-size-01988, VUID-vkCmdFillBuffer-size-00026: there is something to do.
fn range(available: u64, offset: u64, size: u64) -> Result<(), TransferError> {
    let end = offset.checked_add(size);
    if size == 0 || end.is_none_or(|end| end > available) {
        return Err(TransferError::OutOfRange {
            offset,
            size,
            available,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_in_the_memory_and_are_not_empty() {
        assert_eq!(range(16, 0, 16), Ok(()));
        assert_eq!(range(16, 15, 1), Ok(()));
        for (offset, size) in [(0, 17), (16, 1), (0, 0), (16, 0), (u64::MAX, 2)] {
            let error = TransferError::OutOfRange {
                offset,
                size,
                available: 16,
            };
            assert_eq!(range(16, offset, size), Err(error));
        }
    }
}
