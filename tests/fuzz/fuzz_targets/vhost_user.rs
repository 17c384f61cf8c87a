//! A front-end against the handler of its requests.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coherd_fuzz::vhost_user::run(input));
