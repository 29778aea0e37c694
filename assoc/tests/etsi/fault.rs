//! FH 5: endpoint and path failure, HEARTBEAT, and packets out of the blue (RFC 9260, 8).

use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::sim::{Heard, z};
use usctp_assoc::{
    ActiveReason, AddressChange, AssociationState, Event, FailureReason, LostReason, PathState,
};
use usctp_chunk::{Abort, Cause, Chunk, ChunkType, Heartbeat};

use crate::tester::{
    COOKIE, Tester, WRONG, abort, addresses, data, error, ms, secs, unknown_parameter,
};
use AssociationState::{
    Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending,
    ShutdownReceived, ShutdownSent,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Two confirmed paths.
fn multi_homed(change: impl FnOnce(&mut usctp_assoc::Options)) -> Tester {
    let mut t = Tester::with(change);
    t.iut_opens(&[z(1), z(2)]);
    t
}

fn info(heard: &Heard) -> Bytes {
    let info = heard.chunks.iter().find_map(|chunk| match chunk {
        Chunk::Heartbeat(Heartbeat { info, .. }) => Some(info.clone()),
        _ => None,
    });
    info.unwrap_or_else(|| panic!("no HEARTBEAT in {heard:?}"))
}

#[test]
fn fh_5_1_1_a_peer_that_acknowledges_nothing_is_reported_unreachable() {
    let mut t = Tester::with(|options| {
        options.retransmission.association_max = 3;
        options.retransmission.path_max = 3;
    });
    t.iut_opens(&[z(1)]);
    t.user_sends("lost");
    let sent = data(&t.hears_for(HOUR)).len();
    // RFC 9260, 8.1: the counter exceeds Association.Max.Retrans with the fourth expiry.
    assert_eq!(sent, 1 + 3);
    t.is(Closed);
    assert_eq!(t.lost(), Some(LostReason::TooManyRetransmissions));
    assert!(t.iut.events().iter().any(|event| matches!(event, Event::SendFailed { .. })));
}

#[test]
fn fh_5_1_2_an_acknowledgement_clears_the_error_counters() {
    let mut t = Tester::with(|options| options.retransmission.association_max = 5);
    t.iut_opens(&[z(1)]);
    for n in 1..=5 {
        t.user_sends("lost twice");
        t.expects(&[ChunkType::DATA]);
        // Two losses each: ten in all, which would be too many in a row.
        for _ in 0..2 {
            t.expects_within(secs(120), &[ChunkType::DATA]);
        }
        assert_eq!(t.path(z(1)).errors, 2);
        t.says(&[t.sack(n)]);
        assert_eq!(t.path(z(1)).errors, 0, "RFC 9260, 8.2");
        t.is(Established);
    }
}

#[test]
fn fh_5_2_1_a_path_that_fails_is_reported_and_data_goes_to_another_one() {
    let mut t = multi_homed(|options| {
        options.retransmission.path_max = 1;
        // RFC 9260 alone: with RFC 7829 data would move after the first failure.
        options.failover.potentially_failed_max = None;
    });
    t.user_sends("to the first");
    t.expects_at(z(1), &[ChunkType::DATA]);
    // RFC 9260, 6.4.1: a retransmission goes to another active address.
    assert_eq!(t.expects_within(secs(1), &[ChunkType::DATA]).destination, z(2));
    t.says_from(z(2), &[t.sack(1)]);
    t.user_sends("to the first again");
    t.expects_at(z(1), &[ChunkType::DATA]);
    assert_eq!(t.expects_within(secs(2), &[ChunkType::DATA]).destination, z(2));
    // Twice in a row is more than Path.Max.Retrans.
    assert_eq!(t.path(z(1)).state, PathState::Inactive);
    let change = Event::PeerAddressChange {
        peer: z(1),
        change: AddressChange::Inactive(FailureReason::T3Expired),
    };
    assert!(t.iut.events().contains(&change));
    t.says_from(z(2), &[t.sack(2)]);
    t.user_sends("to the second");
    t.expects_at(z(2), &[ChunkType::DATA]);
}

#[test]
fn fh_5_2_2_heartbeats_without_answer_make_a_path_inactive() {
    let mut t = multi_homed(|options| {
        options.heartbeat.interval = Some(secs(5));
        // Those that only ask for its return would be counted here.
        options.heartbeat.failed_interval = None;
        options.retransmission.path_max = 2;
    });
    // The first path answers, the second does not.
    let mut unanswered = 0;
    while t.path(z(2)).state != PathState::Inactive {
        let heard = t.expects_within(secs(60), &[ChunkType::HEARTBEAT]);
        if heard.destination == z(1) {
            t.says(&[Chunk::HeartbeatAck(Heartbeat::new(info(&heard)))]);
        } else {
            unanswered += 1;
        }
        assert!(unanswered <= 4);
    }
    // The third one fails when the RTO is over, at the latest before the next.
    assert!((3..=4).contains(&unanswered), "{unanswered}");
    assert_eq!(t.path(z(1)).state, PathState::Active);
    t.is(Established);
}

#[test]
fn fh_5_2_3_a_heartbeat_ack_makes_a_path_active_again() {
    let mut t = multi_homed(|options| {
        options.heartbeat.interval = Some(secs(5));
        options.retransmission.path_max = 0;
    });
    while t.path(z(2)).state != PathState::Inactive {
        let heard = t.expects_within(secs(60), &[ChunkType::HEARTBEAT]);
        if heard.destination == z(1) {
            t.says(&[Chunk::HeartbeatAck(Heartbeat::new(info(&heard)))]);
        }
    }
    // RFC 9260, 8.3: inactive paths go on getting HEARTBEATs.
    let heard = loop {
        let heard = t.expects_within(secs(60), &[ChunkType::HEARTBEAT]);
        let ack = Chunk::HeartbeatAck(Heartbeat::new(info(&heard)));
        if heard.destination == z(2) {
            t.says_from(z(2), &[ack]);
            break heard;
        }
        t.says(&[ack]);
    };
    assert_eq!(t.path(z(2)).state, PathState::Active, "{heard:?}");
    assert_eq!(t.path(z(2)).errors, 0);
    let change = Event::PeerAddressChange {
        peer: z(2),
        change: AddressChange::Active(ActiveReason::HeartbeatAcked),
    };
    assert!(t.iut.events().contains(&change));
}

#[test]
fn fh_5_3_1_a_heartbeat_is_answered_with_the_same_information_to_where_it_came_from() {
    let mut t = multi_homed(|_| {});
    for (from, text) in [(z(1), "information"), (z(2), "information with an odd length")] {
        let heartbeat = Heartbeat::new(Bytes::from_static(text.as_bytes()));
        t.says_from(from, &[Chunk::Heartbeat(heartbeat.clone())]);
        let heard = t.expects_at(from, &[ChunkType::HEARTBEAT_ACK]);
        assert_eq!(*heard.only(), Chunk::HeartbeatAck(heartbeat));
    }
    // RFC 9260, 8.3: whatever else the HEARTBEAT holds comes back, too.
    let others = [unknown_parameter(0x1234)].into_iter().collect();
    let heartbeat = Heartbeat { info: Bytes::from_static(b"with more"), others };
    t.says(&[Chunk::Heartbeat(heartbeat.clone())]);
    assert_eq!(*t.expects(&[ChunkType::HEARTBEAT_ACK]).only(), Chunk::HeartbeatAck(heartbeat));
}

#[test]
fn fh_5_3_2_an_idle_path_gets_a_heartbeat_each_rto_and_hb_interval_with_jitter() {
    let mut t = Tester::with(|options| options.heartbeat.interval = Some(secs(30)));
    t.iut_opens(&[z(1)]);
    let mut last = t.iut.elapsed();
    for _ in 0..5 {
        let heard = t.expects_within(secs(60), &[ChunkType::HEARTBEAT]);
        // RFC 9260, 8.3: RTO (1 s) and HB.interval, give or take half the RTO.
        let apart = heard.at - last;
        assert!((ms(30_500)..=ms(31_500)).contains(&apart), "{apart:?}");
        last = heard.at;
        t.says(&[Chunk::HeartbeatAck(Heartbeat::new(info(&heard)))]);
    }
}

#[test]
fn fh_5_3_3_with_heartbeats_off_an_idle_path_gets_none() {
    let mut t = multi_homed(|options| options.heartbeat.interval = None);
    t.silence(HOUR);
    t.is(Established);
}

#[test]
fn fh_5_3_4_the_user_asks_for_a_heartbeat() {
    let mut t = multi_homed(|_| {});
    t.iut.request_heartbeat(z(2));
    let heard = t.expects_at(z(2), &[ChunkType::HEARTBEAT]);
    t.iut.wait(ms(80));
    t.says_from(z(2), &[Chunk::HeartbeatAck(Heartbeat::new(info(&heard)))]);
    assert_eq!(t.path(z(2)).srtt, Some(ms(80)), "RFC 9260, 8.3: it measures the round trip");
}

#[test]
fn fh_5_3_5_a_heartbeat_ack_that_answers_no_heartbeat_is_discarded() {
    let mut t = Tester::new();
    let cookie = t.asks_with(Chunk::Init(t.offer(addresses(&[z(1), z(2)]))));
    t.says(&[Chunk::CookieEcho(cookie)]);
    let probe = t.hears_all().pop().unwrap();
    let mut forged = info(&probe).to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for info in [Bytes::from(forged), Bytes::new(), Bytes::from_static(&[0; 40])] {
        t.says_from(z(2), &[Chunk::HeartbeatAck(Heartbeat::new(info))]);
        // RFC 9260, 5.4: only the nonce confirms.
        assert_eq!(t.path(z(2)).state, PathState::Unconfirmed);
    }
    t.says_from(z(2), &[Chunk::HeartbeatAck(Heartbeat::new(info(&probe)))]);
    assert_eq!(t.path(z(2)).state, PathState::Active);
}

#[test]
fn fh_5_3_6_heartbeats_are_answered_from_the_set_up_on_and_while_the_iut_closes() {
    let answers = [
        (CookieWait, false),
        (CookieEchoed, true),
        (Established, true),
        (ShutdownPending, true),
        (ShutdownReceived, true),
        (ShutdownSent, true),
        (ShutdownAckSent, true),
    ];
    // RFC 9260, 8.3, demands it up to SHUTDOWN-SENT, and forbids it nowhere; both kernels answer to the end.
    for (state, answered) in answers {
        let mut t = Tester::in_state(state);
        t.says(&[Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"still there?")))]);
        let heard = t.hears_all();
        let mut chunks = heard.iter().flat_map(|heard| &heard.chunks);
        let found = chunks.any(|chunk| chunk.kind() == ChunkType::HEARTBEAT_ACK);
        assert_eq!(found, answered, "{state:?}");
        t.is(state);
    }
}

#[test]
fn fh_5_4_1_a_packet_out_of_the_blue_is_answered_with_abort_that_reflects_the_tag() {
    let mut t = Tester::new();
    let heartbeat = Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"anybody")));
    for chunk in [t.data(0, "who"), t.sack(0), heartbeat, t.shutdown(0), t.init_ack()] {
        t.says_with_tag(WRONG, &[chunk]);
        let heard = t.expects(&[ChunkType::ABORT]);
        assert!(matches!(heard.only(), Chunk::Abort(Abort { tag_reflected: true, .. })));
        assert_eq!(heard.header.verification_tag, WRONG, "RFC 9260, 8.4 (8)");
    }
    assert_eq!(t.iut.associations(), 0);
}

#[test]
fn fh_5_4_2_some_packets_out_of_the_blue_are_not_answered() {
    let mut t = Tester::new();
    let stale = error(Cause::StaleCookie { staleness_us: 1 });
    // RFC 9260, 8.4 (2), (4), (7): an answer would be answered, or the cookie is nobody's.
    let echo = Chunk::CookieEcho(Bytes::from_static(COOKIE));
    for chunk in [abort(None), stale, Chunk::CookieAck, echo] {
        t.says_with_tag(WRONG, &[chunk]);
        t.silence(Duration::ZERO);
    }
    t.says_with_tag(WRONG, &[t.data(0, "who"), abort(None)]);
    t.silence(Duration::ZERO);
}
