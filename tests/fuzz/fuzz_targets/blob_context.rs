//! Contexts of capset 28, their streams, and a GPU made of files that fails now and then.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coherd_fuzz::blob_context::run(input));
