//! Requests cut short. Each is one that the device accepts as a whole, so that nothing but its
//! length is wrong with it, and it is sent whole afterwards.

use coherd_protocol::gpu::Features;

use super::{scanout_blob, three_d};
use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::{self, response};
use crate::conformance::failure::{Failure, ensure};
use crate::conformance::mapping::{CTX, blobs, map};
use crate::conformance::picture::{FORMAT, Picture};
use crate::driver::{Blob, PAGE, QueueKind, Request, kind};

const VIRGL: Need = Need::Device(Features::VIRGL);
const BLOB: Need = Need::Device(Features::RESOURCE_BLOB);

/// What maps a host blob.
const MAP: &[Need] = &[BLOB, Need::Window, Need::HostBlob];

/// Bytes of a header.
const HEADER: usize = 24;

/// Room for the answer to any of these commands but a large capability set.
const ROOM: u32 = 4096;

/// A command of more than a header.
struct Command {
    kind: u32,
    /// Bytes of its structure in the Linux uapi header, without the entries that may follow.
    size: usize,
    needs: &'static [Need],
    /// Makes what the command is about, and the command.
    whole: fn(&mut Bench<'_>) -> Result<Request, Failure>,
}

const COMMANDS: [Command; 22] = [
    Command {
        kind: kind::RESOURCE_CREATE_2D,
        size: 40,
        needs: &[],
        whole: |_| Ok(Request::create_2d(1, FORMAT, 16, 16)),
    },
    Command {
        kind: kind::RESOURCE_UNREF,
        size: 32,
        needs: &[],
        whole: |bench| picture(bench).map(|_| Request::unref(1)),
    },
    Command {
        kind: kind::SET_SCANOUT,
        size: 48,
        needs: &[],
        whole: |bench| Ok(Request::set_scanout(0, 1, picture(bench)?.whole())),
    },
    Command {
        kind: kind::RESOURCE_FLUSH,
        size: 48,
        needs: &[],
        whole: |bench| Ok(Request::flush(1, picture(bench)?.whole())),
    },
    Command {
        kind: kind::TRANSFER_TO_HOST_2D,
        size: 56,
        needs: &[],
        whole: |bench| Ok(Request::transfer_to_host_2d(1, picture(bench)?.whole(), 0)),
    },
    Command {
        kind: kind::RESOURCE_ATTACH_BACKING,
        size: 32,
        needs: &[],
        whole: |bench| {
            bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
            Ok(Request::attach_backing(1, &[bench.memory(PAGE)?]))
        },
    },
    Command {
        kind: kind::RESOURCE_DETACH_BACKING,
        size: 32,
        needs: &[],
        whole: |bench| picture(bench).map(|_| Request::detach_backing(1)),
    },
    Command {
        kind: kind::GET_CAPSET_INFO,
        size: 32,
        needs: &[Need::Capset],
        whole: |_| Ok(Request::capset_info(0)),
    },
    Command {
        kind: kind::GET_CAPSET,
        size: 32,
        needs: &[Need::Capset],
        whole: |bench| {
            let capset = bench.facts().capsets.first();
            let (id, version) = capset.map_or((0, 0), |capset| {
                (capset.capset_id.get(), capset.max_version.get())
            });
            Ok(Request::capset(id, version))
        },
    },
    Command {
        kind: kind::GET_EDID,
        size: 32,
        needs: &[Need::Device(Features::EDID)],
        whole: |_| Ok(Request::edid(0)),
    },
    Command {
        kind: kind::RESOURCE_ASSIGN_UUID,
        size: 32,
        needs: &[Need::Device(Features::RESOURCE_UUID)],
        whole: |bench| picture(bench).map(|_| Request::assign_uuid(1)),
    },
    Command {
        kind: kind::RESOURCE_CREATE_BLOB,
        size: 56,
        needs: &[BLOB],
        whole: |bench| {
            let size = bench.facts().blob_alignment();
            let blob = Blob {
                resource_id: 1,
                mem: 1,
                size,
                ..Blob::default()
            };
            Ok(blob.request(&[bench.memory(size)?]))
        },
    },
    Command {
        kind: kind::SET_SCANOUT_BLOB,
        size: 96,
        needs: &[BLOB],
        whole: |bench| {
            scanout_blob::blob(bench)?;
            Ok(Request::set_scanout_blob(&scanout_blob::picture()))
        },
    },
    Command {
        kind: kind::CTX_CREATE,
        size: 96,
        needs: &[VIRGL],
        whole: |_| Ok(Request::ctx_create(1, 0, "short")),
    },
    Command {
        kind: kind::CTX_ATTACH_RESOURCE,
        size: 32,
        needs: &[VIRGL],
        whole: |bench| {
            picture(bench)?;
            bench.ok(&Request::ctx_create(1, 0, "short"))?;
            Ok(Request::ctx_attach(1, 1))
        },
    },
    Command {
        kind: kind::CTX_DETACH_RESOURCE,
        size: 32,
        needs: &[VIRGL],
        whole: |bench| three_d::in_context(bench).map(|_| Request::ctx_detach(1, 1)),
    },
    Command {
        kind: kind::RESOURCE_CREATE_3D,
        size: 72,
        needs: &[VIRGL],
        whole: |_| Ok(Request::create_3d(&three_d::texture(1, 16))),
    },
    Command {
        kind: kind::TRANSFER_TO_HOST_3D,
        size: 72,
        needs: &[VIRGL],
        whole: |bench| {
            let picture = three_d::in_context(bench)?;
            let whole = picture.transfer(picture.whole(), 0);
            Ok(Request::transfer_to_host_3d(1, &whole))
        },
    },
    Command {
        kind: kind::TRANSFER_FROM_HOST_3D,
        size: 72,
        needs: &[VIRGL],
        whole: |bench| {
            let picture = three_d::in_context(bench)?;
            let whole = picture.transfer(picture.whole(), 0);
            Ok(Request::transfer_from_host_3d(1, &whole))
        },
    },
    Command {
        kind: kind::SUBMIT_3D,
        size: 32,
        needs: &[VIRGL, Need::Capset],
        whole: |bench| {
            bench.context(CTX)?;
            Ok(Request::submit_3d(CTX, &[]))
        },
    },
    Command {
        kind: kind::RESOURCE_MAP_BLOB,
        size: 40,
        needs: MAP,
        whole: |bench| blobs(bench, &[1]).map(|()| Request::map_blob(1, 0)),
    },
    Command {
        kind: kind::RESOURCE_UNMAP_BLOB,
        size: 32,
        needs: MAP,
        whole: |bench| {
            blobs(bench, &[1])?;
            map(bench, 1, 0)?;
            Ok(Request::unmap_blob(1))
        },
    },
];

/// Adds a case for each command of more than a header, which leaves the group without needs.
pub(super) fn cases(group: Group) -> Group {
    let add = |group: Group, command: Command| {
        let name = codes::command(command.kind);
        let name = name.to_lowercase().replace('_', "-");
        group
            .needs(command.needs)
            .case(format!("short-{name}"), move |bench| short(bench, &command))
    };
    COMMANDS.into_iter().fold(group, add).needs(&[])
}

/// Resource 1 with a backing.
fn picture(bench: &mut Bench<'_>) -> Result<Picture, Failure> {
    Picture::new(bench, 1, 16, 16)
}

/// A header alone, and a byte less than the structure has, are errors and leave the whole command
/// as possible as it was.
fn short(bench: &mut Bench<'_>, command: &Command) -> Outcome {
    let whole = (command.whole)(bench)?.to_bytes();
    for len in [HEADER, command.size - 1] {
        let cut = whole.get(..len).unwrap_or_default();
        let answer = bench.raw(QueueKind::Control, cut, ROOM)?;
        bench.expect_error(&answer)?;
    }
    let capsets = bench.facts().capsets.iter();
    let largest = capsets.map(|capset| capset.max_size.get()).max();
    let room = ROOM.saturating_add(largest.unwrap_or(0));
    let code = bench.raw(QueueKind::Control, &whole, room)?.code();
    if may_be_refused(command.kind) && code >= codes::ERR_UNSPEC {
        let reason = format!("refused when it is whole, too: {}", response(code));
        return Err(Failure::Unsupported(reason));
    }
    let success = codes::success(command.kind);
    ensure(code == success, || {
        let (got, wanted) = (response(code), response(success));
        format!("the whole command: {got} instead of {wanted}")
    })
}

/// Whether a device may have nothing that the whole command is about: textures, 2D resources in
/// contexts, guest memory on scanouts.
fn may_be_refused(kind: u32) -> bool {
    matches!(
        kind,
        kind::RESOURCE_CREATE_3D
            | kind::TRANSFER_TO_HOST_3D
            | kind::TRANSFER_FROM_HOST_3D
            | kind::SET_SCANOUT_BLOB
    )
}
