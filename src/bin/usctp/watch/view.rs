//! What the view shows: the latest of each path, and how fast bytes went over it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use usctp::{PathState, PathStatus};

use super::{Log, Snapshot};

/// All that is drawn.
#[derive(Debug)]
pub(super) struct View {
    pub(super) title: String,
    pub(super) rows: Vec<Row>,
    /// Payload bytes since the beginning.
    pub(super) bytes: u64,
    /// The latest lines of the log.
    pub(super) log: Vec<String>,
    /// The largest congestion window seen, in bytes: the length of a whole bar.
    pub(super) largest_cwnd: usize,
    started: Instant,
    sampled: Instant,
}

/// One path.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) address: IpAddr,
    pub(super) state: PathState,
    pub(super) primary: bool,
    pub(super) round_trip: Option<Duration>,
    pub(super) cwnd: usize,
    pub(super) flight: usize,
    /// Bits per second in each sample, the latest first.
    pub(super) rates: VecDeque<u64>,
    pub(super) bytes_sent: u64,
}

impl View {
    pub(super) fn new(title: String, started: Instant) -> Self {
        Self {
            title,
            rows: Vec::new(),
            bytes: 0,
            log: Vec::new(),
            largest_cwnd: 0,
            started,
            sampled: started,
        }
    }

    /// Takes a look.
    pub(super) fn sample(&mut self, now: Instant, snapshot: Snapshot, log: &Log) {
        let since = now.saturating_duration_since(self.sampled);
        self.sampled = now;
        self.bytes = snapshot.bytes;
        self.log = log.lock().iter().cloned().collect();
        if snapshot.paths.is_empty() {
            // The association is gone: what was last seen of it stands.
            return;
        }
        let mut before = std::mem::take(&mut self.rows);
        for path in snapshot.paths {
            let known = before.iter().position(|row| row.address == path.peer);
            let mut row = known.map_or_else(|| Row::new(&path), |at| before.swap_remove(at));
            row.update(&path, since);
            self.largest_cwnd = self.largest_cwnd.max(path.cwnd);
            self.rows.push(row);
        }
    }

    /// Since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.sampled.saturating_duration_since(self.started)
    }

    /// The highest rate that is shown: the height of a whole bar.
    pub(super) fn highest_rate(&self) -> u64 {
        self.rows.iter().flat_map(|row| &row.rates).copied().max().unwrap_or(0)
    }
}

impl Row {
    fn new(path: &PathStatus) -> Self {
        Self {
            address: path.peer,
            state: path.state,
            primary: path.primary,
            round_trip: path.srtt,
            cwnd: path.cwnd,
            flight: path.flight,
            rates: VecDeque::new(),
            bytes_sent: path.counts.bytes_sent,
        }
    }

    fn update(&mut self, path: &PathStatus, since: Duration) {
        // A peer that restarts has paths that begin anew.
        let bytes = path.counts.bytes_sent.saturating_sub(self.bytes_sent);
        let rate = bytes as f64 * 8.0 / since.as_secs_f64().max(0.001);
        let rates = std::mem::take(&mut self.rates);
        *self = Self { rates, ..Self::new(path) };
        self.rates.push_front(rate as u64);
        self.rates.truncate(SAMPLES);
    }

    /// Bits per second over the last second or so.
    pub(super) fn rate(&self) -> u64 {
        let latest = self.rates.iter().take(4);
        latest.sum::<u64>() / (self.rates.len().clamp(1, 4) as u64)
    }
}

/// How many samples are kept of each path: what the widest terminal shows.
const SAMPLES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn row(rates: &[u64]) -> Row {
        Row {
            address: IpAddr::from([192, 0, 2, 1]),
            state: PathState::Active,
            primary: true,
            round_trip: None,
            cwnd: 0,
            flight: 0,
            rates: rates.iter().copied().collect(),
            bytes_sent: 0,
        }
    }

    #[test]
    fn the_rate_shown_is_that_of_the_last_second() {
        assert_eq!(row(&[]).rate(), 0);
        assert_eq!(row(&[600]).rate(), 600);
        assert_eq!(row(&[400, 300, 200, 100, 1_000_000]).rate(), 250);
    }

    #[test]
    fn an_association_that_is_gone_stands_as_it_was_last_seen() {
        let now = Instant::now();
        let log = Log { started: now, lines: std::sync::Arc::default() };
        let mut view = View::new("a view".to_owned(), now);
        view.rows.push(row(&[700]));
        log.add("closed");
        view.sample(now + SECOND, Snapshot { paths: Vec::new(), bytes: 5 }, &log);
        assert_eq!((view.rows.len(), view.highest_rate(), view.bytes), (1, 700, 5));
        assert_eq!(view.elapsed(), SECOND);
        assert!(view.log.first().is_some_and(|line| line.ends_with("closed")), "{:?}", view.log);
    }
}
