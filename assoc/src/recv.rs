//! The receiving half of an association: DATA in, messages and SACKs out (RFC 9260, section 6.2).

use std::time::Instant;

use usctp_chunk::{DataHead, StreamId, Tsn};

use crate::budget::Pressure;
use crate::config::{LimitOptions, SackOptions};
use crate::path::PathId;

mod ack;
mod copies;
mod inbox;
mod reassembly;
mod tsn_map;

use ack::{Ack, Urgency};
use copies::Copies;
pub(crate) use copies::Payload;
pub(crate) use inbox::Inbox;
pub use inbox::Place;
use reassembly::Reassembly;
use tsn_map::Arrival;
pub(crate) use tsn_map::TsnMap;

#[derive(Debug)]
pub(crate) struct Receiver {
    map: TsnMap,
    ack: Ack,
    reassembly: Reassembly,
    copies: Copies,
    window: Window,
    streams: u16,
    /// Where the last DATA came from: where SACKs go.
    source: Option<PathId>,
}

/// What the peer was told of the receive buffer: bytes of payload, since it counts nothing else.
#[derive(Debug)]
struct Window {
    limit: usize,
    /// Less room than this is none: no silly windows (RFC 9260, 6.2, and RFC 1122, 4.2.3.3).
    silly: usize,
    /// How much is spent of what all associations may hold.
    pressure: Pressure,
    /// Bytes of payload that the application has not taken.
    unread: usize,
    advertised: usize,
    /// Something was refused since, of which the peer does not know that there was no room for it.
    refused: bool,
    /// Bytes that came since then.
    come: usize,
    /// Bytes the application took since then, and how many of them were more than the limit.
    taken: usize,
    excess: usize,
    /// Bytes that came since the association began, and up to how many the peer was allowed to send.
    total: u64,
    edge: u64,
    /// The running means of the payload of a DATA chunk, and of what it costs to hold it, in bytes.
    mean: usize,
    mean_cost: usize,
}

/// What did not come, although the peer says that it has sent everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The first TSN of a gap.
    Tsn(Tsn),
    /// Nothing is missing but the end of a message, or one that others of its stream wait for.
    RestOfMessage,
}

/// What became of a DATA chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Duplicate,
    /// There was no room, or it was too far ahead; the peer will send it again.
    Dropped,
    /// Acknowledged and thrown away; the peer is to be told (RFC 9260, section 6.5).
    InvalidStream,
    /// The association cannot go on.
    Contradiction(&'static str),
    /// A message larger than the receive buffer holds everything up.
    OutOfResource,
}

impl Receiver {
    pub(crate) fn new(peer_initial_tsn: Tsn, streams: u16, limits: &LimitOptions) -> Self {
        let limit = limits.receive_buffer;
        Self {
            map: TsnMap::new(peer_initial_tsn),
            ack: Ack::new(),
            reassembly: Reassembly::default(),
            copies: Copies::default(),
            window: Window::new(limit),
            streams,
            source: None,
        }
    }

    pub(crate) fn cumulative_tsn(&self) -> Tsn {
        self.map.cumulative()
    }

    pub(crate) fn map(&self) -> &TsnMap {
        &self.map
    }

    pub(crate) fn source(&self) -> Option<PathId> {
        self.source
    }

    /// Bytes held, in the reassembly and for the application, with the cost of holding them.
    pub(crate) fn buffered(&self, inbox: &Inbox) -> usize {
        self.reassembly.bytes() + self.map.memory() + inbox.bytes()
    }

    /// Bytes that [`renege`](Self::renege) may give back.
    pub(crate) fn spare(&self) -> usize {
        self.reassembly.spare()
    }

    /// Throws away what lies behind the first gap and was not delivered, and says so to the peer, which has to send it
    /// again (RFC 9260, 6.2: a receiver that has no buffer left may drop what it reported in Gap Ack Blocks).
    pub(crate) fn renege(&mut self) {
        let (gone, payload) = self.reassembly.renege(self.map.index());
        self.map.forget(&gone);
        self.window.unread = self.window.unread.saturating_sub(payload);
        self.ack.request();
    }

    /// Bytes that stay for as long as the association does.
    pub(crate) fn lasting(&self) -> usize {
        self.reassembly.lasting()
    }

    /// Another packet is read, while so much is spent of what all associations may hold.
    pub(crate) fn begin_packet(&mut self, pressure: Pressure) {
        self.window.pressure = pressure;
        self.copies.begin_packet();
    }

    /// Takes a DATA chunk in, with a payload of at least one byte.
    #[inline]
    pub(crate) fn on_data(
        &mut self,
        head: DataHead,
        payload: Payload<'_>,
        from: Option<PathId>,
        inbox: &mut Inbox,
    ) -> Verdict {
        self.source = from.or(self.source);
        let index = match self.map.classify(head.tsn) {
            Arrival::New(index) => index,
            Arrival::Duplicate => {
                // RFC 9260, 6.2: duplicates are answered at once.
                self.map.record_duplicate(head.tsn);
                self.ack.note(Urgency::Immediate);
                return Verdict::Duplicate;
            }
            Arrival::TooFar => return self.dropped(),
        };
        let len = payload.bytes.len();
        let mut before = self.buffered(inbox);
        if !self.has_room(head.tsn, before + len, len) {
            if let Some(refusal) = self.refuse(head.tsn, len, inbox) {
                return refusal;
            }
            before = self.buffered(inbox);
        }
        let had_gaps = self.map.has_gaps();
        self.map.record(head.tsn);
        // RFC 9260, 6.7: a gap, and what fills it, is answered at once; so is the I bit (6.2).
        let urgent = head.flags.immediate || had_gaps || self.map.has_gaps();
        self.ack.note(if urgent { Urgency::Immediate } else { Urgency::Delayed });
        if head.stream.0 >= self.streams {
            return Verdict::InvalidStream;
        }
        let place = (index, self.map.index());
        let taken = self.reassembly.insert(place, head, payload, &mut self.copies, inbox);
        self.window.note_chunk(len, self.buffered(inbox).saturating_sub(before));
        match taken {
            Ok(()) => Verdict::Accepted,
            Err(contradiction) => Verdict::Contradiction(contradiction.0),
        }
    }

    /// The streams on which a message was being delivered in parts.
    pub(crate) fn partial_streams(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.reassembly.partial_streams()
    }

    /// What keeps something that came from being delivered.
    pub(crate) fn missing(&self) -> Option<Missing> {
        if self.map.has_gaps() {
            return Some(Missing::Tsn(self.map.cumulative().next()));
        }
        let waits = self.reassembly.bytes() > 0 || self.partial_streams().next().is_some();
        waits.then_some(Missing::RestOfMessage)
    }

    /// The packet is read; whether it held DATA.
    pub(crate) fn end_of_packet(&mut self, now: Instant, options: &SackOptions) -> bool {
        // Whoever took the messages decides how long their copies are kept.
        self.copies.begin_packet();
        self.ack.end_of_packet(now, options)
    }

    /// The application took `bytes` of payload.
    pub(crate) fn on_taken(&mut self, bytes: usize) {
        self.window.unread = self.window.unread.saturating_sub(bytes);
        self.window.taken += bytes;
        if self.window.wants_update() {
            self.ack.request();
        }
    }

    /// Whether something must be said that only a SACK can say, and SHUTDOWN cannot.
    pub(crate) fn needs_sack(&self) -> bool {
        let window = self.window.refused || self.window.wants_update();
        window || self.map.has_gaps() || self.map.has_duplicates()
    }

    pub(crate) fn sack_is_due(&self) -> bool {
        self.ack.is_due()
    }

    pub(crate) fn sack_is_pending(&self) -> bool {
        self.ack.is_pending()
    }

    /// Asks for a SACK in any case.
    pub(crate) fn request_sack(&mut self) {
        self.ack.request();
    }

    /// The window to advertise in a SACK that goes out now.
    pub(crate) fn advertise(&mut self, inbox: &Inbox) -> u32 {
        let window = self.window.of(self.buffered(inbox));
        self.window.advertise(window);
        u32::try_from(window).unwrap_or(u32::MAX)
    }

    /// A SHUTDOWN went out in the place of a SACK. It acknowledges and says nothing of the window, so that for the peer what
    /// came still takes up room.
    pub(crate) fn shutdown_sent(&mut self) {
        self.window.advertised = self.window.advertised.saturating_sub(self.window.come);
        self.window.come = 0;
        self.sack_sent();
    }

    /// A SACK (or, for what it can say, a SHUTDOWN) went out.
    pub(crate) fn sack_sent(&mut self) {
        self.ack.sent();
        self.map.forget_duplicates();
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.ack.next_timeout()
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        self.ack.on_timeout(now);
    }

    /// What becomes of a chunk for which there is no room; `None` if room could be made.
    #[cold]
    fn refuse(&mut self, tsn: Tsn, len: usize, inbox: &mut Inbox) -> Option<Verdict> {
        if self.map.is_overtaken(tsn) {
            // RFC 9260, 6.2: what lies behind makes room for what fills a gap. Refused like that, it would seem to be lost
            // for ever: only what lies beyond all that came is known to find a window closed.
            self.renege();
            if self.has_room(tsn, self.buffered(inbox) + len, len) {
                return None;
            }
        }
        // RFC 9260, 6.9: part of a message that is too large makes room for the rest of it.
        if !self.is_stuck(tsn, inbox) || self.reassembly.begin_partial_delivery(inbox) {
            return Some(self.dropped());
        }
        Some(Verdict::OutOfResource)
    }

    #[cold]
    fn dropped(&mut self) -> Verdict {
        // RFC 9260, 6.2: a chunk that finds no room is answered at once.
        self.ack.note(Urgency::Immediate);
        self.window.refused = true;
        Verdict::Dropped
    }

    /// Whether there is room for a chunk with `len` bytes of payload, with which `held` bytes of memory would be held.
    ///
    /// What the peer was allowed to send is taken, and what fills a gap, because nothing behind the gap can be delivered
    /// before; the peer has counted such a chunk against the window already when it sent it first. What it costs beside
    /// the payload to hold it is no concern of the peer's, unless that is as much again as the limit.
    #[inline]
    fn has_room(&self, tsn: Tsn, held: usize, len: usize) -> bool {
        let goes_on = || tsn == self.map.cumulative().next();
        let fills = self.map.is_overtaken(tsn);
        // Others need the room more than what cannot be delivered yet, and what is not read.
        match self.window.pressure {
            Pressure::None => {}
            Pressure::Tight if fills || goes_on() => {}
            Pressure::Tight => return false,
            Pressure::Spent => return goes_on() && held - len < self.window.limit.min(LEAST),
        }
        let window = &self.window;
        // RFC 9260, 6.2: nothing new while the window is closed.
        let wanted = || window.unread + len <= window.limit && window.is_open();
        let bearable = || window.is_bearable(held - len);
        held <= 2 * window.limit && (fills || bearable() && (window.allowed(len) || wanted()))
    }

    /// Whether a message larger than the buffer holds everything up: no gap is left to fill, and no
    /// message left for the application to take.
    fn is_stuck(&self, tsn: Tsn, inbox: &Inbox) -> bool {
        inbox.is_empty() && !self.map.has_gaps() && tsn == self.map.cumulative().next()
    }
}

impl Window {
    /// INIT and INIT ACK tell of the whole limit.
    fn new(limit: usize) -> Self {
        let (mean, mean_cost) = (USUAL_CHUNK, USUAL_CHUNK + USUAL_CHUNK / 32);
        let edge = limit as u64;
        let pressure = Pressure::None;
        Self {
            limit,
            silly: USUAL_CHUNK.min(limit / 4),
            pressure,
            advertised: limit,
            refused: false,
            unread: 0,
            come: 0,
            taken: 0,
            excess: 0,
            total: 0,
            edge,
            mean,
            mean_cost,
        }
    }

    /// A chunk was taken in that costs so much to hold.
    fn note_chunk(&mut self, len: usize, cost: usize) {
        self.unread += len;
        self.come += len;
        self.total += len as u64;
        self.mean = moved(self.mean, len);
        self.mean_cost = moved(self.mean_cost, cost.max(len));
    }

    fn advertise(&mut self, window: usize) {
        let excess = self.unread.saturating_sub(self.limit);
        (self.come, self.taken, self.excess) = (0, 0, excess);
        self.advertised = window;
        self.refused = false;
        // The SACK may be lost, so that what was told before it holds as well.
        self.edge = self.edge.max(self.total + window as u64);
    }

    /// The window to tell while so much memory is held.
    fn of(&self, held: usize) -> usize {
        if self.pressure == Pressure::Spent {
            let left = self.limit.min(LEAST).saturating_sub(held);
            return if left < self.silly { 0 } else { left };
        }
        let fresh = if self.is_open() { self.limit - self.unread } else { 0 };
        // RFC 1122, 4.2.2.16: what the peer was allowed to send it may have sent; its edge does not move back,
        let allowed = usize::try_from(self.edge.saturating_sub(self.total)).unwrap_or(usize::MAX);
        // unless chunks are so small that holding them costs more than they.
        fresh.max(allowed).min(self.bearable(held))
    }

    /// How much payload can be held beside so much memory, if chunks go on to be as large as they are.
    fn bearable(&self, held: usize) -> usize {
        self.free(held).saturating_mul(self.mean) / self.mean_cost.max(1)
    }

    /// Whether that is anything; asked for every chunk, which is not to cost a division.
    fn is_bearable(&self, held: usize) -> bool {
        self.free(held).saturating_mul(self.mean) >= self.mean_cost.max(1)
    }

    /// Memory that may be used beside so much.
    fn free(&self, held: usize) -> usize {
        let free = (2 * self.limit).saturating_sub(held);
        if free < self.silly { 0 } else { free }
    }

    /// Whether the peer was told that so much would be taken.
    fn allowed(&self, len: usize) -> bool {
        self.total + len as u64 <= self.edge
    }

    /// Whether the window may be opened further.
    fn is_open(&self) -> bool {
        self.limit.saturating_sub(self.unread) >= self.silly
    }

    /// RFC 9260, 6.2: a window update goes out when the window opened by a quarter of the buffer, and only
    /// where the peer may be waiting for it.
    fn wants_update(&self) -> bool {
        let quarter = self.limit / 4;
        self.taken >= quarter + self.excess && self.advertised < 2 * quarter
    }
}

/// A running mean after one more value: an eighth of the way, rounded up.
fn moved(mean: usize, value: usize) -> usize {
    (mean * 7 + value + 7) >> 3
}

const USUAL_CHUNK: usize = 1400;
/// Bytes that every association may hold.
const LEAST: usize = 4096;

#[cfg(test)]
mod tests;
