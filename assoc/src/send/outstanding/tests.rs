//! What SACKs, however odd, do to the outstanding queue.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
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
        let paths = Paths::new(&peers, PathState::Active, &config);
        let outstanding = Outstanding::new(initial());
        let mut bench = Self { outstanding, paths, tallies: Vec::new() };
        for _ in 0..chunks {
            bench.push(PathId(0));
        }
        bench
    }

    fn sack(&mut self, cumulative: u32, gaps: &[(u16, u16)]) -> Option<Acked> {
        let cumulative = initial().previous().plus(cumulative);
        let gaps = gaps.iter().map(|&(start, end)| GapBlock { start, end });
        self.outstanding
            .on_sack(cumulative, gaps, &mut self.paths, &mut self.tallies)
            .expect("nothing beyond what was sent")
    }

    fn shutdown(&mut self, cumulative: u32) {
        let cumulative = initial().previous().plus(cumulative);
        self.outstanding
            .on_cumulative(cumulative, &mut self.paths, &mut self.tallies)
            .expect("nothing beyond what was sent");
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
        self.lost()
    }

    /// The numbers marked for retransmission.
    fn lost(&self) -> Vec<u64> {
        self.outstanding.totals.lost().iter().copied().collect()
    }

    /// A new chunk goes out.
    fn push(&mut self, path: PathId) {
        let tsn = self.outstanding.next_tsn();
        let path = self.paths.path_mut(path).unwrap();
        self.outstanding.push(base(), data(tsn), path, 0, 0);
    }

    /// Something happens to the queue that packets and timers can do to it.
    fn does_anything(&mut self, random: &mut StdRng) {
        let path = PathId(random.random_range(0..2));
        let len = self.outstanding.len() as u32;
        match random.random_range(0..10) {
            0..3 => self.push(path),
            3 => {
                self.outstanding.lose_path(path, &mut self.paths);
            }
            4 => {
                self.outstanding.lose_longer(path, random.random_range(900..1100), &mut self.paths);
            }
            5 => _ = self.outstanding.probe_with_last(path, &mut self.paths),
            6 => self.outstanding.allow_fast(),
            7 => {
                self.outstanding.redirect_lost(path, PathId(random.random_range(0..2)));
                while let Some((number, to, _)) = self.outstanding.first_lost() {
                    let to = self.paths.path_mut(to).unwrap();
                    self.outstanding.is_earliest_on(to, number);
                    self.resent(number);
                    if random.random() {
                        break;
                    }
                }
            }
            _ => {
                let before = self.outstanding.first_number() as u32;
                let cumulative = random.random_range(0..=len.min(3));
                let left = (len - cumulative) as u16;
                let mut gaps: Vec<_> = (0..3)
                    .map(|_| (random.random_range(0..=left), random.random_range(0..=left)))
                    .collect();
                if random.random_ratio(1, 8) {
                    return self.shutdown(before + cumulative);
                }
                if random.random() {
                    gaps.sort_unstable();
                }
                if let Some(acked) = self.sack(before + cumulative, &gaps) {
                    self.misses(acked, random.random());
                }
            }
        }
    }

    fn audit(&self) {
        self.outstanding.audit(&self.paths).unwrap();
    }

    fn resent(&mut self, number: u64) {
        self.outstanding.resent(base(), number, 0, &mut self.paths);
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
fn only_what_is_longer_than_a_path_takes_is_sent_again() {
    for (limit, lost) in [(LEN + Data::HEADER, 0), (LEN + Data::HEADER - 1, 2)] {
        let mut bench = Bench::new(2);
        bench.outstanding.lose_longer(PathId(0), limit, &mut bench.paths);
        assert_eq!(bench.lost().len(), lost, "{limit}");
    }
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
fn a_block_that_covers_nothing_is_no_gap() {
    for block in [(0, 0), (3, 2), (9, 3)] {
        let mut b = Bench::new(10);
        b.sack(0, &[block]);
        assert!(!b.outstanding.has_gaps(), "{block:?}");
        assert_eq!((b.outstanding.gapped(), b.outstanding.tail(), b.flight()), (0, 0, 10 * 1016));
    }
}

#[test]
fn what_a_block_covers_above_the_cumulative_tsn_ack_of_a_shutdown_stays_covered() {
    let mut b = Bench::new(8);
    b.sack(0, &[(3, 6)]);
    b.shutdown(4);
    assert_eq!((b.outstanding.gapped(), b.flight()), (2, 2 * 1016));
    b.audit();
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
    assert_eq!(b.lost(), [0, 1, 3]);
    let (number, path, data) = b.outstanding.first_lost().unwrap();
    assert_eq!((number, path, data.tsn), (0, PathId(1), initial()));
    b.resent(0);
    assert_eq!(b.outstanding.first_lost().unwrap().0, 1);
    // Once retransmitted, reports about what was sent before do not mark it again.
    for n in 4..7 {
        let acked = Acked { advanced: false, missing_before: n, has_reneged: false };
        b.misses(acked, false);
    }
    assert_eq!(b.lost(), [1, 3]);
}

#[test]
fn a_retransmission_is_missing_once_three_sacks_acknowledged_what_was_sent_after_it() {
    let mut b = Bench::new(8);
    for n in 2..=4 {
        let acked = b.sack(0, &[(2, n)]).unwrap();
        b.misses(acked, false);
    }
    b.resent(0);
    for n in 5..=8 {
        let acked = b.sack(0, &[(2, n)]).unwrap();
        assert!(b.misses(acked, true).is_empty(), "{n} was sent before the retransmission");
    }
    for _ in 8..12 {
        b.push(PathId(0));
    }
    for (n, expected) in [(9, vec![]), (10, vec![]), (11, vec![0])] {
        let acked = b.sack(0, &[(2, n)]).unwrap();
        assert_eq!(b.misses(acked, true), expected, "{n}");
    }
    // So is one that T3-rtx sent again, by another retransmission that went after it.
    let mut b = Bench::new(6);
    b.outstanding.lose_path(PathId(0), &mut b.paths);
    for number in 0..6 {
        b.resent(number);
    }
    for (n, expected) in [(2, vec![]), (3, vec![]), (4, vec![0])] {
        let acked = b.sack(0, &[(2, n)]).unwrap();
        assert_eq!(b.misses(acked, false), expected, "{n}");
    }
}

#[test]
fn what_is_in_flight_on_a_path_is_neither_covered_by_a_gap_block_nor_on_another_path() {
    let mut bench = Bench::new(3);
    bench.push(PathId(1));
    bench.sack(0, &[(2, 2)]);
    let on = |path| -> Vec<u64> {
        bench.outstanding.in_flight_on(PathId(path)).map(|sent| sent.number).collect()
    };
    assert_eq!((on(0), on(1)), (vec![0, 2], vec![3]));
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
fn resending_looks_at_each_chunk_once_however_many_were_lost_behind_others_in_flight() {
    const CHUNKS: u64 = 4_000;
    let mut b = Bench::new(CHUNKS as u32);
    for _ in 0..CHUNKS {
        b.push(PathId(1));
    }
    assert!(b.outstanding.lose_path(PathId(1), &mut b.paths));
    VISITED.set(0);
    let mut earliest = Vec::new();
    while let Some((number, to, _)) = b.outstanding.first_lost() {
        if b.outstanding.is_earliest_on(b.paths.path_mut(to).unwrap(), number) {
            earliest.push(number);
        }
        b.resent(number);
    }
    assert_eq!(earliest, [CHUNKS], "only the first of them has none before it");
    assert!(VISITED.get() <= 3 * CHUNKS as usize, "{} visits", VISITED.get());
    // What comes back in front of others is the earliest again.
    b.outstanding.lose(CHUNKS, &mut b.paths);
    b.outstanding.redirect_lost(PathId(1), PathId(0));
    assert!(!b.outstanding.is_earliest_on(b.paths.path_mut(PathId(0)).unwrap(), CHUNKS));
    assert!(b.outstanding.is_earliest_on(b.paths.path_mut(PathId(1)).unwrap(), CHUNKS));
    b.audit();
}

#[test]
fn one_packet_of_what_was_lost_may_leave_regardless_until_all_of_it_is_acknowledged_or_sent() {
    let mut b = Bench::new(6);
    b.outstanding.lose(1, &mut b.paths);
    b.outstanding.lose(3, &mut b.paths);
    b.outstanding.allow_fast();
    b.outstanding.lose(4, &mut b.paths);
    b.sack(0, &[(2, 2)]);
    assert!(b.outstanding.is_fast(), "the other one is still to be sent");
    b.resent(3);
    assert!(!b.outstanding.is_fast(), "what was lost later waits for cwnd");
    assert_eq!(b.lost(), [4]);
    b.outstanding.allow_fast();
    b.sack(6, &[]);
    assert!(!b.outstanding.is_fast());
    b.outstanding.allow_fast();
    assert!(!b.outstanding.is_fast(), "nothing is to be sent again");
}

#[test]
fn sums_are_what_the_chunks_say_whatever_happens_to_them() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut b = Bench::new(0);
        for _ in 0..200 {
            b.does_anything(&mut random);
            b.audit();
        }
    }
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
    assert_eq!(b.lost().len(), missing);
    // Those that are missing once for what is said of them, and once for their missing reports.
    let expected = usize::from(CHUNKS) + sacks * 2 * missing;
    assert!(VISITED.get() <= expected, "{} visits, {expected} expected", VISITED.get());
}
