//! `coherd-protocol`: decoding of requests, encoding of answers.

use arbitrary::{Result, Unstructured};
use coherd_protocol::blob_context::{self, Capset, Stream};
use coherd_protocol::gpu::capset::VenusCapset;
use coherd_protocol::gpu::limits::{EDID_LEN, MAX_BACKING_ENTRIES};
use coherd_protocol::gpu::wire::{CapsetInfo, DisplayOne, Rect};
use coherd_protocol::gpu::{Command, Config, ErrorCode, Format, GpuError, Header, Response};
use zerocopy::FromBytes;

const ERRORS: [ErrorCode; 6] = [
    ErrorCode::Unspec,
    ErrorCode::OutOfMemory,
    ErrorCode::InvalidScanoutId,
    ErrorCode::InvalidResourceId,
    ErrorCode::InvalidContextId,
    ErrorCode::InvalidParameter,
];

/// See the module's description.
pub fn run(input: &[u8]) {
    decode(input);
    VenusCapset::from_bytes(input);
    decode_blob_context(input);
    // An input that ends early has been used up.
    let _ = encode(&mut Unstructured::new(input));
}

fn decode(request: &[u8]) {
    let header = Command::header(request);
    assert_eq!(header.is_ok(), request.len() >= Header::LEN);
    match Command::decode(request) {
        Ok(command) => {
            let len = len(&command);
            assert!(
                len <= request.len(),
                "{command:?} is longer than its request"
            );
            let exact = request.get(..len).map(Command::decode);
            assert!(
                matches!(exact, Some(Ok(_))),
                "{command:?} is not {len} bytes"
            );
            let short = request.get(..len - 1).map(Command::decode);
            assert!(
                matches!(
                    short,
                    Some(Err(GpuError::Truncated { .. } | GpuError::BadField(_)))
                ),
                "{command:?} is less than {len} bytes"
            );
        }
        Err(GpuError::Truncated { need, got }) => {
            assert!(got < need && got <= request.len());
        }
        Err(error) => {
            assert!(header.is_ok(), "{error} in a request without a header");
            assert!(ERRORS.contains(&error.code()));
        }
    }
}

/// Bytes of a command in VIRTIO 1.4 and the Linux uapi header, trailing array included.
fn len(command: &Command<'_>) -> usize {
    let entries = |count: usize| {
        assert!(count <= MAX_BACKING_ENTRIES as usize);
        16 * count
    };
    match *command {
        Command::GetDisplayInfo | Command::CtxDestroy => 24,
        Command::ResourceUnref(_)
        | Command::ResourceDetachBacking(_)
        | Command::GetCapsetInfo(_)
        | Command::GetCapset(_)
        | Command::GetEdid(_)
        | Command::ResourceAssignUuid(_)
        | Command::CtxAttachResource(_)
        | Command::CtxDetachResource(_)
        | Command::ResourceUnmapBlob(_) => 32,
        Command::ResourceCreate2d(_) | Command::ResourceMapBlob(_) => 40,
        Command::SetScanout(_) | Command::ResourceFlush(_) => 48,
        Command::TransferToHost2d(_) | Command::UpdateCursor(_) | Command::MoveCursor(_) => 56,
        Command::ResourceCreate3d(_)
        | Command::TransferToHost3d(_)
        | Command::TransferFromHost3d(_) => 72,
        Command::SetScanoutBlob(_) | Command::CtxCreate(_) => 96,
        Command::ResourceAttachBacking(_, list) => 32 + entries(list.len()),
        Command::ResourceCreateBlob(_, list) => 56 + entries(list.len()),
        Command::Submit3d(commands) => 32 + commands.len(),
    }
}

/// Streams and capsets of the blob context, whose reader is in the guest.
fn decode_blob_context(input: &[u8]) {
    if let Ok(stream) = Stream::new(input) {
        let mut len = 0;
        for request in stream {
            len += size_of::<blob_context::command::Head>() + request.body.len();
            let _ = blob_context::Command::decode(request.head.opcode.get(), request.body);
        }
        assert_eq!(len, input.len(), "a stream has gaps");
    }
    if let Some(capset) = Capset::decode(input) {
        let encoded = Capset::decode(&capset.encode()).expect("its own capset");
        assert_eq!((encoded.types, encoded.heaps), (capset.types, capset.heaps));
    }
}

fn encode(u: &mut Unstructured<'_>) -> Result<()> {
    let mut bytes = [0; Header::LEN];
    u.fill_buffer(&mut bytes)?;
    let Ok(request) = Header::read_from_bytes(&bytes) else {
        return Ok(());
    };
    let (response, len) = response(u)?;
    let mut out = vec![0xaa; u.int_in_range(0..=64)?];
    response.encode(&request, &mut out);
    assert_eq!(out.len(), Header::LEN + len, "{response:?}");
    let answer = Header::read_from_prefix(&out).map(|(header, _)| header);
    let answer = answer.expect("the answer has a header");
    assert_eq!(answer.kind.get(), response.kind());
    assert_eq!(answer.fence(), request.fence());

    let config = Config {
        events_read: u.arbitrary::<u32>()?.into(),
        ..Config::default()
    };
    let size = u.int_in_range(0..=512)?;
    assert_eq!(config.read(u.arbitrary()?, size).len(), size as usize);
    let format: u32 = u.arbitrary()?;
    assert!(Format::from_wire(format).is_none_or(|known| known as u32 == format));
    Ok(())
}

/// An answer and the bytes behind its header.
fn response(u: &mut Unstructured<'_>) -> Result<(Response, usize)> {
    let word = |u: &mut Unstructured<'_>| Ok(u.arbitrary::<u32>()?.into());
    Ok(match u.int_in_range(0..=7)? {
        0 => (Response::OkNoData, 0),
        1 => {
            let mut one = || {
                let rect = Rect {
                    x: word(u)?,
                    y: word(u)?,
                    width: word(u)?,
                    height: word(u)?,
                };
                let (enabled, flags) = (word(u)?, word(u)?);
                Ok(DisplayOne {
                    rect,
                    enabled,
                    flags,
                })
            };
            let scanouts = [one()?, one()?];
            let count = u.int_in_range(0..=20)?;
            let scanouts = scanouts.into_iter().cycle().take(count).collect();
            (Response::DisplayInfo(scanouts), 16 * 24)
        }
        2 => {
            let info = CapsetInfo {
                capset_id: word(u)?,
                max_version: word(u)?,
                max_size: word(u)?,
                padding: word(u)?,
            };
            (Response::CapsetInfo(info), 16)
        }
        3 => {
            let bytes = u.bytes(u.len().min(256))?.to_vec();
            let len = bytes.len();
            (Response::Capset(bytes), len)
        }
        4 => {
            let blocks = vec![u.arbitrary()?; u.int_in_range(0..=2 * EDID_LEN)?];
            (Response::Edid(blocks), 8 + EDID_LEN)
        }
        5 => (Response::Uuid(u.arbitrary()?), 16),
        6 => (Response::MapInfo(u.arbitrary()?), 8),
        _ => (Response::Error(*u.choose(&ERRORS)?), 0),
    })
}
