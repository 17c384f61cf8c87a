//! Brackets of mapped and of coherent memory.

use super::*;

#[test]
fn mapped_memory_is_invalidated_to_read_and_flushed_after_writing() {
    let order = [Action::Order];
    let invalidate = [Action::Invalidate(64..192)];
    let flush = [Action::Flush(64..192)];
    let table: [(Access, &[Action], &[Action]); 3] = [
        (READ, &invalidate, &order),
        (WRITE, &order, &flush),
        (BOTH, &invalidate, &flush),
    ];
    for (access, before, after) in table {
        let mut book = book(MAPPED);
        let begun = begin(&mut book, A, access, 64..192);
        assert!(!begun.pending);
        assert_eq!(begun.actions, before, "{access:?}");
        assert_eq!(book.end(A, begun.id).unwrap(), after, "{access:?}");
        assert_eq!(book.next_deadline(), None);
    }
}

#[test]
fn atoms_that_are_written_in_part_are_made_fresh() {
    type Edges = &'static [(u64, u64)];
    let table: [(Range<u64>, Edges); 8] = [
        (64..192, &[]),
        (64..100, &[(64, 128)]),
        (70..128, &[(64, 128)]),
        (70..100, &[(64, 128)]),
        (70..192, &[(64, 128)]),
        (64..190, &[(128, 192)]),
        (70..300, &[(64, 128), (256, 320)]),
        // The last atom ends with the blob.
        (960..SIZE, &[]),
    ];
    for (range, edges) in table {
        let begun = begin(&mut book(MAPPED), A, WRITE, range.clone());
        let invalidated: Vec<_> = begun
            .actions
            .into_iter()
            .filter(|action| *action != Action::Order)
            .collect();
        let expected: Vec<_> = edges
            .iter()
            .map(|&(start, end)| Action::Invalidate(start..end))
            .collect();
        assert_eq!(invalidated, expected, "{range:?}");
    }
}

#[test]
fn what_others_write_is_not_invalidated() {
    let mut book = book(MAPPED);
    hold(&mut book, B, WRITE, 640..704);
    hold(&mut book, A, BOTH, 200..210);
    hold(&mut book, A, READ, 320..384);
    assert_eq!(
        begin(&mut book, B, READ, 0..SIZE).actions,
        [
            Action::Invalidate(0..192),
            Action::Invalidate(256..640),
            Action::Invalidate(704..SIZE)
        ]
    );
    assert_eq!(begin(&mut book, B, READ, 195..250).actions, [Action::Order]);
}

#[test]
fn nested_reader_is_invalidated_again() {
    let mut book = book(MAPPED);
    for _ in 0..2 {
        let begun = begin(&mut book, A, READ, 0..64);
        assert_eq!(begun.actions, [Action::Invalidate(0..64)]);
    }
}

#[test]
fn holder_of_mapped_memory_that_is_gone_is_flushed() {
    let mut book = book(MAPPED);
    hold(&mut book, A, WRITE, 0..64);
    hold(&mut book, A, READ, 0..SIZE);
    hold(&mut book, A, BOTH, 900..SIZE);
    assert_eq!(
        book.abandon(A),
        [Action::Flush(0..64), Action::Flush(896..SIZE)]
    );
}

#[test]
fn atom_of_any_size_is_taken() {
    let table = [
        (0, 10..20),
        (1, 10..20),
        (3, 8..20),
        (256, 0..256),
        (u64::MAX, 0..SIZE),
    ];
    for (atom, around) in table {
        let begun = begin(&mut book(Means::Mapped { atom }), A, READ, 10..20);
        assert_eq!(begun.actions, [Action::Invalidate(around)], "{atom}");
    }
}

#[test]
fn mapped_dma_buf_is_invalidated_after_its_start_and_flushed_before_its_end() {
    let mut book = book(Means::DmaBufMapped { atom: 64 });
    let begun = begin(&mut book, A, BOTH, 10..20);
    assert_eq!(begun.actions, [start(BOTH)]);
    assert_eq!(
        book.started(begun.id),
        Ok(Started::Open(vec![Action::Invalidate(0..64)]))
    );
    assert_eq!(
        book.end(A, begun.id),
        Ok(vec![Action::Flush(0..64), stop(BOTH)])
    );
}

#[test]
fn who_has_not_started_has_written_nothing() {
    let mut book = book(Means::DmaBufMapped { atom: 64 });
    let writer = begin(&mut book, A, WRITE, 0..64);
    let reader = begin(&mut book, B, READ, 0..128);
    assert_eq!(
        book.started(reader.id),
        Ok(Started::Open(vec![Action::Invalidate(0..128)]))
    );
    book.abandon(A);
    assert_eq!(
        book.started(writer.id),
        Ok(Started::TooLate(vec![stop(BOTH)]))
    );
}

#[test]
fn dma_buf_that_cannot_be_invalidated_is_ended() {
    let mut book = book(Means::DmaBufMapped { atom: 64 });
    let begun = begin(&mut book, A, READ, 0..64);
    assert!(matches!(book.started(begun.id), Ok(Started::Open(_))));
    assert_eq!(book.failed(begun.id), Ok(vec![stop(READ)]));
}

#[test]
fn mapped_memory_that_cannot_be_invalidated_has_no_bracket() {
    let mut book = book(MAPPED);
    let begun = begin(&mut book, A, BOTH, 0..64);
    assert_eq!(book.failed(begun.id), Ok(vec![]));
    assert!(book.is_empty());
}

#[test]
fn coherent_memory_is_only_ordered() {
    let mut book = book(Means::Coherent);
    let begun = begin(&mut book, A, BOTH, 0..SIZE);
    assert!(!begun.pending);
    assert_eq!(begun.actions, [Action::Order]);
    assert_eq!(book.end(A, begun.id), Ok(vec![Action::Order]));
}
