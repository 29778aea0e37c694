//! What the HEARTBEATs of each path came to, and the lines that tell it.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The HEARTBEATs of one path.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    address: IpAddr,
    /// Whether the address no longer belongs to the peer.
    gone: bool,
    /// When the next one is to be sent; `None` while one is on its way.
    due: Option<Instant>,
    /// When the latest one was sent.
    sent_at: Option<Instant>,
    /// Those whose outcome is known.
    sent: u64,
    received: u64,
    shortest: Duration,
    longest: Duration,
    sum: Duration,
}

/// One outcome, or all of a path; the fields are those of the JSON line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Line {
    Pong { address: IpAddr, seq: u64, rtt_ms: f64, state: &'static str },
    Lost { address: IpAddr, seq: u64, state: &'static str },
    PingSummary(Summary),
}

/// What came of all HEARTBEATs of a path.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    address: IpAddr,
    sent: u64,
    received: u64,
    min_ms: Option<f64>,
    mean_ms: Option<f64>,
    max_ms: Option<f64>,
    loss_percent: f64,
}

impl Tally {
    /// A path whose first HEARTBEAT is to be sent now.
    pub(super) fn new(address: IpAddr, now: Instant) -> Self {
        Self {
            address,
            gone: false,
            due: Some(now),
            sent_at: None,
            sent: 0,
            received: 0,
            shortest: Duration::MAX,
            longest: Duration::ZERO,
            sum: Duration::ZERO,
        }
    }

    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// When the next HEARTBEAT is to be sent, unless one is on its way or `count` have been sent.
    pub(super) fn next(&self, count: Option<u64>) -> Option<Instant> {
        self.due.filter(|_| !self.is_complete(count))
    }

    /// Whether the outcome of `count` is known, or no more can be.
    pub(super) fn is_complete(&self, count: Option<u64>) -> bool {
        self.gone || count.is_some_and(|count| self.sent >= count)
    }

    /// The address is the peer's, or no longer is.
    pub(super) fn set_gone(&mut self, gone: bool) {
        self.gone = gone;
    }

    /// What came of the one on its way will not be told; the next one may be sent now.
    pub(super) fn forget(&mut self, now: Instant) {
        self.due.get_or_insert(now);
    }

    /// Whether any was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.received > 0
    }

    /// One is on its way.
    pub(super) fn sent(&mut self, now: Instant) {
        self.due = None;
        self.sent_at = Some(now);
    }

    /// What came of it, as a line; the next one is due an interval after it was sent, or now if that is over.
    pub(super) fn result(
        &mut self,
        now: Instant,
        interval: Duration,
        round_trip: Option<Duration>,
        state: &'static str,
    ) -> Line {
        self.due = Some(self.sent_at.map_or(now, |sent_at| (sent_at + interval).max(now)));
        self.sent += 1;
        let (address, seq) = (self.address, self.sent);
        let Some(round_trip) = round_trip else { return Line::Lost { address, seq, state } };
        self.received += 1;
        self.shortest = self.shortest.min(round_trip);
        self.longest = self.longest.max(round_trip);
        self.sum += round_trip;
        Line::Pong { address, seq, rtt_ms: ms(round_trip), state }
    }

    /// All of it.
    pub(super) fn summary(&self) -> Line {
        let answered = |time: Duration| self.is_answered().then(|| ms(time));
        let mean = self.sum.as_secs_f64() * 1e3 / self.received.max(1) as f64;
        let lost = self.sent - self.received;
        Line::PingSummary(Summary {
            address: self.address,
            sent: self.sent,
            received: self.received,
            min_ms: answered(self.shortest),
            mean_ms: self.is_answered().then(|| (mean * 1e3).round() / 1e3),
            max_ms: answered(self.longest),
            loss_percent: lost as f64 * 100.0 / self.sent.max(1) as f64,
        })
    }
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pong { address, seq, rtt_ms, state } => {
                write!(f, "{address}: seq {seq}, {rtt_ms:.3} ms, {state}")
            }
            Self::Lost { address, seq, state } => write!(f, "{address}: seq {seq}, lost, {state}"),
            Self::PingSummary(summary) => summary.fmt(f),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, sent, received, loss_percent, .. } = self;
        write!(f, "{address}: {sent} sent, {received} answered, {loss_percent:.0} % lost")?;
        if let (Some(min), Some(mean), Some(max)) = (self.min_ms, self.mean_ms, self.max_ms) {
            write!(f, "; round trip min/mean/max {min:.3}/{mean:.3}/{max:.3} ms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn json(line: &Line) -> serde_json::Value {
        serde_json::to_value(line).unwrap()
    }

    fn tally(now: Instant) -> Tally {
        Tally::new(IpAddr::from([192, 0, 2, 1]), now)
    }

    #[test]
    fn answers_and_losses_are_summed_up() {
        let now = Instant::now();
        let mut tally = tally(now);
        let trip = Some(Duration::from_micros(1500));
        tally.sent(now);
        let pong = tally.result(now, SECOND, trip, "active");
        let expected = serde_json::json!({
            "event": "pong", "address": "192.0.2.1", "seq": 1, "rtt_ms": 1.5, "state": "active"
        });
        assert_eq!(json(&pong), expected);
        assert_eq!(pong.to_string(), "192.0.2.1: seq 1, 1.500 ms, active");
        tally.result(now, SECOND, Some(Duration::from_micros(2500)), "active");
        tally.result(now, SECOND, Some(Duration::from_micros(2000)), "active");
        let lost = tally.result(now, SECOND, None, "inactive");
        let expected = serde_json::json!({
            "event": "lost", "address": "192.0.2.1", "seq": 4, "state": "inactive"
        });
        assert_eq!(json(&lost), expected);
        let expected = serde_json::json!({
            "event": "ping_summary", "address": "192.0.2.1", "sent": 4, "received": 3,
            "min_ms": 1.5, "mean_ms": 2.0, "max_ms": 2.5, "loss_percent": 25.0
        });
        assert_eq!(json(&tally.summary()), expected);
        let text = "192.0.2.1: 4 sent, 3 answered, 25 % lost; round trip min/mean/max 1.500/2.000/2.500 ms";
        assert_eq!(tally.summary().to_string(), text);
    }

    #[test]
    fn without_an_answer_there_are_no_times() {
        let now = Instant::now();
        let mut tally = tally(now);
        assert_eq!(json(&tally.summary())["loss_percent"], 0.0);
        tally.result(now, SECOND, None, "inactive");
        let summary = json(&tally.summary());
        assert_eq!((&summary["min_ms"], &summary["loss_percent"]), (&().into(), &100.0.into()));
        assert_eq!(tally.summary().to_string(), "192.0.2.1: 1 sent, 0 answered, 100 % lost");
    }

    #[test]
    fn one_is_on_its_way_at_a_time_and_the_interval_runs_from_its_sending() {
        let now = Instant::now();
        let mut tally = tally(now);
        assert_eq!(tally.next(Some(2)), Some(now));
        tally.sent(now);
        assert_eq!(tally.next(Some(2)), None);
        tally.result(now + SECOND / 4, SECOND, Some(SECOND / 4), "active");
        assert_eq!(tally.next(Some(2)), Some(now + SECOND));
        tally.sent(now + SECOND);
        tally.result(now + SECOND * 3, SECOND, None, "active");
        assert_eq!((tally.next(None), tally.next(Some(2))), (Some(now + SECOND * 3), None));
        assert!(tally.is_complete(Some(2)) && !tally.is_complete(None));
    }
}
