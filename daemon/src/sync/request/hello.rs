//! HELLO

use coherd_blob::Access;
use coherd_protocol::sync::limits::{DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS};
use coherd_protocol::sync::wire::{Capabilities, Hello, Welcome};
use coherd_protocol::sync::{MAGIC, Status, VERSION, text};
use tracing::debug;
use zerocopy::IntoBytes;

use super::{Answer, Hub, Refusal, Result};
use crate::coherence::kernel_has_fences;
use crate::sync::limits::{MAX_BRACKETS, MAX_OPEN, MAX_PEERS, MAX_WAITING};
use crate::sync::peer::{Peer, Standing};

/// What this server has.
pub fn capabilities() -> Capabilities {
    let mut all = Capabilities::WRITE | Capabilities::WATCH | Capabilities::DESCRIBE;
    let fences = Capabilities::EXPORT_FENCE | Capabilities::IMPORT_FENCE;
    all.set(fences, kernel_has_fences());
    all
}

impl Peer {
    /// HELLO
    pub(super) fn hello(&mut self, hub: &Hub, hello: &Hello) -> Result {
        let allowed = match self.standing {
            Standing::Stranger(access) => access,
            Standing::TurnedAway(Status::OverLimit) => return Err(Refusal::over(MAX_PEERS)),
            Standing::TurnedAway(status) => return Err(status.into()),
            // It was checked.
            Standing::Greeted(_) => return Err(Status::Failed.into()),
        };
        if !(hello.oldest.get()..=hello.version.get()).contains(&VERSION) {
            return Err(Refusal {
                status: Status::Version,
                detail: VERSION,
            });
        }
        let asked = Capabilities::from_bits_truncate(hello.capabilities.get());
        let mut granted = asked & hub.capabilities;
        if !allowed.contains(Access::WRITE) {
            granted.remove(Capabilities::WRITE);
        }
        if !granted.contains(Capabilities::WRITE) {
            granted.remove(Capabilities::IMPORT_FENCE);
        }
        self.standing = Standing::Greeted(granted);
        self.name = text::encode(&text::decode(&hello.name));
        debug!(
            peer = self.id,
            name = %text::decode(&self.name),
            pid = self.process.pid,
            capabilities = ?granted,
            "peer said hello"
        );
        let mut access = Access::READ;
        access.set(Access::WRITE, self.may_write());
        let word = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX).into();
        let welcome = Welcome {
            magic: MAGIC,
            version: VERSION.into(),
            access: access.bits().into(),
            page_size: word(rustix::param::page_size()),
            capabilities: granted.bits().into(),
            instance: hub.instance.into(),
            peer: self.id.into(),
            max_open: word(MAX_OPEN),
            max_brackets: word(MAX_BRACKETS),
            max_waiting: word(MAX_WAITING),
            default_timeout_ms: DEFAULT_TIMEOUT_MS.into(),
            max_timeout_ms: MAX_TIMEOUT_MS.into(),
            reserved: 0.into(),
            name: text::encode(concat!("coherd ", env!("CARGO_PKG_VERSION"))),
        };
        Ok(Answer::body(welcome.as_bytes().to_vec()))
    }
}
