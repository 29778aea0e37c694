//! The receiving half of an association: DATA in, messages and SACKs out (RFC 9260, section 6.2).

use std::time::Instant;

use bytes::Bytes;
use usctp_chunk::{DataHead, StreamId, Tsn};

use crate::config::{LimitOptions, SackOptions};
use crate::path::PathId;

mod ack;
mod copies;
mod inbox;
mod reassembly;
mod tsn_map;

use ack::{Ack, Urgency};
pub(crate) use copies::Copies;
pub(crate) use inbox::Inbox;
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

/// What the peer was told of the receive buffer.
#[derive(Debug)]
struct Window {
    limit: usize,
    advertised: usize,
    /// Bytes of payload that came since then.
    come: usize,
    /// Bytes the application took since then.
    taken: usize,
    /// The running mean of the payload of a DATA chunk, in bytes.
    mean: usize,
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
            window: Window { limit, advertised: limit, come: 0, taken: 0, mean: USUAL_CHUNK },
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
        self.reassembly.bytes() + inbox.bytes()
    }

    /// Another packet is read.
    pub(crate) fn begin_packet(&mut self) {
        self.copies.begin_packet();
    }

    /// Takes a DATA chunk with `len` bytes of payload in, at least one, which are asked for only if they are wanted.
    #[inline]
    pub(crate) fn on_data(
        &mut self,
        head: DataHead,
        len: usize,
        payload: impl FnOnce(&mut Copies) -> Bytes,
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
        if !self.has_room(head.tsn, len, inbox) {
            // RFC 9260, 6.9: part of a message that is too large makes room for the rest of it.
            if !self.is_stuck(inbox) || self.reassembly.begin_partial_delivery(inbox) {
                return self.dropped();
            }
            return Verdict::OutOfResource;
        }
        self.window.note_chunk(len);
        let had_gaps = self.map.has_gaps();
        self.map.record(head.tsn);
        // RFC 9260, 6.7: a gap, and what fills it, is answered at once; so is the I bit (6.2).
        let urgent = head.flags.immediate || had_gaps || self.map.has_gaps();
        self.ack.note(if urgent { Urgency::Immediate } else { Urgency::Delayed });
        if head.stream.0 >= self.streams {
            return Verdict::InvalidStream;
        }
        match self.reassembly.insert(index, head, payload(&mut self.copies), inbox) {
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

    /// The application took a message that had cost `bytes`.
    pub(crate) fn on_taken(&mut self, bytes: usize) {
        self.window.taken += bytes;
        if self.window.wants_update() {
            self.ack.request();
        }
    }

    /// Whether something must be said that only a SACK can say, and SHUTDOWN cannot.
    pub(crate) fn needs_sack(&self) -> bool {
        self.map.has_gaps() || self.map.has_duplicates() || self.window.wants_update()
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
        self.window.advertised = self.open_window(inbox);
        (self.window.come, self.window.taken) = (0, 0);
        u32::try_from(self.window.advertised).unwrap_or(u32::MAX)
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

    fn dropped(&mut self) -> Verdict {
        // RFC 9260, 6.2: a chunk that finds no room is answered at once.
        self.ack.note(Urgency::Immediate);
        Verdict::Dropped
    }

    /// The window as it may be told.
    fn open_window(&self, inbox: &Inbox) -> usize {
        if self.window_is_open(inbox) { self.window.payload_of(self.free(inbox)) } else { 0 }
    }

    /// Whether a window may be told at all.
    fn window_is_open(&self, inbox: &Inbox) -> bool {
        // RFC 9260, 6.2 and RFC 1122, 4.2.3.3: no silly windows; less than a usual packet is none.
        self.free(inbox) >= USUAL_CHUNK.min(self.window.limit / 4)
    }

    fn free(&self, inbox: &Inbox) -> usize {
        self.window.limit.saturating_sub(self.buffered(inbox))
    }

    /// Whether there is room: up to the limit for what extends the sequence, and up to twice the limit
    /// for what fills a gap, because nothing behind the gap can be delivered before. The peer has
    /// counted such a chunk against the window already when it sent it first.
    fn has_room(&self, tsn: Tsn, len: usize, inbox: &Inbox) -> bool {
        let held = self.buffered(inbox) + len;
        if tsn.is_before(self.map.highest()) {
            return held <= 2 * self.window.limit;
        }
        // RFC 9260, 6.2: nothing new while the window is closed.
        held <= self.window.limit && self.window_is_open(inbox)
    }

    /// Whether a message larger than the buffer holds everything up: no gap is left to fill, and no
    /// message left for the application to take.
    fn is_stuck(&self, inbox: &Inbox) -> bool {
        inbox.is_empty() && !self.map.has_gaps()
    }
}

impl Window {
    fn note_chunk(&mut self, len: usize) {
        self.come += len;
        self.mean = (self.mean * 7 + len).div_ceil(8);
    }

    /// How much payload fits `free` bytes: the peer counts payload only, and holding chunks costs more.
    fn payload_of(&self, free: usize) -> usize {
        free.saturating_mul(self.mean) / inbox::cost(self.mean)
    }

    /// RFC 9260, 6.2: a window update goes out when the window opened by a quarter of the buffer, and only
    /// where the peer may be waiting for it.
    fn wants_update(&self) -> bool {
        let quarter = self.limit / 4;
        self.taken >= quarter && self.advertised < 2 * quarter
    }
}

const USUAL_CHUNK: usize = 1400;
