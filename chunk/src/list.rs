//! Lists of entries of one size, kept as the bytes they arrived in.

use std::fmt;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;
use crate::field::{Field, Fixed};
use crate::reader::Reader;

/// Entries of one size, one behind the other: gap blocks, streams, address types. Two lists are equal if their
/// bytes are.
#[derive(Clone, PartialEq, Eq)]
pub struct List<T> {
    bytes: Bytes,
    entry: PhantomData<fn() -> T>,
}

impl<T: Fixed> List<T> {
    /// Takes the first `count` entries from the front of a value.
    pub(crate) fn read_counted(from: &mut Reader<'_>, count: usize) -> Result<Self, DecodeError> {
        let length = count.checked_mul(T::SIZE).ok_or(DecodeError::BadCount)?;
        let entries = from.split_to(length).ok_or(DecodeError::BadCount)?;
        Ok(Self { bytes: entries.to_bytes(), entry: PhantomData })
    }

    /// The entries in their order on the wire.
    pub fn iter(&self) -> Entries<'_, T> {
        Entries { rest: &self.bytes, entry: PhantomData }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / T::SIZE
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The entries of a [`List`].
#[derive(Debug, Clone)]
pub struct Entries<'a, T> {
    rest: &'a [u8],
    entry: PhantomData<fn() -> T>,
}

impl<T: Fixed> Iterator for Entries<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        T::get(&mut self.rest)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rest.len() / T::SIZE;
        (left, Some(left))
    }
}

impl<T: Fixed> ExactSizeIterator for Entries<'_, T> {}
impl<T: Fixed> std::iter::FusedIterator for Entries<'_, T> {}

impl<'a, T: Fixed> IntoIterator for &'a List<T> {
    type Item = T;
    type IntoIter = Entries<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Fixed> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut bytes = BytesMut::new();
        for entry in entries {
            entry.put(&mut bytes);
        }
        Self { bytes: bytes.freeze(), entry: PhantomData }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { bytes: Bytes::new(), entry: PhantomData }
    }
}

impl<T: Fixed + fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The rest of a value; it must end with a whole entry.
impl<T: Fixed> Field for List<T> {
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if !from.len().is_multiple_of(T::SIZE) {
            return Err(DecodeError::BadCount);
        }
        Self::read_counted(from, from.len() / T::SIZE)
    }

    fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    fn write(&self, out: &mut BytesMut) {
        self.bytes.write(out);
    }
}
