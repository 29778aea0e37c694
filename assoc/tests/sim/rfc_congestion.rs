//! cwnd, ssthresh, fast retransmit and recovery (RFC 9260, section 7).

use usctp_assoc::sim::{Ladder, a, a6, z, z6};
use usctp_assoc::{Association, LossDetection, Message};

use crate::rfc::{
    FULL, PMDCS, acks, alone, double, double_with, grow, hears_numbers, send, single, single_with,
    wait,
};
use crate::world::{config, ms, secs};

#[test]
fn the_initial_window_depends_on_the_mtu_and_the_family() {
    let name = "the_initial_window_depends_on_the_mtu_and_the_family";
    // RFC 9260, 7.2.1: min(4 * PMDCS, max(2 * PMDCS, 4404, or 4344 with IPv6)).
    // IPv6 takes 1,280 bytes everywhere.
    for (mtu, v4, v6) in [(512, 4 * 480, 4344), (1500, 4404, 4344), (9000, 2 * 8968, 2 * 8948)] {
        let config = config(|options| options.path_mtu = mtu);
        let mut ladder = Ladder::with(name, config, &[a(1), a6(1)], &[z(1), z6(1)]);
        ladder.establishes(&[z(1), z6(1)]);
        assert_eq!((ladder.path(z(1)).cwnd, ladder.path(z6(1)).cwnd), (v4, v6), "{mtu}");
        assert!(ladder.path(z(1)).ssthresh > 1 << 30);
    }
}

#[test]
fn an_mtu_that_falls_before_the_first_message_takes_the_initial_window_along() {
    let name = "an_mtu_that_falls_before_the_first_message_takes_the_initial_window_along";
    let mut ladder = double(name);
    let (ours, id) = (ladder.ours, ladder.id());
    let set = |ladder: &mut Ladder, peer, mtu| {
        let set = |a: &mut Association, now| a.set_path_mtu(now, peer, Some(mtu));
        ladder.network.with(ours, id, set).unwrap();
        ladder.path(peer).cwnd
    };
    // RFC 9260, 7.2.1: "before data transmission".
    assert_eq!(set(&mut ladder, z(1), 512), 4 * 480);
    assert_eq!(set(&mut ladder, z(1), 1_500), 4 * 480, "RFC 8899, 3, 7: but it does not rise");
    assert_eq!(ladder.path(z(2)).cwnd, 4404);
    // Of a path in use it is what the path has shown to take.
    send(&mut ladder, 1, 100);
    acks(&mut ladder, 1, &[]);
    assert_eq!(set(&mut ladder, z(1), 296), 4 * 480);
}

#[test]
fn each_path_has_its_own_congestion_control_counted_with_header_and_padding() {
    let name = "each_path_has_its_own_congestion_control_counted_with_header_and_padding";
    let mut ladder = double(name);
    ladder.sends("12345");
    assert_eq!(ladder.path(z(1)).flight, 24);
    assert_eq!(ladder.path(z(2)).flight, 0);
    wait(&mut ladder, secs(1));
    let (first, second) = (ladder.path(z(1)), ladder.path(z(2)));
    assert_eq!((first.cwnd, first.ssthresh, first.flight), (PMDCS, 4 * PMDCS, 0));
    assert_eq!((second.cwnd, second.flight), (4404, 24));
    assert!(second.ssthresh > 1 << 30);
}

#[test]
fn slow_start_grows_only_a_window_that_is_used_by_what_was_acknowledged_up_to_one_chunk() {
    let name =
        "slow_start_grows_only_a_window_that_is_used_by_what_was_acknowledged_up_to_one_chunk";
    let mut ladder = single(name);
    send(&mut ladder, 2, 1_000);
    acks(&mut ladder, 2, &[]);
    assert_eq!(ladder.path(z(1)).cwnd, 4404, "it was not used");
    send(&mut ladder, 20, 1_000);
    acks(&mut ladder, 3, &[]);
    assert_eq!(ladder.path(z(1)).cwnd, 4404 + 1_016);
    acks(&mut ladder, 6, &[]);
    assert_eq!(ladder.path(z(1)).cwnd, 4404 + 1_016 + PMDCS);
}

#[test]
fn a_window_that_the_last_messages_fill_grows_by_all_of_them() {
    let mut ladder = single("a_window_that_the_last_messages_fill_grows_by_all_of_them");
    // RFC 9260, 7.2.1: it was fully utilized when these were sent, though nothing follows them.
    send(&mut ladder, 3, FULL);
    let path = ladder.path(z(1));
    assert_eq!((path.flight, path.cwnd), (4404, 4404));
    for acked in 1..=3 {
        acks(&mut ladder, acked, &[]);
        assert_eq!(ladder.path(z(1)).cwnd, 4404 + acked as usize * PMDCS);
    }
    // And what was sent after that into a window of which a part stayed free lets it be.
    let cwnd = ladder.path(z(1)).cwnd;
    send(&mut ladder, 4, FULL);
    acks(&mut ladder, 5, &[]);
    acks(&mut ladder, 7, &[]);
    assert_eq!(ladder.path(z(1)).cwnd, cwnd);
}

#[test]
fn congestion_avoidance_adds_one_chunk_for_each_window() {
    let mut ladder = single("congestion_avoidance_adds_one_chunk_for_each_window");
    // T3-rtx leaves ssthresh at four chunks.
    send(&mut ladder, 1, FULL);
    wait(&mut ladder, secs(1));
    let mut acked = 1;
    acks(&mut ladder, acked, &[]);
    send(&mut ladder, 300, FULL);
    ladder.hears_all();
    while ladder.path(z(1)).cwnd <= 4 * PMDCS {
        acked += 1;
        acks(&mut ladder, acked, &[]);
    }
    let mut cwnd = ladder.path(z(1)).cwnd;
    for _ in 0..5 {
        let mut bytes = 0;
        while ladder.path(z(1)).cwnd == cwnd {
            acked += 1;
            bytes += PMDCS;
            acks(&mut ladder, acked, &[]);
        }
        // RFC 9260, 7.2.2: PMDCS more once a window of bytes was acknowledged, carry-over included.
        assert_eq!(ladder.path(z(1)).cwnd, cwnd + PMDCS);
        assert!(bytes + PMDCS > cwnd, "{bytes} of {cwnd}");
        cwnd += PMDCS;
    }
}

#[test]
fn an_idle_window_is_halved_for_each_rto() {
    let mut ladder = single("an_idle_window_is_halved_for_each_rto");
    grow(&mut ladder, 30 * PMDCS, FULL);
    let before = ladder.path(z(1)).cwnd;
    wait(&mut ladder, ms(2_500));
    send(&mut ladder, 1, FULL);
    let path = ladder.path(z(1));
    assert_eq!((path.cwnd, path.ssthresh), (before / 2 / 2, before));
    let acked = hears_numbers(&mut ladder)[0];
    acks(&mut ladder, acked, &[]);
    wait(&mut ladder, secs(20));
    send(&mut ladder, 1, FULL);
    assert_eq!(ladder.path(z(1)).cwnd, 4 * PMDCS, "no less than four chunks");
}

/// A window of some 20 packets, all of it in use by chunks of `len` bytes; how many chunks there were before
/// these, and how many these are.
fn in_use(name: &str, len: usize) -> (Ladder, u32, u16) {
    let mut ladder = alone(name, config(|options| options.max_burst = 100));
    ladder.establishes(&[z(1)]);
    let acked = grow(&mut ladder, 20 * PMDCS, FULL);
    let more = ladder.path(z(1)).cwnd / len * 2;
    send(&mut ladder, more, len);
    let sent = hears_numbers(&mut ladder);
    assert!(sent.len() > 15 && ladder.path(z(1)).flight >= ladder.path(z(1)).cwnd);
    (ladder, acked, u16::try_from(sent.len()).unwrap())
}

#[test]
fn a_fast_retransmission_leaves_at_once_in_one_packet_with_nothing_new() {
    let name = "a_fast_retransmission_leaves_at_once_in_one_packet_with_nothing_new";
    let (mut ladder, acked, _) = in_use(name, 100);
    for last in 2..=3 {
        acks(&mut ladder, acked, &[(2, last)]);
        assert!(!hears_numbers(&mut ladder).contains(&(acked + 1)), "two reports are not three");
    }
    let cwnd = ladder.path(z(1)).cwnd;
    acks(&mut ladder, acked, &[(2, 4)]);
    let path = ladder.path(z(1));
    // RFC 9260, 7.2.3: half of it, after it grew by the one chunk newly acknowledged. What is in flight is far
    // more, and still 1 goes (7.2.4, 3).
    let half = (cwnd + 116) / 2;
    assert_eq!((path.cwnd, path.ssthresh), (half, half));
    assert!(path.flight > path.cwnd + PMDCS);
    assert_eq!(hears_numbers(&mut ladder), [acked + 1]);
}

#[test]
fn of_all_that_was_lost_one_packet_leaves_whatever_the_window_says() {
    let name = "of_all_that_was_lost_one_packet_leaves_whatever_the_window_says";
    let (mut ladder, acked, _) = in_use(name, FULL);
    // 1 to 4 are missing. RFC 9260, 7.2.4 (3): as many as fit one packet, and the others when cwnd has room (6.1, B).
    acks(&mut ladder, acked, &[(5, 5)]);
    acks(&mut ladder, acked, &[(5, 6)]);
    hears_numbers(&mut ladder);
    acks(&mut ladder, acked, &[(5, 7)]);
    assert_eq!(hears_numbers(&mut ladder), [acked + 1]);
    let path = ladder.path(z(1));
    assert!(path.flight > path.cwnd + PMDCS, "{path:?}");
    acks(&mut ladder, acked, &[(5, 8)]);
    assert!(hears_numbers(&mut ladder).is_empty());
}

#[test]
fn fast_recovery_cuts_the_window_once_and_no_chunk_is_fast_retransmitted_twice() {
    let name = "fast_recovery_cuts_the_window_once_and_no_chunk_is_fast_retransmitted_twice";
    let (mut ladder, acked, count) = in_use(name, FULL);
    for last in 2..=4 {
        acks(&mut ladder, acked, &[(2, last)]);
    }
    let cwnd = ladder.path(z(1)).cwnd;
    hears_numbers(&mut ladder);
    // The retransmission is lost, and so is 6.
    let mut heard = Vec::new();
    for last in 7..=count {
        acks(&mut ladder, acked, &[(2, 5), (7, last)]);
        heard.extend(hears_numbers(&mut ladder));
    }
    assert_eq!(ladder.path(z(1)).cwnd, cwnd);
    assert!(!heard.contains(&(acked + 1)), "{heard:?}");
    assert_eq!(heard.iter().filter(|number| **number == acked + 6).count(), 1, "{heard:?}");
}

#[test]
fn growth_by_what_a_sack_acknowledges_comes_before_the_cut() {
    let name = "growth_by_what_a_sack_acknowledges_comes_before_the_cut";
    let (mut ladder, acked, _) = in_use(name, FULL);
    // 2 is missing; the third report also acknowledges 1 cumulatively.
    acks(&mut ladder, acked, &[(3, 3)]);
    acks(&mut ladder, acked, &[(3, 4)]);
    let cwnd = ladder.path(z(1)).cwnd;
    acks(&mut ladder, acked + 1, &[(2, 4)]);
    // RFC 9260, 7.2.4: the rules of 7.2.1 MUST be applied first.
    assert_eq!(ladder.path(z(1)).cwnd, (cwnd + PMDCS) / 2);
}

#[test]
fn only_chunks_before_the_highest_newly_acknowledged_one_count_as_missing() {
    let name = "only_chunks_before_the_highest_newly_acknowledged_one_count_as_missing";
    let mut ladder = single(name);
    send(&mut ladder, 5, 800);
    assert_eq!(hears_numbers(&mut ladder), [1, 2, 3, 4, 5]);
    acks(&mut ladder, 0, &[(5, 5)]);
    acks(&mut ladder, 0, &[(2, 2), (5, 5)]);
    acks(&mut ladder, 0, &[(2, 3), (5, 5)]);
    // RFC 9260, 7.2.4 (HTNA): 1 was reported three times, and 4 only once.
    assert_eq!(hears_numbers(&mut ladder), [1]);
    // The same SACK again acknowledges nothing newly.
    for _ in 0..5 {
        acks(&mut ladder, 0, &[(2, 3), (5, 5)]);
    }
    assert!(hears_numbers(&mut ladder).is_empty());
}

#[test]
fn what_the_peer_takes_back_and_gives_again_widens_the_window_once() {
    let mut ladder = single("what_the_peer_takes_back_and_gives_again_widens_the_window_once");
    send(&mut ladder, 100, FULL);
    hears_numbers(&mut ladder);
    let before = ladder.path(z(1)).cwnd;
    for _ in 0..50 {
        acks(&mut ladder, 0, &[(2, 2)]);
        // From the third on Fast Recovery has made it as large as that anyway.
        assert_eq!(ladder.path(z(1)).cwnd, before + PMDCS);
        acks(&mut ladder, 0, &[]);
    }
}

#[test]
fn a_time_out_on_one_path_does_not_end_the_fast_recovery_of_another() {
    let name = "a_time_out_on_one_path_does_not_end_the_fast_recovery_of_another";
    let mut ladder = double_with(name, |options| {
        options.heartbeat.interval = None;
        options.max_burst = 64;
        options.failover.potentially_failed_max = None;
    });
    let acked = grow(&mut ladder, 15 * FULL, FULL);
    send(&mut ladder, 8, FULL);
    let (ours, id) = (ladder.ours, ladder.id());
    let message = Message::new(0, "by the second path").destination(z(2));
    ladder.network.send(ours, id, message).unwrap();
    let all: Vec<_> = (1..=9).map(|number| acked + number).collect();
    assert_eq!(hears_numbers(&mut ladder), all);
    wait(&mut ladder, ms(500));
    // The first path loses its second chunk, and its window is cut. T3-rtx of that path starts anew.
    for last in 2..=4 {
        acks(&mut ladder, acked + 1, &[(2, last)]);
    }
    assert_eq!(hears_numbers(&mut ladder), [acked + 2]);
    let cut = ladder.path(z(1)).cwnd;
    wait(&mut ladder, ms(500));
    let second = ladder.path(z(2));
    assert_eq!((second.cwnd, second.counts.t3_expiries), (PMDCS, 1));
    assert_eq!(hears_numbers(&mut ladder), [acked + 9]);
    // It has lost another one of the same window, for which it was cut already (RFC 9260, 7.2.4, 2).
    for last in 2..=4 {
        acks(&mut ladder, acked + 5, &[(2, last)]);
    }
    assert_eq!(hears_numbers(&mut ladder), [acked + 6]);
    assert_eq!(ladder.path(z(1)).cwnd, cut);
}

/// Z says by a SHUTDOWN alone that A's first `count` chunks came.
fn shuts_down(ladder: &mut Ladder, count: u32) {
    let shutdown = ladder.shutdown(count);
    ladder.says(z(1), &[shutdown]);
}

#[test]
fn a_shutdown_ends_fast_recovery_as_a_sack_does_and_the_window_grows_again() {
    let name = "a_shutdown_ends_fast_recovery_as_a_sack_does_and_the_window_grows_again";
    let (mut ladder, acked, count) = in_use(name, FULL);
    send(&mut ladder, 100, FULL);
    for last in 2..=4 {
        acks(&mut ladder, acked, &[(2, last)]);
    }
    let cut = ladder.path(z(1)).cwnd;
    let mut last = acked + u32::from(count);
    last = hears_numbers(&mut ladder).into_iter().fold(last, u32::max);
    // RFC 9260, 7.2.4: all that was outstanding when it began. The rest goes out in SHUTDOWN-RECEIVED (9.2).
    shuts_down(&mut ladder, last);
    let heard = hears_numbers(&mut ladder);
    assert!(heard.len() > 5 && ladder.path(z(1)).flight >= cut, "the window is in use");
    shuts_down(&mut ladder, heard[0]);
    assert_eq!(ladder.path(z(1)).cwnd, cut + PMDCS);
}

#[test]
fn a_shutdown_is_no_report_of_what_is_missing() {
    let mut ladder = single_with("a_shutdown_is_no_report_of_what_is_missing", |options| {
        (options.heartbeat.interval, options.max_burst) = (None, 100);
    });
    let base = grow(&mut ladder, 20 * PMDCS, FULL);
    send(&mut ladder, 9, FULL);
    assert_eq!(hears_numbers(&mut ladder).len(), 9);
    for last in 2..=4 {
        acks(&mut ladder, base, &[(2, last)]);
    }
    assert_eq!(hears_numbers(&mut ladder), [base + 1]);
    // In Fast Recovery each Cumulative TSN that moves counts for all that is missing (RFC 9260, 7.2.4), in SACKs.
    for last in 6..=7 {
        acks(&mut ladder, base, &[(2, 4), (6, last)]);
    }
    shuts_down(&mut ladder, base + 4);
    assert!(!hears_numbers(&mut ladder).contains(&(base + 5)));
    acks(&mut ladder, base + 4, &[(2, 4)]);
    assert!(hears_numbers(&mut ladder).contains(&(base + 5)), "that is the third report");
}

#[test]
fn a_fast_retransmission_that_does_not_fit_beside_a_sack_follows_it_at_once() {
    let name = "a_fast_retransmission_that_does_not_fit_beside_a_sack_follows_it_at_once";
    let (mut ladder, acked, _) = in_use(name, FULL);
    for last in 2..=3 {
        acks(&mut ladder, acked, &[(2, last)]);
    }
    hears_numbers(&mut ladder);
    let third = crate::rfc::sack(&ladder, acked, &[(2, 4)], crate::rfc::WIDE);
    // A gap asks for a SACK at once.
    ladder.says(z(1), &[third, crate::rfc::data(1_005, 0, "BE", "behind a gap")]);
    let heard = ladder.hears_all();
    assert_eq!(crate::rfc::numbers(&ladder, &heard), [acked + 1]);
    assert_eq!(crate::rfc::sacks(&heard).len(), 1);
    let path = ladder.path(z(1));
    assert!(path.flight > path.cwnd + PMDCS, "{path:?}");
}

#[test]
fn what_was_sent_before_a_chunk_that_a_shutdown_acknowledges_is_lost_by_time() {
    let name = "what_was_sent_before_a_chunk_that_a_shutdown_acknowledges_is_lost_by_time";
    let mut ladder = single_with(name, |o| o.recovery.detection = LossDetection::Rack);
    send(&mut ladder, 3, FULL);
    assert_eq!(hears_numbers(&mut ladder), [1, 2, 3]);
    acks(&mut ladder, 3, &[]);
    send(&mut ladder, 5, 500);
    assert_eq!(hears_numbers(&mut ladder), [4, 5, 6, 7, 8]);
    wait(&mut ladder, ms(1));
    // 4 and 8 are lost; and 4, sent again after 8, arrives.
    acks(&mut ladder, 3, &[(2, 4)]);
    assert_eq!(hears_numbers(&mut ladder), [4]);
    wait(&mut ladder, ms(1));
    shuts_down(&mut ladder, 7);
    assert_eq!(hears_numbers(&mut ladder), [8], "RFC 8985, 6.2");
}
