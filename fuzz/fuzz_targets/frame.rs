#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snapledger::untrusted::frame(bytes));
