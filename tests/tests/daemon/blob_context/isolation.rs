//! A context has its own objects, and the resources that are attached to it.

use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::command::{SetReplyBuffer, opcode};
use coherd_protocol::memory::Access;
use coherd_tests::driver::BlobProgram;

use super::{RAM, blob, mapped, on_each_gpu, read, wish};
use crate::{PAGE, code};

#[test]
fn resource_is_used_by_the_contexts_that_have_it_and_by_no_other() {
    on_each_gpu(|mut rig| {
        mapped(&mut rig, 1, 1, RAM);
        let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001).unwrap();
        let unknown = Some(Err(Status::UnknownResource));
        let tries = |other: &mut BlobProgram, gpu: &mut coherd_tests::driver::Gpu| {
            [
                other.fill(gpu, 1, (0, PAGE), 5).unwrap(),
                other.copy(gpu, (1, 0), (1, 64), 4).unwrap(),
                other.start(gpu, 1, Access::READ).unwrap(),
                other.end(gpu, 1, Access::READ).unwrap(),
                other.query(gpu, 1).unwrap().map(drop),
            ]
        };
        for result in tries(&mut other, &mut rig.gpu) {
            assert_eq!(Some(result), unknown);
        }
        rig.gpu.ctx_attach(2, 1).unwrap();
        assert_eq!(tries(&mut other, &mut rig.gpu), [Ok(()); 5]);
        assert_eq!(read(&rig, 1, 0, 4), [5, 0, 0, 0]);
        rig.gpu.ctx_detach(2, 1).unwrap();
        for result in tries(&mut other, &mut rig.gpu) {
            assert_eq!(Some(result), unknown);
        }
        rig.finish().unwrap();
    });
}

#[test]
fn objects_of_one_context_are_not_there_for_another() {
    on_each_gpu(|mut rig| {
        let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001).unwrap();
        let object = rig.program.allocate(&mut rig.gpu, wish(1, RAM));
        let object = object.unwrap().unwrap();
        let released = other.release(&mut rig.gpu, object.0).unwrap();
        assert_eq!(released, Err(Status::UnknownObject));
        assert_eq!(code(other.create_blob(&mut rig.gpu, 5, object)), 0x1205);
        // Blob ids are each context's own.
        let others = other.allocate(&mut rig.gpu, wish(1, RAM)).unwrap().unwrap();
        assert_eq!(object.0, others.0);
        rig.program.create_blob(&mut rig.gpu, 5, object).unwrap();
        other.create_blob(&mut rig.gpu, 6, others).unwrap();
        rig.finish().unwrap();
    });
}

#[test]
fn replies_go_to_guest_memory_of_the_context_and_nowhere_else() {
    on_each_gpu(|mut rig| {
        blob(&mut rig, 1, 1, RAM);
        let page = rig.gpu.buffer(&[0; 4096]).unwrap();
        let guest = coherd_tests::driver::Blob {
            resource_id: 7,
            mem: 1,
            size: PAGE,
            ..Default::default()
        };
        rig.gpu.create_blob(&guest, &[page]).unwrap();
        let set = |resource_id: u32, offset: u64, size: u64| SetReplyBuffer {
            resource_id: resource_id.into(),
            padding: 0.into(),
            offset: offset.into(),
            size: size.into(),
        };
        for (command, status) in [
            // Not attached, host memory, unknown.
            (set(7, 0, PAGE), Status::UnknownResource),
            (set(1, 0, PAGE), Status::UnknownResource),
            (set(99, 0, PAGE), Status::UnknownResource),
            (set(1000, 4, 64), Status::Invalid),
            (set(1000, 0, 1 << 20), Status::Invalid),
            (set(1000, u64::MAX - 7, 64), Status::Invalid),
        ] {
            let reply =
                rig.program
                    .call(&mut rig.gpu, opcode::SET_REPLY_BUFFER, &command, &[0u8; 0]);
            // The old buffer is still the one.
            assert_eq!(reply.unwrap().status, Some(status), "{command:?}");
        }
        rig.finish().unwrap();
    });
}
