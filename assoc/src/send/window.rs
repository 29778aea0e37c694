//! The peer's receive window: what it has room for, and the probes of one that is closed (RFC 9260, sections 6.1, A, and
//! 6.2.1).
//!
//! While the window is closed a chunk that does not arrive says nothing of the path: the peer had no room and threw it away.
//! So nothing that may have been refused costs cwnd, an RTO, an MTU or an error, as long as the peer answers at all.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Sender;
use crate::path::{Path, PathId, Paths};
use crate::timer::Timer;

#[derive(Debug)]
pub(super) struct PeerWindow {
    /// What the peer advertised last, in bytes.
    a_rwnd: usize,
    /// The peer said that it has no room for the first chunk that it may not have.
    closed: bool,
    probe: WindowProbe,
    /// What was in flight when the window closed.
    doubt: Doubt,
}

/// Zero window probing: one chunk at a time leaves although the window is closed.
#[derive(Debug, Default)]
struct WindowProbe {
    /// When the next one may leave.
    wait: Timer,
    /// It may leave now.
    due: bool,
    /// Probes that were refused one after the other.
    refused: u32,
    /// The one that is in flight.
    out: Option<Probe>,
}

impl WindowProbe {
    /// The window is open: probing begins anew when it is closed again. What is out is awaited still.
    fn end(&mut self) {
        (self.due, self.refused) = (false, 0);
        self.wait.stop();
    }
}

/// A sending of a chunk: its number, and its place among all transmissions.
#[derive(Debug, Clone, Copy)]
struct Probe {
    number: u64,
    order: u64,
}

/// Chunks that the peer may have refused: these numbers, as far as they were not sent again since.
#[derive(Debug, Default)]
struct Doubt {
    numbers: Range<u64>,
    sent_until: u64,
}

impl PeerWindow {
    pub(super) fn new(a_rwnd: u32) -> Self {
        Self {
            a_rwnd: a_rwnd as usize,
            closed: false,
            probe: WindowProbe::default(),
            doubt: Doubt::default(),
        }
    }

    /// Whether the peer had no room when it was last heard of, for something that was sent.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the peer may have refused a sending of a chunk, so that its loss is no sign of congestion.
    pub(super) fn may_have_refused(&self, number: u64, order: u64) -> bool {
        self.doubt.numbers.contains(&number) && order <= self.doubt.sent_until
    }

    /// A chunk left for which the window has no room.
    pub(super) fn probe_sent(&mut self, number: u64, order: u64) {
        self.probe.due = false;
        self.probe.out = Some(Probe { number, order });
    }

    /// What timed out is sent again at once.
    pub(super) fn probe_at_once(&mut self) {
        self.probe.wait.stop();
        self.probe.due = true;
        self.probe.out = None;
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.probe.wait.deadline()
    }

    /// Whether the time of a probe has come.
    pub(super) fn take_expired(&mut self, now: Instant) -> bool {
        let expired = self.probe.wait.take_expired(now);
        self.probe.due |= expired;
        expired
    }

    /// RFC 9260, 6.1 (A): the first probe comes an RTO after the window closed, the others ever more rarely.
    fn schedule_probe(&mut self, now: Instant, rto: Duration, most: Duration) {
        if !self.probe.due && !self.probe.wait.is_running() {
            let interval =
                rto.saturating_mul(1 << self.probe.refused.min(MOST_DOUBLINGS)).min(most.max(rto));
            self.probe.wait.start(now, interval);
        }
    }
}

impl Sender {
    /// The peer's receive window as far as it is known, in bytes (RFC 9260, 6.2.1): what it advertised last, less what is in
    /// flight. So what is sent takes from it (B), and whatever leaves flight gives back (C, D ii), by whichever way.
    pub(super) fn rwnd(&self) -> usize {
        self.window.a_rwnd.saturating_sub(self.outstanding.in_flight())
    }

    /// RFC 9260, 6.1 (A): whether the peer's window has room for a chunk with `len` bytes of payload, or a probe of it is due.
    pub(super) fn window_allows(&mut self, len: usize, now: Instant, path: &Path) -> bool {
        if len <= self.rwnd() {
            self.window.probe.end();
            return true;
        }
        // Only when nothing is in flight.
        if self.outstanding.in_flight() > 0 {
            return false;
        }
        self.window.schedule_probe(now, path.rto.current(), path.settings.rto.max);
        self.window.probe.due
    }

    /// The same for the chunk marked for retransmission that comes first. What lies before something that the peer has is
    /// taken even if the window is closed (6.2), and lets the peer deliver what fills it.
    pub(super) fn window_allows_again(
        &mut self,
        number: u64,
        len: usize,
        now: Instant,
        path: &Path,
    ) -> bool {
        number < self.outstanding.tail() || self.window_allows(len, now, path)
    }

    /// Whether a chunk that is about to leave is a probe.
    pub(super) fn is_window_probe(&self, number: u64, len: usize) -> bool {
        len > self.rwnd() && number >= self.outstanding.tail()
    }

    /// Whether a SHUTDOWN that comes now is none that answers the probe in flight: that one is sent at once, and comes within a
    /// round trip (RFC 9260, 9.2). Others come as T2-shutdown of the peer has it, and say nothing of the probe: taken for its
    /// answer, they would keep T3-rtx from ever finding that it is lost, as on a path that takes less than its size.
    fn is_probe_late(&self, now: Instant, paths: &Paths) -> bool {
        let probe = self.window.probe.out.and_then(|probe| {
            let sent = self.outstanding.in_flight_at(probe.number)?;
            (sent.last.order == probe.order).then_some(sent)
        });
        probe.is_some_and(|sent| {
            let round_trip = paths.path(sent.path).map_or(Duration::MAX, Path::round_trip);
            now.saturating_duration_since(sent.last.sent_at) > round_trip.saturating_mul(2)
        })
    }

    /// The peer said how large its window is (RFC 9260, 6.2.1, D ii), or acknowledged without saying it.
    pub(super) fn update_window(
        &mut self,
        now: Instant,
        a_rwnd: Option<u32>,
        paths: &mut Paths,
        answered: &mut impl FnMut(&mut Paths, PathId),
    ) {
        if let Some(a_rwnd) = a_rwnd {
            self.window.a_rwnd = a_rwnd as usize;
        }
        let tail = self.outstanding.tail();
        let closed = self.outstanding.payload(tail).is_some_and(|len| len > self.window.a_rwnd);
        let before = std::mem::replace(&mut self.window.closed, closed);
        if a_rwnd.is_none() && self.is_probe_late(now, paths) {
            return;
        }
        if let Some(Probe { number, order }) = self.window.probe.out.take() {
            if self.outstanding.sending(number, order).is_none() {
                self.window.probe.refused = 0;
                return;
            }
            // Refused, or overtaken by the news that there is room: it goes again, as a probe or at once.
            self.window.probe.refused = self.window.probe.refused.saturating_add(1);
            self.take_back(number, paths, answered);
        } else if closed && !before {
            let numbers = tail..self.outstanding.next_number();
            self.window.doubt = Doubt { numbers, sent_until: self.outstanding.transmissions() };
        } else if before && !closed {
            self.take_doubtful_back(now, paths);
        }
    }

    /// A probe was answered by an acknowledgement without it: it leaves flight.
    fn take_back(
        &mut self,
        number: u64,
        paths: &mut Paths,
        answered: &mut impl FnMut(&mut Paths, PathId),
    ) {
        let Some(id) = self.outstanding.in_flight_at(number).map(|sent| sent.path) else { return };
        self.outstanding.lose(number, paths);
        if let Some(path) = paths.path_mut(id).filter(|path| path.congestion.flight() == 0) {
            path.t3.stop();
        }
        // RFC 9260, 6.1 (A): it is no error; an answer forgets those before it.
        answered(paths, id);
    }

    /// The window opened: what was refused while it was closed goes again. It had a round trip to be acknowledged in.
    fn take_doubtful_back(&mut self, now: Instant, paths: &mut Paths) {
        let first = self.outstanding.first_number();
        let numbers = self.window.doubt.numbers.clone();
        for number in numbers.start.max(first)..numbers.end {
            let Some(sent) = self.outstanding.in_flight_at(number) else { continue };
            let rtt = paths.path(sent.path).map_or(Duration::ZERO, Path::round_trip);
            let doubtful = self.window.may_have_refused(number, sent.last.order);
            if doubtful && now >= sent.last.sent_at + rtt {
                self.outstanding.lose(number, paths);
            }
        }
    }
}

/// More than RTO.Max is never waited for.
const MOST_DOUBLINGS: u32 = 16;
