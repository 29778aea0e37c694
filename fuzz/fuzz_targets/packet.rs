//! Any bytes as a packet.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| usctp_fuzz::codec::packet(bytes));
