//! What each VMM is offered, and what it takes of that.

use coherd::serve::Options;
use coherd_protocol::gpu::Features;
use coherd_tests::frontend::{
    Config, Event, F_LOG_ALL, F_PROTOCOL_FEATURES, Flavour, Frontend, protocol,
};
use coherd_tests::renderer::{CAPSET, CAPSET_DATA};
use coherd_tests::rig::{Rig, Server};
use vhost::vhost_user::message::FrontendReq;

use crate::{WITH_WINDOW, rig};

const ALL: [Flavour; 3] = [Flavour::Qemu, Flavour::Crosvm, Flavour::Libkrun];

/// The number with which the daemon answered `request` first.
fn answered(frontend: &Frontend, request: FrontendReq) -> u64 {
    let payload = frontend
        .log()
        .events()
        .into_iter()
        .find_map(|event| match event {
            Event::Answered {
                request: answered,
                payload,
            } if answered == request => Some(payload),
            _ => None,
        });
    u64::from_ne_bytes(*payload.unwrap().first_chunk().unwrap())
}

fn bits(numbers: &[u32]) -> u64 {
    numbers.iter().fold(0, |mask, number| mask | 1 << number)
}

#[test]
fn protocol_bits_are_those_that_every_vmm_survives() {
    for flavour in ALL {
        let rig = Rig::new(flavour).unwrap();
        let offered = answered(&rig.frontend, FrontendReq::GET_PROTOCOL_FEATURES);
        assert_eq!(
            offered,
            bits(&[0, 3, 5, 9, 10, 13, 18, 19, 22]),
            "{offered:#x}"
        );
        rig.finish().unwrap();
    }
}

#[test]
fn each_vmm_takes_the_protocol_bits_it_knows() {
    for (flavour, taken) in [
        (Flavour::Qemu, bits(&[0, 3, 5, 9, 10, 13, 18, 19, 22])),
        (Flavour::Crosvm, bits(&[0, 3, 5, 9, 19, 22])),
        (Flavour::Libkrun, bits(&[0, 9])),
    ] {
        let rig = Rig::new(flavour).unwrap();
        assert_eq!(rig.frontend.protocol_features(), taken, "{flavour:?}");
        rig.finish().unwrap();
    }
}

#[test]
fn memory_slots_are_offered_only_on_request() {
    let options = Options {
        memory_slots: true,
        ..Options::default()
    };
    let rig = Rig::with(Config::new(Flavour::Qemu), options).unwrap();
    let taken = rig.frontend.protocol_features();
    assert_ne!(taken & protocol::CONFIGURE_MEM_SLOTS, 0);
    rig.finish().unwrap();
}

#[test]
fn dirty_log_is_offered_only_on_request() {
    for wanted in [false, true] {
        let options = Options {
            dirty_log: wanted,
            ..Options::default()
        };
        let rig = Rig::with(Config::new(Flavour::Qemu), options).unwrap();
        let protocol = rig.frontend.protocol_features() & protocol::LOG_SHMFD;
        let virtio = rig.frontend.offered_features() & F_LOG_ALL;
        assert_eq!((protocol != 0, virtio != 0), (wanted, wanted));
        rig.finish().unwrap();
    }
}

#[test]
fn virtio_bits_are_the_gpu_and_a_modern_split_ring() {
    for flavour in ALL {
        let rig = Rig::new(flavour).unwrap();
        let offered = rig.frontend.offered_features();
        let ring = bits(&[28, 29, 32]);
        assert_eq!(offered, Features::all().bits() | ring | F_PROTOCOL_FEATURES);
        rig.finish().unwrap();
    }
}

#[test]
fn window_is_one_region_with_the_id_of_host_visible_memory() {
    for flavour in WITH_WINDOW {
        let options = Options {
            window_size: 1 << 28,
            ..Options::default()
        };
        let rig = Rig::with(Config::new(flavour), options).unwrap();
        let window = rig.frontend.window().unwrap();
        assert_eq!((window.shmid(), window.size()), (1, 1 << 28));
        rig.finish().unwrap();
    }
}

#[test]
fn vmm_without_a_back_channel_gets_a_device_without_maps() {
    let mut rig = rig(Flavour::Libkrun);
    assert!(rig.frontend.window().is_none());
    let recipe = coherd_tests::renderer::Recipe::SHM;
    let blob = crate::mappable(1, recipe, crate::PAGE);
    rig.gpu.create_blob(&blob, &[]).unwrap();
    assert_eq!(crate::code(rig.gpu.map_blob(1, 0)), 0x1200);
    rig.gpu.unmap_blob(1).unwrap();
    rig.gpu.unref(1).unwrap();
    rig.finish().unwrap();
}

#[test]
fn second_claim_of_the_device_is_no_error() {
    let mut rig = rig(Flavour::Libkrun);
    for _ in 0..3 {
        rig.reboot().unwrap();
        rig.gpu.ctx_create(1, CAPSET, "again").unwrap();
    }
    let claims = rig.frontend.log().requests_since(0);
    let claims = claims
        .iter()
        .filter(|request| **request == FrontendReq::SET_OWNER);
    assert_eq!(claims.count(), 4);
    rig.finish().unwrap();
}

#[test]
fn capset_is_the_renderers() {
    let mut rig = Rig::new(Flavour::Qemu).unwrap();
    let info = rig.gpu.capset_info(0).unwrap();
    let told = (info.capset_id.get(), info.max_version.get());
    assert_eq!(told, (CAPSET, 1));
    let size = usize::try_from(info.max_size.get()).unwrap();
    assert_eq!(rig.gpu.capset(CAPSET, 1, size).unwrap(), CAPSET_DATA);
    assert_eq!(crate::code(rig.gpu.capset_info(1)), 0x1205);
    assert_eq!(crate::code(rig.gpu.capset(5, 1, 160)), 0x1205);
    rig.finish().unwrap();
}

#[test]
fn front_end_can_come_by_path_and_the_path_goes_with_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.sock");
    let host = coherd_tests::renderer::Host::new().unwrap();
    let server = Server::listen(&path, Options::default(), host.factory()).unwrap();
    let frontend = Frontend::connect(&path, Config::new(Flavour::Qemu)).unwrap();
    frontend.start().unwrap();
    drop(frontend);
    server.finish().unwrap();
    assert!(!path.exists());
}
