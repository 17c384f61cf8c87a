//! Requests of any bytes: decoding, and the encoding of answers.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coherd_fuzz::decode::run(input));
