//! Typed decoding of requests, VIRTIO 1.4 section 5.7.6.7.
//!
//! Decoding looks at the request only: ids, quotas and features are the device's concern.

use zerocopy::FromBytes;

use super::error::GpuError;
use super::header::Header;
use super::limits::MAX_BACKING_ENTRIES;
use super::wire::{
    AttachBacking, CreateBlob, CtxCreate, GetCapset, GetCapsetInfo, GetEdid, MapBlob, MemEntry,
    ResourceCreate2d, ResourceCreate3d, ResourceFlush, ResourceRef, SetScanout, SetScanoutBlob,
    Submit3d, Transfer3d, TransferToHost2d, UpdateCursor,
};

/// VIRTIO_GPU_CMD_SUBMIT_3D
pub const SUBMIT_3D: u32 = 0x0207;

/// Code and name of each command, by code.
pub const NAMES: [(u32, &str); 26] = [
    (0x0100, "get_display_info"),
    (0x0101, "resource_create_2d"),
    (0x0102, "resource_unref"),
    (0x0103, "set_scanout"),
    (0x0104, "resource_flush"),
    (0x0105, "transfer_to_host_2d"),
    (0x0106, "resource_attach_backing"),
    (0x0107, "resource_detach_backing"),
    (0x0108, "get_capset_info"),
    (0x0109, "get_capset"),
    (0x010a, "get_edid"),
    (0x010b, "resource_assign_uuid"),
    (0x010c, "resource_create_blob"),
    (0x010d, "set_scanout_blob"),
    (0x0200, "ctx_create"),
    (0x0201, "ctx_destroy"),
    (0x0202, "ctx_attach_resource"),
    (0x0203, "ctx_detach_resource"),
    (0x0204, "resource_create_3d"),
    (0x0205, "transfer_to_host_3d"),
    (0x0206, "transfer_from_host_3d"),
    (SUBMIT_3D, "submit_3d"),
    (0x0208, "resource_map_blob"),
    (0x0209, "resource_unmap_blob"),
    (0x0300, "update_cursor"),
    (0x0301, "move_cursor"),
];

/// A request with its trailing array, viewed in the buffer it was copied to.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as in the specification")]
pub enum Command<'a> {
    GetDisplayInfo,
    ResourceCreate2d(&'a ResourceCreate2d),
    ResourceUnref(u32),
    SetScanout(&'a SetScanout),
    ResourceFlush(&'a ResourceFlush),
    TransferToHost2d(&'a TransferToHost2d),
    ResourceAttachBacking(u32, &'a [MemEntry]),
    ResourceDetachBacking(u32),
    GetCapsetInfo(&'a GetCapsetInfo),
    GetCapset(&'a GetCapset),
    GetEdid(&'a GetEdid),
    ResourceAssignUuid(u32),
    ResourceCreateBlob(&'a CreateBlob, &'a [MemEntry]),
    SetScanoutBlob(&'a SetScanoutBlob),
    CtxCreate(&'a CtxCreate),
    CtxDestroy,
    CtxAttachResource(u32),
    CtxDetachResource(u32),
    ResourceCreate3d(&'a ResourceCreate3d),
    TransferToHost3d(&'a Transfer3d),
    TransferFromHost3d(&'a Transfer3d),
    Submit3d(&'a [u8]),
    ResourceMapBlob(&'a MapBlob),
    ResourceUnmapBlob(u32),
    UpdateCursor(&'a UpdateCursor),
    MoveCursor(&'a UpdateCursor),
}

impl<'a> Command<'a> {
    /// The header of `request`.
    ///
    /// # Errors
    /// [`GpuError::Truncated`] if `request` is shorter than a header.
    pub fn header(request: &'a [u8]) -> Result<&'a Header, GpuError> {
        fixed(request).map(|(header, _body)| header)
    }

    /// Decodes a whole request, header included. Bytes past the command's own are ignored.
    ///
    /// # Errors
    /// [`GpuError::Truncated`], [`GpuError::UnknownCommand`], or [`GpuError::BadBacking`] for a
    /// backing list over [`MAX_BACKING_ENTRIES`].
    pub fn decode(request: &'a [u8]) -> Result<Self, GpuError> {
        let (header, body): (&Header, _) = fixed(request)?;
        Ok(match header.kind.get() {
            0x0100 => Self::GetDisplayInfo,
            0x0101 => Self::ResourceCreate2d(whole(body)?),
            0x0102 => Self::ResourceUnref(resource(body)?),
            0x0103 => Self::SetScanout(whole(body)?),
            0x0104 => Self::ResourceFlush(whole(body)?),
            0x0105 => Self::TransferToHost2d(whole(body)?),
            0x0106 => {
                let (fixed, rest): (&AttachBacking, _) = fixed(body)?;
                let id = fixed.resource_id.get();
                Self::ResourceAttachBacking(id, entries(id, fixed.nr_entries.get(), rest)?)
            }
            0x0107 => Self::ResourceDetachBacking(resource(body)?),
            0x0108 => Self::GetCapsetInfo(whole(body)?),
            0x0109 => Self::GetCapset(whole(body)?),
            0x010a => Self::GetEdid(whole(body)?),
            0x010b => Self::ResourceAssignUuid(resource(body)?),
            0x010c => {
                let (fixed, rest): (&CreateBlob, _) = fixed(body)?;
                let id = fixed.resource_id.get();
                Self::ResourceCreateBlob(fixed, entries(id, fixed.nr_entries.get(), rest)?)
            }
            0x010d => Self::SetScanoutBlob(whole(body)?),
            0x0200 => Self::CtxCreate(whole(body)?),
            0x0201 => Self::CtxDestroy,
            0x0202 => Self::CtxAttachResource(resource(body)?),
            0x0203 => Self::CtxDetachResource(resource(body)?),
            0x0204 => Self::ResourceCreate3d(whole(body)?),
            0x0205 => Self::TransferToHost3d(whole(body)?),
            0x0206 => Self::TransferFromHost3d(whole(body)?),
            SUBMIT_3D => {
                let (fixed, rest): (&Submit3d, _) = fixed(body)?;
                let size = usize::try_from(fixed.size.get()).unwrap_or(usize::MAX);
                let data = rest.get(..size);
                Self::Submit3d(data.ok_or(GpuError::BadField("size of the command stream"))?)
            }
            0x0208 => Self::ResourceMapBlob(whole(body)?),
            0x0209 => Self::ResourceUnmapBlob(resource(body)?),
            0x0300 => Self::UpdateCursor(whole(body)?),
            0x0301 => Self::MoveCursor(whole(body)?),
            other => return Err(GpuError::UnknownCommand(other)),
        })
    }

    /// Whether the command is one of 3D mode, with codes 0x0200 to 0x0207.
    pub fn is_3d(&self) -> bool {
        matches!(
            self,
            Self::CtxCreate(_)
                | Self::CtxDestroy
                | Self::CtxAttachResource(_)
                | Self::CtxDetachResource(_)
                | Self::ResourceCreate3d(_)
                | Self::TransferToHost3d(_)
                | Self::TransferFromHost3d(_)
                | Self::Submit3d(_)
        )
    }

    /// Whether the command belongs on the cursor queue.
    pub fn is_cursor(&self) -> bool {
        matches!(self, Self::UpdateCursor(_) | Self::MoveCursor(_))
    }
}

fn fixed<T>(bytes: &[u8]) -> Result<(&T, &[u8]), GpuError>
where
    T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    T::ref_from_prefix(bytes).map_err(|_| GpuError::Truncated {
        need: size_of::<T>(),
        got: bytes.len(),
    })
}

fn whole<T>(bytes: &[u8]) -> Result<&T, GpuError>
where
    T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    fixed(bytes).map(|(body, _rest)| body)
}

fn resource(body: &[u8]) -> Result<u32, GpuError> {
    whole::<ResourceRef>(body).map(|body| body.resource_id.get())
}

fn entries(resource_id: u32, count: u32, bytes: &[u8]) -> Result<&[MemEntry], GpuError> {
    if count > MAX_BACKING_ENTRIES {
        return Err(GpuError::BadBacking(resource_id));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    <[MemEntry]>::ref_from_prefix_with_elems(bytes, count)
        .map(|(entries, _rest)| entries)
        .map_err(|_| GpuError::Truncated {
            need: count.saturating_mul(size_of::<MemEntry>()),
            got: bytes.len(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.resize(Header::LEN, 0);
        bytes.extend_from_slice(body);
        bytes
    }

    /// Command code and request size without trailing arrays, from the Linux uapi header.
    const SIZES: [(u32, usize); 26] = [
        (0x0100, 24),
        (0x0101, 40),
        (0x0102, 32),
        (0x0103, 48),
        (0x0104, 48),
        (0x0105, 56),
        (0x0106, 32),
        (0x0107, 32),
        (0x0108, 32),
        (0x0109, 32),
        (0x010a, 32),
        (0x010b, 32),
        (0x010c, 56),
        (0x010d, 96),
        (0x0200, 96),
        (0x0201, 24),
        (0x0202, 32),
        (0x0203, 32),
        (0x0204, 72),
        (0x0205, 72),
        (0x0206, 72),
        (0x0207, 32),
        (0x0208, 40),
        (0x0209, 32),
        (0x0300, 56),
        (0x0301, 56),
    ];

    #[test]
    fn every_command_decodes_at_its_size_and_not_one_byte_below() {
        for (kind, size) in SIZES {
            let whole = request(kind, &vec![0; size - Header::LEN]);
            assert!(Command::decode(&whole).is_ok(), "{kind:#x}");

            let short = Command::decode(&whole[..size - 1]);
            assert!(
                matches!(short, Err(GpuError::Truncated { .. })),
                "{kind:#x}"
            );
        }
    }

    #[test]
    fn commands_of_3d_mode_are_those_of_a_context() {
        for (kind, size) in SIZES {
            let bytes = request(kind, &vec![0; size - Header::LEN]);
            let command = Command::decode(&bytes).unwrap();
            assert_eq!(command.is_3d(), (0x0200..=0x0207).contains(&kind));
        }
    }

    #[test]
    fn codes_outside_the_table_are_unknown() {
        for kind in [0, 0x00ff, 0x010e, 0x01ff, 0x020a, 0x0302, 0x1100, u32::MAX] {
            let error = Command::decode(&request(kind, &[0; 128])).unwrap_err();
            assert_eq!(error, GpuError::UnknownCommand(kind));
        }
    }

    #[test]
    fn backing_list_must_be_there_in_full() {
        let body = [1u32.to_le_bytes(), 2u32.to_le_bytes()].concat();
        let mut bytes = request(0x0106, &body);
        bytes.resize(bytes.len() + 31, 0);
        assert!(matches!(
            Command::decode(&bytes),
            Err(GpuError::Truncated { need: 32, got: 31 })
        ));

        bytes.push(0);
        let Ok(Command::ResourceAttachBacking(1, entries)) = Command::decode(&bytes) else {
            panic!("not decoded");
        };
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn backing_list_over_the_limit_is_refused_before_its_bytes_are_looked_at() {
        let body = [7u32.to_le_bytes(), u32::MAX.to_le_bytes()].concat();
        let error = Command::decode(&request(0x0106, &body)).unwrap_err();
        assert_eq!(error, GpuError::BadBacking(7));
    }

    #[test]
    fn every_command_has_a_name_in_the_order_of_codes() {
        assert!(NAMES.map(|(code, _)| code).is_sorted());
        assert_eq!(NAMES.map(|(code, _)| code), SIZES.map(|(code, _)| code));
    }

    #[test]
    fn command_stream_longer_than_the_request_is_refused() {
        let body = [9u32.to_le_bytes(), 0u32.to_le_bytes()].concat();
        let error = Command::decode(&request(0x0207, &body)).unwrap_err();
        assert_eq!(error, GpuError::BadField("size of the command stream"));
    }
}
