//! Refusals of an INIT: ABORT and ICMP, real and forged.

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, z};
use usctp_assoc::{
    AssociationState, ConnectOptions, Event, LostReason, MovedOn, NoticeKind, OnRefused, Quote,
};
use usctp_chunk::{Abort, Cause, CauseCode, Causes, Chunk, ChunkType, VerificationTag};

use crate::world::secs;

fn asked(name: &str, on_refused: OnRefused) -> (Ladder, Heard) {
    let mut ladder = Ladder::new(name);
    let options = ConnectOptions::default().with(|options| options.on_refused = on_refused);
    ladder.connectx_with(&[z(1), z(2)], options);
    let init = ladder.expects(z(1), &[ChunkType::INIT]);
    (ladder, init)
}

fn abort(tag_reflected: bool) -> Chunk {
    Chunk::Abort(Abort { tag_reflected, causes: Ladder::causes(Cause::OutOfResource) })
}

fn lost(ladder: &Ladder) -> Vec<LostReason> {
    let events = ladder.events().into_iter().filter_map(|event| match event {
        Event::CommLost(reason) => Some(reason),
        _ => None,
    });
    events.collect()
}

fn refused(peer: std::net::IpAddr) -> LostReason {
    LostReason::Refused { peer, cause: Some(CauseCode::OUT_OF_RESOURCE), no_sctp: false }
}

/// Nothing happened: A is still waiting, and moves on when T1 expires, not before.
fn still_waits(ladder: &mut Ladder) {
    assert_eq!(ladder.state(), AssociationState::CookieWait);
    assert!(ladder.hears_all().is_empty());
    assert_eq!(ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]).at, secs(1));
}

#[test]
fn an_abort_from_the_first_address_ends_the_attempt() {
    let (mut ladder, _) =
        asked("an_abort_from_the_first_address_ends_the_attempt", OnRefused::Fail);
    ladder.says(z(1), &[abort(false)]);
    assert_eq!(lost(&ladder), [refused(z(1))]);
    ladder.silence(secs(300));
}

#[test]
fn an_abort_moves_on_to_the_next_address_if_the_caller_wants_it() {
    let name = "an_abort_moves_on_to_the_next_address_if_the_caller_wants_it";
    let (mut ladder, _) = asked(name, OnRefused::TryNext);
    ladder.says(z(1), &[abort(false)]);
    ladder.expects(z(2), &[ChunkType::INIT]);
    assert!(ladder.events().contains(&Event::MovedOn { peer: z(1), reason: MovedOn::Refused }));
    assert_eq!(lost(&ladder), []);
    ladder.says(z(2), &[abort(false)]);
    assert_eq!(lost(&ladder), [refused(z(2))], "all have refused");
    ladder.silence(secs(300));
}

#[test]
fn after_a_refusal_the_next_address_can_still_answer() {
    let (mut ladder, _) =
        asked("after_a_refusal_the_next_address_can_still_answer", OnRefused::TryNext);
    ladder.says(z(1), &[abort(false)]);
    ladder.expects(z(2), &[ChunkType::INIT]);
    ladder.says(z(2), &[ladder.init_ack(&[z(1), z(2)])]);
    ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(2), &[Chunk::CookieAck]);
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn an_abort_with_a_wrong_tag_changes_nothing() {
    for policy in [OnRefused::Fail, OnRefused::TryNext] {
        let (mut ladder, _) = asked("an_abort_with_a_wrong_tag_changes_nothing", policy);
        let wrong = VerificationTag(ladder.our_tag.0 ^ 0x8000_0000);
        for tag in [wrong, VerificationTag::ZERO] {
            ladder.says_with_tag(tag, z(1), &[abort(false)]);
        }
        still_waits(&mut ladder);
    }
}

#[test]
fn an_abort_with_the_t_bit_cannot_answer_an_init() {
    // RFC 9260, 8.5.1 B: the T bit reflects the peer's tag, which is not known yet.
    let name = "an_abort_with_the_t_bit_cannot_answer_an_init";
    let (mut ladder, _) = asked(name, OnRefused::Fail);
    for tag in [ladder.our_tag, VerificationTag::ZERO, VerificationTag(7)] {
        ladder.says_with_tag(tag, z(1), &[abort(true)]);
    }
    still_waits(&mut ladder);
}

#[test]
fn once_the_peers_tag_is_known_an_abort_may_reflect_it() {
    let name = "once_the_peers_tag_is_known_an_abort_may_reflect_it";
    let mut ladder = Ladder::in_state(name, AssociationState::Established);
    ladder.says(z(1), &[abort(true)]);
    assert_eq!(ladder.state(), AssociationState::Established, "our own tag with the T bit");
    let peer_tag = ladder.peer_tag;
    ladder.says_with_tag(peer_tag, z(1), &[abort(false)]);
    assert_eq!(ladder.state(), AssociationState::Established, "its tag without the T bit");
    ladder.says_with_tag(peer_tag, z(1), &[abort(true)]);
    assert_eq!(ladder.state(), AssociationState::Closed);
    assert!(ladder.hears_all().is_empty(), "RFC 9260, 9.1: an ABORT is never answered");
}

#[test]
fn an_abort_tells_the_applications_reason() {
    let mut ladder =
        Ladder::in_state("an_abort_tells_the_applications_reason", AssociationState::Established);
    let reason = Bytes::from_static(b"going home");
    let causes = Ladder::causes(Cause::UserInitiatedAbort(reason.clone()));
    ladder.says(z(1), &[Chunk::Abort(Abort { tag_reflected: false, causes })]);
    let cause = Some(CauseCode::USER_INITIATED_ABORT);
    assert_eq!(lost(&ladder), [LostReason::PeerAborted { cause, reason }]);
}

#[test]
fn an_abort_without_a_cause_counts_too() {
    let (mut ladder, _) = asked("an_abort_without_a_cause_counts_too", OnRefused::Fail);
    let causes: Causes = std::iter::empty::<Cause>().collect();
    ladder.says(z(1), &[Chunk::Abort(Abort { tag_reflected: false, causes })]);
    assert_eq!(lost(&ladder), [LostReason::Refused { peer: z(1), cause: None, no_sctp: false }]);
}

#[test]
fn protocol_unreachable_counts_as_an_abort() {
    let name = "protocol_unreachable_counts_as_an_abort";
    let (mut ladder, init) = asked(name, OnRefused::Fail);
    ladder.is_told(NoticeKind::ProtocolUnreachable, &init);
    assert_eq!(lost(&ladder), [LostReason::Refused { peer: z(1), cause: None, no_sctp: true }]);

    let (mut ladder, init) = asked(name, OnRefused::TryNext);
    ladder.is_told(NoticeKind::ProtocolUnreachable, &init);
    let second = ladder.expects(z(2), &[ChunkType::INIT]);
    assert!(ladder.events().contains(&Event::MovedOn { peer: z(1), reason: MovedOn::Refused }));
    ladder.is_told(NoticeKind::ProtocolUnreachable, &second);
    assert_eq!(lost(&ladder), [LostReason::Refused { peer: z(2), cause: None, no_sctp: true }]);
}

#[test]
fn host_unreachable_moves_on_at_once_and_leaves_the_time_out_as_it_was() {
    let name = "host_unreachable_moves_on_at_once_and_leaves_the_time_out_as_it_was";
    let (mut ladder, init) = asked(name, OnRefused::Fail);
    ladder.is_told(NoticeKind::Unreachable, &init);
    assert_eq!(ladder.expects(z(2), &[ChunkType::INIT]).at, secs(0));
    assert!(ladder.events().contains(&Event::MovedOn { peer: z(1), reason: MovedOn::Unreachable }));
    // connectx.md, 6, row 3: the second address has its own second; the first one has lost nothing.
    assert_eq!(ladder.expects_within(secs(2), z(1), &[ChunkType::INIT]).at, secs(1));
    assert_eq!(ladder.expects_within(secs(2), z(2), &[ChunkType::INIT]).at, secs(2));
}

#[test]
fn a_send_error_moves_on_at_once() {
    let (mut ladder, init) = asked("a_send_error_moves_on_at_once", OnRefused::Fail);
    ladder.is_told(NoticeKind::SendFailed, &init);
    assert_eq!(ladder.expects(z(2), &[ChunkType::INIT]).at, secs(0));
}

#[test]
fn port_unreachable_is_ignored() {
    let (mut ladder, init) = asked("port_unreachable_is_ignored", OnRefused::Fail);
    ladder.is_told(NoticeKind::PortUnreachable, &init);
    still_waits(&mut ladder);
}

#[test]
fn icmp_that_does_not_quote_our_init_is_ignored() {
    let real = |init: &Heard| Quote::parse(&init.bytes).unwrap();
    let forge: [fn(Quote) -> Quote; 5] = [
        |quote| Quote {
            initiate_tag: quote.initiate_tag.map(|tag| VerificationTag(tag.0 ^ 1)),
            ..quote
        },
        |quote| Quote { initiate_tag: None, ..quote },
        |quote| Quote { verification_tag: VerificationTag(9), ..quote },
        |quote| Quote { source_port: quote.source_port + 1, ..quote },
        |quote| Quote { destination_port: quote.destination_port + 1, ..quote },
    ];
    for kind in [NoticeKind::ProtocolUnreachable, NoticeKind::Unreachable] {
        for (number, forge) in forge.into_iter().enumerate() {
            let name = "icmp_that_does_not_quote_our_init_is_ignored";
            let (mut ladder, init) = asked(name, OnRefused::Fail);
            ladder.is_told_with(kind, &init, forge(real(&init)));
            assert_eq!(ladder.events().len(), 1, "only Tried; forgery {number}");
            still_waits(&mut ladder);
        }
    }
}

#[test]
fn once_the_peer_has_answered_protocol_unreachable_is_not_believed() {
    // Deliberately not as RFC 9260, section 10, ICMP8 has it: Linux says "protocol unreachable" when the receive
    // buffer of the peer's raw socket is full, and a peer that answered INIT speaks SCTP.
    let name = "once_the_peer_has_answered_protocol_unreachable_is_not_believed";
    let mut ladder = Ladder::in_state(name, AssociationState::Established);
    ladder.sends("quoted");
    let data = ladder.hears();
    ladder.is_told(NoticeKind::ProtocolUnreachable, &data);
    assert_eq!(ladder.state(), AssociationState::Established);
    let statistics = ladder.network.endpoint(ladder.ours).counters();
    assert_eq!(
        statistics.notices_not_believed, 0,
        "it quotes our packet, and still changes nothing"
    );
}

#[test]
fn refusals_do_not_buy_more_inits_than_there_may_be() {
    let name = "refusals_do_not_buy_more_inits_than_there_may_be";
    let mut ladder = Ladder::new(name);
    let options = ConnectOptions::default().with(|options| {
        options.on_refused = OnRefused::TryNext;
        options.init_max = Some(2);
    });
    // Three addresses, three INITs.
    ladder.connectx_with(&[z(1), z(2), z(3)], options);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]);
    ladder.says(z(2), &[abort(false)]);
    ladder.expects(z(3), &[ChunkType::INIT]);
    ladder.says(z(3), &[abort(false)]);
    assert_eq!(lost(&ladder), [refused(z(3))], "the first one is silent, and may be asked no more");
    ladder.silence(secs(300));
}

#[test]
fn a_refusal_by_an_address_that_waits_for_nothing_is_remembered() {
    let name = "a_refusal_by_an_address_that_waits_for_nothing_is_remembered";
    let (mut ladder, _) = asked(name, OnRefused::TryNext);
    ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]);
    // Late, when the second address has its turn: the first is not asked again.
    ladder.says(z(1), &[abort(false)]);
    assert_eq!(ladder.expects_within(secs(9), z(2), &[ChunkType::INIT]).at, secs(2));
    assert_eq!(ladder.expects_within(secs(9), z(2), &[ChunkType::INIT]).at, secs(4));
}
