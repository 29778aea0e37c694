//! What A makes of the INIT ACK: which addresses stay, which come, which go, and where the COOKIE ECHO goes.

use std::net::{IpAddr, SocketAddr};

use usctp_assoc::sim::{Ladder, PEER_PORT, a, a6, z, z6};
use usctp_assoc::{
    AddressChange, Advertise, AssociationState, ConnectOptions, Event, PathState, RemovedReason,
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
    // RFC 9260, 8.4 (8): it is out of the blue.
    let heard = ladder.hears();
    assert_eq!((heard.destination, heard.header.verification_tag), (z(3), ladder.our_tag));
    assert!(matches!(heard.only(), Chunk::Abort(abort) if abort.tag_reflected));
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
    let gaps = echoes.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs());
    assert_eq!(gaps.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60], "RFC 9260, 6.3.3 (E2)");
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

/// A has sent its INIT to the first of Z's addresses; each of A's reaches each of Z's.
fn asked_between(name: &str, ours: &[IpAddr], theirs: &[IpAddr], list: &[IpAddr]) -> Ladder {
    let mut ladder = Ladder::with(name, config(|_| {}), ours, theirs);
    ladder.connectx(list);
    ladder.towards = ladder.expects(list[0], &[ChunkType::INIT]).source;
    ladder
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

#[test]
fn with_the_option_an_init_ack_counts_by_its_tag_alone_and_its_source_is_verified() {
    let name = "with_the_option_an_init_ack_counts_by_its_tag_alone_and_its_source_is_verified";
    let mut ladder = Ladder::new(name);
    let options = ConnectOptions::default().with(|options| options.accept_init_ack_by_tag = true);
    ladder.connectx_with(&[z(1), z(2)], options);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.sends("waits for the confirmation");
    let wrong = VerificationTag(ladder.our_tag.0 ^ 1);
    ladder.says_with_tag(wrong, z(3), &[ladder.init_ack(&[z(3)])]);
    assert_eq!(ladder.state(), AssociationState::CookieWait);
    ladder.hears_all();
    ladder.says(z(3), &[ladder.init_ack(&[z(3), z(4)])]);
    // connectx.md, 6, row 7: none of the listed ones is left, so the cookie goes with a nonce.
    let kinds = [ChunkType::COOKIE_ECHO, ChunkType::HEARTBEAT];
    let first = ladder.expects(z(3), &kinds);
    assert_eq!((peers(&ladder), removed(&ladder)), (vec![z(3), z(4)], vec![z(1), z(2)]));
    assert_eq!(ladder.path(z(3)).state, PathState::Unconfirmed);
    // The cookie is lost; a retransmission has a nonce of its own.
    let again = ladder.expects_within(secs(1), z(3), &kinds);
    assert_eq!(first.chunks[0], again.chunks[0]);
    assert_ne!(first.chunks[1], again.chunks[1]);
    ladder.says(z(3), &[Chunk::CookieAck]);
    assert_eq!(ladder.state(), AssociationState::Established);
    assert!(ladder.path(z(3)).primary);
    // Only the other learned address is asked; the nonce that is on its way still counts.
    for probe in ladder.hears_all() {
        assert_eq!(probe.destination, z(4));
        assert!(matches!(probe.only(), Chunk::Heartbeat(_)));
    }
    let Chunk::Heartbeat(heartbeat) = again.chunks[1].clone() else { unreachable!() };
    ladder.says(z(3), &[Chunk::HeartbeatAck(heartbeat)]);
    assert_eq!(ladder.path(z(3)).state, PathState::Active);
    ladder.expects(z(3), &[ChunkType::DATA]);
}

#[test]
fn an_init_ack_by_tag_alone_that_names_no_address_to_speak_to_belongs_to_nothing() {
    let name = "an_init_ack_by_tag_alone_that_names_no_address_to_speak_to_belongs_to_nothing";
    let mut ladder = Ladder::with(name, config(|_| {}), &[a(1), a6(1)], &[z(1), z6(1)]);
    let options = ConnectOptions::default().with(|options| {
        options.accept_init_ack_by_tag = true;
        options.advertise = Advertise::Explicit(vec![a(1)]);
    });
    ladder.connectx_with(&[z(1)], options);
    ladder.expects(z(1), &[ChunkType::INIT]);
    let tag = ladder.our_tag;
    // The association has no IPv6 address to send a COOKIE ECHO from.
    ladder.says(z6(1), &[ladder.init_ack(&[])]);
    let answer = ladder.hears();
    assert_eq!((answer.destination, answer.header.verification_tag), (z6(1), tag));
    assert!(matches!(answer.only(), Chunk::Abort(_)), "RFC 9260, 8.4 (8): {answer:?}");
    assert_eq!((ladder.state(), peers(&ladder)), (AssociationState::CookieWait, vec![z(1)]));
    ladder.expects_within(secs(1), z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
}

#[test]
fn the_right_nonce_confirms_before_the_set_up_is_over_too() {
    let name = "the_right_nonce_confirms_before_the_set_up_is_over_too";
    let mut ladder = Ladder::new(name);
    let options = ConnectOptions::default().with(|options| options.accept_init_ack_by_tag = true);
    ladder.connectx_with(&[z(1)], options);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(3), &[ladder.init_ack(&[])]);
    let echo = ladder.expects(z(3), &[ChunkType::COOKIE_ECHO, ChunkType::HEARTBEAT]);
    let Chunk::Heartbeat(heartbeat) = echo.chunks[1].clone() else { unreachable!() };
    ladder.says(z(3), &[Chunk::HeartbeatAck(heartbeat)]);
    assert_eq!(ladder.state(), AssociationState::CookieEchoed, "it is no COOKIE ACK");
    assert_eq!(ladder.path(z(3)).state, PathState::Active);
    ladder.says(z(3), &[Chunk::CookieAck]);
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn the_same_init_ack_twice_makes_one_association() {
    let mut ladder = asked("the_same_init_ack_twice_makes_one_association", &[z(1), z(2)]);
    let init_ack = ladder.init_ack(&[z(1), z(2)]);
    ladder.says(z(1), std::slice::from_ref(&init_ack));
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    for from in [z(1), z(2)] {
        ladder.says(from, std::slice::from_ref(&init_ack));
        assert!(ladder.hears_all().is_empty(), "RFC 9260, 5.2.3");
    }
    ladder.says(z(1), &[Chunk::CookieAck]);
    ladder.says(z(1), &[init_ack]);
    assert!(ladder.hears_all().is_empty());
    let ups = ladder.events().iter().filter(|event| matches!(event, Event::CommUp { .. })).count();
    assert_eq!((ups, ladder.state()), (1, AssociationState::Established));
}

#[test]
fn the_primary_path_is_the_first_listed_address_if_it_answered_and_else_the_one_that_did() {
    let name =
        "the_primary_path_is_the_first_listed_address_if_it_answered_and_else_the_one_that_did";
    // INITs have gone to both; what counts is who answers, not who was tried last.
    for (source, listed, primary) in [
        (z(1), vec![z(1), z(2), z(3)], z(1)),
        (z(2), vec![z(1), z(2), z(3)], z(2)),
        (z(3), vec![z(2), z(3)], z(3)),
        // Not from a listed one: the COOKIE ECHO goes to one that is, and so does what follows.
        (z(4), vec![z(1), z(4)], z(1)),
    ] {
        let mut ladder = asked(name, &[z(1), z(2), z(3)]);
        ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]);
        ladder.says(source, &[ladder.init_ack(&listed)]);
        ladder.expects(primary, &[ChunkType::COOKIE_ECHO]);
        ladder.says(primary, &[Chunk::CookieAck]);
        assert!(ladder.path(primary).primary, "{source}");
        let told = ladder.events().into_iter().find_map(|event| match event {
            Event::CommUp { primary, .. } => Some(primary),
            _ => None,
        });
        assert_eq!(told, Some(primary));
    }
}

#[test]
fn an_init_from_the_second_listed_address_joins_the_attempt() {
    let name = "an_init_from_the_second_listed_address_joins_the_attempt";
    let mut ladder = asked(name, &[z(1), z(2), z(3)]);
    let (tag, tsn) = (ladder.our_tag, ladder.our_tsn);
    let theirs = ladder.init(&[z(2), z(3), z(4)]);
    ladder.says_with_tag(VerificationTag::ZERO, z(2), &[theirs]);
    // RFC 9260, 5.2.1: the tag and the TSN of our own INIT, to where theirs came from.
    let answer = ladder.expects(z(2), &[ChunkType::INIT_ACK]);
    assert_eq!((answer.init().initiate_tag, answer.init().initial_tsn), (tag, tsn));
    assert_eq!(ladder.state(), AssociationState::CookieWait);
    ladder.says(z(2), &[Chunk::CookieEcho(answer.cookie())]);
    assert!(matches!(ladder.hears().chunks[0], Chunk::CookieAck));
    assert_eq!(ladder.state(), AssociationState::Established);
    assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 1);
    // The drop rule holds here as well, and what the caller listed is confirmed.
    let states: Vec<_> = ladder.paths().iter().map(|path| (path.peer, path.state)).collect();
    let (active, unconfirmed) = (PathState::Active, PathState::Unconfirmed);
    assert_eq!(states, [(z(2), active), (z(3), active), (z(4), unconfirmed)]);
    assert_eq!(removed(&ladder), [z(1)]);
    assert!(ladder.path(z(2)).primary);
    // T1-init is over.
    let inits = |ladder: &mut Ladder| {
        ladder.hears_all().iter().filter(|one| matches!(one.chunks[0], Chunk::Init(_))).count()
    };
    ladder.network.run_for(secs(5));
    assert_eq!(inits(&mut ladder), 0);
}

#[test]
fn a_loopback_address_and_a_global_one_stay_in_either_order_if_both_sides_list_them() {
    let name = "a_loopback_address_and_a_global_one_stay_in_either_order_if_both_sides_list_them";
    let (here, there) = (ip("127.0.0.2"), ip("203.0.113.1"));
    let (ours, theirs) = ([ip("127.0.0.1"), ip("198.51.100.1")], [here, there]);
    // Loopback leads to a peer on this host, which has the global address then, and to no other.
    for is_here in [true, false] {
        for list in [[here, there], [there, here]] {
            let mut ladder = asked_between(name, &ours, &theirs, &list);
            let global = is_here.then_some((there, 0));
            ladder.network.with_endpoint(ladder.ours, |end, _| end.set_host_addresses(global));
            let from = if is_here { list[0] } else { there };
            ladder.says(from, &[ladder.init_ack(&list)]);
            ladder.expects(from, &[ChunkType::COOKIE_ECHO]);
            assert_eq!(peers(&ladder), if is_here { list.to_vec() } else { vec![there] });
            let change = AddressChange::Removed(RemovedReason::OwnAddress);
            let told = Event::PeerAddressChange { peer: here, change };
            assert_eq!(ladder.events().contains(&told), !is_here);
            assert!(removed(&ladder).is_empty());
        }
    }
}

#[test]
fn a_private_address_that_both_sides_list_stays_behind_a_global_one_that_answers() {
    // Linux drops it (connectx.md, 3); here scopes are a matter of what is learned.
    let name = "a_private_address_that_both_sides_list_stays_behind_a_global_one_that_answers";
    let there = ip("203.0.113.1");
    for list in [[there, z(1)], [z(1), there]] {
        let ours = [a(1), ip("198.51.100.1")];
        let mut ladder = asked_between(name, &ours, &[z(1), z(2), there], &list);
        let from = there;
        ladder.says(from, &[ladder.init_ack(&[z(1), there])]);
        ladder.expects(from, &[ChunkType::COOKIE_ECHO]);
        assert_eq!(peers(&ladder), list);
        assert!(ladder.paths().iter().all(|path| path.state == PathState::Active));
    }
}

#[test]
fn addresses_that_reach_less_far_than_those_in_use_are_not_learned() {
    let name = "addresses_that_reach_less_far_than_those_in_use_are_not_learned";
    let (global, other) = (ip("203.0.113.1"), ip("203.0.113.2"));
    let (here, link) = (ip("127.0.0.2"), ip("169.254.0.2"));
    let offered = [global, other, z(1), here, link, ip("fe80::2"), ip("2001:db8::2")];
    let ours = [a(1), ip("198.51.100.1"), ip("127.0.0.1"), ip("2001:db8::1")];
    let theirs = [global, other, z(1), here, link, ip("2001:db8::2")];
    let table = [
        // From a host in the internet, nothing of its private network.
        (vec![global], vec![global, other, ip("2001:db8::2")]),
        // In the private network, also what reaches farther.
        (vec![z(1)], vec![z(1), global, other, ip("2001:db8::2")]),
        // A private address that both list shows that both are in that network.
        (vec![global, z(1)], vec![global, z(1), other, ip("2001:db8::2")]),
        (vec![here], vec![here, global, other, z(1), link, ip("2001:db8::2")]),
    ];
    for (list, expected) in table {
        let mut ladder = asked_between(name, &ours, &theirs, &list);
        ladder.says(list[0], &[ladder.init_ack(&offered)]);
        ladder.expects(list[0], &[ChunkType::COOKIE_ECHO]);
        assert_eq!(peers(&ladder), expected, "{list:?}");
    }
}

#[test]
fn the_side_that_was_opened_learns_no_addresses_that_reach_less_far_either() {
    let name = "the_side_that_was_opened_learns_no_addresses_that_reach_less_far_either";
    let global = ip("203.0.113.1");
    let ours = [a(1), ip("198.51.100.1")];
    for (source, expected) in [(global, vec![global]), (z(1), vec![z(1), global])] {
        let mut ladder = Ladder::with(name, config(|_| {}), &ours, &[global, z(1)]);
        ladder.network.listen(ladder.ours, true);
        ladder.towards = if source == global { ours[1] } else { ours[0] };
        let init = ladder.init(&[global, z(1), ip("127.0.0.2")]);
        ladder.says_with_tag(VerificationTag::ZERO, source, &[init]);
        let answer = ladder.expects(source, &[ChunkType::INIT_ACK]);
        ladder.says(source, &[Chunk::CookieEcho(answer.cookie())]);
        ladder.id = ladder.network.newest(ladder.ours);
        assert_eq!(peers(&ladder), expected, "{source}");
    }
}

#[test]
fn a_link_local_address_that_both_sides_list_stays_and_one_of_the_peer_alone_is_not_learned() {
    let name =
        "a_link_local_address_that_both_sides_list_stays_and_one_of_the_peer_alone_is_not_learned";
    let near = ip("fe80::2");
    let mut ladder = Ladder::with(name, config(|_| {}), &[a6(1)], &[z6(1), near]);
    let zoned = std::net::SocketAddrV6::new("fe80::2".parse().unwrap(), PEER_PORT, 0, 2);
    let list = [SocketAddr::new(z6(1), PEER_PORT), zoned.into()];
    let id = ladder.network.connectx(ladder.ours, &list, ConnectOptions::default()).unwrap();
    ladder.id = Some(id);
    ladder.expects(z6(1), &[ChunkType::INIT]);
    ladder.says(z6(1), &[ladder.init_ack(&[ip("fe80::3"), near, z6(1)])]);
    ladder.expects(z6(1), &[ChunkType::COOKIE_ECHO]);
    assert_eq!((peers(&ladder), removed(&ladder)), (vec![z6(1), near], vec![]));
}
