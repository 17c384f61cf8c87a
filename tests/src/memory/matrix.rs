//! The matrix: memory, exporter and door, and what follows from them for an access.

use std::os::fd::OwnedFd;

use coherd_blob::{Exporter, MapInfo, MemoryProperties};
use coherd_vulkan::Device;
use coherd_vulkan::memory::MemoryTypeInfo;

use super::{Bytes, Door, Gpu, MemoryError, Subject, Table, View};

/// Memory through one door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where the memory comes from.
    pub memory: String,
    /// Its memory type's properties.
    pub properties: MemoryProperties,
    /// Who exports the file that shares it.
    pub exporter: Option<Exporter>,
    /// What a guest may be told.
    pub map_info: Option<MapInfo>,
    /// How a mapping of the file is cached.
    pub file_caching: Option<MapInfo>,
    /// The way to it; `None` if the CPU has none.
    pub door: Option<Door>,
    /// Whether accesses need brackets.
    pub needs_brackets: bool,
    /// What the two sides saw of each other's writes in brackets.
    pub bracketed: Option<Bytes>,
    /// What they saw without.
    pub bare: Option<Bytes>,
}

impl Row {
    /// Whether accesses that are bracketed where they need it see everything.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let right = |bytes: Option<Bytes>| bytes == Some(Bytes::RIGHT);
        self.door.is_none() || (right(self.bracketed) && (self.needs_brackets || right(self.bare)))
    }

    fn cells(&self) -> Vec<String> {
        let exporter = self.exporter.as_ref();
        vec![
            self.memory.clone(),
            words(self.properties),
            or_dash(exporter),
            or_dash(self.map_info),
            self.file_caching.map_or_else(
                || exporter.map_or("-", |_| "unknown").to_owned(),
                |caching| caching.to_string(),
            ),
            or_dash(self.door),
            if self.needs_brackets { "yes" } else { "no" }.to_owned(),
            or_dash(self.bracketed),
            or_dash(self.bare),
        ]
    }
}

/// The columns of [`table`].
const COLUMNS: [&str; 9] = [
    "memory",
    "type",
    "file of",
    "map_info",
    "mmap of the file",
    "access by",
    "brackets",
    "bytes with them",
    "and without",
];

/// The rows as a table.
#[must_use]
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&COLUMNS);
    rows.iter().for_each(|row| table.add(row.cells()));
    table
}

/// A row for each memory type of the device and each door, of memory of `size` bytes. Types of the
/// same properties are examined once.
///
/// # Errors
/// See [`MemoryError`].
pub fn of_device(device: &Device, name: &str, size: u64) -> Result<Vec<Row>, MemoryError> {
    let mut gpu = Gpu::new(device, size)?;
    let mut rows = Vec::new();
    for info in distinct(device.memory_types()) {
        let subject = Subject::allocate(device, &info, size)?;
        rows.extend(of_subject(&mut gpu, name, &subject)?);
    }
    Ok(rows)
}

/// A row for each door of a file that the device imports.
///
/// # Errors
/// See [`MemoryError`].
pub fn of_file(
    device: &Device,
    name: &str,
    fd: OwnedFd,
    size: u64,
) -> Result<Vec<Row>, MemoryError> {
    let subject = Subject::import(device, fd, size)?;
    of_subject(&mut Gpu::new(device, size)?, name, &subject)
}

/// A row for each door of a piece of memory; one row for memory without any.
///
/// # Errors
/// See [`MemoryError`].
pub fn of_subject(gpu: &mut Gpu, name: &str, subject: &Subject) -> Result<Vec<Row>, MemoryError> {
    let row = |door| Row {
        memory: name.to_owned(),
        properties: subject.allocation().properties(),
        exporter: subject.exporter().cloned(),
        map_info: subject.map_info(),
        file_caching: subject.file_caching(),
        door,
        needs_brackets: door.is_some_and(|door| subject.needs_brackets(door)),
        bracketed: None,
        bare: None,
    };
    let mut rows = Vec::new();
    for door in subject.doors() {
        let view = View::open(subject, door)?;
        rows.push(Row {
            bracketed: Some(gpu.check(subject, &view, true)?),
            bare: Some(gpu.check(subject, &view, false)?),
            ..row(Some(door))
        });
    }
    if rows.is_empty() {
        rows.push(row(None));
    }
    Ok(rows)
}

/// The first memory type of each set of properties.
pub(super) fn distinct(types: &[MemoryTypeInfo]) -> Vec<MemoryTypeInfo> {
    let mut seen: Vec<MemoryProperties> = Vec::new();
    let mut distinct = Vec::new();
    for info in types {
        if !seen.contains(&info.properties) {
            seen.push(info.properties);
            distinct.push(*info);
        }
    }
    distinct
}

/// Properties in few words; what the CPU can map is not said.
#[must_use]
pub fn words(properties: MemoryProperties) -> String {
    if !properties.contains(MemoryProperties::HOST_VISIBLE) {
        return "not host visible".to_owned();
    }
    let word = |flag, yes, no| if properties.contains(flag) { yes } else { no };
    let mut text = [
        word(MemoryProperties::HOST_COHERENT, "coherent", "incoherent"),
        word(MemoryProperties::HOST_CACHED, "cached", "not cached"),
    ]
    .join(", ");
    text += word(MemoryProperties::DEVICE_LOCAL, ", device local", "");
    text
}

/// A cell for what may be absent.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
