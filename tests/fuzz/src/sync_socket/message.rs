//! Requests that are right, or nearly.

use arbitrary::{Result, Unstructured};
use coherd_protocol::sync::wire::{
    Begin, Capabilities, Close, Describe, End, ExportFence, Hello, ImportFence, List, Open, Watch,
};
use coherd_protocol::sync::{Kind, MAGIC};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// HELLO, most often of a peer that wants everything.
pub fn hello(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let capabilities = match u.ratio(7, 8)? {
        true => Capabilities::all().bits(),
        false => u.arbitrary()?,
    };
    Ok(bytes(&Hello {
        magic: MAGIC,
        version: 1.into(),
        oldest: 1.into(),
        capabilities: capabilities.into(),
        name: u.arbitrary()?,
        ..Hello::new_zeroed()
    }))
}

/// The kind of a request and what is behind its header. It is about one of these blobs, or nearly.
pub fn request(u: &mut Unstructured<'_>, blobs: &[u64]) -> Result<(u32, Vec<u8>)> {
    let (kind, mut body) = right(u, blobs)?;
    let mut kind = kind.to_wire();
    if u.ratio(1, 16)? {
        let place = u.choose_index(body.len())?;
        body[place] = u.arbitrary()?;
    }
    if u.ratio(1, 32)? {
        body.truncate(u.choose_index(body.len())?);
    }
    if u.ratio(1, 32)? {
        kind = u.int_in_range(0..=0x2004)?;
    }
    Ok((kind, body))
}

fn right(u: &mut Unstructured<'_>, blobs: &[u64]) -> Result<(Kind, Vec<u8>)> {
    Ok(match u.int_in_range(0..=19u8)? {
        0 => (Kind::Hello, hello(u)?),
        1 => (
            Kind::List,
            bytes(&List {
                after: some_blob(u, blobs)?,
                limit: small(u)?,
                reserved: 0.into(),
            }),
        ),
        2 => (
            Kind::Watch,
            bytes(&Watch {
                enable: u.int_in_range(0..=1u32)?.into(),
                reserved: 0.into(),
            }),
        ),
        3..=6 => (
            Kind::Open,
            bytes(&Open {
                blob: some_blob(u, blobs)?,
                access: access(u)?,
                reserved: 0.into(),
            }),
        ),
        7 => (
            Kind::Close,
            bytes(&Close {
                blob: some_blob(u, blobs)?,
            }),
        ),
        8..=12 => (
            Kind::Begin,
            bytes(&Begin {
                blob: some_blob(u, blobs)?,
                bracket: u.int_in_range(0..=6u64)?.into(),
                offset: offset(u)?,
                size: offset(u)?,
                access: access(u)?,
                timeout_ms: u.int_in_range(0..=4u32)?.into(),
            }),
        ),
        13..=15 => (
            Kind::End,
            bytes(&End {
                bracket: u.int_in_range(0..=6u64)?.into(),
            }),
        ),
        16 | 17 => (
            Kind::Describe,
            bytes(&Describe {
                blob: some_blob(u, blobs)?,
                after: u.int_in_range(0..=20u64)?.into(),
                limit: small(u)?,
                reserved: 0.into(),
            }),
        ),
        18 => (
            Kind::ExportFence,
            bytes(&ExportFence {
                blob: some_blob(u, blobs)?,
                access: access(u)?,
                reserved: 0.into(),
            }),
        ),
        _ => (
            Kind::ImportFence,
            bytes(&ImportFence {
                blob: some_blob(u, blobs)?,
                access: access(u)?,
                reserved: 0.into(),
            }),
        ),
    })
}

fn bytes<T: IntoBytes + Immutable>(body: &T) -> Vec<u8> {
    body.as_bytes().to_vec()
}

fn some_blob(u: &mut Unstructured<'_>, blobs: &[u64]) -> Result<U64> {
    Ok(match u.ratio(1, 16)? {
        true => u.arbitrary::<u64>()?.into(),
        false => (*u.choose(blobs)?).into(),
    })
}

fn access(u: &mut Unstructured<'_>) -> Result<U32> {
    Ok(u.int_in_range(1..=3u32)?.into())
}

fn small(u: &mut Unstructured<'_>) -> Result<U32> {
    Ok(u.int_in_range(0..=3u32)?.into())
}

/// Most often within a blob.
fn offset(u: &mut Unstructured<'_>) -> Result<U64> {
    Ok(match u.int_in_range(0..=7u8)? {
        0 => u.arbitrary::<u64>()?,
        1..=3 => 0,
        _ => u.int_in_range(0..=8192u64)?,
    }
    .into())
}
