//! RTT, RTO and T3-rtx (RFC 9260, sections 6.3 and 6.4).

use std::time::Duration;

use usctp_assoc::sim::{Ladder, z};
use usctp_assoc::{Association, Message, PathState};
use usctp_chunk::{Chunk, ChunkType};

use crate::rfc::{
    FULL, PMDCS, WIDE, acks, double, double_with, hears_numbers, numbers, request_heartbeat, sack,
    send, set_primary, single, single_with, t3_expiries, wait,
};
use crate::world::{ms, secs};

/// The set-up took no time, so SRTT is 0.
fn quick(name: &str) -> Ladder {
    single_with(name, |options| {
        options.rto.min = ms(1);
        options.rto.initial = ms(500);
        options.heartbeat.interval = None;
    })
}

#[test]
fn one_chunk_of_each_round_trip_measures_it() {
    let mut ladder = single_with("one_chunk_of_each_round_trip_measures_it", |_| {});
    ladder.sends("one");
    wait(&mut ladder, ms(100));
    ladder.sends("two");
    wait(&mut ladder, ms(100));
    acks(&mut ladder, 2, &[]);
    // RFC 9260, 6.3.1 (C3, C4): 200 ms weigh an eighth, and the 100 ms of the second chunk nothing.
    assert_eq!(ladder.path(z(1)).srtt, Some(ms(25)));
    ladder.sends("three");
    wait(&mut ladder, ms(80));
    acks(&mut ladder, 3, &[]);
    assert_eq!(ladder.path(z(1)).srtt, Some(ms(25) * 7 / 8 + ms(10)));
}

#[test]
fn a_gap_ack_block_measures_too() {
    let mut ladder = single("a_gap_ack_block_measures_too");
    send(&mut ladder, 1, 1_000);
    acks(&mut ladder, 1, &[]);
    assert_eq!(ladder.path(z(1)).srtt, Some(Duration::ZERO));
    send(&mut ladder, 1, 1_000);
    wait(&mut ladder, ms(80));
    acks(&mut ladder, 2, &[]);
    assert_eq!(ladder.path(z(1)).srtt, Some(ms(10)));
}

#[test]
fn what_was_sent_twice_measures_nothing() {
    let mut ladder = single("what_was_sent_twice_measures_nothing");
    ladder.sends("late");
    wait(&mut ladder, ms(1_500));
    acks(&mut ladder, 1, &[]);
    // RFC 9260, 6.3.1 (C5): it is not known which of the two was answered.
    let path = ladder.path(z(1));
    assert_eq!((path.srtt, path.rto), (Some(Duration::ZERO), secs(2)));
    ladder.sends("in time");
    wait(&mut ladder, ms(80));
    acks(&mut ladder, 2, &[]);
    // A new measurement ends the back-off (6.3.3).
    let path = ladder.path(z(1));
    assert_eq!((path.srtt, path.rto), (Some(ms(10)), secs(1)));
}

#[test]
fn nothing_sent_before_a_retransmission_of_something_earlier_measures() {
    let name = "nothing_sent_before_a_retransmission_of_something_earlier_measures";
    let mut ladder = single(name);
    ladder.sends("to be measured");
    ladder.hears();
    acks(&mut ladder, 1, &[]);
    // The chunk that measures next is 3: 2 goes to be lost, together with what measures.
    send(&mut ladder, 5, 800);
    assert_eq!(hears_numbers(&mut ladder), [2, 3, 4, 5, 6]);
    wait(&mut ladder, ms(400));
    for last in 2..=4 {
        acks(&mut ladder, 1, &[(2, last)]);
    }
    assert_eq!(hears_numbers(&mut ladder), [2]);
    acks(&mut ladder, 6, &[]);
    assert_eq!(ladder.path(z(1)).srtt, Some(Duration::ZERO));
}

#[test]
fn the_rto_is_never_just_the_round_trip() {
    let mut ladder = quick("the_rto_is_never_just_the_round_trip");
    for _ in 0..150 {
        request_heartbeat(&mut ladder, z(1));
        let heard = ladder.hears();
        let Chunk::Heartbeat(heartbeat) = heard.only() else { panic!("{heard:?}") };
        wait(&mut ladder, ms(64));
        ladder.says(z(1), &[Chunk::HeartbeatAck(heartbeat.clone())]);
        ladder.hears_all();
    }
    // RFC 9260, 6.3.1 (G1): RTTVAR is not 0, however regular the round trips are.
    let path = ladder.path(z(1));
    assert!(path.rto >= path.srtt.unwrap() + Duration::from_micros(4), "{path:?}");
    assert!(path.rto < ms(100), "{path:?}");
}

#[test]
fn timed_out_data_takes_turns_between_the_paths_each_with_its_own_rto() {
    let name = "timed_out_data_takes_turns_between_the_paths_each_with_its_own_rto";
    // RFC 9260 alone: RFC 7829 sends HEARTBEATs besides.
    let mut ladder = double_with(name, |options| options.failover.potentially_failed_max = None);
    let start = ladder.network.elapsed();
    ladder.sends("unheard");
    // RFC 9260, 6.3.3 (E2, E4) and 6.4.
    for (at, to) in [(0, z(1)), (1, z(2)), (2, z(1)), (4, z(2)), (6, z(1)), (10, z(2))] {
        let heard = ladder.expects_within(secs(5), to, &[ChunkType::DATA]);
        assert_eq!(heard.at - start, secs(at));
    }
}

#[test]
fn after_t3_one_packet_leaves_and_the_rest_follows_the_acknowledgements() {
    let name = "after_t3_one_packet_leaves_and_the_rest_follows_the_acknowledgements";
    let mut ladder = single(name);
    send(&mut ladder, 5, 1_000);
    assert_eq!(hears_numbers(&mut ladder), [1, 2, 3, 4, 5]);
    wait(&mut ladder, secs(1));
    assert_eq!(hears_numbers(&mut ladder), [1]);
    // RFC 9260, 6.3.3 (E1) and 7.2.3
    let path = ladder.path(z(1));
    assert_eq!((path.cwnd, path.ssthresh, path.flight), (PMDCS, 4 * PMDCS, 1_016));
    wait(&mut ladder, ms(1_900));
    assert!(hears_numbers(&mut ladder).is_empty());
    acks(&mut ladder, 1, &[]);
    assert_eq!(hears_numbers(&mut ladder), [2, 3, 4]);
    acks(&mut ladder, 4, &[]);
    assert_eq!(hears_numbers(&mut ladder), [5]);
}

#[test]
fn small_chunks_that_timed_out_are_bundled_up_to_the_mtu() {
    let mut ladder = single("small_chunks_that_timed_out_are_bundled_up_to_the_mtu");
    for _ in 0..8 {
        ladder.sends("a message of its own packet");
        ladder.hears();
    }
    wait(&mut ladder, secs(1));
    let heard = ladder.hears();
    assert_eq!(numbers(&ladder, &[heard]), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn t3_is_restarted_by_an_acknowledgement_of_the_earliest_and_stopped_by_that_of_all() {
    let name = "t3_is_restarted_by_an_acknowledgement_of_the_earliest_and_stopped_by_that_of_all";
    let mut ladder = single(name);
    let start = ladder.network.elapsed();
    send(&mut ladder, 3, 1_000);
    ladder.hears_all();
    wait(&mut ladder, ms(600));
    // RFC 9260, 6.3.2 (R3)
    acks(&mut ladder, 1, &[]);
    let again = ladder.hears_within(secs(5));
    assert_eq!(again.at - start, ms(1_600));
    acks(&mut ladder, 3, &[]);
    ladder.hears_all();
    // (R2)
    let expiries = t3_expiries(&ladder);
    wait(&mut ladder, secs(25));
    assert_eq!(t3_expiries(&ladder), expiries);
}

#[test]
fn t3_does_not_run_on_for_what_was_acknowledged() {
    let mut ladder = single("t3_does_not_run_on_for_what_was_acknowledged");
    let start = ladder.network.elapsed();
    ladder.sends("acknowledged");
    wait(&mut ladder, ms(500));
    acks(&mut ladder, 1, &[]);
    wait(&mut ladder, ms(100));
    ladder.sends("lost");
    ladder.hears_all();
    // RFC 9260, 6.3.2 (R2): its own second counts, not the rest of the first one's.
    assert_eq!(ladder.hears_within(secs(5)).at - start, ms(1_600));
}

#[test]
fn an_acknowledgement_of_later_chunks_does_not_restart_t3() {
    let mut ladder = single("an_acknowledgement_of_later_chunks_does_not_restart_t3");
    let start = ladder.network.elapsed();
    send(&mut ladder, 3, 1_000);
    ladder.hears_all();
    wait(&mut ladder, ms(600));
    acks(&mut ladder, 0, &[(2, 2)]);
    let again = ladder.hears_within(secs(5));
    assert_eq!(again.at - start, secs(1));
}

/// A message to each of two paths.
fn one_each(name: &str) -> Ladder {
    let mut ladder = double_with(name, |options| options.heartbeat.interval = None);
    ladder.sends("by the first path");
    ladder.expects(z(1), &[ChunkType::DATA]);
    set_primary(&mut ladder, z(2));
    ladder
}

#[test]
fn a_new_primary_path_leaves_the_timer_of_the_old_one_running() {
    let mut ladder = one_each("a_new_primary_path_leaves_the_timer_of_the_old_one_running");
    let start = ladder.network.elapsed();
    wait(&mut ladder, ms(300));
    ladder.sends("by the second path");
    ladder.expects(z(2), &[ChunkType::DATA]);
    // RFC 9260, 6.3.3 (F1): 1 goes again when its own second is over.
    let again = ladder.hears_within(secs(5));
    assert_eq!((again.at - start, numbers(&ladder, &[again])), (secs(1), vec![1]));
}

#[test]
fn what_the_peer_takes_back_is_timed_again() {
    let mut ladder = one_each("what_the_peer_takes_back_is_timed_again");
    ladder.sends("by the second path");
    ladder.expects(z(2), &[ChunkType::DATA]);
    wait(&mut ladder, ms(100));
    let covered = sack(&ladder, 0, &[(2, 2)], WIDE);
    ladder.says(z(2), &[covered]);
    assert_eq!(ladder.path(z(2)).flight, 0);
    wait(&mut ladder, ms(100));
    // RFC 9260, 6.2.1 (D iii) and 6.3.2 (R4): the SACK that leaves 2 out starts the T3-rtx of its path.
    let start = ladder.network.elapsed();
    acks(&mut ladder, 1, &[]);
    assert!(ladder.path(z(2)).flight > 0);
    let again = ladder.hears_within(secs(5));
    assert_eq!((again.at - start, numbers(&ladder, &[again])), (secs(1), vec![2]));
}

#[test]
fn messages_go_to_the_primary_path() {
    let mut ladder = double("messages_go_to_the_primary_path");
    let (ours, id) = (ladder.ours, ladder.id());
    for primary in [z(1), z(2), z(1)] {
        set_primary(&mut ladder, primary);
        let message = Message::new(0, "x");
        ladder.network.with(ours, id, |association: &mut Association, now| {
            association.send(now, message).unwrap();
        });
        ladder.expects(primary, &[ChunkType::DATA]);
    }
}

#[test]
fn when_a_path_returns_what_is_out_for_longer_than_the_rto_is_late_and_the_rest_has_a_whole_one() {
    let name = "when_a_path_returns_what_is_out_for_longer_than_the_rto_is_late";
    let mut ladder = single_with(name, |options| options.heartbeat.interval = Some(secs(1)));
    while ladder.path(z(1)).state != PathState::PotentiallyFailed {
        wait(&mut ladder, ms(100));
    }
    assert!(ladder.path(z(1)).rto >= secs(2), "it is backed off");
    send(&mut ladder, 1, FULL);
    wait(&mut ladder, ms(500));
    send(&mut ladder, 1, FULL);
    wait(&mut ladder, ms(700));
    assert_eq!(hears_numbers(&mut ladder), [1, 2]);
    request_heartbeat(&mut ladder, z(1));
    let heartbeat = ladder.hears();
    let Chunk::Heartbeat(asked) = heartbeat.only() else { panic!("{heartbeat:?}") };
    ladder.says(z(1), &[Chunk::HeartbeatAck(asked.clone())]);
    let path = ladder.path(z(1));
    // RFC 9260, 6.3.1 (C7): the round trip ends the back-off. 1 has been out for 1.2 s, 2 for 0.7 s.
    assert_eq!((path.state, path.rto), (PathState::Active, secs(1)));
    assert_eq!((path.cwnd, path.flight), (PMDCS, PMDCS), "6.3.3 (E1) for what is late");
    wait(&mut ladder, ms(250));
    assert!(hears_numbers(&mut ladder).is_empty(), "one packet at a time");
    wait(&mut ladder, ms(100));
    assert_eq!(hears_numbers(&mut ladder), [1], "an RTO after 2 was sent");
}
