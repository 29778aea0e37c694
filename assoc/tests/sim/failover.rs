//! Failing paths, exactly by the clock: when data leaves them, how they are probed, and when it returns (RFC 7829).

use std::collections::BTreeSet;

use usctp_assoc::sim::{LinkSettings, Status, for_each_seed, payload, z};
use usctp_assoc::{
    ActiveReason, AddressChange, AssociationState, Event, Message, PathState, PrimaryReason,
};

use crate::failover_play::{HEARTBEATS, Play, T3, numbers, time_outs};
use crate::rfc::{PMDCS, WIDE, request_heartbeat, sack, send};
use crate::world::{HOUR, World, config, ms, secs};

#[test]
fn new_data_leaves_a_dead_path_when_its_threshold_and_its_rto_say_so() {
    let name = "new_data_leaves_a_dead_path_when_its_threshold_and_its_rto_say_so";
    let (pf, off) = (Some, None);
    // RTO in ms and its bound, PotentiallyFailed.Max.Retrans, Path.Max.Retrans, and how many time-outs it takes.
    for (rto, most, threshold, path_max, count, change) in [
        (1_000, 60_000, pf(0), 5, 1, AddressChange::PotentiallyFailed(T3)),
        (200, 60_000, pf(0), 5, 1, AddressChange::PotentiallyFailed(T3)),
        (1_000, 60_000, pf(1), 5, 2, AddressChange::PotentiallyFailed(T3)),
        (1_000, 1_500, pf(3), 5, 4, AddressChange::PotentiallyFailed(T3)),
        // RFC 7829, 3.2 (1): it is inactive before it can be potentially failed.
        (1_000, 60_000, pf(2), 2, 3, AddressChange::Inactive(T3)),
        (1_000, 60_000, pf(7), 2, 3, AddressChange::Inactive(T3)),
        (1_000, 60_000, pf(0), 0, 1, AddressChange::Inactive(T3)),
        // RFC 9260 alone.
        (1_000, 60_000, off, 5, 6, AddressChange::Inactive(T3)),
        (300, 2_000, off, 3, 4, AddressChange::Inactive(T3)),
    ] {
        let mut play = Play::new(name, 2, |options| {
            options.rto.initial = ms(rto);
            options.rto.min = ms(rto);
            options.rto.max = ms(most);
            options.retransmission.path_max = path_max;
            options.failover.potentially_failed_max = threshold;
        });
        let promised = time_outs(ms(rto), ms(most), count);
        play.run(secs(10));
        let cut = play.elapsed();
        play.cut(z(1));
        let mut sent = 0;
        // The next message follows when the one before has come through.
        while play.first_sent().last().is_none_or(|(_, to, _)| *to == z(1)) {
            play.ladder.sends("again");
            sent += 1;
            while play.have.len() < sent {
                play.run(ms(50));
            }
        }
        let (_, _, at) = *play.first_sent().last().unwrap();
        let case = format!("RTO {rto} to {most}, {threshold:?}, {path_max}");
        assert_eq!(at - cut, promised, "{case}");
        assert_eq!(play.changes(cut).first(), Some(&(promised, z(1), change)), "{case}");
        // What timed out was sent again elsewhere after each RTO all the same (RFC 9260, 6.4).
        assert_eq!(sent, usize::from(count) + 1, "{case}");
    }
}

#[test]
fn an_idle_path_that_fails_gets_a_heartbeat_in_each_rto_until_it_is_inactive() {
    let name = "an_idle_path_that_fails_gets_a_heartbeat_in_each_rto_until_it_is_inactive";
    for failed_interval in [None, Some(secs(3))] {
        let mut play =
            Play::new(name, 2, |options| options.heartbeat.failed_interval = failed_interval);
        play.cut(z(2));
        let begin = play.elapsed();
        request_heartbeat(&mut play.ladder, z(2));
        play.run(secs(200));
        // RFC 7829, 3.2 (5, 6): the next one leaves when the one before is found missing, and the RTO doubles.
        let counted = [0, 1, 3, 7, 15, 31].map(secs);
        let times = play.heartbeats(z(2), begin);
        match failed_interval {
            None => assert_eq!(times, counted),
            // Those in between are for its return, and go on when it is inactive.
            Some(most) => {
                assert_eq!(times[..8], [0, 1, 3, 6, 7, 10, 13, 15].map(secs));
                assert!(counted.iter().all(|at| times.contains(at)), "{times:?}");
                assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= most), "{times:?}");
                assert!(times.last().is_some_and(|last| *last > secs(196)));
            }
        }
        // Whatever is sent, failures are counted by the RTO.
        let changes = [
            (secs(1), z(2), AddressChange::PotentiallyFailed(HEARTBEATS)),
            // (8) Path.Max.Retrans is 5.
            (secs(63), z(2), AddressChange::Inactive(HEARTBEATS)),
        ];
        assert_eq!(play.changes(begin), changes);
        let path = play.ladder.path(z(2));
        assert_eq!((path.errors, path.rto), (6, secs(60)));
        let counts = path.counts;
        assert_eq!(counts.heartbeats_sent, times.len() as u64);
        assert_eq!((counts.heartbeats_unanswered, counts.state_changes), (6, 2));
        let changed = play.ladder.network.now() - counts.changed_at.unwrap();
        assert_eq!(changed, secs(200 - 63));
    }
}

#[test]
fn an_idle_path_is_potentially_failed_when_its_threshold_is_exceeded() {
    let name = "an_idle_path_is_potentially_failed_when_its_threshold_is_exceeded";
    let mut play = Play::new(name, 2, |options| {
        options.heartbeat.interval = Some(secs(20));
        options.heartbeat.failed_interval = None;
        options.failover.potentially_failed_max = Some(2);
    });
    play.cut(z(2));
    let begin = play.elapsed();
    play.run_until(z(2), PathState::PotentiallyFailed);
    // Until then, HB.interval and the RTO, backed off, lie between the HEARTBEATs (RFC 9260, 8.3).
    let times = play.heartbeats(z(2), begin);
    assert_eq!(times.len(), 4, "the fourth one leaves at once: {times:?}");
    let found = play.elapsed() - begin;
    assert_eq!(found - times[2], secs(4), "the third one is found missing after twice 2 s");
    play.run(secs(30));
    let times = play.heartbeats(z(2), begin + found);
    assert_eq!(times, [secs(0), secs(8), secs(24)]);
}

#[test]
fn data_goes_to_the_other_path_as_soon_as_a_heartbeat_is_missing() {
    let name = "data_goes_to_the_other_path_as_soon_as_a_heartbeat_is_missing";
    let mut play = Play::new(name, 2, |_| {});
    play.cut(z(1));
    request_heartbeat(&mut play.ladder, z(1));
    play.run(secs(1));
    assert_eq!(play.state(z(1)), PathState::PotentiallyFailed);
    let begin = play.elapsed();
    play.ladder.sends("no time is lost");
    play.run(secs(0));
    assert_eq!(play.first_sent(), [(1, z(2), begin)]);
    // RFC 7829, 3.2 (7)
    play.restore(z(1));
    play.run(secs(10));
    assert_eq!(play.state(z(1)), PathState::Active);
    let failing = AddressChange::PotentiallyFailed(HEARTBEATS);
    let active = AddressChange::Active(ActiveReason::HeartbeatAcked);
    assert_eq!(play.changes(begin), [(secs(0), z(1), failing), (secs(2), z(1), active)]);
}

#[test]
fn data_returns_to_the_primary_path_unless_that_was_switched() {
    let name = "data_returns_to_the_primary_path_unless_that_was_switched";
    // Primary.Switchover.Max.Retrans, after how many failures it works, and where data goes in the end.
    for (switchover, switches_at, then) in
        [(None, None, z(1)), (Some(0), Some(1), z(2)), (Some(2), Some(3), z(2))]
    {
        let mut play = Play::new(name, 2, |options| {
            options.failover.primary_switchover_max = switchover;
            options.heartbeat.failed_interval = None;
        });
        play.run(secs(5));
        let cut = play.elapsed();
        play.cut(z(1));
        play.ladder.sends("to be lost");
        // T3-rtx after 1 s, HEARTBEATs missing after 2 s and 4 s more.
        play.run(secs(8));
        assert_eq!(play.ladder.path(z(1)).errors, 3);
        play.restore(z(1));
        // The next HEARTBEAT goes 15 s after the cut.
        play.run(secs(8));
        let mut changes = vec![(secs(1), z(1), AddressChange::PotentiallyFailed(T3))];
        if let Some(at) = switches_at {
            let primary = AddressChange::Primary(PrimaryReason::Switchover);
            changes.push((time_outs(secs(1), HOUR, at), z(2), primary));
        }
        changes.push((secs(15), z(1), AddressChange::Active(ActiveReason::HeartbeatAcked)));
        assert_eq!(play.changes(cut), changes, "{switchover:?}");
        let now = play.elapsed();
        play.ladder.sends("where now?");
        play.run(secs(0));
        assert_eq!(play.first_sent().last(), Some(&(2, then, now)), "{switchover:?}");
        assert!(play.ladder.path(then).primary);
        // A primary that was switched serves again when the other one fails (RFC 7829, 5, 3).
        play.cut(then);
        play.ladder.sends("and now?");
        play.run(secs(1));
        let other = if then == z(1) { z(2) } else { z(1) };
        assert_eq!(play.data(other, now), [secs(1)]);
    }
}

#[test]
fn a_path_that_was_potentially_failed_starts_slowly() {
    let name = "a_path_that_was_potentially_failed_starts_slowly";
    let mut play = Play::new(name, 2, |_| {});
    send(&mut play.ladder, 40, 1_000);
    play.run(secs(1));
    assert!(play.ladder.path(z(1)).cwnd > 10 * PMDCS);
    play.cut(z(1));
    send(&mut play.ladder, 40, 1_000);
    play.run(secs(2));
    play.restore(z(1));
    play.run(secs(5));
    let path = play.ladder.path(z(1));
    assert_eq!((path.state, path.cwnd, path.flight), (PathState::Active, PMDCS, 0));
    // RFC 7829, 3.2 (7), and RFC 9260, 7.2.3: one packet, until it is acknowledged.
    play.cut(z(1));
    let now = play.elapsed();
    send(&mut play.ladder, 40, 1_000);
    play.run(ms(900));
    assert_eq!(play.data(z(1), now), [secs(0)]);
    assert!(path.counts.t3_expiries == 1 && path.counts.bytes_sent > 40 * 1_016, "{path:?}");
}

#[test]
fn late_acknowledgements_show_that_a_path_works_if_the_chunk_went_nowhere_else() {
    let name = "late_acknowledgements_show_that_a_path_works_if_the_chunk_went_nowhere_else";
    let mut play = Play::new(name, 2, |options| options.heartbeat.interval = None);
    send(&mut play.ladder, 40, 1_000);
    play.run(secs(1));
    play.alive.clear();
    send(&mut play.ladder, 12, 1_000);
    play.run(ms(1_100));
    assert_eq!(play.state(z(1)), PathState::PotentiallyFailed);
    let moved: Vec<_> = (play.heard.iter().filter(|heard| heard.destination == z(2)))
        .flat_map(|heard| numbers(&play.ladder, heard))
        .collect();
    assert_eq!(moved, [41, 42, 43, 44], "as many as the second path's window takes");
    // RFC 7829, 3.2 (9): this says nothing of the first path.
    play.have.extend(41..=44);
    let answer = play.sack();
    play.ladder.says(z(1), &[answer]);
    assert_eq!(play.state(z(1)), PathState::PotentiallyFailed);
    // (10): this does.
    let now = play.elapsed();
    let answer = sack(&play.ladder, 44, &[(8, 8)], WIDE);
    play.ladder.says(z(1), &[answer]);
    let active = AddressChange::Active(ActiveReason::DataAcked);
    assert_eq!(play.changes(now), [(secs(0), z(1), active)]);
    assert_eq!(play.ladder.path(z(1)).errors, 0);
}

#[test]
fn data_from_before_a_cut_that_another_path_acknowledges_does_not_call_data_back() {
    let name = "data_from_before_a_cut_that_another_path_acknowledges_does_not_call_data_back";
    for (from, state) in [(z(2), PathState::PotentiallyFailed), (z(1), PathState::Active)] {
        let mut play = Play::new(name, 2, |_| {});
        send(&mut play.ladder, 40, 1_000);
        play.run(secs(1));
        play.alive.clear();
        send(&mut play.ladder, 12, 1_000);
        play.run(ms(1_100));
        assert_eq!(play.state(z(1)), PathState::PotentiallyFailed);
        // All twelve had come, and the cut swallowed the SACKs: most of them were sent to the first path alone.
        play.have.extend(41..=52);
        let answer = play.sack();
        play.ladder.says(from, &[answer]);
        assert_eq!(play.state(z(1)), state, "SACK from {from}");
        play.ladder.hears_all();
        send(&mut play.ladder, 1, 100);
        let to = if state == PathState::Active { z(1) } else { z(2) };
        assert_eq!(play.ladder.hears().destination, to);
    }
}

#[test]
fn of_potentially_failed_paths_the_one_with_the_fewest_failures_carries_data() {
    let name = "of_potentially_failed_paths_the_one_with_the_fewest_failures_carries_data";
    let mut play = Play::new(name, 3, |options| options.heartbeat.interval = None);
    for peer in [z(1), z(2), z(3)] {
        play.cut(peer);
    }
    let begin = play.elapsed();
    play.ladder.sends("where to?");
    play.run(secs(14));
    // Each time-out counts one failure: the next one goes to the path after it that has fewer, or as few.
    let visits = |peer| play.data(peer, begin);
    assert_eq!(visits(z(1)), [secs(0), secs(3), secs(9)]);
    assert_eq!(visits(z(2)), [secs(1), secs(5), secs(13)]);
    assert_eq!(visits(z(3)), [secs(2), secs(7)]);
    let errors: Vec<_> = play.ladder.paths().iter().map(|path| path.errors).collect();
    assert_eq!(errors, [3, 2, 2]);
    // RFC 7829, 3.2 (4): choosing one changes nothing of it.
    assert!(play.ladder.paths().iter().all(|path| path.state == PathState::PotentiallyFailed));
    // One that has failed more often does not get its turn.
    play.change(z(3), |settings| settings.rto.max = secs(1)).unwrap();
    for _ in 0..2 {
        request_heartbeat(&mut play.ladder, z(3));
        play.run(secs(1));
    }
    play.run(secs(4));
    let errors: Vec<_> = play.ladder.paths().iter().map(|path| path.errors).collect();
    assert_eq!(errors, [3, 3, 4]);
    assert_eq!(play.data(z(1), begin).last(), Some(&secs(17)));
}

#[test]
fn what_waits_for_a_failing_path_goes_to_one_that_answers_again() {
    let name = "what_waits_for_a_failing_path_goes_to_one_that_answers_again";
    let mut play = Play::new(name, 2, |_| {});
    play.alive.clear();
    send(&mut play.ladder, 3, 1_400);
    let begin = play.elapsed();
    // T3-rtx of the first path, then of the second: 1 leaves by the first again, 2 and 3 wait for it to get through.
    play.run(ms(1_999));
    play.restore(z(2));
    play.run(ms(1));
    assert_eq!(play.data(z(1), begin), [0, 0, 0, 2].map(secs));
    // The HEARTBEAT to the second path is answered at once.
    assert_eq!(
        (play.state(z(1)), play.state(z(2))),
        (PathState::PotentiallyFailed, PathState::Active)
    );
    // So that 1, which went to the other one a moment ago, follows at once as well (RFC 7829, 3.2, 3).
    assert_eq!(play.data(z(2), begin), [1, 1, 1, 2, 2, 2].map(secs));
    assert_eq!(play.have, BTreeSet::from([1, 2, 3]));
}

#[test]
fn in_dormant_state_data_and_heartbeats_go_on_and_either_ends_it() {
    let name = "in_dormant_state_data_and_heartbeats_go_on_and_either_ends_it";
    for by_data in [false, true] {
        let mut play = Play::new(name, 2, |options| {
            options.heartbeat.interval = if by_data { None } else { Some(secs(30)) };
            options.retransmission.path_max = 1;
            options.rto.max = secs(4);
        });
        play.alive.clear();
        play.ladder.sends("is anybody there?");
        play.run_until(z(1), PathState::Inactive);
        play.run_until(z(2), PathState::Inactive);
        play.run(secs(100));
        // RFC 7829, 4.1 (3): they are told apart by their failures, up to ten times the threshold.
        let errors: Vec<_> = play.ladder.paths().iter().map(|path| path.errors).collect();
        assert!(errors.iter().all(|errors| (3..=20).contains(errors)), "{errors:?}");
        let asleep = play.elapsed();
        play.run(secs(100));
        // (1): DATA goes out at each RTO, to both in turn as long as they fail alike.
        let (first, second) = (play.data(z(1), asleep).len(), play.data(z(2), asleep).len());
        assert!(first + second >= 24, "{first} and {second}");
        assert_eq!(play.ladder.state(), AssociationState::Established);
        // (2): being chosen does not change the state.
        assert!(play.ladder.paths().iter().all(|path| path.state == PathState::Inactive));
        play.run(secs(1_000));
        assert!(play.ladder.paths().iter().all(|path| path.errors <= 20));
        play.restore(z(2));
        play.run(secs(100));
        assert_eq!(play.have.len(), 1, "it came through");
        if by_data {
            // What went to both says nothing of either (3.2, 9).
            play.ladder.sends("this one went there alone");
            play.run(secs(100));
        }
        let why = if by_data { ActiveReason::DataAcked } else { ActiveReason::HeartbeatAcked };
        let changes = play.changes(asleep);
        let (_, peer, change) = *changes.last().unwrap();
        assert_eq!((peer, change), (z(2), AddressChange::Active(why)), "{changes:?}");
        assert_eq!(play.have.len(), 1 + usize::from(by_data));
    }
}

#[test]
fn without_potential_failure_data_stays_until_the_path_is_inactive_and_counts_no_further() {
    let name =
        "without_potential_failure_data_stays_until_the_path_is_inactive_and_counts_no_further";
    let mut play = Play::new(name, 2, |options| {
        options.failover.potentially_failed_max = None;
        options.heartbeat.interval = None;
    });
    play.cut(z(1));
    let begin = play.elapsed();
    play.fail(z(1), PathState::Inactive);
    let changes = play.changes(begin);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].1, changes[0].2), (z(1), AddressChange::Inactive(T3)));
    assert_eq!(play.heartbeats(z(1), begin), []);
    let count = play.data(z(1), begin).len();
    assert_eq!(count, 6, "RFC 9260, 8.2");
    for _ in 0..3 {
        request_heartbeat(&mut play.ladder, z(1));
        play.run(secs(100));
    }
    assert_eq!(play.ladder.path(z(1)).errors, 6, "RFC 9260, 8.3");
}

#[test]
fn a_primary_path_that_is_inactive_is_switched_without_potential_failure_too() {
    let name = "a_primary_path_that_is_inactive_is_switched_without_potential_failure_too";
    let mut play = Play::new(name, 2, |options| {
        options.failover.potentially_failed_max = None;
        options.failover.primary_switchover_max = Some(1);
        options.retransmission.path_max = 1;
    });
    play.cut(z(1));
    let begin = play.elapsed();
    play.fail(z(1), PathState::Inactive);
    let changes: Vec<_> =
        play.changes(begin).into_iter().map(|(_, at, change)| (at, change)).collect();
    let primary = AddressChange::Primary(PrimaryReason::Switchover);
    assert_eq!(changes, [(z(1), AddressChange::Inactive(T3)), (z(2), primary)]);
}

#[test]
fn no_heartbeat_goes_to_a_failing_path_where_heartbeats_are_off() {
    let name = "no_heartbeat_goes_to_a_failing_path_where_heartbeats_are_off";
    let mut play = Play::new(name, 2, |_| {});
    play.change(z(1), |settings| settings.heartbeat_interval = None).unwrap();
    play.cut(z(1));
    play.ladder.sends("to be lost");
    play.run(secs(100));
    // RFC 7829, 3.2 (5)
    assert_eq!(play.state(z(1)), PathState::PotentiallyFailed);
    assert_eq!(play.heartbeats(z(1), secs(0)), []);
    // Switched on, the first one is due in an RTO.
    play.restore(z(1));
    let now = play.elapsed();
    play.change(z(1), |settings| settings.heartbeat_interval = Some(secs(30))).unwrap();
    play.run(secs(5));
    assert_eq!(play.heartbeats(z(1), now), [secs(2)]);
    assert_eq!(play.state(z(1)), PathState::Active);
}

#[test]
fn a_heartbeat_is_not_missed_where_data_went_since() {
    let name = "a_heartbeat_is_not_missed_where_data_went_since";
    let mut play = Play::new(name, 2, |_| {});
    play.cut(z(1));
    request_heartbeat(&mut play.ladder, z(1));
    play.run(ms(500));
    // The HEARTBEAT was lost, nothing else.
    play.restore(z(1));
    play.ladder.sends("and yet it works");
    play.run(secs(5));
    assert_eq!(play.state(z(1)), PathState::Active);
    let path = play.ladder.path(z(1));
    assert_eq!((path.errors, path.counts.heartbeats_unanswered), (0, 1));
}

#[test]
fn nothing_is_lost_and_order_holds_while_paths_come_and_go() {
    let name = "nothing_is_lost_and_order_holds_while_paths_come_and_go";
    for_each_seed(30, |seed| {
        let config = config(|options| {
            options.rto.min = ms(200);
            options.rto.max = secs(2);
            options.heartbeat.interval = Some(secs(1));
            options.retransmission.association_max = 100;
            options.failover.potentially_failed_max = [Some(0), Some(1), None][seed as usize % 3];
            options.failover.primary_switchover_max = (seed % 2 == 0).then_some(5);
        });
        let link = LinkSettings::with_latency(ms(10));
        let mut world = World::new(name, seed, 2, &config, &link);
        let (id, theirs) = world.establish();
        let (a, z) = (world.a, world.z);
        // Each link goes down and comes back every few seconds, the two of them at different times.
        for number in 0..2_usize {
            let (one, other) = (world.ours[number], world.theirs[number]);
            for round in 0..10 {
                let at = world.network.elapsed() + secs(3 * round) + ms(1_400 * number as u64);
                for (at, status) in [(at, Status::Down), (at + secs(1), Status::Up)] {
                    world.network.at(at, move |network| {
                        network.alter_both(one, other, |link| link.status = status);
                    });
                }
            }
        }
        let messages = |count| (0..count).map(|number| Message::new(0, payload(number, 3_000)));
        for _ in 0..30 {
            world.network.offer(a, id, messages(20));
            world.network.offer(z, theirs, messages(10));
            world.network.run_for(secs(1));
        }
        world.network.close_when_sent(a, id);
        world.run_until_ended(id);
        world.assert_graceful(id);
        for (host, id) in [(a, id), (z, theirs)] {
            assert_eq!(world.network.application(host, id).missing(), 0);
        }
    });
}

#[test]
fn a_cut_under_load_is_seen_within_the_rto_in_both_directions() {
    let name = "a_cut_under_load_is_seen_within_the_rto_in_both_directions";
    let mut world = World::new(name, 0, 2, &config(|_| {}), &LinkSettings::with_latency(ms(10)));
    let (id, theirs) = world.establish();
    let (a, z) = (world.a, world.z);
    world.network.run_for(secs(5));
    for (host, id) in [(a, id), (z, theirs)] {
        let messages = (0..3_000).map(|number| Message::new(0, payload(number, 2_000)));
        world.network.offer(host, id, messages);
    }
    world.network.run_for(ms(300));
    let cut = world.network.elapsed();
    let (one, other) = (world.ours[0], world.theirs[0]);
    world.network.alter_both(one, other, |link| link.status = Status::Down);
    world.network.run_for(secs(3));
    for (host, peer) in [(a, other), (z, one)] {
        let failing = AddressChange::PotentiallyFailed(T3);
        let event = Event::PeerAddressChange { peer, change: failing };
        let log = world.network.events(host);
        let found = log.iter().find(|logged| logged.event == event).expect("it was seen");
        // Acknowledgements that were under way may have restarted T3-rtx.
        let after = found.at - cut;
        assert!(after > ms(980) && after <= secs(1) + ms(20), "{after:?}");
    }
    world.network.run_for(secs(60));
    for (host, id) in [(a, id), (z, theirs)] {
        assert_eq!(world.network.application(host, id).missing(), 0);
    }
}

#[test]
fn a_heartbeat_in_the_packet_of_lost_data_is_no_second_failure() {
    let name = "a_heartbeat_in_the_packet_of_lost_data_is_no_second_failure";
    // With the message, and with its retransmission.
    for asked_at in [0, 1] {
        let mut play = Play::new(name, 1, |options| options.heartbeat.failed_interval = None);
        play.cut(z(1));
        play.ladder.sends("lost");
        play.run(secs(asked_at));
        request_heartbeat(&mut play.ladder, z(1));
        play.run(secs(1 - asked_at));
        let path = play.ladder.path(z(1));
        assert_eq!((path.errors, path.rto), (1, secs(2)), "with sending {asked_at}");
        play.run(secs(2));
        // RFC 9260, 6.3.3 (E2) and 8.2: T3-rtx and the HEARTBEAT say the same.
        let path = play.ladder.path(z(1));
        assert_eq!((path.errors, path.rto), (2, secs(4)), "with sending {asked_at}");
    }
}

#[test]
fn a_peer_that_has_sent_shutdown_need_not_answer_heartbeats() {
    let name = "a_peer_that_has_sent_shutdown_need_not_answer_heartbeats";
    let mut play = Play::new(name, 2, |_| {});
    play.cut(z(1));
    play.ladder.sends("on its way");
    play.run(ms(10));
    let shutdown = play.ladder.shutdown(0);
    play.ladder.says(z(1), &[shutdown]);
    assert_eq!(play.ladder.state(), AssociationState::ShutdownReceived);
    request_heartbeat(&mut play.ladder, z(2));
    play.alive.clear();
    play.run(ms(1_020));
    // RFC 9260, 8.3: silence says nothing of the path; what times out does.
    assert_eq!((play.ladder.path(z(1)).errors, play.ladder.path(z(2)).errors), (1, 0));
    assert_eq!(play.ladder.path(z(2)).counts.heartbeats_unanswered, 1);

    // Nor of a path from which DATA has gone to another one.
    let mut play = Play::new(name, 2, |_| {});
    play.ladder.sends("elsewhere");
    let shutdown = play.ladder.shutdown(0);
    play.alive.clear();
    request_heartbeat(&mut play.ladder, z(2));
    play.ladder.says(z(1), &[shutdown]);
    play.run(ms(1_020));
    assert_eq!(play.ladder.path(z(2)).errors, 0);
}
