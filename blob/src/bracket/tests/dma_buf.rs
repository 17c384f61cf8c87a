//! Brackets of dma-bufs, and what all that may wait have in common.

use super::*;

#[test]
fn flags_are_those_of_the_kernel() {
    let table = [
        (Edge::Start, READ, 1),
        (Edge::Start, WRITE, 2),
        (Edge::Start, BOTH, 3),
        (Edge::End, READ, 5),
        (Edge::End, WRITE, 6),
        (Edge::End, BOTH, 7),
    ];
    for (edge, access, flags) in table {
        assert_eq!(dma_buf_sync_flags(edge, access), flags);
    }
}

#[test]
fn lone_bracket_of_a_dma_buf_names_its_own_access() {
    for access in [READ, WRITE, BOTH] {
        let mut book = book(Means::DmaBuf);
        let begun = begin(&mut book, A, access, 10..20);
        assert_eq!(begun.actions, [start(access)]);
        assert_eq!(book.started(begun.id), Ok(Started::Open(vec![])));
        assert_eq!(book.end(A, begun.id), Ok(vec![stop(access)]));
        assert!(book.is_empty());
    }
}

#[test]
fn each_reader_of_a_dma_buf_starts_and_ends() {
    let mut book = book(Means::DmaBuf);
    let first = open(&mut book, A, READ);
    let second = begin(&mut book, B, READ, 0..SIZE);
    assert_eq!(second.actions, [start(READ)]);
    assert_eq!(book.started(second.id), Ok(Started::Open(vec![])));
    assert_eq!(book.end(A, first), Ok(vec![stop(READ)]));
    assert_eq!(book.end(B, second.id), Ok(vec![stop(READ)]));
}

#[test]
fn writer_among_others_asks_for_no_read() {
    for access in [READ, WRITE, BOTH] {
        let mut book = book(Means::DmaBuf);
        open(&mut book, A, access);
        assert_eq!(
            begin(&mut book, B, WRITE, 0..SIZE).actions,
            [start(WRITE)],
            "{access:?}"
        );
    }
}

#[test]
fn reader_first_saves_what_others_wrote() {
    for access in [READ, BOTH] {
        let mut book = book(Means::DmaBuf);
        open(&mut book, A, WRITE);
        let reader = begin(&mut book, B, access, 0..SIZE);
        assert_eq!(
            reader.actions,
            [stop(WRITE), start(WRITE), start(access)],
            "{access:?}"
        );
    }
}

#[test]
fn reader_that_ends_leaves_its_end_to_the_writer() {
    let mut book = book(Means::DmaBuf);
    let reader = open(&mut book, A, READ);
    let writer = open(&mut book, B, WRITE);
    assert_eq!(book.end(A, reader), Ok(vec![]));
    assert_eq!(book.end(B, writer), Ok(vec![stop(BOTH)]));
}

#[test]
fn writer_that_ends_is_flushed_while_another_goes_on() {
    let mut book = book(Means::DmaBuf);
    let first = open(&mut book, A, WRITE);
    let second = open(&mut book, B, WRITE);
    assert_eq!(book.end(A, first), Ok(vec![stop(WRITE), start(WRITE)]));
    assert_eq!(book.end(B, second), Ok(vec![stop(WRITE)]));
}

#[test]
fn failed_start_needs_no_end() {
    let mut book = book(Means::DmaBuf);
    let begun = begin(&mut book, A, BOTH, 0..SIZE);
    assert_eq!(book.failed(begun.id), Ok(vec![]));
    assert!(book.is_empty());
    assert_eq!(book.started(begun.id), Err(BracketError::Unknown));
    assert_eq!(book.failed(begun.id), Err(BracketError::Unknown));
}

#[test]
fn failed_start_of_a_writer_ends_what_was_left_to_it() {
    let mut book = book(Means::DmaBuf);
    let reader = open(&mut book, A, READ);
    let writer = begin(&mut book, B, WRITE, 0..SIZE);
    assert_eq!(book.end(A, reader), Ok(vec![]));
    assert_eq!(book.failed(writer.id), Ok(vec![stop(READ)]));
    assert!(book.is_empty());
}

#[test]
fn failed_start_leaves_others_alone() {
    let mut book = book(Means::DmaBuf);
    let reader = open(&mut book, A, READ);
    let failing = begin(&mut book, B, READ, 0..SIZE);
    assert_eq!(book.failed(failing.id), Ok(vec![]));
    assert_eq!(book.end(A, reader), Ok(vec![stop(READ)]));
}

#[test]
fn start_is_given_up_at_its_deadline_and_ends_when_it_is_through() {
    let mut book = book(Means::DmaBuf);
    let now = Instant::now();
    let deadline = now + Duration::from_millis(5);
    let begun = book.begin(A, WRITE, 0..SIZE, deadline).unwrap();
    assert_eq!(book.next_deadline(), Some(deadline));
    assert_eq!(book.end(A, begun.id), Err(BracketError::NotStarted));

    assert_eq!(book.expire(now), []);
    assert_eq!(book.expire(deadline), [(A, begun.id)]);

    assert_eq!(book.expire(deadline), []);
    assert_eq!(book.next_deadline(), None);
    assert_eq!(book.end(A, begun.id), Err(BracketError::Unknown));
    assert_eq!(book.len(), 1);
    assert_eq!(
        book.started(begun.id),
        Ok(Started::TooLate(vec![stop(WRITE)]))
    );
    assert!(book.is_empty());
}

#[test]
fn who_gave_up_writing_is_no_writer() {
    let mut book = book(Means::DmaBuf);
    hold(&mut book, A, WRITE, 0..SIZE);
    assert_eq!(book.abandon(A), []);
    assert_eq!(begin(&mut book, B, READ, 0..SIZE).actions, [start(READ)]);
}

#[test]
fn open_brackets_do_not_expire() {
    let mut book = book(Means::DmaBuf);
    let now = Instant::now();
    let begun = book.begin(A, READ, 0..SIZE, now).unwrap();
    assert_eq!(book.started(begun.id), Ok(Started::Open(vec![])));
    assert_eq!(book.expire(now + Duration::from_secs(1)), []);
    assert_eq!(book.started(begun.id), Err(BracketError::Unknown));
}

#[test]
fn holder_that_is_gone_is_ended_at_once_and_only_it() {
    let mut book = book(Means::DmaBuf);
    open(&mut book, A, READ);
    open(&mut book, A, WRITE);
    let other = open(&mut book, B, READ);
    assert_eq!(book.abandon(A), [stop(BOTH)]);
    assert_eq!(book.abandon(A), []);
    assert_eq!(book.end(B, other), Ok(vec![stop(READ)]));
}

#[test]
fn blob_that_goes_ends_everything() {
    let mut book = book(Means::DmaBuf);
    open(&mut book, A, READ);
    open(&mut book, B, WRITE);
    assert_eq!(book.abandon_all(), [stop(BOTH)]);
    assert!(book.is_empty());
}

#[test]
fn only_dma_bufs_may_block() {
    assert!(start(READ).may_block() && stop(READ).may_block());
    for action in [Action::Invalidate(0..1), Action::Flush(0..1), Action::Order] {
        assert!(!action.may_block(), "{action:?}");
    }
}
