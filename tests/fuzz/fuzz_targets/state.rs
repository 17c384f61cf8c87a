//! The loader of saved devices.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coherd_fuzz::state::run(input));
