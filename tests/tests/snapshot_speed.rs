//! How long it takes to save a GPU with much memory. Alone in its process, because it measures.
//!
//! 64 MiB, or 1 GiB in a release build or where `COHERD_SCALE` is set.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coherd::serve::Options;
use coherd_blob::{Access, MemoryProperties};
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::blob_rig::BlobRig;
use coherd_tests::driver::blob_program::Wish;
use coherd_tests::frontend::Flavour;

const MIB: u64 = 1 << 20;
/// Blobs. A quarter of each is never touched, and a quarter is zeros.
const BLOBS: u32 = 16;

const TYPES: [MemoryProperties; 3] = [
    MemoryProperties::HOST_VISIBLE
        .union(MemoryProperties::HOST_COHERENT)
        .union(MemoryProperties::HOST_CACHED),
    MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_COHERENT),
    MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_CACHED),
];

/// How much longer a save may take than a copy of the same bytes to a file. It reads through a
/// pipe, and without optimisation checksums cost most.
const TOLERANCE: u32 = if cfg!(debug_assertions) { 200 } else { 20 };

fn size() -> u64 {
    let is_large = !cfg!(debug_assertions) || std::env::var_os("COHERD_SCALE").is_some();
    if is_large { 1024 * MIB } else { 64 * MIB }
}

fn place(id: u32, each: u64) -> u64 {
    u64::from(id) * each
}

/// What the guest writes to the second half of a blob.
fn bytes(id: u32, len: u64) -> Vec<u8> {
    let words = (0..len / 8).map(|word| (word ^ u64::from(id) << 40) | 1);
    words.flat_map(u64::to_le_bytes).collect()
}

fn fill(rig: &mut BlobRig, id: u32, each: u64) {
    let wish = Wish {
        size: each,
        required: TYPES[id as usize % TYPES.len()],
        preferred: MemoryProperties::empty(),
    };
    let object = rig.program.allocate(&mut rig.gpu, wish).unwrap().unwrap();
    rig.program.create_blob(&mut rig.gpu, id, object).unwrap();
    rig.gpu.map_blob(id, place(id, each)).unwrap();
    let begun = rig.program.start(&mut rig.gpu, id, Access::WRITE);
    begun.unwrap().unwrap();
    let window = rig.frontend.window().unwrap();
    let quarter = each / 4;
    let zeros = vec![0; usize::try_from(quarter).unwrap()];
    window.write(place(id, each) + quarter, &zeros).unwrap();
    let half = place(id, each) + 2 * quarter;
    window.write(half, &bytes(id, 2 * quarter)).unwrap();
    let ended = rig.program.end(&mut rig.gpu, id, Access::WRITE);
    ended.unwrap().unwrap();
}

/// The time of a plain copy of so many bytes to a file.
fn time_of_a_copy(each: u64) -> Duration {
    let all: Vec<Vec<u8>> = (1..=BLOBS).map(|id| bytes(id, each / 2)).collect();
    let mut file = tempfile::tempfile().unwrap();
    let began = Instant::now();
    for one in &all {
        file.write_all(one).unwrap();
    }
    began.elapsed()
}

fn rate(bytes: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap().max(1);
    bytes * 1_000_000 / micros / MIB
}

#[test]
fn gigabyte_of_memory_of_all_types_is_saved_and_loaded_with_identical_bytes() {
    let each = size() / u64::from(BLOBS);
    let gpu = Arc::new(MemoryGpu::with_heap(2 * size()));
    let mut rig = BlobRig::new(&gpu).unwrap();
    for id in 1..=BLOBS {
        fill(&mut rig, id, each);
    }
    let copied = time_of_a_copy(each);

    let began = Instant::now();
    let moving = rig.save().unwrap();
    let saved = began.elapsed();
    let written = moving.state.len() as u64;
    let began = Instant::now();
    let other = Arc::new(MemoryGpu::with_heap(2 * size()));
    let mut rig = moving
        .load(&other, Flavour::Crosvm, Options::default())
        .unwrap();
    let loaded = began.elapsed();

    let data = size() / 2;
    println!(
        "{} MiB of memory, {} MiB of them not zero: copied to a file in {copied:?} ({} MiB/s), \
         saved in {saved:?} ({} MiB/s, {:.1} times as long), loaded in {loaded:?} ({} MiB/s)",
        size() / MIB,
        data / MIB,
        rate(data, copied),
        rate(data, saved),
        saved.as_secs_f64() / copied.as_secs_f64().max(1e-6),
        rate(data, loaded),
    );
    assert!(
        written < data + data / 100 + MIB,
        "{written} bytes for {data}"
    );
    assert!(saved < copied * TOLERANCE, "{saved:?}, a copy {copied:?}");
    for id in 1..=BLOBS {
        let begun = rig.program.start(&mut rig.gpu, id, Access::READ);
        begun.unwrap().unwrap();
        let window = rig.frontend.window().unwrap();
        let len = usize::try_from(each).unwrap();
        let seen = window.read_vec(place(id, each), len).unwrap();
        let (zeros, rest) = seen.split_at(len / 2);
        assert!(zeros.iter().all(|byte| *byte == 0), "blob {id}");
        assert!(rest == bytes(id, each / 2), "blob {id}");
    }
    rig.finish().unwrap();
}
