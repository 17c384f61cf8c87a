//! The window's table and the rules of the mappings in it.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coherd_fuzz::window::run(input));
