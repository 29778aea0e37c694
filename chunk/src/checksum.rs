//! The CRC32c of a packet (RFC 9260, section 6.8 and appendix A): the bytes of the register go out with the least
//! significant one first.

/// Where the checksum stands in the common header.
pub(crate) const FIELD: std::ops::Range<usize> = 8..12;

/// What the checksum field of a packet says about the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// The field is the packet's CRC32c.
    Valid,
    /// The field is 0, and the CRC32c is not: right only where RFC 9653 was agreed on.
    Zero,
    /// The field is neither.
    Bad,
}

/// The four bytes that belong into the checksum field of this packet, which holds zeros: all of it in one go.
pub(crate) fn of_blank(packet: &[u8]) -> [u8; 4] {
    debug_assert!(packet.get(FIELD).is_some_and(|field| field == [0; 4]), "it is not written yet");
    crc32c::crc32c(packet).to_le_bytes()
}

/// The same for a packet with whatever in that field. What is shorter than the common header is no packet, and has the
/// checksum of an empty one.
fn of_written(packet: &[u8]) -> [u8; 4] {
    let (header, chunks) = packet.split_first_chunk().unwrap_or((&[0; FIELD.end], &[]));
    let &[s0, s1, d0, d1, t0, t1, t2, t3, ..] = header;
    let blank = crc32c::crc32c(&[s0, s1, d0, d1, t0, t1, t2, t3, 0, 0, 0, 0]);
    crc32c::crc32c_append(blank, chunks).to_le_bytes()
}

/// Compares a packet's checksum field with its CRC32c.
pub(crate) fn verify(packet: &[u8]) -> Checksum {
    let field = packet.get(FIELD).unwrap_or_default();
    match of_written(packet) {
        crc if crc == *field => Checksum::Valid,
        _ if field == [0; 4] => Checksum::Zero,
        _ => Checksum::Bad,
    }
}
