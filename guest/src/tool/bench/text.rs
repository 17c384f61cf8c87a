//! The report as text.

use super::report::{Measurement, Report};
use crate::tool::measure::Pass;
use crate::tool::table::Table;
use crate::tool::words::{bytes, gigabytes};

/// Writes the report, without a verdict.
pub fn write(report: &Report) -> String {
    let mut parts = vec![
        format!(
            "device     {}\nprocessor  {}\nhost answers in {:.0} us",
            report.device, report.hypervisor, report.round_trip_us
        ),
        format!(
            "Bandwidth of {} in GB/s, and as a part of ordinary memory's; medians of {} rounds\n{}",
            bytes(report.size),
            report.rounds,
            bandwidth(report)
        ),
        format!(
            "Brackets: beginning and ending an access, in us\n{}",
            brackets(report)
        ),
        format!("The GPU, in GB/s\n{}", gpu(report)),
    ];
    let skipped = report.skipped.iter().map(|kind| {
        format!(
            "SKIPPED: type {} {}: {}",
            kind.index, kind.properties, kind.why
        )
    });
    parts.extend(Some(skipped.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty()));
    parts.join("\n\n") + "\n"
}

/// The last line of a run without a failure.
pub fn verdict(report: &Report, expected: Option<f64>) -> String {
    let lowest = report
        .types
        .iter()
        .filter(|kind| kind.caching == "cached")
        .flat_map(|kind| &kind.bandwidth)
        .map(|it| it.ratio)
        .fold(f64::INFINITY, f64::min);
    match (lowest.is_finite(), expected) {
        (false, _) => format!("ok: {} types measured", report.types.len()),
        (true, None) => format!("ok: cached types at {lowest:.3} of ordinary memory or more"),
        (true, Some(ratio)) => {
            format!("ok: cached types at {lowest:.3} of ordinary memory or more, {ratio} is enough")
        }
    }
}

fn bandwidth(report: &Report) -> String {
    let mut heads = vec!["memory"];
    heads.extend(Pass::ALL.iter().flat_map(|pass| [pass.name(), ""]));
    let mut table = Table::new(&heads);
    let mut ordinary = vec!["ordinary".to_owned()];
    for it in &report.ordinary {
        ordinary.extend([gigabytes(it.rate), String::new()]);
    }
    table.row(ordinary);
    for kind in &report.types {
        let mut cells = vec![format!(
            "{} {} ({})",
            kind.index, kind.properties, kind.caching
        )];
        cells.extend(kind.bandwidth.iter().flat_map(cell));
        table.row(cells);
    }
    table.text()
}

fn cell(it: &Measurement) -> [String; 2] {
    [gigabytes(it.rate), format!("{:.3}", it.ratio)]
}

fn brackets(report: &Report) -> String {
    let mut table = Table::new(&["memory", "bytes", "read", "write"]);
    for kind in &report.types {
        for cost in &kind.brackets {
            let time = |us: f64| match us {
                us if us >= 10.0 => format!("{us:.0}"),
                us => format!("{us:.3}"),
            };
            let size = u64::try_from(cost.size).unwrap_or(0);
            table.row(vec![
                format!("{} {}", kind.index, kind.properties),
                bytes(size),
                time(cost.read_us),
                time(cost.write_us),
            ]);
        }
    }
    table.text()
}

fn gpu(report: &Report) -> String {
    let mut table = Table::new(&["memory", "copy", "fill"]);
    for kind in &report.types {
        table.row(vec![
            format!("{} {}", kind.index, kind.properties),
            gigabytes(kind.gpu.copy),
            gigabytes(kind.gpu.fill),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeHost;

    #[test]
    fn text_has_a_line_for_each_type_in_each_part() {
        let report = Report::new(&FakeHost::new().open(), 4096, 1).unwrap();
        let text = write(&report);
        assert_eq!(text.matches("3 visible+cached").count(), 3, "{text}");
        assert!(
            text.contains("SKIPPED: type 0 device-local: not mappable"),
            "{text}"
        );
        let verdict = verdict(&report, Some(0.01));
        assert!(verdict.starts_with("ok: cached types at "), "{verdict}");
    }
}
