//! HEARTBEAT and HEARTBEAT ACK (RFC 9260, sections 3.3.5 and 3.3.6).

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;
use crate::field::Field;
use crate::param::ParameterType;
use crate::tlv::{self, Walk};

/// The value of a HEARTBEAT, and of the HEARTBEAT ACK that brings it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// What the Heartbeat Info parameter holds: the sender's own, brought back unchanged.
    pub info: Bytes,
}

/// The first parameter must be Heartbeat Info; what is behind it is ignored.
impl Field for Heartbeat {
    fn read(from: &mut Bytes) -> Result<Self, DecodeError> {
        let mut walk = Walk::new(std::mem::take(from));
        let tlv = walk.next().ok_or(DecodeError::LengthTooSmall)??;
        match ParameterType(u16::from_be_bytes(tlv.head)) {
            ParameterType::HEARTBEAT_INFO => Ok(Self { info: tlv.value }),
            other => Err(DecodeError::UnexpectedParameter { found: other.0 }),
        }
    }

    fn encoded_len(&self) -> usize {
        tlv::length_with(self.info.len())
    }

    fn write(&self, out: &mut BytesMut) {
        let head = ParameterType::HEARTBEAT_INFO.0.to_be_bytes();
        tlv::write(out, head, |out| self.info.write(out));
    }
}
