//! What RE-CONFIG's responses hold (RFC 6525, section 4.4).

use bytes::BytesMut;

use crate::error::DecodeError;
use crate::field::{Field, fields, fixed};
use crate::number::Tsn;
use crate::reader::Reader;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReConfigResult(pub u32);

impl ReConfigResult {
    /// Success, there was nothing to do.
    pub const NOTHING_TO_DO: Self = Self(0);
    /// Success, it was performed.
    pub const PERFORMED: Self = Self(1);
    /// It was denied.
    pub const DENIED: Self = Self(2);
    /// An SSN was wrong.
    pub const WRONG_SSN: Self = Self(3);
    /// Another request was already in progress.
    pub const ALREADY_IN_PROGRESS: Self = Self(4);
    /// The number of the request was not the next one.
    pub const BAD_SEQUENCE_NUMBER: Self = Self(5);
    /// It is in progress: the sender of the request is to ask again.
    pub const IN_PROGRESS: Self = Self(6);
}

fixed! {
    ReConfigResult, u32, ReConfigResult, |result: ReConfigResult| result.0;
}

/// Where both sides go on after an SSN/TSN reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextTsns {
    /// The next TSN that the sender of the response will use.
    pub sender: Tsn,
    /// The next TSN that the receiver of the response is to use.
    pub receiver: Tsn,
}

fields!(NextTsns { sender, receiver });

/// Both TSNs are there, or none (RFC 6525, section 4.4).
impl Field for Option<NextTsns> {
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if from.is_empty() { Ok(None) } else { NextTsns::read(from).map(Some) }
    }

    fn encoded_len(&self) -> usize {
        self.as_ref().map_or(0, Field::encoded_len)
    }

    fn write(&self, out: &mut BytesMut) {
        if let Some(next) = self {
            next.write(out);
        }
    }
}
