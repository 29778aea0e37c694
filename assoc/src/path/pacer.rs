//! Sending spread over the round trip instead of in bursts: pacing of one path.

use std::time::{Duration, Instant};

use super::Congestion;

/// When the next packet may leave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pacer {
    next: Option<Instant>,
    /// How long the last packet takes at this speed.
    interval: Duration,
}

impl Pacer {
    /// Until when packets have to wait; `None` if they need not.
    ///
    /// What would leave within [`QUANTUM`] leaves at once: timers are no finer. So does the second of two packets: a SACK
    /// comes for two (RFC 9260, 6.2), and a small window would take longer than a round trip if each pair were pulled apart.
    pub(crate) fn waits_until(&self, now: Instant) -> Option<Instant> {
        let next = self.next.filter(|next| *next > now + QUANTUM.max(self.interval))?;
        next.checked_sub(self.interval)
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
        self.interval = srtt.mul_f64(share);
        self.next = Some(begin + self.interval);
    }
}

const QUANTUM: Duration = Duration::from_millis(1);
