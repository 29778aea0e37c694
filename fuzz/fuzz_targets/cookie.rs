//! Any bytes as a script of COOKIE ECHOs: altered, cut, lengthened and made up ones.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| usctp_fuzz::cookie::script(bytes));
