//! `coherd ctl`, beside a guest.

use coherd::ctl::CtlError;
use coherd_sync::Status;
use coherd_tests::sync_rig::SyncRig;

use super::{INCOHERENT, RAM, READ_WRITE, entry, gpu_fills, gpu_hangs_at, mapped, place};
use crate::{PAGE, control, pattern};

/// What `coherd ctl` with these arguments writes, and how it ends.
fn ctl(rig: &SyncRig, arguments: &[&str]) -> (Vec<u8>, Result<(), CtlError>) {
    let path = rig.path();
    let socket = ["--sync-socket", path.to_str().unwrap()];
    control::run(&[&["coherd", "ctl"], arguments, &socket].concat())
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn blobs_are_a_table_of_who_maps_what_and_how() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, RAM);
    mapped(&mut rig, 2, 256, INCOHERENT);
    rig.vm.gpu.unmap_blob(2).unwrap();
    let peer = rig.peer("a vmm").unwrap();
    let [first, second] = [1, 2].map(|id| entry(&peer, id).blob.to_string());
    let blob = peer.open(first.parse().unwrap(), READ_WRITE).unwrap();
    let mapping = blob.map().unwrap();
    let bracket = mapping.read(..).unwrap();

    let (out, result) = ctl(&rig, &["blobs"]);

    result.unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut lines = text.lines();
    let head = ["BLOB", "SIZE", "KIND", "TOLD", "FILE", "HOLDERS", "AGREE"];
    assert_eq!(words(lines.next().unwrap()), head);
    let line_of = |blob: &str| {
        let mut lines = text.lines().map(words);
        lines.find(|line| line[0] == blob).unwrap()
    };
    let holders = format!("guest,vmm,a-vmm({}):1", std::process::id());
    assert_eq!(
        line_of(&first)[1..],
        ["4K", "memfd", "cached", "cached", &holders, "yes"]
    );
    let line = line_of(&second);
    assert_eq!(line[1..5], ["1M", "memfd", "cached", "cached"]);
    // What is flushed for the guest is mapped by the daemon itself.
    assert_eq!(line[5..], ["coherd", "yes"]);
    bracket.end().unwrap();
    drop((mapping, blob, peer));
    rig.finish().unwrap();
}

#[test]
fn dump_writes_what_the_gpu_wrote() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 2, INCOHERENT);
    mapped(&mut rig, 2, 1, RAM);
    gpu_fills(&mut rig, 1, 7);
    let window = rig.vm.frontend.window().unwrap();
    window.write(place(2), &pattern(3, PAGE)).unwrap();
    let peer = rig.peer("lister").unwrap();
    let [first, second] = [1, 2].map(|id| entry(&peer, id).blob.to_string());

    let (of_gpu, result) = ctl(&rig, &["dump", &first]);
    result.unwrap();
    assert_eq!(of_gpu.len(), 8192);
    assert_eq!(
        (&of_gpu[..4096], &of_gpu[4096..]),
        (&[7; 4096][..], &[0; 4096][..])
    );
    let (of_guest, result) = ctl(&rig, &["dump", &second]);
    result.unwrap();
    assert_eq!(of_guest, pattern(3, PAGE));

    let (nothing, result) = ctl(&rig, &["dump", "4000000000"]);
    assert!(nothing.is_empty());
    let Err(CtlError::Blob { source, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(source.status(), Some(Status::UnknownBlob));
    drop(peer);
    rig.finish().unwrap();
}

#[test]
fn verify_finds_each_blob_as_coherd_says() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, RAM);
    mapped(&mut rig, 2, 1, INCOHERENT);
    let peer = rig.peer("lister").unwrap();
    let [first, second] = [1, 2].map(|id| entry(&peer, id).blob);
    let replies = entry(&peer, coherd_tests::blob_rig::REPLIES).blob;

    let (out, result) = ctl(&rig, &["verify"]);

    result.unwrap();
    let text = String::from_utf8(out).unwrap();
    for blob in [first, second] {
        assert!(
            text.contains(&format!("blob {blob}: as coherd says\n")),
            "{text}"
        );
    }
    let skipped = format!("blob {replies}: SKIPPED: it has no file of its own\n");
    assert!(text.contains(&skipped), "{text}");
    assert_eq!(peer.describe(second).unwrap().open, 0);
    drop(peer);
    rig.finish().unwrap();
}

#[test]
fn verify_does_not_call_a_blob_right_that_the_gpu_does_not_let_go_of() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, INCOHERENT);
    let blob = entry(&rig.peer("lister").unwrap(), 1).blob;
    gpu_hangs_at(&mut rig, 1);
    let (out, result) = ctl(&rig, &["verify"]);
    result.unwrap();
    let text = String::from_utf8(out).unwrap();
    let skipped = format!("blob {blob}: SKIPPED: the GPU is not done\n");
    assert!(text.contains(&skipped), "{text}");
    rig.gpu.go_on();
    rig.finish().unwrap();
}

#[test]
fn nothing_is_looked_at_where_nobody_is_let_in() {
    let other = format!("uid={}", rustix::process::geteuid().as_raw() + 1);
    let allowed = coherd::sync::AllowList::new(vec![other.parse().unwrap()]);
    let rig = SyncRig::with(allowed, coherd::serve::Options::default()).unwrap();
    let (out, result) = ctl(&rig, &["blobs"]);
    assert!(out.is_empty());
    assert!(matches!(result, Err(CtlError::Sync(_))), "{result:?}");
    assert!(rig.peer("other").is_err());
    rig.finish().unwrap();
}
