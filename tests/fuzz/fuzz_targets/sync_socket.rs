//! Peers of the sync socket.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coherd_fuzz::sync_socket::run(input));
