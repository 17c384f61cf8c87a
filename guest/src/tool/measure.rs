//! How fast memory is.

use std::time::Instant;

use serde::Serialize;

use crate::access::Bytes;

/// What is done with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// Every byte is loaded, 16 at a time.
    Load,
    /// Every byte is stored, 16 at a time.
    Store,
    /// Every byte is loaded past the cache, which is faster in write-combining memory only.
    StreamingLoad,
    /// It is copied to ordinary memory, as the library does it for this type.
    CopyOut,
    /// It is copied from ordinary memory.
    CopyIn,
}

impl Pass {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Load,
        Self::Store,
        Self::StreamingLoad,
        Self::CopyOut,
        Self::CopyIn,
    ];

    /// The head of its column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Store => "store",
            Self::StreamingLoad => "streaming load",
            Self::CopyOut => "copy out",
            Self::CopyIn => "copy in",
        }
    }
}

/// Memory that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'m> {
    /// As its user reads it.
    pub bytes: Bytes<'m>,
    /// As the processor loads it.
    pub plain: Bytes<'m>,
}

/// Rates of a subject, in bytes a second, in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    samples: Vec<(Pass, f64)>,
}

impl Rates {
    /// The samples of a pass.
    pub fn of(&self, pass: Pass) -> Vec<f64> {
        let samples = self.samples.iter().filter(|(other, _)| *other == pass);
        samples.map(|(_, rate)| *rate).collect()
    }

    /// The median of a pass; zero if there is none.
    pub fn median(&self, pass: Pass) -> f64 {
        median(self.of(pass))
    }

    /// The median of the quotients of samples that were taken in one round.
    pub fn ratio(&self, pass: Pass, to: &Self) -> f64 {
        let pairs = self.of(pass).into_iter().zip(to.of(pass));
        median(pairs.map(|(rate, other)| rate / other).collect())
    }
}

/// Measures all subjects in each round, so that a slow moment meets all of them. Each round begins
/// with another subject.
pub fn rounds(subjects: &[Subject<'_>], passes: &[Pass], rounds: u32) -> Vec<Rates> {
    let len = subjects
        .iter()
        .map(|subject| subject.bytes.len())
        .max()
        .unwrap_or(0);
    let mut private = vec![0x5au8; len];
    for subject in subjects {
        // Pages that the hypervisor has not filled yet, and clocks that are asleep.
        for pass in passes {
            once(subject, *pass, &mut private);
        }
    }
    let mut rates = vec![Rates::default(); subjects.len()];
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    for _ in 0..rounds {
        for pass in passes {
            for place in &order {
                if let (Some(subject), Some(rates)) = (subjects.get(*place), rates.get_mut(*place))
                {
                    rates
                        .samples
                        .push((*pass, once(subject, *pass, &mut private)));
                }
            }
        }
        let first = order.len().min(1);
        order.rotate_left(first);
    }
    rates
}

/// Bytes a second of one pass.
fn once(subject: &Subject<'_>, pass: Pass, private: &mut [u8]) -> f64 {
    let len = subject.bytes.len();
    let private = private.get_mut(..len).unwrap_or_default();
    let begun = Instant::now();
    match pass {
        Pass::Load => subject.plain.scan(),
        Pass::StreamingLoad => subject.plain.streaming().scan(),
        Pass::Store => subject.plain.fill(0xa5),
        // The length is the same, so that neither fails.
        Pass::CopyOut => subject.bytes.read(0, private).unwrap_or_default(),
        Pass::CopyIn => subject.bytes.write(0, private).unwrap_or_default(),
    }
    // Stores count when they have left the processor.
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    rate(len, begun)
}

/// Bytes a second since then.
pub fn rate(len: usize, begun: Instant) -> f64 {
    let bytes = f64::from(u32::try_from(len >> 10).unwrap_or(u32::MAX)) * 1024.0;
    bytes / begun.elapsed().as_secs_f64().max(1e-9)
}

/// The median; zero of nothing.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => 0.0,
        len if len % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::ordinary::Ordinary;

    #[test]
    fn median_is_the_middle_or_the_mean_of_both() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ratio_pairs_samples_of_one_round() {
        let rates = |numbers: [f64; 3]| Rates {
            samples: numbers.map(|number| (Pass::Load, number)).to_vec(),
        };
        let (slow, fast) = (rates([1.0, 10.0, 100.0]), rates([2.0, 20.0, 100.0]));
        assert_eq!(slow.ratio(Pass::Load, &fast), 0.5);
        assert_eq!(slow.ratio(Pass::Store, &fast), 0.0);
    }

    #[test]
    fn every_round_has_one_sample_of_each_pass() {
        let (one, two) = (Ordinary::new(65536).unwrap(), Ordinary::new(65536).unwrap());
        let subjects = [&one, &two].map(|it| Subject {
            bytes: it.bytes(),
            plain: it.bytes(),
        });
        let rates = rounds(&subjects, &Pass::ALL, 3);
        for rates in rates {
            for pass in Pass::ALL {
                let samples = rates.of(pass);
                assert_eq!(samples.len(), 3);
                assert!(samples.iter().all(|rate| *rate > 0.0));
            }
        }
    }
}
