//! HEARTBEAT and HEARTBEAT ACK (RFC 9260, sections 3.3.5 and 3.3.6).

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::field::Field;
use crate::param::{ParameterType, Parameters};
use crate::reader::Reader;
use crate::tlv;

/// The value of a HEARTBEAT, and of the HEARTBEAT ACK that brings it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// What the Heartbeat Info parameter holds: the sender's own, brought back unchanged.
    pub info: Bytes,
    /// Whatever stands behind it, which comes back unchanged as well (RFC 9260, section 8.3).
    pub others: Parameters,
}

impl Heartbeat {
    /// One that holds the Heartbeat Info and nothing else.
    pub fn new(info: Bytes) -> Self {
        Self { info, others: Parameters::default() }
    }
}

/// The first parameter must be Heartbeat Info; what is behind it is kept and not looked at.
impl Field for Heartbeat {
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if from.is_empty() {
            return Err(DecodeError::LengthTooSmall);
        }
        let info = tlv::read(from)?;
        match ParameterType(info.number()) {
            ParameterType::HEARTBEAT_INFO => {
                Ok(Self { info: info.value().to_bytes(), others: Parameters::read(from)? })
            }
            other => Err(DecodeError::UnexpectedParameter { found: other.0 }),
        }
    }

    fn encoded_len(&self) -> usize {
        let info = tlv::length_with(self.info.len());
        if self.others.is_empty() {
            info
        } else {
            info.next_multiple_of(4) + self.others.as_bytes().len()
        }
    }

    fn write(&self, out: &mut BytesMut) {
        let head = ParameterType::HEARTBEAT_INFO.0.to_be_bytes();
        tlv::write(out, head, |out| self.info.write(out));
        if !self.others.is_empty() {
            let padding = self.info.len().next_multiple_of(4) - self.info.len();
            out.put_bytes(0, padding);
            out.extend_from_slice(self.others.as_bytes());
        }
    }
}
