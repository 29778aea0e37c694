//! The pcapng format (draft-ietf-opsawg-pcapng): sections of blocks, and interfaces that packets refer to.

use super::{CaptureError, Fields, Frame, Input, MAX_LEN};

/// The type of the block that begins a section; it reads the same in both byte orders.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;

const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const JOURNAL_EXPORT: u32 = 9;

const OPTION_END: u16 = 0;
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_TIME_OFFSET: u16 = 14;

/// The current section.
pub(super) struct Pcapng {
    big_endian: bool,
    interfaces: Vec<Interface>,
}

/// What an Interface Description Block says.
struct Interface {
    link_type: u16,
    snapshot_len: u32,
    /// How many units of time stamps make a second; `None` if more than can be counted.
    per_second: Option<i128>,
    /// Seconds to add to each time stamp.
    time_offset: i64,
}

impl Pcapng {
    /// Reads the first Section Header Block; its type was read already.
    pub(super) fn open(input: &mut Input) -> Result<Self, CaptureError> {
        let mut pcapng = Self { big_endian: false, interfaces: Vec::new() };
        pcapng.begin_section(input)?;
        Ok(pcapng)
    }

    pub(super) fn next_frame(&mut self, input: &mut Input) -> Result<Option<Frame>, CaptureError> {
        loop {
            let offset = input.offset;
            let Some(bytes) = input.read_or_end(4, "the type of a block")? else { return Ok(None) };
            let kind = self.fields(bytes, offset).u32()?;
            if kind == SECTION_HEADER {
                self.begin_section(input)?;
                continue;
            }
            let offset = input.offset;
            let bytes = input.read(4, "the length of a block")?;
            let len = self.fields(bytes, offset).u32()?;
            let body = self.body(input, len, 8)?;
            match kind {
                INTERFACE_DESCRIPTION => self.interfaces.push(interface(body)?),
                ENHANCED_PACKET => return self.enhanced_packet(body).map(Some),
                SIMPLE_PACKET => return self.simple_packet(body).map(Some),
                OBSOLETE_PACKET => return self.obsolete_packet(body).map(Some),
                // Other tools count an entry of a journal as a frame.
                JOURNAL_EXPORT => {
                    return Ok(Some(Frame { link_type: None, time: None, bytes: body.bytes }));
                }
                _ => {}
            }
        }
    }

    /// A section's header gives the byte order of all that follows, and forgets the interfaces.
    fn begin_section(&mut self, input: &mut Input) -> Result<(), CaptureError> {
        let offset = input.offset;
        let bytes = input.read(8, "the header of a section")?;
        let mut fields = self.fields(bytes, offset);
        fields.big_endian = true;
        let len = fields.u32()?;
        self.big_endian = match fields.u32()? {
            0x1a2b_3c4d => true,
            0x4d3c_2b1a => false,
            _ => return Err(CaptureError::Damaged { what: "a section has no byte order", offset }),
        };
        let len = if self.big_endian { len } else { len.swap_bytes() };
        self.interfaces.clear();
        self.body(input, len, 12).map(drop)
    }

    /// The rest of a block of which `read` bytes were read, without the length repeated at its end.
    fn body(&self, input: &mut Input, len: u32, read: u32) -> Result<Fields, CaptureError> {
        if len > MAX_LEN {
            return Err(input.damaged("a block is longer than 16 MiB"));
        }
        if !len.is_multiple_of(4) {
            return Err(input.damaged("the length of a block is no multiple of 4"));
        }
        let Some(rest) = len.checked_sub(read + 4) else {
            return Err(input.damaged("the length of a block is too small"));
        };
        let offset = input.offset;
        let bytes = input.read(rest as usize, "a block")?;
        let end = input.offset;
        let repeated = input.read(4, "the end of a block")?;
        if self.fields(repeated, end).u32()? != len {
            let what = "the two lengths of a block differ";
            return Err(CaptureError::Damaged { what, offset: end });
        }
        Ok(self.fields(bytes, offset))
    }

    fn fields(&self, bytes: bytes::Bytes, offset: u64) -> Fields {
        Fields { bytes, big_endian: self.big_endian, what: "a block", offset }
    }

    fn enhanced_packet(&self, mut fields: Fields) -> Result<Frame, CaptureError> {
        let index = fields.u32()?;
        self.packet(fields, index)
    }

    fn obsolete_packet(&self, mut fields: Fields) -> Result<Frame, CaptureError> {
        let index = fields.u16()?;
        fields.u16()?; // packets dropped
        self.packet(fields, index.into())
    }

    fn packet(&self, mut fields: Fields, index: u32) -> Result<Frame, CaptureError> {
        let interface = self.interface(index, &fields)?;
        let stamp = u64::from(fields.u32()?) << 32 | u64::from(fields.u32()?);
        let captured = fields.u32()?;
        fields.u32()?; // length on the wire
        let bytes = fields.take(captured as usize)?;
        let link_type = Some(interface.link_type);
        Ok(Frame { link_type, time: interface.nanoseconds(stamp), bytes })
    }

    fn simple_packet(&self, mut fields: Fields) -> Result<Frame, CaptureError> {
        let interface = self.interface(0, &fields)?;
        let on_the_wire = fields.u32()?;
        let limit = match interface.snapshot_len {
            0 => u32::MAX,
            limit => limit,
        };
        let captured = on_the_wire.min(limit) as usize;
        let bytes = fields.take(captured)?;
        Ok(Frame { link_type: Some(interface.link_type), time: None, bytes })
    }

    fn interface(&self, index: u32, fields: &Fields) -> Result<&Interface, CaptureError> {
        self.interfaces.get(index as usize).ok_or(CaptureError::Damaged {
            what: "a packet refers to an interface that was not described",
            offset: fields.offset,
        })
    }
}

impl Interface {
    fn nanoseconds(&self, stamp: u64) -> Option<i128> {
        let fraction = i128::from(stamp).checked_mul(1_000_000_000)? / self.per_second?;
        fraction.checked_add(i128::from(self.time_offset) * 1_000_000_000)
    }
}

fn interface(mut fields: Fields) -> Result<Interface, CaptureError> {
    let link_type = fields.u16()?;
    fields.u16()?; // reserved
    let snapshot_len = fields.u32()?;
    let mut interface =
        Interface { link_type, snapshot_len, per_second: Some(1_000_000), time_offset: 0 };
    while !fields.bytes.is_empty() {
        let code = fields.u16()?;
        let len = usize::from(fields.u16()?);
        let value = fields.take(len)?;
        fields.take((4 - len % 4) % 4)?;
        match (code, &*value) {
            (OPTION_END, _) => break,
            (OPTION_TIME_RESOLUTION, &[resolution]) => {
                let exponent = u32::from(resolution & 0x7f);
                let base: i128 = if resolution & 0x80 == 0 { 10 } else { 2 };
                interface.per_second = base.checked_pow(exponent);
            }
            (OPTION_TIME_OFFSET, value) => {
                let Ok(value) = <[u8; 8]>::try_from(value) else { continue };
                let read = if fields.big_endian { i64::from_be_bytes } else { i64::from_le_bytes };
                interface.time_offset = read(value);
            }
            _ => {}
        }
    }
    Ok(interface)
}
