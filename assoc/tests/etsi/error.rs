//! E 6: what is reported to the peer, and what becomes of reports (RFC 9260, 3.2, 3.3.10, 5.2.6, 6.2, 6.5).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use usctp_assoc::sim::z;
use usctp_assoc::{AssociationState, Event, LostReason};
use usctp_chunk::{Cause, CauseCode, Chunk, ChunkType, StreamId};

use crate::tester::{NEW, NONE, Tester, causes, error, ms, sack, secs, unknown};
use AssociationState::{Closed, Established};

#[test]
fn e_6_1_data_for_a_stream_that_does_not_exist_is_acknowledged_and_reported() {
    let mut t = Tester::with(|options| options.limits.inbound_streams = 4);
    t.iut_opens(&[z(1)]);
    t.says(&[t.fragment(0, 4, 0, "BE", "no stream")]);
    let heard = t.hears_for(ms(200));
    assert_eq!(causes(&heard), [Cause::InvalidStreamIdentifier { stream: StreamId(4) }]);
    let answer =
        heard.iter().find(|heard| heard.chunks.iter().any(|chunk| matches!(chunk, Chunk::Sack(_))));
    assert_eq!(sack(answer.expect("a SACK")).cumulative_tsn, t.tsn);
    assert_eq!(t.received(), Vec::<String>::new());
    t.is(Established);
}

#[test]
fn e_6_2_data_without_user_data_is_answered_with_abort() {
    let mut t = Tester::in_state(Established);
    t.says(&[t.data(0, "")]);
    let heard = t.expects(&[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, t.tag);
    assert_eq!(causes(&[heard]), [Cause::NoUserData { tsn: t.tsn }]);
    t.is(Closed);
    let reason = LostReason::PeerViolation(CauseCode::NO_USER_DATA);
    assert_eq!(t.lost(), Some(reason));
}

#[test]
fn e_6_3_an_unknown_chunk_of_type_00_ends_the_packet() {
    unknown_chunk(0x3f, false, false);
}

#[test]
fn e_6_4_an_unknown_chunk_of_type_01_ends_the_packet_and_is_reported() {
    unknown_chunk(0x7f, false, true);
}

#[test]
fn e_6_5_an_unknown_chunk_of_type_10_is_skipped() {
    unknown_chunk(0xbf, true, false);
}

#[test]
fn e_6_6_an_unknown_chunk_of_type_11_is_skipped_and_reported() {
    unknown_chunk(0xff, true, true);
}

/// RFC 9260, 3.2: the two high bits decide about the rest of the packet and the report.
fn unknown_chunk(kind: u8, skipped: bool, reported: bool) {
    let mut t = Tester::in_state(Established);
    t.says(&[t.data(0, "before"), unknown(kind), t.data(1, "behind")]);
    let expected: &[&str] = if skipped { &["before", "behind"] } else { &["before"] };
    assert_eq!(t.received(), expected);
    let mut whole = BytesMut::new();
    unknown(kind).encode(&mut whole);
    let expected =
        if reported { vec![Cause::UnrecognizedChunkType(whole.freeze())] } else { vec![] };
    assert_eq!(causes(&t.hears_for(ms(200))), expected);
    t.is(Established);
}

#[test]
fn e_6_7_an_error_is_passed_to_the_user_and_changes_nothing() {
    let mut t = Tester::in_state(Established);
    let paths = t.iut.paths();
    t.says(&[error(Cause::InvalidStreamIdentifier { stream: StreamId(9) }), t.data(0, "behind")]);
    let told = Event::RemoteError(CauseCode::INVALID_STREAM_IDENTIFIER);
    assert!(t.iut.events().contains(&told));
    assert_eq!(t.received(), ["behind"]);
    t.expects(&[ChunkType::SACK]);
    t.silence(Duration::ZERO);
    t.is(Established);
    assert_eq!(t.iut.paths(), paths);
}

#[test]
fn e_6_8_a_stale_cookie_error_after_the_set_up_is_discarded_silently() {
    let mut t = Tester::in_state(Established);
    let events = t.iut.events();
    t.says(&[error(Cause::StaleCookie { staleness_us: 1 })]);
    t.silence(secs(10));
    t.is(Established);
    // RFC 9260, 5.2.6.
    assert_eq!(t.iut.events(), events);
}

#[test]
fn e_6_9_an_error_next_to_cookie_echo_does_not_hinder_the_set_up() {
    let mut t = Tester::new();
    let cookie = t.asks_with(t.init());
    let parameter = Bytes::from_static(&[0xff, 0xff, 0, 4]);
    let report = error(Cause::UnrecognizedParameters(parameter));
    t.says(&[Chunk::CookieEcho(cookie), report]);
    t.expects(&[ChunkType::COOKIE_ACK]);
    t.is(Established);
}

#[test]
fn e_6_10_an_iut_without_room_for_another_association_says_so() {
    let mut t = Tester::with(|options| options.limits.associations = 1);
    t.opens();
    t.tag = NEW;
    let packet = t.packet(NONE, &[t.init()]);
    t.iut.carry(z(2), usctp_assoc::sim::a(1), packet);
    let heard = t.hears_all();
    let [heard] = &heard[..] else { panic!("{heard:?}") };
    if let Chunk::InitAck(_) = heard.only() {
        t.says_from(z(2), &[Chunk::CookieEcho(heard.cookie())]);
        let heard = t.expects_at(z(2), &[ChunkType::ABORT]);
        assert_eq!(heard.header.verification_tag, NEW);
        assert_eq!(causes(&[heard]), [Cause::OutOfResource]);
    } else {
        assert_eq!(causes(std::slice::from_ref(heard)), [Cause::OutOfResource]);
    }
    assert_eq!(t.iut.associations(), 1);
}

#[test]
fn e_6_11_an_abort_with_a_format_error_is_discarded_and_one_with_an_unknown_cause_is_not() {
    // A cause that runs over the end of its chunk; one that no RFC knows.
    for (cause, state) in [([0, 1, 0, 200], Established), ([0x77, 0x77, 0, 4], Closed)] {
        let mut t = Tester::in_state(Established);
        let mut chunk = vec![9, 0, 0, 8];
        chunk.extend(cause);
        t.says_raw(t.iut_tag, &chunk);
        t.silence(Duration::ZERO);
        t.is(Established);
        chunk[0] = 6;
        t.says_raw(t.iut_tag, &chunk);
        // RFC 9260, 3.3.7; never an ABORT for an ABORT.
        t.silence(Duration::ZERO);
        t.is(state);
    }
}
