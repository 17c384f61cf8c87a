//! QUERY: what memory a resource is, who maps it and who accesses it.

use coherd_protocol::blob_context::reply::{HolderKind, Ledger};
use coherd_protocol::memory::Access;
use coherd_tests::blob_rig::BlobRig;
use coherd_tests::driver::BlobProgram;

use super::{RAM, blob, on_each_gpu, on_files, place};

/// kind, map_info, count and open of each holder.
fn holders(ledger: &Ledger) -> Vec<[u32; 4]> {
    let known = ledger
        .holders
        .iter()
        .take(ledger.holder_count.get() as usize);
    known
        .map(|holder| {
            [holder.kind, holder.map_info, holder.count, holder.open].map(|word| word.get())
        })
        .collect()
}

fn query(rig: &mut BlobRig) -> Ledger {
    rig.program.query(&mut rig.gpu, 1).unwrap().unwrap().1
}

#[test]
fn guest_and_vmm_are_listed_while_the_blob_is_mapped() {
    on_each_gpu(|mut rig| {
        let memory = blob(&mut rig, 1, 1, RAM);
        let queried = rig.program.query(&mut rig.gpu, 1).unwrap().unwrap().0;
        assert_eq!(queried, memory);
        assert_eq!(holders(&query(&mut rig)), [[0; 4]; 0]);
        for _ in 0..2 {
            rig.gpu.map_blob(1, place(1)).unwrap();
            let [guest, vmm] = [HolderKind::Guest as u32, HolderKind::Vmm as u32];
            assert_eq!(
                holders(&query(&mut rig)),
                [[guest, 1, 1, 0], [vmm, 1, 1, 0]]
            );
            rig.gpu.unmap_blob(1).unwrap();
            assert_eq!(holders(&query(&mut rig)), [[0; 4]; 0]);
        }
        rig.finish().unwrap();
    });
}

#[test]
fn accesses_are_counted_while_they_are_open() {
    let (mut rig, _) = on_files();
    blob(&mut rig, 1, 1, RAM);
    rig.gpu.map_blob(1, place(1)).unwrap();
    let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001).unwrap();
    rig.gpu.ctx_attach(2, 1).unwrap();
    rig.program
        .start(&mut rig.gpu, 1, Access::READ)
        .unwrap()
        .unwrap();
    other
        .start(&mut rig.gpu, 1, Access::WRITE)
        .unwrap()
        .unwrap();
    let ledger = query(&mut rig);
    assert_eq!(ledger.open.get(), 2);
    assert_eq!(holders(&ledger)[0], [HolderKind::Guest as u32, 1, 1, 2]);
    rig.program
        .end(&mut rig.gpu, 1, Access::READ)
        .unwrap()
        .unwrap();
    other.end(&mut rig.gpu, 1, Access::WRITE).unwrap().unwrap();
    assert_eq!(query(&mut rig).open.get(), 0);
    rig.finish().unwrap();
}
