//! Memory by property, from ALLOCATE to the guest's mapping.

use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::capset::TypeFlags;
use coherd_protocol::blob_context::command::{Allocate, opcode};
use coherd_protocol::blob_context::reply::MemoryFlags;
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_tests::blob_gpu::HEAP;
use coherd_tests::driver::BlobProgram;
use coherd_tests::driver::blob_program::Wish;

use super::{RAM, VISIBLE, blob, mapped, on_each_gpu, on_files, read, wish, write};
use crate::{PAGE, code, pattern};

#[test]
fn every_type_of_memory_is_told_mapped_and_shared_with_the_gpu() {
    on_each_gpu(|mut rig| {
        let capset = BlobProgram::capset(&mut rig.gpu).unwrap();
        mapped(&mut rig, 1, 2, RAM);
        for (id, info) in (2..).zip(&capset.types) {
            let flags = TypeFlags::from_bits(info.flags.get()).unwrap();
            if !flags.contains(TypeFlags::MAPPABLE) {
                continue;
            }
            let required = MemoryProperties::from_bits(info.properties.get()).unwrap();
            let memory = mapped(&mut rig, id, 2, required);
            assert_eq!(memory.size.get(), 2 * PAGE);
            let has = MemoryProperties::from_bits(memory.properties.get()).unwrap();
            assert!(has.contains(required), "{has:?} for {required:?}");
            let told = capset.types[memory.type_index.get() as usize];
            assert_eq!(told.properties, memory.properties);
            assert_eq!(told.map_info, memory.map_info);
            let needs_sync = memory.flags.get() & MemoryFlags::NEEDS_SYNC.bits() != 0;
            assert_eq!(needs_sync, flags.contains(TypeFlags::NEEDS_SYNC));

            let bytes = pattern(7, 2 * PAGE);
            rig.program
                .start(&mut rig.gpu, id, Access::WRITE)
                .unwrap()
                .unwrap();
            write(&rig, id, 0, &bytes);
            rig.program
                .end(&mut rig.gpu, id, Access::WRITE)
                .unwrap()
                .unwrap();
            rig.program
                .copy(&mut rig.gpu, (id, 0), (1, 0), 2 * PAGE)
                .unwrap()
                .unwrap();
            assert_eq!(read(&rig, 1, 0, bytes.len()), bytes);

            rig.program
                .fill(&mut rig.gpu, id, (PAGE, 16), 0x0403_0201)
                .unwrap()
                .unwrap();
            rig.program
                .start(&mut rig.gpu, id, Access::READ)
                .unwrap()
                .unwrap();
            let filled = read(&rig, id, PAGE, 20);
            rig.program
                .end(&mut rig.gpu, id, Access::READ)
                .unwrap()
                .unwrap();
            assert_eq!(filled[..16], [1, 2, 3, 4].repeat(4));
            assert_eq!(filled[16..], bytes[4096 + 16..][..4]);
        }
        rig.finish().unwrap();
    });
}

#[test]
fn sizes_are_rounded_up_to_pages() {
    on_each_gpu(|mut rig| {
        let wish = Wish {
            size: PAGE + 1,
            required: RAM,
            ..Wish::default()
        };
        let (_, memory) = rig.program.allocate(&mut rig.gpu, wish).unwrap().unwrap();
        assert_eq!(memory.size.get(), 2 * PAGE);
        rig.finish().unwrap();
    });
}

#[test]
fn object_becomes_a_resource_once_and_with_its_size_alone() {
    on_each_gpu(|mut rig| {
        let object = rig.program.allocate(&mut rig.gpu, wish(2, RAM));
        let (blob_id, mut memory) = object.unwrap().unwrap();
        let right = memory.size;
        for wrong in [PAGE, 3 * PAGE] {
            memory.size = wrong.into();
            let created = rig.program.create_blob(&mut rig.gpu, 5, (blob_id, memory));
            assert_eq!(code(created), 0x1205);
        }
        memory.size = right;
        let unknown = rig
            .program
            .create_blob(&mut rig.gpu, 5, (blob_id + 1, memory));
        assert_eq!(code(unknown), 0x1205);
        rig.program
            .create_blob(&mut rig.gpu, 5, (blob_id, memory))
            .unwrap();
        let again = rig.program.create_blob(&mut rig.gpu, 6, (blob_id, memory));
        assert_eq!(code(again), 0x1205);
        let released = rig.program.release(&mut rig.gpu, blob_id).unwrap();
        assert_eq!(released, Err(Status::UnknownObject));
        rig.finish().unwrap();
    });
}

#[test]
fn released_object_is_gone_and_its_id_free() {
    let (mut rig, gpu) = on_files();
    let object = rig.program.allocate(&mut rig.gpu, wish(1, RAM));
    let object = object.unwrap().unwrap();
    rig.program
        .release(&mut rig.gpu, object.0)
        .unwrap()
        .unwrap();
    assert_eq!(gpu.blobs(), 0);
    assert_eq!(
        code(rig.program.create_blob(&mut rig.gpu, 5, object)),
        0x1205
    );
    let again = allocate(object.0, PAGE);
    let reply = rig
        .program
        .call(&mut rig.gpu, opcode::ALLOCATE, &again, &[0u8; 0]);
    assert_eq!(reply.unwrap().status, Some(Status::Ok));
    let taken = rig
        .program
        .call(&mut rig.gpu, opcode::ALLOCATE, &again, &[0u8; 0]);
    assert_eq!(taken.unwrap().status, Some(Status::ObjectInUse));
    rig.finish().unwrap();
}

#[test]
fn wishes_that_cannot_be_have_their_status() {
    let (mut rig, gpu) = on_files();
    let statuses = [
        (allocate(0, PAGE), Status::ObjectInUse),
        (allocate(9, 0), Status::Invalid),
        (allocate(9, u64::MAX), Status::NoMemoryType),
        (allocate(9, HEAP + PAGE), Status::OutOfDeviceMemory),
        (
            Allocate {
                flags: 1.into(),
                ..allocate(9, PAGE)
            },
            Status::Invalid,
        ),
        (
            Allocate {
                usage: 0x10.into(),
                ..allocate(9, PAGE)
            },
            Status::Invalid,
        ),
        (
            Allocate {
                required: 0x10.into(),
                ..allocate(9, PAGE)
            },
            Status::Invalid,
        ),
        (
            Allocate {
                preferred: 0x10.into(),
                ..allocate(9, PAGE)
            },
            Status::Invalid,
        ),
        (
            Allocate {
                required: 0xf.into(),
                ..allocate(9, PAGE)
            },
            Status::NoMemoryType,
        ),
    ];
    for (command, status) in statuses {
        let reply = rig
            .program
            .call(&mut rig.gpu, opcode::ALLOCATE, &command, &[0u8; 0]);
        assert_eq!(reply.unwrap().status, Some(status), "{command:?}");
        assert_eq!(gpu.blobs(), 0);
    }
    rig.finish().unwrap();
}

#[test]
fn preferred_properties_decide_between_types() {
    let (mut rig, _) = on_files();
    let mut index = |required, preferred| {
        let wish = Wish {
            size: PAGE,
            required,
            preferred,
        };
        let (_, memory) = rig.program.allocate(&mut rig.gpu, wish).unwrap().unwrap();
        memory.type_index.get()
    };
    assert_eq!(index(VISIBLE, MemoryProperties::HOST_CACHED), 3);
    assert_eq!(index(VISIBLE, MemoryProperties::HOST_COHERENT), 2);
    assert_eq!(index(VISIBLE, RAM), 1);
    assert_eq!(
        index(MemoryProperties::empty(), MemoryProperties::DEVICE_LOCAL),
        0
    );
    rig.finish().unwrap();
}

#[test]
fn memory_that_processors_cannot_reach_serves_the_gpu_and_refuses_the_map() {
    let (mut rig, _) = on_files();
    let memory = blob(&mut rig, 1, 1, MemoryProperties::DEVICE_LOCAL);
    mapped(&mut rig, 2, 1, RAM);
    assert_eq!((memory.map_info.get(), memory.backing.get()), (0, 0));
    assert_eq!(memory.flags.get(), MemoryFlags::AGREED.bits());

    assert_eq!(code(rig.gpu.map_blob(1, 0)), 0x1205);
    let started = rig.program.start(&mut rig.gpu, 1, Access::READ).unwrap();
    assert_eq!(started, Err(Status::Unsupported));
    rig.program
        .fill(&mut rig.gpu, 1, (0, PAGE), 0x0101_0101)
        .unwrap()
        .unwrap();
    rig.program
        .copy(&mut rig.gpu, (1, 0), (2, 0), PAGE)
        .unwrap()
        .unwrap();
    assert_eq!(read(&rig, 2, 0, 4096), [1; 4096]);
    rig.finish().unwrap();
}

fn allocate(blob_id: u64, size: u64) -> Allocate {
    Allocate {
        blob_id: blob_id.into(),
        size: size.into(),
        required: RAM.bits().into(),
        preferred: 0.into(),
        usage: 0.into(),
        flags: 0.into(),
    }
}
