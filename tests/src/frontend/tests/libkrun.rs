//! The order of libkrun's requests.

use vhost::vhost_user::message::FrontendReq;

use super::fake::Fake;
use crate::frontend::Flavour;

#[test]
fn owner_is_set_at_every_activation_and_no_base_is_asked_for() {
    let fake = Fake::new(Flavour::Libkrun);
    fake.frontend.start().unwrap();
    fake.frontend.reboot().unwrap();

    let requests = fake.frontend.log().requests_since(0);
    let count = |wanted| {
        requests
            .iter()
            .filter(|request| **request == wanted)
            .count()
    };
    assert_eq!(count(FrontendReq::SET_OWNER), 2);
    assert_eq!(count(FrontendReq::GET_VRING_BASE), 0);
    assert_eq!(count(FrontendReq::SET_VRING_ENABLE), 6);
    assert!(fake.frontend.window().is_none());
}
