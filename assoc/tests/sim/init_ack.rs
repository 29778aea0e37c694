//! What A makes of the INIT ACK: which addresses stay, which come, which go, and where the COOKIE ECHO goes.

use std::net::{IpAddr, SocketAddr};

use usctp_assoc::sim::{Ladder, PEER_PORT, a, a6, z, z6};
use usctp_assoc::{
    AddressChange, AssociationState, ConnectOptions, Event, PathState, RemovedReason,
};
use usctp_chunk::{
    Cause, Chunk, ChunkType, CommonHeader, PacketBuilder, Parameter, VerificationTag,
};

use crate::world::{config, ms, secs};

fn removed(ladder: &Ladder) -> Vec<IpAddr> {
    let reason = AddressChange::Removed(RemovedReason::NotInInitAck);
    let events = ladder.events().into_iter().filter_map(|event| match event {
        Event::PeerAddressChange { peer, change } if change == reason => Some(peer),
        _ => None,
    });
    events.collect()
}

fn peers(ladder: &Ladder) -> Vec<IpAddr> {
    ladder.paths().iter().map(|path| path.peer).collect()
}

/// A has sent its INIT to the first of these.
fn asked(name: &str, list: &[IpAddr]) -> Ladder {
    let mut ladder = Ladder::new(name);
    ladder.connectx(list);
    ladder.expects(list[0], &[ChunkType::INIT]);
    ladder
}

#[test]
fn listed_addresses_that_the_peer_lists_too_stay_in_the_callers_order() {
    let name = "listed_addresses_that_the_peer_lists_too_stay_in_the_callers_order";
    let mut ladder = asked(name, &[z(1), z(2), z(3)]);
    ladder.says(z(1), &[ladder.init_ack(&[z(3), z(2), z(1)])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(1), &[Chunk::CookieAck]);
    assert_eq!(peers(&ladder), [z(1), z(2), z(3)]);
    assert!(ladder.paths().iter().all(|path| path.state == PathState::Active));
    assert!(removed(&ladder).is_empty());
    // Confirmed by the caller: no HEARTBEAT has to confirm them.
    assert!(ladder.hears_all().is_empty());
}

#[test]
fn a_listed_address_that_the_peer_omits_is_dropped_with_an_event() {
    let name = "a_listed_address_that_the_peer_omits_is_dropped_with_an_event";
    let mut ladder = asked(name, &[z(1), z(2), z(3)]);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(3)])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(peers(&ladder), [z(1), z(3)]);
    assert_eq!(removed(&ladder), [z(2)]);
}

#[test]
fn an_init_ack_without_addresses_leaves_only_its_source() {
    let mut ladder = asked("an_init_ack_without_addresses_leaves_only_its_source", &[z(1), z(2)]);
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(peers(&ladder), [z(1)]);
    assert_eq!(removed(&ladder), [z(2)]);
}

#[test]
fn addresses_only_the_peer_lists_come_last_and_unconfirmed() {
    let mut ladder =
        asked("addresses_only_the_peer_lists_come_last_and_unconfirmed", &[z(2), z(1)]);
    ladder.says(z(2), &[ladder.init_ack(&[z(3), z(1), z(2), z(4)])]);
    ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(2), &[Chunk::CookieAck]);
    let states: Vec<_> = ladder.paths().iter().map(|path| (path.peer, path.state)).collect();
    let (active, unconfirmed) = (PathState::Active, PathState::Unconfirmed);
    let expected = [(z(2), active), (z(1), active), (z(3), unconfirmed), (z(4), unconfirmed)];
    assert_eq!(states, expected);
    let told: Vec<_> = ladder
        .events()
        .into_iter()
        .filter(|event| {
            matches!(event, Event::PeerAddressChange { change: AddressChange::Unconfirmed, .. })
        })
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn addresses_of_a_family_that_a_lacks_are_ignored_and_of_one_it_has_are_learned() {
    let name = "addresses_of_a_family_that_a_lacks_are_ignored_and_of_one_it_has_are_learned";
    for (ours, expected) in [(vec![a(1)], vec![z(1)]), (vec![a(1), a6(1)], vec![z(1), z6(1)])] {
        let mut ladder = Ladder::with(name, config(|_| {}), &ours, &[z(1), z6(1)]);
        ladder.connectx(&[z(1)]);
        ladder.expects(z(1), &[ChunkType::INIT]);
        ladder.says(z(1), &[ladder.init_ack(&[z(1), z6(1)])]);
        ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
        assert_eq!(peers(&ladder), expected);
    }
}

#[test]
fn an_init_ack_from_an_unlisted_source_counts_if_it_lists_a_known_address() {
    let name = "an_init_ack_from_an_unlisted_source_counts_if_it_lists_a_known_address";
    let mut ladder = asked(name, &[z(1), z(2)]);
    ladder.says(z(3), &[ladder.init_ack(&[z(2), z(3)])]);
    // connectx.md, 6, row 7: the COOKIE ECHO goes to the listed, confirmed address.
    ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(ladder.path(z(3)).state, PathState::Unconfirmed);
    assert_eq!(removed(&ladder), [z(1)]);
    ladder.says(z(2), &[Chunk::CookieAck]);
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn an_init_ack_from_an_unlisted_source_without_a_known_address_changes_nothing() {
    let name = "an_init_ack_from_an_unlisted_source_without_a_known_address_changes_nothing";
    let mut ladder = asked(name, &[z(1), z(2)]);
    ladder.says(z(3), &[ladder.init_ack(&[z(3), z(4)])]);
    assert_eq!((ladder.state(), peers(&ladder)), (AssociationState::CookieWait, vec![z(1), z(2)]));
    for heard in ladder.hears_all() {
        // At most what RFC 9260, 8.4 (8) answers to a packet out of the blue.
        assert_eq!(heard.destination, z(3));
        assert!(matches!(heard.only(), Chunk::Abort(abort) if abort.tag_reflected));
    }
    ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]);
}

#[test]
fn the_address_init_went_to_is_dropped_if_another_listed_one_answers_without_it() {
    let name = "the_address_init_went_to_is_dropped_if_another_listed_one_answers_without_it";
    let mut ladder = asked(name, &[z(1), z(2)]);
    ladder.says(z(2), &[ladder.init_ack(&[z(2)])]);
    ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
    assert_eq!((peers(&ladder), removed(&ladder)), (vec![z(2)], vec![z(1)]));
    assert!(ladder.path(z(2)).primary);
}

#[test]
fn a_late_answer_of_the_first_address_is_taken_and_the_second_answer_is_not() {
    let name = "a_late_answer_of_the_first_address_is_taken_and_the_second_answer_is_not";
    for order in [[z(1), z(2)], [z(2), z(1)]] {
        let mut ladder = asked(name, &[z(1), z(2)]);
        ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]);
        ladder.says(order[0], &[ladder.init_ack(&[z(1), z(2)])]);
        ladder.expects(order[0], &[ChunkType::COOKIE_ECHO]);
        ladder.peer_tag = VerificationTag(0x0bad_0bad);
        ladder.says(order[1], &[ladder.init_ack(&[order[1], z(4)])]);
        assert!(ladder.hears_all().is_empty(), "RFC 9260, 5.2.3");
        assert_eq!(peers(&ladder), [z(1), z(2)]);
        ladder.says(order[0], &[Chunk::CookieAck]);
        assert_eq!(ladder.state(), AssociationState::Established);
    }
}

#[test]
fn an_init_ack_with_a_wrong_tag_changes_nothing() {
    let mut ladder = asked("an_init_ack_with_a_wrong_tag_changes_nothing", &[z(1), z(2)]);
    let wrong = VerificationTag(ladder.our_tag.0 ^ 1);
    for tag in [wrong, VerificationTag::ZERO, ladder.peer_tag] {
        ladder.says_with_tag(tag, z(1), &[ladder.init_ack(&[z(1)])]);
        assert!(ladder.hears_all().is_empty(), "RFC 9260, 8.5: silently");
    }
    assert_eq!((ladder.state(), peers(&ladder)), (AssociationState::CookieWait, vec![z(1), z(2)]));
    assert_eq!(ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]).at, secs(1));
}

#[test]
fn a_lost_cookie_echo_is_sent_again_by_the_other_address() {
    let mut ladder = asked("a_lost_cookie_echo_is_sent_again_by_the_other_address", &[z(1), z(2)]);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(2)])]);
    let first = ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    let second = ladder.expects_within(secs(3), z(2), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(first.bytes, second.bytes);
    ladder.says(z(2), &[Chunk::CookieAck]);
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn a_cookie_echo_that_is_never_answered_ends_the_attempt() {
    let mut ladder = asked("a_cookie_echo_that_is_never_answered_ends_the_attempt", &[z(1)]);
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    ladder.network.run_for(crate::world::HOUR);
    let echoes = ladder.hears_all();
    assert_eq!(echoes.len(), 9, "Max.Init.Retransmits is 8");
    assert!(ladder.events().iter().any(|event| matches!(event, Event::CommLost(_))));
}

#[test]
fn a_stale_cookie_begins_again_with_the_addresses_that_were_kept() {
    let name = "a_stale_cookie_begins_again_with_the_addresses_that_were_kept";
    let mut ladder = asked(name, &[z(1), z(2), z(3)]);
    ladder.sends("waits");
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(2)])]);
    let first = ladder.expects(z(1), &[ChunkType::COOKIE_ECHO, ChunkType::DATA]);
    let stale = Chunk::Error(Ladder::causes(Cause::StaleCookie { staleness_us: 700_000 }));
    ladder.says(z(1), &[stale]);
    let init = ladder.expects_within(secs(1), z(1), &[ChunkType::INIT]);
    let preservative = init.init().parameters.iter().any(|parameter| {
        matches!(parameter, Ok(Parameter::CookiePreservative { increment_ms }) if increment_ms > 0)
    });
    assert!(preservative, "RFC 9260, 5.2.6 (3)");
    assert_eq!((ladder.state(), peers(&ladder)), (AssociationState::CookieWait, vec![z(1), z(2)]));
    ladder.peer_tag = VerificationTag(0x1234_5678);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(2)])]);
    let echo = ladder.expects(z(1), &[ChunkType::COOKIE_ECHO, ChunkType::DATA]);
    assert_eq!(echo.header.verification_tag, ladder.peer_tag);
    assert_eq!(echo.chunks[1], first.chunks[1], "the same INIT, so the same TSN and stream number");
    // Nothing of the first attempt is left behind (threat 7): neither a timer nor anything in flight.
    assert_eq!(ladder.path(z(1)).flight, 16 + 8);
    ladder.says(z(1), &[Chunk::CookieAck]);
    assert_eq!(ladder.state(), AssociationState::Established);
    ladder.silence(ms(900));
    ladder.says(z(1), &[ladder.sack(1)]);
    assert!(ladder.events().contains(&Event::SenderDry));
}

#[test]
fn an_address_of_another_association_is_ignored_and_that_one_left_alone() {
    let name = "an_address_of_another_association_is_ignored_and_that_one_left_alone";
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1)]);
    let first = ladder.id();
    ladder.connectx(&[z(2)]);
    ladder.expects(z(2), &[ChunkType::INIT]);
    ladder.peer_tag = VerificationTag(0x1234_5678);
    ladder.says(z(2), &[ladder.init_ack(&[z(1), z(2), z(3)])]);
    ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(peers(&ladder), [z(2), z(3)]);
    assert_eq!(ladder.network.state(ladder.ours, first), AssociationState::Established);
    let other = ladder.network.endpoint(ladder.ours).view(first).unwrap();
    assert_eq!(other.paths().map(|path| path.peer).collect::<Vec<_>>(), [z(1)]);
}

#[test]
fn an_init_ack_leaves_from_the_address_that_init_was_sent_to() {
    let name = "an_init_ack_leaves_from_the_address_that_init_was_sent_to";
    for own in [a(1), a(2)] {
        let mut ladder = Ladder::new(name);
        ladder.network.listen(ladder.ours, true);
        ladder.towards = own;
        ladder.says_with_tag(VerificationTag::ZERO, z(2), &[ladder.init(&[z(1), z(2)])]);
        let heard = ladder.expects(z(2), &[ChunkType::INIT_ACK]);
        assert_eq!(heard.source, own);
        assert_eq!(heard.header.verification_tag, ladder.peer_tag);
        assert_eq!(heard.addresses(), [a(1), a(2)]);
    }
}

#[test]
fn an_init_is_refused_with_an_abort_where_nobody_listens() {
    let mut ladder = Ladder::new("an_init_is_refused_with_an_abort_where_nobody_listens");
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
    let heard = ladder.hears();
    assert!(matches!(heard.only(), Chunk::Abort(abort) if !abort.tag_reflected));
    assert_eq!(heard.header.verification_tag, ladder.peer_tag, "RFC 9260, 8.4 (3)");
}

#[test]
fn unusable_addresses_in_an_init_ack_are_left_out() {
    let mut ladder = asked("unusable_addresses_in_an_init_ack_are_left_out", &[z(1)]);
    let odd: [IpAddr; 4] = [
        "0.0.0.0".parse().unwrap(),
        "224.0.0.1".parse().unwrap(),
        "255.255.255.255".parse().unwrap(),
        a(1),
    ];
    let mut list = vec![z(1)];
    list.extend(&odd[..3]);
    ladder.says(z(1), &[ladder.init_ack(&list)]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(peers(&ladder), [z(1)]);
}

#[test]
fn an_init_ack_with_more_addresses_than_allowed_is_cut_not_believed() {
    let name = "an_init_ack_with_more_addresses_than_allowed_is_cut_not_believed";
    let config = config(|options| options.limits.peer_addresses = 8);
    let mut ladder = Ladder::with(name, config, &[a(1)], &[z(1)]);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    let many: Vec<_> = (1..=100).map(|host| IpAddr::from([192, 0, 2, host])).collect();
    ladder.says(z(1), &[ladder.init_ack(&many)]);
    assert!(ladder.paths().len() <= 8, "{} paths", ladder.paths().len());
    assert_eq!(ladder.path(z(1)).state, PathState::Active);
}

#[test]
fn an_init_ack_with_nonsense_ends_the_attempt_and_tells_the_peer() {
    let name = "an_init_ack_with_nonsense_ends_the_attempt_and_tells_the_peer";
    // RFC 9260, 3.3.3: tag 0, no streams; 5.1: no cookie.
    let spoil: [fn(&mut usctp_chunk::Init); 4] = [
        |init| init.initiate_tag = VerificationTag::ZERO,
        |init| init.outbound_streams = 0,
        |init| init.inbound_streams = 0,
        |init| init.parameters = std::iter::empty::<Parameter>().collect(),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut ladder = asked(name, &[z(1)]);
        let Chunk::InitAck(mut init) = ladder.init_ack(&[]) else { unreachable!() };
        spoil(&mut init);
        ladder.says(z(1), &[Chunk::InitAck(init)]);
        let lost = ladder.events().iter().any(|event| matches!(event, Event::CommLost(_)));
        let heard = ladder.hears_all();
        match number {
            // Tag 0: the association is destroyed, and an ABORT would need a tag: RFC 9260, 3.3.3, says MAY.
            0 => assert!(lost),
            _ => {
                assert!(lost, "{number}");
                assert!(matches!(heard[0].only(), Chunk::Abort(_)), "{number}");
                assert_eq!(heard[0].header.verification_tag, ladder.peer_tag);
            }
        }
    }
}

#[test]
fn an_init_ack_from_another_port_is_out_of_the_blue() {
    let mut ladder = asked("an_init_ack_from_another_port_is_out_of_the_blue", &[z(1)]);
    let header = CommonHeader {
        source_port: PEER_PORT + 1,
        destination_port: usctp_assoc::sim::PORT,
        verification_tag: ladder.our_tag,
    };
    let mut bytes = bytes::BytesMut::new();
    let mut builder = PacketBuilder::new(&mut bytes, header, 1500);
    builder.push(&ladder.init_ack(&[]));
    builder.finish();
    ladder.says_bytes(z(1), a(1), bytes.freeze());
    assert_eq!(ladder.state(), AssociationState::CookieWait);
}

#[test]
fn two_attempts_to_two_peers_do_not_disturb_each_other() {
    let mut ladder = asked("two_attempts_to_two_peers_do_not_disturb_each_other", &[z(1)]);
    let (first_tag, first) = (ladder.our_tag, ladder.id());
    let list = [SocketAddr::new(z(2), PEER_PORT)];
    let second = ladder.network.connectx(ladder.ours, &list, ConnectOptions::default()).unwrap();
    ladder.expects(z(2), &[ChunkType::INIT]);
    assert_ne!(first_tag, ladder.our_tag, "tags are drawn anew");
    ladder.says_with_tag(first_tag, z(1), &[ladder.init_ack(&[])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(ladder.network.state(ladder.ours, first), AssociationState::CookieEchoed);
    assert_eq!(ladder.network.state(ladder.ours, second), AssociationState::CookieWait);
}
