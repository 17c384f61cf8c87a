//! The matrix of `docs/memory-types.md`: memory, exporter and door, and what follows for an access.
//!
//! `cargo xtask dma-buf` runs this program where every exporter is, and has it compare the matrix
//! with the page; `cargo xtask matrix --bless` writes it there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use coherd_blob::MemoryType;
use coherd_tests::dma_buf::{SystemHeap, Udmabuf, Vgem};
use coherd_tests::memory::matrix::{self, Row};
use coherd_tests::memory::{Bytes, MemoryError, Seen};
use coherd_tests::skip::Need;
use coherd_vulkan::{Device, EnumerateError, OpenError, Options, SelectError, Selector};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

const SIZE: u64 = 1 << 20;

/// Set where the matrix has to be the one of the page.
const COMPARE: &str = "COHERD_COMPARE_MATRIX";

const PAGE: &str = "../docs/memory-types.md";
const BEGIN: &str = "<!-- matrix -->\n";
const END: &str = "<!-- end of matrix -->\n";

/// The layer with memory that is not coherent.
const LAYER: &str = "VK_LAYER_COHERD_incoherent";

/// The driver on the processor, since the matrix of a real device is another one.
fn open(options: &Options) -> Result<Device, OpenError> {
    Device::open(&Selector::Software, options)
}

fn plain() -> Option<Device> {
    match open(&Options::default()) {
        Ok(device) => Some(device),
        Err(
            OpenError::Enumerate(EnumerateError::Loader(_))
            | OpenError::Select(SelectError::NoDevice | SelectError::NotThere { .. }),
        ) => {
            Need::Vulkan.skip("Vulkan driver on the processor").unwrap();
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn layered() -> Option<Device> {
    let options = Options {
        layers: vec![LAYER.to_owned()],
        ..Options::default()
    };
    match open(&options) {
        Ok(device) => Some(device),
        Err(OpenError::Enumerate(EnumerateError::NoLayer(_))) => {
            println!("SKIPPED: no Vulkan layer {LAYER}; VK_ADD_LAYER_PATH says where it is");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn memfd() -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = memfd_create("matrix", flags).unwrap();
    ftruncate(&memfd, SIZE).unwrap();
    fcntl_add_seals(&memfd, SealFlags::SHRINK).unwrap();
    memfd
}

/// Files of every exporter this machine has.
fn files() -> Vec<(&'static str, OwnedFd)> {
    let mut files = vec![("a memfd, imported", memfd())];
    if let Some(udmabuf) = Udmabuf::find().unwrap() {
        let fd = udmabuf.create_whole(&memfd()).unwrap();
        files.push(("udmabuf, imported", fd));
    }
    if let Some(heap) = SystemHeap::find().unwrap() {
        files.push(("the system heap, imported", heap.allocate(SIZE).unwrap()));
    }
    if let Some(vgem) = Vgem::find().unwrap() {
        let fd = vgem.allocate(SIZE).unwrap().fd().unwrap();
        files.push(("vgem, imported", fd));
    }
    files
}

fn rows(device: &Device) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name: &str, more: Result<Vec<Row>, MemoryError>| {
        rows.extend(more.unwrap_or_else(|error| panic!("{name}: {error:?}")));
    };
    add("lavapipe", matrix::of_device(device, "lavapipe", SIZE));
    if let Some(layered) = layered() {
        let name = "lavapipe, test layer";
        add(name, matrix::of_device(&layered, name, SIZE));
    }
    for (name, fd) in files() {
        add(name, matrix::of_file(device, name, fd, SIZE));
    }
    rows
}

/// Without flush and invalidate nothing is seen of incoherent memory: else the tests that use the
/// layer prove nothing.
fn is_stale_without_brackets(row: &Row) -> bool {
    let incoherent = MemoryType::from_properties(row.properties)
        .is_some_and(|memory_type| !memory_type.coherent);
    let stale = Bytes {
        by_device: Seen::Stale,
        by_cpu: Seen::Stale,
    };
    !incoherent || row.bare == Some(stale)
}

/// A guest is told nothing of a file whose mapping nobody knows.
fn is_no_guess(row: &Row) -> bool {
    row.exporter.is_none() || row.file_caching.is_some() || row.map_info.is_none()
}

/// What the page has between its marks.
fn kept(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once(BEGIN)?;
    let (kept, _) = rest.split_once(END)?;
    Some(kept)
}

#[test]
fn every_door_to_memory_shows_what_the_other_side_wrote() {
    let Some(device) = plain() else {
        return;
    };

    let rows = rows(&device);

    let table = matrix::table(&rows).to_string();
    println!("matrix:\n{table}end of matrix");
    for row in &rows {
        assert!(row.is_right(), "{row:?}");
        assert!(is_stale_without_brackets(row), "{row:?}");
        assert!(is_no_guess(row), "{row:?}");
    }
    if env::var_os(COMPARE).is_some() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let page = fs::read_to_string(page).unwrap();
        assert_eq!(
            kept(&page),
            Some(table.as_str()),
            "run cargo xtask matrix --bless, and look at what changes in docs/memory-types.md"
        );
    }
}
