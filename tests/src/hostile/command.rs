//! Commands, right and wrong.

use arbitrary::{Result, Unstructured};
use coherd_protocol::gpu::Format;
use coherd_protocol::gpu::header::Header;
use coherd_protocol::gpu::wire::{
    AttachBacking, Box3, CreateBlob, CtxCreate, CursorPos, GetCapset, GetCapsetInfo, GetEdid,
    MapBlob, MemEntry, Rect, ResourceCreate2d, ResourceCreate3d, ResourceFlush, ResourceRef,
    SetScanout, SetScanoutBlob, Submit3d, Transfer3d, TransferToHost2d, UpdateCursor,
};
use zerocopy::IntoBytes;

use super::belief::{Beliefs, Kind, Resource};
use super::draw::{mostly, multiple, one_in};
use super::slots::{REQUEST, RESPONSE};
use crate::driver::kind;
use crate::renderer::{BROKEN_RING, CAPSET, Operation, Recipe};

const PAGE: u64 = 4096;

/// A command and the room for its answer.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// Header and body.
    pub(super) bytes: Vec<u8>,
    /// Bytes of room for the response.
    pub(super) room: u32,
}

/// Draws a command for a guest with RAM at these addresses, with as many bytes each.
pub(super) fn command(
    u: &mut Unstructured<'_>,
    beliefs: &mut Beliefs,
    ram: &[(u64, u64)],
    cursor: bool,
) -> Result<Command> {
    let code = if cursor && !one_in(u, 16)? {
        *u.choose(&[kind::UPDATE_CURSOR, kind::MOVE_CURSOR])?
    } else {
        *u.choose(&CODES)?
    };
    let ctx_id = match code {
        kind::CTX_CREATE => beliefs.new_context(u)?,
        kind::CTX_DESTROY => beliefs.take_context(u)?,
        _ => beliefs.context(u)?,
    };
    let body = body(u, beliefs, code, ram)?;
    let mut bytes = [header(u, code, ctx_id)?.as_bytes(), &body].concat();
    if one_in(u, 32)? {
        spoil(u, &mut bytes)?;
    }
    bytes.truncate(REQUEST as usize);
    let room = match u.int_in_range(0..=31u8)? {
        29 => u.int_in_range(0..=RESPONSE)?,
        30 => 0,
        31 => u32::try_from(Header::LEN).unwrap_or(0),
        _ if cursor => 0,
        _ => RESPONSE,
    };
    Ok(Command { bytes, room })
}

/// What makes state comes more often than what only looks at it.
const CODES: [u32; 44] = [
    kind::RESOURCE_CREATE_BLOB,
    kind::RESOURCE_CREATE_BLOB,
    kind::RESOURCE_CREATE_BLOB,
    kind::RESOURCE_CREATE_BLOB,
    kind::RESOURCE_UNREF,
    kind::RESOURCE_UNREF,
    kind::RESOURCE_UNREF,
    kind::RESOURCE_UNREF,
    kind::RESOURCE_UNREF,
    kind::RESOURCE_CREATE_2D,
    kind::RESOURCE_CREATE_2D,
    kind::RESOURCE_MAP_BLOB,
    kind::RESOURCE_MAP_BLOB,
    kind::RESOURCE_UNMAP_BLOB,
    kind::RESOURCE_UNMAP_BLOB,
    kind::CTX_CREATE,
    kind::CTX_CREATE,
    kind::CTX_DESTROY,
    kind::CTX_DESTROY,
    kind::CTX_ATTACH_RESOURCE,
    kind::CTX_ATTACH_RESOURCE,
    kind::CTX_DETACH_RESOURCE,
    kind::SUBMIT_3D,
    kind::SUBMIT_3D,
    kind::SUBMIT_3D,
    kind::SUBMIT_3D,
    kind::RESOURCE_ATTACH_BACKING,
    kind::RESOURCE_DETACH_BACKING,
    kind::TRANSFER_TO_HOST_2D,
    kind::TRANSFER_TO_HOST_2D,
    kind::SET_SCANOUT,
    kind::SET_SCANOUT,
    kind::SET_SCANOUT_BLOB,
    kind::RESOURCE_FLUSH,
    kind::GET_DISPLAY_INFO,
    kind::GET_CAPSET_INFO,
    kind::GET_CAPSET,
    kind::GET_EDID,
    kind::RESOURCE_ASSIGN_UUID,
    kind::RESOURCE_CREATE_3D,
    kind::TRANSFER_TO_HOST_3D,
    kind::TRANSFER_FROM_HOST_3D,
    kind::UPDATE_CURSOR,
    kind::MOVE_CURSOR,
];

fn header(u: &mut Unstructured<'_>, code: u32, ctx_id: u32) -> Result<Header> {
    let flags = match u.int_in_range(0..=7u8)? {
        0..=3 => 0,
        4 => 1,
        7 => u.arbitrary()?,
        _ => 3,
    };
    Ok(Header {
        kind: code.into(),
        flags: flags.into(),
        fence_id: u64::from(mostly(u, 0..=255)?).into(),
        ctx_id: ctx_id.into(),
        ring_idx: *u.choose(&[0, 1, 1, 1, 1, 2, BROKEN_RING, 64])?,
        padding: [0; 3],
    })
}

/// Changes, cuts or lengthens a request.
fn spoil(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    match u.int_in_range(0..=2u8)? {
        0 => {
            let index = u.choose_index(bytes.len())?;
            if let Some(byte) = bytes.get_mut(index) {
                *byte = u.arbitrary()?;
            }
        }
        1 => bytes.truncate(u.choose_index(bytes.len())?),
        _ => bytes.extend_from_slice(u.bytes(u.len().min(64))?),
    }
    Ok(())
}

fn body(
    u: &mut Unstructured<'_>,
    beliefs: &mut Beliefs,
    code: u32,
    ram: &[(u64, u64)],
) -> Result<Vec<u8>> {
    Ok(match code {
        kind::RESOURCE_CREATE_2D => {
            let side = |u: &mut Unstructured<'_>| Ok(*u.choose(&SIDES)?);
            ResourceCreate2d {
                resource_id: beliefs.new_resource(u, Resource::new(Kind::Image))?.into(),
                format: format(u)?.into(),
                width: side(u)?.into(),
                height: side(u)?.into(),
            }
            .as_bytes()
            .to_vec()
        }
        kind::RESOURCE_UNREF
        | kind::RESOURCE_DETACH_BACKING
        | kind::RESOURCE_ASSIGN_UUID
        | kind::CTX_ATTACH_RESOURCE
        | kind::CTX_DETACH_RESOURCE
        | kind::RESOURCE_UNMAP_BLOB => {
            let id = match code {
                kind::RESOURCE_UNREF => beliefs.take_resource(u)?,
                kind::RESOURCE_DETACH_BACKING => beliefs.resource(u, |known| known.backed)?,
                kind::RESOURCE_UNMAP_BLOB => beliefs.resource(u, |known| known.mapped)?,
                _ => beliefs.resource(u, |_| true)?,
            };
            beliefs.change(id, |known| match code {
                kind::RESOURCE_DETACH_BACKING => known.backed = false,
                kind::RESOURCE_UNMAP_BLOB => known.mapped = false,
                _ => {}
            });
            ResourceRef {
                resource_id: id.into(),
                padding: 0.into(),
            }
            .as_bytes()
            .to_vec()
        }
        kind::SET_SCANOUT => SetScanout {
            rect: rect(u)?,
            scanout_id: scanout(u)?.into(),
            resource_id: shown(u, beliefs, |known| {
                known.kind == Kind::Image && known.backed
            })?
            .into(),
        }
        .as_bytes()
        .to_vec(),
        kind::RESOURCE_FLUSH => ResourceFlush {
            rect: rect(u)?,
            resource_id: beliefs.resource(u, |_| true)?.into(),
            padding: 0.into(),
        }
        .as_bytes()
        .to_vec(),
        kind::TRANSFER_TO_HOST_2D => TransferToHost2d {
            rect: rect(u)?,
            offset: multiple(u, 4, 0..=16)?.into(),
            resource_id: beliefs
                .resource(u, |known| known.kind == Kind::Image && known.backed)?
                .into(),
            padding: 0.into(),
        }
        .as_bytes()
        .to_vec(),
        kind::RESOURCE_ATTACH_BACKING => {
            let entries = entries(u, ram)?;
            let bare = |known: &Resource| known.kind != Kind::HostBlob && !known.backed;
            let id = beliefs.resource(u, bare)?;
            beliefs.change(id, |known| known.backed = true);
            let fixed = AttachBacking {
                resource_id: id.into(),
                nr_entries: count(u, &entries)?.into(),
            };
            [fixed.as_bytes(), entries.as_bytes()].concat()
        }
        kind::GET_CAPSET_INFO => GetCapsetInfo {
            capset_index: mostly(u, 0..=1)?.into(),
            padding: 0.into(),
        }
        .as_bytes()
        .to_vec(),
        kind::GET_CAPSET => GetCapset {
            capset_id: mostly(u, CAPSET..=CAPSET)?.into(),
            capset_version: mostly(u, 0..=1)?.into(),
        }
        .as_bytes()
        .to_vec(),
        kind::GET_EDID => GetEdid {
            scanout: scanout(u)?.into(),
            padding: 0.into(),
        }
        .as_bytes()
        .to_vec(),
        kind::RESOURCE_CREATE_BLOB => create_blob(u, beliefs, ram)?,
        kind::SET_SCANOUT_BLOB => SetScanoutBlob {
            rect: rect(u)?,
            scanout_id: scanout(u)?.into(),
            resource_id: shown(u, beliefs, |known| known.kind != Kind::Image)?.into(),
            width: mostly(u, 16..=64)?.into(),
            height: mostly(u, 16..=64)?.into(),
            format: format(u)?.into(),
            padding: 0.into(),
            strides: [mostly(u, 192..=256)?.into(), 0.into(), 0.into(), 0.into()],
            offsets: [mostly(u, 0..=16)?.into(), 0.into(), 0.into(), 0.into()],
        }
        .as_bytes()
        .to_vec(),
        kind::CTX_CREATE => CtxCreate {
            nlen: mostly(u, 0..=64)?.into(),
            context_init: (*u.choose(&[CAPSET, CAPSET, CAPSET, CAPSET, CAPSET, CAPSET, 0, 1])?)
                .into(),
            debug_name: u.arbitrary()?,
        }
        .as_bytes()
        .to_vec(),
        kind::RESOURCE_CREATE_3D => {
            let mut body = [0; size_of::<ResourceCreate3d>()];
            u.fill_buffer(&mut body)?;
            body.to_vec()
        }
        kind::TRANSFER_TO_HOST_3D | kind::TRANSFER_FROM_HOST_3D => transfer_3d(u, beliefs)?,
        kind::SUBMIT_3D => submit_3d(u, beliefs)?,
        kind::RESOURCE_MAP_BLOB => {
            let id = beliefs.resource(u, |known| known.kind == Kind::HostBlob && !known.mapped)?;
            beliefs.change(id, |known| known.mapped = true);
            MapBlob {
                resource_id: id.into(),
                padding: 0.into(),
                offset: multiple(u, PAGE, 0..=24)?.into(),
            }
            .as_bytes()
            .to_vec()
        }
        kind::UPDATE_CURSOR | kind::MOVE_CURSOR => UpdateCursor {
            pos: CursorPos {
                scanout_id: scanout(u)?.into(),
                x: u.arbitrary::<u32>()?.into(),
                y: u.arbitrary::<u32>()?.into(),
                padding: 0.into(),
            },
            resource_id: shown(u, beliefs, |known| known.kind == Kind::Image)?.into(),
            hot_x: mostly(u, 0..=64)?.into(),
            hot_y: mostly(u, 0..=64)?.into(),
            padding: 0.into(),
        }
        .as_bytes()
        .to_vec(),
        _ => Vec::new(),
    })
}

/// Width or height of an image; a cursor has 64 pixels a side.
const SIDES: [u32; 16] = [
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 16, 1, 0, 16385,
];

fn create_blob(
    u: &mut Unstructured<'_>,
    beliefs: &mut Beliefs,
    ram: &[(u64, u64)],
) -> Result<Vec<u8>> {
    let mem = *u.choose(&[2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 3, 0])?;
    // Most files are good ones.
    let file = if one_in(u, 3)? {
        *u.choose(&Recipe::ALL)?
    } else {
        Recipe::SHM
    };
    let recipe = Recipe {
        map_info: mostly(u, 1..=3)?,
        ..file
    };
    let size = multiple(u, PAGE, 1..=4)?;
    let (entries, kind) = match mem {
        1 => (entries(u, ram)?, Kind::GuestBlob),
        2 => (Vec::new(), Kind::HostBlob),
        _ => (entries(u, ram)?, Kind::HostBlob),
    };
    let mut resource = Resource::new(kind);
    resource.backed = !entries.is_empty();
    let fixed = CreateBlob {
        resource_id: beliefs.new_resource(u, resource)?.into(),
        blob_mem: mem.into(),
        blob_flags: mostly(u, 1..=7)?.into(),
        nr_entries: count(u, &entries)?.into(),
        blob_id: if mem == 1 { 0 } else { recipe.blob_id() }.into(),
        size: size.into(),
    };
    Ok([fixed.as_bytes(), entries.as_bytes()].concat())
}

fn transfer_3d(u: &mut Unstructured<'_>, beliefs: &Beliefs) -> Result<Vec<u8>> {
    let mut side = || Ok(mostly(u, 0..=64)?.into());
    let region = Box3 {
        x: side()?,
        y: side()?,
        z: side()?,
        w: side()?,
        h: side()?,
        d: side()?,
    };
    let transfer = Transfer3d {
        region,
        offset: multiple(u, 4, 0..=16)?.into(),
        resource_id: beliefs.resource(u, |_| true)?.into(),
        level: 0.into(),
        stride: mostly(u, 0..=256)?.into(),
        layer_stride: 0.into(),
    };
    Ok(transfer.as_bytes().to_vec())
}

fn submit_3d(u: &mut Unstructured<'_>, beliefs: &Beliefs) -> Result<Vec<u8>> {
    let mut commands = Vec::new();
    // What names a blob that is not there costs the context.
    let count = if one_in(u, 8)? {
        u.int_in_range(1..=2)?
    } else {
        0
    };
    for _ in 0..count {
        let blob =
            |u: &mut Unstructured<'_>| beliefs.resource(u, |known| known.kind == Kind::HostBlob);
        let operation = match u.int_in_range(0..=31u8)? {
            31 => Operation::Fail,
            24..=30 => Operation::Copy {
                from: blob(u)?,
                to: blob(u)?,
            },
            _ => Operation::Fill {
                resource_id: blob(u)?,
                byte: u.arbitrary()?,
            },
        };
        commands.extend(operation.to_bytes());
    }
    let len = u32::try_from(commands.len()).unwrap_or(u32::MAX);
    let fixed = Submit3d {
        size: mostly(u, len..=len)?.into(),
        padding: 0.into(),
    };
    Ok([fixed.as_bytes(), &commands].concat())
}

fn entries(u: &mut Unstructured<'_>, ram: &[(u64, u64)]) -> Result<Vec<MemEntry>> {
    (0..u.int_in_range(0..=4u8)?)
        .map(|_| {
            let (start, len) = *u.choose(ram)?;
            let offset = multiple(u, PAGE, 0..=len / PAGE)?;
            Ok(MemEntry {
                addr: start.wrapping_add(offset).into(),
                length: mostly(u, 8192..=32768)?.into(),
                padding: 0.into(),
            })
        })
        .collect()
}

fn count(u: &mut Unstructured<'_>, entries: &[MemEntry]) -> Result<u32> {
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    mostly(u, count..=count)
}

/// A resource, or 0 for none.
fn shown(
    u: &mut Unstructured<'_>,
    beliefs: &Beliefs,
    wanted: impl Fn(&Resource) -> bool,
) -> Result<u32> {
    if one_in(u, 8)? {
        Ok(0)
    } else {
        beliefs.resource(u, wanted)
    }
}

fn scanout(u: &mut Unstructured<'_>) -> Result<u32> {
    mostly(u, 0..=0)
}

fn format(u: &mut Unstructured<'_>) -> Result<u32> {
    let format = *u.choose(&Format::ALL)? as u32;
    mostly(u, format..=format)
}

fn rect(u: &mut Unstructured<'_>) -> Result<Rect> {
    let start = |u: &mut Unstructured<'_>| mostly(u, 0..=0);
    let side = |u: &mut Unstructured<'_>| Ok(*u.choose(&[16, 16, 16, 17, 32, 62, 64, 1, 0])?);
    Ok(Rect {
        x: start(u)?.into(),
        y: start(u)?.into(),
        width: side(u)?.into(),
        height: side(u)?.into(),
    })
}
