//! Max.Burst where nothing but the application lets packets out (RFC 9260, section 6.1, D).

use std::time::{Duration, Instant};

use super::Congestion;

/// What left a short while ago, and would be spread over time by now if it had left at the speed of the window.
///
/// RFC 9260 bounds by Max.Burst what leaves "when the time comes to transmit". A SACK is such a time, and so is a timer. An
/// application sends when it likes: were each message such a time, a loop that sends would let a whole window out at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Burst {
    /// Bytes that left in excess of what the window spreads over a round trip, at the time beside.
    bytes: usize,
    at: Option<Instant>,
}

impl Burst {
    /// Until when packets have to wait, if `most` bytes may leave at once; `None` if they need not.
    pub(crate) fn waits_until(
        &self,
        now: Instant,
        most: usize,
        congestion: &Congestion,
        round_trip: Duration,
    ) -> Option<Instant> {
        // It only becomes less with time.
        if self.bytes < most {
            return None;
        }
        let left = self.left(now, congestion, round_trip);
        if left < most {
            return None;
        }
        // Half of a burst goes at once then: a timer need not run for each packet.
        let share = (left - most / 2) as f64 / congestion.cwnd().max(1) as f64;
        Some(now + round_trip.mul_f64(share).max(LEAST_WAIT))
    }

    /// So many bytes left, and are counted as in flight.
    pub(crate) fn on_sent(
        &mut self,
        now: Instant,
        bytes: usize,
        congestion: &Congestion,
        round_trip: Duration,
    ) {
        // What left before them is acknowledged, all of it: they begin a burst.
        let begins = congestion.flight() <= bytes;
        let left = if begins { 0 } else { self.left(now, congestion, round_trip) };
        self.bytes = left + bytes;
        self.at = Some(now);
    }

    fn left(&self, now: Instant, congestion: &Congestion, round_trip: Duration) -> usize {
        let Some(at) = self.at.filter(|_| congestion.flight() > 0) else { return 0 };
        // Most packets leave together with the one before them.
        if at == now {
            return self.bytes;
        }
        let trips = now.saturating_duration_since(at).as_secs_f64()
            / round_trip.max(LEAST_ROUND_TRIP).as_secs_f64();
        self.bytes.saturating_sub((congestion.cwnd() as f64 * trips) as usize)
    }
}

/// Timers are no finer.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// A round trip takes some time, though it may be too short to be measured.
const LEAST_ROUND_TRIP: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config::CongestionControl;

    const PMDCS: usize = 1000;
    const MOST: usize = 4 * PMDCS;
    const RTT: Duration = Duration::from_millis(40);

    /// A path whose window is 4,000 bytes, and what left there.
    struct Bench {
        now: Instant,
        burst: Burst,
        congestion: Congestion,
    }

    impl Bench {
        fn new() -> Self {
            let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let congestion = Congestion::new(PMDCS, peer, CongestionControl::Rfc9260);
            Self { now: base(), burst: Burst::default(), congestion }
        }

        /// How many packets of so many bytes leave at once.
        fn leave(&mut self, bytes: usize) -> usize {
            let mut count = 0;
            while self.wait().is_none() {
                self.congestion.on_entered_flight(bytes);
                self.burst.on_sent(self.now, bytes, &self.congestion, RTT);
                count += 1;
            }
            count
        }

        fn wait(&self) -> Option<Duration> {
            let at = self.burst.waits_until(self.now, MOST, &self.congestion, RTT)?;
            Some(at - self.now)
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an arbitrary starting point")]
    fn base() -> Instant {
        Instant::now()
    }

    #[test]
    fn no_more_than_max_burst_leaves_at_once_and_more_at_the_speed_of_the_window() {
        let mut bench = Bench::new();
        assert_eq!(bench.leave(PMDCS), 4);
        // Half of the window takes half of a round trip.
        assert_eq!(bench.congestion.cwnd(), 4 * PMDCS);
        assert_eq!(bench.wait(), Some(RTT / 2));
        bench.now += RTT / 2;
        assert_eq!(bench.leave(PMDCS), 2);
        bench.now += RTT * 100;
        assert_eq!(bench.leave(PMDCS), 4, "no more for having waited longer");
    }

    #[test]
    fn small_packets_count_by_what_they_hold() {
        assert_eq!(Bench::new().leave(100), 40);
        assert_eq!(Bench::new().leave(700), 6, "the last of them goes beyond");
    }

    #[test]
    fn when_all_is_acknowledged_a_burst_begins_anew() {
        let mut bench = Bench::new();
        bench.leave(PMDCS);
        bench.congestion.on_left_flight(4 * PMDCS);
        assert_eq!(bench.leave(PMDCS), 4);
    }
}
