//! Messages whose bytes can be checked.

/// A payload protocol identifier that is assigned to nobody, so that no dissector takes the payload for its own.
pub(crate) const PPID: u32 = 1_000_003;

/// Lengths around what fits one DATA chunk and one packet over each family and transport, usrsctp's buffer of 10,240
/// bytes, and 64 KiB.
pub(crate) const LENGTHS: [usize; 17] =
    [1, 2, 3, 4, 5, 100, 1000, 1404, 1420, 1424, 1452, 1453, 2900, 10_240, 10_241, 65_535, 65_536];

/// Bytes that tell which message they belong to and where in it they stand.
pub(crate) fn pattern(number: u64, length: usize) -> Vec<u8> {
    let start = number.wrapping_mul(131);
    (0..length as u64).map(|at| (at ^ (at >> 8) ^ start ^ (start >> 8)) as u8).collect()
}
