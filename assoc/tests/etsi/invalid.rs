//! IMH 3: packets that are malformed, or whose tag, checksum or company is wrong (RFC 9260, 6.8, 6.10, 8.5).

use std::time::Duration;

use bytes::BytesMut;
use usctp_assoc::sim::{PEER_PORT, a, z};
use usctp_assoc::{AssociationState, Event};
use usctp_chunk::{Abort, Cause, Chunk, ChunkType, ShutdownComplete, VerificationTag};

use crate::tester::{NONE, Tester, WRONG, abort, error, sack, secs};
use AssociationState::{
    Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending,
    ShutdownReceived, ShutdownSent,
};

const STATES: [AssociationState; 7] = [
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownPending,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
];

/// In every state but CLOSED: the tester says something, and it is as if it had not.
fn is_discarded(says: impl Fn(&mut Tester)) {
    for state in STATES {
        let mut t = Tester::in_state(state);
        let before = (t.iut.paths(), t.iut.events());
        says(&mut t);
        t.silence(Duration::ZERO);
        t.is(state);
        assert_eq!((t.iut.paths(), t.iut.events()), before, "{state:?}");
        assert_eq!(t.received(), Vec::<String>::new());
    }
}

#[test]
fn imh_3_1_a_packet_with_a_wrong_checksum_is_discarded() {
    is_discarded(|t| {
        for bit in [0x01, 0x80] {
            let mut bytes = BytesMut::from(&*t.packet(t.iut_tag, &[abort(None)]));
            bytes[8] ^= bit;
            t.iut.carry(z(1), a(1), bytes.freeze());
        }
        // The Adler-32 of RFC 2960 is as wrong as any other.
        let mut bytes = BytesMut::from(&*t.packet(t.iut_tag, &[abort(None)]));
        let checksum = adler32(&bytes).to_be_bytes();
        bytes[8..12].copy_from_slice(&checksum);
        t.iut.carry(z(1), a(1), bytes.freeze());
    });
}

fn adler32(packet: &[u8]) -> u32 {
    let (mut low, mut high) = (1, 0);
    for (at, byte) in packet.iter().enumerate() {
        low = (low + u32::from(if (8..12).contains(&at) { 0 } else { *byte })) % 65_521;
        high = (high + low) % 65_521;
    }
    (high << 16) | low
}

#[test]
fn imh_3_2_a_packet_with_a_wrong_tag_is_discarded() {
    is_discarded(|t| {
        for tag in [WRONG, NONE] {
            let chunks = [t.data(0, "foreign"), t.sack(1), t.shutdown(1), Chunk::CookieAck];
            for chunk in chunks {
                t.says_with_tag(tag, &[chunk]);
            }
        }
    });
}

#[test]
fn imh_3_3_an_abort_with_a_wrong_tag_is_discarded() {
    is_discarded(|t| {
        for tag in [WRONG, NONE] {
            t.says_with_tag(tag, &[abort(None)]);
        }
    });
}

#[test]
fn imh_3_4_the_t_bit_of_an_abort_says_whose_tag_it_carries() {
    let reflected = || Chunk::Abort(Abort { tag_reflected: true, causes: Default::default() });
    // RFC 9260, 8.5.1 (B); RFC 2960 has another meaning for the bit.
    is_discarded(|t| {
        t.says_with_tag(t.iut_tag, &[reflected()]);
        t.says_with_tag(t.tag, &[abort(None)]);
    });
    for state in [CookieEchoed, Established, ShutdownPending, ShutdownSent, ShutdownReceived] {
        let mut t = Tester::in_state(state);
        t.says_with_tag(t.tag, &[reflected()]);
        t.is(Closed);
        t.silence(secs(10));
    }
}

#[test]
fn imh_3_5_a_shutdown_complete_with_a_wrong_tag_is_discarded() {
    let complete = |tag_reflected| Chunk::ShutdownComplete(ShutdownComplete { tag_reflected });
    is_discarded(|t| {
        t.says_with_tag(WRONG, &[complete(false)]);
        t.says_with_tag(WRONG, &[complete(true)]);
        // RFC 9260, 8.5.1 (C): either tag, but with the T bit that belongs to it.
        t.says_with_tag(t.tag, &[complete(false)]);
        t.says_with_tag(t.iut_tag, &[complete(true)]);
    });
    let mut t = Tester::in_state(ShutdownAckSent);
    t.says_with_tag(t.tag, &[complete(true)]);
    t.is(Closed);
    assert_eq!(t.iut.events().last(), Some(&Event::ShutdownComplete));
}

#[test]
fn imh_3_6_a_shutdown_ack_with_a_wrong_tag_is_discarded_once_the_set_up_is_over() {
    for state in STATES.into_iter().filter(|state| state.is_synchronized()) {
        let mut t = Tester::in_state(state);
        t.says_with_tag(WRONG, &[Chunk::ShutdownAck]);
        t.silence(Duration::ZERO);
        t.is(state);
    }
}

#[test]
fn imh_3_7_an_init_that_is_bundled_or_has_a_tag_is_discarded() {
    // RFC 9260, 6.10 and 8.5.1 (A).
    is_discarded(|t| {
        t.says_with_tag(NONE, &[t.init(), t.data(0, "bundled")]);
        t.says_with_tag(NONE, &[t.data(0, "bundled"), t.init()]);
        t.says_with_tag(WRONG, &[t.init()]);
        t.says_with_tag(t.iut_tag, &[t.init()]);
    });
    let mut t = Tester::new();
    t.iut.listen();
    t.says_with_tag(NONE, &[t.init(), t.data(0, "bundled")]);
    t.silence(secs(1));
}

#[test]
fn imh_3_8_an_init_ack_with_a_wrong_tag_or_from_another_port_is_discarded() {
    let mut t = Tester::in_state(CookieWait);
    for tag in [WRONG, NONE, VerificationTag(t.iut_tag.0 ^ 1)] {
        t.says_with_tag(tag, &[t.init_ack()]);
        t.silence(Duration::ZERO);
    }
    let packet = t.packet_from(PEER_PORT + 1, t.iut_tag, &[t.init_ack()]);
    t.iut.carry(z(1), a(1), packet);
    let heard = t.hears_all();
    assert!(heard.iter().all(|heard| matches!(heard.only(), Chunk::Abort(_))), "out of the blue");
    t.is(CookieWait);
    t.expects_within(secs(1), &[ChunkType::INIT]);
}

#[test]
fn imh_3_9_a_chunk_with_an_impossible_length_ends_the_packet_and_what_stood_before_it_counts() {
    // Below 4; beyond the end of the packet; a header that is cut.
    let broken: [&[u8]; 4] = [&[0, 3, 0, 0], &[0, 3, 0, 3], &[0, 3, 0, 200, 0, 0, 0, 0], &[0, 3]];
    for broken in broken {
        let mut t = Tester::in_state(Established);
        let mut chunks = BytesMut::new();
        t.data(0, "good").encode(&mut chunks);
        chunks.extend_from_slice(broken);
        t.says_raw(t.iut_tag, &chunks);
        let heard = t.hears_all();
        assert_eq!(t.received(), ["good"]);
        if t.iut.state() == Established {
            assert_eq!(sack(&heard[0]).cumulative_tsn, t.tsn);
        }
    }
}

#[test]
fn imh_3_10_a_packet_without_chunks_or_shorter_than_its_header_is_discarded() {
    is_discarded(|t| {
        let whole = t.packet(t.iut_tag, &[]);
        for len in 0..=whole.len() {
            t.iut.carry(z(1), a(1), whole.slice(..len));
        }
    });
}

#[test]
fn imh_3_11_data_and_control_chunks_in_the_wrong_state_are_discarded() {
    for state in [CookieWait, CookieEchoed, ShutdownReceived, ShutdownAckSent] {
        let mut t = Tester::in_state(state);
        t.says(&[t.data(0, "out of place")]);
        // RFC 9260, 6: DATA in any other state SHOULD be discarded.
        let heard = t.hears_all();
        assert!(!heard.iter().flat_map(|heard| &heard.chunks).any(|c| matches!(c, Chunk::Sack(_))));
        assert_eq!(t.received(), Vec::<String>::new());
        t.is(state);
    }
    let mut t = Tester::in_state(CookieWait);
    for chunk in [t.sack(0), Chunk::CookieAck, error(Cause::StaleCookie { staleness_us: 1 })] {
        t.says(&[chunk]);
    }
    t.silence(Duration::ZERO);
    t.is(CookieWait);
}
