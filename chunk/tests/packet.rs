//! Packets: common header, checksum, and the builder.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use bytes::{Bytes, BytesMut};
use usctp_chunk::*;

const HEADER: CommonHeader = CommonHeader {
    source_port: 0x1388,
    destination_port: 0x2710,
    verification_tag: VerificationTag(0x0a0b_0c0d),
};

fn data(length: usize) -> Data {
    Data {
        tsn: Tsn::new(1),
        stream: StreamId(0),
        sequence: Sequence::Ssn(Ssn::new(0)),
        ppid: Ppid(0),
        flags: DataFlags::default(),
        payload: vec![7; length].into(),
    }
}

#[test]
fn a_packet_is_appended_to_what_the_buffer_holds() {
    let mut out = BytesMut::from(&b"before"[..]);
    let mut builder = PacketBuilder::new(&mut out, HEADER, 1500);
    assert!(builder.is_empty());
    assert!(builder.push(&Chunk::CookieAck));
    assert!(!builder.is_empty());
    assert_eq!(builder.len(), 16);
    assert_eq!(builder.finish(), 16);
    assert_eq!(out[..14], *b"before\x13\x88\x27\x10\x0a\x0b\x0c\x0d");
    assert_eq!(out[18..], [11, 0, 0, 4]);

    let bytes = out.freeze().slice(6..);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.header, HEADER);
    assert_eq!(packet.checksum(), Checksum::Valid);
}

#[test]
fn a_packet_that_was_cancelled_leaves_no_trace() {
    let mut out = BytesMut::from(&b"before"[..]);
    let mut builder = PacketBuilder::new(&mut out, HEADER, 1500);
    assert!(builder.push_data(&data(100)));
    builder.cancel();
    assert_eq!(out, b"before"[..]);
}

#[test]
fn the_checksum_is_the_crc32c_with_its_least_significant_byte_first() {
    // By the register of RFC 9260, appendix A, one bit at a time: a short packet, and one that fills a link.
    let expected = [(Chunk::CookieAck, 0x0958491e_u32), (Chunk::Data(data(1400)), 0x9b6df323)];
    for (chunk, crc) in expected {
        let mut out = BytesMut::new();
        let mut builder = PacketBuilder::new(&mut out, HEADER, 1500);
        assert!(builder.push(&chunk));
        builder.finish();
        assert_eq!(out[8..12], crc.to_le_bytes(), "{chunk:?}");
        assert_eq!(Packet::parse(&out.freeze()).unwrap().checksum(), Checksum::Valid);
    }
}

#[test]
fn a_checksum_is_valid_zero_or_bad() {
    let mut out = BytesMut::new();
    PacketBuilder::new(&mut out, HEADER, 1500).finish();
    let valid = out.clone().freeze();
    out[8] ^= 1;
    let bad = out.clone().freeze();
    out[8..12].fill(0);
    let zero = out.freeze();
    for (bytes, expected) in
        [(valid, Checksum::Valid), (bad, Checksum::Bad), (zero.clone(), Checksum::Zero)]
    {
        assert_eq!(Packet::parse(&bytes).unwrap().checksum(), expected);
    }
    let mut out = BytesMut::new();
    assert_eq!(PacketBuilder::new(&mut out, HEADER, 1500).finish_without_checksum(), 12);
    assert_eq!(out, zero);
}

#[test]
fn a_packet_is_its_common_header_at_least() {
    assert_eq!(Packet::parse(&Bytes::from_static(&[0; 11])), Err(DecodeError::Truncated));
    let bytes = Bytes::from_static(&[0; 12]);
    let packet = Packet::parse(&bytes).unwrap();
    assert!(packet.chunks().next().is_none());
}

#[test]
fn chunks_before_the_first_broken_one_are_found() {
    let mut bytes = vec![0; 12];
    bytes.extend([11, 0, 0, 4, 8, 0, 0, 3, 11, 0, 0, 4]);
    let bytes = bytes.into();
    let packet = Packet::parse(&bytes).unwrap();
    let mut chunks = packet.chunks();
    assert_eq!(chunks.next().unwrap().unwrap().kind, ChunkType::COOKIE_ACK);
    assert_eq!(chunks.next(), Some(Err(DecodeError::LengthTooSmall)));
    assert_eq!(chunks.next(), None);
}

#[test]
fn a_chunk_that_does_not_fit_is_not_written() {
    let mut out = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut out, HEADER, 12 + 16 + 3 + 3);
    assert_eq!(builder.remaining(), 20);
    assert!(!builder.push_data(&data(5)));
    assert!(!builder.push(&Chunk::Data(data(5))));
    assert_eq!(builder.len(), 12);
    assert!(builder.push_data(&data(1)));
    assert_eq!(builder.remaining(), 0);
    assert!(!builder.push(&Chunk::CookieAck));
    assert_eq!(builder.finish(), 32);
}

#[test]
fn a_limit_below_the_header_leaves_room_for_nothing_and_none_exceeds_65535() {
    let mut out = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut out, HEADER, 3);
    assert_eq!(builder.remaining(), 0);
    assert!(!builder.push(&Chunk::CookieAck));
    assert!(!builder.push_sack(Tsn::new(0), 0, [], []));
    builder.cancel();
    let mut builder = PacketBuilder::new(&mut out, HEADER, usize::MAX);
    assert_eq!(builder.remaining(), 65_520);
    assert!(!builder.push_data(&data(65_505)));
    assert!(!builder.push_data(&data(100_000)));
    assert!(builder.push_data(&data(65_504)));
    assert_eq!(builder.finish(), 65_532);
}

#[test]
fn a_sack_has_as_many_gaps_and_then_duplicates_as_fit() {
    let gaps = (1..=4).map(|n| GapBlock { start: 2 * n, end: 2 * n });
    let duplicates = (1..=4).map(Tsn::new);
    for (room, gap_count, duplicate_count) in
        [(16, 0, 0), (19, 0, 0), (20, 1, 0), (32, 4, 0), (36, 4, 1), (48, 4, 4), (90, 4, 4)]
    {
        let mut out = BytesMut::new();
        let mut builder = PacketBuilder::new(&mut out, HEADER, 12 + room);
        assert!(builder.push_sack(Tsn::new(9), 77, gaps.clone(), duplicates.clone()));
        assert_eq!(builder.finish(), 12 + 16 + 4 * (gap_count + duplicate_count));
        let bytes = out.freeze();
        let packet = Packet::parse(&bytes).unwrap();
        let mut chunks = packet.chunks();
        let Chunk::Sack(sack) = chunks.next().unwrap().unwrap().decode().unwrap() else { panic!() };
        assert!(chunks.next().is_none());
        assert_eq!((sack.cumulative_tsn, sack.a_rwnd), (Tsn::new(9), 77));
        assert!(sack.gaps.iter().eq(gaps.clone().take(gap_count)));
        assert!(sack.duplicates.iter().eq(duplicates.clone().take(duplicate_count)));
    }
    let mut out = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut out, HEADER, 12 + 15);
    assert!(!builder.push_sack(Tsn::new(9), 77, gaps, duplicates));
    assert!(builder.is_empty());
}

#[test]
fn a_chunk_with_more_than_its_length_can_say_is_cut_and_keeps_its_frame() {
    let chunk =
        Chunk::Error([Cause::UnrecognizedChunkType(vec![7; 70_000].into())].into_iter().collect());
    let mut out = BytesMut::from(&[0; 12][..]);
    chunk.encode(&mut out);
    assert_eq!(out.len() - 12, chunk.encoded_len());
    let bytes = out.freeze();
    let packet = Packet::parse(&bytes).unwrap();
    let mut chunks = packet.chunks();
    assert_eq!(chunks.next().unwrap().unwrap().bytes().len(), 65_535);
    assert!(chunks.next().is_none());
}

#[test]
fn padding_is_what_a_pad_chunk_of_zeros_is() {
    for length in [0, 1, 4, 11] {
        let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
        let mut builder = PacketBuilder::new(&mut ours, HEADER, 12 + 4 + 12);
        assert!(builder.push_padding(length));
        assert!(!builder.push_padding(12));
        builder.finish();
        let mut builder = PacketBuilder::new(&mut theirs, HEADER, 1500);
        assert!(builder.push(&Chunk::Pad(vec![0; length].into())));
        builder.finish();
        assert_eq!(ours, theirs);
    }
}

#[test]
fn data_read_where_it_lies_is_data_decoded() {
    let flags = DataFlags { immediate: true, unordered: false, beginning: true, ending: false };
    let mut sent = Data { stream: StreamId(2), ppid: Ppid(3), flags, ..data(5) };
    sent.sequence = Sequence::Ssn(Ssn::new(4));
    let mut out = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut out, HEADER, 1500);
    assert!(builder.push_data(&sent));
    builder.finish();
    let packet = out.freeze();
    let whole = Packet::parse(&packet).unwrap();
    let raw = whole.chunks().next().unwrap().unwrap();
    assert_eq!(raw.decode(), Ok(Chunk::Data(sent.clone())));
    let (head, payload) = raw.read_data().unwrap();
    assert_eq!((head, payload), (sent.head(), &sent.payload[..]));
    assert_eq!(raw.data_payload(), sent.payload);
    // One byte less than the fields take.
    let mut short = packet[..12 + 15].to_vec();
    short[15] = 15;
    let short = short.into();
    let short = Packet::parse(&short).unwrap();
    let raw = short.chunks().next().unwrap().unwrap();
    assert_eq!(raw.read_data(), Err(DecodeError::LengthTooSmall));
    assert_eq!(raw.decode(), Err(DecodeError::LengthTooSmall));
}
