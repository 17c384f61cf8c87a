//! Blobs in the window.

use coherd_protocol::gpu::wire::MapInfoBody;
use vhost::vhost_user::message::BackendReq;
use zerocopy::FromBytes;

use super::bench::Bench;
use super::case::Outcome;
use super::failure::{Failure, ensure};
use crate::driver::Request;
use crate::frontend::Event;

/// The context of host blobs.
pub const CTX: u32 = 1;

/// Bytes of the blobs of these cases.
pub fn size(bench: &Bench<'_>) -> u64 {
    bench.facts().blob_alignment() * 4
}

/// Creates context [`CTX`] and mappable host blobs in it.
pub fn blobs(bench: &mut Bench<'_>, ids: &[u32]) -> Outcome {
    bench.context(CTX)?;
    let size = size(bench);
    for id in ids {
        let blob = bench.host_blob(CTX, *id, size);
        bench.ok(&blob.request(&[]))?;
        bench.ok(&Request::ctx_attach(CTX, *id))?;
    }
    Ok(())
}

/// Maps a blob and returns the map_info.
pub fn map(bench: &mut Bench<'_>, id: u32, offset: u64) -> Result<u32, Failure> {
    let len = size_of::<MapInfoBody>();
    let bytes = bench.data(&Request::map_blob(id, offset), 0x1106, len)?;
    let body = MapInfoBody::read_from_bytes(&bytes);
    let body = body.map_err(|_| Failure::Wrong("answer is too short".to_owned()))?;
    Ok(body.map_info.get())
}

/// The guest finds `seed` all over a mapping of a blob.
pub fn expect_bytes(bench: &Bench<'_>, offset: u64, seed: u8) -> Outcome {
    let len = usize::try_from(size(bench)).unwrap_or(0);
    let seen = bench.window()?.read_vec(offset, len)?;
    ensure(seen.iter().all(|byte| *byte == seed), || {
        format!("other bytes at {offset:#x} of the window")
    })
}

/// The guest writes `seed` all over a mapping of a blob.
pub fn write_bytes(bench: &Bench<'_>, offset: u64, seed: u8) -> Outcome {
    let len = usize::try_from(size(bench)).unwrap_or(0);
    Ok(bench.window()?.write(offset, &vec![seed; len])?)
}

/// The VMM was asked for exactly these mappings, by offset.
pub fn expect_mapped(bench: &Bench<'_>, offsets: &[u64]) -> Outcome {
    let size = size(bench);
    let mappings = bench.window()?.mappings();
    let seen: Vec<u64> = mappings.iter().map(|mapping| mapping.shm_offset).collect();
    ensure(seen == offsets, || {
        format!("mappings at {seen:x?} instead of {offsets:x?}")
    })?;
    ensure(mappings.iter().all(|mapping| mapping.len == size), || {
        "a mapping has not the size of its blob".to_owned()
    })
}

/// The VMM is asked for no change of the window while `act` runs.
pub fn unasked(bench: &mut Bench<'_>, act: impl FnOnce(&mut Bench<'_>) -> Outcome) -> Outcome {
    let mark = bench.frontend.log().mark();
    act(bench)?;
    let events = bench.frontend.log().since(mark);
    let asked = events.iter().find_map(|event| match event {
        Event::Taken { request, .. } => BackendReq::try_from(*request).ok().filter(is_change),
        _ => None,
    });
    ensure(asked.is_none(), || {
        let asked = asked.map(|request| format!("{request:?}"));
        format!("VMM was asked for {}", asked.unwrap_or_default())
    })
}

fn is_change(request: &BackendReq) -> bool {
    matches!(request, BackendReq::SHMEM_MAP | BackendReq::SHMEM_UNMAP)
}
