//! What may be sent to an address that is not confirmed, and what may not (RFC 9260, section 5.4).

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, a, kinds, z};
use usctp_assoc::{
    AddressChange, AssociationState, ConnectOptions, Event, PathState, RemovedReason,
};
use usctp_chunk::{
    Abort, Cause, Causes, Chunk, ChunkType, Heartbeat, Parameter, ParameterType, VerificationTag,
};

use crate::world::{config, secs};

const CHUNKS_IN_A_PACKET: usize = 1500 - 20 - 12;
const HEARTBEAT: usize = 4 + 4 + 20;

/// A took an INIT ACK by its tag alone, so that its cookie is to go to z(3), which is not confirmed; with a parameter
/// that A is to report.
fn answered_from_elsewhere(name: &str, cookie_len: usize) -> Ladder {
    let mut ladder = Ladder::new(name);
    ladder.network.alter(z(3), a(1), |link| link.mtu = 65_535);
    let options = ConnectOptions::default().with(|options| options.accept_init_ack_by_tag = true);
    ladder.connectx_with(&[z(1)], options);
    ladder.expects(z(1), &[ChunkType::INIT]);
    let Chunk::InitAck(mut init_ack) = ladder.init_ack(&[]) else { panic!("it is an INIT ACK") };
    let value = Bytes::from(vec![9; 20]);
    let kind = ParameterType(0xc123);
    let unknown = Parameter::Unknown { kind, value };
    let cookie = Parameter::StateCookie(Bytes::from(vec![7; cookie_len]));
    init_ack.parameters = [cookie, unknown].into_iter().collect();
    ladder.says(z(3), &[Chunk::InitAck(init_ack)]);
    assert_eq!(ladder.state(), AssociationState::CookieEchoed);
    ladder
}

#[test]
fn a_cookie_echo_to_an_unconfirmed_address_goes_with_a_nonce_alone_and_within_the_mtu_or_not_at_all()
 {
    let largest = CHUNKS_IN_A_PACKET - HEARTBEAT - 4;
    for len in [100, largest - 40, largest - 4, largest] {
        let mut ladder = answered_from_elsewhere(&format!("unconfirmed_cookie_{len}"), len);
        let heard = ladder.expects(z(3), &[ChunkType::COOKIE_ECHO, ChunkType::HEARTBEAT]);
        assert!(heard.bytes.len() <= 1480, "{len}");
        let again = ladder.hears_within(secs(2));
        assert_eq!(kinds(&again.chunks), kinds(&heard.chunks), "T1-cookie");
    }
    for len in [largest + 1, largest + HEARTBEAT, 3000] {
        let mut ladder = answered_from_elsewhere(&format!("unconfirmed_cookie_{len}"), len);
        ladder.network.run_for(secs(1000));
        assert_eq!(ladder.hears_all().len(), 0, "{len}");
        assert_eq!(ladder.state(), AssociationState::Closed, "it is given up after a while");
    }
}

/// Z opened from z(1) and lists z(3), which A does not know yet.
fn opened(mut ladder: Ladder) -> (Ladder, Heard) {
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1), z(3)])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    ladder.id = ladder.network.newest(ladder.ours);
    ladder.hears_all();
    (ladder, init_ack)
}

#[test]
fn a_cookie_ack_to_an_unconfirmed_address_has_its_nonce_whatever_else_was_asked_for() {
    let name = "a_cookie_ack_to_an_unconfirmed_address_has_its_nonce_whatever_else_was_asked_for";
    let config = config(|options| options.path_mtu = 512);
    let (mut ladder, init_ack) = opened(Ladder::with(name, config, &[a(1)], &[z(1), z(2), z(3)]));
    let room = 512 - 20 - 12 - 4;
    // The answer and the COOKIE ACK leave more room than a HEARTBEAT needs, just enough, less, and none.
    for len in [room - 40, room - HEARTBEAT, room - HEARTBEAT + 4, room - 4, room] {
        let cookie = Chunk::CookieEcho(init_ack.cookie());
        let heartbeat = Heartbeat::new(Bytes::from(vec![5; len - 8]));
        ladder.says(z(3), &[cookie, Chunk::Heartbeat(heartbeat)]);
        let packets = ladder.hears_all();
        let heard = packets.iter().find(|heard| heard.chunks[0] == Chunk::CookieAck).unwrap();
        assert_eq!(heard.destination, z(3));
        assert!(kinds(&heard.chunks).contains(&ChunkType::HEARTBEAT), "{:?}", kinds(&heard.chunks));
    }
}

#[test]
fn a_cookie_during_the_close_is_not_answered_with_an_error_at_an_unconfirmed_address() {
    let name = "a_cookie_during_the_close_is_not_answered_with_an_error_at_an_unconfirmed_address";
    let (mut ladder, _) = opened(Ladder::new(name));
    let (tag, old) = (ladder.peer_tag, ladder.our_tag);
    ladder.peer_tag = VerificationTag(0x0ace_0ace);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1), z(3)])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.peer_tag = tag;
    ladder.says_with_tag(old, z(1), &[ladder.shutdown(0)]);
    ladder.expects(z(1), &[ChunkType::SHUTDOWN_ACK]);
    let echo = Chunk::CookieEcho(init_ack.cookie());
    ladder.says_with_tag(init_ack.init().initiate_tag, z(3), &[echo]);
    let packets = ladder.hears_all();
    assert!(packets.iter().any(|heard| kinds(&heard.chunks).contains(&ChunkType::ERROR)));
    assert!(packets.iter().all(|heard| heard.destination == z(1)), "{packets:?}");
}

#[test]
fn after_a_stale_cookie_a_learned_address_stays_unconfirmed_and_gets_no_init() {
    let name = "after_a_stale_cookie_a_learned_address_stays_unconfirmed_and_gets_no_init";
    let mut ladder = Ladder::new(name);
    ladder.connectx(&[z(1), z(2)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    let listed = [z(1), z(2), z(3)];
    ladder.says(z(1), &[ladder.init_ack(&listed)]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    let stale = Chunk::Error(Ladder::causes(Cause::StaleCookie { staleness_us: 700_000 }));
    ladder.says(z(1), &[stale]);
    ladder.network.run_for(secs(12));
    let inits: Vec<_> = ladder.hears_all().iter().map(|heard| heard.destination).collect();
    assert!(inits.contains(&z(1)) && inits.contains(&z(2)), "{inits:?}");
    assert!(!inits.contains(&z(3)), "{inits:?}");
    ladder.says(z(1), &[ladder.init_ack(&listed)]);
    assert_eq!(ladder.path(z(3)).state, PathState::Unconfirmed);
    assert_eq!(ladder.path(z(2)).state, PathState::Active);
}

#[test]
fn the_owner_of_an_address_that_a_peer_only_claims_takes_it_away_and_may_open_its_own() {
    let name = "the_owner_of_an_address_that_a_peer_only_claims_takes_it_away_and_may_open_its_own";
    let (mut ladder, _) = opened(Ladder::new(name));
    // RFC 5062, section 2: z(3) is another host, which lists z(4) as well and is refused.
    let claimed = ladder.peer_tag;
    ladder.peer_tag = VerificationTag(0x0bad_cafe);
    let init = ladder.init(&[z(3), z(4)]);
    ladder.says_with_tag(VerificationTag::ZERO, z(3), std::slice::from_ref(&init));
    ladder.expects(z(3), &[ChunkType::ABORT]);
    // To it, the HEARTBEAT of the association that it has no part in is out of the blue.
    let probe = loop {
        let heard = ladder.hears_within(secs(20));
        if heard.destination == z(3) {
            break heard;
        }
    };
    assert_eq!(probe.header.verification_tag, claimed);
    let abort = Abort { tag_reflected: true, causes: Causes::default() };
    ladder.says_with_tag(claimed, z(3), &[Chunk::Abort(abort)]);
    // Whoever has an address that many hosts share is not to end the association of two others.
    assert_eq!(ladder.state(), AssociationState::Established);
    let change = AddressChange::Removed(RemovedReason::Disowned);
    assert_eq!(ladder.events().last(), Some(&Event::PeerAddressChange { peer: z(3), change }));
    ladder.hears_all();
    let init = ladder.init(&[z(3)]);
    ladder.says_with_tag(VerificationTag::ZERO, z(3), &[init]);
    ladder.expects(z(3), &[ChunkType::INIT_ACK]);
}

#[test]
fn addresses_that_a_peer_only_claims_are_taken_up_to_the_limits_and_none_beyond() {
    let name = "addresses_that_a_peer_only_claims_are_taken_up_to_the_limits_and_none_beyond";
    let listed: Vec<_> = (1..=6).map(z).collect();
    for (addresses, unproved) in [(8, 1), (8, 2), (8, 9), (3, 9), (4, 1), (3, 1), (1, 1)] {
        let limited = || {
            config(|options| {
                options.limits.peer_addresses = addresses;
                options.limits.unproved_addresses = unproved;
            })
        };
        // The source of an INIT is proved by the cookie.
        let mut ladder = Ladder::with(name, limited(), &[a(1)], &listed);
        ladder.network.listen(ladder.ours, true);
        ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&listed)]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
        ladder.id = ladder.network.newest(ladder.ours);
        let count = 6.min(addresses).min(1 + unproved);
        assert_eq!(ladder.paths().len(), count, "{addresses}, {unproved}: INIT");
        // Two of those of an INIT ACK are the application's own.
        if addresses < 2 {
            continue;
        }
        let mut ladder = Ladder::with(name, limited(), &[a(1)], &listed);
        ladder.connectx(&listed[..2]);
        ladder.expects(z(1), &[ChunkType::INIT]);
        ladder.says(z(1), &[ladder.init_ack(&listed)]);
        let count = 6.min(addresses).min(2 + unproved);
        assert_eq!(ladder.paths().len(), count, "{addresses}, {unproved}: INIT ACK");
    }
}
