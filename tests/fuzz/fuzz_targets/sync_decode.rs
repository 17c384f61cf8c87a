//! Messages of the sync protocol, of any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coherd_fuzz::sync_decode::run(input));
