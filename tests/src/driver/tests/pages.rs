//! The page allocator.

use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::driver::{DriverError, Pages};

fn pages() -> Pages {
    let ranges = [(GuestAddress(0), 0x8000), (GuestAddress(1 << 32), 0x4000)];
    Pages::new(&GuestMemoryMmap::from_ranges(&ranges).unwrap(), 0x1001)
}

#[test]
fn pages_follow_the_reserved_ones_and_reach_above_4_gib() {
    let mut pages = pages();

    assert_eq!(pages.alloc(1).unwrap(), GuestAddress(0x2000));
    assert_eq!(pages.alloc(0x5000).unwrap(), GuestAddress(0x3000));
    assert_eq!(pages.alloc(0x4000).unwrap(), GuestAddress(1 << 32));
    assert!(matches!(pages.alloc(1), Err(DriverError::OutOfPages)));
}

#[test]
fn freed_pages_grow_together() {
    let mut pages = pages();
    let taken: Vec<_> = (0..6).map(|_| pages.alloc(100).unwrap()).collect();

    for index in [1, 3, 2, 0, 5, 4] {
        pages.free(taken[index], 100);
    }

    assert_eq!(pages.alloc(0x6000).unwrap(), GuestAddress(0x2000));
}
