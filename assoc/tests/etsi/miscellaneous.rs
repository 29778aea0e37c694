//! M 10: common header, reserved bits, padding, and the peer's several addresses (RFC 9260, 3.1, 3.2, 6.4, 6.8).

use bytes::BytesMut;
use usctp_assoc::sim::{PEER_PORT, PORT, a, z};
use usctp_assoc::{AssociationState, Event};
use usctp_chunk::{Chunk, ChunkType};

use crate::tester::{NEW, NONE, Tester, addresses, crc32c, ms, sack, secs};
use AssociationState::{Established, ShutdownAckSent};

#[test]
fn m_10_1_every_packet_carries_the_ports_the_peers_tag_and_its_crc32c() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1)]);
    let mut heard = t.hears_all();
    t.iut_tag = heard[0].init().initiate_tag;
    t.says(&[t.init_ack()]);
    heard.extend(t.hears_all());
    t.says(&[Chunk::CookieAck, t.data(0, "acknowledge this")]);
    heard.extend(t.hears_all());
    t.iut.request_heartbeat(z(1));
    t.user_sends_bulk(3, 1_234);
    heard.extend(t.hears_for(secs(2)));
    t.iut.abort("enough");
    heard.extend(t.hears_all());
    assert!(heard.len() > 8);
    for heard in heard {
        let first = matches!(heard.chunks[0], Chunk::Init(_));
        let tag = if first { NONE } else { t.tag };
        let header = heard.header;
        assert_eq!((header.source_port, header.destination_port), (PORT, PEER_PORT));
        assert_eq!(header.verification_tag, tag);
        // RFC 3309 and RFC 9260, appendix A; RFC 2960 had Adler-32.
        assert_eq!(heard.bytes[8..12], crc32c(&heard.bytes));
        assert_eq!(heard.bytes.len() % 4, 0);
    }
}

#[test]
fn m_10_2_reserved_flags_are_ignored() {
    let mut t = Tester::in_state(Established);
    let raw = |chunk: Chunk, flags: u8| {
        let mut bytes = BytesMut::new();
        chunk.encode(&mut bytes);
        bytes[1] |= flags;
        bytes
    };
    t.says_raw(t.iut_tag, &raw(t.data(0, "flags"), 0xf0));
    t.expects(&[ChunkType::SACK]);
    assert_eq!(t.received(), ["flags"], "RFC 9260, 3.3.1: the rest is ignored on receipt");
    t.user_sends("flags too");
    t.expects(&[ChunkType::DATA]);
    t.says_raw(t.iut_tag, &raw(t.sack(1), 0xff));
    assert!(t.iut.events().contains(&Event::SenderDry));
    t.says_raw(t.iut_tag, &raw(t.shutdown(1), 0xff));
    t.expects(&[ChunkType::SHUTDOWN_ACK]);
    t.is(ShutdownAckSent);
}

#[test]
fn m_10_3_padding_that_is_not_zero_is_ignored() {
    let mut t = Tester::in_state(Established);
    let mut bytes = BytesMut::new();
    t.data(0, "a").encode(&mut bytes);
    let last = bytes.len() - 1;
    bytes[last] = 0xff;
    t.data(1, "b").encode(&mut bytes);
    t.says_raw(t.iut_tag, &bytes);
    assert_eq!(t.received(), ["a", "b"], "RFC 9260, 3.2");
}

#[test]
fn m_10_4_the_user_chooses_the_primary_path() {
    let mut t = Tester::new();
    t.iut_opens(&[z(1), z(2)]);
    t.user_sends("to the first");
    t.expects_at(z(1), &[ChunkType::DATA]);
    t.says(&[t.sack(1)]);
    t.iut.set_primary(z(2));
    t.user_sends("to the second");
    t.expects_at(z(2), &[ChunkType::DATA]);
}

#[test]
fn m_10_5_packets_from_each_address_of_the_peer_and_to_each_of_the_iuts_are_taken() {
    let mut t = Tester::new();
    t.iut_opens(&[z(1), z(2)]);
    let ways = [(z(1), a(1)), (z(2), a(2)), (z(1), a(2)), (z(2), a(1))];
    for (n, (from, to)) in (0..).zip(ways) {
        let packet = t.packet(t.iut_tag, &[t.data(n, "taken")]);
        t.iut.carry(from, to, packet);
    }
    assert_eq!(t.received(), ["taken"; 4]);
    let heard = t.hears_for(ms(200));
    assert_eq!(sack(heard.last().unwrap()).cumulative_tsn, t.tsn.plus(3));
}

#[test]
fn m_10_6_the_same_address_with_another_port_is_another_association() {
    let mut t = Tester::new();
    t.opens();
    let (tag, events) = (t.iut_tag, t.iut.events().len());
    t.tag = NEW;
    let packet = t.packet_from(PEER_PORT + 1, NONE, &[t.init()]);
    t.iut.carry(z(1), a(1), packet);
    let cookie = t.expects(&[ChunkType::INIT_ACK]).cookie();
    let packet = t.packet_from(PEER_PORT + 1, t.iut_tag, &[Chunk::CookieEcho(cookie)]);
    t.iut.carry(z(1), a(1), packet);
    let heard = t.expects(&[ChunkType::COOKIE_ACK]);
    assert_eq!(heard.header.destination_port, PEER_PORT + 1);
    assert_eq!((t.iut.associations(), t.restarts()), (2, 0));
    assert_ne!(t.iut_tag, tag);
    assert_eq!(t.iut.events().len(), events + 1);
}

#[test]
fn m_10_7_an_init_is_sent_to_the_next_listed_address_when_the_first_is_silent() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1), z(2)]);
    assert_eq!(t.expects(&[ChunkType::INIT]).destination, z(1));
    assert_eq!(t.expects_within(secs(1), &[ChunkType::INIT]).destination, z(2));
    t.says_from(z(2), &[t.init_ack_with(addresses(&[z(1), z(2)]))]);
    t.expects_at(z(2), &[ChunkType::COOKIE_ECHO]);
    t.says_from(z(2), &[Chunk::CookieAck]);
    t.is(Established);
}

#[test]
fn m_10_8_ecn_chunks_of_a_peer_that_uses_them_do_no_harm() {
    let mut t = Tester::in_state(Established);
    let paths = t.iut.paths();
    // RFC 9260 only reserves them.
    t.says(&[Chunk::Ecne(t.iut_tsn), Chunk::Cwr(t.tsn), t.data(0, "behind")]);
    t.expects(&[ChunkType::SACK]);
    t.silence(secs(10));
    assert_eq!((t.received(), t.iut.paths()), (vec!["behind".to_owned()], paths));
}
