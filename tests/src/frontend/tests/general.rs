//! What no VMM in particular takes.

use vhost::vhost_user::message::BackendReq;

use super::fake::{Fake, MAP, map_payload, page_file};
use crate::frontend::{Event, Flavour};

#[test]
fn configuration_may_change_while_the_device_is_stopped() {
    let fake = Fake::new(Flavour::General);
    fake.frontend.start().unwrap();
    fake.frontend.stop().unwrap();
    let mark = fake.frontend.log().mark();

    let reply = fake.request(BackendReq::CONFIG_CHANGE_MSG as u32, &[], None);

    assert_eq!(reply, 0);
    fake.await_event(mark, |event| *event == Event::ConfigChanged);
    assert_eq!(fake.frontend.fault(), None);
}

#[test]
fn maps_are_refused_while_the_device_is_stopped() {
    let fake = Fake::new(Flavour::General);
    fake.frontend.start().unwrap();
    fake.frontend.stop().unwrap();

    let reply = fake.request(MAP, &map_payload(0, 4096), Some(&page_file()));

    assert_eq!(reply, 1);
    assert_eq!(fake.frontend.fault(), None);
}
