//! The pcap format (draft-ietf-opsawg-pcap): a file header, then records.

use super::{CaptureError, Fields, Frame, Input, MAX_LEN};

/// What the file header says about the records.
pub(super) struct Pcap {
    big_endian: bool,
    nanoseconds: bool,
    link_type: u16,
}

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

impl Pcap {
    /// Reads the rest of the file header.
    pub(super) fn open(magic: [u8; 4], input: &mut Input) -> Result<Self, CaptureError> {
        let (big_endian, nanoseconds) = match (u32::from_be_bytes(magic), u32::from_le_bytes(magic))
        {
            (MICROSECONDS, _) => (true, false),
            (NANOSECONDS, _) => (true, true),
            (_, MICROSECONDS) => (false, false),
            (_, NANOSECONDS) => (false, true),
            _ => return Err(CaptureError::UnknownFormat(magic)),
        };
        let what = "the file header";
        let offset = input.offset;
        let bytes = input.read(20, what)?;
        let mut fields = Fields { bytes, big_endian, what, offset };
        fields.take(16)?; // versions, time zone, accuracy, snapshot length
        // The upper bits tell of a frame check sequence, which the lengths of IP leave out anyway.
        let link_type = (fields.u32()? & 0xffff) as u16;
        Ok(Self { big_endian, nanoseconds, link_type })
    }

    pub(super) fn next_frame(&mut self, input: &mut Input) -> Result<Option<Frame>, CaptureError> {
        let what = "the header of a record";
        let offset = input.offset;
        let Some(bytes) = input.read_or_end(16, what)? else { return Ok(None) };
        let mut fields = Fields { bytes, big_endian: self.big_endian, what, offset };
        let seconds = i128::from(fields.u32()?);
        let fraction = i128::from(fields.u32()?);
        let captured = fields.u32()?;
        if captured > MAX_LEN {
            return Err(CaptureError::Damaged { what: "a record is longer than 16 MiB", offset });
        }
        let bytes = input.read(captured as usize, "a record")?;
        let unit = if self.nanoseconds { 1 } else { 1_000 };
        let time = Some(seconds * 1_000_000_000 + fraction * unit);
        Ok(Some(Frame { link_type: Some(self.link_type), time, bytes }))
    }
}
