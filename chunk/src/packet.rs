//! Packets: the common header, and a lazy walk over the chunks behind it.

use bytes::Bytes;

use crate::checksum::{self, Checksum};
use crate::chunk::RawChunk;
use crate::error::DecodeError;
use crate::number::VerificationTag;
use crate::reader::Reader;
use crate::tlv::Walk;

mod builder;

pub use builder::PacketBuilder;

/// Bytes in the common header.
pub(crate) const HEADER: usize = checksum::FIELD.end;

/// The common header without its checksum (RFC 9260, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommonHeader {
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// The tag that the receiver chose for this association.
    pub verification_tag: VerificationTag,
}

/// A packet that was received, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The common header.
    pub header: CommonHeader,
    bytes: &'a Bytes,
}

impl<'a> Packet<'a> {
    /// Reads the common header. Nothing behind it is judged: a packet of 12 bytes has no chunks.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer than 12 bytes.
    #[inline]
    pub fn parse(bytes: &'a Bytes) -> Result<Self, DecodeError> {
        let Some(&[s0, s1, d0, d1, t0, t1, t2, t3, ..]) = bytes.first_chunk::<HEADER>() else {
            return Err(DecodeError::Truncated);
        };
        let header = CommonHeader {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            verification_tag: VerificationTag(u32::from_be_bytes([t0, t1, t2, t3])),
        };
        Ok(Self { header, bytes })
    }

    /// Compares the checksum field with the CRC32c of the packet (RFC 9260, section 6.8). A fuzzer cannot
    /// guess checksums: under `cfg(fuzzing)` all are valid.
    pub fn checksum(&self) -> Checksum {
        if cfg!(fuzzing) { Checksum::Valid } else { checksum::verify(self.bytes) }
    }

    /// The whole packet.
    pub fn bytes(&self) -> &'a Bytes {
        self.bytes
    }

    /// The chunks in their order; after the first error there are no more.
    #[inline]
    pub fn chunks(&self) -> Chunks<'a> {
        let mut chunks = Reader::new(self.bytes);
        chunks.skip_up_to(HEADER);
        Chunks { walk: Walk::new(chunks) }
    }
}

/// The chunks of a packet, found one by one.
#[derive(Debug, Clone)]
pub struct Chunks<'a> {
    walk: Walk<'a>,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<RawChunk<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.walk.next()?.map(RawChunk::from))
    }
}

impl std::iter::FusedIterator for Chunks<'_> {}
