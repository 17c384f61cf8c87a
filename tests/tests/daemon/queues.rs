//! Rings of every size and shape.

use coherd::serve::Options;
use coherd_protocol::gpu::header::Timeline;
use coherd_tests::driver::{Answer, DriverError, QueueKind, Request, Shape, VirtqueueError, kind};
use coherd_tests::frontend::{Config, Flavour};
use coherd_tests::renderer::Recipe;
use coherd_tests::rig::Rig;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use crate::{CTX, PAGE, mappable, pattern, rig, with_context};

fn with_queue_size(flavour: Flavour, queue_size: u16) -> Rig {
    let config = Config {
        queue_size,
        ..Config::new(flavour)
    };
    with_context(Rig::with(config, Options::default()).unwrap())
}

/// Puts `count` commands into the ring one after another, as many at a time as there is room for.
fn run_many(rig: &mut Rig, count: u32) {
    let request = Request::new(kind::GET_CAPSET_INFO).body(&[0u8; 8]);
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

#[test]
fn rings_of_every_size_wrap_around() {
    for event_idx in [true, false] {
        for size in [2, 4, 256, 1024] {
            let mut config = Config {
                queue_size: size,
                ..Config::new(Flavour::Crosvm)
            };
            if !event_idx {
                config.features &= !(1 << VIRTIO_RING_F_EVENT_IDX);
            }
            let mut rig = Rig::with(config, Options::default()).unwrap();
            run_many(&mut rig, 3 * u32::from(size) + 1);
            rig.finish().unwrap();
        }
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
fn one_kick_serves_every_command_before_it() {
    let mut rig = rig(Flavour::Qemu);
    let info = Request::new(kind::GET_DISPLAY_INFO).to_bytes();
    let request = rig.gpu.buffer(&info).unwrap();
    let rooms: Vec<_> = (0..100)
        .map(|_| rig.gpu.buffer(&[0; 408]).unwrap())
        .collect();
    for room in &rooms {
        let queue = rig.gpu.queue(QueueKind::Control);
        queue.add(&[request], &[*room]).unwrap();
    }
    rig.gpu.kick(QueueKind::Control).unwrap();

    rig.gpu.display_info().unwrap();

    for room in rooms {
        let answer = rig.gpu.read_buffer(room).unwrap();
        assert_eq!(answer[..4], 0x1101u32.to_le_bytes());
    }
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

#[test]
fn ring_with_an_impossible_index_does_not_keep_the_other_one_waiting() {
    let mut rig = rig(Flavour::Qemu);
    let cursor = rig.gpu.queue(QueueKind::Cursor);
    cursor.set_avail_index(50_000).unwrap();
    rig.frontend.rings()[1].kick().unwrap();
    let info = rig.gpu.capset_info(0).unwrap();
    assert_eq!(info.max_size.get(), 160);
    rig.frontend.stop().unwrap();
    rig.finish().unwrap();
}
