//! Which TSNs have arrived (RFC 9260, section 6.7).

use std::collections::VecDeque;

use usctp_chunk::{GapBlock, Tsn};

/// The Cumulative TSN and, behind the first gap, the ranges that arrived.
#[derive(Debug, Clone)]
pub(crate) struct TsnMap {
    cumulative: Tsn,
    /// How many TSNs stand at or below `cumulative`: numbers that never wrap, for ordering.
    index: u64,
    /// In order, disjoint, and never touching each other or `cumulative`.
    ranges: VecDeque<Range>,
    duplicates: Vec<Tsn>,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    first: Tsn,
    last: Tsn,
}

/// What a TSN is to the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It has not arrived before; its number that never wraps.
    New(u64),
    Duplicate,
    /// So far ahead that no Gap Ack Block could report it.
    TooFar,
}

impl TsnMap {
    pub(crate) fn new(initial_tsn: Tsn) -> Self {
        Self {
            cumulative: initial_tsn.previous(),
            index: 0,
            ranges: VecDeque::new(),
            duplicates: Vec::new(),
        }
    }

    pub(crate) fn cumulative(&self) -> Tsn {
        self.cumulative
    }

    /// The number of the Cumulative TSN that never wraps.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// Bytes that the gaps take.
    pub(crate) fn memory(&self) -> usize {
        self.ranges.len() * COST_OF_RANGE
    }

    /// Whether something arrived that was sent later than this TSN, which is new.
    pub(crate) fn is_overtaken(&self, tsn: Tsn) -> bool {
        self.ranges.back().is_some_and(|range| tsn.is_before(range.last))
    }

    pub(crate) fn has_gaps(&self) -> bool {
        !self.ranges.is_empty()
    }

    pub(crate) fn classify(&self, tsn: Tsn) -> Arrival {
        if self.ranges.is_empty() && tsn == self.cumulative.next() {
            return Arrival::New(self.index + 1);
        }
        if tsn.is_at_or_before(self.cumulative) {
            return Arrival::Duplicate;
        }
        let offset = tsn.since(self.cumulative);
        if offset > u32::from(u16::MAX) {
            return Arrival::TooFar;
        }
        let at = self.position(offset);
        match at.checked_sub(1).and_then(|before| self.ranges.get(before)) {
            Some(range) if self.offset(range.last) >= offset => Arrival::Duplicate,
            _ => Arrival::New(self.index + u64::from(offset)),
        }
    }

    /// Notes a TSN that [`classify`](Self::classify) called new.
    pub(crate) fn record(&mut self, tsn: Tsn) {
        if tsn == self.cumulative.next() {
            self.advance(tsn);
            if let Some(range) = self.ranges.front().filter(|r| r.first == tsn.next()) {
                let last = range.last;
                self.ranges.pop_front();
                if self.ranges.is_empty() && self.ranges.capacity() > KEPT {
                    self.ranges = VecDeque::new();
                }
                self.advance(last);
            }
            return;
        }
        let at = self.position(self.offset(tsn));
        let joins_before = at
            .checked_sub(1)
            .and_then(|before| self.ranges.get_mut(before))
            .filter(|range| range.last.next() == tsn);
        let extended = match joins_before {
            Some(range) => {
                range.last = tsn;
                true
            }
            None => false,
        };
        let Some(behind) = self.ranges.get_mut(at).filter(|range| range.first == tsn.next()) else {
            if !extended {
                self.ranges.insert(at, Range { first: tsn, last: tsn });
            }
            return;
        };
        behind.first = tsn;
        if extended {
            let last = behind.last;
            self.ranges.remove(at);
            if let Some(range) = self.ranges.get_mut(at - 1) {
                range.last = last;
            }
        }
    }

    /// Notes a TSN that arrived again, as long as a SACK can report it.
    pub(crate) fn record_duplicate(&mut self, tsn: Tsn) {
        if self.duplicates.len() < MAX_DUPLICATES {
            self.duplicates.push(tsn);
        }
    }

    pub(crate) fn gaps(&self) -> impl Iterator<Item = GapBlock> + '_ {
        self.ranges.iter().map(|range| GapBlock {
            start: self.offset(range.first) as u16,
            end: self.offset(range.last) as u16,
        })
    }

    pub(crate) fn duplicates(&self) -> impl Iterator<Item = Tsn> + '_ {
        self.duplicates.iter().copied()
    }

    pub(crate) fn has_duplicates(&self) -> bool {
        !self.duplicates.is_empty()
    }

    pub(crate) fn forget_duplicates(&mut self) {
        self.duplicates.clear();
    }

    /// Forgets TSNs behind the Cumulative TSN that arrived, as if they had not: runs of them, each with its first and last
    /// number that never wraps, in order.
    pub(crate) fn forget(&mut self, runs: &[(u64, u64)]) {
        let (cumulative, index) = (self.cumulative, self.index);
        let tsn = |number: u64| cumulative.plus(number.saturating_sub(index) as u32);
        let number = |tsn: Tsn| index + u64::from(tsn.since(cumulative));
        let mut runs = runs.iter().copied().peekable();
        let mut left = VecDeque::new();
        for Range { first, last } in std::mem::take(&mut self.ranges) {
            let (mut first, last) = (number(first), number(last));
            while let Some((from, to)) = runs.next_if(|(from, _)| *from <= last) {
                if first < from {
                    left.push_back(Range { first: tsn(first), last: tsn(from - 1) });
                }
                first = first.max(to + 1);
            }
            if first <= last {
                left.push_back(Range { first: tsn(first), last: tsn(last) });
            }
        }
        self.ranges = left;
    }

    fn advance(&mut self, to: Tsn) {
        self.index += u64::from(to.since(self.cumulative));
        self.cumulative = to;
    }

    /// At most 65,535 for what `classify` lets in, so that it fits a Gap Ack Block.
    fn offset(&self, tsn: Tsn) -> u32 {
        tsn.since(self.cumulative)
    }

    /// The index of the first range that begins behind `offset`.
    fn position(&self, offset: u32) -> usize {
        // Most TSNs arrive in order: behind the last range.
        match self.ranges.back() {
            None => 0,
            Some(range) if self.offset(range.first) <= offset => self.ranges.len(),
            Some(_) => self.ranges.partition_point(|range| self.offset(range.first) <= offset),
        }
    }
}

// As many as the reports of a few lost SACKs; the rest is of no use to the sender.
const MAX_DUPLICATES: usize = 64;
// A queue may have room for twice what is in it.
const COST_OF_RANGE: usize = 2 * size_of::<Range>();
/// A queue with room for more gaps than this is given back when there are none.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gaps(map: &TsnMap) -> Vec<(u16, u16)> {
        map.gaps().map(|gap| (gap.start, gap.end)).collect()
    }

    #[test]
    fn gaps_are_reported_relative_to_the_cumulative_tsn_and_close_when_filled() {
        let mut map = TsnMap::new(Tsn::new(u32::MAX - 1));
        for tsn in [u32::MAX - 1, 1, 2, 5] {
            assert!(matches!(map.classify(Tsn::new(tsn)), Arrival::New(_)));
            map.record(Tsn::new(tsn));
        }
        assert_eq!(map.cumulative(), Tsn::new(u32::MAX - 1));
        assert_eq!(gaps(&map), [(3, 4), (7, 7)]);
        map.record(Tsn::new(u32::MAX));
        assert_eq!(gaps(&map), [(2, 3), (6, 6)]);
        map.record(Tsn::new(0));
        assert_eq!(map.cumulative(), Tsn::new(2));
        assert_eq!(gaps(&map), [(3, 3)]);
        assert_eq!(map.classify(Tsn::new(5)), Arrival::Duplicate);
        assert_eq!(map.classify(Tsn::new(1)), Arrival::Duplicate);
    }

    #[test]
    fn what_is_forgotten_has_not_arrived() {
        let mut map = TsnMap::new(Tsn::new(u32::MAX));
        for tsn in [u32::MAX, 0, 2, 3, 4, 5, 6, 8, 10, 11] {
            map.record(Tsn::new(tsn));
        }
        assert_eq!((map.cumulative(), map.index()), (Tsn::new(0), 2));
        assert_eq!(gaps(&map), [(2, 6), (8, 8), (10, 11)]);
        // TSNs 3, 5 and 6, and 8 to 10: the last of them as if 9 had been there.
        map.forget(&[(5, 5), (7, 8), (10, 10), (12, 12)]);
        assert_eq!(gaps(&map), [(2, 2), (4, 4), (11, 11)]);
        assert!(map.is_overtaken(Tsn::new(8)) && !map.is_overtaken(Tsn::new(12)));
        assert!(matches!(map.classify(Tsn::new(3)), Arrival::New(5)));
    }

    #[test]
    fn gaps_are_charged_for_the_room_that_they_have() {
        let mut map = TsnMap::new(Tsn::new(1));
        (1..=5).for_each(|n| map.record(Tsn::new(2 * n)));
        assert!(map.memory() >= map.ranges.capacity() * size_of::<Range>());
    }

    #[test]
    fn room_for_many_gaps_is_given_back_with_the_last_and_room_for_few_is_kept() {
        for (room, kept) in [(KEPT, true), (KEPT + 1, false)] {
            let mut map = TsnMap::new(Tsn::new(1));
            map.ranges = VecDeque::with_capacity(room);
            [2, 4, 6].into_iter().for_each(|tsn| map.record(Tsn::new(tsn)));
            map.record(Tsn::new(1));
            assert_eq!(gaps(&map), [(2, 2), (4, 4)]);
            [3, 5].into_iter().for_each(|tsn| map.record(Tsn::new(tsn)));
            assert_eq!((map.cumulative(), map.has_gaps()), (Tsn::new(6), false));
            assert_eq!(map.ranges.capacity() >= room, kept);
        }
    }

    #[test]
    fn what_no_gap_block_can_report_is_too_far() {
        let map = TsnMap::new(Tsn::new(10));
        assert_eq!(map.classify(Tsn::new(9 + 65_535)), Arrival::New(65_535));
        assert_eq!(map.classify(Tsn::new(9 + 65_536)), Arrival::TooFar);
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_gives_the_same_as_a_plain_set(
            first in any::<u32>(),
            offsets in proptest::collection::vec(1u32..60, 1..120),
        ) {
            let initial = Tsn::new(first);
            let mut map = TsnMap::new(initial);
            let mut set = std::collections::BTreeSet::new();
            for offset in offsets {
                let tsn = initial.plus(offset - 1);
                let new = set.insert(offset);
                match map.classify(tsn) {
                    Arrival::New(index) => {
                        prop_assert!(new);
                        prop_assert_eq!(index, u64::from(offset));
                        map.record(tsn);
                    }
                    Arrival::Duplicate => prop_assert!(!new),
                    Arrival::TooFar => prop_assert!(false, "within reach"),
                }
                let cumulative = (1..).take_while(|n| set.contains(n)).count() as u32;
                prop_assert_eq!(map.cumulative(), initial.previous().plus(cumulative));
                let reported: Vec<u32> = map
                    .gaps()
                    .flat_map(|gap| u32::from(gap.start)..=u32::from(gap.end))
                    .map(|offset| offset + cumulative)
                    .collect();
                let held: Vec<u32> = set.iter().copied().filter(|n| *n > cumulative).collect();
                prop_assert_eq!(reported, held);
                prop_assert!(map.ranges.iter().zip(map.ranges.iter().skip(1))
                    .all(|(a, b)| b.first.since(a.last) > 1));
            }
        }
    }
}
