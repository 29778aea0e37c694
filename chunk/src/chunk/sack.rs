//! SACK (RFC 9260, section 3.3.4).

use bytes::BytesMut;

use crate::error::DecodeError;
use crate::field::{Field, Fixed};
use crate::list::List;
use crate::number::Tsn;
use crate::reader::Reader;

/// Gap blocks in the order of the wire; nobody has checked yet whether they are sorted, disjoint or sensible.
pub type GapBlocks = List<GapBlock>;

/// TSNs that were received again, once for each time.
pub type Duplicates = List<Tsn>;

/// What the sender has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sack {
    /// All TSNs up to this one were received.
    pub cumulative_tsn: Tsn,
    /// The sender's receive window in bytes.
    pub a_rwnd: u32,
    /// What was received beyond.
    pub gaps: GapBlocks,
    /// What was received more than once since the last SACK.
    pub duplicates: Duplicates,
}

/// TSNs that were received, from `start` to `end`, both included, as offsets from the cumulative TSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapBlock {
    /// The offset of the first one.
    pub start: u16,
    /// The offset of the last one.
    pub end: u16,
}

impl Fixed for GapBlock {
    const SIZE: usize = 2 * u16::SIZE;

    #[inline]
    fn get(from: &mut &[u8]) -> Option<Self> {
        let (&[s0, s1, e0, e1], rest) = from.split_first_chunk()?;
        *from = rest;
        Some(Self { start: u16::from_be_bytes([s0, s1]), end: u16::from_be_bytes([e0, e1]) })
    }

    fn put(self, out: &mut BytesMut) {
        self.start.put(out);
        self.end.put(out);
    }
}

impl Field for Sack {
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cumulative_tsn = Field::read(from)?;
        let a_rwnd = Field::read(from)?;
        let gaps = u16::read(from)?;
        let duplicates = u16::read(from)?;
        Ok(Self {
            cumulative_tsn,
            a_rwnd,
            gaps: List::read_counted(from, usize::from(gaps))?,
            duplicates: List::read_counted(from, usize::from(duplicates))?,
        })
    }

    fn encoded_len(&self) -> usize {
        Tsn::SIZE + 2 * u32::SIZE + self.gaps.encoded_len() + self.duplicates.encoded_len()
    }

    fn write(&self, out: &mut BytesMut) {
        self.cumulative_tsn.put(out);
        self.a_rwnd.put(out);
        for count in [self.gaps.len(), self.duplicates.len()] {
            // A list with more entries than that has no room in a chunk.
            u16::try_from(count).unwrap_or(u16::MAX).put(out);
        }
        self.gaps.write(out);
        self.duplicates.write(out);
    }
}
