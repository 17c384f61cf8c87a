//! What a device is, but for the bytes in its memory.

use std::io::{Read, Write};

use coherd_protocol::gpu::limits::{MAX_BACKING_ENTRIES, MAX_QUEUE_SIZE, MAX_SCANOUTS};
use coherd_protocol::gpu::{GpuError, Header, Response};
use coherd_protocol::state::{
    self, Attachment, Bracket, Cursor, DeferredChain, Device, Entry, Kind, Object, RingFlags,
    Scanout,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::SnapshotError;
use super::stream::{Reader, Writer};
use crate::device::quota::{Quota, Quotas, Scope};
use crate::vhost_user::ring::Used;

/// Attachments of a section.
const ATTACHMENTS: usize = 4096;

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The device as a whole.
    pub device: Device,
    /// Its queues.
    pub rings: Vec<RingState>,
    /// What is shown.
    pub scanouts: Vec<Scanout>,
    /// Cursors.
    pub cursors: Vec<Cursor>,
    /// Contexts.
    pub contexts: Vec<state::Context>,
    /// Resources.
    pub resources: Vec<ResourceState>,
    /// Which contexts may use which resources.
    pub attachments: Vec<Attachment>,
    /// Objects of blob contexts.
    pub objects: Vec<Object>,
    /// Accesses that have begun.
    pub brackets: Vec<Bracket>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            device: Device::new_zeroed(),
            rings: Vec::new(),
            scanouts: Vec::new(),
            cursors: Vec::new(),
            contexts: Vec::new(),
            resources: Vec::new(),
            attachments: Vec::new(),
            objects: Vec::new(),
            brackets: Vec::new(),
        }
    }
}

/// A queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingState {
    /// The position of the chain to be taken next.
    pub position: u16,
    /// Whether chains were taken.
    pub used_before: bool,
    /// Chains whose answers are written and which are to be returned.
    pub deferred: Vec<Used>,
    /// What became of the chain that was taken last, if it is to be returned too.
    pub parked: Option<Parked>,
}

/// A chain that was taken and is neither answered nor waits for a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parked {
    /// It is to be executed again.
    Unexecuted,
    /// It was executed, and this is to be written.
    Executed(Response),
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceState {
    /// What it is.
    pub of: state::Resource,
    /// Guest memory that it was given.
    pub entries: Vec<Entry>,
}

impl State {
    /// Writes all of it, and that bytes follow.
    ///
    /// # Errors
    /// [`SnapshotError::Transfer`]
    pub fn write(&self, writer: &mut Writer<impl Write>) -> Result<(), SnapshotError> {
        writer.section(Kind::Device, &[self.device.as_bytes()])?;
        for (index, ring) in (0..).zip(&self.rings) {
            ring.write(index, writer)?;
        }
        write_all(writer, Kind::Scanout, &self.scanouts)?;
        write_all(writer, Kind::Cursor, &self.cursors)?;
        write_all(writer, Kind::Context, &self.contexts)?;
        for resource in &self.resources {
            let parts = [resource.of.as_bytes(), resource.entries.as_bytes()];
            writer.section(Kind::Resource, &parts)?;
        }
        for attachments in self.attachments.chunks(ATTACHMENTS) {
            writer.section(Kind::Attachments, &[attachments.as_bytes()])?;
        }
        write_all(writer, Kind::Object, &self.objects)?;
        write_all(writer, Kind::Bracket, &self.brackets)?;
        writer.section(Kind::Described, &[])
    }

    /// Reads what [`State::write`] wrote, as far as `quotas` let a guest have it. What it means
    /// is not checked.
    ///
    /// # Errors
    /// Those of [`Reader::section`], [`SnapshotError::Quota`] and [`SnapshotError::Impossible`]
    pub fn read(reader: &mut Reader<impl Read>, quotas: &Quotas) -> Result<Self, SnapshotError> {
        let (kind, payload) = reader.section()?;
        if kind != Kind::Device {
            return Err(SnapshotError::Impossible("it does not begin with a device"));
        }
        let mut state = Self {
            device: *exact(payload)?,
            ..Self::default()
        };
        let mut entries = 0;
        loop {
            let (kind, payload) = reader.section()?;
            match kind {
                Kind::Ring => {
                    let ring = RingState::read(payload, state.rings.len())?;
                    state.rings.push(ring);
                }
                Kind::Scanout => push(&mut state.scanouts, payload)?,
                Kind::Cursor => push(&mut state.cursors, payload)?,
                Kind::Context => push(&mut state.contexts, payload)?,
                Kind::Resource => {
                    let resource = ResourceState::read(payload)?;
                    entries += resource.entries.len();
                    state.resources.push(resource);
                }
                Kind::Attachments => {
                    let some = <[Attachment]>::ref_from_bytes(payload).map_err(|_| misfit())?;
                    state.attachments.extend_from_slice(some);
                }
                Kind::Object => push(&mut state.objects, payload)?,
                Kind::Bracket => push(&mut state.brackets, payload)?,
                Kind::Described if payload.is_empty() => return Ok(state),
                Kind::Device | Kind::Contents | Kind::End | Kind::Described => {
                    return Err(SnapshotError::Impossible("a section is out of place"));
                }
            }
            let outputs = usize::try_from(MAX_SCANOUTS).unwrap_or(0);
            if state.scanouts.len() > outputs || state.cursors.len() > outputs {
                return Err(SnapshotError::Impossible("there are too many scanouts"));
            }
            let made = state.resources.len().saturating_add(state.objects.len());
            for (quota, count) in [
                (Quota::Contexts, state.contexts.len()),
                (Quota::Resources, made),
                (Quota::BackingEntries, entries),
                (Quota::Attachments, state.attachments.len()),
                (Quota::Brackets, state.brackets.len()),
            ] {
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                if count > quotas.get(Scope::Vm, quota) {
                    return Err(GpuError::Quota(quota.name()).into());
                }
            }
        }
    }
}

impl RingState {
    fn write(&self, index: u32, writer: &mut Writer<impl Write>) -> Result<(), SnapshotError> {
        let mut flags = RingFlags::empty();
        flags.set(RingFlags::USED, self.used_before);
        flags.set(RingFlags::PARKED, self.parked.is_some());
        let mut response = Vec::new();
        if let Some(Parked::Executed(answer)) = &self.parked {
            flags |= RingFlags::ANSWERED;
            answer.encode(&Header::default(), &mut response);
        }
        let chain = |used: &Used| DeferredChain {
            head: used.head.into(),
            reserved: 0.into(),
            len: used.len.into(),
        };
        let deferred: Vec<DeferredChain> = self.deferred.iter().map(chain).collect();
        let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).into();
        let ring = state::Ring {
            index: index.into(),
            flags: flags.bits().into(),
            position: u32::from(self.position).into(),
            deferred: number(deferred.len()),
            response: number(response.len()),
            reserved: 0.into(),
        };
        let parts = [ring.as_bytes(), deferred.as_bytes(), &response];
        writer.section(Kind::Ring, &parts)
    }

    fn read(payload: &[u8], place: usize) -> Result<Self, SnapshotError> {
        let (ring, rest) = state::Ring::ref_from_prefix(payload).map_err(|_| misfit())?;
        let flags = RingFlags::from_bits(ring.flags.get());
        let flags = flags.ok_or(SnapshotError::Impossible("a queue has unknown flags"))?;
        let count = size(ring.deferred.get());
        if size(ring.index.get()) != place
            || place > 1
            || count > usize::from(MAX_QUEUE_SIZE)
            || ring.reserved.get() != 0
        {
            return Err(SnapshotError::Impossible("a queue is none of a GPU"));
        }
        let (deferred, response) =
            <[DeferredChain]>::ref_from_prefix_with_elems(rest, count).map_err(|_| misfit())?;
        if response.len() != size(ring.response.get()) {
            return Err(misfit());
        }
        let parked = match (
            flags.contains(RingFlags::PARKED),
            flags.contains(RingFlags::ANSWERED),
        ) {
            (false, false) if response.is_empty() => None,
            (true, false) if response.is_empty() => Some(Parked::Unexecuted),
            (true, true) => {
                let response = Response::decode(response);
                let unknown = SnapshotError::Impossible("an answer is none of a GPU");
                Some(Parked::Executed(response.ok_or(unknown)?))
            }
            _ => {
                return Err(SnapshotError::Impossible(
                    "a queue has an answer to nothing",
                ));
            }
        };
        let position = u16::try_from(ring.position.get());
        Ok(Self {
            position: position
                .map_err(|_| SnapshotError::Impossible("a queue's position is none"))?,
            used_before: flags.contains(RingFlags::USED),
            deferred: deferred
                .iter()
                .map(|chain| Used {
                    head: chain.head.get(),
                    len: chain.len.get(),
                })
                .collect(),
            parked,
        })
    }
}

impl ResourceState {
    fn read(payload: &[u8]) -> Result<Self, SnapshotError> {
        let (of, rest) = state::Resource::ref_from_prefix(payload).map_err(|_| misfit())?;
        let entries = <[Entry]>::ref_from_bytes(rest).map_err(|_| misfit())?;
        if size(of.entries.get()) != entries.len() || of.entries.get() > MAX_BACKING_ENTRIES {
            return Err(misfit());
        }
        Ok(Self {
            of: *of,
            entries: entries.to_vec(),
        })
    }
}

fn write_all<T: IntoBytes + Immutable>(
    writer: &mut Writer<impl Write>,
    kind: Kind,
    all: &[T],
) -> Result<(), SnapshotError> {
    all.iter()
        .try_for_each(|one| writer.section(kind, &[one.as_bytes()]))
}

fn push<T>(all: &mut Vec<T>, payload: &[u8]) -> Result<(), SnapshotError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned + Copy,
{
    all.push(*exact(payload)?);
    Ok(())
}

fn exact<T>(payload: &[u8]) -> Result<&T, SnapshotError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_bytes(payload).map_err(|_| misfit())
}

fn misfit() -> SnapshotError {
    SnapshotError::Impossible("a section has a wrong length")
}

fn size(word: u32) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use coherd_protocol::state::{Memory, Resource};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bytes_of<T: FromBytes + std::fmt::Debug>() -> impl Strategy<Value = T> {
        vec(any::<u8>(), size_of::<T>())
            .prop_map(|bytes| T::read_from_bytes(&bytes).unwrap_or_else(|_| panic!("a size")))
    }

    fn ring() -> impl Strategy<Value = RingState> {
        let parked = prop_oneof![
            Just(None),
            Just(Some(Parked::Unexecuted)),
            (1..=3u32).prop_map(|info| Some(Parked::Executed(Response::MapInfo(info)))),
            vec(any::<u8>(), 0..200)
                .prop_map(|bytes| Some(Parked::Executed(Response::Capset(bytes)))),
        ];
        let used = (any::<u16>(), any::<u32>()).prop_map(|(head, len)| Used { head, len });
        (any::<u16>(), any::<bool>(), vec(used, 0..9), parked).prop_map(
            |(position, used_before, deferred, parked)| RingState {
                position,
                used_before,
                deferred,
                parked,
            },
        )
    }

    fn resource() -> impl Strategy<Value = ResourceState> {
        (bytes_of::<Resource>(), vec(bytes_of::<Entry>(), 0..20)).prop_map(|(mut of, entries)| {
            of.entries = u32::try_from(entries.len()).unwrap().into();
            ResourceState { of, entries }
        })
    }

    prop_compose! {
        /// A state in which nothing need make sense.
        pub fn state()(
            device in bytes_of::<Device>(),
            rings in vec(ring(), 0..=2),
            scanouts in vec(bytes_of::<Scanout>(), 0..=16),
            cursors in vec(bytes_of::<Cursor>(), 0..=16),
            contexts in vec(bytes_of::<state::Context>(), 0..9),
            resources in vec(resource(), 0..9),
            attachments in vec(bytes_of::<Attachment>(), 0..9),
            objects in vec(bytes_of::<Object>(), 0..9),
            brackets in vec(bytes_of::<Bracket>(), 0..9),
        ) -> State {
            State {
                device, rings, scanouts, cursors, contexts, resources, attachments, objects, brackets,
            }
        }
    }

    fn written(state: &State) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        state.write(&mut writer).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8], quotas: &Quotas) -> Result<State, SnapshotError> {
        State::read(&mut Reader::new(bytes)?, quotas)
    }

    proptest! {
        #[test]
        fn state_is_read_as_it_was_written(state in state()) {
            prop_assert_eq!(read(&written(&state), &Quotas::default()).unwrap(), state);
        }

        #[test]
        fn state_that_is_cut_is_refused(state in state(), cut in any::<prop::sample::Index>()) {
            let bytes = written(&state);
            let cut = cut.index(bytes.len());
            prop_assert!(read(&bytes[..cut], &Quotas::default()).is_err());
        }
    }

    #[test]
    fn more_than_a_quota_is_refused_before_it_is_kept() {
        let mut quotas = Quotas::default();
        quotas.set(Scope::Vm, Quota::Contexts, 2).unwrap();
        let mut state = State::default();
        state.contexts.resize(2, state::Context::new_zeroed());
        assert!(read(&written(&state), &quotas).is_ok());
        state.contexts.resize(3, state::Context::new_zeroed());
        let error = read(&written(&state), &quotas).unwrap_err();
        assert!(matches!(
            error,
            SnapshotError::Quota(GpuError::Quota("contexts"))
        ));
    }

    #[test]
    fn memory_is_as_long_as_the_page_says() {
        assert_eq!(size_of::<Memory>(), 152);
    }
}
