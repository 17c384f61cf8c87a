//! What `gpu-check` finds out about a device: the matrix of its memory types, and their speed.

use std::fmt;

use coherd::explain::one_line;
use coherd_vulkan::memory::MemoryTypeInfo;
use coherd_vulkan::{Adapter, Device};

use super::matrix::{self, Row, distinct, or_dash, words};
use super::speed::{self, Cost, Speed};
use super::{Gpu, MemoryError, Subject, Table, View};

/// One memory type.
#[derive(Debug)]
pub struct TypeReport {
    /// The type.
    pub info: MemoryTypeInfo,
    /// What was found, or why nothing was.
    pub found: Result<Found, MemoryError>,
}

/// What was found out about a memory type.
#[derive(Debug)]
pub struct Found {
    /// What is right and wrong, and how fast it is, for each door.
    pub doors: Vec<(Row, Option<Speed>)>,
    /// What brackets cost, if it needs them.
    pub cost: Option<Cost>,
}

/// All of a device.
#[derive(Debug)]
pub struct Report {
    adapter: Adapter,
    size: u64,
    types: Vec<TypeReport>,
}

impl Report {
    /// Examines each memory type of the device with memory of `size` bytes.
    ///
    /// # Errors
    /// [`MemoryError`] if the device cannot be used at all; what fails for one memory type is part
    /// of the report.
    pub fn of(device: &Device, size: u64) -> Result<Self, MemoryError> {
        let mut gpu = Gpu::new(device, size)?;
        let types = distinct(device.memory_types())
            .into_iter()
            .map(|info| TypeReport {
                info,
                found: examine(device, &mut gpu, &info, size),
            })
            .collect();
        Ok(Self {
            adapter: device.adapter().clone(),
            size,
            types,
        })
    }

    /// Whether each memory type works, and brackets are needed where they are said to be only.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.types.iter().all(|report| match &report.found {
            Ok(found) => found.doors.iter().all(|(row, _)| row.is_right()),
            Err(_) => false,
        })
    }
}

fn examine(
    device: &Device,
    gpu: &mut Gpu,
    info: &MemoryTypeInfo,
    size: u64,
) -> Result<Found, MemoryError> {
    let subject = Subject::allocate(device, info, size)?;
    let name = device.adapter().name.clone();
    let mut doors = Vec::new();
    let mut cost = None;
    for row in matrix::of_subject(gpu, &name, &subject)? {
        let speed = match row.door {
            Some(door) => {
                let view = View::open(&subject, door)?;
                if cost.is_none() {
                    cost = speed::cost(&subject, &view)?;
                }
                Some(speed::measure(&view))
            }
            None => None,
        };
        doors.push((row, speed));
    }
    Ok(Found { doors, cost })
}

const COLUMNS: [&str; 12] = [
    "type",
    "properties",
    "file of",
    "map_info",
    "access by",
    "brackets",
    "bytes with them",
    "and without",
    "load MB/s",
    "store MB/s",
    "flush µs/MiB",
    "invalidate µs/MiB",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            adapter,
            size,
            types,
        } = self;
        writeln!(f, "{adapter}, {} MiB of each memory type\n", size >> 20)?;
        let mut table = Table::new(&COLUMNS);
        for report in types {
            for row in cells(report) {
                table.add(row);
            }
        }
        write!(f, "{table}")
    }
}

fn cells(report: &TypeReport) -> Vec<Vec<String>> {
    let TypeReport { info, found } = report;
    let head = vec![info.index.to_string(), words(info.properties)];
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let mut row = head;
            row.push(format!("FAILED: {}", one_line(error)));
            row.resize(COLUMNS.len(), String::new());
            return vec![row];
        }
    };
    let rows = found.doors.iter().enumerate();
    rows.map(|(number, (row, speed))| {
        let cost = found.cost.filter(|_| number == 0);
        let mut cells = head.clone();
        cells.extend([
            or_dash(row.exporter.as_ref()),
            or_dash(row.map_info),
            or_dash(row.door),
            if row.needs_brackets { "yes" } else { "no" }.to_owned(),
            or_dash(row.bracketed),
            or_dash(row.bare),
            or_dash(speed.map(|speed| format!("{:.0}", speed.load))),
            or_dash(speed.map(|speed| format!("{:.0}", speed.store))),
            or_dash(cost.map(|cost| format!("{:.1}", cost.flush))),
            or_dash(cost.map(|cost| format!("{:.1}", cost.invalidate))),
        ]);
        cells
    })
    .collect()
}
