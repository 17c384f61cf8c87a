//! Split virtqueues as drivers use them.

use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome, QUEUE_SIZE, Setup};
use crate::conformance::codes;
use crate::conformance::failure::{Failure, ensure};
use crate::conformance::picture::{FORMAT, rect};
use crate::driver::{Cursor, QueueKind, Request, kind};

/// More chains than an index of 16 bits counts.
const WRAP: u32 = 70_000;

pub(super) fn group() -> Group {
    let sizes = (1..=10).map(|power| 1u16 << power);
    let event_idx = Need::Ring(VIRTIO_RING_F_EVENT_IDX, "EVENT_IDX");
    let indirect = Need::Ring(VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC");
    sizes
        .fold(Group::new("queue", "2.7"), |group, size| {
            let setup = Setup {
                queue_size: size,
                ..Setup::default()
            };
            group
                .setup(setup)
                .case(format!("size-{size}"), move |bench| {
                    batches(bench, u32::from(size) * 3 + 5, size / 2)
                })
        })
        .setup(Setup::default())
        .case("full-to-the-last-descriptor", |bench| {
            batches(bench, 1000, QUEUE_SIZE / 2)
        })
        .case("index-wraps", |bench| batches(bench, WRAP, QUEUE_SIZE / 2))
        .case("both-queues-at-a-time", both_queues)
        .case("kicks-without-buffers", |bench| {
            for _ in 0..100 {
                for ring in bench.frontend.rings() {
                    ring.kick()?;
                }
            }
            batches(bench, 10, 1)
        })
        .section("2.7.10")
        .needs(&[event_idx])
        .case("with-event-idx", |bench| {
            batches(bench, 600, 1)?;
            batches(bench, 600, 7)
        })
        .section("2.7.7")
        .setup(Setup::without(1 << VIRTIO_RING_F_EVENT_IDX))
        .case("without-event-idx", |bench| {
            batches(bench, 600, 1)?;
            batches(bench, 600, 7)
        })
        .section("2.7.5.3")
        .needs(&[indirect])
        .setup(Setup::without(1 << VIRTIO_RING_F_INDIRECT_DESC))
        .case("without-indirect-descriptors", |bench| {
            batches(bench, 600, 7)
        })
}

/// `count` commands of two descriptors each, `batch` at a time, each of them answered.
fn batches(bench: &mut Bench<'_>, count: u32, batch: u16) -> Outcome {
    let what = "a command in a batch";
    bench.answered(&Request::unref(1))?;
    bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
    let request = Request::flush(1, rect(0, 0, 16, 16));
    let mut left = count;
    while left > 0 {
        let now = left.min(u32::from(batch));
        let sent = (0..now)
            .map(|_| bench.send(&request, 0))
            .collect::<Result<Vec<_>, _>>()?;
        for token in sent {
            let answer = bench.wait(token, what)?;
            let good = answer.code() == codes::OK_NODATA && answer.used == 24;
            ensure(good, || {
                format!("{}, {} bytes", codes::response(answer.code()), answer.used)
            })?;
        }
        left -= now;
    }
    Ok(())
}

fn both_queues(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::create_2d(1, FORMAT, 64, 64))?;
    let moved = Cursor::default().request(kind::MOVE_CURSOR).to_bytes();
    let flush = Request::flush(1, rect(0, 0, 64, 64));
    for _ in 0..200 {
        let control = bench.send(&flush, 0)?;
        let cursor = bench.gpu.send_on(QueueKind::Cursor, &moved, 0)?;
        let answer = bench.wait(control, "RESOURCE_FLUSH")?;
        if answer.code() != codes::OK_NODATA {
            return Err(Failure::Wrong(codes::response(answer.code())));
        }
        bench.wait(cursor, "MOVE_CURSOR")?;
    }
    Ok(())
}
