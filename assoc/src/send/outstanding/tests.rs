//! What SACKs, however odd, do to the outstanding queue.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use usctp_chunk::{DataFlags, Ppid, Sequence, Ssn, StreamId};

use super::*;
use crate::config::Config;
use crate::path::PathState;

const LEN: usize = 1000;

thread_local! {
    /// How many chunks SACKs with gap blocks have visited.
    pub(super) static VISITED: Cell<usize> = const { Cell::new(0) };
}

struct Bench {
    outstanding: Outstanding,
    paths: Paths,
    tallies: Vec<Tally>,
}

impl Bench {
    /// `chunks` chunks in flight on path 0, the first with TSN 2^32 - 2, so that the numbers wrap.
    fn new(chunks: u32) -> Self {
        let config = Config::default();
        let peers = [1, 2].map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)));
        let mut paths = Paths::new(&peers, PathState::Active, &config);
        let mut outstanding = Outstanding::new(initial());
        for n in 0..chunks {
            let data = data(initial().plus(n));
            let path = paths.path_mut(PathId(0)).unwrap();
            path.congestion.on_sent(base(), chunk_len(&data));
            outstanding.push(base(), data, PathId(0), 0, 0);
        }
        Self { outstanding, paths, tallies: Vec::new() }
    }

    fn sack(&mut self, cumulative: u32, gaps: &[(u16, u16)]) -> Option<Acked> {
        let cumulative = initial().previous().plus(cumulative);
        let gaps = gaps.iter().map(|&(start, end)| GapBlock { start, end });
        self.outstanding
            .on_sack(cumulative, gaps, &mut self.paths, &mut self.tallies)
            .expect("nothing beyond what was sent")
    }

    fn acked_bytes(&self) -> usize {
        self.tallies.iter().map(|tally| tally.bytes).sum()
    }

    fn flight(&self) -> usize {
        self.paths.path(PathId(0)).unwrap().congestion.flight()
    }

    /// The numbers marked for retransmission after the misses of a SACK were counted.
    fn misses(&mut self, acked: Acked, in_fast_recovery: bool) -> Vec<u64> {
        self.outstanding.count_misses(
            acked,
            &self.tallies,
            &mut self.paths,
            in_fast_recovery,
            |_, _| {},
        );
        self.outstanding.lost.iter().copied().collect()
    }
}

fn initial() -> Tsn {
    Tsn::new(u32::MAX - 1)
}

fn data(tsn: Tsn) -> Data {
    let flags = DataFlags { immediate: false, unordered: false, beginning: true, ending: true };
    let payload = Bytes::from(vec![0; LEN]);
    let sequence = Sequence::Ssn(Ssn::default());
    Data { tsn, stream: StreamId(0), sequence, ppid: Ppid(0), flags, payload }
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary starting point; nothing waits for it")]
fn base() -> Instant {
    Instant::now()
}

#[test]
fn each_byte_leaves_flight_once_however_often_it_is_acknowledged() {
    let mut b = Bench::new(10);
    b.sack(2, &[(2, 3)]);
    assert_eq!(b.acked_bytes(), 4 * 1016);
    assert_eq!(b.flight(), 6 * 1016);
    b.sack(2, &[(2, 3)]);
    assert_eq!(b.acked_bytes(), 0);
    b.sack(10, &[]);
    assert_eq!(b.acked_bytes(), 6 * 1016, "what a gap block had covered does not count again");
    assert_eq!(b.flight(), 0);
    assert_eq!((b.outstanding.cost(), b.outstanding.in_flight()), (0, 0));
}

#[test]
fn gap_blocks_that_overlap_or_go_back_count_once() {
    let mut b = Bench::new(10);
    b.sack(0, &[(5, 6), (2, 8), (2, 8), (9, 3), (10, 10), (0, 0)]);
    // Blocks are taken in their order: 5-6, then 7-8 of 2-8, then 10.
    assert_eq!(b.acked_bytes(), 5 * 1016);
    assert_eq!(b.flight(), 5 * 1016);
    assert_eq!(b.outstanding.gapped(), 5);
}

#[test]
fn a_sack_for_what_was_never_sent_is_found_and_changes_nothing() {
    let mut b = Bench::new(3);
    let beyond = initial().plus(3);
    let found = b.outstanding.on_sack(beyond, std::iter::empty(), &mut b.paths, &mut b.tallies);
    assert_eq!(found, Err(NeverSent));
    assert_eq!(b.flight(), 3 * 1016);
}

#[test]
fn a_gap_block_for_what_was_never_sent_is_found() {
    let mut b = Bench::new(3);
    let gaps = [GapBlock { start: 2, end: 4 }].into_iter();
    let found = b.outstanding.on_sack(initial().previous(), gaps, &mut b.paths, &mut b.tallies);
    assert_eq!(found, Err(NeverSent));
}

#[test]
fn an_old_sack_changes_nothing() {
    let mut b = Bench::new(5);
    b.sack(3, &[]);
    assert_eq!(b.sack(2, &[(2, 3)]), None);
    assert_eq!(b.flight(), 2 * 1016);
}

#[test]
fn the_third_missing_report_marks_a_chunk_and_only_those_before_the_highest_newly_acknowledged() {
    let mut b = Bench::new(10);
    for (n, expected) in [(2, vec![]), (3, vec![]), (4, vec![0])] {
        let acked = b.sack(0, &[(2, n)]).unwrap();
        assert_eq!(b.misses(acked, false), expected, "after report {}", n - 1);
    }
    assert_eq!(b.flight(), 6 * 1016, "10 less 3 acknowledged and 1 lost");
    // A repeated SACK acknowledges nothing new, so it reports nothing (HTNA).
    let mut b = Bench::new(10);
    for _ in 0..5 {
        let acked = b.sack(0, &[(2, 2)]).unwrap();
        assert!(b.misses(acked, false).is_empty());
    }
}

#[test]
fn a_peer_that_takes_back_what_a_gap_block_covered_gets_it_again() {
    let mut b = Bench::new(6);
    b.sack(0, &[(3, 4)]);
    assert_eq!(b.flight(), 4 * 1016);
    let acked = b.sack(1, &[]).unwrap();
    assert!(acked.has_reneged);
    assert_eq!(b.flight(), 5 * 1016);
    assert_eq!(b.outstanding.gapped(), 0);
    b.sack(6, &[]);
    assert_eq!((b.flight(), b.outstanding.in_flight()), (0, 0));
}

#[test]
fn what_times_out_is_marked_in_order_and_can_be_sent_elsewhere() {
    let mut b = Bench::new(4);
    b.sack(0, &[(3, 3)]);
    assert!(b.outstanding.lose_path(PathId(0), &mut b.paths));
    assert!(b.outstanding.has_lost_for(PathId(0)));
    b.outstanding.redirect_lost(PathId(0), PathId(1));
    assert!(!b.outstanding.has_lost_for(PathId(0)) && b.outstanding.has_lost_for(PathId(1)));
    assert_eq!(b.flight(), 0);
    let lost: Vec<u64> = b.outstanding.lost.iter().copied().collect();
    assert_eq!(lost, [0, 1, 3]);
    let (number, path, data) = b.outstanding.first_lost().unwrap();
    assert_eq!((number, path, data.tsn), (0, PathId(1), initial()));
    b.outstanding.resent(base(), 0, 0);
    assert_eq!(b.outstanding.first_lost().unwrap().0, 1);
    // Once retransmitted, reports about what was sent before do not mark it again.
    for n in 4..7 {
        let acked = Acked { advanced: false, missing_before: n, has_reneged: false };
        b.misses(acked, false);
    }
    assert_eq!(b.outstanding.lost.iter().copied().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_retransmission_is_missing_once_three_sacks_acknowledged_what_was_sent_after_it() {
    let mut b = Bench::new(8);
    for n in 2..=4 {
        let acked = b.sack(0, &[(2, n)]).unwrap();
        b.misses(acked, false);
    }
    b.outstanding.resent(base(), 0, 0);
    for n in 5..=8 {
        let acked = b.sack(0, &[(2, n)]).unwrap();
        assert!(b.misses(acked, true).is_empty(), "{n} was sent before the retransmission");
    }
    for n in 8..12 {
        b.outstanding.push(base(), data(initial().plus(n)), PathId(0), 0, 0);
    }
    for (n, expected) in [(9, vec![]), (10, vec![]), (11, vec![0])] {
        let acked = b.sack(0, &[(2, n)]).unwrap();
        assert_eq!(b.misses(acked, true), expected, "{n}");
    }
    // So is one that T3-rtx sent again, by another retransmission that went after it.
    let mut b = Bench::new(6);
    b.outstanding.lose_path(PathId(0), &mut b.paths);
    for number in 0..6 {
        b.outstanding.resent(base(), number, 0);
    }
    for (n, expected) in [(2, vec![]), (3, vec![]), (4, vec![0])] {
        let acked = b.sack(0, &[(2, n)]).unwrap();
        assert_eq!(b.misses(acked, false), expected, "{n}");
    }
}

#[test]
fn the_earliest_outstanding_chunk_of_a_path_is_told_from_later_ones() {
    let mut b = Bench::new(4);
    b.sack(0, &[(2, 2)]);
    assert!(!b.tallies.iter().any(|tally| tally.earliest), "the first chunk is still out");
    b.sack(1, &[(1, 1)]);
    assert!(b.tallies.iter().any(|tally| tally.earliest));
}

#[test]
fn a_sack_visits_what_it_newly_acknowledges_and_what_is_missing_however_large_the_window_is() {
    const CHUNKS: u16 = 16_000;
    const LOST: u16 = 200;
    // Of every 200 chunks the first is lost; each SACK acknowledges two more than the one before.
    let blocks = |highest: u16| -> Vec<(u16, u16)> {
        let starts = (1..highest).step_by(usize::from(LOST)).map(|lost| lost + 1);
        starts.map(|start| (start, (start + LOST - 2).min(highest))).collect()
    };
    let mut b = Bench::new(CHUNKS.into());
    let mut sacks = 0;
    VISITED.set(0);
    for highest in (4..=CHUNKS).step_by(2).filter(|highest| highest % LOST > 2) {
        let acked = b.sack(0, &blocks(highest)).unwrap();
        b.misses(acked, true);
        sacks += 1;
    }
    let missing = usize::from(CHUNKS / LOST);
    assert_eq!(b.outstanding.lost.len(), missing);
    // Those that are missing once for what is said of them, and once for their missing reports.
    let expected = usize::from(CHUNKS) + sacks * 2 * missing;
    assert!(VISITED.get() <= expected, "{} visits, {expected} expected", VISITED.get());
}
