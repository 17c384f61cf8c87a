//! Checks that mistakes get their status and do no harm.

use std::io;

use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::command::{
    Allocate, Copy, Fill, Image, Query, Release, SetReplyBuffer, Sync, SyncFlags, opcode,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::Place;
use super::movement::Memory;
use super::pattern::{compare, pattern};
use super::runner::{Outcome, Runner, Stop};
use crate::{Allocation, AllocationRequest, MemoryProperties};

/// A blob id that the library does not come to.
const BLOB_ID: u64 = 1 << 60;

/// Bytes of the memory that mistakes are made with.
const SIZE: u64 = 16384;

/// Runs the checks.
pub fn check(runner: &mut Runner<'_>, place: &Place) -> io::Result<()> {
    runner.run("mistakes in commands", || commands(place))?;
    runner.run("mistakes in allocations", || allocations(place))?;
    runner.run("mistakes in copies and fills", || {
        on_memory(place, transfers)
    })?;
    runner.run("mistakes in brackets", || on_memory(place, brackets))?;
    runner.run("mistakes in images", || images(place))
}

/// Sends a command that has to be refused with one of these statuses.
fn refused<T>(place: &Place, what: &str, opcode: u32, fixed: &T, expected: &[Status]) -> Outcome
where
    T: IntoBytes + Immutable,
{
    match place.context.call(opcode, fixed, &[0u8; 0]) {
        Err(error)
            if error
                .status()
                .is_some_and(|status| expected.contains(&status)) =>
        {
            Ok(())
        }
        Err(error) => Err(Stop::Failed(format!(
            "{what}: {}",
            crate::tool::one_line(&error)
        ))),
        Ok(_) => Err(Stop::Failed(format!("{what}: it was carried out"))),
    }
}

/// Sends a command that has to be carried out.
fn accepted<T>(place: &Place, what: &str, opcode: u32, fixed: &T) -> Outcome
where
    T: IntoBytes + Immutable,
{
    match place.context.call(opcode, fixed, &[0u8; 0]) {
        Ok(_) => Ok(()),
        Err(error) => Err(Stop::Failed(format!(
            "{what}: {}",
            crate::tool::one_line(&error)
        ))),
    }
}

fn commands(place: &Place) -> Outcome {
    refused(
        place,
        "unknown command",
        999,
        &(),
        &[Status::UnknownCommand],
    )?;
    for opcode in opcode::SET_REPLY_BUFFER..=opcode::QUERY {
        let what = format!("command {opcode} without a body");
        refused(place, &what, opcode, &(), &[Status::Invalid])?;
    }
    accepted(
        place,
        "command with more than its body",
        opcode::NOP,
        &[0u64; 4],
    )?;
    let query = |resource_id: u32| Query {
        resource_id: resource_id.into(),
        padding: 0.into(),
    };
    for id in [0, 0x7fff_fff0, u32::MAX] {
        let what = format!("query of resource {id}");
        refused(
            place,
            &what,
            opcode::QUERY,
            &query(id),
            &[Status::UnknownResource],
        )?;
    }
    // A blob of the host is no memory for replies.
    let blob = place.context.allocate(&visible())?;
    let buffer = SetReplyBuffer {
        resource_id: blob.resource_id().into(),
        padding: 0.into(),
        offset: 0.into(),
        size: SIZE.into(),
    };
    let what = "replies to a blob of the host";
    refused(
        place,
        what,
        opcode::SET_REPLY_BUFFER,
        &buffer,
        &[Status::UnknownResource],
    )
}

fn visible() -> AllocationRequest {
    AllocationRequest::new(SIZE, MemoryProperties::HOST_VISIBLE)
}

fn allocations(place: &Place) -> Outcome {
    let good = Allocate {
        blob_id: BLOB_ID.into(),
        size: 4096.into(),
        required: MemoryProperties::HOST_VISIBLE.bits().into(),
        preferred: 0.into(),
        usage: 0.into(),
        flags: 0.into(),
    };
    let allocate = |what, command: &Allocate, expected: &[Status]| {
        refused(place, what, opcode::ALLOCATE, command, expected)
    };
    let none = [Status::ObjectInUse];
    allocate(
        "blob id 0",
        &Allocate {
            blob_id: 0.into(),
            ..good
        },
        &none,
    )?;
    let invalid = [Status::Invalid];
    allocate(
        "no bytes",
        &Allocate {
            size: 0.into(),
            ..good
        },
        &invalid,
    )?;
    allocate(
        "a flag",
        &Allocate {
            flags: 1.into(),
            ..good
        },
        &invalid,
    )?;
    let too_large = [
        Status::NoMemoryType,
        Status::OutOfDeviceMemory,
        Status::OutOfHostMemory,
        Status::OverQuota,
        Status::Invalid,
    ];
    allocate(
        "all bytes there are",
        &Allocate {
            size: u64::MAX.into(),
            ..good
        },
        &too_large,
    )?;
    accepted(place, "an allocation", opcode::ALLOCATE, &good)?;
    allocate("a blob id twice", &good, &none)?;
    let release = Release {
        blob_id: BLOB_ID.into(),
    };
    accepted(place, "its release", opcode::RELEASE, &release)?;
    let unknown = [Status::UnknownObject];
    refused(
        place,
        "a release twice",
        opcode::RELEASE,
        &release,
        &unknown,
    )?;
    accepted(place, "the blob id again", opcode::ALLOCATE, &good)?;
    accepted(place, "its release", opcode::RELEASE, &release)
}

/// Runs mistakes on memory that has to keep its bytes.
fn on_memory(place: &Place, mistakes: impl FnOnce(&Place, &Allocation) -> Outcome) -> Outcome {
    let memory = Memory::of(place, place.context.allocate(&visible())?)?;
    let sent = pattern(6, memory.len());
    memory.write(0, &sent)?;
    mistakes(place, &memory.allocation)?;
    compare(&sent, &memory.read(0..memory.len())?)
}

fn transfers(place: &Place, memory: &Allocation) -> Outcome {
    let id = memory.resource_id();
    let invalid = [Status::Invalid];
    let size = memory.size();
    let fills = [
        ("a fill at an odd offset", 2, 4),
        ("a fill of an odd size", 0, 6),
        ("a fill past the end", 4, size),
        ("a fill behind the end", size, 4),
        ("a fill that overflows", u64::MAX - 3, 4),
        ("a fill of all bytes there are", 0, u64::MAX - 3),
    ];
    for (what, offset, size) in fills {
        let fill = Fill {
            resource_id: id.into(),
            value: 1.into(),
            offset: offset.into(),
            size: size.into(),
        };
        refused(place, what, opcode::FILL, &fill, &invalid)?;
    }
    let copies = [
        ("a copy from past the end", size - 4, 0, 8),
        ("a copy to past the end", 0, size - 4, 8),
        ("a copy that overflows", u64::MAX, 0, 1),
        ("a copy to an offset that overflows", 0, u64::MAX, 1),
        ("a copy onto itself", 0, 0, 64),
        ("a copy that overlaps", 0, 32, 64),
    ];
    for (what, from, to, size) in copies {
        let copy = Copy {
            source: id.into(),
            destination: id.into(),
            source_offset: from.into(),
            destination_offset: to.into(),
            size: size.into(),
        };
        refused(place, what, opcode::COPY, &copy, &invalid)?;
    }
    let nowhere = Copy {
        source: id.into(),
        destination: 0.into(),
        source_offset: 0.into(),
        destination_offset: 0.into(),
        size: 64.into(),
    };
    refused(
        place,
        "a copy to nothing",
        opcode::COPY,
        &nowhere,
        &[Status::UnknownResource],
    )
}

fn brackets(place: &Place, memory: &Allocation) -> Outcome {
    let size = memory.size();
    let sync = |flags: u32, offset: u64, size: u64| Sync {
        resource_id: memory.resource_id().into(),
        flags: flags.into(),
        offset: offset.into(),
        size: size.into(),
        ..Sync::new_zeroed()
    };
    let (read, end) = (SyncFlags::READ.bits(), SyncFlags::END.bits());
    let write = SyncFlags::WRITE.bits();
    let cases = [
        ("neither read nor write", sync(0, 0, 64), Status::Invalid),
        ("an unknown flag", sync(read | 8, 0, 64), Status::Invalid),
        ("a range past the end", sync(read, 4, size), Status::Invalid),
        (
            "a range that overflows",
            sync(read, u64::MAX, 2),
            Status::Invalid,
        ),
        (
            "an end without a start",
            sync(read | end, 0, 64),
            Status::NotOpen,
        ),
    ];
    for (what, command, status) in cases {
        refused(place, what, opcode::SYNC, &command, &[status])?;
    }
    // READ makes it harmless to write the processor's bytes back later.
    accepted(place, "a start", opcode::SYNC, &sync(read | write, 0, 64))?;
    let not_open = [Status::NotOpen];
    let other_range = sync(read | write | end, 0, 128);
    refused(
        place,
        "an end of another range",
        opcode::SYNC,
        &other_range,
        &not_open,
    )?;
    let other_access = sync(read | end, 0, 64);
    refused(
        place,
        "an end of another access",
        opcode::SYNC,
        &other_access,
        &not_open,
    )?;
    let right = sync(read | write | end, 0, 64);
    accepted(place, "its end", opcode::SYNC, &right)?;
    refused(place, "an end twice", opcode::SYNC, &right, &not_open)
}

fn images(place: &Place) -> Outcome {
    let host = place.context.host();
    let Some(format) = host.formats.first().filter(|_| host.images) else {
        return Err(Stop::Skipped("the host makes none".to_owned()));
    };
    let good = Image {
        blob_id: BLOB_ID.into(),
        width: 64.into(),
        height: 64.into(),
        fourcc: format.fourcc.into(),
        ..Image::new_zeroed()
    };
    let image =
        |what, command: &Image, status| refused(place, what, opcode::IMAGE, command, &[status]);
    image(
        "blob id 0",
        &Image {
            blob_id: 0.into(),
            ..good
        },
        Status::ObjectInUse,
    )?;
    image(
        "no width",
        &Image {
            width: 0.into(),
            ..good
        },
        Status::Invalid,
    )?;
    image(
        "no height",
        &Image {
            height: 0.into(),
            ..good
        },
        Status::Invalid,
    )?;
    image(
        "a width without end",
        &Image {
            width: u32::MAX.into(),
            ..good
        },
        Status::Invalid,
    )?;
    image(
        "a flag",
        &Image {
            flags: 1.into(),
            ..good
        },
        Status::Invalid,
    )?;
    image(
        "modifiers that are not there",
        &Image {
            modifier_count: 2.into(),
            ..good
        },
        Status::Invalid,
    )?;
    let many = Image {
        modifier_count: 65.into(),
        ..good
    };
    image("too many modifiers", &many, Status::Invalid)
}
