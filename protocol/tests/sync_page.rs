//! `docs/sync-protocol.md` says what the code does: numbers, structures, and the example's bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use bitflags::Flags;
use coherd_protocol::blob_context::reply::{BackingKind, ImageLayout, Memory, MemoryFlags, Plane};
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_protocol::sync::wire::{
    Begin, Capabilities, Close, Describe, Described, Destroyed, End, Entry, EntryFlags,
    ExportFence, Hello, Holder, HolderFlags, ImportFence, List, ListFlags, ListHead, Open,
    OpenFlags, Opened, Watch, Welcome,
};
use coherd_protocol::sync::{Header, Kind, MAGIC, Status, VERSION, event, limits, text};
use zerocopy::{FromZeros, IntoBytes};

const PAGE: &str = include_str!("../../docs/sync-protocol.md");

/// The cells of the tables whose first cell is a number, by that number.
fn numbered_rows(section: &str) -> BTreeMap<u32, String> {
    let start = PAGE.find(&format!("\n## {section}\n")).unwrap() + 1;
    let text = &PAGE[start..];
    let end = text.find("\n## ").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let number = cells.next()?;
            let number = number.strip_prefix("0x").map_or_else(
                || number.parse().ok(),
                |hex| u32::from_str_radix(hex, 16).ok(),
            )?;
            Some((number, cells.next()?.to_owned()))
        })
        .collect()
}

/// `BeginTimedOut` as `BEGIN_TIMED_OUT`.
fn shouted(name: impl std::fmt::Debug) -> String {
    let mut out = String::new();
    for c in format!("{name:?}").chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// The page's words, one space between any two.
fn words() -> String {
    PAGE.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn page_has_every_kind_of_request_and_each_capability() {
    for kind in Kind::ALL {
        let row = format!("| {} | {} | ", kind.to_wire(), shouted(kind));
        assert!(PAGE.contains(&row), "{row}");
    }
    for (name, bit) in Capabilities::all().iter_names() {
        let row = format!("| {} | {name} |", bit.bits());
        assert!(PAGE.contains(&row), "{row}");
    }
}

#[test]
fn page_has_every_bit_by_its_name() {
    fn named<F: Flags<Bits = u32>>() -> impl Iterator<Item = String> {
        F::FLAGS
            .iter()
            .map(|flag| format!("{} {}", flag.value().bits(), flag.name()))
    }
    let words = words();
    let bits = named::<Access>()
        .chain(named::<MemoryProperties>())
        .chain(named::<MemoryFlags>())
        .chain(named::<ListFlags>())
        .chain(named::<EntryFlags>())
        .chain(named::<OpenFlags>())
        .chain(named::<HolderFlags>());
    for bit in bits {
        assert!(words.contains(&bit), "{bit}");
    }
}

#[test]
fn page_has_every_status_and_no_other() {
    let rows = numbered_rows("Statuses");
    assert_eq!(rows.len(), Status::ALL.len());
    for status in Status::ALL {
        assert_eq!(rows[&status.to_wire()], shouted(status));
    }
}

#[test]
fn page_has_every_event() {
    let rows = numbered_rows("Events");
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[&event::CREATED], "BLOB_CREATED");
    assert_eq!(rows[&event::DESTROYED], "BLOB_DESTROYED");
    assert_eq!(rows[&event::LOST], "EVENTS_LOST");
}

#[test]
fn page_has_the_limits() {
    for sentence in [
        format!("one datagram of at most {} bytes", limits::MAX_MESSAGE),
        format!("as many as fit, which is {}", limits::MAX_ENTRIES),
        format!("up to {} holders", limits::MAX_HOLDERS),
        format!("This page is version {VERSION}"),
    ] {
        assert!(words().contains(&sentence), "{sentence}");
    }
}

/// Fields with their offsets, as `coherd-protocol` has them.
macro_rules! layouts {
    ($($name:literal $ty:ident { $($field:ident),* })*) => {
        BTreeMap::from([$((
            $name,
            (size_of::<$ty>(), vec![$((stringify!($field), std::mem::offset_of!($ty, $field)),)*]),
        ),)*])
    };
}

/// A structure's size, and its fields with their offsets.
type Layout = (usize, Vec<(&'static str, usize)>);

/// The structures in the page's C, laid out as a C compiler does.
fn structures_of_the_page() -> BTreeMap<&'static str, Layout> {
    let code = PAGE.split("```c\n").nth(1).unwrap();
    let code = &code[..code.find("```").unwrap()];
    let mut structures = BTreeMap::new();
    let mut sizes = BTreeMap::from([
        ("uint8_t", (1, 1)),
        ("uint32_t", (4, 4)),
        ("uint64_t", (8, 8)),
    ]);
    for definition in code.split("\nstruct ").skip(1) {
        let (name, rest) = definition.split_once(" {").unwrap();
        let (body, _) = rest.split_once("};").unwrap();
        let (mut end, mut most, mut fields) = (0_usize, 1, vec![]);
        for declaration in body
            .split(';')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            let declaration = declaration.strip_prefix("struct ").unwrap_or(declaration);
            let (ty, names) = declaration.split_once(' ').unwrap();
            let (size, align): (usize, usize) = sizes[ty];
            for declarator in names.split(',').map(str::trim) {
                let (field, count) = declarator.split_once('[').map_or((declarator, 1), |parts| {
                    (parts.0, parts.1.trim_end_matches(']').parse().unwrap())
                });
                assert_eq!(end % align, 0, "there is a gap before {name}.{field}");
                fields.push((field, end));
                end += size * count;
                most = most.max(align);
            }
        }
        assert_eq!(end % most, 0, "there is a gap at the end of {name}");
        sizes.insert(name, (end, most));
        structures.insert(name, (end, fields));
    }
    structures
}

#[test]
fn structures_of_the_page_are_those_of_the_code_without_gaps() {
    let code = layouts! {
        "header" Header { kind, tag, status, detail }
        "hello" Hello { magic, version, oldest, reserved, capabilities, name }
        "welcome" Welcome {
            magic, version, access, page_size, capabilities, instance, peer, max_open,
            max_brackets, max_waiting, default_timeout_ms, max_timeout_ms, reserved, name
        }
        "list" List { after, limit, reserved }
        "list_head" ListHead { count, flags, reserved }
        "entry" Entry { blob, size, resource_id, generation, context_id, flags }
        "watch" Watch { enable, reserved }
        "open" Open { blob, access, reserved }
        "memory" Memory {
            size, type_index, properties, flags, map_info, fd_map_info, effective_map_info,
            backing, padding
        }
        "plane" Plane { offset, pitch, size }
        "image_layout" ImageLayout { modifier, plane_count, padding, planes }
        "opened" Opened {
            blob, data_offset, page_size, memory, access, fd_access, flags, resource_id,
            generation, context_id, exporter, fourcc, width, height, reserved, layout
        }
        "close" Close { blob }
        "begin" Begin { blob, bracket, offset, size, access, timeout_ms }
        "end" End { bracket }
        "describe" Describe { blob, after, limit, reserved }
        "described" Described { blob, memory, agreement, open, count, flags }
        "holder" Holder { holder, kind, map_info, access, flags, open, pid, name }
        "export_fence" ExportFence { blob, access, reserved }
        "import_fence" ImportFence { blob, access, reserved }
        "destroyed" Destroyed { blob }
    };
    assert_eq!(structures_of_the_page(), code);
}

/// The messages of the page's example.
fn example_of_the_page() -> Vec<Vec<u8>> {
    let (_, section) = PAGE.split_once("\n## An example\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    section
        .split("```text\n")
        .skip(1)
        .map(|block| {
            let mut message = vec![];
            for line in block.lines().take_while(|line| *line != "```") {
                let (offset, rest) = line.split_once("  ").unwrap();
                assert_eq!(
                    usize::from_str_radix(offset, 16),
                    Ok(message.len()),
                    "{line}"
                );
                let (bytes, _comment) = rest.split_once("  ").unwrap_or((rest, ""));
                message.extend(
                    bytes
                        .split(' ')
                        .map(|byte| u8::from_str_radix(byte, 16).unwrap()),
                );
            }
            message
        })
        .collect()
}

fn request(kind: Kind, tag: u32, body: &[u8]) -> Vec<u8> {
    [Header::request(kind, tag).as_bytes(), body].concat()
}

fn reply(kind: Kind, tag: u32, body: &[u8]) -> Vec<u8> {
    let header = Header::request(kind, tag).reply(Status::Ok, 0);
    [header.as_bytes(), body].concat()
}

#[test]
fn example_of_the_page_is_what_the_code_sends() {
    let read = Access::READ.bits().into();
    let hello = Hello {
        magic: MAGIC,
        version: VERSION.into(),
        oldest: VERSION.into(),
        reserved: 0.into(),
        capabilities: Capabilities::WATCH.bits().into(),
        name: text::encode("recorder"),
    };
    let welcome = Welcome {
        magic: MAGIC,
        version: VERSION.into(),
        access: read,
        page_size: 4096.into(),
        capabilities: Capabilities::WATCH.bits().into(),
        instance: 0x1f2e_3d4c_5b6a_7988.into(),
        peer: 16.into(),
        max_open: 256.into(),
        max_brackets: 1024.into(),
        max_waiting: 64.into(),
        default_timeout_ms: limits::DEFAULT_TIMEOUT_MS.into(),
        max_timeout_ms: limits::MAX_TIMEOUT_MS.into(),
        reserved: 0.into(),
        name: text::encode("coherd 0.1.0"),
    };
    let head = ListHead {
        count: 1.into(),
        ..ListHead::new_zeroed()
    };
    let entry = Entry {
        blob: 5.into(),
        size: 65536.into(),
        resource_id: 7.into(),
        generation: 0.into(),
        context_id: 1.into(),
        flags: (EntryFlags::OPENABLE | EntryFlags::MAPPED).bits().into(),
    };
    let open = Open {
        blob: 5.into(),
        access: read,
        reserved: 0.into(),
    };
    let begin = Begin {
        blob: 5.into(),
        bracket: 9.into(),
        offset: 0.into(),
        size: 4096.into(),
        access: read,
        timeout_ms: 1000.into(),
    };
    let end = End { bracket: 9.into() };
    let list = [head.as_bytes(), entry.as_bytes()].concat();

    let sent = [
        request(Kind::Hello, 1, hello.as_bytes()),
        reply(Kind::Hello, 1, welcome.as_bytes()),
        request(Kind::List, 2, List::new_zeroed().as_bytes()),
        reply(Kind::List, 2, &list),
        request(Kind::Open, 3, open.as_bytes()),
        reply(Kind::Open, 3, opened().as_bytes()),
        request(Kind::Begin, 4, begin.as_bytes()),
        reply(Kind::Begin, 4, &[]),
        request(Kind::End, 5, end.as_bytes()),
        reply(Kind::End, 5, &[]),
    ];

    assert_eq!(example_of_the_page(), sent);
}

/// The answer to the example's OPEN.
fn opened() -> Opened {
    let properties = MemoryProperties::HOST_VISIBLE
        | MemoryProperties::HOST_COHERENT
        | MemoryProperties::HOST_CACHED;
    let flags = MemoryFlags::MAPPABLE | MemoryFlags::AGREED | MemoryFlags::FD_KNOWN;
    Opened {
        blob: 5.into(),
        data_offset: 4096.into(),
        page_size: 4096.into(),
        memory: Memory {
            size: 65536.into(),
            properties: properties.bits().into(),
            flags: flags.bits().into(),
            map_info: 1.into(),
            fd_map_info: 1.into(),
            backing: (BackingKind::MemfdWithHeader as u32).into(),
            ..Memory::new_zeroed()
        },
        access: Access::READ.bits().into(),
        fd_access: Access::READ.bits().into(),
        flags: OpenFlags::MMAP.bits().into(),
        resource_id: 7.into(),
        context_id: 1.into(),
        exporter: text::encode("memfd"),
        ..Opened::new_zeroed()
    }
}
