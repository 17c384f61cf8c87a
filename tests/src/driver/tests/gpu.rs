//! The typed commands, answered by the test.

use std::time::Duration;

use coherd_protocol::gpu::command::Command;
use coherd_protocol::gpu::header::Timeline;
use coherd_protocol::gpu::{Header, Response, error::ErrorCode};

use super::device::{Device, Taken};
use crate::driver::{Cursor, DriverError, Gpu, QueueKind, Request, Shape, kind};
use crate::frontend::tests::fake::Fake;
use crate::frontend::{Deadline, Flavour};

struct Guest {
    fake: Fake,
    gpu: Gpu,
    control: Device,
    cursor: Device,
}

fn guest(flavour: Flavour) -> Guest {
    let fake = Fake::new(flavour);
    fake.frontend.start().unwrap();
    // An answer proves that the backend has handled everything before it.
    fake.frontend.get_config(0, 4).unwrap();
    let gpu = Gpu::new(&fake.frontend).unwrap();
    let device = |index: usize| {
        let layout = fake.frontend.rings()[index].layout();
        Device::new(fake.frontend.memory(), layout, true)
    };
    let (control, cursor) = (device(0), device(1));
    Guest {
        fake,
        gpu,
        control,
        cursor,
    }
}

fn response(taken: &Taken, response: &Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    response.encode(Command::header(&taken.request).unwrap(), &mut bytes);
    bytes
}

impl Guest {
    fn answer(&mut self, taken: &Taken, answer: &Response) {
        if self.control.answer(taken, &response(taken, answer)) {
            self.fake.call(0);
        }
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

#[test]
fn command_arrives_in_every_shape() {
    let mut guest = guest(Flavour::Qemu);
    let shapes = [
        Shape::WHOLE,
        Shape {
            indirect: true,
            piece: 24,
        },
        Shape {
            indirect: false,
            piece: 7,
        },
    ];
    for shape in shapes {
        guest.gpu.set_shape(shape);
        let token = guest.gpu.send_map_blob(5, 0x3000).unwrap();

        let taken = guest.control.take().unwrap();
        let Ok(Command::ResourceMapBlob(map)) = Command::decode(&taken.request) else {
            panic!("{taken:?}");
        };
        assert_eq!((map.resource_id.get(), map.offset.get()), (5, 0x3000));
        guest.answer(&taken, &Response::MapInfo(3));

        let answer = guest.gpu.wait(token, soon()).unwrap();
        assert_eq!(Gpu::map_info(answer).unwrap(), 3);
    }
}

#[test]
fn fences_complete_out_of_order() {
    let mut guest = guest(Flavour::Qemu);
    let rings = [(1, 0), (1, 1)].map(|(ctx_id, ring_idx)| Timeline::Ring { ctx_id, ring_idx });
    let [first, second] = rings.map(|timeline| {
        let fence = guest.gpu.next_fence(timeline);
        let token = guest.gpu.submit_3d_fenced(1, &[0; 8], fence).unwrap();
        (fence, token)
    });
    let taken = [guest.control.take().unwrap(), guest.control.take().unwrap()];

    guest.answer(&taken[1], &Response::OkNoData);
    let late = guest.gpu.wait(second.1, soon()).unwrap();
    assert!(guest.gpu.try_take(first.1).unwrap().is_none());
    guest.answer(&taken[0], &Response::OkNoData);
    let early = guest.gpu.wait(first.1, soon()).unwrap();

    assert_eq!((late.fence(), late.position), (Some(second.0), 0));
    assert_eq!((early.fence(), early.position), (Some(first.0), 1));
}

#[test]
fn unanswered_command_times_out_and_can_be_waited_for_again() {
    let mut guest = guest(Flavour::Qemu);
    let token = guest.gpu.submit(&Request::ctx_destroy(9)).unwrap();

    let briefly = Deadline::after(Duration::from_millis(20));
    let waited = guest.gpu.wait(token, briefly);
    assert!(matches!(waited, Err(DriverError::Timeout)));

    let taken = guest.control.take().unwrap();
    guest.answer(&taken, &Response::Error(ErrorCode::InvalidContextId));
    assert_eq!(guest.gpu.wait(token, soon()).unwrap().code(), 0x1204);
}

#[test]
fn refusal_of_a_typed_command_names_the_code() {
    let mut guest = guest(Flavour::Crosvm);
    let token = guest.gpu.submit(&Request::unref(1)).unwrap();
    let taken = guest.control.take().unwrap();
    guest.answer(&taken, &Response::Error(ErrorCode::InvalidParameter));

    let answer = guest.gpu.wait(token, soon()).unwrap();
    assert!(matches!(
        answer.expect_code(0x1100),
        Err(DriverError::Refused {
            command: kind::RESOURCE_UNREF,
            code: 0x1205
        })
    ));
}

#[test]
fn cursor_commands_have_no_room_for_an_answer() {
    let mut guest = guest(Flavour::Qemu);
    let request = Cursor {
        x: -3,
        ..Cursor::default()
    }
    .request(kind::MOVE_CURSOR);
    let token = guest
        .gpu
        .send_on(QueueKind::Cursor, &request.to_bytes(), 0)
        .unwrap();

    let taken = guest.cursor.take().unwrap();
    assert!(taken.response.is_empty());
    if guest.cursor.answer(&taken, &[]) {
        guest.fake.call(1);
    }

    let answer = guest.gpu.wait(token, soon()).unwrap();
    assert_eq!((answer.used, answer.bytes.len()), (0, 0));
    assert!(matches!(
        Command::decode(&taken.request),
        Ok(Command::MoveCursor(cursor)) if cursor.pos.x.get() == u32::MAX - 2
    ));
}

#[test]
fn pages_return_with_the_answer() {
    let mut guest = guest(Flavour::Qemu);
    let free = guest.gpu.page().unwrap();
    for _ in 0..20_000 {
        let token = guest.gpu.send(&[0; Header::LEN], 4096).unwrap();
        let taken = guest.control.take().unwrap();
        guest.answer(&taken, &Response::OkNoData);
        guest.gpu.wait(token, soon()).unwrap();
    }
    assert_eq!(guest.gpu.page().unwrap().0, free.0 + 4096);
}
