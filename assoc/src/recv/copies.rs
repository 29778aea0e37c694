//! Copies of messages that are too small to hold on to the packet they came in.

use bytes::Bytes;
use usctp_chunk::Data;

/// Keeps a few copies in one block of memory, which lives as long as one of them: a part of the packet being read, that was
/// copied as it stands.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    block: Bytes,
    /// Where in the packet it begins.
    begin: usize,
}

impl Copies {
    /// Another packet is read.
    pub(crate) fn begin_packet(&mut self) {
        self.block = Bytes::new();
    }

    /// A copy of a payload, which is a part of the packet. It holds on to at most [`SHARE`] times what its chunk takes.
    pub(crate) fn copy(&mut self, packet: &[u8], payload: &[u8]) -> Bytes {
        let at = payload.as_ptr().addr().wrapping_sub(packet.as_ptr().addr());
        let most = SHARE * (payload.len() + Data::HEADER);
        if self.block.len() <= most
            && let Some(begin) = at.checked_sub(self.begin)
            && begin + payload.len() <= self.block.len()
        {
            return self.block.slice(begin..begin + payload.len());
        }
        let rest = packet.get(at..).unwrap_or(payload);
        self.block = Bytes::copy_from_slice(rest.get(..most).unwrap_or(rest));
        self.begin = at;
        self.block.slice(..payload.len().min(self.block.len()))
    }
}

/// Chunks of one length in a block.
const SHARE: usize = 10;

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
                let kept: Vec<Bytes> = places
                    .iter()
                    .map(|place| {
                        let copy = copies.copy(&packet, &packet[place.clone()]);
                        assert!(copies.block.len() <= SHARE * (place.len() + Data::HEADER));
                        copy
                    })
                    .collect();
                let payloads: Vec<&[u8]> = places.iter().map(|place| &packet[place.clone()]).collect();
                prop_assert_eq!(kept, payloads);
            }
        }
    }

    #[test]
    fn messages_of_one_length_share_blocks() {
        let mut copies = Copies::default();
        let (packet, places) = packet(&[64; SHARE]);
        let kept: Vec<Bytes> =
            places.into_iter().map(|place| copies.copy(&packet, &packet[place])).collect();
        let begins = kept.iter().map(|copy| copy.as_ptr().addr());
        let apart: Vec<usize> = begins.clone().zip(begins.skip(1)).map(|(a, b)| b - a).collect();
        assert_eq!(apart, [64 + Data::HEADER; SHARE - 1]);
    }
}
