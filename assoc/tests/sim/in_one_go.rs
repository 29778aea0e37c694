//! Several inputs before the packets that they lead to are polled, as a driver takes packets in that came together.

use std::time::Duration;

use usctp_assoc::sim::{Ladder, a, z};
use usctp_assoc::{Datagram, Ecn, LossDetection, Options, RecoveryOptions};
use usctp_chunk::Chunk;

use crate::rfc::{FULL, WIDE, acks, grow, hears_numbers, sack, send, single, single_with, wait};
use crate::world::{ms, secs};

fn all_at_once(options: &mut Options) {
    options.max_burst = 100;
}

fn rack(options: &mut Options) {
    options.recovery =
        RecoveryOptions::default().with(|options| options.detection = LossDetection::Rack);
    options.heartbeat.interval = None;
}

/// Z's chunks come one by one, each in a packet of its own, and A answers only after the last.
fn says_in_one_go(ladder: &mut Ladder, chunks: &[Chunk]) {
    let packets: Vec<_> = (chunks.iter())
        .map(|chunk| ladder.packet(ladder.our_tag, std::slice::from_ref(chunk)))
        .map(|payload| Datagram {
            source: z(1),
            destination: a(1),
            udp_port: None,
            zone: 0,
            ecn: Ecn::NotEct,
            payload,
        })
        .collect();
    ladder.network.with_endpoint(ladder.ours, |endpoint, now| {
        for packet in packets {
            endpoint.handle_datagram(now, packet);
        }
    });
}

/// A's chunks with these numbers are out, and two of the three reports that the first of them is missing have come.
fn missing_twice(ladder: &mut Ladder) {
    send(ladder, 6, 10);
    assert_eq!(hears_numbers(ladder), [1, 2, 3, 4, 5, 6]);
    acks(ladder, 0, &[(2, 2)]);
    acks(ladder, 0, &[(2, 3)]);
}

#[test]
fn a_chunk_that_was_only_overtaken_holds_nothing_back_once_it_is_acknowledged() {
    let mut ladder =
        single("a_chunk_that_was_only_overtaken_holds_nothing_back_once_it_is_acknowledged");
    missing_twice(&mut ladder);
    let third = sack(&ladder, 0, &[(2, 4)], WIDE);
    let all = sack(&ladder, 6, &[], WIDE);
    says_in_one_go(&mut ladder, &[third, all]);
    assert!(ladder.hears_all().is_empty(), "nothing is missing");
    ladder.sends("new");
    assert_eq!(hears_numbers(&mut ladder), [7]);
}

#[test]
fn a_chunk_that_a_gap_block_shows_after_its_third_report_gives_its_turn_to_nobody() {
    let mut ladder = single_with(
        "a_chunk_that_a_gap_block_shows_after_its_third_report_gives_its_turn_to_nobody",
        all_at_once,
    );
    let base = grow(&mut ladder, 20 * FULL, FULL);
    // Flight fills the window, which a loss halves: cwnd forbids what is not the first packet of the Fast Retransmit.
    send(&mut ladder, 40, FULL);
    acks(&mut ladder, base, &[(2, 2), (4, 4)]);
    acks(&mut ladder, base, &[(2, 2), (4, 5)]);
    hears_numbers(&mut ladder);
    let third = sack(&ladder, base, &[(2, 2), (4, 6)], WIDE);
    let late = sack(&ladder, base + 6, &[], WIDE);
    says_in_one_go(&mut ladder, &[third, late]);
    assert!(hears_numbers(&mut ladder).is_empty(), "cwnd was cut, and what is in flight fills it");
}

#[test]
fn the_rest_of_a_fast_retransmit_leaves_although_its_first_chunk_was_only_overtaken() {
    let mut ladder = single_with(
        "the_rest_of_a_fast_retransmit_leaves_although_its_first_chunk_was_only_overtaken",
        all_at_once,
    );
    let base = grow(&mut ladder, 20 * FULL, FULL);
    send(&mut ladder, 40, FULL);
    acks(&mut ladder, base, &[(2, 2), (4, 4)]);
    acks(&mut ladder, base, &[(2, 2), (4, 5)]);
    hears_numbers(&mut ladder);
    let third = sack(&ladder, base, &[(2, 2), (4, 6)], WIDE);
    let second = sack(&ladder, base + 2, &[(2, 4)], WIDE);
    says_in_one_go(&mut ladder, &[third, second]);
    assert_eq!(hears_numbers(&mut ladder), [base + 3], "RFC 9260, 7.2.4 (3): whatever cwnd says");
}

#[test]
fn a_tail_loss_probe_that_is_overtaken_by_its_sack_holds_nothing_back() {
    let mut ladder =
        single_with("a_tail_loss_probe_that_is_overtaken_by_its_sack_holds_nothing_back", rack);
    ladder.sends("first");
    ladder.hears();
    wait(&mut ladder, ms(5));
    acks(&mut ladder, 1, &[]);
    ladder.sends("second");
    assert_eq!(hears_numbers(&mut ladder), [2]);
    // The time of the probe and the SACK come in one go, when the host wakes up.
    let due = ladder.network.next_at().expect("the time of the probe") - ladder.network.now();
    ladder.network.sleep(ladder.ours, due + Duration::from_nanos(1), true);
    wait(&mut ladder, due);
    let all = sack(&ladder, 2, &[], WIDE);
    let all = ladder.packet(ladder.our_tag, &[all]);
    let all = Datagram {
        source: z(1),
        destination: a(1),
        udp_port: None,
        zone: 0,
        ecn: Ecn::NotEct,
        payload: all,
    };
    ladder.network.with_endpoint(ladder.ours, |endpoint, now| {
        endpoint.handle_timeout(now);
        endpoint.handle_datagram(now, all);
    });
    wait(&mut ladder, ms(1));
    assert_eq!(ladder.path(z(1)).counts.tail_loss_probes, 1, "it was marked");
    assert!(ladder.hears_all().is_empty(), "and need not leave");
    ladder.sends("third");
    assert_eq!(hears_numbers(&mut ladder), [3]);
    wait(&mut ladder, secs(1));
}
