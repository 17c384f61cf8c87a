//! What udmabuf takes, and with which error it refuses the rest.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use coherd_tests::dma_buf::{Item, Mapping, Udmabuf};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, ftruncate, memfd_create};
use rustix::io::Errno;

use super::{PAGE, SIZE, memfd};

/// Bytes of the largest dma-buf.
fn size_limit() -> u64 {
    Udmabuf::limit("size_limit_mb") << 20
}

fn part(memfd: &OwnedFd, offset: u64, size: u64) -> Item<'_> {
    let memfd = memfd.as_fd();
    Item {
        memfd,
        offset,
        size,
    }
}

#[test]
fn memfds_have_to_be_sealed_against_shrinking_and_may_not_be_against_writing() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let create = |seals| udmabuf.create_whole(&memfd::sealed(SIZE, seals)).map(drop);
    assert_eq!(create(SealFlags::SHRINK), Ok(()));
    assert_eq!(
        create(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL),
        Ok(())
    );
    assert_eq!(create(SealFlags::empty()), Err(Errno::INVAL));
    assert_eq!(create(SealFlags::GROW), Err(Errno::INVAL));
    assert_eq!(
        create(SealFlags::SHRINK | SealFlags::WRITE),
        Err(Errno::INVAL)
    );
    assert_eq!(
        create(SealFlags::SHRINK | SealFlags::FUTURE_WRITE),
        Err(Errno::INVAL)
    );
    let unsealable = memfd_create("dma-buf test", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&unsealable, SIZE).unwrap();
    assert_eq!(
        udmabuf.create_whole(&unsealable).map(drop),
        Err(Errno::INVAL)
    );
}

#[test]
fn files_that_are_no_memfds_are_refused() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let create = |file: &OwnedFd| udmabuf.create(part(file, 0, PAGE)).map(drop);
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    let on_tmpfs = rustix::fs::open("/dev/shm", flags, Mode::RUSR | Mode::WUSR).unwrap();
    ftruncate(&on_tmpfs, SIZE).unwrap();
    assert_eq!(create(&on_tmpfs), Err(Errno::INVAL));
    let elsewhere = File::open(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(create(&elsewhere.into()), Err(Errno::BADFD));
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(create(&socket.into()), Err(Errno::BADFD));
}

#[test]
fn only_whole_pages_of_the_memfd_are_taken() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let memfd = memfd::fit(SIZE);
    let create = |offset, size| udmabuf.create(part(&memfd, offset, size)).map(drop);
    assert_eq!(create(PAGE, SIZE - PAGE), Ok(()));
    for (offset, size) in [
        (0, 0),
        (0, 100),
        (100, PAGE),
        (0, SIZE + PAGE),
        (SIZE, PAGE),
        (u64::MAX - PAGE + 1, PAGE),
    ] {
        assert_eq!(
            create(offset, size),
            Err(Errno::INVAL),
            "{size} at {offset}"
        );
    }
}

#[test]
fn a_dma_buf_may_be_as_large_as_the_limit_and_no_larger() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let limit = size_limit();
    if limit > 1 << 30 {
        println!("SKIPPED: this kernel's limit is {} MiB", limit >> 20);
        return;
    }
    let memfd = memfd::fit(limit + PAGE);
    assert_eq!(limit, 64 << 20, "size_limit_mb of Linux 6.12");
    assert_eq!(udmabuf.create(part(&memfd, 0, limit)).map(drop), Ok(()));
    assert_eq!(
        udmabuf.create(part(&memfd, 0, limit + PAGE)).map(drop),
        Err(Errno::INVAL)
    );
    let halves = [
        part(&memfd, 0, limit / 2),
        part(&memfd, limit / 2, limit / 2),
    ];
    assert_eq!(udmabuf.create_list(&halves).map(drop), Ok(()));
    let more = [halves[0], halves[1], part(&memfd, limit, PAGE)];
    assert_eq!(udmabuf.create_list(&more).map(drop), Err(Errno::INVAL));
}

#[test]
fn a_list_may_be_as_long_as_the_limit_and_no_longer() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let limit = usize::try_from(Udmabuf::limit("list_limit")).unwrap();
    let memfd = memfd::fit(PAGE);
    let items = vec![part(&memfd, 0, PAGE); limit + 1];
    assert_eq!(limit, 1024);
    assert_eq!(udmabuf.create_list(&items[..limit]).map(drop), Ok(()));
    assert_eq!(udmabuf.create_list(&items).map(drop), Err(Errno::INVAL));
    assert_eq!(udmabuf.create_list(&[]).map(drop), Err(Errno::INVAL));
}

#[test]
fn pages_of_a_list_may_repeat_and_come_in_any_order() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let (first, second) = (memfd::fit(2 * PAGE), memfd::fit(PAGE));
    let items = [
        part(&second, 0, PAGE),
        part(&first, PAGE, PAGE),
        part(&first, 0, PAGE),
        part(&second, 0, PAGE),
    ];
    let page = usize::try_from(PAGE).unwrap();

    let fd = udmabuf.create_list(&items).unwrap();

    let shared = Mapping::new(&fd, 4 * page).unwrap();
    shared.write(0, b"twice");
    assert_eq!(shared.bytes(3 * page, 5), b"twice");
    shared.write(page, b"1");
    shared.write(2 * page, b"0");
    let memory = Mapping::new(&first, 2 * page).unwrap();
    assert_eq!(
        (memory.bytes(0, 1), memory.bytes(page, 1)),
        (b"0".into(), b"1".into())
    );
}

#[test]
fn pages_outlive_their_memfd() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let memfd = memfd::fit(PAGE);
    Mapping::new(&memfd, 4).unwrap().write(0, b"kept");
    let fd = udmabuf.create_whole(&memfd).unwrap();
    drop(memfd);
    assert_eq!(Mapping::new(&fd, 4).unwrap().bytes(0, 4), b"kept");
}
