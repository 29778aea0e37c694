//! Tail loss probes: what it says that one was needed, and when none is sent (RFC 8985, section 7).

use usctp_assoc::sim::z;
use usctp_chunk::Chunk;

use crate::recovery::{hears_after, rack, settle};
use crate::rfc::{
    FULL, PMDCS, WIDE, acks, grow, hears_numbers, numbers, sack, send, single_with, t3_expiries,
    wait,
};
use crate::world::{ms, secs};

#[test]
fn a_probe_that_repaired_a_loss_cuts_the_window_and_one_that_was_not_needed_does_not() {
    let name = "a_probe_that_repaired_a_loss_cuts_the_window_and_one_that_was_not_needed_does_not";
    // After how long the probe's SACK comes, what it says came twice, and whether something was lost.
    for (after, twice, lost) in [
        (ms(40), None, true),
        (ms(60), Some(1), true),
        (ms(40), Some(3), false),
        // Within less than a round trip it is the chunk itself that came.
        (ms(39), None, false),
    ] {
        let mut ladder = single_with(name, rack);
        let base = settle(&mut ladder);
        let before = ladder.path(z(1));
        send(&mut ladder, 3, FULL);
        assert_eq!(hears_after(&mut ladder, base), [1, 2, 3]);
        let probe = ladder.hears_within(ms(80));
        assert_eq!(numbers(&ladder, &[probe]), [base + 3]);
        wait(&mut ladder, after);
        let Chunk::Sack(mut all) = sack(&ladder, base + 3, &[], WIDE) else { unreachable!() };
        all.duplicates =
            twice.into_iter().map(|n| ladder.our_tsn.previous().plus(base + n)).collect();
        ladder.says(z(1), &[Chunk::Sack(all)]);
        let path = ladder.path(z(1));
        let expected = if lost { 4 * PMDCS } else { before.ssthresh };
        assert_eq!(path.ssthresh, expected, "{after:?} {twice:?}");
        assert_eq!((path.counts.tail_loss_probes, path.flight), (1, 0));
    }
}

#[test]
fn no_probe_asks_for_a_tail_while_the_peer_reports_something_missing() {
    let name = "no_probe_asks_for_a_tail_while_the_peer_reports_something_missing";
    let mut ladder = single_with(name, rack);
    let base = settle(&mut ladder);
    send(&mut ladder, 3, FULL);
    assert_eq!(hears_after(&mut ladder, base), [1, 2, 3]);
    wait(&mut ladder, ms(40));
    acks(&mut ladder, base, &[(2, 3)]);
    wait(&mut ladder, ms(20));
    assert_eq!(hears_after(&mut ladder, base), [1]);
    // It is lost again, which only T3-rtx finds; that ends Fast Recovery, and 2 and 3 are still reported alone.
    wait(&mut ladder, secs(1));
    assert_eq!((hears_after(&mut ladder, base), t3_expiries(&ladder)), (vec![1], 1));
    wait(&mut ladder, ms(900));
    assert!(hears_numbers(&mut ladder).is_empty());
    assert_eq!(ladder.path(z(1)).counts.tail_loss_probes, 0);
}

#[test]
fn a_retransmission_from_before_the_cut_that_is_lost_as_well_cuts_nothing_again() {
    let name = "a_retransmission_from_before_the_cut_that_is_lost_as_well_cuts_nothing_again";
    let mut ladder = single_with(name, rack);
    let base = grow(&mut ladder, 32 * PMDCS, FULL);
    for number in 1..=40 {
        send(&mut ladder, 1, FULL);
        wait(&mut ladder, ms(40));
        acks(&mut ladder, base + number, &[]);
    }
    let base = base + 40;
    hears_numbers(&mut ladder);
    send(&mut ladder, 3, FULL);
    assert_eq!(hears_after(&mut ladder, base), [1, 2, 3]);
    // A probe is sent, which is lost; and so is 1, as 2 shows.
    let probe = ladder.hears_within(ms(90));
    assert_eq!(numbers(&ladder, &[probe]), [base + 3]);
    wait(&mut ladder, ms(40));
    acks(&mut ladder, base, &[(2, 2)]);
    wait(&mut ladder, ms(20));
    assert_eq!(hears_after(&mut ladder, base), [1]);
    let cut = ladder.path(z(1)).cwnd;
    assert!(cut > 8 * PMDCS, "{cut}");
    wait(&mut ladder, ms(40));
    acks(&mut ladder, base + 2, &[]);
    wait(&mut ladder, ms(20));
    assert_eq!(hears_after(&mut ladder, base), [3]);
    // It says nothing that was not known when the window was cut.
    assert_eq!(ladder.path(z(1)).cwnd, cut);
}
