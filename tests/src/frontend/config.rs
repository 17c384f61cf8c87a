//! What to play: which VMM, with how much memory and which features.

use std::time::Duration;

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// The VMM to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// QEMU 11.1, `vhost-user-test-device-pci`.
    Qemu,
    /// crosvm, `--vhost-user gpu`.
    Crosvm,
    /// libkrun, `krun_add_vhost_user_device`.
    Libkrun,
    /// No VMM in particular: takes any backend, insists on no feature.
    General,
}

impl Flavour {
    /// Whether one main loop does everything, and a reset drops every map.
    pub(super) fn is_like_qemu(self) -> bool {
        matches!(self, Self::Qemu | Self::General)
    }
}

/// Protocol feature bits, as masks.
pub mod protocol {
    /// More than one queue, GET_QUEUE_NUM.
    pub const MQ: u64 = 1 << 0;
    /// The dirty log is a file.
    pub const LOG_SHMFD: u64 = 1 << 1;
    /// Acknowledgements on request.
    pub const REPLY_ACK: u64 = 1 << 3;
    /// The back channel.
    pub const BACKEND_REQ: u64 = 1 << 5;
    /// Configuration space.
    pub const CONFIG: u64 = 1 << 9;
    /// File descriptors on the back channel.
    pub const BACKEND_SEND_FD: u64 = 1 << 10;
    /// RESET_DEVICE.
    pub const RESET_DEVICE: u64 = 1 << 13;
    /// ADD_MEM_REG and REM_MEM_REG instead of whole tables.
    pub const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;
    /// Shared objects.
    pub const SHARED_OBJECT: u64 = 1 << 18;
    /// SET_DEVICE_STATE_FD.
    pub const DEVICE_STATE: u64 = 1 << 19;
    /// Ring addresses are guest-physical.
    pub const GPA_ADDRESSES: u64 = 1 << 21;
    /// Shared memory regions.
    pub const SHMEM: u64 = 1 << 22;
}

/// VHOST_USER_F_PROTOCOL_FEATURES, which travels among the virtio features.
pub const F_PROTOCOL_FEATURES: u64 = 1 << 30;

/// VHOST_F_LOG_ALL, which travels among the virtio features.
pub const F_LOG_ALL: u64 = 1 << 26;

/// A range of guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRange {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes.
    pub size: usize,
}

/// What to play.
#[derive(Clone, Debug)]
pub struct Config {
    /// The VMM.
    pub flavour: Flavour,
    /// virtio features the guest accepts where the backend offers them.
    pub features: u64,
    /// Protocol features to acknowledge where the backend offers them and the VMM knows them.
    pub protocol_features: u64,
    /// Guest RAM, sorted; the rings are at the start of the first range.
    pub ram: Vec<RamRange>,
    /// Queues of the device.
    pub queues: u16,
    /// Descriptors per queue, a power of two up to 1024.
    pub queue_size: u16,
    /// Bytes of the configuration space that QEMU was told.
    pub config_size: u32,
    /// Whether the backend gets a display socket; only [`Flavour::General`] has one.
    pub display: bool,
    /// Whether QEMU's device interrupts the guest for a new configuration; `vhost-user-gpu`
    /// refuses to.
    pub takes_config_changes: bool,
    /// How long the front-end waits for anything.
    pub timeout: Duration,
}

impl Config {
    /// 64 MiB of RAM at 0, two queues of 256, every feature of the GPU device.
    pub fn new(flavour: Flavour) -> Self {
        let gpu = coherd_protocol::gpu::Features::all().bits();
        Self {
            flavour,
            features: gpu
                | 1 << VIRTIO_RING_F_INDIRECT_DESC
                | 1 << VIRTIO_RING_F_EVENT_IDX
                | 1 << VIRTIO_F_VERSION_1,
            protocol_features: u64::MAX,
            ram: vec![RamRange {
                gpa: 0,
                size: 64 << 20,
            }],
            queues: 2,
            queue_size: 256,
            config_size: 24,
            display: false,
            takes_config_changes: true,
            timeout: Duration::from_secs(10),
        }
    }

    /// The protocol features that are acknowledged of those offered.
    pub(super) fn acked_protocol(&self, offered: u64) -> u64 {
        let known = match self.flavour {
            Flavour::Qemu => {
                bits(&[0, 1, 3, 5, 9, 10, 13, 14, 15, 16, 17, 18, 19])
                    | protocol::GPA_ADDRESSES
                    | protocol::SHMEM
            }
            Flavour::Crosvm => bits(&[0, 3, 5, 9, 19, 22]),
            Flavour::Libkrun => bits(&[0, 9]),
            Flavour::General => bits(&[0, 3, 5, 9, 10, 13, 18, 22]),
        };
        offered & known & self.protocol_features
    }

    /// The virtio features that reach the guest and that it accepts, of those offered.
    pub(super) fn acked_features(&self, offered: u64) -> u64 {
        let hidden = match self.flavour {
            Flavour::Crosvm => 1 << VIRTIO_RING_F_INDIRECT_DESC,
            Flavour::Qemu | Flavour::Libkrun | Flavour::General => 0,
        };
        offered & self.features & !hidden & !F_PROTOCOL_FEATURES & !F_LOG_ALL
    }
}

fn bits(numbers: &[u32]) -> u64 {
    numbers.iter().fold(0, |mask, number| mask | 1 << number)
}
