//! Packets are written here, chunk by chunk, behind whatever the caller's buffer holds already.

use bytes::{BufMut, BytesMut};

use super::{CommonHeader, HEADER};
use crate::checksum;
use crate::chunk::{Chunk, ChunkType, Data, GapBlock};
use crate::field::Fixed;
use crate::number::Tsn;
use crate::tlv;

/// No packet is longer: IP's own length field has 16 bits.
const GREATEST: usize = u16::MAX as usize;

/// Appends one packet to a caller's buffer.
///
/// The packet is there as soon as the builder is; `finish` completes it, `cancel` takes it back.
#[derive(Debug)]
#[must_use = "a packet without `finish` has no checksum"]
pub struct PacketBuilder<'a> {
    out: &'a mut BytesMut,
    start: usize,
    limit: usize,
}

impl<'a> PacketBuilder<'a> {
    /// Begins a packet that is to have at most `limit` bytes, common header included; at most 65,535.
    pub fn new(out: &'a mut BytesMut, header: CommonHeader, limit: usize) -> Self {
        let start = out.len();
        let [s0, s1] = header.source_port.to_be_bytes();
        let [d0, d1] = header.destination_port.to_be_bytes();
        let [t0, t1, t2, t3] = header.verification_tag.0.to_be_bytes();
        // One append costs what each would: the field of the checksum is the last.
        out.put_slice(&[s0, s1, d0, d1, t0, t1, t2, t3, 0, 0, 0, 0]);
        Self { out, start, limit: limit.min(GREATEST) }
    }

    /// How many bytes further chunks may take, with padding: a multiple of 4.
    pub fn remaining(&self) -> usize {
        self.limit.saturating_sub(self.len()) & !3
    }

    /// The length of the packet so far in bytes, common header included.
    pub fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Whether there is no chunk yet.
    pub fn is_empty(&self) -> bool {
        self.len() == HEADER
    }

    /// Appends a chunk. `false`, and nothing is written, if it does not fit.
    pub fn push(&mut self, chunk: &Chunk) -> bool {
        let fits = chunk.encoded_len() <= self.remaining();
        if fits {
            chunk.encode(self.out);
        }
        fits
    }

    /// Appends a DATA or I-DATA chunk. `false`, and nothing is written, if it does not fit.
    #[inline]
    pub fn push_data(&mut self, data: &Data) -> bool {
        let fits = data.encoded_len() <= self.remaining();
        if fits {
            data.encode(self.out);
        }
        fits
    }

    /// Appends a PAD chunk with so many bytes of zeros (RFC 4820). `false`, and nothing is written, if it does not fit.
    pub fn push_padding(&mut self, len: usize) -> bool {
        let fits = tlv::padded(tlv::length_with(len)) <= self.remaining();
        if fits {
            let start = self.out.len();
            tlv::write(self.out, [ChunkType::PAD.0, 0], |out| out.put_bytes(0, len));
            tlv::pad(self.out, start);
        }
        fits
    }

    /// Appends a SACK with as many gap blocks, and then as many duplicates, as fit. `false`, and nothing is
    /// written, if not even a SACK without any fits.
    pub fn push_sack<G, D>(
        &mut self,
        cumulative_tsn: Tsn,
        a_rwnd: u32,
        gaps: G,
        duplicates: D,
    ) -> bool
    where
        G: IntoIterator<Item = GapBlock>,
        D: IntoIterator<Item = Tsn>,
    {
        const FIXED: usize = tlv::HEADER + 12;
        let Some(room) = self.remaining().checked_sub(FIXED) else {
            return false;
        };
        tlv::write(self.out, [ChunkType::SACK.0, 0], |out| {
            cumulative_tsn.put(out);
            a_rwnd.put(out);
            let counts = out.len();
            out.put_u32(0);
            let gap_count = put_up_to(room / GapBlock::SIZE, gaps, out);
            let room = room - usize::from(gap_count) * GapBlock::SIZE;
            let duplicate_count = put_up_to(room / Tsn::SIZE, duplicates, out);
            if let Some([gaps @ .., d0, d1]) = out.get_mut(counts..counts + 4) {
                gaps.copy_from_slice(&gap_count.to_be_bytes());
                [*d0, *d1] = duplicate_count.to_be_bytes();
            }
        });
        true
    }

    /// Writes the CRC32c and returns the packet's length in bytes.
    pub fn finish(self) -> usize {
        // The header is behind `start` since `new`, and the buffer was borrowed ever since.
        if let Some(packet) = self.out.get_mut(self.start..) {
            let crc = checksum::of_blank(packet);
            if let Some(field) = packet.get_mut(checksum::FIELD) {
                field.copy_from_slice(&crc);
            }
        }
        self.len()
    }

    /// Leaves the checksum zero (RFC 9653) and returns the packet's length in bytes.
    pub fn finish_without_checksum(self) -> usize {
        self.len()
    }

    /// Takes back everything that was appended.
    pub fn cancel(self) {
        self.out.truncate(self.start);
    }
}

/// Appends the first entries, `limit` at most, and returns how many there were.
fn put_up_to<T: Fixed>(
    limit: usize,
    entries: impl IntoIterator<Item = T>,
    out: &mut BytesMut,
) -> u16 {
    let limit = u16::try_from(limit).unwrap_or(u16::MAX);
    let mut count = 0;
    for (entry, after) in entries.into_iter().zip(1..=limit) {
        entry.put(out);
        count = after;
    }
    count
}
