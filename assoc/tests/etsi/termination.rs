//! AT 2: the end of an association, graceful (RFC 9260, 9.2) and not (9.1).

use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::sim::z;
use usctp_assoc::{AssociationState, Event, LostReason, Message, SendError};
use usctp_chunk::{Cause, CauseCode, Chunk, ChunkType, Shutdown, ShutdownComplete};

use crate::tester::{Tester, abort, causes, data, gaps, ms, sack, secs};
use AssociationState::{
    Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending,
    ShutdownReceived, ShutdownSent,
};

const HOUR: Duration = Duration::from_secs(3600);
const COMPLETE: Chunk = Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: false });

fn ended_well(t: &Tester) {
    t.is(Closed);
    assert_eq!(t.iut.events().last(), Some(&Event::ShutdownComplete));
}

#[test]
fn at_2_1_the_user_closes_with_nothing_outstanding() {
    let mut t = Tester::in_state(Established);
    t.says(&[t.data(0, "received before")]);
    t.hears_all();
    t.iut.shutdown();
    let shutdown = t.expects(&[ChunkType::SHUTDOWN]);
    assert_eq!(*shutdown.only(), Chunk::Shutdown(Shutdown { cumulative_tsn: t.tsn }));
    t.is(ShutdownSent);
    t.says(&[Chunk::ShutdownAck]);
    let complete = t.expects(&[ChunkType::SHUTDOWN_COMPLETE]);
    assert_eq!(*complete.only(), COMPLETE);
    assert_eq!(complete.header.verification_tag, t.tag);
    ended_well(&t);
    t.silence(secs(100));
}

#[test]
fn at_2_2_the_user_closes_and_shutdown_waits_until_all_data_is_acknowledged() {
    let mut t = Tester::in_state(Established);
    t.user_sends("one");
    t.user_sends("two");
    t.iut.shutdown();
    assert_eq!(data(&t.hears_all()).len(), 2);
    t.is(ShutdownPending);
    t.says(&[t.sack(1)]);
    t.silence(ms(500));
    t.is(ShutdownPending);
    // What is lost is still sent again.
    assert_eq!(data(&t.hears_for(secs(1)))[0].tsn, t.iut_tsn.plus(1));
    t.says(&[t.sack(2)]);
    t.expects(&[ChunkType::SHUTDOWN]);
    t.is(ShutdownSent);
}

#[test]
fn at_2_3_no_new_data_is_taken_from_the_user_once_the_close_has_begun() {
    for state in [ShutdownPending, ShutdownSent, ShutdownReceived, ShutdownAckSent] {
        let mut t = Tester::in_state(state);
        let refused = t.iut.send(Message::new(0, "too late")).unwrap_err();
        assert_eq!(refused, SendError::NotOpen { state });
        t.silence(Duration::ZERO);
        t.is(state);
    }
}

#[test]
fn at_2_4_a_shutdown_without_answer_is_sent_again_when_t2_shutdown_expires() {
    let mut t = Tester::in_state(Established);
    t.iut.shutdown();
    let first = t.expects(&[ChunkType::SHUTDOWN]);
    let second = t.expects_within(secs(10), &[ChunkType::SHUTDOWN]);
    let third = t.expects_within(secs(10), &[ChunkType::SHUTDOWN]);
    assert_eq!([second.at - first.at, third.at - second.at], [secs(1), secs(2)]);
    t.says(&[Chunk::ShutdownAck]);
    t.expects(&[ChunkType::SHUTDOWN_COMPLETE]);
    ended_well(&t);
}

#[test]
fn at_2_5_after_association_max_retrans_shutdowns_the_peer_is_reported_unreachable() {
    retransmissions_are_limited(ChunkType::SHUTDOWN, |t| t.iut.shutdown());
}

#[test]
fn at_2_6_a_shutdown_is_answered_with_shutdown_ack() {
    let mut t = Tester::in_state(Established);
    t.says(&[t.shutdown(0)]);
    let ack = t.expects(&[ChunkType::SHUTDOWN_ACK]);
    assert_eq!(ack.header.verification_tag, t.tag);
    t.is(ShutdownAckSent);
    assert!(t.iut.events().contains(&Event::PeerShutdown));
    t.says(&[COMPLETE]);
    ended_well(&t);
    t.silence(secs(100));
}

#[test]
fn at_2_7_a_shutdown_is_answered_only_when_all_data_is_acknowledged() {
    let mut t = Tester::in_state(Established);
    t.user_sends("one");
    t.user_sends("two");
    t.hears_all();
    // SHUTDOWN acknowledges the first.
    t.says(&[t.shutdown(1)]);
    t.silence(ms(500));
    t.is(ShutdownReceived);
    assert_eq!(data(&t.hears_for(secs(1)))[0].tsn, t.iut_tsn.plus(1));
    t.says(&[t.shutdown(2)]);
    t.expects(&[ChunkType::SHUTDOWN_ACK]);
    t.is(ShutdownAckSent);
}

#[test]
fn at_2_8_a_shutdown_ack_without_answer_is_sent_again_when_t2_shutdown_expires() {
    let mut t = Tester::in_state(Established);
    t.says(&[t.shutdown(0)]);
    let first = t.expects(&[ChunkType::SHUTDOWN_ACK]);
    let second = t.expects_within(secs(10), &[ChunkType::SHUTDOWN_ACK]);
    let third = t.expects_within(secs(10), &[ChunkType::SHUTDOWN_ACK]);
    assert_eq!([second.at - first.at, third.at - second.at], [secs(1), secs(2)]);
    t.says(&[COMPLETE]);
    ended_well(&t);
}

#[test]
fn at_2_9_after_association_max_retrans_shutdown_acks_the_peer_is_reported_unreachable() {
    retransmissions_are_limited(ChunkType::SHUTDOWN_ACK, |t| {
        t.says(&[t.shutdown(0)]);
    });
}

fn retransmissions_are_limited(kind: ChunkType, begin: fn(&mut Tester)) {
    let mut t = Tester::with(|options| {
        options.retransmission.association_max = 4;
        options.shutdown_guard = Some(HOUR);
    });
    t.iut_opens(&[z(1)]);
    begin(&mut t);
    let heard = t.hears_for(HOUR);
    assert_eq!(heard.iter().filter(|heard| heard.only().kind() == kind).count(), 5);
    t.is(Closed);
    assert_eq!(t.lost(), Some(LostReason::TooManyRetransmissions));
}

#[test]
fn at_2_10_data_in_shutdown_sent_is_delivered_and_answered_at_once() {
    let mut t = Tester::in_state(ShutdownSent);
    t.iut.wait(ms(900));
    t.says(&[t.data(0, "a last word")]);
    let heard = t.hears_all();
    let shutdown = heard.iter().flat_map(|heard| &heard.chunks).find_map(|chunk| match chunk {
        Chunk::Shutdown(shutdown) => Some(shutdown.cumulative_tsn),
        _ => None,
    });
    assert_eq!(shutdown, Some(t.tsn));
    assert_eq!(t.received(), ["a last word"]);
    // T2 was restarted.
    t.silence(ms(900));
    // What SHUTDOWN cannot say, a SACK does.
    t.says(&[t.data(2, "behind a gap")]);
    let heard = t.hears_all();
    let answer =
        heard.iter().find(|heard| heard.chunks.iter().any(|chunk| matches!(chunk, Chunk::Sack(_))));
    assert_eq!(gaps(sack(answer.expect("a SACK"))), [(2, 2)]);
    assert!(heard.iter().flat_map(|heard| &heard.chunks).any(|c| matches!(c, Chunk::Shutdown(_))));
}

#[test]
fn at_2_11_shutdowns_that_cross_end_the_association_on_both_sides() {
    let mut t = Tester::in_state(ShutdownSent);
    t.says(&[t.shutdown(0)]);
    t.expects(&[ChunkType::SHUTDOWN_ACK]);
    t.is(ShutdownAckSent);
    t.says(&[Chunk::ShutdownAck]);
    assert_eq!(*t.expects(&[ChunkType::SHUTDOWN_COMPLETE]).only(), COMPLETE);
    ended_well(&t);
}

#[test]
fn at_2_12_a_shutdown_during_the_set_up_is_discarded() {
    for state in [CookieWait, CookieEchoed] {
        let mut t = Tester::in_state(state);
        t.says(&[t.shutdown(0)]);
        t.silence(ms(900));
        t.is(state);
        t.hears_for(ms(200));
        if state == CookieWait {
            t.says(&[t.init_ack()]);
            t.expects(&[ChunkType::COOKIE_ECHO]);
        }
        t.says(&[Chunk::CookieAck]);
        t.is(Established);
    }
}

#[test]
fn at_2_13_a_shutdown_complete_counts_only_in_shutdown_ack_sent() {
    let states =
        [CookieWait, CookieEchoed, Established, ShutdownPending, ShutdownSent, ShutdownReceived];
    for state in states {
        let mut t = Tester::in_state(state);
        t.says(&[COMPLETE]);
        t.silence(Duration::ZERO);
        t.is(state);
    }
}

#[test]
fn at_2_14_a_shutdown_ack_during_the_set_up_is_answered_as_if_out_of_the_blue() {
    for state in [CookieWait, CookieEchoed] {
        let mut t = Tester::in_state(state);
        t.says(&[Chunk::ShutdownAck]);
        let heard = t.expects(&[ChunkType::SHUTDOWN_COMPLETE]);
        // RFC 9260, 8.5.1 (E) and 9.2.
        let reflected = ShutdownComplete { tag_reflected: true };
        assert_eq!(*heard.only(), Chunk::ShutdownComplete(reflected));
        assert_eq!(heard.header.verification_tag, t.iut_tag);
        t.is(state);
        let again = if state == CookieWait { ChunkType::INIT } else { ChunkType::COOKIE_ECHO };
        t.expects_within(secs(1), &[again]);
    }
}

#[test]
fn at_2_15_the_user_aborts_and_the_peer_is_told_why() {
    let mut t = Tester::in_state(Established);
    t.user_sends("never acknowledged");
    t.hears_all();
    t.iut.abort("tired");
    let heard = t.expects(&[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, t.tag);
    assert_eq!(causes(&[heard]), [Cause::UserInitiatedAbort(Bytes::from_static(b"tired"))]);
    t.is(Closed);
    assert_eq!(t.lost(), Some(LostReason::LocalAbort));
    let failed = Event::SendFailed { message: Message::new(0, "never acknowledged"), sent: true };
    assert!(t.iut.events().contains(&failed));
    t.silence(secs(100));
}

#[test]
fn at_2_16_an_abort_ends_the_association_in_every_state_and_is_not_answered() {
    let states =
        [CookieWait, CookieEchoed, Established, ShutdownPending, ShutdownSent, ShutdownReceived];
    for state in states {
        let mut t = Tester::in_state(state);
        let reason = Bytes::from_static(b"tired");
        t.says(&[abort(Some(Cause::UserInitiatedAbort(reason.clone())))]);
        t.is(Closed);
        t.silence(secs(100));
        if state.is_synchronized() {
            let cause = Some(CauseCode::USER_INITIATED_ABORT);
            assert_eq!(t.lost(), Some(LostReason::PeerAborted { cause, reason }));
        }
    }
}

#[test]
fn at_2_17_a_close_that_takes_too_long_is_aborted() {
    let mut t = Tester::with(|options| options.shutdown_guard = Some(secs(20)));
    t.iut_opens(&[z(1)]);
    t.iut.shutdown();
    // The tester has something to say all the time, and never closes.
    for n in 0..20 {
        t.hears_for(ms(950));
        t.says(&[t.data(n, "more")]);
        assert_eq!(t.iut.state(), ShutdownSent, "after {n} s");
    }
    // RFC 9260, 9.2: T5-shutdown-guard.
    let heard = t.hears_for(secs(5));
    assert!(heard.iter().any(|heard| matches!(heard.only(), Chunk::Abort(_))));
    t.is(Closed);
    assert_eq!(t.lost(), Some(LostReason::ShutdownTimeout));
}

#[test]
fn at_2_18_data_in_shutdown_pending_is_delivered_and_acknowledged() {
    let mut t = Tester::in_state(ShutdownPending);
    t.says(&[t.data(0, "still welcome")]);
    assert_eq!(sack(&t.expects(&[ChunkType::SACK])).cumulative_tsn, t.tsn);
    assert_eq!(t.received(), ["still welcome"]);
    t.is(ShutdownPending);
}

#[test]
fn at_2_19_the_users_close_after_the_peers_is_ignored() {
    for state in [ShutdownReceived, ShutdownAckSent] {
        let mut t = Tester::in_state(state);
        t.iut.shutdown();
        // RFC 9260, 9.2.
        t.silence(Duration::ZERO);
        t.is(state);
    }
}

#[test]
fn at_2_20_a_shutdown_in_shutdown_pending_is_answered_once_all_data_is_acknowledged() {
    let mut t = Tester::in_state(ShutdownPending);
    t.says(&[t.shutdown(0)]);
    t.silence(Duration::ZERO);
    t.is(ShutdownReceived);
    t.says(&[t.sack(1)]);
    t.expects(&[ChunkType::SHUTDOWN_ACK]);
    t.is(ShutdownAckSent);
}

#[test]
fn at_2_21_a_shutdown_that_acknowledges_what_was_never_sent_does_not_close_gracefully() {
    let mut t = Tester::in_state(Established);
    t.user_sends("outstanding");
    t.hears_all();
    t.says(&[t.shutdown(1_000)]);
    let heard = t.hears_all();
    // A Protocol Violation, or nothing acknowledged; never a SHUTDOWN ACK.
    assert!(heard.iter().all(|heard| heard.only().kind() == ChunkType::ABORT), "{heard:?}");
    assert!(matches!(t.iut.state(), Closed | Established | ShutdownReceived));
}
