//! What parameters and error causes have in common: a list of them, one of them undecoded, and the macro that
//! makes types, names, decoding and encoding out of one table.

use std::fmt;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;
use crate::field::Field;
use crate::reader::Reader;
use crate::tlv::{self, Tlv, Walk};

/// A type number: [`ParameterType`](crate::ParameterType) or [`CauseCode`](crate::CauseCode).
pub trait Kind: Copy + fmt::Debug {
    /// What has such numbers.
    type Value: Decoded<Kind = Self>;
    /// The type of this number.
    fn from_number(number: u16) -> Self;
    /// The name the RFCs give to it.
    fn name(self) -> Option<&'static str>;
}

/// What a type-length-value triple decodes to: [`Parameter`](crate::Parameter) or [`Cause`](crate::Cause).
pub trait Decoded: Sized {
    /// Its type numbers.
    type Kind: Kind<Value = Self>;
    /// Decodes one triple: its type and its value.
    fn read(kind: Self::Kind, value: Reader<'_>) -> Result<Self, DecodeError>;
    /// Appends the triple without padding.
    fn write_tlv(&self, out: &mut BytesMut);
}

/// A parameter or error cause that was found, but not decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a, K> {
    /// What it claims to be.
    pub kind: K,
    whole: Reader<'a>,
}

impl<'a, K: Kind> Raw<'a, K> {
    /// What follows its header.
    pub fn value(&self) -> &'a [u8] {
        tlv::value_of(self.whole).as_slice()
    }

    /// All of it without padding.
    pub fn bytes(&self) -> &'a [u8] {
        self.whole.as_slice()
    }

    /// All of it without padding, to be kept: the buffer of the list is shared.
    pub fn to_bytes(&self) -> Bytes {
        self.whole.to_bytes()
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// A [`DecodeError`] if the value does not have the format of its type. A type that is not known has none.
    pub fn decode(&self) -> Result<K::Value, DecodeError> {
        K::Value::read(self.kind, tlv::value_of(self.whole))
    }
}

impl<'a, K: Kind> From<Tlv<'a>> for Raw<'a, K> {
    fn from(tlv: Tlv<'a>) -> Self {
        Self { kind: K::from_number(tlv.number()), whole: tlv.whole }
    }
}

impl<K: Kind> fmt::Debug for Raw<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes are the kind and the value once more.
        f.debug_struct("Raw").field("kind", &self.kind).field("value", &self.value()).finish()
    }
}

/// Parameters or error causes, one behind the other, kept as the bytes they arrived in. Two lists are equal if
/// their bytes are.
#[derive(Clone, PartialEq, Eq)]
pub struct TlvList<T> {
    bytes: Bytes,
    item: PhantomData<fn() -> T>,
}

impl<T: Decoded> TlvList<T> {
    /// The list that these bytes are. They may be anything: iterating shows whether they are well-formed.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { bytes, item: PhantomData }
    }

    /// The list as it is on the wire; padding of the last item may or may not be included.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The items, decoded one by one. After the first error, be it in the list or within an item, there are no
    /// more; [`raw_iter`](Self::raw_iter) gets past the latter.
    pub fn iter(&self) -> Tlvs<'_, T> {
        Tlvs { walk: self.walk(), item: PhantomData }
    }

    /// The items, found but not decoded. After the first error there are no more.
    pub fn raw_iter(&self) -> RawTlvs<'_, T::Kind> {
        RawTlvs { walk: self.walk(), kind: PhantomData }
    }

    fn walk(&self) -> Walk<'_> {
        Walk::new(Reader::new(&self.bytes))
    }
}

impl<T> Default for TlvList<T> {
    fn default() -> Self {
        Self { bytes: Bytes::new(), item: PhantomData }
    }
}

/// Names and lengths only: values may nest lists in lists as deep as their bytes allow.
impl<T: Decoded> fmt::Debug for TlvList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = self.raw_iter().map(|raw| raw.map(|raw| (raw.kind, raw.value().len())));
        f.debug_list().entries(items).finish()
    }
}

/// Padding goes between the items, not behind the last one: that is the padding of the chunk (RFC 9260, section 3.2).
impl<T: Decoded> FromIterator<T> for TlvList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut bytes = BytesMut::new();
        for item in items {
            tlv::pad(&mut bytes, 0);
            item.write_tlv(&mut bytes);
        }
        Self::from_bytes(bytes.freeze())
    }
}

impl<'a, T: Decoded> IntoIterator for &'a TlvList<T> {
    type Item = Result<T, DecodeError>;
    type IntoIter = Tlvs<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The rest of a value.
impl<T: Decoded> Field for TlvList<T> {
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Bytes::read(from).map(Self::from_bytes)
    }

    fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    fn write(&self, out: &mut BytesMut) {
        self.bytes.write(out);
    }
}

/// The decoded items of a [`TlvList`].
#[derive(Debug, Clone)]
pub struct Tlvs<'a, T> {
    walk: Walk<'a>,
    item: PhantomData<fn() -> T>,
}

impl<T: Decoded> Iterator for Tlvs<'_, T> {
    type Item = Result<T, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let tlv = match self.walk.next()? {
            Ok(tlv) => tlv,
            Err(error) => return Some(Err(error)),
        };
        let item = T::read(T::Kind::from_number(tlv.number()), tlv.value());
        if item.is_err() {
            self.walk.end();
        }
        Some(item)
    }
}

impl<T: Decoded> std::iter::FusedIterator for Tlvs<'_, T> {}

/// The undecoded items of a [`TlvList`].
#[derive(Debug, Clone)]
pub struct RawTlvs<'a, K> {
    walk: Walk<'a>,
    kind: PhantomData<fn() -> K>,
}

impl<'a, K: Kind> Iterator for RawTlvs<'a, K> {
    type Item = Result<Raw<'a, K>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.walk.next()?.map(Raw::from))
    }
}

impl<K: Kind> std::iter::FusedIterator for RawTlvs<'_, K> {}

/// Makes a type of numbers and an enum of values out of one table. A line of it says
/// `CONSTANT = number, "name", Variant(field: Type)`, or `{ field: Type, … }`, or nothing behind the variant,
/// and `+ n` where n reserved bytes follow. Fields stand in the order of the wire.
macro_rules! tlv_table {
    (
        $(#[$kind_meta:meta])* kind $kind:ident;
        $(#[$value_meta:meta])* value $value:ident, $accessor:ident;
        $(
            $(#[$meta:meta])*
            $constant:ident = $number:literal, $name:literal, $variant:ident
            $(( $inner:ident: $inner_type:ty ))?
            $({ $( $(#[$field_meta:meta])* $field:ident: $field_type:ty ),* })?
            $(+ $reserved:literal)?;
        )*
    ) => {
        $(#[$kind_meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $kind(pub u16);

        impl $kind {
            $(
                #[doc = $name]
                pub const $constant: Self = Self($number);
            )*

            /// The name that the RFCs give to this type; `None` if none defines it.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }
        }

        /// The name and the number: `No User Data (9)`, or `unknown (99)`.
        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} ({})", self.name().unwrap_or("unknown"), self.0)
            }
        }

        impl $crate::table::Kind for $kind {
            type Value = $value;

            fn from_number(number: u16) -> Self {
                Self(number)
            }

            fn name(self) -> Option<&'static str> {
                self.name()
            }
        }

        $(#[$value_meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $value {
            $(
                $(#[$meta])*
                $variant $(($inner_type))? $({ $( $(#[$field_meta])* $field: $field_type ),* })?,
            )*
            /// One that no RFC known here defines.
            Unknown {
                /// Its type number.
                kind: $kind,
                /// What follows its header.
                value: bytes::Bytes,
            },
        }

        impl $value {
            /// Its type number.
            pub fn $accessor(&self) -> $kind {
                match self {
                    $(Self::$variant { .. } => $kind::$constant,)*
                    Self::Unknown { kind, .. } => *kind,
                }
            }

            fn write_value(&self, out: &mut bytes::BytesMut) {
                use $crate::field::{Field, reserve};
                match self {
                    $(
                        Self::$variant { $(0: $inner)? $($($field),*)? } => {
                            $(Field::write($inner, out);)?
                            $($(Field::write($field, out);)*)?
                            $(reserve(out, $reserved);)?
                        }
                    )*
                    Self::Unknown { value, .. } => Field::write(value, out),
                }
            }
        }

        impl $crate::table::Decoded for $value {
            type Kind = $kind;

            fn read(
                kind: $kind,
                mut value: $crate::reader::Reader<'_>,
            ) -> Result<Self, $crate::DecodeError> {
                use $crate::field::Field;
                let from = &mut value;
                Ok(match kind {
                    $(
                        $kind::$constant => {
                            let decoded = Self::$variant {
                                $(0: <$inner_type as Field>::read(from)?)?
                                $($($field: <$field_type as Field>::read(from)?),*)?
                            };
                            $(from.skip($reserved)?;)?
                            decoded
                        }
                    )*
                    _ => Self::Unknown { kind, value: from.take_rest() },
                })
            }

            fn write_tlv(&self, out: &mut bytes::BytesMut) {
                $crate::tlv::write(out, self.$accessor().0.to_be_bytes(), |out| self.write_value(out));
            }
        }
    };
}
pub(crate) use tlv_table;
