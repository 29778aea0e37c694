//! AS 1.1 to 1.6: the handshake, its timers, refusals, and the fixed fields of INIT and INIT ACK (RFC 9260, 5.1).

use std::time::Duration;

use usctp_assoc::sim::z;
use usctp_assoc::{AssociationState, Event, LostReason, Message, Role, SendError};
use usctp_chunk::{Cause, CauseCode, Chunk, ChunkType, Init, VerificationTag};

use crate::tester::{COOKIE, NEW, NONE, Tester, abort, causes, data, secs};
use AssociationState::{Closed, CookieEchoed, CookieWait, Established};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn as_1_1_1_the_iut_opens_an_association() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1)]);
    let init = t.expects(&[ChunkType::INIT]);
    assert_eq!(init.header.verification_tag, NONE, "RFC 9260, 8.5.1 (A)");
    assert_ne!(init.init().initiate_tag, NONE);
    t.is(CookieWait);
    t.says(&[t.init_ack()]);
    let echo = t.expects(&[ChunkType::COOKIE_ECHO]);
    assert_eq!(*echo.only(), Chunk::CookieEcho(COOKIE.into()), "the cookie comes back unchanged");
    assert_eq!(echo.header.verification_tag, t.tag);
    t.is(CookieEchoed);
    t.says(&[Chunk::CookieAck]);
    t.is(Established);
    assert!(matches!(t.iut.events().last(), Some(Event::CommUp { role: Role::Active, .. })));
    t.silence(secs(10));
}

#[test]
fn as_1_1_2_the_tester_opens_an_association_and_the_iut_keeps_no_state_before_the_cookie() {
    let mut t = Tester::new();
    t.iut.listen();
    t.says_with_tag(NONE, &[t.init()]);
    let init_ack = t.expects(&[ChunkType::INIT_ACK]);
    assert_eq!(init_ack.header.verification_tag, t.tag);
    assert_ne!(init_ack.init().initiate_tag, NONE);
    assert_eq!((t.iut.associations(), t.iut.events().len()), (0, 0), "RFC 9260, 5.1 (B)");
    t.says(&[Chunk::CookieEcho(init_ack.cookie())]);
    let ack = t.expects(&[ChunkType::COOKIE_ACK]);
    assert_eq!(ack.header.verification_tag, t.tag);
    t.is(Established);
    assert!(matches!(t.iut.events()[0], Event::CommUp { role: Role::Passive, .. }));
    t.silence(secs(10));
}

#[test]
fn as_1_2_1_an_init_without_answer_is_sent_again_when_t1_init_expires() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1)]);
    let first = t.expects(&[ChunkType::INIT]);
    let second = t.expects_within(secs(10), &[ChunkType::INIT]);
    let third = t.expects_within(secs(10), &[ChunkType::INIT]);
    // RFC 2960 and 4960 begin with 3 s; RTO.Initial of RFC 9260, 16, is 1 s.
    assert_eq!([second.at - first.at, third.at - second.at], [secs(1), secs(2)]);
    assert_eq!(second.bytes, first.bytes, "the same tag and TSN");
    t.is(CookieWait);
    t.says(&[t.init_ack()]);
    t.expects(&[ChunkType::COOKIE_ECHO]);
    t.silence(Duration::ZERO);
}

#[test]
fn as_1_2_2_a_cookie_echo_without_answer_is_sent_again_when_t1_cookie_expires() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1)]);
    t.expects(&[ChunkType::INIT]);
    t.says(&[t.init_ack()]);
    let first = t.expects(&[ChunkType::COOKIE_ECHO]);
    let second = t.expects_within(secs(10), &[ChunkType::COOKIE_ECHO]);
    let third = t.expects_within(secs(10), &[ChunkType::COOKIE_ECHO]);
    assert_eq!([second.at - first.at, third.at - second.at], [secs(1), secs(2)]);
    assert_eq!(second.bytes, first.bytes);
    t.is(CookieEchoed);
    t.says(&[Chunk::CookieAck]);
    t.is(Established);
    t.silence(secs(100));
}

#[test]
fn as_1_3_1_after_max_init_retransmits_inits_the_attempt_is_given_up() {
    for max in [1, 8] {
        let mut t = Tester::with(|options| options.retransmission.init_max = max);
        t.iut.associate(&[z(1)]);
        let inits = t.hears_for(HOUR).len();
        assert_eq!(inits, usize::from(max) + 1, "the first one and its retransmissions");
        t.is(Closed);
        assert_eq!(t.lost(), Some(LostReason::SetupTimeout));
    }
}

#[test]
fn as_1_3_2_after_max_init_retransmits_cookie_echos_the_attempt_is_given_up() {
    for max in [1, 8] {
        let mut t = Tester::with(|options| options.retransmission.init_max = max);
        t.iut.associate(&[z(1)]);
        t.expects(&[ChunkType::INIT]);
        t.says(&[t.init_ack()]);
        let echos = t.hears_for(HOUR).len();
        assert_eq!(echos, usize::from(max) + 1);
        t.is(Closed);
        assert_eq!(t.lost(), Some(LostReason::SetupTimeout));
    }
}

#[test]
fn as_1_4_1_an_abort_in_answer_to_init_ends_the_attempt() {
    refused(CookieWait);
}

#[test]
fn as_1_4_2_an_abort_in_answer_to_cookie_echo_ends_the_attempt() {
    refused(CookieEchoed);
}

fn refused(state: AssociationState) {
    let mut t = Tester::in_state(state);
    t.says(&[abort(Some(Cause::OutOfResource))]);
    t.is(Closed);
    let cause = Some(CauseCode::OUT_OF_RESOURCE);
    assert_eq!(t.lost(), Some(LostReason::Refused { peer: z(1), cause, no_sctp: false }));
    t.silence(secs(100));
}

#[test]
fn as_1_4_3_an_init_to_an_iut_that_does_not_listen_is_answered_with_abort() {
    let mut t = Tester::new();
    t.says_with_tag(NONE, &[t.init()]);
    let heard = t.expects(&[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, t.tag, "RFC 9260, 8.4 (3)");
    assert!(matches!(heard.only(), Chunk::Abort(abort) if !abort.tag_reflected));
    assert_eq!(t.iut.associations(), 0);
}

#[test]
fn as_1_5_1_the_iut_uses_no_more_streams_than_the_init_ack_allows() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1)]);
    assert_eq!(t.expects(&[ChunkType::INIT]).init().outbound_streams, 10);
    let Chunk::InitAck(init) = t.init_ack() else { unreachable!() };
    t.says(&[Chunk::InitAck(Init { inbound_streams: 3, ..init })]);
    t.expects(&[ChunkType::COOKIE_ECHO]);
    t.says(&[Chunk::CookieAck]);
    uses_three_streams(&mut t);
}

#[test]
fn as_1_5_2_the_iut_uses_no_more_streams_than_the_init_allows() {
    let mut t = Tester::new();
    let init = Init { inbound_streams: 3, ..t.offer([]) };
    let cookie = t.asks_with(Chunk::Init(init));
    t.says(&[Chunk::CookieEcho(cookie)]);
    t.expects(&[ChunkType::COOKIE_ACK]);
    uses_three_streams(&mut t);
}

/// RFC 9260, 5.1.1: the lesser number counts.
fn uses_three_streams(t: &mut Tester) {
    t.is(Established);
    t.iut.send(Message::new(2, "the last stream")).unwrap();
    assert_eq!(data(&[t.expects(&[ChunkType::DATA])])[0].stream.0, 2);
    let refused = t.iut.send(Message::new(3, "no stream")).unwrap_err();
    assert_eq!(refused, SendError::NoSuchStream { stream: 3, streams: 3 });
}

#[test]
fn as_1_5_3_an_init_that_asks_for_more_streams_than_allowed_is_told_how_many_there_are() {
    let mut t = Tester::with(|options| options.limits.inbound_streams = 5);
    t.iut.listen();
    t.says_with_tag(NONE, &[Chunk::Init(Init { outbound_streams: 100, ..t.offer([]) })]);
    let init_ack = t.expects(&[ChunkType::INIT_ACK]);
    assert_eq!(init_ack.init().inbound_streams, 5);
    t.says(&[Chunk::CookieEcho(init_ack.cookie())]);
    t.expects(&[ChunkType::COOKIE_ACK]);
    t.says(&[t.fragment(0, 4, 0, "BE", "the last stream")]);
    t.hears_all();
    t.says(&[t.fragment(1, 5, 0, "BE", "no stream")]);
    let stream = usctp_chunk::StreamId(5);
    assert_eq!(causes(&t.hears_for(secs(1))), [Cause::InvalidStreamIdentifier { stream }]);
    assert_eq!(t.received(), ["the last stream"]);
}

#[test]
fn as_1_6_1_an_init_without_outbound_streams_is_answered_with_abort() {
    init_is_refused(|init| init.outbound_streams = 0);
}

#[test]
fn as_1_6_2_an_init_without_inbound_streams_is_answered_with_abort() {
    init_is_refused(|init| init.inbound_streams = 0);
}

#[test]
fn as_1_6_3_an_init_with_a_window_below_1500_is_answered_with_abort() {
    init_is_refused(|init| init.a_rwnd = 1499);
}

fn init_is_refused(spoil: fn(&mut Init)) {
    let mut t = Tester::new();
    t.iut.listen();
    let mut init = t.offer([]);
    spoil(&mut init);
    t.says_with_tag(NONE, &[Chunk::Init(init)]);
    // RFC 9260, 3.3.2: the ABORT carries the Initiate Tag.
    let heard = t.expects(&[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, t.tag);
    assert!(matches!(heard.only(), Chunk::Abort(abort) if !abort.tag_reflected));
    assert_eq!((t.iut.associations(), t.iut.events().len()), (0, 0));
    t.silence(secs(10));
}

#[test]
fn as_1_6_4_an_init_ack_without_streams_is_answered_with_abort_and_ends_the_attempt() {
    let spoil: [fn(&mut Init); 2] =
        [|init| init.outbound_streams = 0, |init| init.inbound_streams = 0];
    for spoil in spoil {
        let mut t = Tester::in_state(CookieWait);
        let Chunk::InitAck(mut init) = t.init_ack() else { unreachable!() };
        spoil(&mut init);
        t.says(&[Chunk::InitAck(init)]);
        // RFC 9260, 3.3.3.
        let heard = t.expects(&[ChunkType::ABORT]);
        assert_eq!(heard.header.verification_tag, t.tag);
        t.is(Closed);
        assert!(t.lost().is_some());
    }
}

#[test]
fn as_1_6_5_an_init_with_initiate_tag_0_is_discarded() {
    let mut t = Tester::new();
    t.iut.listen();
    let init = Init { initiate_tag: VerificationTag::ZERO, ..t.offer([]) };
    t.says_with_tag(NONE, &[Chunk::Init(init)]);
    // RFC 2960 and 4960 want an ABORT; RFC 9260, 3.3.2: silently.
    t.silence(secs(10));
    assert_eq!(t.iut.associations(), 0);
}

#[test]
fn as_1_6_6_an_init_ack_with_initiate_tag_0_is_answered_with_abort_and_ends_the_attempt() {
    let mut t = Tester::in_state(CookieWait);
    let Chunk::InitAck(init) = t.init_ack() else { unreachable!() };
    t.says(&[Chunk::InitAck(Init { initiate_tag: VerificationTag::ZERO, ..init })]);
    // RFC 9260, 3.3.3: the TCB is destroyed, and the ABORT reflects the tag of the INIT ACK's packet.
    t.is(Closed);
    assert!(t.lost().is_some());
    let heard = t.expects(&[ChunkType::ABORT]);
    assert!(matches!(heard.only(), Chunk::Abort(abort) if abort.tag_reflected));
    assert_eq!(heard.header.verification_tag, t.iut_tag);
}

#[test]
fn as_1_6_7_an_init_ack_with_a_window_below_1500_is_answered_with_abort_and_changes_nothing() {
    let mut t = Tester::in_state(CookieWait);
    let Chunk::InitAck(init) = t.init_ack() else { unreachable!() };
    t.says(&[Chunk::InitAck(Init { a_rwnd: 1499, ..init })]);
    let heard = t.expects(&[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, t.tag);
    // RFC 9260, 3.3.3: the packet is discarded; unlike with streams, the state stays as it was.
    t.is(CookieWait);
    t.says(&[t.init_ack()]);
    t.expects(&[ChunkType::COOKIE_ECHO]);
}

#[test]
fn as_1_6_8_an_invalid_init_does_not_change_an_association_that_exists() {
    let spoil: [fn(&mut Init); 4] = [
        |init| init.outbound_streams = 0,
        |init| init.inbound_streams = 0,
        |init| init.a_rwnd = 0,
        |init| init.initiate_tag = NONE,
    ];
    for spoil in spoil {
        let mut t = Tester::in_state(Established);
        let events = t.iut.events();
        t.tag = NEW;
        let mut init = t.offer([]);
        spoil(&mut init);
        let discarded = init.initiate_tag == NONE;
        t.says_with_tag(NONE, &[Chunk::Init(init)]);
        // RFC 9260, 3.3.2.
        if !discarded {
            assert_eq!(t.expects(&[ChunkType::ABORT]).header.verification_tag, NEW);
        }
        t.silence(secs(10));
        t.is(Established);
        assert_eq!(t.iut.events(), events);
    }
}
