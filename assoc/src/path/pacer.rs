//! Sending spread over the round trip instead of in bursts: pacing of one path.

use std::time::{Duration, Instant};

use super::Congestion;

/// When the next packet may leave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pacer {
    next: Option<Instant>,
}

impl Pacer {
    /// Until when packets have to wait; `None` if they need not.
    ///
    /// What would leave within [`QUANTUM`] leaves at once: timers are no finer.
    pub(crate) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| *next > now + QUANTUM)
    }

    /// So many bytes were sent: a window takes somewhat less than a round trip.
    pub(crate) fn on_sent(
        &mut self,
        now: Instant,
        bytes: usize,
        congestion: &Congestion,
        srtt: Option<Duration>,
    ) {
        let Some(srtt) = srtt else { return };
        // Twice as fast in slow start, where the window doubles; else a quarter, so that pacing does not keep cwnd small.
        let quarters = if congestion.cwnd() < congestion.ssthresh() { 8 } else { 5 };
        let share = 4.0 * bytes as f64 / (quarters * congestion.cwnd().max(1)) as f64;
        let begin = self.next.map_or(now, |next| next.max(now));
        self.next = Some(begin + srtt.mul_f64(share));
    }
}

const QUANTUM: Duration = Duration::from_millis(1);
