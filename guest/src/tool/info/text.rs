//! The report as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::report::{Report, TypeReport};
use super::verdict::Verdict;
use crate::tool::table::Table;
use crate::tool::words::{bytes, gigabytes};

/// Writes the report, with a verdict in the last line.
pub fn write(report: &Report) -> String {
    let mut out = String::new();
    for part in [
        device(report),
        heaps(report),
        types(report),
        formats(report),
        notes(report),
    ] {
        if !part.is_empty() {
            out += &part;
            out += "\n\n";
        }
    }
    out + &verdict(report)
}

fn device(report: &Report) -> String {
    let device = &report.device;
    let mut out = format!("device     {}", device.name);
    if let Some(node) = &device.node {
        let _ = write!(out, ", on {node}");
    }
    let mut abilities = vec![match device.software {
        true => "a processor",
        false => "a GPU",
    }];
    abilities.extend(device.images.then_some("makes images"));
    abilities.push(match device.dma_buf {
        true => "blobs are dma-bufs",
        false => "blobs are no dma-bufs",
    });
    let _ = write!(
        out,
        "\n           {}\nlimits     allocations of {}, images of {} pixels, brackets on {}, \
         waits of {} ms\nprocessor  {}",
        abilities.join(", "),
        bytes(device.max_allocation_size),
        device.max_image_dimension,
        bytes(device.atom_size),
        device.max_sync_timeout_ms,
        report.hypervisor,
    );
    match &report.window {
        Some(window) if window.exact => {
            let _ = write!(
                out,
                "\nwindow     {:#x} to {:#x}",
                window.start,
                window.end - 1
            );
        }
        Some(window) => {
            let (start, last) = (window.start, window.end - 1);
            let _ = write!(
                out,
                "\nwindow     in the PCI region {start:#x} to {last:#x}"
            );
        }
        None => {}
    }
    out
}

fn heaps(report: &Report) -> String {
    let mut table = Table::new(&["heap", "size", "memory"]);
    for (index, heap) in report.heaps.iter().enumerate() {
        let kind = match heap.device_local {
            true => "of the device",
            false => "of the host",
        };
        table.row(vec![index.to_string(), bytes(heap.size), kind.to_owned()]);
    }
    format!("Heaps\n{}", table.text())
}

fn types(report: &Report) -> String {
    let mut table = Table::new(&[
        "type",
        "heap",
        "promised",
        "sync",
        "host expects",
        "Linux maps",
        "load",
        "store",
        "streaming",
        "measured",
    ]);
    let rates = |load, store, streaming| [load, store, streaming].map(gigabytes);
    let ordinary = &report.ordinary;
    let [load, store, streaming] = rates(ordinary.load, ordinary.store, ordinary.streaming_load);
    let none = String::new;
    table.row(vec![
        "ordinary memory".into(),
        none(),
        none(),
        none(),
        none(),
        none(),
        load,
        store,
        streaming,
        none(),
    ]);
    for kind in &report.types {
        table.row(row(kind));
    }
    format!("Memory types; bandwidth in GB/s\n{}", table.text())
}

fn row(kind: &TypeReport) -> Vec<String> {
    let unknown = || "-".to_owned();
    let mut cells = vec![
        format!("{} {}", kind.index, kind.properties),
        kind.heap.to_string(),
        kind.promised.clone().unwrap_or_else(unknown),
        match kind.needs_sync {
            true => "needed".to_owned(),
            false => "no".to_owned(),
        },
        kind.host_expects.clone().unwrap_or_else(unknown),
        kind.kernel.clone().unwrap_or_else(unknown),
    ];
    match (&kind.measured, &kind.skipped) {
        (Some(measured), _) => {
            let rates = &measured.bandwidth;
            cells.extend([rates.load, rates.store, rates.streaming_load].map(gigabytes));
            cells.push(
                measured
                    .caching
                    .clone()
                    .unwrap_or_else(|| "unclear".to_owned()),
            );
        }
        (None, skipped) => {
            cells.extend([unknown(), unknown(), unknown()]);
            cells.push(skipped.clone().unwrap_or_default());
        }
    }
    cells
}

/// One line for each format, with its modifiers.
fn formats(report: &Report) -> String {
    let mut modifiers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for format in &report.formats {
        let planes = match format.planes {
            1 => String::new(),
            planes => format!(" ({planes} planes)"),
        };
        let list = modifiers.entry(&format.fourcc).or_default();
        list.push(format!("{}{planes}", format.modifier));
    }
    if modifiers.is_empty() {
        return String::new();
    }
    let lines = modifiers
        .into_iter()
        .map(|(fourcc, list)| format!("  {fourcc}  {}", list.join(", ")));
    format!(
        "Formats of images, with modifiers\n{}",
        lines.collect::<Vec<_>>().join("\n")
    )
}

fn notes(report: &Report) -> String {
    let mut lines: Vec<String> = report
        .traps
        .iter()
        .map(|trap| format!("TRAP: {trap}"))
        .collect();
    let mut meanings: Vec<&str> = verdicts(report).filter_map(Verdict::meaning).collect();
    meanings.sort_unstable();
    meanings.dedup();
    lines.extend(
        meanings
            .into_iter()
            .map(|meaning| format!("NOTE: {meaning}")),
    );
    lines.extend(report.gaps.iter().map(|gap| format!("SKIPPED: {gap}")));
    lines.join("\n")
}

fn verdicts(report: &Report) -> impl Iterator<Item = Verdict> {
    let measured = report
        .types
        .iter()
        .filter_map(|kind| kind.measured.as_ref());
    measured.map(|measured| measured.verdict)
}

fn verdict(report: &Report) -> String {
    let count = |wanted| {
        verdicts(report)
            .filter(|verdict| *verdict == wanted)
            .count()
    };
    let words = [
        (Verdict::AsPromised, "as promised"),
        (Verdict::Emulated, "emulated"),
        (Verdict::Forced, "forced to be cached"),
        (Verdict::Slower, "slower than promised"),
        (Verdict::Looser, "not uncached"),
        (Verdict::Unclear, "unclear"),
    ];
    let counts = words.map(|(verdict, word)| (count(verdict), word));
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let traps = match report.traps.len() {
        0 => String::new(),
        1 => "; 1 trap".to_owned(),
        traps => format!("; {traps} traps"),
    };
    format!("ok: mappable types: {}{traps}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeHost;
    use crate::tool::processor::Hypervisor;

    fn report() -> Report {
        Report::new(&FakeHost::new().open(), 65536, 1).unwrap()
    }

    #[test]
    fn text_has_every_part_and_ends_with_the_verdict() {
        let text = write(&report());
        for part in [
            "device     fake",
            "Heaps",
            "Memory types",
            "XR24  linear, 0x0100000000000001",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(
            text.lines()
                .last()
                .unwrap()
                .starts_with("ok: mappable types: "),
            "{text}"
        );
    }

    #[test]
    fn emulation_is_said_once_for_all_types() {
        let mut report = report();
        report.hypervisor = Hypervisor::Emulation;
        for kind in &mut report.types {
            if let Some(measured) = &mut kind.measured {
                measured.verdict = Verdict::Emulated;
            }
        }
        let text = write(&report);
        assert_eq!(text.matches("the processor is emulated").count(), 1);
        assert!(text.contains("ok: mappable types: 4 emulated"), "{text}");
    }
}
