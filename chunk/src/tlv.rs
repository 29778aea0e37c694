//! The one walk over type-length-value triples; chunks, parameters and error causes all go through it.
//!
//! The rules (RFC 9260, sections 3.2 and 3.2.1), for every container alike:
//! - less than a header (4 bytes) left at the end of the container is an error ([`DecodeError::Truncated`]);
//! - a length of less than 4 is an error ([`DecodeError::LengthTooSmall`]);
//! - a length beyond the container is an error ([`DecodeError::LengthTooLarge`]);
//! - missing or partial padding of the last triple is accepted: whether a container's length counts the padding
//!   of its last parameter is not the same for all senders, and the RFC asks to accept both;
//! - padding bytes are not looked at;
//! - after an error the walk ends. Each step consumes 4 bytes at least, and nothing recurses.
//!
//! Written the other way round: a length that 16 bits cannot say does not exist on the wire, so a value that is
//! longer than 65,531 bytes is cut to that. Only opaque values come near it (a chunk of 64 KiB quoted in an
//! error cause), and no packet has room for them.

use bytes::{BufMut, BytesMut};

use crate::error::DecodeError;
use crate::reader::Reader;

/// Bytes in the header of a chunk, parameter or error cause.
pub(crate) const HEADER: usize = 4;

/// The greatest length that a length field can say.
const GREATEST: usize = u16::MAX as usize;

/// One type-length-value triple.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tlv<'a> {
    /// The two bytes before the length: chunk type and flags, or the type of a parameter or cause.
    pub(crate) head: [u8; 2],
    /// Header and value without padding.
    pub(crate) whole: Reader<'a>,
}

impl<'a> Tlv<'a> {
    /// The type of a parameter or cause.
    #[inline]
    pub(crate) fn number(&self) -> u16 {
        u16::from_be_bytes(self.head)
    }

    /// What follows the header.
    #[inline]
    pub(crate) fn value(&self) -> Reader<'a> {
        value_of(self.whole)
    }
}

/// What follows the header of a whole triple.
#[inline]
pub(crate) fn value_of(mut whole: Reader<'_>) -> Reader<'_> {
    whole.skip_up_to(HEADER);
    whole
}

/// The walk over the triples of a container.
#[derive(Debug, Clone)]
pub(crate) struct Walk<'a> {
    rest: Reader<'a>,
}

impl<'a> Walk<'a> {
    #[inline]
    pub(crate) fn new(container: Reader<'a>) -> Self {
        Self { rest: container }
    }

    /// Nothing more is found.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.rest.clear();
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<Tlv<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() { None } else { Some(read(&mut self.rest)) }
    }
}

impl std::iter::FusedIterator for Walk<'_> {}

/// Takes a triple with its padding from the front of a container, or all that is left if that is none.
#[inline]
pub(crate) fn read<'a>(from: &mut Reader<'a>) -> Result<Tlv<'a>, DecodeError> {
    let mut rest = *from;
    from.clear();
    let Some(&[first, second, high, low]) = rest.first_chunk() else {
        return Err(DecodeError::Truncated);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < HEADER {
        return Err(DecodeError::LengthTooSmall);
    }
    let whole = rest.split_to(length).ok_or(DecodeError::LengthTooLarge)?;
    rest.skip_up_to(padded(length) - length);
    *from = rest;
    Ok(Tlv { head: [first, second], whole })
}

/// A length with its padding: the next multiple of 4.
#[inline]
pub(crate) const fn padded(length: usize) -> usize {
    // Each chunk asks for it several times, and `next_multiple_of` would look first whether something is over.
    (length + 3) & !3
}

/// The length of a triple with a value of this length, without padding.
#[inline]
pub(crate) fn length_with(value: usize) -> usize {
    value.saturating_add(HEADER).min(GREATEST)
}

/// Appends a triple without padding.
pub(crate) fn write(out: &mut BytesMut, head: [u8; 2], value: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_slice(&header(head, 0));
    value(out);
    out.truncate(start + GREATEST);
    let header = header(head, out.len() - start);
    if let Some(place) = out.get_mut(start..start + HEADER) {
        place.copy_from_slice(&header);
    }
}

/// The header of a triple of this length, which is at most the greatest.
pub(crate) fn header([first, second]: [u8; 2], length: usize) -> [u8; HEADER] {
    debug_assert!(length <= GREATEST, "a length is cut before it is written");
    let [high, low] = (length as u16).to_be_bytes();
    [first, second, high, low]
}

/// Appends the zero bytes that make what begins at `start` a multiple of 4 long.
pub(crate) fn pad(out: &mut BytesMut, start: usize) {
    let length = out.len() - start;
    if let Some(padding) = [0; 3].get(..padded(length) - length) {
        out.put_slice(padding);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn walked(bytes: &'static [u8]) -> Vec<Result<Bytes, DecodeError>> {
        let container = Bytes::from_static(bytes);
        let walk = Walk::new(Reader::new(&container));
        walk.map(|tlv| tlv.map(|tlv| tlv.value().to_bytes())).collect()
    }

    #[test]
    fn triples_follow_each_other_behind_their_padding() {
        let values = walked(&[0, 1, 0, 5, 9, 0xee, 0xee, 0xee, 0, 2, 0, 4, 0, 3, 0, 8, 1, 2, 3, 4]);
        let expected: [&[u8]; 3] = [&[9], &[], &[1, 2, 3, 4]];
        assert_eq!(values, expected.map(|value| Ok(Bytes::from_static(value))));
    }

    #[test]
    fn the_last_triple_may_have_all_or_some_or_none_of_its_padding() {
        for bytes in [&[0, 1, 0, 5, 9][..], &[0, 1, 0, 5, 9, 0], &[0, 1, 0, 5, 9, 0, 0, 0]] {
            assert_eq!(walked(bytes), [Ok(Bytes::from_static(&[9]))]);
        }
    }

    #[test]
    fn less_than_a_header_at_the_end_is_an_error_and_ends_the_walk() {
        for bytes in [&[0, 1, 0, 4, 7][..], &[0, 1, 0, 4, 7, 7], &[0, 1, 0, 4, 0, 2, 0]] {
            assert_eq!(walked(bytes), [Ok(Bytes::new()), Err(DecodeError::Truncated)]);
        }
    }

    #[test]
    fn a_length_of_less_than_a_header_is_an_error_and_ends_the_walk() {
        for bytes in [&[0, 1, 0, 0, 0, 1, 0, 4][..], &[0, 1, 0, 3, 0, 1, 0, 4]] {
            assert_eq!(walked(bytes), [Err(DecodeError::LengthTooSmall)]);
        }
    }

    #[test]
    fn a_truncated_trailing_triple_ends_the_walk() {
        let values = walked(&[0, 1, 0, 4, 0, 5, 0, 8, 192, 0, 2]);
        assert_eq!(values, [Ok(Bytes::new()), Err(DecodeError::LengthTooLarge)]);
    }

    #[test]
    fn a_value_longer_than_a_length_can_say_is_cut() {
        let mut out = BytesMut::from(&[0xff][..]);
        write(&mut out, [0, 6], |out| out.put_bytes(7, 70_000));
        assert_eq!(out.len(), 1 + length_with(70_000));
        assert_eq!(out[1..6], [0, 6, 0xff, 0xff, 7]);
    }
}
