//! Replies, failures of paths and of the peer, and HEARTBEATs (RFC 9260, sections 6.4, 8.1, 8.2 and 8.3).

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, a, kinds, z};
use usctp_assoc::{
    ActiveReason, AddressChange, AssociationState, Event, FailureReason, LostReason, PathState,
};
use usctp_chunk::{Chunk, ChunkType, Heartbeat, VerificationTag};

use crate::rfc::{
    FULL, WIDE, acks, double, double_with, grow, hears_numbers, numbers, request_heartbeat, sack,
    send, single_with, wait,
};
use crate::world::{HOUR, config, ms, secs};

fn heartbeat(info: &'static str) -> Chunk {
    Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(info.as_bytes())))
}

/// The answers to the HEARTBEATs of a packet.
fn answers(heard: &Heard) -> Vec<Chunk> {
    let chunks = heard.chunks.iter().filter_map(|chunk| match chunk {
        Chunk::Heartbeat(heartbeat) => Some(Chunk::HeartbeatAck(heartbeat.clone())),
        _ => None,
    });
    chunks.collect()
}

/// For some time Z answers HEARTBEATs at its first address only, and at once. Returns when and where it
/// heard them.
fn answers_at_first(ladder: &mut Ladder, time: Duration) -> Vec<Heard> {
    let end = ladder.network.elapsed() + time;
    let mut all = Vec::new();
    while ladder.network.elapsed() < end {
        let Some(at) = ladder.network.next_at() else { break };
        ladder.network.run_for(at - ladder.network.now());
        for heard in ladder.hears_all() {
            let answers = answers(&heard);
            if heard.destination == z(1) && !answers.is_empty() {
                ladder.says(z(1), &answers);
            }
            all.push(heard);
        }
    }
    all
}

fn changes(ladder: &Ladder, of: IpAddr) -> Vec<AddressChange> {
    let events = ladder.events().into_iter();
    let changes = events.filter_map(|event| match event {
        Event::PeerAddressChange { peer, change } if peer == of => Some(change),
        _ => None,
    });
    changes.collect()
}

#[test]
fn replies_go_back_where_the_question_came_from() {
    let mut ladder = double("replies_go_back_where_the_question_came_from");
    ladder.towards = a(2);
    for from in [z(2), z(1)] {
        ladder.says(from, &[heartbeat("an echo, please")]);
        let heard = ladder.expects(from, &[ChunkType::HEARTBEAT_ACK]);
        let info = Bytes::from_static(b"an echo, please");
        assert_eq!(heard.only(), &Chunk::HeartbeatAck(Heartbeat::new(info)));
    }
    let shutdown = ladder.shutdown(0);
    ladder.says(z(2), std::slice::from_ref(&shutdown));
    ladder.expects(z(2), &[ChunkType::SHUTDOWN_ACK]);
    ladder.says(z(1), &[shutdown]);
    ladder.expects(z(1), &[ChunkType::SHUTDOWN_ACK]);
}

#[test]
fn a_fast_retransmission_goes_where_the_chunk_went_first() {
    let mut ladder = double("a_fast_retransmission_goes_where_the_chunk_went_first");
    send(&mut ladder, 4, 1_000);
    ladder.hears_all();
    for last in 2..=4 {
        acks(&mut ladder, 0, &[(2, last)]);
    }
    ladder.expects(z(1), &[ChunkType::DATA]);
}

#[test]
fn heartbeats_are_answered_from_cookie_echoed_to_the_end() {
    use AssociationState::{
        CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending, ShutdownReceived,
        ShutdownSent,
    };
    for (state, answered) in [
        (CookieWait, false),
        (CookieEchoed, true),
        (Established, true),
        (ShutdownPending, true),
        (ShutdownReceived, true),
        (ShutdownSent, true),
        (ShutdownAckSent, true),
    ] {
        let name = "heartbeats_are_answered_from_cookie_echoed_to_the_end";
        let mut ladder = Ladder::in_state(name, state);
        ladder.says(z(1), &[heartbeat("are you there?")]);
        let heard = ladder.hears_all();
        let acks = heard.iter().flat_map(|heard| kinds(&heard.chunks));
        let acks = acks.filter(|kind| *kind == ChunkType::HEARTBEAT_ACK).count();
        assert_eq!(acks, usize::from(answered), "{state:?}: {heard:?}");
    }
}

#[test]
fn a_dead_path_beside_a_living_one_is_told_of_probed_on_and_ends_nothing() {
    let name = "a_dead_path_beside_a_living_one_is_told_of_probed_on_and_ends_nothing";
    // RFC 9260 alone: RFC 7829 counts on, and we ask more often.
    let mut ladder = double_with(name, |options| {
        options.failover.potentially_failed_max = None;
        options.heartbeat.failed_interval = None;
    });
    answers_at_first(&mut ladder, HOUR);
    assert_eq!(ladder.state(), AssociationState::Established);
    assert_eq!(
        changes(&ladder, z(2)),
        [AddressChange::Inactive(FailureReason::HeartbeatUnanswered)]
    );
    let dead = ladder.path(z(2));
    // RFC 9260, 8.3: the counter stands, and the HEARTBEATs go on.
    assert_eq!((dead.state, dead.errors, dead.rto), (PathState::Inactive, 6, secs(60)));
    let heard = answers_at_first(&mut ladder, secs(1_000));
    let times: Vec<_> =
        heard.iter().filter(|heard| heard.destination == z(2)).map(|heard| heard.at).collect();
    assert!(times.len() > 4, "{times:?}");
    // RTO (60 s, backed off) and HB.interval (30 s), half of the RTO more or less, after it was found missing.
    for pair in times.windows(2) {
        let between = pair[1] - pair[0];
        assert!(between >= secs(60) && between <= secs(30 + 90 + 60), "{between:?}");
    }
    assert_eq!(ladder.path(z(2)).errors, 6);
}

#[test]
fn a_heartbeat_unanswered_where_no_data_goes_is_no_failure_of_the_association() {
    let name = "a_heartbeat_unanswered_where_no_data_goes_is_no_failure_of_the_association";
    // One failure would be one too many.
    let mut ladder = double_with(name, |options| options.retransmission.association_max = 0);
    answers_at_first(&mut ladder, secs(300));
    assert_eq!(ladder.state(), AssociationState::Established);
    assert!(ladder.path(z(2)).errors > 1);
}

#[test]
fn an_answer_revives_a_dead_path_and_measures_it() {
    let mut ladder = double("an_answer_revives_a_dead_path_and_measures_it");
    answers_at_first(&mut ladder, secs(2_000));
    assert_eq!(ladder.path(z(2)).state, PathState::Inactive);
    request_heartbeat(&mut ladder, z(2));
    let heard = ladder.hears();
    wait(&mut ladder, ms(400));
    ladder.says(z(2), &answers(&heard));
    let path = ladder.path(z(2));
    assert_eq!((path.state, path.errors, path.srtt), (PathState::Active, 0, Some(ms(400))));
    assert_eq!(
        changes(&ladder, z(2)),
        [
            AddressChange::PotentiallyFailed(FailureReason::HeartbeatUnanswered),
            AddressChange::Inactive(FailureReason::HeartbeatUnanswered),
            AddressChange::Active(ActiveReason::HeartbeatAcked)
        ]
    );
}

/// What the application heard of the HEARTBEATs that it asked for.
fn results(ladder: &Ladder) -> Vec<(IpAddr, Option<Duration>)> {
    let results = ladder.events().into_iter().filter_map(|event| match event {
        Event::HeartbeatResult { peer, round_trip } => Some((peer, round_trip)),
        _ => None,
    });
    results.collect()
}

#[test]
fn a_heartbeat_that_was_asked_for_is_reported_answered_or_lost_and_no_other_is() {
    let name = "a_heartbeat_that_was_asked_for_is_reported_answered_or_lost_and_no_other_is";
    let mut ladder = double_with(name, |options| options.heartbeat.failed_interval = None);
    // Those of HB.interval are nobody's business.
    answers_at_first(&mut ladder, secs(300));
    assert_eq!(results(&ladder), []);
    request_heartbeat(&mut ladder, z(1));
    let heard = ladder.expects(z(1), &[ChunkType::HEARTBEAT]);
    wait(&mut ladder, ms(70));
    ladder.says(z(1), &answers(&heard));
    assert_eq!(results(&ladder), [(z(1), Some(ms(70)))]);
    // The same answer once more is none.
    ladder.says(z(1), &answers(&heard));
    request_heartbeat(&mut ladder, z(2));
    let rto = ladder.path(z(2)).rto;
    ladder.expects(z(2), &[ChunkType::HEARTBEAT]);
    wait(&mut ladder, rto - ms(1));
    assert_eq!(results(&ladder).len(), 1, "it may still be answered");
    wait(&mut ladder, ms(1));
    assert_eq!(results(&ladder)[1..], [(z(2), None)]);
}

#[test]
fn a_heartbeat_that_was_asked_for_is_reported_when_a_close_or_a_restart_forgets_it() {
    let name = "a_heartbeat_that_was_asked_for_is_reported_when_a_close_or_a_restart_forgets_it";
    let mut ladder = double(name);
    request_heartbeat(&mut ladder, z(2));
    ladder.expects(z(2), &[ChunkType::HEARTBEAT]);
    ladder.peer_tag = VerificationTag(0x0ace_0ace);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1), z(2)])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert_eq!(results(&ladder), [(z(2), None)], "the peer that was asked is gone");
    ladder.hears_all();
    request_heartbeat(&mut ladder, z(1));
    ladder.expects(z(1), &[ChunkType::HEARTBEAT]);
    ladder.shuts_down();
    ladder.expects(z(1), &[ChunkType::SHUTDOWN]);
    // Nobody waits for what is outstanding any more (RFC 9260, 8.3).
    assert_eq!(results(&ladder)[1..], [(z(1), None)]);
}

#[test]
fn a_request_while_a_heartbeat_is_outstanding_hears_of_the_newer_one() {
    let name = "a_request_while_a_heartbeat_is_outstanding_hears_of_the_newer_one";
    let mut ladder = double_with(name, |options| options.heartbeat.interval = None);
    request_heartbeat(&mut ladder, z(2));
    let first = ladder.expects(z(2), &[ChunkType::HEARTBEAT]);
    wait(&mut ladder, ms(30));
    request_heartbeat(&mut ladder, z(2));
    let second = ladder.expects(z(2), &[ChunkType::HEARTBEAT]);
    wait(&mut ladder, ms(20));
    ladder.says(z(2), &answers(&first));
    assert_eq!(results(&ladder), [], "it was replaced");
    ladder.says(z(2), &answers(&second));
    assert_eq!(results(&ladder), [(z(2), Some(ms(20)))]);
    wait(&mut ladder, secs(100));
    assert_eq!(results(&ladder).len(), 1);
}

#[test]
fn every_heartbeat_that_was_asked_for_is_reported_while_the_path_fails_and_after() {
    let name = "every_heartbeat_that_was_asked_for_is_reported_while_the_path_fails_and_after";
    let mut ladder = double_with(name, |options| options.heartbeat.interval = None);
    for count in 1..=10 {
        request_heartbeat(&mut ladder, z(2));
        let rto = ladder.path(z(2)).rto;
        wait(&mut ladder, rto);
        assert_eq!(results(&ladder), vec![(z(2), None); count]);
    }
    assert_eq!(ladder.path(z(2)).state, PathState::Inactive);
}

#[test]
fn an_unconfirmed_address_can_be_asked_and_its_answer_confirms_it() {
    let name = "an_unconfirmed_address_can_be_asked_and_its_answer_confirms_it";
    let mut ladder = Ladder::new(name);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(3)])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(1), &[Chunk::CookieAck]);
    ladder.hears_all();
    assert_eq!(ladder.path(z(3)).state, PathState::Unconfirmed);
    request_heartbeat(&mut ladder, z(3));
    let heard = ladder.expects(z(3), &[ChunkType::HEARTBEAT]);
    wait(&mut ladder, ms(40));
    ladder.says(z(3), &answers(&heard));
    assert_eq!(ladder.path(z(3)).state, PathState::Active);
    // First that it answers, then how fast.
    let mut events = ladder.events();
    let result = Event::HeartbeatResult { peer: z(3), round_trip: Some(ms(40)) };
    assert_eq!(events.pop(), Some(result));
    let active = events.pop();
    assert!(
        matches!(active, Some(Event::PeerAddressChange { peer, .. }) if peer == z(3)),
        "{active:?}"
    );
}

#[test]
fn an_idle_peer_that_answers_nowhere_is_given_up() {
    let mut ladder = double("an_idle_peer_that_answers_nowhere_is_given_up");
    wait(&mut ladder, HOUR);
    // RFC 9260, 8.1: HEARTBEATs on the path that data would use count.
    let lost = Event::CommLost(LostReason::TooManyRetransmissions);
    assert_eq!(ladder.events().last(), Some(&lost));
    assert_eq!(ladder.state(), AssociationState::Closed);
    let heard = ladder.hears_all().len();
    wait(&mut ladder, HOUR);
    assert_eq!((heard > 10, ladder.hears_all().len()), (true, 0), "nothing is sent to it any more");
}

#[test]
fn an_answered_heartbeat_forgets_the_failures_of_the_association() {
    let name = "an_answered_heartbeat_forgets_the_failures_of_the_association";
    let mut ladder = single_with(name, |options| options.retransmission.path_max = 20);
    for _ in 0..8 {
        // Eight failures in a row are no reason to give the peer up; twice eight would be.
        for _ in 0..8 {
            ladder.expects_within(secs(200), z(1), &[ChunkType::HEARTBEAT]);
        }
        let heard = ladder.expects_within(secs(200), z(1), &[ChunkType::HEARTBEAT]);
        ladder.says(z(1), &answers(&heard));
        assert_eq!(ladder.path(z(1)).errors, 0);
    }
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn an_acknowledgement_forgets_the_failures_of_path_and_association() {
    let name = "an_acknowledgement_forgets_the_failures_of_path_and_association";
    let mut ladder = single_with(name, |options| options.heartbeat.interval = None);
    for count in 1..=30 {
        ladder.sends("lost once");
        ladder.hears();
        ladder.hears_within(secs(100));
        assert_eq!(ladder.path(z(1)).errors, 1);
        acks(&mut ladder, count, &[]);
        assert_eq!(ladder.path(z(1)).errors, 0);
    }
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn a_sack_that_says_nothing_new_forgets_no_failure() {
    let name = "a_sack_that_says_nothing_new_forgets_no_failure";
    let mut ladder = single_with(name, |options| {
        options.retransmission.association_max = 3;
        options.retransmission.path_max = 20;
        options.heartbeat.interval = None;
    });
    send(&mut ladder, 2, 1_000);
    acks(&mut ladder, 0, &[(2, 2)]);
    for expiries in 1..=3 {
        wait(&mut ladder, secs(1 << (expiries - 1)));
        acks(&mut ladder, 0, &[(2, 2)]);
        assert_eq!(ladder.path(z(1)).errors, expiries);
    }
    wait(&mut ladder, secs(8));
    assert_eq!(ladder.state(), AssociationState::Closed, "RFC 9260, 8.1");
}

#[test]
fn an_acknowledgement_is_credited_to_where_the_chunk_was_last_sent() {
    let name = "an_acknowledgement_is_credited_to_where_the_chunk_was_last_sent";
    let mut ladder = double_with(name, |options| {
        (options.heartbeat.interval, options.max_burst) = (None, 10);
    });
    let acked = grow(&mut ladder, 15 * FULL, FULL);
    send(&mut ladder, 10, FULL);
    assert_eq!(hears_numbers(&mut ladder).len(), 10);
    wait(&mut ladder, secs(1));
    let moved = ladder.hears_all();
    assert!(moved.iter().all(|heard| heard.destination == z(2)));
    assert_eq!(numbers(&ladder, &moved), [acked + 1, acked + 2, acked + 3]);
    assert_eq!(ladder.path(z(1)).errors, 1);
    // Only the acknowledgements were late: those of chunks that went by the first path alone prove it.
    let all_but_the_moved = sack(&ladder, acked, &[(4, 10)], WIDE);
    ladder.says(z(1), &[all_but_the_moved]);
    assert_eq!(ladder.path(z(1)).errors, 0);
    assert_eq!(ladder.path(z(2)).cwnd, 4404, "the second path is credited for nothing");
    // Nor do those that were moved, which may have come by either, though they fill its window.
    acks(&mut ladder, acked + 10, &[]);
    assert_eq!((ladder.path(z(2)).cwnd, ladder.path(z(2)).flight), (4404, 0));
}

#[test]
fn after_shutdown_no_heartbeat_is_sent() {
    let mut ladder = double("after_shutdown_no_heartbeat_is_sent");
    request_heartbeat(&mut ladder, z(2));
    let question = ladder.expects(z(2), &[ChunkType::HEARTBEAT]);
    ladder.shuts_down();
    ladder.says(z(2), &answers(&question));
    wait(&mut ladder, secs(50));
    assert_eq!(ladder.state(), AssociationState::ShutdownSent);
    let heard = ladder.hears_all();
    assert!(heard.iter().all(|heard| kinds(&heard.chunks) == [ChunkType::SHUTDOWN]), "{heard:?}");
}

#[test]
fn one_alternate_path_takes_the_place_of_a_dead_primary() {
    let name = "one_alternate_path_takes_the_place_of_a_dead_primary";
    let silent = config(|options| options.heartbeat.interval = None);
    let mut ladder = Ladder::with(name, silent, &[a(1), a(2)], &[z(1), z(2), z(3)]);
    ladder.establishes(&[z(1), z(2), z(3)]);
    let mut acked = 0;
    while ladder.path(z(1)).state == PathState::Active {
        ladder.sends("again");
        acked += 1;
        // Z's first address is dead.
        while ladder.hears_within(secs(70)).destination == z(1) {}
        let sack = ladder.sack(acked);
        ladder.says(z(2), &[sack]);
    }
    ladder.hears_all();
    for _ in 0..5 {
        ladder.sends("moved");
        acked += 1;
        ladder.expects(z(2), &[ChunkType::DATA]);
        let sack = ladder.sack(acked);
        ladder.says(z(2), &[sack]);
    }
}

#[test]
fn what_is_acknowledged_after_it_was_sent_again_elsewhere_shows_that_the_peer_lives() {
    let name = "what_is_acknowledged_after_it_was_sent_again_elsewhere_shows_that_the_peer_lives";
    let mut ladder = double_with(name, |options| {
        options.heartbeat.interval = None;
        options.failover.potentially_failed_max = None;
        options.retransmission.path_max = 9;
        options.retransmission.association_max = 3;
    });
    // The primary path is dead for five messages in a row, the other one takes their copies.
    for count in 1..=5 {
        send(&mut ladder, 1, 100);
        assert_eq!(ladder.hears().destination, z(1));
        let copy = ladder.hears_within(secs(70));
        assert_eq!(copy.destination, z(2));
        let sack = sack(&ladder, count, &[], WIDE);
        ladder.says(z(2), &[sack]);
    }
    // RFC 9260, 8.1: the association has no failures in a row; 8.2: the path has.
    assert_eq!(ladder.state(), AssociationState::Established);
    assert_eq!(ladder.path(z(1)).errors, 5);
}
