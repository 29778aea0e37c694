//! How the fields inside of chunks, parameters and error causes are read and written, each kind of field once.
//!
//! Two rules hold for all values: one that is shorter than its fixed part is an error
//! ([`DecodeError::LengthTooSmall`]); what is behind the last field of a format that has no variable part is
//! ignored, so such bytes decode, but are not well-formed: encoding what was decoded leaves them out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::number::{Fsn, Mid, Ppid, Ssn, StreamId, Tsn, VerificationTag};
use crate::reader::Reader;
use crate::table::Decoded;

/// Something that stands inside of a value, of fixed or variable length.
pub(crate) trait Field: Sized {
    /// Takes the field from the front of what is left of a value.
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// How many bytes `write` appends.
    fn encoded_len(&self) -> usize;
    /// Appends the field.
    fn write(&self, out: &mut BytesMut);
}

/// A field whose length is always the same, so that it can be an entry of a [`List`](crate::List).
pub trait Fixed: Copy {
    /// Its length in bytes.
    const SIZE: usize;
    /// Takes the field from the front; `None` if fewer than `SIZE` bytes are there.
    fn get(from: &mut &[u8]) -> Option<Self>;
    /// Appends the field.
    fn put(self, out: &mut BytesMut);
}

impl<T: Fixed> Field for T {
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::get(from.rest_mut()).ok_or(DecodeError::LengthTooSmall)
    }

    fn encoded_len(&self) -> usize {
        T::SIZE
    }

    fn write(&self, out: &mut BytesMut) {
        self.put(out);
    }
}

/// Nothing, where a format has no value.
impl Field for () {
    fn read(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn write(&self, _: &mut BytesMut) {}
}

/// All that is left of the value.
impl Field for Bytes {
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(from.take_rest())
    }

    fn encoded_len(&self) -> usize {
        self.len()
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_slice(self);
    }
}

/// Implements [`Fixed`] for what is made of one number.
macro_rules! fixed {
    ($($type:ty, $number:ty, $new:expr, $value:expr;)*) => {$(
        impl $crate::field::Fixed for $type {
            const SIZE: usize = size_of::<$number>();

            // Callers walk lists in other crates.
            #[inline]
            fn get(from: &mut &[u8]) -> Option<Self> {
                let (number, rest) = from.split_first_chunk()?;
                *from = rest;
                Some($new(<$number>::from_be_bytes(*number)))
            }

            fn put(self, out: &mut bytes::BytesMut) {
                let number: $number = $value(self);
                bytes::BufMut::put_slice(out, &number.to_be_bytes());
            }
        }
    )*};
}
pub(crate) use fixed;

fixed! {
    u16, u16, |n| n, |n| n;
    u32, u32, |n| n, |n| n;
    Tsn, u32, Tsn::new, Tsn::value;
    Ssn, u16, Ssn::new, Ssn::value;
    Mid, u32, Mid::new, Mid::value;
    Fsn, u32, Fsn::new, Fsn::value;
    StreamId, u16, StreamId, |id: StreamId| id.0;
    Ppid, u32, Ppid, |id: Ppid| id.0;
    VerificationTag, u32, VerificationTag, |tag: VerificationTag| tag.0;
    Ipv4Addr, u32, Ipv4Addr::from_bits, Ipv4Addr::to_bits;
    Ipv6Addr, u128, Ipv6Addr::from_bits, Ipv6Addr::to_bits;
}

/// An IPv4 or IPv6 Address parameter inside of another value (RFC 5061, section 4.2).
impl Field for IpAddr {
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        crate::param::read_address(from)
    }

    fn encoded_len(&self) -> usize {
        match self {
            IpAddr::V4(_) => crate::tlv::length_with(Ipv4Addr::SIZE),
            IpAddr::V6(_) => crate::tlv::length_with(Ipv6Addr::SIZE),
        }
    }

    fn write(&self, out: &mut BytesMut) {
        crate::param::Parameter::from_ip(*self).write_tlv(out);
    }
}

/// Appends reserved bytes.
pub(crate) fn reserve(out: &mut BytesMut, reserved: usize) {
    out.put_bytes(0, reserved);
}

/// Implements [`Field`] for a struct that is its fields, one behind the other.
macro_rules! fields {
    ($name:ident { $($field:ident),* }) => {
        impl $crate::field::Field for $name {
            fn read(from: &mut $crate::reader::Reader<'_>) -> Result<Self, $crate::error::DecodeError> {
                // A struct expression evaluates its fields in the order in which they are written.
                Ok(Self { $($field: $crate::field::Field::read(from)?),* })
            }

            fn encoded_len(&self) -> usize {
                [$($crate::field::Field::encoded_len(&self.$field)),*].iter().sum()
            }

            fn write(&self, out: &mut bytes::BytesMut) {
                $($crate::field::Field::write(&self.$field, out);)*
            }
        }
    };
}
pub(crate) use fields;
