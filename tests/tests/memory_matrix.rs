//! The matrix of `docs/memory-types.md`: memory, exporter and door, and what follows for an access.
//!
//! With COHERD_MATRIX set to the name of a place the matrix has to be the one that the page has
//! for it; `cargo xtask matrix --bless` writes it there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use coherd_blob::MemoryType;
use coherd_tests::dma_buf::{SystemHeap, Udmabuf, Vgem};
use coherd_tests::memory::matrix::{self, Row};
use coherd_tests::memory::{Bytes, Seen};
use coherd_tests::skip::Need;
use coherd_vulkan::{Device, EnumerateError, OpenError, Options, SelectError, Selector};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

const SIZE: u64 = 1 << 20;

/// Names the place whose matrix the page has.
const PLACE: &str = "COHERD_MATRIX";

/// Names the layer with memory that is not coherent; the loader has to find it.
const LAYER: &str = "COHERD_TEST_LAYER";

const PAGE: &str = "../docs/memory-types.md";

/// The driver on the processor, since the matrix of a real device is another one.
fn open(layers: Vec<String>) -> Option<Device> {
    let options = Options {
        layers,
        ..Options::default()
    };
    match Device::open(&Selector::Software, &options) {
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
    let mut rows = matrix::of_device(device, "lavapipe", SIZE).unwrap();
    match env::var(LAYER) {
        Ok(layer) => {
            let device = open(vec![layer]).unwrap();
            let name = "lavapipe under the test layer";
            rows.extend(matrix::of_device(&device, name, SIZE).unwrap());
        }
        Err(_) => println!("SKIPPED: {LAYER} names no layer with incoherent memory"),
    }
    for (name, fd) in files() {
        rows.extend(matrix::of_file(device, name, fd, SIZE).unwrap());
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

/// What the page has between its marks for a place.
fn section<'a>(page: &'a str, place: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("<!-- matrix: {place} -->\n"))?;
    let (section, _) = rest.split_once("<!-- end of matrix -->")?;
    Some(section)
}

#[test]
fn every_door_to_memory_shows_what_the_other_side_wrote() {
    let Some(device) = open(Vec::new()) else {
        return;
    };

    let rows = rows(&device);

    let table = matrix::table(&rows).to_string();
    println!("matrix:\n{table}end of matrix");
    for row in &rows {
        assert!(row.is_right(), "{row:?}");
        assert!(is_stale_without_brackets(row), "{row:?}");
    }
    if let Ok(place) = env::var(PLACE) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let page = fs::read_to_string(page).unwrap();
        assert_eq!(
            section(&page, &place),
            Some(table.as_str()),
            "run cargo xtask matrix --bless, and look at what changes in docs/memory-types.md"
        );
    }
}
