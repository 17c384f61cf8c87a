//! Feature bits this backend offers.

use coherd_protocol::gpu::Features;
use vhost::vhost_user::message::{VhostUserProtocolFeatures as Protocol, VhostUserVirtioFeatures};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// VIRTIO_RING_F_EVENT_IDX as a mask.
pub const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
/// VHOST_USER_F_PROTOCOL_FEATURES as a mask.
pub const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// VHOST_F_LOG_ALL as a mask. It is no feature that the driver gets to see.
pub const LOG_ALL: u64 = VhostUserVirtioFeatures::LOG_ALL.bits();

/// virtio feature bits: those of the device, and of the transport.
pub fn virtio(device: Features) -> u64 {
    device.bits()
        | 1 << VIRTIO_F_VERSION_1
        | 1 << VIRTIO_RING_F_INDIRECT_DESC
        | EVENT_IDX
        | PROTOCOL_FEATURES
}

/// vhost-user protocol bits; vhost adds REPLY_ACK.
///
/// SHARED_OBJECT is offered for one request, the barrier that follows a map on QEMU. Memory slots
/// make a paused QEMU with more than 5 mappings go on, and a QEMU that is reset with mappings
/// crash, so they are the user's choice. So is the dirty log, with which QEMU would move a guest and
/// leave the state of its GPU behind.
pub fn protocol(memory_slots: bool, device_state: bool, dirty_log: bool) -> Protocol {
    let mut bits = Protocol::MQ
        | Protocol::BACKEND_REQ
        | Protocol::CONFIG
        | Protocol::BACKEND_SEND_FD
        | Protocol::RESET_DEVICE
        | Protocol::SHARED_OBJECT
        | Protocol::SHMEM;
    bits.set(Protocol::CONFIGURE_MEM_SLOTS, memory_slots);
    bits.set(Protocol::DEVICE_STATE, device_state);
    bits.set(Protocol::LOG_SHMFD, dirty_log);
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shmem_is_bit_22_and_never_21() {
        let bits = protocol(true, true, true).bits();
        assert_ne!(bits & 1 << 22, 0);
        assert_eq!(bits & 1 << 21, 0);
    }

    #[test]
    fn dirty_log_is_bit_26_and_protocol_bit_1() {
        assert_eq!(LOG_ALL, 1 << 26);
        assert_ne!(protocol(false, true, true).bits() & 1 << 1, 0);
    }

    #[test]
    fn bits_that_are_not_implemented_are_not_offered() {
        let offered = protocol(false, true, false).bits();
        assert_eq!(virtio(Features::all()) & LOG_ALL, 0);
        for bit in [1, 12, 14, 15, 16, 17, 20, 21] {
            assert_eq!(offered & 1 << bit, 0, "bit {bit}");
        }
    }
}
