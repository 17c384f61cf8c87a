//! A guest against the whole device, behind real queues.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coherd_fuzz::device::run(input));
