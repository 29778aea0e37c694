//! Which of our addresses packets leave from, where a host has several that reach the peer.

use bytes::Bytes;
use usctp_assoc::AssociationState::Established;
use usctp_assoc::sim::{Ladder, a, z};
use usctp_chunk::{Chunk, ChunkType, Heartbeat, VerificationTag};

use crate::rfc::{double, request_heartbeat, t3_expiries};
use crate::world::{config, secs};

fn heartbeat() -> Chunk {
    Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"where from?")))
}

/// Z opens to the second of A's addresses; routing would have A send from the first.
fn opened(name: &str) -> Ladder {
    let mut ladder = Ladder::with(name, config(|_| {}), &[a(1), a(2)], &[z(1)]);
    ladder.towards = a(2);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    assert_eq!(init_ack.source, a(2));
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert_eq!(ladder.expects(z(1), &[ChunkType::COOKIE_ACK]).source, a(2));
    ladder.id = ladder.network.newest(ladder.ours);
    assert_eq!(ladder.state(), Established);
    ladder
}

#[test]
fn a_heartbeat_is_answered_from_the_address_that_it_came_to() {
    let mut ladder = opened("a_heartbeat_is_answered_from_the_address_that_it_came_to");
    for asked in [a(1), a(2), a(1)] {
        ladder.towards = asked;
        ladder.says(z(1), &[heartbeat()]);
        assert_eq!(ladder.expects(z(1), &[ChunkType::HEARTBEAT_ACK]).source, asked);
    }
    // That Z asks there says nothing of where DATA is to come from.
    ladder.sends("not an answer");
    assert_eq!(ladder.expects(z(1), &[ChunkType::DATA]).source, a(2));
}

#[test]
fn answers_to_two_addresses_at_once_share_no_packet() {
    let name = "answers_to_two_addresses_at_once_share_no_packet";
    let mut ladder = double(name);
    for from in [z(1), z(2)] {
        for asked in [a(2), a(1)] {
            ladder.towards = asked;
            ladder.says(from, &[heartbeat()]);
        }
    }
    let heard: Vec<_> =
        ladder.hears_all().iter().map(|heard| (heard.source, heard.destination)).collect();
    assert_eq!(heard, [(a(2), z(1)), (a(1), z(1)), (a(2), z(2)), (a(1), z(2))]);
}

#[test]
fn after_a_failure_packets_leave_again_from_where_the_peer_is_heard() {
    let mut ladder = opened("after_a_failure_packets_leave_again_from_where_the_peer_is_heard");
    ladder.sends("lost");
    assert_eq!(ladder.expects(z(1), &[ChunkType::DATA]).source, a(2));
    // RFC 9260, 6.4: it may be the way from that address that has failed.
    let again = ladder.expects_within(secs(2), z(1), &[ChunkType::DATA]);
    assert_eq!((t3_expiries(&ladder), again.source), (1, a(1)));
    ladder.says(z(1), &[ladder.sack(1)]);
    ladder.sends("the way is there");
    assert_eq!(ladder.expects(z(1), &[ChunkType::DATA]).source, a(2));
}

#[test]
fn data_is_acknowledged_from_the_address_that_it_came_to_and_answered_from_there() {
    let name = "data_is_acknowledged_from_the_address_that_it_came_to_and_answered_from_there";
    let mut ladder = opened(name);
    // Z no longer reaches the second address.
    ladder.towards = a(1);
    let (one, two) = (ladder.data("one"), ladder.data("two"));
    ladder.says(z(1), &[one, two]);
    let sack = ladder.expects_within(secs(1), z(1), &[ChunkType::SACK]);
    assert_eq!(sack.source, a(1));
    ladder.sends("an answer");
    assert_eq!(ladder.expects(z(1), &[ChunkType::DATA]).source, a(1));
    request_heartbeat(&mut ladder, z(1));
    assert_eq!(ladder.expects(z(1), &[ChunkType::HEARTBEAT]).source, a(1));
}

#[test]
fn a_packet_without_our_tag_moves_nothing() {
    let mut ladder = opened("a_packet_without_our_tag_moves_nothing");
    ladder.towards = a(1);
    let data = ladder.data("forged");
    ladder.says_with_tag(VerificationTag(7), z(1), &[data]);
    ladder.hears_all();
    ladder.sends("as before");
    assert_eq!(ladder.expects(z(1), &[ChunkType::DATA]).source, a(2));
}
