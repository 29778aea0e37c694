//! DATA (RFC 9260, section 3.3.1) and I-DATA (RFC 8260, section 2.1), told apart by how they are numbered.

use bytes::{BufMut, Bytes, BytesMut};

use super::{ChunkType, RawChunk};
use crate::error::DecodeError;
use crate::field::{Field, Fixed};
use crate::number::{Fsn, Mid, Ppid, Ssn, StreamId, Tsn};
use crate::reader::Reader;
use crate::tlv;

/// A fragment of a message, or a whole one. One without payload decodes too: answering it with No User Data is
/// the association's duty (RFC 9260, section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Its TSN.
    pub tsn: Tsn,
    /// The stream of the message.
    pub stream: StreamId,
    /// The number of the message within the stream; the variant is the type of the chunk.
    pub sequence: Sequence,
    /// The application's identifier. Of an I-DATA message only the first fragment carries it; 0 in the others.
    pub ppid: Ppid,
    /// The flags.
    pub flags: DataFlags,
    /// The bytes of the message.
    pub payload: Bytes,
}

/// What [`Data`] says of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHead {
    /// Its TSN.
    pub tsn: Tsn,
    /// The stream of the message.
    pub stream: StreamId,
    /// The number of the message within the stream.
    pub sequence: Sequence,
    /// The application's identifier.
    pub ppid: Ppid,
    /// The flags.
    pub flags: DataFlags,
}

/// How a message is numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// DATA. Of an unordered message the number has no meaning.
    Ssn(Ssn),
    /// I-DATA.
    Interleaved {
        /// The number of the message.
        mid: Mid,
        /// The number of the fragment; the first one, which carries the PPID instead, is 0.
        fsn: Fsn,
    },
}

/// The flags of DATA and I-DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DataFlags {
    /// I: the sender asks for a SACK at once (RFC 7053).
    pub immediate: bool,
    /// U: the message is delivered regardless of the order in its stream.
    pub unordered: bool,
    /// B: the first fragment of the message.
    pub beginning: bool,
    /// E: the last fragment of the message.
    pub ending: bool,
}

impl DataFlags {
    const IMMEDIATE: u8 = 0x08;
    const UNORDERED: u8 = 0x04;
    const BEGINNING: u8 = 0x02;
    const ENDING: u8 = 0x01;

    #[inline]
    fn from_bits(bits: u8) -> Self {
        Self {
            immediate: bits & Self::IMMEDIATE != 0,
            unordered: bits & Self::UNORDERED != 0,
            beginning: bits & Self::BEGINNING != 0,
            ending: bits & Self::ENDING != 0,
        }
    }

    pub(super) fn bits(self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        bit(self.immediate, Self::IMMEDIATE)
            | bit(self.unordered, Self::UNORDERED)
            | bit(self.beginning, Self::BEGINNING)
            | bit(self.ending, Self::ENDING)
    }
}

impl DataHead {
    /// Reads the fields of DATA that follow the chunk header.
    #[inline]
    fn from_fields(flags: u8, fields: [u8; 12]) -> Self {
        let [t0, t1, t2, t3, s0, s1, n0, n1, p0, p1, p2, p3] = fields;
        Self {
            tsn: Tsn::new(u32::from_be_bytes([t0, t1, t2, t3])),
            stream: StreamId(u16::from_be_bytes([s0, s1])),
            sequence: Sequence::Ssn(Ssn::new(u16::from_be_bytes([n0, n1]))),
            ppid: Ppid(u32::from_be_bytes([p0, p1, p2, p3])),
            flags: DataFlags::from_bits(flags),
        }
    }
}

impl Data {
    /// Bytes before the payload of a DATA chunk, chunk header included.
    pub const HEADER: usize = tlv::HEADER + 12;

    /// Bytes before the payload of an I-DATA chunk, chunk header included.
    pub const INTERLEAVED_HEADER: usize = tlv::HEADER + 16;

    /// Its fields before the payload.
    pub fn head(&self) -> DataHead {
        let &Self { tsn, stream, sequence, ppid, flags, .. } = self;
        DataHead { tsn, stream, sequence, ppid, flags }
    }

    /// Bytes before the payload, chunk header included.
    #[inline]
    pub fn header_len(&self) -> usize {
        match self.sequence {
            Sequence::Ssn(_) => Self::HEADER,
            Sequence::Interleaved { .. } => Self::INTERLEAVED_HEADER,
        }
    }

    /// How many bytes [`encode`](Self::encode) appends: a multiple of 4.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        tlv::padded(tlv::length_with(self.header_len() - tlv::HEADER + self.payload.len()))
    }

    /// Appends the chunk with its padding.
    #[inline]
    pub fn encode(&self, out: &mut BytesMut) {
        let length = Self::HEADER + self.payload.len();
        match (self.sequence, u16::try_from(length)) {
            (Sequence::Ssn(ssn), Ok(length)) => self.encode_plain(ssn, length, out),
            _ => super::write(out, self.kind(), self.flags.bits(), self),
        }
    }

    /// Of all chunks this one is written most: one append for all fields costs what each field's would.
    #[inline]
    fn encode_plain(&self, ssn: Ssn, length: u16, out: &mut BytesMut) {
        let start = out.len();
        let [l0, l1] = length.to_be_bytes();
        let [t0, t1, t2, t3] = self.tsn.value().to_be_bytes();
        let [s0, s1] = self.stream.0.to_be_bytes();
        let [n0, n1] = ssn.value().to_be_bytes();
        let [p0, p1, p2, p3] = self.ppid.0.to_be_bytes();
        let (kind, flags) = (ChunkType::DATA.0, self.flags.bits());
        out.reserve(tlv::padded(length.into()));
        out.put_slice(&[kind, flags, l0, l1, t0, t1, t2, t3, s0, s1, n0, n1, p0, p1, p2, p3]);
        out.put_slice(&self.payload);
        if !length.is_multiple_of(4) {
            tlv::pad(out, start);
        }
    }

    pub(super) fn kind(&self) -> ChunkType {
        match self.sequence {
            Sequence::Ssn(_) => ChunkType::DATA,
            Sequence::Interleaved { .. } => ChunkType::I_DATA,
        }
    }

    #[inline]
    pub(super) fn read(flags: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let DataHead { tsn, stream, sequence, ppid, flags } =
            DataHead::from_fields(flags, from.take()?);
        Ok(Self { tsn, stream, sequence, ppid, flags, payload: from.take_rest() })
    }

    pub(super) fn read_interleaved(flags: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = DataFlags::from_bits(flags);
        let tsn = Field::read(from)?;
        let stream = Field::read(from)?;
        from.skip(u16::SIZE)?;
        let mid = Field::read(from)?;
        // RFC 8260, section 2.1: the B bit says which of the two the field is.
        let (ppid, fsn) = if flags.beginning {
            (Field::read(from)?, Fsn::new(0))
        } else {
            (Ppid(0), Field::read(from)?)
        };
        let sequence = Sequence::Interleaved { mid, fsn };
        Ok(Self { tsn, stream, sequence, ppid, flags, payload: Field::read(from)? })
    }
}

impl<'a> RawChunk<'a> {
    /// Reads a DATA chunk where it lies: its fields and its payload.
    ///
    /// # Errors
    /// [`DecodeError::LengthTooSmall`] if it is too short for its fields.
    #[inline]
    pub fn read_data(&self) -> Result<(DataHead, &'a [u8]), DecodeError> {
        debug_assert_eq!(self.kind, ChunkType::DATA, "the caller looked");
        let (head, payload) = (self.bytes())
            .split_first_chunk::<{ Data::HEADER }>()
            .ok_or(DecodeError::LengthTooSmall)?;
        let &[_, _, _, _, ref fields @ ..] = head;
        Ok((DataHead::from_fields(self.flags, *fields), payload))
    }

    /// The payload of a DATA chunk, to be kept: the packet's buffer is shared.
    #[inline]
    pub fn data_payload(&self) -> Bytes {
        let mut payload = self.whole;
        payload.skip_up_to(Data::HEADER);
        payload.take_rest()
    }
}

impl super::Value for Data {
    fn encoded_len(&self) -> usize {
        self.header_len() - tlv::HEADER + self.payload.len()
    }

    fn write(&self, out: &mut BytesMut) {
        let [t0, t1, t2, t3] = self.tsn.value().to_be_bytes();
        let [s0, s1] = self.stream.0.to_be_bytes();
        match self.sequence {
            Sequence::Ssn(ssn) => {
                out.put_slice(&[t0, t1, t2, t3, s0, s1]);
                ssn.put(out);
                self.ppid.put(out);
            }
            Sequence::Interleaved { mid, fsn } => {
                out.put_slice(&[t0, t1, t2, t3, s0, s1, 0, 0]);
                mid.put(out);
                if self.flags.beginning { self.ppid.put(out) } else { fsn.put(out) }
            }
        }
        Field::write(&self.payload, out);
    }
}
