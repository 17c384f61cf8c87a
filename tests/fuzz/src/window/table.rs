//! `coherd_blob::Window` against a list of intervals.

use arbitrary::{Result, Unstructured};
use coherd_blob::{FileId, Mapping, MappingState, Window, WindowError};

use crate::vmm::{PAGE, WINDOW};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    offset: u64,
    len: u64,
    state: MappingState,
}

impl Interval {
    fn overlaps(&self, offset: u64, len: u64) -> bool {
        self.offset < offset + len && offset < self.offset + self.len
    }
}

/// Drives both and compares.
///
/// # Errors
/// [`arbitrary::Error`] once the input ends.
pub fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let budget = u.int_in_range(0..=6)?;
    let mut window = Window::new(WINDOW, PAGE, budget);
    let mut model: Vec<Interval> = Vec::new();
    let file = FileId::of(std::io::stderr()).expect("standard error is open");
    while !u.is_empty() {
        let (offset, len) = interval(u)?;
        match u.int_in_range(0..=9u8)? {
            0..=4 => {
                let expected = verdict(&model, budget, offset, len);
                assert_eq!(window.check(offset, len), expected);
                if expected.is_err() {
                    assert_eq!(window.insert(offset, len, file).err(), expected.err());
                    // Nothing is asked of it, but that it comes back.
                    window.in_the_way(offset, len);
                    continue;
                }
                let stale = window.in_the_way(offset, len);
                assert_eq!(window.insert(offset, len, file).is_ok(), stale.is_empty());
                check_evicted(&model, budget, (offset, len), &stale);
                for gone in &stale {
                    window.remove(gone.offset);
                    model.retain(|interval| interval.offset != gone.offset);
                }
                if !stale.is_empty() {
                    window.insert(offset, len, file).expect("room was made");
                }
                model.push(Interval {
                    offset,
                    len,
                    state: MappingState::Live,
                });
            }
            5..=6 => {
                let known = model.iter().position(|interval| interval.offset == offset);
                let removed = window.remove(offset).map(|mapping| mapping.len);
                assert_eq!(removed, known.map(|index| model.swap_remove(index).len));
            }
            7 => {
                let state = *u.choose(&[MappingState::Live, MappingState::Stuck])?;
                window.mark(offset, state);
                model
                    .iter_mut()
                    .filter(|interval| interval.offset == offset)
                    .for_each(|interval| interval.state = state);
            }
            8 => {
                window.mark_all_stale();
                model
                    .iter_mut()
                    .filter(|interval| interval.state == MappingState::Live)
                    .for_each(|interval| interval.state = MappingState::Stale);
            }
            _ => {
                window.clear();
                model.clear();
            }
        }
        compare(&window, &mut model);
    }
    Ok(())
}

/// Mostly a few pages inside the window.
fn interval(u: &mut Unstructured<'_>) -> Result<(u64, u64)> {
    if u.int_in_range(0..=15u8)? == 15 {
        return Ok((u.arbitrary()?, u.arbitrary()?));
    }
    let pages = WINDOW / PAGE;
    let offset: u64 = u.int_in_range(0..=pages)?;
    let len: u64 = u.int_in_range(0..=8)?;
    Ok((PAGE * offset, PAGE * len))
}

fn verdict(
    model: &[Interval],
    budget: usize,
    offset: u64,
    len: u64,
) -> std::result::Result<(), WindowError> {
    if len == 0 || !offset.is_multiple_of(PAGE) || !len.is_multiple_of(PAGE) {
        return Err(WindowError::Unaligned { offset, len });
    }
    if offset.checked_add(len).is_none_or(|end| end > WINDOW) {
        return Err(WindowError::Outside { offset, len });
    }
    let mut in_use = model
        .iter()
        .filter(|interval| interval.state != MappingState::Stale);
    if in_use
        .clone()
        .any(|interval| interval.overlaps(offset, len))
    {
        return Err(WindowError::Busy { offset, len });
    }
    match in_use.nth(budget.saturating_sub(1)) {
        None if budget > 0 => Ok(()),
        _ => Err(WindowError::Budget(budget)),
    }
}

/// Every stale mapping that overlaps goes, and no more others than the budget wants.
fn check_evicted(
    model: &[Interval],
    budget: usize,
    (offset, len): (u64, u64),
    evicted: &[Mapping],
) {
    assert!(
        evicted
            .iter()
            .all(|mapping| mapping.state == MappingState::Stale)
    );
    let overlapping = model.iter().filter(|known| known.overlaps(offset, len));
    for known in overlapping.clone() {
        assert!(evicted.iter().any(|mapping| mapping.offset == known.offset));
    }
    let left = model.len() - overlapping.clone().count() + 1;
    let others = left.saturating_sub(budget);
    assert_eq!(evicted.len(), overlapping.count() + others);
}

fn compare(window: &Window, model: &mut [Interval]) {
    model.sort_by_key(|interval| interval.offset);
    let table = window.iter().map(|mapping| Interval {
        offset: mapping.offset,
        len: mapping.len,
        state: mapping.state,
    });
    assert!(table.eq(model.iter().copied()));
    for pair in model.windows(2) {
        if let [left, right] = pair {
            assert!(left.offset + left.len <= right.offset);
        }
    }
}
