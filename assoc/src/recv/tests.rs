//! Tests of the receive buffer to the byte: what finds room in it, and what the peer is told of it.

use bytes::Bytes;
use usctp_chunk::{DataFlags, Ppid, Sequence, Ssn};

use super::copies::SHARED;
use super::inbox::ENTRY;
use super::*;
use crate::config::Options;

/// Bytes of the receive buffer.
const LIMIT: usize = 8_000;
const SILLY: usize = USUAL_CHUNK;

/// A receiver whose application takes nothing by itself.
struct Host {
    receiver: Receiver,
    inbox: Inbox,
    pressure: Pressure,
    /// Whole messages come, or parts of which neither end has come.
    whole: bool,
}

impl Host {
    fn new() -> Self {
        let mut limits = Options::default().limits;
        limits.receive_buffer = LIMIT;
        let receiver = Receiver::new(Tsn::new(1), 1, &limits);
        Self { receiver, inbox: Inbox::default(), pressure: Pressure::None, whole: true }
    }

    /// A message of `len` bytes in a packet of its own, so that holding it costs `cost`.
    fn hears(&mut self, tsn: u32, len: usize, cost: usize) -> Verdict {
        let packet = Bytes::from(vec![7; cost - SHARED - ENTRY]);
        self.receiver.begin_packet(self.pressure);
        self.hears_part(tsn, &packet, 0..len)
    }

    fn hears_part(&mut self, tsn: u32, packet: &Bytes, at: std::ops::Range<usize>) -> Verdict {
        let (beginning, ending) = (self.whole, self.whole);
        let flags = DataFlags { unordered: true, beginning, ending, immediate: false };
        let sequence = Sequence::Ssn(Ssn::default());
        let head =
            DataHead { tsn: Tsn::new(tsn), stream: StreamId(0), sequence, ppid: Ppid(0), flags };
        let payload = Payload { packet, bytes: &packet[at] };
        self.receiver.on_data(head, payload, None, &mut self.inbox)
    }

    /// The next message in order.
    fn next(&mut self, len: usize, cost: usize) -> Verdict {
        let tsn = self.receiver.cumulative_tsn().next().value();
        self.hears(tsn, len, cost)
    }

    /// So many messages in order, of 1,000 bytes each.
    fn full(count: usize, cost: usize) -> Self {
        let mut host = Self::new();
        for _ in 0..count {
            assert_eq!(host.next(1_000, cost), Verdict::Accepted);
        }
        host
    }

    fn takes(&mut self, count: usize) {
        for _ in 0..count {
            let (message, _) = self.inbox.pop().expect("it came");
            self.receiver.on_taken(message.payload.len());
        }
    }
}

/// Cost of a message of 1,000 bytes that fills its packet.
const PLAIN: usize = 1_000 + SHARED + ENTRY;

#[test]
fn beyond_what_was_promised_comes_what_the_window_would_allow_by_now() {
    let mut host = Host::full(8, PLAIN);
    assert_eq!(host.next(1, PLAIN), Verdict::Dropped, "all that was promised came");
    host.takes(1);
    assert_eq!(host.next(500, PLAIN), Verdict::Dropped, "so small a window is none");
    host.takes(1);
    assert_eq!(host.next(2_001, 2 * PLAIN), Verdict::Dropped, "more than is free");
    assert_eq!(host.next(2_000, 2 * PLAIN), Verdict::Accepted);
}

#[test]
fn what_costs_twice_the_buffer_to_hold_is_refused_though_it_was_promised() {
    for (free, verdict) in
        [(2_000, Verdict::Accepted), (SILLY, Verdict::Accepted), (1_000, Verdict::Dropped)]
    {
        let mut host = Host::full(4, (2 * LIMIT - free) / 4);
        let held = host.receiver.buffered(&host.inbox);
        assert_eq!(2 * LIMIT - held, free);
        assert_eq!(host.next(900, PLAIN), verdict, "{free}");
    }
}

#[test]
fn while_the_budget_is_spent_what_is_in_order_is_taken_up_to_a_little() {
    for (held, verdict) in
        [(0, Verdict::Accepted), (LEAST - 1, Verdict::Accepted), (LEAST, Verdict::Dropped)]
    {
        let mut host = if held == 0 { Host::new() } else { Host::full(1, held) };
        host.pressure = Pressure::Spent;
        assert_eq!(host.next(1_000, PLAIN), verdict, "{held}");
        // Nothing but a SACK says that there was no room.
        assert_eq!(host.receiver.needs_sack(), verdict == Verdict::Dropped);
        host.receiver.advertise(&host.inbox);
        host.receiver.sack_sent();
        assert!(!host.receiver.needs_sack());
    }
}

#[test]
fn what_was_thrown_away_takes_no_room_and_is_told_at_once() {
    let mut host = Host::new();
    host.whole = false;
    for tsn in [1, 3, 4] {
        assert_eq!(host.hears(tsn, 1_000, PLAIN), Verdict::Accepted);
    }
    assert!(host.receiver.spare() > 0);
    host.receiver.sack_sent();
    assert!(!host.receiver.sack_is_due());
    host.receiver.renege();
    assert!(host.receiver.sack_is_due());
    // The first is acknowledged for good, and stays.
    assert_eq!((host.receiver.window.unread, host.receiver.spare()), (1_000, 0));
    assert!(host.receiver.buffered(&host.inbox) > 1_000);
}

#[test]
fn what_a_chunk_costs_is_seen_beside_what_was_thrown_away_for_it() {
    let mut host = Host::full(4, 3_500);
    host.whole = false;
    assert_eq!(host.hears(6, 1_000, PLAIN), Verdict::Accepted);
    host.whole = true;
    let before = host.receiver.window.mean_cost;
    assert_eq!(host.hears(5, 1_000, 3_000), Verdict::Accepted);
    assert!(!host.receiver.map().has_gaps(), "what lay behind it is gone");
    assert_eq!(host.receiver.window.mean_cost, moved(before, 3_000));
}

#[test]
fn while_the_budget_is_nearly_spent_nothing_is_kept_behind_a_gap() {
    let mut host = Host::new();
    assert_eq!(host.hears(4, 1, PLAIN), Verdict::Accepted);
    host.pressure = Pressure::Tight;
    assert_eq!(host.hears(6, 1, PLAIN), Verdict::Dropped);
    assert_eq!(host.hears(3, 1, PLAIN), Verdict::Accepted, "what fills the gap is");
    assert_eq!(host.hears(1, 1, PLAIN), Verdict::Accepted, "and what is in order");
}

#[test]
fn the_window_is_what_can_be_held_of_chunks_as_they_are_and_none_if_that_is_silly() {
    let mut window = Window::new(LIMIT);
    (window.mean, window.mean_cost) = (1_000, 3_000);
    let free = [2 * LIMIT, 6_000, SILLY, SILLY - 1];
    assert_eq!(free.map(|free| window.of(2 * LIMIT - free)), [5_333, 2_000, SILLY / 3, 0]);
    window.pressure = Pressure::Spent;
    let left = [LEAST, SILLY, SILLY - 1, 0];
    assert_eq!(left.map(|left| window.of(LEAST - left)), [LEAST, SILLY, 0, 0]);
}

#[test]
fn the_means_follow_what_comes_by_an_eighth() {
    let mut window = Window::new(LIMIT);
    (window.mean, window.mean_cost) = (1_400, 1_400);
    window.note_chunk(1_448, 2_200);
    assert_eq!((window.mean, window.mean_cost), (1_406, 1_500));
    window.note_chunk(0, 0);
    assert_eq!((window.mean, window.mean_cost), (1_231, 1_313));
}

#[test]
fn after_a_shutdown_that_acknowledges_the_window_is_told_anew_once_less_than_half_is_known_free() {
    for (last, told) in [(1_000, false), (1_001, true)] {
        let mut host = Host::full(3, PLAIN);
        assert_eq!(host.next(last, 2 * PLAIN), Verdict::Accepted);
        // SHUTDOWN says nothing of the window: for the peer, what came is still there.
        host.receiver.shutdown_sent();
        host.takes(4);
        assert_eq!(host.receiver.needs_sack(), told, "{last}");
    }
}

#[test]
fn small_messages_of_one_packet_share_the_memory_that_the_first_pays_for() {
    let mut host = Host::new();
    let packet = Bytes::from(vec![7; 1_200]);
    host.receiver.begin_packet(Pressure::None);
    let mut costs = Vec::new();
    for tsn in 1..4 {
        let before = host.receiver.buffered(&host.inbox);
        let at = 32 * tsn as usize;
        assert_eq!(host.hears_part(tsn, &packet, at..at + 16), Verdict::Accepted);
        costs.push(host.receiver.buffered(&host.inbox) - before);
    }
    assert_eq!(costs, [10 * 32 + SHARED + ENTRY, ENTRY, ENTRY]);
}
