//! Rings of every size and shape.

use coherd::serve::Options;
use coherd_protocol::gpu::Features;
use coherd_protocol::gpu::header::{Fence, Timeline};
use coherd_tests::driver::{
    Answer, DriverError, QueueKind, Request, Shape, Token, Used, VirtqueueError,
};
use coherd_tests::frontend::{Config, Flavour};
use coherd_tests::renderer::Recipe;
use coherd_tests::rig::Rig;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use crate::stop::hold;
use crate::{CTX, PAGE, mappable, pattern, pending_fence, rig, with_context};

fn with_queue_size(flavour: Flavour, queue_size: u16) -> Rig {
    let config = Config {
        queue_size,
        ..Config::new(flavour)
    };
    with_context(Rig::with(config, Options::default()).unwrap())
}

/// Puts `count` commands into the ring one after another, as many at a time as there is room for.
fn run_many(rig: &mut Rig, count: u32) {
    let request = Request::capset_info(0);
    let (mut sent, mut done) = (Vec::new(), 0);
    while done < count {
        let started = u32::try_from(sent.len()).unwrap() + done;
        let next = (started < count).then(|| rig.gpu.send(&request.to_bytes(), 40));
        match next {
            Some(Ok(token)) => sent.push(token),
            None | Some(Err(DriverError::Virtqueue(VirtqueueError::Full))) => {
                for token in sent.drain(..) {
                    let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
                    assert_eq!(answer.code(), 0x1102);
                    done += 1;
                }
            }
            Some(Err(error)) => panic!("{error}"),
        }
    }
}

/// Waits for the next chain that the device returns on the control queue.
pub fn returned(rig: &mut Rig) -> Used {
    let deadline = rig.frontend.deadline();
    loop {
        let queue = rig.gpu.queue(QueueKind::Control);
        if let Some(used) = queue.pop().unwrap() {
            return used;
        }
        if !queue.enable_interrupt().unwrap() {
            assert!(rig.frontend.rings()[0].wait_call(deadline).unwrap());
        }
    }
}

#[test]
fn commands_in_pieces_and_through_indirect_tables_are_the_same_commands() {
    let mut rig = rig(Flavour::Qemu);
    for (indirect, piece) in [
        (true, u32::MAX),
        (true, 1),
        (false, 7),
        (false, 1),
        (true, 13),
    ] {
        rig.gpu.set_shape(Shape { indirect, piece });
        let blob = mappable(1, Recipe::SHM, PAGE);
        rig.gpu.create_blob(&blob, &[]).unwrap();
        assert_eq!(rig.gpu.map_blob(1, 0).unwrap(), 1);
        rig.gpu.unref(1).unwrap();
        let info = rig.gpu.capset_info(0).unwrap();
        assert_eq!(info.max_size.get(), 160, "{indirect} {piece}");
    }
    rig.finish().unwrap();
}

#[test]
fn long_backing_list_arrives_in_full() {
    let mut rig = rig(Flavour::Qemu);
    let page = rig.gpu.buffer(&pattern(0, PAGE)).unwrap();
    let format = coherd_protocol::gpu::Format::B8G8R8X8;
    rig.gpu.create_2d(1, format, 4096, 4096).unwrap();
    rig.gpu.attach_backing(1, &vec![page; 16384]).unwrap();
    rig.gpu.detach_backing(1).unwrap();
    let refused = rig.gpu.attach_backing(1, &vec![page; 16385]);
    assert_eq!(crate::code(refused), 0x1200);
    rig.finish().unwrap();
}

/// A rig with queues of this size, with or without EVENT_IDX, whose chains take one descriptor.
fn with_event_idx(queue_size: u16, event_idx: bool) -> Rig {
    let mut config = Config {
        queue_size,
        ..Config::new(Flavour::Qemu)
    };
    if !event_idx {
        config.features &= !(1 << VIRTIO_RING_F_EVENT_IDX);
    }
    let mut rig = Rig::with(config, Options::default()).unwrap();
    rig.gpu.set_shape(Shape {
        indirect: true,
        ..Shape::WHOLE
    });
    with_context(rig)
}

#[test]
fn rings_of_every_size_wrap_around() {
    for event_idx in [true, false] {
        for size in (0..=10).map(|power| 1 << power) {
            let mut rig = with_event_idx(size, event_idx);
            run_many(&mut rig, 3 * u32::from(size) + 1);
            rig.finish().unwrap();
        }
    }
}

#[test]
fn ring_offered_as_a_whole_is_served_after_one_kick() {
    for event_idx in [true, false] {
        for size in [1, 2, 64, 1024] {
            let mut rig = with_event_idx(size, event_idx);
            let info = Request::display_info().to_bytes();
            let request = rig.gpu.buffer(&info).unwrap();
            let rooms: Vec<_> = (0..size)
                .map(|_| rig.gpu.buffer(&[0; 408]).unwrap())
                .collect();
            for room in &rooms {
                let table = rig.gpu.page().unwrap();
                let queue = rig.gpu.queue(QueueKind::Control);
                queue.add_indirect(table, &[request], &[*room]).unwrap();
            }

            rig.gpu.kick(QueueKind::Control).unwrap();
            for _ in 0..size {
                returned(&mut rig);
            }

            for room in rooms {
                let answer = rig.gpu.read_buffer(room).unwrap();
                assert_eq!(answer[..4], 0x1101u32.to_le_bytes());
            }
            rig.finish().unwrap();
        }
    }
}

#[test]
fn no_wake_up_is_lost_while_the_index_wraps() {
    for event_idx in [true, false] {
        let mut rig = with_event_idx(4, event_idx);
        run_many(&mut rig, 66_000);
        rig.finish().unwrap();
    }
}

/// No interrupt is on its way then: the one for an answer may come after the answer is seen, but
/// not after the device got to the next command, which is returned with its fence.
fn without_interrupts_on_their_way(rig: &mut Rig) -> (Fence, Token) {
    let next = pending_fence(rig);
    rig.frontend.rings()[0].take_calls().unwrap();
    next
}

#[test]
fn interrupts_that_the_driver_does_not_want_do_not_come() {
    for event_idx in [true, false] {
        let mut rig = with_event_idx(256, event_idx);
        let ring = rig.frontend.rings()[0].clone();
        let first = without_interrupts_on_their_way(&mut rig);
        let queue = rig.gpu.queue(QueueKind::Control);
        if event_idx {
            queue.enable_interrupt_after(20).unwrap();
        } else {
            queue.disable_interrupt().unwrap();
        }

        let request = Request::display_info();
        let tokens: Vec<_> = (0..20).map(|_| rig.gpu.submit(&request).unwrap()).collect();
        // The device gets to this one when the others are returned.
        let last = pending_fence(&mut rig);

        assert_eq!(ring.take_calls().unwrap(), 0, "{event_idx}");
        for token in tokens {
            assert!(rig.gpu.try_take(token).unwrap().is_some());
        }
        for (fence, pending) in [first, last] {
            rig.host.signal(fence);
            rig.gpu.wait(pending, rig.frontend.deadline()).unwrap();
        }
        rig.finish().unwrap();
    }
}

#[test]
fn one_interrupt_tells_of_as_many_chains_as_the_driver_wants() {
    let mut rig = with_event_idx(256, true);
    let ring = rig.frontend.rings()[0].clone();
    let (fence, pending) = without_interrupts_on_their_way(&mut rig);
    let queue = rig.gpu.queue(QueueKind::Control);
    queue.enable_interrupt_after(9).unwrap();

    let request = Request::display_info();
    let tokens: Vec<_> = (0..10).map(|_| rig.gpu.submit(&request).unwrap()).collect();

    assert!(ring.wait_call(rig.frontend.deadline()).unwrap());
    for token in tokens {
        assert!(rig.gpu.try_take(token).unwrap().is_some());
    }
    assert_eq!(ring.take_calls().unwrap(), 0);
    rig.host.signal(fence);
    rig.gpu.wait(pending, rig.frontend.deadline()).unwrap();
    rig.finish().unwrap();
}

#[test]
fn driver_need_not_kick_a_device_that_is_at_work() {
    for event_idx in [true, false] {
        let mut rig = with_event_idx(256, event_idx);
        hold(&mut rig.gpu);
        assert!(rig.host.wait_holding(rig.frontend.deadline()));
        let info = Request::display_info().to_bytes();
        let request = rig.gpu.buffer(&info).unwrap();
        let room = rig.gpu.buffer(&[0; 408]).unwrap();

        for _ in 0..50 {
            let queue = rig.gpu.queue(QueueKind::Control);
            queue.add(&[request], &[room]).unwrap();
            assert!(!queue.needs_kick().unwrap(), "{event_idx}");
        }
        rig.host.release();

        for _ in 0..51 {
            returned(&mut rig);
        }
        rig.finish().unwrap();
    }
}

#[test]
fn features_that_change_in_the_middle_of_a_command_do_not_lose_it() {
    for flavour in crate::WITH_WINDOW {
        let mut rig = with_queue_size(flavour, 256);
        let (held, response) = hold(&mut rig.gpu);
        assert!(rig.host.wait_holding(rig.frontend.deadline()));
        let later = rig.gpu.submit(&Request::new(0x9999)).unwrap();

        let fewer = rig.frontend.features() & !Features::EDID.bits();
        rig.frontend.set_guest_features(fewer);
        rig.frontend.send_features().unwrap();
        // The daemon has taken them once it answers this.
        rig.frontend.get_config(0, 4).unwrap();
        rig.host.release();

        let answer = rig.gpu.wait(later, rig.frontend.deadline()).unwrap();
        assert_eq!(answer.code(), 0x1200);
        let header = rig.gpu.read_buffer(response).unwrap();
        assert_eq!(header[..4], 0x1100u32.to_le_bytes(), "{held} {flavour:?}");
        rig.finish().unwrap();
    }
}

#[test]
fn pause_at_position_zero_is_not_taken_for_a_reset() {
    for flavour in crate::WITH_WINDOW {
        let mut rig = with_queue_size(flavour, 256);
        // One command made the context, one wraps the 16 bits of the position.
        run_many(&mut rig, 65_535);

        let bases = rig.frontend.stop().unwrap();
        assert_eq!(bases[0], 0);
        rig.frontend.resume(&bases).unwrap();

        run_many(&mut rig, 10);
        assert_eq!(rig.host.contexts(), [CTX]);
        rig.finish().unwrap();
    }
}

#[test]
fn reset_at_position_zero_is_not_taken_for_a_pause() {
    let mut rig = with_queue_size(Flavour::Crosvm, 256);
    run_many(&mut rig, 65_535);
    rig.reboot().unwrap();
    run_many(&mut rig, 10);
    assert!(rig.host.contexts().is_empty());
    rig.finish().unwrap();
}

#[test]
fn ring_full_of_pending_fences_drains_in_order() {
    for (flavour, size) in [(Flavour::Qemu, 1024), (Flavour::Crosvm, 64)] {
        let mut rig = with_queue_size(flavour, size);
        let timeline = Timeline::Ring {
            ctx_id: CTX,
            ring_idx: 1,
        };
        let fences: Vec<_> = (0..size / 2)
            .map(|_| {
                let fence = rig.gpu.next_fence(timeline);
                (fence, rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap())
            })
            .collect();
        assert!(matches!(
            rig.gpu.submit_3d(CTX, &[]),
            Err(DriverError::Virtqueue(VirtqueueError::Full))
        ));
        let last = fences.last().unwrap().0;
        assert!(rig.host.wait_fence(last, rig.frontend.deadline()));

        rig.host.signal(last);

        let deadline = rig.frontend.deadline();
        let answers: Vec<Answer> = fences
            .iter()
            .map(|(_, token)| rig.gpu.wait(*token, deadline).unwrap())
            .collect();
        assert!(answers.is_sorted_by_key(|answer| answer.position));
        rig.gpu.submit_3d(CTX, &[]).unwrap();
        rig.finish().unwrap();
    }
}

#[test]
fn ring_full_of_pending_fences_survives_a_pause() {
    let mut rig = with_queue_size(Flavour::Qemu, 16);
    let timeline = Timeline::Ring {
        ctx_id: CTX,
        ring_idx: 1,
    };
    let fences: Vec<_> = (0..8)
        .map(|_| {
            let fence = rig.gpu.next_fence(timeline);
            (fence, rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap())
        })
        .collect();
    assert!(rig.host.wait_fence(fences[7].0, rig.frontend.deadline()));

    for (fence, token) in fences {
        let bases = rig.frontend.stop().unwrap();
        rig.host.signal(fence);
        rig.frontend.resume(&bases).unwrap();
        let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
        assert_eq!(answer.fence(), Some(fence));
    }
    rig.finish().unwrap();
}
