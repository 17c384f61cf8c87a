//! The cursor queue. Linux supplies no room for an answer there, so most cases see no more than
//! that the buffer comes back; what the device does with it is seen on the display socket only.

use crate::conformance::bench::{Bench, LEFT_OPEN, is_error};
use crate::conformance::case::{Group, Outcome};
use crate::conformance::codes::{INVALID_RESOURCE_ID, INVALID_SCANOUT_ID, OK_NODATA, response};
use crate::conformance::failure::{Failure, ensure};
use crate::conformance::picture::{Picture, pattern};
use crate::driver::{Cursor, QueueKind, Request, kind};
use crate::frontend::Shown;

/// Pixels of a cursor image.
const SIDE: u32 = 64;

/// Room for an answer without data.
const HEADER: u32 = 24;

pub(super) fn group() -> Group {
    Group::new("cursor", "5.7.6.10")
        .case("update-is-answered-where-there-is-room", |bench| {
            image(bench)?;
            answers(bench, kind::UPDATE_CURSOR, CURSOR)
        })
        .implied()
        .case("move-is-answered-where-there-is-room", |bench| {
            answers(bench, kind::MOVE_CURSOR, CURSOR)
        })
        .implied()
        .case("hide-is-answered-where-there-is-room", |bench| {
            let mark = bench.frontend.log().mark();
            answers(bench, kind::UPDATE_CURSOR, HIDDEN)?;
            bench.see_if_possible(mark, "cursor", |shown| *shown == Shown::CursorHidden)
        })
        .implied()
        .case("move-ignores-the-other-fields", |bench| {
            let odd = Cursor {
                resource_id: 99,
                hot_x: u32::MAX,
                ..CURSOR
            };
            let mark = bench.frontend.log().mark();
            answers(bench, kind::MOVE_CURSOR, odd)?;
            moved(bench, mark)
        })
        .implied()
        .section("linux uapi")
        .case("update-without-room-comes-back-empty", |bench| {
            image(bench)?;
            comes_back(bench, kind::UPDATE_CURSOR, CURSOR)
        })
        .case("move-without-room-comes-back-empty", |bench| {
            let mark = bench.frontend.log().mark();
            comes_back(bench, kind::MOVE_CURSOR, CURSOR)?;
            moved(bench, mark)
        })
        .case("positions-left-of-and-above-the-scanout", negative)
        .section("5.7.6.10")
        .case("image-is-shown", image_is_shown)
        .case("hot-spot-outside-the-image", hot_spot_outside)
        .case("unknown-resource", unknown_resource)
        .case("scanout-that-is-not-there", bad_scanout)
        .section("5.7.6.6")
        .case("image-of-another-size", other_size)
        .section("5.7.2")
        .case("control-command-on-the-cursor-queue", |bench| {
            let bytes = Request::display_info().to_bytes();
            refused(bench, QueueKind::Cursor, &bytes)
        })
        .implied()
        .case("cursor-command-on-the-control-queue", |bench| {
            let bytes = CURSOR.request(kind::MOVE_CURSOR).to_bytes();
            refused(bench, QueueKind::Control, &bytes)
        })
        .implied()
        .section("5.7.6.7")
        .case("unknown-command", |bench| {
            let bytes = Request::new(0x03ff).body(&[0u8; 32]).to_bytes();
            refused(bench, QueueKind::Cursor, &bytes)
        })
        .case("short-command-comes-back", |bench| {
            let whole = CURSOR.request(kind::UPDATE_CURSOR).to_bytes();
            for len in [1, 23, 24, 55] {
                bench.raw(QueueKind::Cursor, &whole[..len], 0)?;
            }
            Ok(())
        })
        .section("2.7")
        .case("more-moves-than-the-queue-holds", flood)
}

const CURSOR: Cursor = Cursor {
    scanout: 0,
    x: 100,
    y: 50,
    resource_id: 1,
    hot_x: 3,
    hot_y: 4,
};

/// Scanout, x and y of [`CURSOR`].
const POSITION: [u32; 3] = [0, 100, 50];

const HIDDEN: Cursor = Cursor {
    resource_id: 0,
    ..CURSOR
};

/// Resource 1, a cursor image that the host has.
fn image(bench: &mut Bench<'_>) -> Result<Vec<u8>, Failure> {
    let picture = Picture::new(bench, 1, SIDE, SIDE)?;
    let pixels = pattern(9, picture.len());
    picture.fill(bench, &pixels)?;
    bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
    Ok(pixels)
}

fn answers(bench: &mut Bench<'_>, kind: u32, cursor: Cursor) -> Outcome {
    let bytes = cursor.request(kind).to_bytes();
    let answer = bench.raw(QueueKind::Cursor, &bytes, HEADER)?;
    ensure(answer.code() == OK_NODATA && answer.used == HEADER, || {
        format!("{}, {} bytes", response(answer.code()), answer.used)
    })
}

fn comes_back(bench: &mut Bench<'_>, kind: u32, cursor: Cursor) -> Outcome {
    let answer = bench.raw(QueueKind::Cursor, &cursor.request(kind).to_bytes(), 0)?;
    ensure(answer.used == 0, || {
        format!("{} bytes were written to no room", answer.used)
    })
}

fn refused(bench: &mut Bench<'_>, queue: QueueKind, bytes: &[u8]) -> Outcome {
    let answer = bench.raw(queue, bytes, HEADER)?;
    bench.expect_error(&answer)
}

fn negative(bench: &mut Bench<'_>) -> Outcome {
    image(bench)?;
    let outside = Cursor {
        x: -3,
        y: i32::MIN,
        ..CURSOR
    };
    comes_back(bench, kind::UPDATE_CURSOR, outside)?;
    comes_back(bench, kind::MOVE_CURSOR, outside)
}

fn image_is_shown(bench: &mut Bench<'_>) -> Outcome {
    let pixels = image(bench)?;
    let mark = bench.frontend.log().mark();
    comes_back(bench, kind::UPDATE_CURSOR, CURSOR)?;
    let expected = Shown::Cursor {
        position: POSITION,
        hot_spot: [3, 4],
        pixels,
    };
    bench.see_if_possible(mark, "cursor", |shown| *shown == expected)
}

/// [`CURSOR`] was moved since `mark`.
fn moved(bench: &mut Bench<'_>, mark: usize) -> Outcome {
    let expected = Shown::CursorMoved { position: POSITION };
    bench.see_if_possible(mark, "cursor", |shown| *shown == expected)
}

/// Nothing says where a hot spot may be.
fn hot_spot_outside(bench: &mut Bench<'_>) -> Outcome {
    image(bench)?;
    let odd = Cursor {
        hot_x: u32::MAX,
        hot_y: 64,
        ..CURSOR
    };
    let bytes = odd.request(kind::UPDATE_CURSOR).to_bytes();
    let answer = bench.raw(QueueKind::Cursor, &bytes, HEADER)?;
    let code = answer.code();
    bench.note(response(code));
    bench.note(LEFT_OPEN);
    // A device that never answers here writes nothing.
    let is_nothing = answer.used == 0;
    ensure(is_nothing || code == OK_NODATA || is_error(code), || {
        response(code)
    })
}

fn refused_as(bench: &mut Bench<'_>, cursor: Cursor, code: u32) -> Outcome {
    let bytes = cursor.request(kind::UPDATE_CURSOR).to_bytes();
    let answer = bench.raw(QueueKind::Cursor, &bytes, HEADER)?;
    bench.expect_error(&answer)?;
    ensure(answer.code() == code, || {
        format!("{} instead of {}", response(answer.code()), response(code))
    })
}

fn unknown_resource(bench: &mut Bench<'_>) -> Outcome {
    refused_as(bench, CURSOR, INVALID_RESOURCE_ID)
}

fn bad_scanout(bench: &mut Bench<'_>) -> Outcome {
    image(bench)?;
    let scanout = bench.facts().scanouts();
    for scanout in [scanout, 16, u32::MAX] {
        refused_as(bench, Cursor { scanout, ..CURSOR }, INVALID_SCANOUT_ID)?;
    }
    Ok(())
}

fn other_size(bench: &mut Bench<'_>) -> Outcome {
    for (id, side) in [(1, 32), (2, 65)] {
        Picture::new(bench, id, side, side)?;
        let cursor = Cursor {
            resource_id: id,
            ..CURSOR
        };
        let bytes = cursor.request(kind::UPDATE_CURSOR).to_bytes();
        refused(bench, QueueKind::Cursor, &bytes)?;
    }
    Ok(())
}

fn flood(bench: &mut Bench<'_>) -> Outcome {
    image(bench)?;
    for step in 0..600 {
        let cursor = Cursor { x: step, ..CURSOR };
        comes_back(bench, kind::MOVE_CURSOR, cursor)?;
    }
    Ok(())
}
