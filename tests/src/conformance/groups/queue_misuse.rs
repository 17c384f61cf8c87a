//! Split virtqueues as no driver should use them. A device may give up the queue until it is
//! reset, but not its life: what it holds is the host's as much as the guest's.

use std::time::Duration;

use virtio_bindings::virtio_ring::{
    VIRTIO_RING_F_INDIRECT_DESC, VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use vm_memory::GuestAddress;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::failure::Failure;
use crate::driver::{Buffer, Descriptor, DriverError, QueueKind, Request, VirtqueueError};
use crate::frontend::Deadline;

/// How long a device may take for a command before the queue counts as given up.
const GIVEN_UP: Duration = Duration::from_millis(500);

/// Beyond any guest RAM.
const NOWHERE: u64 = 1 << 50;

#[allow(clippy::cast_possible_truncation, reason = "the flags are 1, 2 and 4")]
const NEXT: u16 = VRING_DESC_F_NEXT as u16;
#[allow(clippy::cast_possible_truncation, reason = "the flags are 1, 2 and 4")]
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
#[allow(clippy::cast_possible_truncation, reason = "the flags are 1, 2 and 4")]
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

pub(super) fn group() -> Group {
    Group::new("queue-misuse", "2.7.5")
        .case("chain-that-is-a-loop", |bench| {
            let page = bench.gpu.page()?;
            chain(bench, |indexes| {
                vec![
                    descriptor(page, 24, NEXT, indexes[1]),
                    descriptor(page, 24, NEXT, indexes[0]),
                ]
            })
        })
        .case("descriptor-that-is-its-own-next", |bench| {
            let page = bench.gpu.page()?;
            chain(bench, |indexes| {
                vec![descriptor(page, 24, NEXT, indexes[0])]
            })
        })
        .case("next-beyond-the-table", |bench| {
            let page = bench.gpu.page()?;
            chain(bench, |_| vec![descriptor(page, 24, NEXT, u16::MAX)])
        })
        .case("head-beyond-the-table", |bench| {
            bench.gpu.queue(QueueKind::Control).push(60_000)?;
            goes_on(bench)
        })
        .case("request-outside-ram", |bench| {
            let room = bench.gpu.buffer(&[0; 24])?;
            buffers(bench, &[nowhere(24)], &[room])
        })
        .case("request-that-leaves-ram", |bench| {
            use vm_memory::GuestMemoryBackend;

            let last = bench.gpu.memory().last_addr().0;
            let room = bench.gpu.buffer(&[0; 24])?;
            let edge = Buffer {
                addr: GuestAddress(last - 7),
                len: 24,
            };
            buffers(bench, &[edge], &[room])
        })
        .case("request-that-wraps-around", |bench| {
            let room = bench.gpu.buffer(&[0; 24])?;
            let wraps = Buffer {
                addr: GuestAddress(u64::MAX - 7),
                len: 24,
            };
            buffers(bench, &[wraps], &[room])
        })
        .case("response-outside-ram", |bench| {
            let info = bench.gpu.buffer(&Request::display_info().to_bytes())?;
            buffers(bench, &[info], &[nowhere(408)])
        })
        .case("buffer-of-4-gib", |bench| {
            let page = bench.gpu.page()?;
            let room = bench.gpu.buffer(&[0; 24])?;
            let huge = Buffer {
                addr: page,
                len: u32::MAX,
            };
            buffers(bench, &[huge], &[room])
        })
        .case("empty-buffer-in-a-chain", |bench| {
            let info = bench.gpu.buffer(&Request::display_info().to_bytes())?;
            let room = bench.gpu.buffer(&[0; 408])?;
            let empty = Buffer { len: 0, ..info };
            buffers(bench, &[empty, info], &[room])
        })
        .case("chain-without-a-request", |bench| {
            let room = bench.gpu.buffer(&[0; 408])?;
            buffers(bench, &[], &[room])
        })
        .case("response-before-the-request", |bench| {
            let info = bench.gpu.buffer(&Request::display_info().to_bytes())?;
            let room = bench.gpu.buffer(&[0; 408])?;
            chain(bench, |indexes| {
                vec![
                    descriptor(room.addr, room.len, NEXT | WRITE, indexes[1]),
                    descriptor(info.addr, info.len, 0, 0),
                ]
            })
        })
        .section("2.7.6")
        .case("available-index-far-ahead", |bench| {
            let queue = bench.gpu.queue(QueueKind::Control);
            queue.set_avail_index(1000)?;
            kick_only(bench)
        })
        .case("available-index-goes-back", |bench| {
            bench.alive()?;
            bench
                .gpu
                .queue(QueueKind::Control)
                .set_avail_index(u16::MAX)?;
            kick_only(bench)
        })
        .section("2.7.5.3")
        .needs(&[Need::Ring(VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC")])
        .case("indirect-table-outside-ram", |bench| {
            chain(bench, |_| {
                vec![descriptor(GuestAddress(NOWHERE), 32, INDIRECT, 0)]
            })
        })
        .case("indirect-table-of-no-descriptors", |bench| {
            let page = bench.gpu.page()?;
            chain(bench, |_| vec![descriptor(page, 0, INDIRECT, 0)])
        })
        .case("indirect-table-of-a-descriptor-and-a-half", |bench| {
            let page = bench.gpu.page()?;
            chain(bench, |_| vec![descriptor(page, 24, INDIRECT, 0)])
        })
        .case("indirect-table-of-4-gib", |bench| {
            let page = bench.gpu.page()?;
            chain(bench, |_| {
                vec![descriptor(page, u32::MAX - 15, INDIRECT, 0)]
            })
        })
        .case("indirect-table-in-an-indirect-table", |bench| {
            indirect(bench, |page| descriptor(page, 16, INDIRECT, 0))
        })
        .case("indirect-chain-that-is-a-loop", |bench| {
            indirect(bench, |page| descriptor(page, 24, NEXT, 0))
        })
        .case("indirect-next-beyond-its-table", |bench| {
            indirect(bench, |page| descriptor(page, 24, NEXT, 500))
        })
}

fn descriptor(addr: GuestAddress, len: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor {
        addr: addr.0,
        len,
        flags,
        next,
    }
}

fn nowhere(len: u32) -> Buffer {
    Buffer {
        addr: GuestAddress(NOWHERE),
        len,
    }
}

/// Offers a chain whose descriptors `make` writes, told their indexes, of which there are two.
fn chain(bench: &mut Bench<'_>, make: impl FnOnce(&[u16]) -> Vec<Descriptor>) -> Outcome {
    let queue = bench.gpu.queue(QueueKind::Control);
    let indexes = queue.take_descriptors(2)?;
    for (index, descriptor) in indexes.iter().zip(make(&indexes)) {
        queue.write_descriptor(*index, descriptor)?;
    }
    queue.offer(indexes)?;
    goes_on(bench)
}

/// Offers a chain of buffers.
fn buffers(bench: &mut Bench<'_>, read: &[Buffer], write: &[Buffer]) -> Outcome {
    bench.gpu.queue(QueueKind::Control).add(read, write)?;
    goes_on(bench)
}

/// Offers an indirect table of the one descriptor that `make` returns, told where a page is.
fn indirect(bench: &mut Bench<'_>, make: impl FnOnce(GuestAddress) -> Descriptor) -> Outcome {
    let page = bench.gpu.page()?;
    let table = bench.gpu.buffer(&make(page).to_bytes())?;
    chain(bench, |_| vec![descriptor(table.addr, 16, INDIRECT, 0)])
}

/// Kicks, and sees whether the device takes commands on.
fn goes_on(bench: &mut Bench<'_>) -> Outcome {
    bench.gpu.kick(QueueKind::Control)?;
    let token = bench.send(&Request::unref(9), 0)?;
    let deadline = Deadline::after(GIVEN_UP);
    match bench.gpu.wait(token, deadline) {
        Ok(_) => bench.note("queue goes on"),
        Err(DriverError::Timeout) => {
            given_up(bench)?;
            bench.note("queue waits for a reset");
        }
        // The chain was not one to the driver either.
        Err(DriverError::Virtqueue(VirtqueueError::UnknownChain(_))) => {
            bench.note("chain comes back");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The backend must still be there, and serve a new driver.
fn given_up(bench: &mut Bench<'_>) -> Outcome {
    if bench.frontend.is_hung_up() {
        return Err(Failure::HungUp("it".to_owned()));
    }
    bench.reset()?;
    bench.alive()
}

/// Kicks where no chain can be offered behind the damage. A ring that stops has come to an end
/// with what it was kicked for.
fn kick_only(bench: &mut Bench<'_>) -> Outcome {
    for ring in bench.frontend.rings() {
        ring.kick()?;
    }
    let bases = bench.frontend.stop()?;
    bench.note(format!("control queue stops at {}", bases[0]));
    given_up(bench)
}
