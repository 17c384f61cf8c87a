//! What is refused.

use super::*;

#[test]
fn access_that_is_none_is_refused() {
    for bits in [0, 4, 7, u32::MAX] {
        assert_eq!(
            book(MAPPED).begin(A, Access::from_bits_retain(bits), 0..1, Instant::now()),
            Err(BracketError::Access(bits))
        );
    }
}

#[test]
fn range_outside_the_blob_is_refused() {
    for (start, end) in [(0, 0), (5, 4), (0, SIZE + 1), (SIZE, SIZE), (0, u64::MAX)] {
        assert_eq!(
            book(MAPPED).begin(A, READ, start..end, Instant::now()),
            Err(BracketError::Range {
                start,
                end,
                size: SIZE
            })
        );
    }
}

#[test]
fn strangers_and_ended_brackets_are_unknown() {
    let mut book = book(MAPPED);
    let begun = begin(&mut book, A, READ, 0..1);
    assert_eq!(book.end(B, begun.id), Err(BracketError::Unknown));
    assert!(book.end(A, BracketId::from_raw(begun.id.to_raw())).is_ok());
    assert_eq!(book.end(A, begun.id), Err(BracketError::Unknown));
    assert_ne!(begin(&mut book, A, READ, 0..1).id, begun.id);
}

#[test]
fn one_holder_cannot_have_more_than_its_brackets() {
    let mut book = Brackets::new(
        MAPPED,
        SIZE,
        Limits {
            per_holder: 2,
            total: 3,
        },
    );
    let first = begin(&mut book, A, READ, 0..1);
    hold(&mut book, A, READ, 0..1);
    let again = |book: &mut Brackets, holder| {
        let begun = book.begin(holder, READ, 0..1, Instant::now());
        begun.map(|begun| begun.id)
    };
    assert_eq!(again(&mut book, A), Err(BracketError::TooMany(2)));
    again(&mut book, B).unwrap();
    assert_eq!(again(&mut book, B), Err(BracketError::TooMany(3)));
    book.end(A, first.id).unwrap();
    again(&mut book, B).unwrap();
}

#[test]
fn given_up_starts_count_until_they_are_through() {
    let mut book = Brackets::new(
        Means::DmaBuf,
        SIZE,
        Limits {
            per_holder: 1,
            total: 1,
        },
    );
    let begun = begin(&mut book, A, READ, 0..1);
    book.abandon(A);
    assert_eq!(
        book.begin(B, READ, 0..1, Instant::now()),
        Err(BracketError::TooMany(1))
    );
    assert_eq!(book.failed(begun.id), Ok(vec![]));
    hold(&mut book, B, READ, 0..1);
}
