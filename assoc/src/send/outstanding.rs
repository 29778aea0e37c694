//! DATA chunks sent and not yet cumulatively acknowledged, and what a SACK says of them (RFC 9260, section 6.2.1).

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use usctp_chunk::{Data, GapBlock, Tsn};

use crate::message::Message;
use crate::outbox::cost;
use crate::path::{Path, PathId, Paths};

#[cfg(feature = "sim")]
mod audit;
mod gaps;
mod sendings;
mod tally;
mod totals;

use gaps::Gaps;
pub(crate) use sendings::Sending;
pub(crate) use tally::{Tally, Transmission};
use tally::{settle, tally, tally_for};
use totals::Totals;

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
    /// What is in flight, and what is marked for retransmission.
    totals: Totals,
    /// What Gap Ack Blocks cover.
    gaps: Gaps,
    /// The messages that were cut and of which a fragment is not acknowledged, or has not been sent. They share their
    /// bytes with the chunks.
    cut: VecDeque<Message>,
    /// Cost of all chunks to the send buffer, in bytes.
    cost: usize,
    /// How many transmissions of chunks there were.
    transmissions: u64,
}

#[derive(Debug)]
struct Sent {
    data: Data,
    len: u32,
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
    /// The peer had it, and took that back: it has counted for its path and for cwnd.
    withdrawn: bool,
    /// The bytes of the SCTP packet that it went out in, as far as it reached; 0 where IP may have cut that.
    packet: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    InFlight,
    Gapped,
    Lost,
}

impl Sent {
    /// The bytes of its DATA chunk, as [`chunk_len`] counts them.
    fn len(&self) -> usize {
        self.len as usize
    }
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
            totals: Totals::default(),
            gaps: Gaps::default(),
            cut: VecDeque::new(),
            cost: 0,
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
        self.totals.in_flight()
    }

    /// The TSN that the next new chunk gets.
    pub(crate) fn next_tsn(&self) -> Tsn {
        self.cumulative.plus(self.chunks.len() as u32 + 1)
    }

    /// The number that the next new chunk gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.first + self.chunks.len() as u64
    }

    /// The number behind all that gap blocks cover: nothing that was sent later is known to have arrived.
    pub(crate) fn tail(&self) -> u64 {
        self.gaps.end().max(self.first)
    }

    /// The payload of a chunk in bytes, if it is in the queue.
    pub(crate) fn payload(&self, number: u64) -> Option<usize> {
        let at = number.checked_sub(self.first)?;
        self.chunks.get(usize::try_from(at).ok()?).map(|sent| sent.data.payload.len())
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
        path: &mut Path,
        context: u32,
        packet: usize,
    ) -> &Data {
        self.transmissions += 1;
        self.cost += cost(data.payload.len());
        let len = chunk_len(&data);
        self.totals.enter_flight(data.payload.len(), len, self.next_number(), Some(path));
        self.chunks.push_back(Sent {
            data,
            // A chunk is shorter than a packet, which is shorter than 2^16 bytes.
            len: len as u32,
            context,
            path: path.id,
            next: path.id,
            fate: Fate::InFlight,
            misses: 0,
            again: false,
            order: self.transmissions,
            sent_at: now,
            moved: false,
            withdrawn: false,
            packet: u16::try_from(packet).unwrap_or(u16::MAX),
        });
        &self.chunks.back().expect("it was put there").data
    }

    /// The largest SCTP packet in flight on a path, in bytes.
    pub(crate) fn largest_on(&self, path: PathId) -> usize {
        let here = self.chunks.iter().filter(|s| s.fate == Fate::InFlight && s.path == path);
        here.map(|sent| usize::from(sent.packet)).max().unwrap_or(0)
    }

    /// The first chunk marked for retransmission: its number, where it goes, and the chunk.
    pub(crate) fn first_lost(&self) -> Option<(u64, PathId, &Data)> {
        let &number = self.totals.lost().first()?;
        let sent = self.chunks.get(self.offset(number))?;
        Some((number, sent.next, &sent.data))
    }

    /// Whether one packet of what is marked for retransmission may leave whatever cwnd says (RFC 9260, 7.2.4, 3).
    pub(crate) fn is_fast(&self) -> bool {
        self.totals.is_fast()
    }

    /// One packet of the chunks that are marked for retransmission now may leave whatever cwnd says.
    pub(crate) fn allow_fast(&mut self) {
        self.totals.allow_fast();
    }

    /// It left, or is not to leave any more.
    pub(crate) fn end_fast(&mut self) {
        self.totals.end_fast();
    }

    /// A chunk marked for retransmission went out again, in a packet of so many bytes.
    pub(crate) fn resent(&mut self, now: Instant, number: u64, packet: usize, paths: &mut Paths) {
        self.transmissions += 1;
        let at = self.offset(number);
        if let Some(sent) = self.chunks.get_mut(at) {
            sent.order = self.transmissions;
            sent.sent_at = now;
            sent.moved |= sent.path != sent.next;
            sent.path = sent.next;
            sent.packet = u16::try_from(packet).unwrap_or(u16::MAX);
            self.totals.turn(sent, number, Fate::InFlight, paths);
        }
    }

    /// Whether no earlier chunk is in flight on the path. What was looked at once is not again, unless something earlier is
    /// sent there.
    pub(crate) fn is_earliest_on(&self, path: &mut Path, number: u64) -> bool {
        let from = path.record.earliest.max(self.first);
        let between =
            self.chunks.range(self.offset(from).min(self.offset(number))..self.offset(number));
        let here = |sent: &Sent| {
            #[cfg(test)]
            tests::VISITED.set(tests::VISITED.get() + 1);
            sent.fate == Fate::InFlight && sent.path == path.id
        };
        let found = (from..).zip(between).find(|(_, sent)| here(sent));
        path.record.earliest = found.map_or(from.max(number), |(earlier, _)| earlier);
        found.is_none()
    }

    /// Sends what is marked for retransmission on `from` to `to` instead, as when `from` fails.
    pub(crate) fn redirect_lost(&mut self, from: PathId, to: PathId) {
        for &number in self.totals.lost() {
            let at = (number - self.first) as usize;
            if let Some(sent) = self.chunks.get_mut(at).filter(|sent| sent.next == from) {
                sent.next = to;
            }
        }
    }

    /// Whether something marked for retransmission is to go to the path.
    pub(crate) fn has_lost_for(&self, path: PathId) -> bool {
        let next = |number: &u64| self.chunks.get(self.offset(*number)).map(|sent| sent.next);
        self.totals.lost().iter().any(|number| next(number) == Some(path))
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
            let longer = sent.len() > limit;
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
    /// with the third one are marked for retransmission. Calls `hit` with each of them.
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
        mut hit: impl FnMut(&mut Paths, Sending),
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
                    let sending = sent.sending(number);
                    self.mark_lost(at, sending.path, paths);
                    hit(paths, sending);
                }
            }
        }
        self.gaps = gaps;
    }

    /// The next new chunk is the first fragment of this message.
    pub(crate) fn begin(&mut self, message: Message) {
        self.cut.push_back(message);
    }

    /// Takes out every message that was not acknowledged whole, in their order.
    pub(crate) fn give_back(&mut self) -> Vec<Message> {
        self.totals = Totals::default();
        self.gaps = Gaps::default();
        self.cost = 0;
        let mut messages = Vec::new();
        for Sent { data, context, .. } in self.chunks.drain(..) {
            match (data.flags.beginning, data.flags.ending) {
                (true, true) => messages.push(Message::sent_as(data, context)),
                // Once for all its fragments, of which the first may be acknowledged and gone.
                (false, true) => messages.extend(self.cut.pop_front()),
                (_, false) => {}
            }
        }
        // The last fragment of the last one has no TSN yet.
        messages.extend(self.cut.drain(..));
        messages
    }

    /// Takes the first chunks off, which are acknowledged cumulatively.
    fn take_off(&mut self, count: usize, paths: &mut Paths, tallies: &mut Vec<Tally>) {
        for (number, sent) in (self.first..).zip(self.chunks.range(..count)) {
            self.cost -= cost(sent.data.payload.len());
            if sent.data.flags.ending && !sent.data.flags.beginning {
                self.cut.pop_front();
            }
            if sent.fate != Fate::Gapped {
                let tally = tally(sent, number, paths, tallies);
                tally.leaves += self.totals.leave(sent, number);
            }
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
        let span = self.offset(hole.start)..self.offset(hole.end);
        for (number, sent) in hole.zip(self.chunks.range_mut(span)) {
            #[cfg(test)]
            tests::VISITED.set(tests::VISITED.get() + 1);
            match sent.fate {
                Fate::Gapped => {
                    // RFC 9260, 6.2.1 (D iii): one missing report, and T3-rtx runs for it.
                    sent.misses = 1;
                    sent.withdrawn = true;
                    self.totals.turn(sent, number, Fate::InFlight, paths);
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
            if sent.fate != Fate::Gapped {
                tally(sent, number, paths, tallies);
                self.totals.turn(sent, number, Fate::Gapped, paths);
            }
        }
    }

    /// Takes a chunk out of flight and marks it for retransmission on `to`.
    fn mark_lost(&mut self, at: usize, to: PathId, paths: &mut Paths) {
        let number = self.first + at as u64;
        let Some(sent) = self.chunks.get_mut(at) else { return };
        // RFC 9260, 6.3.1 (C5): no round trip is measured by what was sent before a retransmission
        // of something earlier.
        for path in paths.iter_mut() {
            path.record.probe = path.record.probe.filter(|probe| probe.number < number);
        }
        sent.next = to;
        sent.misses = 0;
        sent.again = true;
        self.totals.turn(sent, number, Fate::Lost, paths);
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
