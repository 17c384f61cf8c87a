//! Requests and responses as they lie in buffers: too short, too long, in pieces.

use crate::conformance::bench::{Bench, is_error};
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes;
use crate::conformance::failure::ensure;
use crate::conformance::picture::{FORMAT, Picture, pattern};
use crate::driver::{QueueKind, Request, Shape};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;

/// Bytes of a header.
const HEADER: u32 = 24;

/// Bytes of the answer to GET_DISPLAY_INFO.
const INFO: u32 = 408;

pub(super) fn group() -> Group {
    super::short::cases(Group::new("request", "5.7.6.7"))
        .case("shorter-than-a-header", |bench| {
            let whole = Request::display_info().to_bytes();
            for len in [1, 4, 23] {
                let answer = bench.raw(QueueKind::Control, &whole[..len], HEADER)?;
                bench.expect_error(&answer)?;
            }
            Ok(())
        })
        .case("unknown-commands", |bench| {
            for code in [0, 0xff, 0x010e, 0x020a, 0x0302, u32::MAX] {
                bench.refused(&Request::new(code).body(&[0u8; 128]))?;
            }
            Ok(())
        })
        .case("response-codes-as-commands", |bench| {
            for code in [0x1100, 0x1106, 0x1200, 0x1205] {
                bench.refused(&Request::new(code).body(&[0u8; 128]))?;
            }
            Ok(())
        })
        .case("bytes-after-the-command-are-ignored", |bench| {
            bench.ok(&Request::create_2d(1, FORMAT, 16, 16).body(&[0xffu8; 200]))?;
            bench.ok(&Request::unref(1).body(&[0xffu8; 1]))
        })
        .case("padding-and-unused-fields-are-ignored", odd_header)
        .case("response-in-more-room-than-it-needs", |bench| {
            responds(bench, 4096, INFO)
        })
        .case("no-room-for-a-response", |bench| {
            let answer = bench.raw(QueueKind::Control, &Request::display_info().to_bytes(), 0)?;
            ensure(answer.used == 0, || {
                format!("{} bytes were written to no room", answer.used)
            })
        })
        .case("room-for-half-a-header", |bench| little_room(bench, 12))
        .case("room-for-the-header-only", |bench| {
            little_room(bench, HEADER)
        })
        .case("room-for-all-but-one-byte", |bench| {
            little_room(bench, INFO - 1)
        })
        .section("2.7.4")
        .case("request-and-response-in-pieces-of-7-bytes", |bench| {
            pieces(bench, false, 7)
        })
        .case("request-and-response-byte-by-byte", |bench| {
            bench.gpu.set_shape(Shape {
                indirect: false,
                piece: 1,
            });
            bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
            bench.ok(&Request::unref(1))
        })
        .section("2.7.5.3")
        .needs(&[Need::Ring(VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC")])
        .case("indirect-whole", |bench| pieces(bench, true, u32::MAX))
        .case("indirect-in-pieces-of-5-bytes", |bench| {
            pieces(bench, true, 5)
        })
}

/// Everything that a 2D command has no use for is set.
fn odd_header(bench: &mut Bench<'_>) -> Outcome {
    let mut bytes = Request::create_2d(1, FORMAT, 16, 16).to_bytes();
    // Fence id, context and ring without the flags that give them a meaning, and padding.
    bytes[8..24].fill(0xee);
    let answer = bench.raw(QueueKind::Control, &bytes, HEADER)?;
    ensure(answer.code() == codes::OK_NODATA, || {
        codes::response(answer.code())
    })
}

fn responds(bench: &mut Bench<'_>, room: u32, used: u32) -> Outcome {
    let answer = bench.raw(
        QueueKind::Control,
        &Request::display_info().to_bytes(),
        room,
    )?;
    ensure(answer.code() == 0x1101 && answer.used == used, || {
        format!("{}, {} bytes", codes::response(answer.code()), answer.used)
    })
}

/// No more may be written than there is room for; an answer without its data is no success.
fn little_room(bench: &mut Bench<'_>, room: u32) -> Outcome {
    let answer = bench.raw(
        QueueKind::Control,
        &Request::display_info().to_bytes(),
        room,
    )?;
    bench.note(format!("{} bytes", answer.used));
    ensure(answer.used <= room, || {
        format!("{} bytes in room for {room}", answer.used)
    })?;
    ensure(
        answer.used < HEADER || answer.code() == 0x1101 || is_error(answer.code()),
        || codes::response(answer.code()),
    )
}

fn pieces(bench: &mut Bench<'_>, indirect: bool, piece: u32) -> Outcome {
    bench.gpu.set_shape(Shape { indirect, piece });
    responds(bench, INFO, INFO)?;
    let picture = Picture::new(bench, 1, 32, 32)?;
    let pixels = pattern(4, picture.len());
    picture.fill(bench, &pixels)?;
    bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
    picture.expect(bench, &pixels)
}
