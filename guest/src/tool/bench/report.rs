//! What `bench` measures, as it is printed as JSON.

use std::error::Error;

use serde::Serialize;

use super::commands::{self, BracketCost, GpuRates};
use crate::tool::measure::{Pass, Rates, Subject, rounds};
use crate::tool::ordinary::Ordinary;
use crate::tool::probe::{self, Probe};
use crate::tool::processor::Hypervisor;
use crate::tool::traps::Facts;
use crate::tool::words;
use crate::{Caching, Context};

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    pub device: String,
    pub hypervisor: Hypervisor,
    /// Bytes of each memory.
    pub size: u64,
    pub rounds: u32,
    /// How long the host takes to do nothing, in microseconds.
    pub round_trip_us: f64,
    /// Ordinary memory of this guest.
    pub ordinary: Vec<Measurement>,
    pub types: Vec<TypeReport>,
    pub skipped: Vec<Skipped>,
}

/// The median of a pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    pub pass: Pass,
    /// Bytes a second.
    pub rate: f64,
    /// As a part of ordinary memory's in the same round.
    pub ratio: f64,
}

/// A memory type.
#[derive(Debug, Serialize)]
pub struct TypeReport {
    pub index: u32,
    pub properties: String,
    pub caching: String,
    pub needs_sync: bool,
    pub bandwidth: Vec<Measurement>,
    pub brackets: Vec<BracketCost>,
    pub gpu: GpuRates,
}

/// A memory type that was not measured.
#[derive(Debug, Serialize)]
pub struct Skipped {
    pub index: u32,
    pub properties: String,
    pub why: String,
}

impl Report {
    /// Measures.
    pub fn new(context: &Context, size: u64, count: u32) -> Result<Self, Box<dyn Error>> {
        let (probes, missing) = probe::all(context, size, &Facts::default());
        let ordinary = Ordinary::new(usize::try_from(size).unwrap_or(usize::MAX))?;
        let mut subjects = vec![Subject {
            bytes: ordinary.bytes(),
            plain: ordinary.bytes(),
        }];
        subjects.extend(probes.iter().map(Probe::subject));
        let all = rounds(&subjects, &Pass::ALL, count);
        let (reference, rates) = all.split_first().ok_or("nothing was measured")?;
        let types: Result<Vec<_>, Box<dyn Error>> = probes
            .iter()
            .zip(rates)
            .map(|(probe, rates)| {
                TypeReport::new(context, probe, measurements(rates, reference), count)
            })
            .collect();
        Ok(Self {
            device: context.host().name.clone(),
            hypervisor: Hypervisor::here(),
            size,
            rounds: count,
            round_trip_us: commands::round_trip(context, count)?,
            ordinary: measurements(reference, reference),
            types: types?,
            skipped: missing
                .into_iter()
                .map(|(kind, why)| Skipped {
                    index: kind.index,
                    properties: words::properties(kind.properties),
                    why,
                })
                .collect(),
        })
    }

    /// Which passes of cached types are slower than this part of ordinary memory's, in words.
    pub fn below(&self, ratio: f64) -> Vec<String> {
        let cached = Caching::Cached.to_string();
        let types = self.types.iter().filter(|kind| kind.caching == cached);
        let slow = types.flat_map(|kind| {
            let slow = kind.bandwidth.iter().filter(move |it| it.ratio < ratio);
            slow.map(|it| {
                let (name, ratio) = (it.pass.name(), it.ratio);
                format!(
                    "{name} of type {} at {ratio:.3} of ordinary memory",
                    kind.index
                )
            })
        });
        let mut slow: Vec<_> = slow.collect();
        if !self.types.iter().any(|kind| kind.caching == cached) {
            slow.push("no cached type could be measured".to_owned());
        }
        slow
    }
}

impl TypeReport {
    fn new(
        context: &Context,
        probe: &Probe,
        bandwidth: Vec<Measurement>,
        count: u32,
    ) -> Result<Self, Box<dyn Error>> {
        let other = probe::allocate(context, probe.kind, probe.allocation.size())?;
        let caching = probe.kind.caching.map(|caching| caching.to_string());
        Ok(Self {
            index: probe.kind.index,
            properties: words::properties(probe.kind.properties),
            caching: caching.unwrap_or_default(),
            needs_sync: probe.kind.needs_sync,
            bandwidth,
            brackets: commands::brackets(probe, count)?,
            gpu: commands::gpu(context, &probe.allocation, &other, count)?,
        })
    }
}

fn measurements(rates: &Rates, reference: &Rates) -> Vec<Measurement> {
    let all = Pass::ALL.into_iter().map(|pass| Measurement {
        pass,
        rate: rates.median(pass),
        ratio: rates.ratio(pass, reference),
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryProperties;
    use crate::fake::FakeHost;

    fn report() -> Report {
        Report::new(&FakeHost::new().open(), 65536, 2).unwrap()
    }

    #[test]
    fn every_mappable_type_is_measured_in_every_way() {
        let report = report();
        assert_eq!(report.types.len(), 4);
        assert_eq!(report.skipped.len(), 1);
        for kind in &report.types {
            assert_eq!(kind.bandwidth.len(), Pass::ALL.len());
            assert!(
                kind.bandwidth
                    .iter()
                    .all(|it| it.rate > 0.0 && it.ratio > 0.0),
                "{kind:?}"
            );
            assert!(kind.gpu.copy > 0.0 && kind.gpu.fill > 0.0);
            assert_eq!(kind.brackets.len(), 2, "4 KiB and 64 KiB");
        }
        assert!(report.round_trip_us > 0.0);
        assert!(
            report
                .ordinary
                .iter()
                .all(|it| (it.ratio - 1.0).abs() < 1e-9)
        );
    }

    #[test]
    fn slow_passes_of_cached_types_are_named() {
        let mut report = report();
        for kind in &mut report.types {
            for it in &mut kind.bandwidth {
                it.ratio = 0.99;
            }
        }
        assert!(report.below(0.95).is_empty());
        for kind in &mut report.types {
            kind.bandwidth[1].ratio = 0.5;
        }
        let slow = report.below(0.95);
        assert_eq!(slow.len(), 2, "write-combining types need not be as fast");
        assert_eq!(slow[0], "store of type 2 at 0.500 of ordinary memory");
    }

    #[test]
    fn expectation_without_a_cached_type_is_not_met() {
        let host = FakeHost::with_types(&[
            MemoryProperties::HOST_VISIBLE | MemoryProperties::HOST_COHERENT
        ]);
        let report = Report::new(&host.open(), 4096, 1).unwrap();
        assert_eq!(report.below(0.1), ["no cached type could be measured"]);
    }

    #[test]
    fn report_is_json_with_stable_names() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["types"][0]["bandwidth"][2]["pass"], "streaming-load");
        assert!(json["types"][0]["bandwidth"][0]["ratio"].is_number());
        assert!(json["types"][3]["brackets"][0]["read_us"].is_number());
        assert!(json["types"][0]["gpu"]["copy"].is_number());
    }
}
