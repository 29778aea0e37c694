//! AS 1.7 to 1.14: addresses, cookies and parameters of INIT and INIT ACK (RFC 9260, 3.2.1, 5.1.2 to 5.1.5).

use std::collections::BTreeSet;

use bytes::BytesMut;
use usctp_assoc::sim::{PEER_PORT, a, z, z6};
use usctp_assoc::{AssociationState, Event, PathState};
use usctp_chunk::{Cause, Chunk, ChunkType, Heartbeat, Parameter, ParameterType, Parameters};

use crate::tester::{
    COOKIE, NONE, Tester, WRONG, addresses, causes, error, ms, sack, secs, unknown_parameter,
};
use AssociationState::{Closed, CookieEchoed, CookieWait, Established};

/// A host name parameter of RFC 2960; RFC 9260 has deprecated it.
fn host_name() -> Parameter {
    Parameter::HostName(b"peer.example\0"[..].into())
}

#[test]
fn as_1_7_1_the_addresses_of_an_init_are_used_once_they_are_confirmed() {
    let mut t = Tester::new();
    let cookie = t.asks_with(Chunk::Init(t.offer(addresses(&[z(1), z(2), z(3)]))));
    t.says(&[Chunk::CookieEcho(cookie)]);
    let mut heard = t.hears_all();
    assert_eq!(heard[0].chunks[0], Chunk::CookieAck);
    assert_eq!(t.peers(), [z(1), z(2), z(3)]);
    // RFC 9260, 5.4: what RFC 2960 used at once gets a HEARTBEAT first, one path in an RTO.
    for to in [z(2), z(3)] {
        assert_eq!(t.path(to).state, PathState::Unconfirmed);
        let probe = heard.pop().unwrap();
        assert_eq!(probe.destination, to);
        let Chunk::Heartbeat(Heartbeat { info, .. }) = probe.only() else { panic!("{probe:?}") };
        t.says_from(to, &[Chunk::HeartbeatAck(Heartbeat::new(info.clone()))]);
        assert_eq!(t.path(to).state, PathState::Active);
        heard = t.hears_for(secs(1));
    }
    t.iut.set_primary(z(3));
    t.user_sends("to the third");
    t.expects_at(z(3), &[ChunkType::DATA]);
}

#[test]
fn as_1_7_2_an_init_without_addresses_leaves_its_source_as_the_only_one() {
    let mut t = Tester::new();
    t.opens();
    assert_eq!(t.peers(), [z(1)]);
}

#[test]
fn as_1_7_3_an_init_with_a_host_name_is_answered_with_abort() {
    let mut t = Tester::new();
    t.iut.listen();
    t.says_with_tag(NONE, &[Chunk::Init(t.offer([host_name()]))]);
    // RFC 2960 wants it resolved; RFC 9260, 5.1.2 (B), an ABORT in any case.
    let heard = t.expects_at(z(1), &[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, t.tag);
    assert!(matches!(causes(&[heard])[..], [Cause::UnresolvableAddress(_)]));
    assert_eq!(t.iut.associations(), 0);
}

#[test]
fn as_1_7_4_addresses_of_a_family_that_the_iut_lacks_are_ignored_in_an_init() {
    let mut t = Tester::new();
    let cookie = t.asks_with(Chunk::Init(t.offer(addresses(&[z6(1), z(1)]))));
    t.says(&[Chunk::CookieEcho(cookie)]);
    t.expects(&[ChunkType::COOKIE_ACK]);
    assert_eq!(t.peers(), [z(1)]);
}

#[test]
fn as_1_7_5_the_init_ack_goes_back_to_the_source_of_the_init_from_where_it_was_sent_to() {
    let mut t = Tester::new();
    t.iut.listen();
    let packet = t.packet(NONE, &[Chunk::Init(t.offer(addresses(&[z(1), z(2)])))]);
    t.iut.carry(z(2), a(2), packet);
    let heard = t.expects_at(z(2), &[ChunkType::INIT_ACK]);
    assert_eq!(heard.source, a(2));
    assert_eq!(heard.addresses(), [a(1), a(2)], "all of the IUT's addresses are listed");
}

#[test]
fn as_1_8_1_the_addresses_of_an_init_ack_are_the_peers() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1), z(2)]);
    t.expects(&[ChunkType::INIT]);
    t.says(&[t.init_ack_with(addresses(&[z(1), z(2), z(3)]))]);
    t.expects(&[ChunkType::COOKIE_ECHO]);
    t.says(&[Chunk::CookieAck]);
    assert_eq!(t.peers(), [z(1), z(2), z(3)]);
    let states = t.iut.paths().iter().map(|path| path.state).collect::<Vec<_>>();
    assert_eq!(states, [PathState::Active, PathState::Active, PathState::Unconfirmed]);
}

#[test]
fn as_1_8_2_an_init_ack_without_addresses_leaves_its_source_as_the_only_one() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1), z(2)]);
    t.expects(&[ChunkType::INIT]);
    t.says(&[t.init_ack()]);
    t.expects(&[ChunkType::COOKIE_ECHO]);
    assert_eq!(t.peers(), [z(1)]);
}

#[test]
fn as_1_8_3_an_init_ack_with_a_host_name_is_answered_with_abort() {
    let mut t = Tester::in_state(CookieWait);
    t.says(&[t.init_ack_with([host_name()])]);
    let heard = t.expects_at(z(1), &[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, t.tag);
    t.is(Closed);
}

#[test]
fn as_1_9_1_an_init_ack_without_cookie_is_answered_with_abort() {
    let mut t = Tester::in_state(CookieWait);
    t.says(&[Chunk::InitAck(t.offer([]))]);
    let heard = t.expects(&[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, t.tag);
    let causes = causes(&[heard]);
    let [Cause::MissingMandatoryParameter(missing)] = &causes[..] else { panic!("{causes:?}") };
    assert_eq!(missing.iter().collect::<Vec<_>>(), [ParameterType::STATE_COOKIE]);
    t.is(Closed);
}

#[test]
fn as_1_9_2_an_init_that_ends_within_its_fixed_fields_or_a_parameter_opens_nothing() {
    let whole = {
        let t = Tester::new();
        let mut bytes = BytesMut::new();
        Chunk::Init(t.offer(addresses(&[z(1)]))).encode(&mut bytes);
        bytes
    };
    // Within the fixed fields; behind them, but with a parameter that runs over the end.
    for len in [16_u8, 24, 26] {
        let mut t = Tester::new();
        t.iut.listen();
        let mut cut = whole[..usize::from(len).next_multiple_of(4)].to_vec();
        cut[3] = len;
        t.says_raw(NONE, &cut);
        // A discard or an ABORT is right (RFC 9260, 3.2.1 and 5.1); an INIT ACK is not.
        let heard = t.hears_all();
        assert!(heard.iter().all(|heard| matches!(heard.only(), Chunk::Abort(_))), "{heard:?}");
        assert_eq!(t.iut.associations(), 0);
    }
}

#[test]
fn as_1_10_1_an_unknown_parameter_of_type_00_in_an_init_ends_the_reading() {
    unknown_in_init(0x3fff, false, false);
}

#[test]
fn as_1_10_2_an_unknown_parameter_of_type_01_in_an_init_ends_the_reading_and_is_reported() {
    unknown_in_init(0x7fff, false, true);
}

#[test]
fn as_1_10_3_an_unknown_parameter_of_type_10_in_an_init_is_skipped() {
    unknown_in_init(0xbfff, true, false);
}

#[test]
fn as_1_10_4_an_unknown_parameter_of_type_11_in_an_init_is_skipped_and_reported() {
    unknown_in_init(0xffff, true, true);
}

/// RFC 9260, 3.2.1: also where the reading ends, the INIT is answered.
fn unknown_in_init(kind: u16, skipped: bool, reported: bool) {
    let mut t = Tester::new();
    t.iut.listen();
    let unknown = unknown_parameter(kind);
    let whole = Parameters::from_iter([unknown.clone()]).as_bytes().clone();
    let behind = Parameter::from_ip(z(2));
    t.says_with_tag(NONE, &[Chunk::Init(t.offer([unknown, behind]))]);
    let heard = t.expects(&[ChunkType::INIT_ACK]);
    let reports = heard.init().parameters.iter().filter_map(|parameter| match parameter.unwrap() {
        Parameter::UnrecognizedParameter(bytes) => Some(bytes),
        _ => None,
    });
    let expected = if reported { vec![whole] } else { vec![] };
    assert_eq!(reports.collect::<Vec<_>>(), expected);
    t.says(&[Chunk::CookieEcho(heard.cookie())]);
    assert_eq!(t.hears_all()[0].chunks[0], Chunk::CookieAck);
    assert_eq!(t.peers().contains(&z(2)), skipped, "what stands behind it");
}

#[test]
fn as_1_11_1_an_unknown_parameter_of_type_00_in_an_init_ack_ends_the_reading() {
    unknown_in_init_ack(0x3fff, false, false);
}

#[test]
fn as_1_11_2_an_unknown_parameter_of_type_01_in_an_init_ack_ends_the_reading_and_is_reported() {
    unknown_in_init_ack(0x7fff, false, true);
}

#[test]
fn as_1_11_3_an_unknown_parameter_of_type_10_in_an_init_ack_is_skipped() {
    unknown_in_init_ack(0xbfff, true, false);
}

#[test]
fn as_1_11_4_an_unknown_parameter_of_type_11_in_an_init_ack_is_skipped_and_reported() {
    unknown_in_init_ack(0xffff, true, true);
}

/// RFC 9260, 3.2.2: the report is an ERROR next to the COOKIE ECHO.
fn unknown_in_init_ack(kind: u16, skipped: bool, reported: bool) {
    let mut t = Tester::in_state(CookieWait);
    let unknown = unknown_parameter(kind);
    let whole = Parameters::from_iter([unknown.clone()]).as_bytes().clone();
    let state_cookie = Parameter::StateCookie(COOKIE.into());
    let list = [state_cookie, unknown, Parameter::from_ip(z(2))];
    t.says(&[Chunk::InitAck(t.offer(list))]);
    let heard = t.hears_all();
    assert_eq!(heard[0].chunks[0], Chunk::CookieEcho(COOKIE.into()));
    let expected = if reported { vec![Cause::UnrecognizedParameters(whole)] } else { vec![] };
    assert_eq!(causes(&heard), expected);
    assert_eq!(t.peers().contains(&z(2)), skipped, "what stands behind it");
    t.says(&[Chunk::CookieAck]);
    t.is(Established);
}

#[test]
fn as_1_12_1_a_cookie_that_was_altered_is_discarded() {
    let mut t = Tester::new();
    let cookie = t.asks_with(t.init());
    for at in [0, cookie.len() / 2, cookie.len() - 1] {
        let mut altered = cookie.to_vec();
        altered[at] ^= 1;
        t.says(&[Chunk::CookieEcho(altered.into()), t.data(0, "never")]);
        t.silence(secs(1));
    }
    assert_eq!(t.iut.associations(), 0, "RFC 9260, 5.1.5 (2)");
}

#[test]
fn as_1_12_2_a_cookie_with_another_tag_or_port_is_discarded() {
    let mut t = Tester::new();
    let cookie = t.asks_with(t.init());
    t.says_with_tag(WRONG, &[Chunk::CookieEcho(cookie.clone())]);
    let packet = t.packet_from(PEER_PORT + 1, t.iut_tag, &[Chunk::CookieEcho(cookie)]);
    t.iut.carry(z(1), a(1), packet);
    t.silence(secs(1));
    assert_eq!(t.iut.associations(), 0, "RFC 9260, 5.1.5 (3)");
}

#[test]
fn as_1_12_3_a_cookie_that_expired_is_answered_with_how_stale_it_is() {
    let mut t = Tester::with(|options| options.cookie.lifetime = secs(5));
    let cookie = t.asks_with(t.init());
    t.iut.wait(ms(5_700));
    t.says(&[Chunk::CookieEcho(cookie), t.data(0, "too late")]);
    let heard = t.expects(&[ChunkType::ERROR]);
    assert_eq!(heard.header.verification_tag, t.tag);
    assert_eq!(causes(&[heard]), [Cause::StaleCookie { staleness_us: 700_000 }]);
    assert_eq!((t.iut.associations(), t.received()), (0, vec![]));
}

#[test]
fn as_1_12_4_a_cookie_preservative_in_an_init_lets_the_cookie_live_longer() {
    let mut t = Tester::with(|options| options.cookie.lifetime = secs(5));
    let wish = Parameter::CookiePreservative { increment_ms: 1_000 };
    let cookie = t.asks_with(Chunk::Init(t.offer([wish])));
    t.iut.wait(ms(5_700));
    t.says(&[Chunk::CookieEcho(cookie)]);
    t.expects(&[ChunkType::COOKIE_ACK]);
    t.is(Established);
}

#[test]
fn as_1_12_4_a_cookie_lives_no_longer_than_its_key_whatever_the_preservative_says() {
    let mut t = Tester::with(|options| {
        options.cookie.lifetime = secs(10);
        options.cookie.key_lifetime = secs(10);
    });
    let wish = Parameter::CookiePreservative { increment_ms: 10_000 };
    let cookie = t.asks_with(Chunk::Init(t.offer([wish])));
    t.iut.wait(secs(11));
    t.says(&[Chunk::CookieEcho(cookie)]);
    let heard = t.expects(&[ChunkType::ERROR]);
    assert_eq!(causes(&[heard]), [Cause::StaleCookie { staleness_us: 1_000_000 }]);
}

#[test]
fn as_1_12_5_a_stale_cookie_error_makes_the_iut_ask_again_for_a_cookie_that_lives_longer() {
    let mut t = Tester::in_state(CookieEchoed);
    t.says(&[error(Cause::StaleCookie { staleness_us: 700_000 })]);
    t.is(CookieWait);
    let init = t.expects(&[ChunkType::INIT]);
    // RFC 9260, 5.2.6 (3): no more than a second beyond the round trip, which is 0 here.
    let wish = Parameter::CookiePreservative { increment_ms: 1_000 };
    assert!(init.init().parameters.iter().any(|found| found.as_ref() == Ok(&wish)), "{init:?}");
    t.says(&[t.init_ack()]);
    t.expects(&[ChunkType::COOKIE_ECHO]);
    t.says(&[Chunk::CookieAck]);
    t.is(Established);
}

#[test]
fn as_1_13_1_data_bundled_with_cookie_echo_is_delivered_and_acknowledged() {
    let mut t = Tester::new();
    let cookie = t.asks_with(t.init());
    t.says(&[Chunk::CookieEcho(cookie), t.data(0, "early")]);
    let heard = t.hears_for(ms(200));
    assert_eq!(heard[0].chunks[0], Chunk::CookieAck, "RFC 9260, 5.1 (D): first in its packet");
    let acknowledged =
        heard.iter().find(|heard| heard.chunks.iter().any(|chunk| matches!(chunk, Chunk::Sack(_))));
    assert_eq!(sack(acknowledged.expect("a SACK")).cumulative_tsn, t.tsn);
    assert_eq!(t.received(), ["early"]);
}

#[test]
fn as_1_13_2_data_bundled_with_cookie_ack_is_delivered_and_acknowledged() {
    let mut t = Tester::in_state(CookieEchoed);
    t.says(&[Chunk::CookieAck, t.data(0, "early")]);
    t.is(Established);
    assert_eq!(sack(&t.expects(&[ChunkType::SACK])).cumulative_tsn, t.tsn);
    assert_eq!(t.received(), ["early"]);
}

#[test]
fn as_1_13_3_the_users_first_data_leaves_with_the_cookie_echo_or_after_cookie_ack() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1)]);
    t.expects(&[ChunkType::INIT]);
    t.user_sends("first");
    t.silence(ms(500));
    t.says(&[t.init_ack()]);
    let heard = t.hears_all();
    assert_eq!(heard[0].chunks[0], Chunk::CookieEcho(COOKIE.into()), "RFC 9260, 5.1 (C)");
    let early = crate::tester::data(&heard).len();
    t.says(&[Chunk::CookieAck]);
    let late = crate::tester::data(&t.hears_all()).len();
    assert_eq!(early + late, 1);
    t.says(&[t.sack(1)]);
    assert!(t.iut.events().contains(&Event::SenderDry));
}

#[test]
fn as_1_14_1_a_supported_address_types_parameter_is_taken_without_an_error() {
    for types in [vec![5], vec![6], vec![5, 6]] {
        let mut t = Tester::new();
        t.iut.listen();
        let supported = Parameter::SupportedAddressTypes(types.into_iter().collect());
        t.says_with_tag(NONE, &[Chunk::Init(t.offer([supported]))]);
        // RFC 9260, 5.1.2: the family of the packet counts as supported, whatever the list says.
        let heard = t.expects(&[ChunkType::INIT_ACK]);
        let reported = heard
            .init()
            .parameters
            .iter()
            .any(|parameter| matches!(parameter, Ok(Parameter::UnrecognizedParameter(_))));
        assert!(!reported);
    }
}

#[test]
fn as_1_14_2_every_init_ack_has_a_tag_and_a_first_tsn_of_its_own() {
    let mut t = Tester::new();
    t.iut.listen();
    let (mut tags, mut tsns) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..20 {
        t.says_with_tag(NONE, &[t.init()]);
        t.expects(&[ChunkType::INIT_ACK]);
        tags.insert(t.iut_tag.0);
        tsns.insert(t.iut_tsn.value());
    }
    // RFC 9260, 5.3.1: random, and never 0.
    assert_eq!((tags.len(), tsns.len()), (20, 20));
    assert!(!tags.contains(&0));
}
