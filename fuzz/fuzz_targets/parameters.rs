//! Any bytes as a list of parameters and as a list of error causes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| usctp_fuzz::codec::parameters(bytes));
