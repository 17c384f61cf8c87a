//! Displays that are plugged in, plugged out and resized while the guest runs.

use coherd::device::display::{Mode, Outputs};
use coherd::serve::Options;
use coherd_protocol::gpu::Features;
use coherd_tests::driver::Gpu;
use coherd_tests::frontend::{Config, Event, Flavour, Stage, protocol};
use coherd_tests::interrupt::interrupt;
use coherd_tests::renderer::Recipe;
use coherd_tests::rig::{Rig, RigError};

use crate::{PAGE, WITH_WINDOW, code, mappable, until_width, with_context};

/// CONFIG_CHANGE_MSG on the back channel.
const CONFIG_CHANGE: u32 = 2;

fn mode(width: u32, height: u32) -> Mode {
    Mode::new(width, height).unwrap()
}

/// A rig with three outputs, and a display on the first.
fn three_outputs(config: Config) -> Rig {
    let options = Options {
        outputs: Outputs::new(3, &[Mode::DEFAULT]).unwrap(),
        ..Options::default()
    };
    with_context(Rig::with(config, options).unwrap())
}

/// x, width, height and whether it is enabled, of the first three outputs.
fn shown(rig: &mut Rig) -> [(u32, u32, u32, u32); 3] {
    let displays = rig.gpu.display_info().unwrap();
    assert!(displays[3..].iter().all(|one| one.enabled.get() == 0));
    [0, 1, 2].map(|index| {
        let one = &displays[index];
        let rect = &one.rect;
        let [x, width, height] = [rect.x, rect.width, rect.height].map(|number| number.get());
        (x, width, height, one.enabled.get())
    })
}

/// Waits until the guest was interrupted since `mark`.
fn interrupted(rig: &Rig, mark: usize) {
    let deadline = rig.frontend.deadline();
    let log = rig.frontend.log();
    let event = log.wait(mark, deadline, |event| *event == Event::ConfigChanged);
    assert!(event.is_some(), "guest is not interrupted");
}

/// How often the guest was interrupted since `mark`.
fn interrupts(rig: &Rig, mark: usize) -> usize {
    let events = rig.frontend.log().since(mark);
    let interrupts = events
        .iter()
        .filter(|event| **event == Event::ConfigChanged);
    interrupts.count()
}

fn display_event(rig: &Rig) -> bool {
    rig.frontend.get_config(0, 4).unwrap() == 1u32.to_le_bytes()
}

/// Waits until the daemon has taken new displays, on a machine that is stopped.
fn event_pending(rig: &Rig) {
    let deadline = rig.frontend.deadline();
    while !display_event(rig) {
        assert!(!deadline.passed(), "displays do not change");
    }
}

fn clear_event(rig: &Rig) {
    let bits = 1u32.to_le_bytes();
    rig.frontend.set_config(4, &bits).unwrap();
}

/// What Linux does with a config interrupt, after which it knows the displays.
fn follow(rig: &mut Rig) -> [(u32, u32, u32, u32); 3] {
    assert!(display_event(rig));
    let shown = shown(rig);
    clear_event(rig);
    assert!(!display_event(rig));
    shown
}

#[test]
fn display_that_is_plugged_in_resized_and_plugged_out_is_announced_each_time() {
    for flavour in WITH_WINDOW {
        let mut rig = three_outputs(Config::new(flavour));
        let none = (0, 0, 0, 0);
        for (displays, expected) in [
            (
                &[mode(1024, 768), mode(800, 600)][..],
                [(0, 1024, 768, 1), (1024, 800, 600, 1), none],
            ),
            (
                &[mode(1024, 768), mode(1920, 1080)],
                [(0, 1024, 768, 1), (1024, 1920, 1080, 1), none],
            ),
            (&[mode(1024, 768)], [(0, 1024, 768, 1), none, none]),
            (&[], [none; 3]),
        ] {
            let mark = rig.frontend.log().mark();
            rig.server.set_displays(displays).unwrap();
            interrupted(&rig, mark);
            assert_eq!(follow(&mut rig), expected, "{flavour:?}");
        }
        rig.finish().unwrap();
    }
}

#[test]
fn edid_follows_the_display() {
    let mut rig = three_outputs(Config::new(Flavour::Qemu));
    let before = rig.gpu.edid(0).unwrap();
    assert!(rig.gpu.edid(1).unwrap().is_empty());
    let mark = rig.frontend.log().mark();

    let displays = [Mode::DEFAULT, mode(7680, 4320)];
    rig.server.set_displays(&displays).unwrap();
    interrupted(&rig, mark);

    assert_eq!(rig.gpu.edid(0).unwrap(), before);
    assert_eq!(rig.gpu.edid(1).unwrap().len(), 256);
    assert_eq!(code(rig.gpu.edid(3)), 0x1205);
    rig.finish().unwrap();
}

#[test]
fn guest_without_edids_learns_of_displays_all_the_same() {
    let mut config = Config::new(Flavour::Qemu);
    config.features &= !Features::EDID.bits();
    let mut rig = three_outputs(config);
    assert_eq!(code(rig.gpu.edid(0)), 0x1200);
    let mark = rig.frontend.log().mark();
    rig.server.set_displays(&[mode(800, 600)]).unwrap();
    interrupted(&rig, mark);
    assert_eq!(follow(&mut rig)[0], (0, 800, 600, 1));
    rig.finish().unwrap();
}

#[test]
fn displays_that_were_there_already_are_not_announced() {
    let mut rig = three_outputs(Config::new(Flavour::Crosvm));
    rig.server.set_displays(&[Mode::DEFAULT]).unwrap();
    let mark = rig.frontend.log().mark();
    rig.server.set_displays(&[mode(640, 480)]).unwrap();
    interrupted(&rig, mark);
    assert_eq!(interrupts(&rig, 0), 1);
    follow(&mut rig);
    rig.finish().unwrap();
}

#[test]
fn more_displays_than_outputs_are_refused_and_the_old_ones_stay() {
    let mut rig = three_outputs(Config::new(Flavour::Qemu));
    let before = shown(&mut rig);
    let refused = rig.server.set_displays(&[Mode::DEFAULT; 4]);
    assert!(matches!(refused, Err(RigError::Displays(_))));
    assert_eq!(shown(&mut rig), before);
    rig.finish().unwrap();
}

#[test]
fn change_while_the_machine_is_stopped_is_announced_when_it_goes_on() {
    for flavour in WITH_WINDOW {
        let mut rig = three_outputs(Config::new(flavour));
        let bases = rig.frontend.stop().unwrap();
        let mark = rig.frontend.log().mark();

        rig.server.set_displays(&[mode(800, 600)]).unwrap();
        rig.server.set_displays(&[mode(640, 480)]).unwrap();
        event_pending(&rig);
        assert_eq!(interrupts(&rig, mark), 0, "{flavour:?}");
        rig.frontend.resume(&bases).unwrap();

        interrupted(&rig, mark);
        assert_eq!(follow(&mut rig)[0], (0, 640, 480, 1));
        assert_eq!(interrupts(&rig, mark), 1, "{flavour:?}");
        rig.finish().unwrap();
    }
}

#[test]
fn change_before_a_reset_is_not_announced_after_it() {
    for flavour in WITH_WINDOW {
        let mut rig = three_outputs(Config::new(flavour));
        rig.frontend.reset().unwrap();
        let mark = rig.frontend.log().mark();
        rig.server.set_displays(&[mode(800, 600)]).unwrap();
        event_pending(&rig);

        rig.frontend.start().unwrap();
        rig.gpu = Gpu::new(&rig.frontend).unwrap();

        assert_eq!(shown(&mut rig)[0], (0, 800, 600, 1));
        assert!(!display_event(&rig));
        assert_eq!(interrupts(&rig, mark), 0, "{flavour:?}");
        rig.finish().unwrap();
    }
}

/// QEMU would look at a device that is not there.
#[test]
fn announcement_that_qemu_had_not_read_when_it_stopped_is_taken_back() {
    let mut rig = three_outputs(Config::new(Flavour::Qemu));
    let gate = rig.frontend.gate(Stage::Pending);
    let mark = rig.frontend.log().mark();
    rig.server.set_displays(&[mode(800, 600)]).unwrap();

    let bases = interrupt(&rig, (Stage::Pending, gate), |frontend| {
        frontend.stop().unwrap()
    });
    let deadline = rig.frontend.deadline();
    let refused = rig.frontend.log().wait(mark, deadline, |event| {
        matches!(event, Event::Refused { .. })
    });

    assert!(refused.is_some(), "{:?}", rig.frontend.fault());
    assert_eq!(interrupts(&rig, mark), 0);
    rig.frontend.resume(&bases).unwrap();
    interrupted(&rig, mark);
    assert_eq!(follow(&mut rig)[0], (0, 800, 600, 1));
    rig.finish().unwrap();
}

#[test]
fn announcement_that_a_stop_overtakes_comes_when_the_machine_goes_on() {
    for stage in [Stage::Pending, Stage::FirstPiece, Stage::BeforeExecution] {
        for flavour in WITH_WINDOW {
            let mut rig = three_outputs(Config::new(flavour));
            let gate = rig.frontend.gate(stage);
            let mark = rig.frontend.log().mark();
            rig.server.set_displays(&[mode(800, 600)]).unwrap();

            let bases = interrupt(&rig, (stage, gate), |frontend| frontend.stop().unwrap());
            rig.frontend.resume(&bases).unwrap();

            interrupted(&rig, mark);
            assert_eq!(follow(&mut rig)[0], (0, 800, 600, 1));
            assert_eq!(interrupts(&rig, mark), 1, "{flavour:?} {stage:?}");
            rig.finish().unwrap();
        }
    }
}

#[test]
fn change_during_a_map_is_announced_after_it_and_both_succeed() {
    for flavour in WITH_WINDOW {
        let mut rig = three_outputs(Config::new(flavour));
        rig.gpu
            .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
            .unwrap();
        let gate = rig.frontend.gate(Stage::BeforeReply);
        let map = rig.gpu.send_map_blob(1, 0).unwrap();
        assert!(gate.wait_held(rig.frontend.deadline()));
        let mark = rig.frontend.log().mark();

        rig.server.set_displays(&[mode(800, 600)]).unwrap();
        rig.server.set_displays(&[mode(640, 480)]).unwrap();
        gate.open();

        let answer = rig.gpu.wait(map, rig.frontend.deadline()).unwrap();
        assert_eq!(Gpu::map_info(answer).unwrap(), 1);
        interrupted(&rig, mark);
        assert_eq!(follow(&mut rig)[0], (0, 640, 480, 1));
        assert_eq!(interrupts(&rig, mark), 1, "{flavour:?}");
        rig.finish().unwrap();
    }
}

#[test]
fn change_between_reading_and_clearing_the_event_is_not_lost() {
    for flavour in WITH_WINDOW {
        let mut rig = three_outputs(Config::new(flavour));
        let mark = rig.frontend.log().mark();
        rig.server.set_displays(&[mode(800, 600)]).unwrap();
        interrupted(&rig, mark);
        assert!(display_event(&rig));
        shown(&mut rig);

        let mark = rig.frontend.log().mark();
        rig.server.set_displays(&[mode(640, 480)]).unwrap();
        interrupted(&rig, mark);
        clear_event(&rig);

        assert_eq!(follow(&mut rig)[0], (0, 640, 480, 1), "{flavour:?}");
        rig.finish().unwrap();
    }
}

#[test]
fn vmm_that_refuses_is_asked_once_and_its_guest_sees_the_change_anyway() {
    let mut config = Config::new(Flavour::Qemu);
    config.takes_config_changes = false;
    let mut rig = three_outputs(config);
    let asked =
        |event: &Event| matches!(event, Event::Taken { request, .. } if *request == CONFIG_CHANGE);
    for width in [800, 1024] {
        rig.server.set_displays(&[mode(width, 600)]).unwrap();
        until_width(&mut rig, width);
        assert_eq!(follow(&mut rig)[0], (0, width, 600, 1));
    }
    let events = rig.frontend.log().events();
    assert_eq!(events.iter().filter(|event| asked(event)).count(), 1);
    rig.gpu
        .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
        .unwrap();
    rig.gpu.map_blob(1, 0).unwrap();
    rig.finish().unwrap();
}

#[test]
fn vmm_that_did_not_negotiate_it_is_sent_nothing() {
    for (flavour, missing) in [
        (Flavour::Libkrun, 0),
        (Flavour::Crosvm, protocol::BACKEND_REQ),
        (Flavour::Crosvm, protocol::CONFIG),
    ] {
        let mut config = Config::new(flavour);
        config.protocol_features &= !missing;
        let mut rig = three_outputs(config);
        rig.server.set_displays(&[mode(800, 600)]).unwrap();
        until_width(&mut rig, 800);
        // Without CONFIG there is no event to read either.
        if missing != protocol::CONFIG {
            assert_eq!(follow(&mut rig)[0], (0, 800, 600, 1), "{flavour:?}");
        }
        let events = rig.frontend.log().events();
        let taken = events
            .iter()
            .any(|event| matches!(event, Event::Taken { .. }));
        assert!(!taken, "{flavour:?}");
        rig.finish().unwrap();
    }
}
