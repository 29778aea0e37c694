//! DATA chunks sent and not yet cumulatively acknowledged, and what a SACK says of them (RFC 9260, section 6.2.1).

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Instant;

use usctp_chunk::{Data, GapBlock, Tsn};

use crate::outbox::cost;
use crate::path::{PathId, Paths};

mod gaps;
mod sendings;
mod tally;

use gaps::Gaps;
pub(crate) use tally::{Tally, Transmission};
use tally::{settle, tally, tally_for};

/// A window of chunks, indexed by their distance from its lower edge.
///
/// Chunks are numbered without wrap: the first DATA chunk of the association is number 0.
#[derive(Debug)]
pub(crate) struct Outstanding {
    chunks: VecDeque<Sent>,
    /// The number of `chunks[0]`.
    first: u64,
    /// The Cumulative TSN Ack Point.
    cumulative: Tsn,
    /// Numbers of the chunks marked for retransmission.
    lost: BTreeSet<u64>,
    /// What Gap Ack Blocks cover.
    gaps: Gaps,
    /// Cost of all chunks to the send buffer, and of those in flight to the peer's window, in bytes.
    cost: usize,
    in_flight: usize,
    /// How many transmissions of chunks there were.
    transmissions: u64,
}

#[derive(Debug)]
struct Sent {
    data: Data,
    /// The application's mark of its message.
    context: u32,
    /// Where it went last.
    path: PathId,
    /// Where it is to go if it is lost.
    next: PathId,
    fate: Fate,
    /// Missing reports (RFC 9260, section 7.2.4).
    misses: u8,
    /// Retransmitted already, so that missing reports count only by what was sent after that.
    again: bool,
    /// Which transmission it was last, of all that were made, and when.
    order: u64,
    sent_at: Instant,
    /// Sent on another path before, so that nobody knows which of them the acknowledgement speaks for.
    moved: bool,
    /// The bytes of the SCTP packet that it went out in, as far as it reached; 0 where IP may have cut that.
    packet: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    InFlight,
    Gapped,
    Lost,
}

/// The outcome of a SACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acked {
    /// The Cumulative TSN Ack Point moved.
    pub(crate) advanced: bool,
    /// The number before which chunks count as missing.
    missing_before: u64,
    /// Some chunk that a Gap Ack Block had covered no longer is (R4).
    pub(crate) has_reneged: bool,
}

/// A SACK that cannot be: it acknowledges what was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeverSent;

impl Outstanding {
    pub(crate) fn new(initial_tsn: Tsn) -> Self {
        Self {
            chunks: VecDeque::new(),
            first: 0,
            cumulative: initial_tsn.previous(),
            lost: BTreeSet::new(),
            gaps: Gaps::default(),
            cost: 0,
            in_flight: 0,
            transmissions: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// The cost of all chunks to the send buffer, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// What is in flight takes so many bytes of the peer's window.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The TSN that the next new chunk gets.
    pub(crate) fn next_tsn(&self) -> Tsn {
        self.cumulative.plus(self.chunks.len() as u32 + 1)
    }

    /// The number that the next new chunk gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.first + self.chunks.len() as u64
    }

    /// The number of the earliest chunk.
    pub(crate) fn first_number(&self) -> u64 {
        self.first
    }

    /// A new chunk went out, in a packet of so many bytes as far as it reaches.
    #[inline]
    pub(crate) fn push(
        &mut self,
        now: Instant,
        data: Data,
        path: PathId,
        context: u32,
        packet: usize,
    ) -> &Data {
        self.transmissions += 1;
        self.cost += cost(data.payload.len());
        self.in_flight += window_cost(data.payload.len());
        let sent = Sent {
            data,
            context,
            path,
            next: path,
            fate: Fate::InFlight,
            misses: 0,
            again: false,
            order: self.transmissions,
            sent_at: now,
            moved: false,
            packet: u16::try_from(packet).unwrap_or(u16::MAX),
        };
        self.chunks.push_back(sent);
        &self.chunks.back().expect("it was put there").data
    }

    /// The largest SCTP packet in flight on a path, in bytes.
    pub(crate) fn largest_on(&self, path: PathId) -> usize {
        let here = self.chunks.iter().filter(|s| s.fate == Fate::InFlight && s.path == path);
        here.map(|sent| usize::from(sent.packet)).max().unwrap_or(0)
    }

    /// The first chunk marked for retransmission: its number, where it goes, and the chunk.
    pub(crate) fn first_lost(&self) -> Option<(u64, PathId, &Data)> {
        let &number = self.lost.first()?;
        let sent = self.chunks.get(self.offset(number))?;
        Some((number, sent.next, &sent.data))
    }

    /// A chunk marked for retransmission went out again, in a packet of so many bytes.
    pub(crate) fn resent(&mut self, now: Instant, number: u64, packet: usize) {
        self.lost.remove(&number);
        self.transmissions += 1;
        let at = self.offset(number);
        if let Some(sent) = self.chunks.get_mut(at) {
            sent.fate = Fate::InFlight;
            sent.order = self.transmissions;
            sent.sent_at = now;
            sent.moved |= sent.path != sent.next;
            sent.path = sent.next;
            sent.packet = u16::try_from(packet).unwrap_or(u16::MAX);
            self.in_flight += window_cost(sent.data.payload.len());
        }
    }

    /// Whether no earlier chunk is in flight on the path.
    pub(crate) fn is_earliest_on(&self, path: PathId, number: u64) -> bool {
        let before = self.offset(number);
        !self.chunks.iter().take(before).any(|s| s.fate == Fate::InFlight && s.path == path)
    }

    /// Sends what is marked for retransmission on `from` to `to` instead, as when `from` fails.
    pub(crate) fn redirect_lost(&mut self, from: PathId, to: PathId) {
        for &number in &self.lost {
            let at = (number - self.first) as usize;
            if let Some(sent) = self.chunks.get_mut(at).filter(|sent| sent.next == from) {
                sent.next = to;
            }
        }
    }

    /// Whether something marked for retransmission is to go to the path.
    pub(crate) fn has_lost_for(&self, path: PathId) -> bool {
        let next = |number: &u64| self.chunks.get(self.offset(*number)).map(|sent| sent.next);
        self.lost.iter().any(|number| next(number) == Some(path))
    }

    /// RFC 9260, 6.3.3 (E3): everything in flight on a path whose T3-rtx expired is marked for
    /// retransmission there. Whether there was anything.
    pub(crate) fn lose_path(&mut self, path: PathId, paths: &mut Paths) -> bool {
        let mut any = false;
        for at in 0..self.chunks.len() {
            let Some(sent) = self.chunks.get_mut(at) else { break };
            if sent.fate == Fate::InFlight && sent.path == path {
                self.mark_lost(at, path, paths);
                any = true;
            }
        }
        any
    }

    /// Chunks in flight on a path that are longer than `limit` never arrive: they are marked for retransmission
    /// there.
    pub(crate) fn lose_longer(&mut self, path: PathId, limit: usize, paths: &mut Paths) {
        for at in 0..self.chunks.len() {
            let Some(sent) = self.chunks.get_mut(at) else { break };
            let longer = chunk_len(&sent.data) > limit;
            if longer && sent.fate == Fate::InFlight && sent.path == path {
                self.mark_lost(at, path, paths);
            }
        }
    }

    /// Takes a SACK in: `tallies` is filled with what it newly acknowledged on each path.
    ///
    /// # Errors
    /// The Cumulative TSN Ack or a Gap Ack Block lies beyond what was sent. An old SACK changes nothing and gives `None`.
    pub(crate) fn on_sack(
        &mut self,
        cumulative: Tsn,
        gaps: impl Iterator<Item = GapBlock>,
        paths: &mut Paths,
        tallies: &mut Vec<Tally>,
    ) -> Result<Option<Acked>, NeverSent> {
        let Some(mut acked) = self.on_cumulative(cumulative, paths, tallies)? else {
            return Ok(None);
        };
        let mut gaps = gaps.peekable();
        if !self.gaps.is_empty() || gaps.peek().is_some() {
            self.on_gaps(gaps, paths, tallies, &mut acked)?;
            settle(paths, tallies);
        }
        Ok(Some(acked))
    }

    /// Takes a Cumulative TSN Ack in that says nothing of gaps, as SHUTDOWN does.
    ///
    /// # Errors
    /// It lies beyond what was sent. An old one changes nothing and gives `None`.
    pub(crate) fn on_cumulative(
        &mut self,
        cumulative: Tsn,
        paths: &mut Paths,
        tallies: &mut Vec<Tally>,
    ) -> Result<Option<Acked>, NeverSent> {
        tallies.clear();
        // RFC 9260, 6.2.1 (D i)
        if cumulative.is_before(self.cumulative) {
            return Ok(None);
        }
        let advance = cumulative.since(self.cumulative) as usize;
        if advance > self.chunks.len() {
            return Err(NeverSent);
        }
        if advance > 0 {
            self.take_off(advance, paths, tallies);
            settle(paths, tallies);
        }
        self.cumulative = cumulative;
        Ok(Some(Acked { advanced: advance > 0, missing_before: 0, has_reneged: false }))
    }

    /// Counts a missing report for each chunk that the SACK leaves out (RFC 9260, section 7.2.4); those
    /// with the third one are marked for retransmission. Calls `hit` with their path.
    ///
    /// A chunk that was retransmitted is missing again only if something sent after that, on the same path, is newly
    /// acknowledged: HTNA in the order of sending. RFC 9260, 7.2.4 (5), would leave its second loss to T3-rtx; FreeBSD
    /// does not either.
    pub(crate) fn count_misses(
        &mut self,
        acked: Acked,
        tallies: &[Tally],
        paths: &mut Paths,
        in_fast_recovery: bool,
        mut hit: impl FnMut(&mut Paths, PathId),
    ) {
        // RFC 9260, 7.2.4: up to the highest TSN newly acknowledged; in Fast Recovery, when the
        // Cumulative TSN Ack Point moved, all that are reported missing.
        let all = in_fast_recovery && acked.advanced;
        let before = if all { self.gaps.end() } else { acked.missing_before };
        let gaps = std::mem::take(&mut self.gaps);
        for hole in gaps.holes(self.first) {
            for number in hole {
                let at = self.offset(number);
                let Some(sent) = self.chunks.get_mut(at) else { break };
                #[cfg(test)]
                tests::VISITED.set(tests::VISITED.get() + 1);
                let missing = if sent.again { overtaken(sent, tallies) } else { number < before };
                if sent.fate != Fate::InFlight || !missing {
                    continue;
                }
                sent.misses = sent.misses.saturating_add(1);
                if sent.misses >= MISSES_THAT_COUNT {
                    let path = sent.path;
                    self.mark_lost(at, path, paths);
                    hit(paths, path);
                }
            }
        }
        self.gaps = gaps;
    }

    /// The payload of every chunk that was not acknowledged, for the application to be told.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Data, u32)> + '_ {
        self.lost.clear();
        self.chunks.drain(..).map(|sent| (sent.data, sent.context))
    }

    /// Takes the first chunks off, which are acknowledged cumulatively.
    fn take_off(&mut self, count: usize, paths: &mut Paths, tallies: &mut Vec<Tally>) {
        for (number, sent) in (self.first..).zip(self.chunks.range(..count)) {
            self.cost -= cost(sent.data.payload.len());
            match sent.fate {
                Fate::Gapped => continue,
                Fate::Lost => _ = self.lost.remove(&number),
                Fate::InFlight => self.in_flight -= window_cost(sent.data.payload.len()),
            }
            tally(sent, number, paths, tallies);
        }
        self.chunks.drain(..count);
        self.first += count as u64;
        self.gaps.forget_before(self.first);
    }

    /// What is covered already costs nothing, however large the window is: only what is newly covered is visited, and
    /// what is missing between the blocks, however these overlap or repeat.
    fn on_gaps(
        &mut self,
        blocks: impl Iterator<Item = GapBlock>,
        paths: &mut Paths,
        tallies: &mut Vec<Tally>,
        acked: &mut Acked,
    ) -> Result<(), NeverSent> {
        let before = std::mem::take(&mut self.gaps);
        let (gaps, before) = before.replaced(self.first..self.next_number(), blocks)?;
        let mut known = before.cursor();
        let mut at = self.first;
        for block in gaps.blocks() {
            self.on_hole(at..block.start, paths, tallies, acked);
            at = block.start;
            while at < block.end {
                let (until, covered) = known.alike(at, block.end);
                if !covered {
                    self.on_covered(at..until, paths, tallies);
                    acked.missing_before = until - 1;
                }
                at = until;
            }
        }
        self.on_hole(at..before.end().max(at), paths, tallies, acked);
        self.gaps = gaps.recycling(before);
        Ok(())
    }

    /// Chunks that no block covers: if one had been covered before, the peer has reneged.
    fn on_hole(
        &mut self,
        hole: Range<u64>,
        paths: &mut Paths,
        tallies: &mut Vec<Tally>,
        acked: &mut Acked,
    ) {
        for sent in self.chunks.range_mut(self.offset(hole.start)..self.offset(hole.end)) {
            #[cfg(test)]
            tests::VISITED.set(tests::VISITED.get() + 1);
            match sent.fate {
                Fate::Gapped => {
                    // RFC 9260, 6.2.1 (D iii): one missing report, and T3-rtx runs for it.
                    sent.fate = Fate::InFlight;
                    sent.misses = 1;
                    self.in_flight += window_cost(sent.data.payload.len());
                    if let Some(path) = paths.path_mut(sent.path) {
                        path.congestion.on_reneged(chunk_len(&sent.data));
                    }
                    acked.has_reneged = true;
                }
                Fate::InFlight => tally_for(sent.path, paths, tallies).seen = true,
                Fate::Lost => {}
            }
        }
    }

    /// Chunks that a block covers and none did before.
    fn on_covered(&mut self, new: Range<u64>, paths: &mut Paths, tallies: &mut Vec<Tally>) {
        let span = self.offset(new.start)..self.offset(new.end);
        for (number, sent) in new.zip(self.chunks.range_mut(span)) {
            #[cfg(test)]
            tests::VISITED.set(tests::VISITED.get() + 1);
            match sent.fate {
                Fate::Gapped => continue,
                Fate::Lost => _ = self.lost.remove(&number),
                Fate::InFlight => self.in_flight -= window_cost(sent.data.payload.len()),
            }
            tally(sent, number, paths, tallies);
            sent.fate = Fate::Gapped;
        }
    }

    /// Takes a chunk out of flight and marks it for retransmission on `to`.
    fn mark_lost(&mut self, at: usize, to: PathId, paths: &mut Paths) {
        let number = self.first + at as u64;
        let Some(sent) = self.chunks.get_mut(at) else { return };
        if let Some(path) = paths.path_mut(sent.path) {
            path.congestion.on_left_flight(chunk_len(&sent.data));
        }
        // RFC 9260, 6.3.1 (C5): no round trip is measured by what was sent before a retransmission
        // of something earlier.
        for path in paths.iter_mut() {
            path.record.probe = path.record.probe.filter(|probe| probe.number < number);
        }
        self.in_flight -= window_cost(sent.data.payload.len());
        sent.fate = Fate::Lost;
        sent.next = to;
        sent.misses = 0;
        sent.again = true;
        self.lost.insert(number);
    }

    fn offset(&self, number: u64) -> usize {
        number.saturating_sub(self.first) as usize
    }
}

/// Whether something sent later on the path of a chunk is newly acknowledged.
fn overtaken(sent: &Sent, tallies: &[Tally]) -> bool {
    let newest = |tally: &Tally| tally.newest.is_some_and(|newest| newest.order > sent.order);
    tallies.iter().any(|tally| tally.path == sent.path && newest(tally))
}

/// What a chunk takes of the peer's window, where it advertises bytes of payload but is charged for each chunk: Linux keeps
/// some 232 bytes for one, of a buffer twice as large as what it advertises, and drops what does not fit. FreeBSD takes
/// 256 bytes more for each; with this floor RFC 9260, 6.2.1 (B), holds to the letter for all but small chunks.
pub(crate) fn window_cost(payload: usize) -> usize {
    payload.max(LEAST_WINDOW_COST)
}

/// The length of the DATA chunk with header and padding, as congestion control counts it (RFC 9260, 7.2).
pub(crate) fn chunk_len(data: &Data) -> usize {
    (data.header_len() + data.payload.len()).next_multiple_of(4)
}

// RFC 9260, 7.2.4
const MISSES_THAT_COUNT: u8 = 3;
const LEAST_WINDOW_COST: usize = 256;

#[cfg(test)]
mod tests;
