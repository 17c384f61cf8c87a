//! What `info` finds out, as it is printed as JSON.

use std::io;

use serde::Serialize;

use super::verdict::Verdict;
use crate::tool::classify::{Bandwidth, classify};
use crate::tool::measure::{Pass, Rates, Subject, rounds};
use crate::tool::ordinary::Ordinary;
use crate::tool::probe::{self, Probe};
use crate::tool::processor::Hypervisor;
use crate::tool::traps::{Facts, Trap};
use crate::tool::words;
use crate::{Caching, Context, Host, ImageUsage, MemoryType};

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    pub device: DeviceReport,
    pub hypervisor: Hypervisor,
    pub window: Option<WindowReport>,
    pub heaps: Vec<HeapReport>,
    /// Ordinary memory of this guest, in bytes a second.
    pub ordinary: Bandwidth,
    pub types: Vec<TypeReport>,
    pub formats: Vec<FormatReport>,
    pub traps: Vec<Trap>,
    /// What could not be looked at.
    pub gaps: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub struct DeviceReport {
    pub node: Option<String>,
    pub name: String,
    pub software: bool,
    pub images: bool,
    pub dma_buf: bool,
    pub atom_size: u64,
    pub page_size: u64,
    pub max_allocation_size: u64,
    pub max_image_dimension: u32,
    pub max_sync_timeout_ms: u32,
    pub device_uuid: String,
    pub driver_uuid: String,
}

#[derive(Debug, Serialize)]
pub struct WindowReport {
    pub start: u64,
    pub end: u64,
    /// It is the window itself, and not only the PCI region that it lies in.
    pub exact: bool,
}

#[derive(Debug, Serialize)]
pub struct HeapReport {
    pub size: u64,
    pub device_local: bool,
}

/// A memory type, as promised and as found.
#[derive(Debug, Serialize)]
pub struct TypeReport {
    pub index: u32,
    pub heap: u32,
    pub properties: String,
    pub promised: Option<String>,
    pub needs_sync: bool,
    /// What the host thinks that the guest's mapping really is.
    pub host_expects: Option<String>,
    /// How this guest's kernel maps it, in its words.
    pub kernel: Option<String>,
    pub measured: Option<Measured>,
    /// Why it was not measured.
    pub skipped: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Measured {
    /// Bytes a second.
    pub bandwidth: Bandwidth,
    pub caching: Option<String>,
    pub verdict: Verdict,
}

#[derive(Debug, Serialize)]
pub struct FormatReport {
    pub fourcc: String,
    pub modifier: String,
    pub planes: u32,
    pub usage: Vec<&'static str>,
}

impl Report {
    /// Looks and measures.
    pub fn new(context: &Context, size: u64, count: u32) -> io::Result<Self> {
        let host = context.host();
        let facts = Facts::here(context.render_node());
        let hypervisor = Hypervisor::here();
        let (probes, missing) = probe::all(context, size, &facts);
        let ordinary = Ordinary::new(usize::try_from(size).unwrap_or(usize::MAX))?;
        let mut subjects = vec![Subject {
            bytes: ordinary.bytes(),
            plain: ordinary.bytes(),
        }];
        subjects.extend(probes.iter().map(Probe::subject));
        let passes = [Pass::Load, Pass::Store, Pass::StreamingLoad];
        let mut rates = rounds(&subjects, &passes, count)
            .into_iter()
            .map(|it| bandwidth(&it));
        let reference = rates.next().unwrap_or_else(|| bandwidth(&Rates::default()));
        let mut types: Vec<TypeReport> = probes
            .iter()
            .zip(rates)
            .map(|(probe, rates)| TypeReport::measured(probe, rates, &reference, &hypervisor))
            .collect();
        types.extend(
            missing
                .into_iter()
                .map(|(kind, why)| TypeReport::skipped(&kind, why)),
        );
        types.sort_by_key(|kind| kind.index);
        Ok(Self {
            device: DeviceReport::new(context),
            hypervisor,
            window: facts.window.map(|window| WindowReport {
                start: window.start,
                end: window.end,
                exact: window.exact,
            }),
            heaps: heaps(host),
            ordinary: reference,
            types,
            formats: formats(host),
            traps: facts.traps(),
            gaps: facts.gaps(),
        })
    }
}

fn bandwidth(rates: &Rates) -> Bandwidth {
    Bandwidth {
        load: rates.median(Pass::Load),
        store: rates.median(Pass::Store),
        streaming_load: rates.median(Pass::StreamingLoad),
    }
}

impl DeviceReport {
    fn new(context: &Context) -> Self {
        let host = context.host();
        Self {
            node: context.render_node().map(|path| path.display().to_string()),
            name: host.name.clone(),
            software: host.software,
            images: host.images,
            dma_buf: host.dma_buf,
            atom_size: host.atom_size,
            page_size: host.page_size,
            max_allocation_size: host.max_allocation_size,
            max_image_dimension: host.max_image_dimension,
            max_sync_timeout_ms: host.max_sync_timeout_ms,
            device_uuid: hex(&host.device_uuid),
            driver_uuid: hex(&host.driver_uuid),
        }
    }
}

impl TypeReport {
    fn promised(kind: &MemoryType) -> Self {
        Self {
            index: kind.index,
            heap: kind.heap,
            properties: words::properties(kind.properties),
            promised: kind.caching.map(|caching| caching.to_string()),
            needs_sync: kind.needs_sync,
            host_expects: None,
            kernel: None,
            measured: None,
            skipped: None,
        }
    }

    fn measured(
        probe: &Probe,
        bandwidth: Bandwidth,
        ordinary: &Bandwidth,
        hypervisor: &Hypervisor,
    ) -> Self {
        let caching = classify(&bandwidth, ordinary);
        let promised = probe.kind.caching.unwrap_or(Caching::Cached);
        let effective = probe.allocation.memory().effective_caching;
        Self {
            host_expects: effective.map(|caching| caching.to_string()),
            kernel: probe.kernel.clone(),
            measured: Some(Measured {
                bandwidth,
                caching: caching.map(|caching| caching.to_string()),
                verdict: Verdict::of(promised, caching, hypervisor),
            }),
            ..Self::promised(&probe.kind)
        }
    }

    fn skipped(kind: &MemoryType, why: String) -> Self {
        Self {
            skipped: Some(why),
            ..Self::promised(kind)
        }
    }
}

fn heaps(host: &Host) -> Vec<HeapReport> {
    let heaps = host.heaps.iter().map(|heap| HeapReport {
        size: heap.size,
        device_local: heap.device_local,
    });
    heaps.collect()
}

fn formats(host: &Host) -> Vec<FormatReport> {
    let formats = host.formats.iter().map(|format| FormatReport {
        fourcc: words::fourcc(format.fourcc),
        modifier: match format.modifier {
            0 => "linear".to_owned(),
            modifier => format!("{modifier:#018x}"),
        },
        planes: format.planes,
        usage: usage(format.usage),
    });
    formats.collect()
}

fn usage(usage: ImageUsage) -> Vec<&'static str> {
    let names = [
        (ImageUsage::SAMPLED, "sampled"),
        (ImageUsage::COLOR, "drawn to"),
        (ImageUsage::SCANOUT, "shown"),
    ];
    let names = names.into_iter().filter(|(bit, _)| usage.contains(*bit));
    names.map(|(_, name)| name).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeHost;

    fn report() -> Report {
        Report::new(&FakeHost::new().open(), 65536, 1).unwrap()
    }

    #[test]
    fn every_type_is_there_in_order_and_measured_if_mappable() {
        let types = report().types;
        assert_eq!(
            types.iter().map(|kind| kind.index).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        for kind in &types {
            assert_eq!(kind.measured.is_some(), kind.promised.is_some(), "{kind:?}");
            assert_eq!(kind.skipped.is_some(), kind.promised.is_none(), "{kind:?}");
        }
        assert!(!types[2].needs_sync && types[3].needs_sync);
    }

    #[test]
    fn report_is_json_with_stable_names() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["device"]["name"], "fake");
        assert_eq!(json["types"][1]["promised"], "write-combining");
        assert!(json["types"][1]["measured"]["bandwidth"]["load"].is_number());
        assert!(json["types"][1]["measured"]["verdict"].is_string());
        assert_eq!(json["types"][0]["skipped"], "not mappable");
        assert_eq!(json["formats"][0]["fourcc"], "XR24");
        assert_eq!(json["formats"][0]["modifier"], "linear");
    }
}
