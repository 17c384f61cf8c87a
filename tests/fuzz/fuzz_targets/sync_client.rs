//! A server of the sync protocol that answers anything.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coherd_fuzz::sync_client::run(input));
