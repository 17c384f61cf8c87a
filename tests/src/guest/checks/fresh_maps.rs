//! The first write after a map: a VMM that commits a mapping after it has answered can lose it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::allocation::{DeviceReader, Scratch, Template};
use super::error::CheckError;
use super::progress::Ticker;
use crate::guest::random::mix;
use crate::guest::{Gpu, Memory};

const PAGE: u64 = 4096;
const WORD: u64 = 8;
/// Lost words that are told one by one.
const MOST_TOLD: u64 = 8;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct FreshMaps {
    /// Maps to make.
    pub count: u64,
    /// Bytes of each.
    pub size: u64,
    /// Maps kept while the next ones are made, and checked again before they go.
    pub live: usize,
    /// Every so many maps the device reads one too; 0 for never.
    pub device_every: u64,
    /// The memory type.
    pub type_index: Option<u32>,
}

/// Runs the check and says what it covered.
pub fn fresh_maps(gpu: &Gpu, options: &FreshMaps) -> Result<String, CheckError> {
    if options.size < WORD || !options.size.is_multiple_of(WORD) {
        return Err(CheckError::BadOption("The size must be a multiple of 8"));
    }
    Template::check_live(gpu, options.live.saturating_add(1))?;
    let template = Template::new(gpu, options.size, options.type_index)?;
    let reader = DeviceReader::new(gpu, options.size)?;
    let mut copy = Scratch::new(options.size)?.found;
    let mut losses = Losses::default();
    let mut live = VecDeque::new();
    let mut ticker = Ticker::new(Duration::from_secs(2));
    let begun = Instant::now();
    for map in 0..options.count {
        let memory = template.allocate(gpu)?;
        write(&memory, options.size, map);
        memory.flush()?;
        memory.invalidate()?;
        losses.check(map, "mapped", options.size, |offset| memory.load(offset));
        if options.device_every != 0 && map.is_multiple_of(options.device_every) {
            reader.read(&memory, &mut copy)?;
            losses.check(map, "on the device", options.size, |offset| {
                word_of(&copy, offset)
            });
        }
        live.push_back((map, memory));
        if live.len() > options.live {
            retire(&mut live, options.size, &mut losses)?;
        }
        if ticker.due() {
            eprintln!(
                "{} of {} maps, {} with losses",
                map + 1,
                options.count,
                losses.maps
            );
        }
    }
    while !live.is_empty() {
        retire(&mut live, options.size, &mut losses)?;
    }
    let (time, count) = (begun.elapsed(), options.count);
    if losses.words > 0 {
        eprintln!("{count} maps in {time:.1?}");
        return Err(CheckError::LostWrites {
            words: losses.words,
            maps: losses.maps,
            count,
        });
    }
    Ok(format!(
        "0 writes lost in {count} fresh maps of {} bytes, {time:.1?}",
        options.size
    ))
}

/// Checks the oldest live map once more and frees it.
fn retire(
    live: &mut VecDeque<(u64, Memory<'_>)>,
    size: u64,
    losses: &mut Losses,
) -> Result<(), CheckError> {
    if let Some((map, memory)) = live.pop_front() {
        memory.invalidate()?;
        losses.check(map, "retired", size, |offset| memory.load(offset));
    }
    Ok(())
}

/// Writes the first and last word of every page, nothing before them.
fn write(memory: &Memory<'_>, size: u64, map: u64) {
    for offset in offsets(size) {
        memory.store(offset, value(map, offset));
    }
}

/// Offsets of the first and last word of each page, the last page perhaps a part.
fn offsets(size: u64) -> impl Iterator<Item = u64> {
    let pages = size.div_ceil(PAGE);
    (0..pages).flat_map(move |page| [page * PAGE, ((page + 1) * PAGE).min(size) - WORD])
}

/// A word that no other map and no other offset has, and that is not zero.
fn value(map: u64, offset: u64) -> u64 {
    mix(map.wrapping_mul(0x1_0000_0001).wrapping_add(offset)) | 1
}

fn word_of(bytes: &[u8], offset: u64) -> u64 {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    bytes
        .get(start..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |word| u64::from_ne_bytes(*word))
}

/// Words that were written and are not there.
#[derive(Debug, Default)]
struct Losses {
    words: u64,
    maps: u64,
    last: Option<u64>,
}

impl Losses {
    fn check(&mut self, map: u64, when: &str, size: u64, load: impl Fn(u64) -> u64) {
        for offset in offsets(size) {
            let (expected, found) = (value(map, offset), load(offset));
            if expected == found {
                continue;
            }
            if self.words < MOST_TOLD {
                eprintln!("map {map}, {when}: at {offset:#x} {found:#x}, written {expected:#x}");
            }
            self.words += 1;
            if self.last != Some(map) {
                self.maps += 1;
                self.last = Some(map);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_the_ends_of_each_page() {
        assert_eq!(offsets(8).collect::<Vec<_>>(), [0, 0]);
        assert_eq!(offsets(4096).collect::<Vec<_>>(), [0, 4088]);
        assert_eq!(offsets(4104).collect::<Vec<_>>(), [0, 4088, 4096, 4096]);
    }

    #[test]
    fn check_counts_words_and_maps() {
        let mut losses = Losses::default();
        losses.check(1, "here", 8192, |offset| {
            if offset == 0 { 0 } else { value(1, offset) }
        });
        losses.check(2, "here", 8192, |_| 0);
        losses.check(2, "later", 8192, |offset| value(2, offset));
        assert_eq!((losses.words, losses.maps), (5, 2));
    }

    #[test]
    fn value_differs_between_maps_and_offsets() {
        assert_ne!(value(1, 0), value(2, 0));
        assert_ne!(value(1, 0), value(1, 8));
    }
}
