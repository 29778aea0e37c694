//! The CRC32c of a packet (RFC 9260, section 6.8 and appendix A).

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

/// The four bytes that belong into the checksum field of this packet, whatever is in there now. A packet
/// shorter than the common header is taken as if zeros followed.
pub(crate) fn crc32c(packet: &[u8]) -> [u8; 4] {
    let before = packet.get(..FIELD.start).unwrap_or(packet);
    let after = packet.get(FIELD.end..).unwrap_or_default();
    let crc = crc32c::crc32c(before);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    // RFC 9260, appendix A: the bytes of the register go out with the least significant one first.
    crc32c::crc32c_append(crc, after).to_le_bytes()
}

/// Compares a packet's checksum field with its CRC32c.
pub(crate) fn verify(packet: &[u8]) -> Checksum {
    let field = packet.get(FIELD).unwrap_or_default();
    match crc32c(packet) {
        crc if crc == *field => Checksum::Valid,
        _ if field == [0; 4] => Checksum::Zero,
        _ => Checksum::Bad,
    }
}
