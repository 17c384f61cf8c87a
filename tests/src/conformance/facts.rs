//! What a backend has.

use coherd_protocol::gpu::Features;
use coherd_protocol::gpu::capset::CAPSET_VENUS;
use coherd_protocol::gpu::wire::CapsetInfo;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::case::Need;
use crate::frontend::{Frontend, protocol};

/// Bytes of the configuration space before VIRTIO 1.4, which has `blob_alignment` after them.
pub const CONFIG_LEN: u32 = 16;

/// What a backend has.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// virtio features that it offers.
    pub offered: u64,
    /// The configuration space, if there is one.
    pub config: Option<Config>,
    /// Bytes of the host-visible window, if there is one.
    pub window: Option<u64>,
    /// The capability sets it tells of.
    pub capsets: Vec<CapsetInfo>,
    /// Why the capability sets could not be found out.
    pub unknown: Option<String>,
    /// Number of the object that a context of [`CAPSET_VENUS`] has without a command.
    pub blob_id: u64,
}

/// Why a case cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The backend does not offer this.
    NotOffered(String),
    /// The backend did not say whether it offers it, for this reason.
    Unknown(String),
}

/// The configuration space, VIRTIO 1.4 section 5.7.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Scanouts.
    pub num_scanouts: u32,
    /// Capability sets.
    pub num_capsets: u32,
    /// Alignment of blobs in bytes, 1 where BLOB_ALIGNMENT is not offered.
    pub blob_alignment: u64,
}

impl Facts {
    /// What can be found out without a command.
    pub fn of(frontend: &Frontend, blob_id: u64) -> Self {
        let offered = frontend.offered_features();
        let aligned = offered & Features::BLOB_ALIGNMENT.bits() != 0;
        let len = if aligned { CONFIG_LEN + 4 } else { CONFIG_LEN };
        let config = Some(frontend)
            .filter(|frontend| frontend.protocol_features() & protocol::CONFIG != 0)
            .and_then(|frontend| frontend.get_config(0, len).ok())
            .map(|bytes| Config::from_bytes(&bytes));
        Self {
            offered,
            config,
            window: frontend.window().map(|window| window.size()),
            capsets: Vec::new(),
            unknown: None,
            blob_id,
        }
    }

    /// Scanouts; one where the backend does not say, or says none and leaves it to the VMM.
    pub fn scanouts(&self) -> u32 {
        self.config.map_or(1, |config| config.num_scanouts.max(1))
    }

    /// Smallest size of a blob that the device takes, also the granularity of the window.
    pub fn blob_alignment(&self) -> u64 {
        self.config
            .map_or(1, |config| config.blob_alignment)
            .max(crate::driver::PAGE)
    }

    /// The capset for contexts that render.
    pub fn capset(&self) -> Option<u32> {
        let ids = || self.capsets.iter().map(|capset| capset.capset_id.get());
        ids()
            .find(|id| *id == CAPSET_VENUS)
            .or_else(|| ids().next())
    }

    /// What is missing, if anything is.
    pub fn lack(&self, need: Need) -> Option<Lack> {
        let missing = self.missing(need)?;
        let about_capsets = matches!(need, Need::Capset | Need::HostBlob);
        Some(match &self.unknown {
            Some(why) if about_capsets => {
                Lack::Unknown(format!("capability sets cannot be found out: {why}"))
            }
            _ => Lack::NotOffered(missing),
        })
    }

    fn missing(&self, need: Need) -> Option<String> {
        let has = |bit: u64| self.offered & bit != 0;
        match need {
            Need::Device(features) => {
                let missing = features - Features::from_bits_truncate(self.offered);
                let mut names = missing.iter_names().map(|(name, _)| name);
                names.next().map(|name| format!("{name} is not offered"))
            }
            Need::Ring(bit, name) => (!has(1 << bit)).then(|| format!("{name} is not offered")),
            Need::Config => {
                let missing = self.config.is_none();
                missing.then(|| "no configuration space over vhost-user".to_owned())
            }
            Need::Window => {
                let missing = self.window.is_none();
                missing.then(|| "no host-visible memory region".to_owned())
            }
            Need::Capset => {
                let missing = self.capset().is_none();
                missing.then(|| "no capability set".to_owned())
            }
            Need::HostBlob => {
                let missing = self.capset() != Some(CAPSET_VENUS);
                missing.then(|| "no blob without a command stream".to_owned())
            }
        }
    }

    /// The features, for people.
    pub fn describe(&self) -> String {
        let device = Features::from_bits_truncate(self.offered);
        let mut parts: Vec<String> = device.iter_names().map(|(name, _)| name.into()).collect();
        for (bit, name) in [
            (VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC"),
            (VIRTIO_RING_F_EVENT_IDX, "EVENT_IDX"),
            (VIRTIO_F_VERSION_1, "VERSION_1"),
        ] {
            if self.offered & 1 << bit != 0 {
                parts.push(name.to_owned());
            }
        }
        if let Some(size) = self.window {
            parts.push(format!("a window of {} MiB", size >> 20));
        }
        if !self.capsets.is_empty() {
            let ids: Vec<String> = self
                .capsets
                .iter()
                .map(|capset| capset.capset_id.get().to_string())
                .collect();
            parts.push(format!("capsets {}", ids.join(" ")));
        }
        parts.join(", ")
    }
}

impl Config {
    /// Decodes what there is; the fields after it are zero.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let word = |offset: usize| {
            let field = bytes.get(offset..).and_then(<[u8]>::first_chunk);
            field.map_or(0, |word| u32::from_le_bytes(*word))
        };
        Self {
            num_scanouts: word(8),
            num_capsets: word(12),
            blob_alignment: u64::from(word(16)).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_sets_that_are_not_told_are_not_taken_for_none() {
        let none = Facts::default();
        let silent = Facts {
            unknown: Some("no answer".to_owned()),
            ..Facts::default()
        };

        for need in [Need::Capset, Need::HostBlob] {
            assert!(matches!(none.lack(need), Some(Lack::NotOffered(_))));
            assert!(matches!(silent.lack(need), Some(Lack::Unknown(_))));
        }
        assert!(matches!(
            silent.lack(Need::Window),
            Some(Lack::NotOffered(_))
        ));
    }
}
