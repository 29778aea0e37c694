//! How paths that failed are asked whether they have come back: by DATA, and by HEARTBEATs that count for nothing.

use usctp_assoc::PathState;
use usctp_assoc::sim::z;

use crate::failover_play::Play;
use crate::rfc::request_heartbeat;
use crate::world::secs;

#[test]
fn when_the_last_path_fails_those_that_failed_before_are_asked_at_once_and_then_more_often() {
    let name = "when_the_last_path_fails_those_that_failed_before_are_asked_at_once";
    let mut play = Play::new(name, 3, |options| options.heartbeat.failed_interval = Some(secs(12)));
    for peer in [z(2), z(3)] {
        play.cut(peer);
        request_heartbeat(&mut play.ladder, peer);
    }
    play.run_until(z(2), PathState::Inactive);
    play.run_until(z(3), PathState::Inactive);
    play.run(secs(17));
    play.cut(z(1));
    let begin = play.elapsed();
    play.ladder.sends("lost");
    play.run(secs(14));
    // T3-rtx expires after 1, 3 and 7 s, and only the first leaves no path.
    for peer in [z(2), z(3)] {
        assert_eq!(play.heartbeats(peer, begin), [1, 4, 7, 10, 13].map(secs), "{peer}");
    }
}

#[test]
fn a_single_path_that_fails_is_asked_by_heartbeats_once_t3_asks_more_rarely() {
    let name = "a_single_path_that_fails_is_asked_by_heartbeats_once_t3_asks_more_rarely";
    let mut play = Play::new(name, 1, |options| options.heartbeat.failed_interval = Some(secs(12)));
    play.cut(z(1));
    let begin = play.elapsed();
    play.ladder.sends("lost");
    play.run(secs(100));
    assert_eq!(play.data(z(1), begin)[..6], [0, 1, 3, 7, 15, 31].map(secs));
    let asked = play.heartbeats(z(1), begin);
    assert_eq!(asked[0], secs(27), "before, DATA asks often enough: {asked:?}");
    let mut all = [play.data(z(1), begin), asked].concat();
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[1] - pair[0] <= secs(12)), "{all:?}");
}
