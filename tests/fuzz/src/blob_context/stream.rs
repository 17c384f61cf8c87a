//! Streams, mostly of commands that could be right.

use arbitrary::{Result, Unstructured};
use coherd_protocol::blob_context::StreamBuilder;
use coherd_protocol::blob_context::command::{
    Allocate, Copy, Fill, Image, NO_REPLY, Query, Release, SetReplyBuffer, Sync, opcode,
};
use coherd_tests::blob_gpu::{LINEAR, TILED, XR24};
use zerocopy::little_endian::U64;

/// Commands of one stream.
const COMMANDS: usize = 12;

/// Draws a stream.
pub fn stream(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut builder = StreamBuilder::default();
    for _ in 0..u.int_in_range(1..=COMMANDS)? {
        command(u, &mut builder)?;
    }
    let mut bytes = builder.bytes().to_vec();
    if u.ratio(1, 16)? {
        let index = u.choose_index(bytes.len())?;
        bytes[index] = u.arbitrary()?;
    }
    if u.ratio(1, 32)? {
        bytes.truncate(u.choose_index(bytes.len())? / 4 * 4);
    }
    Ok(bytes)
}

fn command(u: &mut Unstructured<'_>, builder: &mut StreamBuilder) -> Result<()> {
    let place = (reply(u)?, u.arbitrary()?);
    match u.int_in_range(0..=9u32)? {
        opcode::NOP => builder.push(opcode::NOP, place, &[0u8; 0], &[0u8; 0]),
        opcode::SET_REPLY_BUFFER => {
            let command = SetReplyBuffer {
                resource_id: u.int_in_range(0..=4u32)?.into(),
                padding: 0.into(),
                offset: number(u, 8)?.into(),
                size: number(u, 8)?.into(),
            };
            builder.push(opcode::SET_REPLY_BUFFER, place, &command, &[0u8; 0])
        }
        opcode::ALLOCATE => {
            let command = Allocate {
                blob_id: blob_id(u)?.into(),
                size: number(u, 4096)?.into(),
                required: flags(u)?.into(),
                preferred: flags(u)?.into(),
                usage: flags(u)?.into(),
                flags: u32::from(u.ratio(1, 32)?).into(),
            };
            builder.push(opcode::ALLOCATE, place, &command, &[0u8; 0])
        }
        opcode::IMAGE => {
            let modifiers: Vec<U64> = (0..u.int_in_range(0..=3)?)
                .map(|_| Ok((*u.choose(&[LINEAR, TILED, 9])?).into()))
                .collect::<Result<_>>()?;
            let told = u32::try_from(modifiers.len()).unwrap_or(0);
            let command = Image {
                blob_id: blob_id(u)?.into(),
                width: u.int_in_range(0..=65u32)?.into(),
                height: u.int_in_range(0..=65u32)?.into(),
                fourcc: (*u.choose(&[XR24, XR24, XR24, 1])?).into(),
                usage: flags(u)?.into(),
                required: flags(u)?.into(),
                preferred: flags(u)?.into(),
                modifier_count: if u.ratio(1, 32)? {
                    u.arbitrary()?
                } else {
                    told
                }
                .into(),
                flags: 0.into(),
            };
            builder.push(opcode::IMAGE, place, &command, &modifiers)
        }
        opcode::RELEASE => {
            let command = Release {
                blob_id: blob_id(u)?.into(),
            };
            builder.push(opcode::RELEASE, place, &command, &[0u8; 0])
        }
        opcode::COPY => {
            let command = Copy {
                source: resource(u)?.into(),
                destination: resource(u)?.into(),
                source_offset: number(u, 4)?.into(),
                destination_offset: number(u, 4)?.into(),
                size: number(u, 4)?.into(),
            };
            builder.push(opcode::COPY, place, &command, &[0u8; 0])
        }
        opcode::FILL => {
            let command = Fill {
                resource_id: resource(u)?.into(),
                value: u.arbitrary::<u32>()?.into(),
                offset: number(u, 4)?.into(),
                size: number(u, 4)?.into(),
            };
            builder.push(opcode::FILL, place, &command, &[0u8; 0])
        }
        opcode::SYNC | 9 => {
            let command = Sync {
                resource_id: resource(u)?.into(),
                flags: flags(u)?.into(),
                offset: number(u, 1)?.into(),
                size: if u.arbitrary()? { 0 } else { number(u, 1)? }.into(),
                timeout_ms: u.int_in_range(0..=2u32)?.into(),
                padding: 0.into(),
            };
            builder.push(opcode::SYNC, place, &command, &[0u8; 0])
        }
        _ => {
            let command = Query {
                resource_id: resource(u)?.into(),
                padding: 0.into(),
            };
            builder.push(opcode::QUERY, place, &command, &[0u8; 0])
        }
    };
    Ok(())
}

fn reply(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match u.int_in_range(0..=7u8)? {
        0 => NO_REPLY,
        1 => u.arbitrary()?,
        _ => u.int_in_range(0..=512u32)? * 8,
    })
}

fn blob_id(u: &mut Unstructured<'_>) -> Result<u64> {
    u.int_in_range(0..=5)
}

/// An id of those that [`super::device`] uses, or a little beside them.
fn resource(u: &mut Unstructured<'_>) -> Result<u32> {
    u.int_in_range(0..=17)
}

/// A few low bits.
fn flags(u: &mut Unstructured<'_>) -> Result<u32> {
    if u.ratio(1, 32)? {
        return u.arbitrary();
    }
    u.int_in_range(0..=15)
}

/// A small multiple of `unit`, or any number.
fn number(u: &mut Unstructured<'_>, unit: u64) -> Result<u64> {
    if u.ratio(1, 16)? {
        return u.arbitrary();
    }
    Ok(unit * u.int_in_range(0..=300)?)
}
