//! What is left to be read of a value, and the received buffer that it is a part of.

use bytes::Bytes;

use crate::error::DecodeError;

/// Bytes that are read from the front. Only what is kept becomes a [`Bytes`], which shares the buffer and costs an
/// atomic operation; everything else is looked at where it is.
///
/// Other crates walk packets: without `#[inline]` each step would be a call that hands its result over in memory.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    buffer: &'a Bytes,
}

/// What is left is compared, wherever it stands.
impl PartialEq for Reader<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rest == other.rest
    }
}

impl Eq for Reader<'_> {}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(buffer: &'a Bytes) -> Self {
        Self { rest: buffer, buffer }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The first bytes, which stay where they are.
    #[inline]
    pub(crate) fn first_chunk<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.rest.first_chunk()
    }

    /// All that is left, to take fields from the front of it.
    #[inline]
    pub(crate) fn rest_mut(&mut self) -> &mut &'a [u8] {
        &mut self.rest
    }

    /// Takes the bytes of fixed fields from the front.
    #[inline]
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::LengthTooSmall)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes so many bytes from the front; `None` if there are fewer.
    #[inline]
    pub(crate) fn split_to(&mut self, len: usize) -> Option<Self> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Self { rest: taken, buffer: self.buffer })
    }

    /// Passes over so many bytes, or all if there are fewer.
    #[inline]
    pub(crate) fn skip_up_to(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// Passes over so many bytes that are reserved, whatever they are.
    #[inline]
    pub(crate) fn skip(&mut self, reserved: usize) -> Result<(), DecodeError> {
        self.split_to(reserved).map(|_| ()).ok_or(DecodeError::LengthTooSmall)
    }

    /// Takes all that is left.
    #[inline]
    pub(crate) fn take_rest(&mut self) -> Bytes {
        let rest = self.to_bytes();
        self.clear();
        rest
    }

    /// Nothing is left.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.rest = &[];
    }

    /// All that is left, as a part of the received buffer.
    #[inline]
    pub(crate) fn to_bytes(self) -> Bytes {
        self.buffer.slice_ref(self.rest)
    }

    /// All that is left.
    #[inline]
    pub(crate) fn as_slice(&self) -> &'a [u8] {
        self.rest
    }
}
