//! The congestion control of one path (RFC 9260, section 7.2), with the growth of CUBIC where that is chosen.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::CongestionControl;

mod cubic;

pub(crate) use cubic::Arrived;
use cubic::Cubic;

/// cwnd, ssthresh, partial_bytes_acked and what is in flight; all in bytes of DATA chunks with header and padding.
#[derive(Debug, Clone)]
pub(crate) struct Congestion {
    cwnd: usize,
    ssthresh: usize,
    partial_bytes_acked: usize,
    flight: usize,
    /// The path's greatest DATA chunk (PMDCS).
    pmdcs: usize,
    /// After T3-rtx no more than one packet is in flight until something is acknowledged.
    after_timeout: bool,
    /// Of all transmissions of chunks, the last one before or with which what was in flight here used cwnd fully.
    filled_by: u64,
    /// When idleness was last looked at, for the decay of an unused window.
    used_at: Option<Instant>,
    /// The window decayed and has not grown since: ssthresh is what it was before.
    decayed: bool,
    cubic: Option<Cubic>,
}

impl Congestion {
    pub(crate) fn new(pmdcs: usize, peer: IpAddr, control: CongestionControl) -> Self {
        Self {
            cwnd: initial_window(pmdcs, peer),
            // RFC 9260, 7.2.1: arbitrarily high.
            ssthresh: usize::MAX / 2,
            partial_bytes_acked: 0,
            flight: 0,
            pmdcs,
            after_timeout: false,
            filled_by: 0,
            used_at: None,
            decayed: false,
            cubic: cubic_if(control),
        }
    }

    /// The same for a path whose past does not count any more.
    pub(crate) fn anew(&self, peer: IpAddr) -> Self {
        Self::new(self.pmdcs, peer, self.control())
    }

    /// The window grows and shrinks in another way from now on, beginning with what it is.
    pub(crate) fn set_control(&mut self, control: CongestionControl) {
        if control != self.control() {
            self.partial_bytes_acked = 0;
            self.cubic = cubic_if(control);
        }
    }

    fn control(&self) -> CongestionControl {
        match self.cubic {
            Some(_) => CongestionControl::Cubic,
            None => CongestionControl::Rfc9260,
        }
    }

    /// The path's greatest DATA chunk has changed with its MTU.
    ///
    /// RFC 9260, 7.2.1: until data is transmitted, cwnd is the initial window of what PMDCS is by then, so it falls with that. It
    /// does not rise with it: what the discovery finds MUST NOT increase the window (RFC 8899, 3, 7).
    pub(crate) fn set_pmdcs(&mut self, pmdcs: usize, peer: IpAddr) {
        self.pmdcs = pmdcs;
        if self.used_at.is_none() {
            self.cwnd = self.cwnd.min(initial_window(pmdcs, peer));
        }
    }

    /// That is not a change: the path starts with it, as with the MTU of a link that the system tells of.
    pub(crate) fn start_with(&mut self, pmdcs: usize, peer: IpAddr) {
        self.set_pmdcs(pmdcs, peer);
        if self.used_at.is_none() {
            self.cwnd = initial_window(pmdcs, peer);
        }
    }

    pub(crate) fn pmdcs(&self) -> usize {
        self.pmdcs
    }

    pub(crate) fn cwnd(&self) -> usize {
        self.cwnd
    }

    pub(crate) fn ssthresh(&self) -> usize {
        self.ssthresh
    }

    pub(crate) fn flight(&self) -> usize {
        self.flight
    }

    /// Whether one more packet may be sent.
    ///
    /// RFC 9260, 6.1 (B): the packet that makes flight reach cwnd may exceed it by up to PMDCS - 1 bytes.
    pub(crate) fn has_room(&self) -> bool {
        if self.after_timeout { self.flight == 0 } else { self.flight < self.cwnd }
    }

    /// What is in flight uses cwnd fully; so many transmissions of chunks there were until now, on all paths.
    pub(crate) fn note_fully_used(&mut self, transmissions: u64) {
        self.filled_by = transmissions;
    }

    /// A packet with DATA left.
    pub(crate) fn on_sent(&mut self, now: Instant) {
        self.used_at = Some(now);
    }

    /// A chunk is in flight: it was sent, or a Gap Ack Block had covered it and no longer does.
    pub(crate) fn on_entered_flight(&mut self, bytes: usize) {
        self.flight += bytes;
    }

    /// A chunk is no longer in flight: acknowledged, or marked for retransmission.
    pub(crate) fn on_left_flight(&mut self, bytes: usize) {
        self.flight = self.flight.saturating_sub(bytes);
    }

    /// A SACK newly acknowledged something of what was sent here.
    ///
    /// Whether the window was used fully is a question of when what is acknowledged was in flight (RFC 9260, 7.2.1): the
    /// last window of a burst counts, too, though nothing follows it, and so do several SACKs that are read in one go.
    pub(crate) fn on_acked(&mut self, acked: Arrived, in_fast_recovery: bool) {
        let (bytes, before) = (acked.bytes, self.cwnd);
        self.after_timeout = false;
        if self.cwnd <= self.ssthresh {
            // RFC 9260, 7.2.1: at most one PMDCS for each SACK (L = 1), not in Fast Recovery.
            if self.was_fully_used(&acked) && !in_fast_recovery {
                self.cwnd += bytes.min(self.pmdcs);
            }
        } else {
            self.avoid_congestion(acked);
        }
        if self.flight == 0 {
            self.partial_bytes_acked = 0;
        }
        self.decayed &= self.cwnd == before;
    }

    fn was_fully_used(&self, acked: &Arrived) -> bool {
        acked.oldest <= self.filled_by
    }

    /// RFC 9260, 7.2.2.
    fn avoid_congestion(&mut self, acked: Arrived) {
        let fully_used = self.was_fully_used(&acked);
        if let Some(cubic) = &mut self.cubic {
            if fully_used {
                self.cwnd += cubic.growth(acked, self.cwnd, self.pmdcs);
            } else {
                cubic.pause();
            }
            return;
        }
        self.partial_bytes_acked += acked.bytes;
        if self.partial_bytes_acked < self.cwnd {
            return;
        }
        if fully_used {
            self.partial_bytes_acked -= self.cwnd;
            self.cwnd += self.pmdcs;
        } else {
            self.partial_bytes_acked = self.cwnd;
        }
    }

    /// RFC 9260, 7.2.3: loss seen by SACKs.
    pub(crate) fn on_fast_retransmit(&mut self) {
        let reduced = match &mut self.cubic {
            Some(cubic) => cubic.on_loss(self.cwnd),
            None => self.cwnd / 2,
        };
        self.ssthresh = reduced.max(4 * self.pmdcs);
        self.cwnd = self.ssthresh;
        self.partial_bytes_acked = 0;
    }

    /// RFC 9260, 7.2.3 and 6.3.3 (E1): T3-rtx expired.
    pub(crate) fn on_timeout(&mut self) {
        let reduced = match &mut self.cubic {
            Some(cubic) => cubic.on_timeout(self.cwnd),
            None => self.cwnd / 2,
        };
        self.ssthresh = reduced.max(4 * self.pmdcs);
        self.cwnd = self.pmdcs;
        self.partial_bytes_acked = 0;
        self.after_timeout = true;
    }

    /// RFC 9260, 7.2.1: a window that was not used decays once per RTO.
    pub(crate) fn decay(&mut self, now: Instant, rto: Duration) {
        let Some(used_at) = self.used_at else { return };
        if self.flight > 0 || rto.is_zero() {
            return;
        }
        let idle = now.saturating_duration_since(used_at);
        if idle < rto {
            return;
        }
        // Sixteen halvings bring any window to its floor.
        let halvings = (idle.as_nanos() / rto.as_nanos()).min(16);
        self.used_at = Some(now);
        let floor = 4 * self.pmdcs;
        if self.cwnd > floor && !std::mem::replace(&mut self.decayed, true) {
            self.ssthresh = self.cwnd;
        }
        for _ in 0..halvings {
            self.cwnd = if self.cwnd > floor { (self.cwnd / 2).max(floor) } else { self.cwnd };
        }
    }
}

/// RFC 9260, 7.2.1.
fn initial_window(pmdcs: usize, peer: IpAddr) -> usize {
    let floor = if peer.is_ipv4() { 4404 } else { 4344 };
    (4 * pmdcs).min(floor.max(2 * pmdcs))
}

fn cubic_if(control: CongestionControl) -> Option<Cubic> {
    (control == CongestionControl::Cubic).then(Cubic::default)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PMDCS: usize = 1468;

    fn congestion() -> Congestion {
        Congestion::new(PMDCS, IpAddr::V4(Ipv4Addr::LOCALHOST), CongestionControl::Rfc9260)
    }

    fn send(congestion: &mut Congestion, now: Instant, bytes: usize) {
        congestion.on_entered_flight(bytes);
        congestion.on_sent(now);
    }

    fn acked(bytes: usize) -> Arrived {
        Arrived { now: base(), rtt: Duration::from_millis(10), bytes, oldest: 1 }
    }

    #[test]
    fn the_initial_window_is_4404_bytes_at_the_usual_mtu() {
        assert_eq!(congestion().cwnd(), 4404);
        assert_eq!(
            Congestion::new(500, IpAddr::V4(Ipv4Addr::LOCALHOST), CongestionControl::Rfc9260)
                .cwnd(),
            2000
        );
        assert_eq!(
            Congestion::new(9000, IpAddr::V4(Ipv4Addr::LOCALHOST), CongestionControl::Rfc9260)
                .cwnd(),
            18_000
        );
    }

    #[test]
    fn the_window_is_the_initial_one_of_the_mtu_with_which_the_first_data_is_sent_and_never_grows_with_it()
     {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut c = congestion();
        c.set_pmdcs(500, peer);
        assert_eq!(c.cwnd(), 2000);
        c.set_pmdcs(PMDCS, peer);
        assert_eq!(c.cwnd(), 2000, "RFC 8899, 3, 7");
        c.start_with(9000, peer);
        assert_eq!(c.cwnd(), 18_000);
        c.set_pmdcs(500, peer);
        send(&mut c, base(), 100);
        c.set_pmdcs(100, peer);
        c.start_with(9000, peer);
        assert_eq!(c.cwnd(), 2000, "it was in use");
    }

    #[test]
    fn slow_start_grows_by_at_most_one_chunk_for_each_sack_and_only_when_the_window_is_used() {
        let mut c = congestion();
        c.on_acked(acked(3 * PMDCS), false);
        assert_eq!(c.cwnd(), 4404, "the window was not fully used");
        c.note_fully_used(1);
        c.on_acked(acked(3 * PMDCS), false);
        assert_eq!(c.cwnd(), 4404 + PMDCS);
        c.on_acked(acked(100), false);
        assert_eq!(c.cwnd(), 4404 + PMDCS + 100);
        c.on_acked(acked(PMDCS), true);
        assert_eq!(c.cwnd(), 4404 + PMDCS + 100, "not in fast recovery");
    }

    #[test]
    fn an_expiry_of_t3_leaves_one_chunk_and_slow_start_up_to_half_of_the_window() {
        let mut c = congestion();
        c.cwnd = 20 * PMDCS;
        c.on_timeout();
        assert_eq!((c.cwnd(), c.ssthresh), (PMDCS, 10 * PMDCS));
        c.on_timeout();
        assert_eq!((c.cwnd(), c.ssthresh), (PMDCS, 4 * PMDCS));
    }

    #[test]
    fn slow_start_takes_a_window_that_was_not_used_back_to_where_it_was() {
        const RTO: Duration = Duration::from_secs(1);
        let idle = |c: &mut Congestion| {
            c.used_at = Some(base());
            c.decay(base() + RTO, RTO);
            (c.cwnd / PMDCS, c.ssthresh / PMDCS)
        };
        let mut c = congestion();
        (c.cwnd, c.ssthresh) = (4 * PMDCS, 50 * PMDCS);
        assert_eq!(idle(&mut c), (4, 50), "it is not made smaller");
        c.cwnd = 20 * PMDCS;
        assert_eq!(idle(&mut c), (10, 20));
        c.on_acked(acked(PMDCS), false);
        assert_eq!(idle(&mut c), (5, 20), "what came between did not fill it");
        c.note_fully_used(1);
        c.on_acked(acked(PMDCS), false);
        assert_eq!(idle(&mut c), (4, 6), "it grew, and that is what it was");
    }

    #[test]
    fn congestion_avoidance_adds_one_chunk_for_each_window_acknowledged() {
        let mut c = congestion();
        c.note_fully_used(1);
        c.cwnd = 20 * PMDCS;
        c.on_fast_retransmit();
        assert_eq!(c.cwnd(), 10 * PMDCS);
        c.cwnd += 1;
        let before = c.cwnd();
        c.flight = PMDCS;
        for _ in 0..10 {
            c.on_acked(acked(PMDCS), false);
        }
        assert_eq!(c.cwnd(), before);
        c.on_acked(acked(PMDCS), false);
        assert_eq!(c.cwnd(), before + PMDCS);
    }

    /// In congestion avoidance, with a window of ten chunks and a byte, and with DATA in flight.
    fn avoiding() -> Congestion {
        let mut c = congestion();
        c.cwnd = 20 * PMDCS;
        c.on_fast_retransmit();
        c.cwnd += 1;
        c.on_entered_flight(PMDCS);
        c
    }

    #[test]
    fn what_was_acknowledged_beyond_a_window_counts_for_the_next() {
        let mut c = avoiding();
        c.note_fully_used(1);
        let before = c.cwnd();
        c.on_acked(acked(before + PMDCS), false);
        assert_eq!(c.cwnd(), before + PMDCS);
        c.on_acked(acked(before - 1), false);
        assert_eq!(c.cwnd(), before + PMDCS, "one byte of a window is missing");
        c.on_acked(acked(1), false);
        assert_eq!(c.cwnd(), before + 2 * PMDCS);
    }

    #[test]
    fn while_the_window_is_not_used_no_more_than_one_window_counts_as_acknowledged() {
        let mut c = avoiding();
        let before = c.cwnd();
        for _ in 0..3 {
            c.on_acked(acked(before + 10), false);
        }
        assert_eq!(c.cwnd(), before, "it was not used");
        c.note_fully_used(1);
        c.on_acked(acked(1), false);
        assert_eq!(c.cwnd(), before + PMDCS, "a window and a byte were acknowledged");
        c.on_acked(acked(before + PMDCS - 2), false);
        assert_eq!(c.cwnd(), before + PMDCS, "and a byte of that is left");
        c.on_acked(acked(1), false);
        assert_eq!(c.cwnd(), before + 2 * PMDCS);
    }

    /// Whether what was acknowledged until now counts no more once `event` has happened.
    fn forgets(event: impl FnOnce(&mut Congestion)) -> bool {
        let mut c = avoiding();
        c.note_fully_used(1);
        c.on_acked(acked(c.cwnd() - 1), false);
        event(&mut c);
        c.cwnd = 10 * PMDCS + 1;
        c.ssthresh = 10 * PMDCS;
        c.flight = PMDCS;
        let before = c.cwnd();
        c.on_acked(acked(before - 1), false);
        c.cwnd() == before
    }

    #[test]
    fn congestion_avoidance_counts_anew_after_a_loss_a_time_out_another_control_and_when_all_is_acknowledged()
     {
        assert!(!forgets(|_| {}));
        assert!(forgets(Congestion::on_fast_retransmit));
        assert!(forgets(Congestion::on_timeout));
        assert!(forgets(|c| {
            c.set_control(CongestionControl::Cubic);
            c.set_control(CongestionControl::Rfc9260);
        }));
        assert!(!forgets(|c| c.set_control(CongestionControl::Rfc9260)));
        assert!(forgets(|c| {
            c.on_left_flight(PMDCS);
            c.on_acked(acked(0), false);
        }));
    }

    #[test]
    fn the_curve_begins_anew_after_a_time_in_which_the_window_was_not_used() {
        let mut c = avoiding();
        c.set_control(CongestionControl::Cubic);
        c.note_fully_used(1);
        let acked_at = |at, oldest| Arrived { now: base() + at, oldest, ..acked(PMDCS) };
        c.on_acked(acked_at(Duration::ZERO, 1), false);
        c.on_acked(acked_at(Duration::from_secs(59), 2), false);
        let before = c.cwnd();
        c.on_acked(acked_at(Duration::from_secs(60), 1), false);
        // A minute of the curve would let it grow by all that was acknowledged.
        assert!(c.cwnd() < before + PMDCS / 2, "{} after {before}", c.cwnd());
    }

    #[test]
    fn another_control_begins_with_the_window_it_finds() {
        let mut c = congestion();
        c.note_fully_used(1);
        c.cwnd = 40 * PMDCS;
        c.on_fast_retransmit();
        c.cwnd += 1;
        let found = c.cwnd();
        c.set_control(CongestionControl::Cubic);
        assert_eq!((c.cwnd(), c.ssthresh()), (found, found - 1));
        c.on_acked(acked(PMDCS), false);
        assert!(c.cwnd() > found && c.cwnd() < found + PMDCS, "it begins to grow along the curve");
        let grown = c.cwnd();
        c.on_fast_retransmit();
        let left = c.cwnd();
        assert!(left.abs_diff(grown * 7 / 10) <= 1, "a loss leaves 0.7 of {grown}: {left}");
        c.set_control(CongestionControl::Rfc9260);
        assert_eq!(c.cwnd(), left);
        c.on_fast_retransmit();
        assert_eq!(c.cwnd(), left / 2, "and now the half");
    }

    #[test]
    fn after_a_timeout_one_packet_is_in_flight_until_an_acknowledgement() {
        let mut c = congestion();
        c.on_timeout();
        assert_eq!(c.cwnd(), PMDCS);
        assert!(c.has_room());
        send(&mut c, base(), 100);
        assert!(!c.has_room(), "although cwnd is not reached");
        c.on_left_flight(100);
        c.on_acked(acked(100), false);
        send(&mut c, base(), 100);
        assert!(c.has_room());
    }

    #[test]
    fn an_unused_window_is_halved_once_per_rto_down_to_four_chunks() {
        let mut c = congestion();
        let now = base();
        let rto = Duration::from_secs(1);
        c.cwnd = 20 * PMDCS;
        send(&mut c, now, 10);
        c.on_left_flight(10);
        c.decay(now + rto, rto);
        assert_eq!(c.cwnd(), 10 * PMDCS);
        assert_eq!(c.ssthresh(), 20 * PMDCS);
        send(&mut c, now + rto, 10);
        c.on_left_flight(10);
        c.decay(now + rto * 2, rto);
        assert_eq!((c.cwnd(), c.ssthresh()), (5 * PMDCS, 20 * PMDCS), "as before the first");
        c.decay(now + rto * 100, rto);
        assert_eq!(c.cwnd(), 4 * PMDCS);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary starting point; nothing waits for it"
    )]
    fn base() -> Instant {
        Instant::now()
    }
}
