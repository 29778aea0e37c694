//! A peer that does not read: its window closes, and that is neither congestion, nor a black hole, nor a dead path
//! (RFC 9260, section 6.1, A).

use std::ops::Range;
use std::time::Duration;

use usctp_assoc::sim::{Ladder, LinkSettings, payload, seed, z};
use usctp_assoc::{AssociationState, LossDetection, Message, Options, PathState, RecoveryOptions};

use crate::rfc::{
    FULL, PMDCS, acks, double_with, grow, hears_numbers, numbers, sack, send, single, single_with,
    t3_expiries, wait,
};
use crate::world::{World, config, ms, secs};

fn silent(options: &mut Options) {
    options.heartbeat.interval = None;
}

/// Z says that its first `count` chunks came, those of the gaps, and that it has no room.
fn closes(ladder: &mut Ladder, count: u32, gaps: &[(u16, u16)]) {
    let sack = sack(ladder, count, gaps, 0);
    ladder.says(z(1), &[sack]);
}

/// A's window is `packets` wide and its flight fills it; how many chunks were acknowledged before.
fn busy(ladder: &mut Ladder, packets: usize) -> u32 {
    let base = grow(ladder, packets * PMDCS, FULL);
    send(ladder, 60, FULL);
    // Beyond Max.Burst they leave one by one.
    wait(ladder, ms(100));
    hears_numbers(ladder);
    base
}

#[test]
fn what_was_in_flight_when_the_window_closed_is_no_sign_of_congestion() {
    let name = "what_was_in_flight_when_the_window_closed_is_no_sign_of_congestion";
    let mut ladder = single_with(name, silent);
    let base = grow(&mut ladder, 10 * PMDCS, FULL);
    send(&mut ladder, 6, FULL);
    wait(&mut ladder, ms(100));
    assert_eq!(hears_numbers(&mut ladder).len(), 6);
    let before = ladder.path(z(1));
    // Z takes the first, and throws the others away for which it has no room.
    closes(&mut ladder, base + 1, &[]);
    let mut probes = Vec::new();
    for _ in 0..60 {
        wait(&mut ladder, secs(1));
        let heard = hears_numbers(&mut ladder);
        if !heard.is_empty() {
            closes(&mut ladder, base + 1, &[]);
        }
        probes.extend(heard);
    }
    assert_eq!(probes, [base + 2; 5], "one chunk at a time, ever more rarely");
    let after = ladder.path(z(1));
    // What is not used decays (7.2.1), but its size is remembered.
    assert!(after.cwnd >= 4 * PMDCS && after.ssthresh >= before.cwnd, "{before:?}, then {after:?}");
    assert_eq!((after.mtu, after.rto, after.errors), (before.mtu, before.rto, 0));
    assert_eq!((t3_expiries(&ladder), after.flight), (0, 0));
    acks(&mut ladder, base + 1, &[]);
    let burst: Vec<u32> = (base + 2..base + 6).collect();
    assert_eq!(hears_numbers(&mut ladder), burst);
}

#[test]
fn a_window_with_room_for_less_than_the_next_chunk_is_closed_as_well() {
    let name = "a_window_with_room_for_less_than_the_next_chunk_is_closed_as_well";
    for (left, expiries) in [(0, 0), (999, 0), (1_000, 1)] {
        let mut ladder = single_with(name, silent);
        send(&mut ladder, 2, 1_000);
        assert_eq!(hears_numbers(&mut ladder), [1, 2]);
        let sack = sack(&ladder, 1, &[], left);
        ladder.says(z(1), &[sack]);
        wait(&mut ladder, ms(1_100));
        // Only what had room can have been lost.
        assert_eq!((t3_expiries(&ladder), ladder.path(z(1)).errors), (expiries, expiries as u16));
    }
}

#[test]
fn a_window_that_opens_lets_what_was_refused_out_at_once() {
    let mut ladder = single("a_window_that_opens_lets_what_was_refused_out_at_once");
    let base = busy(&mut ladder, 10);
    let cwnd = ladder.path(z(1)).cwnd;
    closes(&mut ladder, base, &[]);
    assert!(hears_numbers(&mut ladder).is_empty());
    wait(&mut ladder, ms(300));
    acks(&mut ladder, base, &[]);
    let heard = hears_numbers(&mut ladder);
    assert_eq!(heard[..4], [base + 1, base + 2, base + 3, base + 4]);
    assert_eq!(ladder.path(z(1)).cwnd, cwnd);
    assert_eq!(t3_expiries(&ladder), 0);
}

#[test]
fn what_may_still_be_on_its_way_when_the_window_opens_is_waited_for_and_costs_nothing() {
    let name = "what_may_still_be_on_its_way_when_the_window_opens_is_waited_for_and_costs_nothing";
    for detection in [LossDetection::Rfc9260, LossDetection::Rack] {
        let mut ladder = single_with(name, |options| options.recovery.detection = detection);
        // A round trip of 100 ms.
        let mut acked = 0;
        for _ in 0..30 {
            send(&mut ladder, 1, FULL);
            wait(&mut ladder, ms(100));
            acked += 1;
            acks(&mut ladder, acked, &[]);
        }
        hears_numbers(&mut ladder);
        let base = acked + grow_after(&mut ladder, acked);
        send(&mut ladder, 4, FULL);
        hears_numbers(&mut ladder);
        let cwnd = ladder.path(z(1)).cwnd;
        wait(&mut ladder, ms(5));
        closes(&mut ladder, base, &[]);
        wait(&mut ladder, ms(5));
        acks(&mut ladder, base, &[]);
        assert!(hears_numbers(&mut ladder).is_empty(), "it may arrive yet");
        // The first was refused, the others were not.
        for last in 2..=4 {
            acks(&mut ladder, base, &[(2, last)]);
        }
        assert_eq!(hears_numbers(&mut ladder), [base + 1]);
        assert_eq!(ladder.path(z(1)).cwnd, cwnd);
    }
}

/// Widens the window after `acked` chunks, however little of it is left; how many more were acknowledged.
fn grow_after(ladder: &mut Ladder, acked: u32) -> u32 {
    let mut more = 0;
    send(ladder, 20, FULL);
    loop {
        let heard = hears_numbers(ladder).len() as u32;
        if heard == 0 {
            return more;
        }
        wait(ladder, ms(100));
        more += heard;
        acks(ladder, acked + more, &[]);
    }
}

#[test]
fn a_hole_is_filled_although_the_window_is_closed_and_its_loss_is_congestion() {
    let name = "a_hole_is_filled_although_the_window_is_closed_and_its_loss_is_congestion";
    let mut ladder = single(name);
    let base = busy(&mut ladder, 12);
    let cwnd = ladder.path(z(1)).cwnd;
    // What Z holds behind the hole fills its buffer: it needs the first chunk to get rid of it.
    for last in 2..=4 {
        closes(&mut ladder, base, &[(2, last)]);
    }
    assert_eq!(hears_numbers(&mut ladder), [base + 1]);
    assert!(ladder.path(z(1)).cwnd < cwnd);
}

#[test]
fn a_dead_path_is_struck_by_the_first_t3_of_a_window_probe() {
    let name = "a_dead_path_is_struck_by_the_first_t3_of_a_window_probe";
    let mut ladder = single_with(name, silent);
    ladder.sends("first");
    ladder.hears();
    ladder.says(z(1), &[sack(&ladder, 1, &[], 10)]);
    send(&mut ladder, 1, 100);
    wait(&mut ladder, ms(1_100));
    assert_eq!(hears_numbers(&mut ladder), [2]);
    wait(&mut ladder, ms(1_000));
    assert_eq!((ladder.path(z(1)).errors, t3_expiries(&ladder)), (1, 1));
    assert_eq!(hears_numbers(&mut ladder), [2], "and it goes again at once");
}

#[test]
fn a_probe_that_nobody_answers_goes_by_another_path() {
    let mut ladder = double_with("a_probe_that_nobody_answers_goes_by_another_path", silent);
    send(&mut ladder, 2, 1_000);
    ladder.hears_all();
    closes(&mut ladder, 1, &[]);
    // T3-rtx of what was in flight; the copy is refused, the next is lost.
    wait(&mut ladder, ms(1_000));
    assert_eq!(hears_numbers(&mut ladder), [2]);
    closes(&mut ladder, 1, &[]);
    wait(&mut ladder, ms(2_000));
    let probe = ladder.hears();
    assert_eq!(probe.destination, z(1));
    wait(&mut ladder, ms(1_000));
    let again = ladder.hears();
    assert_eq!(again.destination, z(2));
    assert_eq!(ladder.path(z(1)).state, PathState::PotentiallyFailed);
    let closed = sack(&ladder, 1, &[], 0);
    ladder.says(z(2), &[closed]);
    assert_eq!(ladder.path(z(2)).errors, 0);
}

#[test]
fn probes_that_are_answered_forget_those_that_were_lost() {
    let mut ladder =
        single_with("probes_that_are_answered_forget_those_that_were_lost", |options| {
            silent(options);
            options.rto.max = secs(1);
        });
    send(&mut ladder, 2, 1_000);
    ladder.hears_all();
    closes(&mut ladder, 1, &[]);
    // Every second probe is lost, for much longer than the thresholds allow.
    for round in 0..100 {
        let heard = ladder.hears_within(secs(3));
        assert_eq!(numbers(&ladder, &[heard]), [2], "round {round}");
        if round % 2 == 1 {
            closes(&mut ladder, 1, &[]);
        }
    }
    assert_eq!(ladder.state(), AssociationState::Established);
    assert_eq!(ladder.path(z(1)).state, PathState::Active);
}

/// After how many seconds A sends chunk 2 again, for some probes that Z refuses.
fn refused_after(ladder: &mut Ladder, probes: usize) -> Vec<u64> {
    let mut after = Vec::new();
    for _ in 0..probes {
        let began = ladder.network.elapsed();
        let heard = ladder.hears_within(secs(100));
        assert_eq!(numbers(ladder, &[heard]).len(), 1);
        after.push((ladder.network.elapsed() - began).as_secs());
        let acked = ladder.network.endpoint(ladder.ours).view(ladder.id()).unwrap().statistics();
        let count = acked.messages_sent as u32 - 1;
        closes(ladder, count, &[]);
    }
    after
}

#[test]
fn probing_begins_anew_when_a_probe_was_taken_and_when_the_window_closes_again() {
    let name = "probing_begins_anew_when_a_probe_was_taken_and_when_the_window_closes_again";
    for taken in [true, false] {
        let mut ladder = single_with(name, silent);
        send(&mut ladder, 2, 1_000);
        ladder.hears_all();
        closes(&mut ladder, 1, &[]);
        assert_eq!(refused_after(&mut ladder, 3), [1, 2, 4]);
        if taken {
            // Z takes the probe, and has no room for what follows.
            let heard = ladder.hears_within(secs(10));
            assert_eq!(numbers(&ladder, &[heard]), [2]);
            closes(&mut ladder, 2, &[]);
        } else {
            // The window opens, and closes again behind what it had room for.
            acks(&mut ladder, 1, &[]);
            assert_eq!(hears_numbers(&mut ladder), [2]);
            closes(&mut ladder, 2, &[]);
        }
        send(&mut ladder, 1, 1_000);
        assert!(hears_numbers(&mut ladder).is_empty());
        assert_eq!(refused_after(&mut ladder, 2), [1, 2], "{taken}");
    }
}

#[test]
fn t3_of_a_probe_that_was_refused_says_nothing_of_what_is_sent_when_the_window_opens() {
    let name = "t3_of_a_probe_that_was_refused_says_nothing_of_what_is_sent_when_the_window_opens";
    let mut ladder = single_with(name, silent);
    send(&mut ladder, 2, 1_000);
    ladder.hears_all();
    closes(&mut ladder, 1, &[]);
    let probe = ladder.hears_within(secs(2));
    assert_eq!(numbers(&ladder, &[probe]), [2]);
    closes(&mut ladder, 1, &[]);
    wait(&mut ladder, ms(600));
    acks(&mut ladder, 1, &[]);
    assert_eq!(hears_numbers(&mut ladder), [2]);
    // RFC 9260, 6.3.2 (R1): it has a whole RTO, which is a second, to be acknowledged in.
    wait(&mut ladder, ms(900));
    assert_eq!((hears_numbers(&mut ladder), t3_expiries(&ladder)), (vec![], 0));
    wait(&mut ladder, ms(200));
    assert_eq!((hears_numbers(&mut ladder), t3_expiries(&ladder)), (vec![2], 1));
}

#[test]
fn a_shutdown_answers_a_window_probe_as_well() {
    // The round trip of the first message, and after how long the SHUTDOWNs come: none measures nothing but zero.
    for (trip, after) in [(0, 0), (40, 1)] {
        let mut ladder = single_with("a_shutdown_answers_a_window_probe_as_well", |options| {
            silent(options);
            options.rto.max = secs(1);
            // The close is bounded all the same, by 5 times RTO.Max if nothing else is said.
            options.shutdown_guard = Some(secs(60));
        });
        send(&mut ladder, 2, 1_000);
        ladder.hears_all();
        wait(&mut ladder, ms(trip));
        closes(&mut ladder, 1, &[]);
        for _ in 0..30 {
            let heard = ladder.hears_within(secs(3));
            assert_eq!(numbers(&ladder, &[heard]), [2]);
            wait(&mut ladder, ms(after));
            ladder.says(z(1), &[ladder.shutdown(1)]);
            assert_eq!(ladder.path(z(1)).flight, 0, "it is not waited for");
        }
        assert_eq!(ladder.state(), AssociationState::ShutdownReceived);
        assert_eq!((ladder.path(z(1)).errors, t3_expiries(&ladder)), (0, 0));
    }
}

#[test]
fn a_shutdown_that_is_repeated_is_no_answer_to_a_window_probe_that_is_lost() {
    let name = "a_shutdown_that_is_repeated_is_no_answer_to_a_window_probe_that_is_lost";
    let mut ladder = single_with(name, |options| {
        silent(options);
        options.rto.max = secs(1);
        options.shutdown_guard = Some(secs(60));
    });
    send(&mut ladder, 1, 1_000);
    wait(&mut ladder, ms(20));
    acks(&mut ladder, 1, &[]);
    send(&mut ladder, 1, 1_000);
    closes(&mut ladder, 1, &[]);
    wait(&mut ladder, ms(500));
    // Z repeats its SHUTDOWN, and nothing of A's arrives.
    for _ in 0..6 {
        ladder.says(z(1), &[ladder.shutdown(1)]);
        wait(&mut ladder, secs(1));
    }
    assert!(t3_expiries(&ladder) >= 3, "{}", t3_expiries(&ladder));
}

#[test]
fn no_tail_loss_probe_goes_into_a_closed_window() {
    let mut ladder = single_with("no_tail_loss_probe_goes_into_a_closed_window", |options| {
        options.recovery =
            RecoveryOptions::default().with(|options| options.detection = LossDetection::Rack);
    });
    send(&mut ladder, 1, 1_000);
    wait(&mut ladder, ms(40));
    acks(&mut ladder, 1, &[]);
    send(&mut ladder, 3, 1_000);
    ladder.hears_all();
    closes(&mut ladder, 2, &[]);
    wait(&mut ladder, ms(900));
    assert_eq!(ladder.path(z(1)).counts.tail_loss_probes, 0);
    assert_eq!(hears_numbers(&mut ladder), []);
    wait(&mut ladder, ms(200));
    assert_eq!(hears_numbers(&mut ladder), [3], "T3-rtx sends one chunk");
    acks(&mut ladder, 2, &[]);
    assert_eq!(hears_numbers(&mut ladder), [3, 4]);
}

/// A reader at Z stops for a while, which costs nothing; afterwards the rest arrives at once.
fn pause(name: &str, pause: Duration, change: impl Fn(&mut Options)) {
    let small = config(|options| {
        options.limits.receive_buffer = 32 << 10;
        change(options);
    });
    let mut world = World::new(name, seed(0), 1, &small, &LinkSettings::with_latency(ms(10)));
    let (id, theirs) = world.establish();
    let (a_host, z_host) = (world.a, world.z);
    let messages = |range: Range<u64>| range.map(|n| Message::new(0, payload(n, 1_000)));
    world.network.offer(a_host, id, messages(0..200));
    world.network.run_for(secs(1));
    let path =
        |world: &World| world.network.endpoint(a_host).view(id).unwrap().paths().next().unwrap();
    let before = path(&world);
    world.network.receive_eagerly(z_host, false);
    world.network.offer(a_host, id, messages(200..300));
    world.network.run_for(pause);
    assert_eq!(world.network.state(a_host, id), AssociationState::Established);
    let during = path(&world);
    assert_eq!((during.mtu, during.errors), (before.mtu, 0));
    // A window that is not used decays (7.2.1), but its size is remembered.
    assert!(during.ssthresh >= before.cwnd, "{before:?}, then {during:?}");
    world.network.receive_eagerly(z_host, true);
    while world.network.receive(z_host, theirs).is_some() {}
    let missing = |world: &mut World| world.network.application(a_host, id).missing();
    assert!(missing(&mut world) > 0, "the pause began before all was sent");
    world.network.run_for(secs(1));
    assert_eq!(missing(&mut world), 0, "what waited arrives within round trips");
}

#[test]
fn a_reader_that_pauses_for_seconds_is_no_black_hole_and_no_congestion() {
    let name = "a_reader_that_pauses_for_seconds_is_no_black_hole_and_no_congestion";
    pause(name, secs(8), |_| {});
}

#[test]
fn a_reader_that_pauses_for_minutes_is_not_taken_for_dead() {
    let name = "a_reader_that_pauses_for_minutes_is_not_taken_for_dead";
    pause(name, secs(300), |options| {
        options.rto.max = secs(1);
        options.heartbeat.interval = None;
    });
}
