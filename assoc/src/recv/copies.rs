//! How the payload of a chunk is kept: as a part of its packet, or as a copy, and what memory that takes.

use bytes::Bytes;
use usctp_chunk::Data;

/// The payload of a DATA chunk where it arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload<'a> {
    /// The packet that it is a part of.
    pub(crate) packet: &'a Bytes,
    pub(crate) bytes: &'a [u8],
}

/// A payload that is kept, and the memory that is taken up by that: what holds it open pays for it, even if others share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) bytes: Bytes,
    pub(crate) memory: usize,
}

/// What of the packet being read was kept so far, for messages that go straight to the application, in their order:
/// it is let go in that order, too, so that what several share is paid for by the first of them.
///
/// A few small messages share one block of memory, which lives as long as one of them: a part of the packet that was
/// copied as it stands. Large ones share the packet.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    block: Bytes,
    /// Where in the packet it begins.
    begin: usize,
    /// The packet itself is kept.
    whole: bool,
}

impl Payload<'_> {
    /// Keeps it for as long as it takes until others of its packet have gone: it shares no memory with them, unless it is
    /// most of it.
    pub(crate) fn hold(self) -> Kept {
        if self.bytes.len() * 2 >= self.packet.len() {
            return Kept { bytes: self.slice(), memory: self.packet.len() + SHARED };
        }
        let memory = self.bytes.len() + ALLOCATION;
        Kept { bytes: Bytes::copy_from_slice(self.bytes), memory }
    }

    /// Keeps it for a moment, until it is copied to where the rest of its message is.
    pub(crate) fn lend(self) -> Kept {
        Kept { bytes: self.slice(), memory: self.bytes.len() }
    }

    fn slice(self) -> Bytes {
        self.packet.slice_ref(self.bytes)
    }
}

impl Copies {
    /// Another packet is read.
    pub(crate) fn begin_packet(&mut self) {
        self.block = Bytes::new();
        self.whole = false;
    }

    /// Keeps a payload for the application, which takes it before those behind it.
    #[inline]
    pub(crate) fn keep(&mut self, payload: Payload<'_>) -> Kept {
        // What waits must not hold on to a packet that is mostly something else.
        if payload.bytes.len() < payload.packet.len() / LARGEST_SHARE {
            return self.copy(payload);
        }
        let shared = std::mem::replace(&mut self.whole, true);
        let memory = if shared { 0 } else { payload.packet.len() + SHARED };
        Kept { bytes: payload.slice(), memory }
    }

    /// A copy of a payload. It holds on to at most [`SHARE`] times what its chunk takes.
    fn copy(&mut self, Payload { packet, bytes }: Payload<'_>) -> Kept {
        let at = bytes.as_ptr().addr().wrapping_sub(packet.as_ptr().addr());
        let most = SHARE * (bytes.len() + Data::HEADER);
        if self.block.len() <= most
            && let Some(begin) = at.checked_sub(self.begin)
            && begin + bytes.len() <= self.block.len()
        {
            return Kept { bytes: self.block.slice(begin..begin + bytes.len()), memory: 0 };
        }
        let rest = packet.get(at..).unwrap_or(bytes);
        self.block = Bytes::copy_from_slice(rest.get(..most).unwrap_or(rest));
        self.begin = at;
        let memory = self.block.len() + SHARED;
        Kept { bytes: self.block.slice(..bytes.len().min(self.block.len())), memory }
    }
}

/// Chunks of one length in a block.
const SHARE: usize = 10;
/// A payload of less than this part of its packet is kept as a copy.
const LARGEST_SHARE: usize = 4;
/// What an allocator needs for a piece of memory of its own, in bytes.
pub(super) const ALLOCATION: usize = 16;
/// The same for memory that several share, and for the count of them.
pub(super) const SHARED: usize = 2 * ALLOCATION + 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Payloads of these lengths with a chunk header before each, and where they are in that packet.
    fn packet(lengths: &[usize]) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
        let mut packet = vec![0; 12];
        let mut places = Vec::new();
        for (n, length) in (1..).zip(lengths) {
            packet.resize(packet.len() + Data::HEADER, 0);
            places.push(packet.len()..packet.len() + length);
            packet.resize(packet.len() + length, n);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        (packet, places)
    }

    proptest! {
        #[test]
        fn a_copy_is_what_was_copied_and_in_a_block_of_at_most_ten_times_its_chunk(
            lengths in proptest::collection::vec(1usize..300, 1..40),
        ) {
            let mut copies = Copies::default();
            // The next packet may well lie where the one before it lay.
            for lengths in lengths.chunks(7) {
                copies.begin_packet();
                let (packet, places) = packet(lengths);
                let packet = Bytes::from(packet);
                let mut paid = 0;
                let kept: Vec<Bytes> = places
                    .iter()
                    .map(|place| {
                        let payload = Payload { packet: &packet, bytes: &packet[place.clone()] };
                        let copy = copies.copy(payload);
                        assert!(copies.block.len() <= SHARE * (place.len() + Data::HEADER));
                        paid += copy.memory;
                        assert!(paid >= copies.block.len());
                        copy.bytes
                    })
                    .collect();
                let payloads: Vec<&[u8]> = places.iter().map(|place| &packet[place.clone()]).collect();
                prop_assert_eq!(kept, payloads);
            }
        }
    }

    #[test]
    fn what_is_most_of_its_packet_is_kept_with_it_and_what_is_little_as_a_copy() {
        let packet = Bytes::from(vec![7; 100]);
        let payload = |len: usize| Payload { packet: &packet, bytes: &packet[..len] };
        let held = [49, 50, 100].map(|len| payload(len).hold().memory);
        assert_eq!(held, [49 + ALLOCATION, 100 + SHARED, 100 + SHARED]);
        let kept = [24, 25].map(|len| Copies::default().keep(payload(len)).bytes);
        assert_eq!(kept.map(|bytes| bytes.as_ptr() == packet.as_ptr()), [false, true]);
    }

    #[test]
    fn messages_of_one_length_share_blocks() {
        let mut copies = Copies::default();
        let (packet, places) = packet(&[64; SHARE]);
        let packet = Bytes::from(packet);
        let payloads = places.into_iter().map(|place| &packet[place]);
        let kept: Vec<Bytes> =
            payloads.map(|bytes| copies.copy(Payload { packet: &packet, bytes }).bytes).collect();
        let begins = kept.iter().map(|copy| copy.as_ptr().addr());
        let apart: Vec<usize> = begins.clone().zip(begins.skip(1)).map(|(a, b)| b - a).collect();
        assert_eq!(apart, [64 + Data::HEADER; SHARE - 1]);
    }
}
