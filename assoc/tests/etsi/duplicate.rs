//! DM 4: setup and shutdown chunks that come twice, or when nothing is left to answer (RFC 9260, 5.2, 8.4, 9.2).

use usctp_assoc::AssociationState;
use usctp_chunk::{Chunk, ChunkType, ShutdownComplete};

use crate::tester::{NONE, Tester, WRONG, abort, secs};
use AssociationState::{
    Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending,
    ShutdownReceived, ShutdownSent,
};

const COMPLETE: Chunk = Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: false });

#[test]
fn dm_4_1_a_duplicate_init_is_answered_like_the_first_and_one_association_comes_of_it() {
    let mut t = Tester::new();
    let first = t.asks_with(t.init());
    let first_tag = t.iut_tag;
    let second = t.asks_with(t.init());
    let second_tag = t.iut_tag;
    t.says_with_tag(second_tag, &[Chunk::CookieEcho(second)]);
    t.expects(&[ChunkType::COOKIE_ACK]);
    t.says_with_tag(first_tag, &[Chunk::CookieEcho(first)]);
    t.silence(secs(10));
    assert_eq!((t.iut.associations(), t.restarts()), (1, 0));
    t.is(Established);
}

#[test]
fn dm_4_2_a_duplicate_init_ack_is_discarded() {
    let states = [
        CookieEchoed,
        Established,
        ShutdownPending,
        ShutdownSent,
        ShutdownReceived,
        ShutdownAckSent,
    ];
    for state in states {
        let mut t = Tester::in_state(state);
        t.says(&[t.init_ack()]);
        // RFC 9260, 5.2.3.
        t.silence(std::time::Duration::ZERO);
        t.is(state);
    }
}

#[test]
fn dm_4_3_a_duplicate_cookie_echo_brings_cookie_ack_again_and_no_second_association() {
    let mut t = Tester::new();
    let cookie = t.asks_with(t.init());
    for _ in 0..3 {
        t.says(&[Chunk::CookieEcho(cookie.clone())]);
        t.expects(&[ChunkType::COOKIE_ACK]);
        t.is(Established);
    }
    assert_eq!((t.iut.associations(), t.restarts(), t.iut.events().len()), (1, 0, 1));
}

#[test]
fn dm_4_4_a_cookie_ack_in_any_state_but_cookie_echoed_is_discarded() {
    let states =
        [CookieWait, Established, ShutdownPending, ShutdownSent, ShutdownReceived, ShutdownAckSent];
    for state in states {
        let mut t = Tester::in_state(state);
        let events = t.iut.events();
        t.says(&[Chunk::CookieAck]);
        // RFC 9260, 5.2.5.
        t.silence(std::time::Duration::ZERO);
        t.is(state);
        assert_eq!(t.iut.events(), events);
    }
}

#[test]
fn dm_4_5_a_duplicate_shutdown_in_shutdown_received_acknowledges_and_brings_nothing_else() {
    let mut t = Tester::in_state(ShutdownReceived);
    t.says(&[t.shutdown(0)]);
    t.silence(std::time::Duration::ZERO);
    t.is(ShutdownReceived);
    t.says(&[t.shutdown(1)]);
    t.expects(&[ChunkType::SHUTDOWN_ACK]);
    t.is(ShutdownAckSent);
}

#[test]
fn dm_4_6_a_duplicate_shutdown_in_shutdown_ack_sent_brings_shutdown_ack_again() {
    let mut t = Tester::in_state(ShutdownAckSent);
    t.says(&[t.shutdown(0)]);
    t.expects(&[ChunkType::SHUTDOWN_ACK]);
    t.is(ShutdownAckSent);
}

#[test]
fn dm_4_7_a_duplicate_shutdown_ack_is_answered_with_shutdown_complete_that_reflects_the_tag() {
    // The SHUTDOWN COMPLETE of the first one was lost, and the association is gone.
    let mut t = Tester::in_state(ShutdownSent);
    t.says(&[Chunk::ShutdownAck]);
    assert_eq!(*t.expects(&[ChunkType::SHUTDOWN_COMPLETE]).only(), COMPLETE);
    t.is(Closed);
    t.says(&[Chunk::ShutdownAck]);
    let heard = t.expects(&[ChunkType::SHUTDOWN_COMPLETE]);
    // RFC 9260, 8.4 (5).
    let reflected = ShutdownComplete { tag_reflected: true };
    assert_eq!(*heard.only(), Chunk::ShutdownComplete(reflected));
    assert_eq!(heard.header.verification_tag, t.iut_tag);
}

#[test]
fn dm_4_8_a_shutdown_ack_in_another_state_is_no_reason_to_end() {
    for state in [Established, ShutdownPending, ShutdownReceived] {
        let mut t = Tester::in_state(state);
        t.says(&[Chunk::ShutdownAck]);
        // RFC 9260 has no rule for it: a discard and a Protocol Violation are both right; ending quietly is not.
        let heard = t.hears_all();
        if t.iut.state() == Closed {
            assert!(heard.iter().any(|heard| matches!(heard.only(), Chunk::Abort(_))));
        } else {
            t.is(state);
            assert!(heard.is_empty(), "{heard:?}");
        }
    }
}

#[test]
fn dm_4_9_a_duplicate_shutdown_complete_is_discarded() {
    let mut t = Tester::in_state(ShutdownAckSent);
    t.says(&[COMPLETE]);
    t.is(Closed);
    let events = t.iut.events();
    t.says(&[COMPLETE]);
    t.silence(secs(10));
    assert_eq!(t.iut.events(), events, "RFC 9260, 8.4 (6)");
}

#[test]
fn dm_4_10_a_duplicate_abort_is_discarded() {
    let mut t = Tester::in_state(Established);
    t.says(&[abort(None)]);
    t.is(Closed);
    let events = t.iut.events();
    t.says(&[abort(None)]);
    t.says_with_tag(WRONG, &[abort(None)]);
    t.says_with_tag(NONE, &[abort(None)]);
    t.silence(secs(10));
    assert_eq!(t.iut.events(), events, "RFC 9260, 8.4 (2)");
}
