//! The growth of the congestion window after a loss as CUBIC has it (RFC 9438).

use std::time::{Duration, Instant};

/// The curve that cwnd follows in congestion avoidance; in bytes and seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Cubic {
    /// cwnd before the last reduction (cwnd_prior).
    prior: f64,
    /// The same, or less by fast convergence (W_max); after a time-out what congestion avoidance begins with.
    w_max: Option<f64>,
    epoch: Option<Epoch>,
    /// Growth that makes no whole byte yet.
    fraction: f64,
}

/// Congestion avoidance since a loss or a pause.
#[derive(Debug, Clone, Copy)]
struct Epoch {
    began: Instant,
    /// The window at which the curve is flat, and how long after the beginning that is.
    plateau: f64,
    k: f64,
    /// The window that AIMD would have (W_est).
    w_est: f64,
}

/// An acknowledgement: when it came, the round trip, the bytes of DATA chunks that it is for, and the earliest transmission
/// among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) now: Instant,
    pub(crate) rtt: Duration,
    pub(crate) bytes: usize,
    pub(crate) oldest: u64,
}

impl Cubic {
    /// A loss: what is left of `cwnd` bytes.
    pub(super) fn on_loss(&mut self, cwnd: usize) -> usize {
        let cwnd = cwnd as f64;
        // RFC 9438, 4.7: fast convergence.
        let falls = self.w_max.is_some_and(|w_max| cwnd < w_max);
        self.w_max = Some(if falls { cwnd * (1.0 + BETA) / 2.0 } else { cwnd });
        self.reduced(cwnd)
    }

    /// T3-rtx expired: what ssthresh is to be after `cwnd` bytes. RFC 9438, 4.8: the congestion avoidance that follows slow
    /// start knows of no greater window than what it begins with, and K is 0.
    pub(super) fn on_timeout(&mut self, cwnd: usize) -> usize {
        self.w_max = None;
        self.reduced(cwnd as f64)
    }

    /// RFC 9438, 4.6
    fn reduced(&mut self, cwnd: f64) -> usize {
        self.prior = cwnd;
        self.pause();
        (cwnd * BETA) as usize
    }

    /// The window is not what holds DATA back: that time does not count (RFC 9438, 5.8).
    pub(super) fn pause(&mut self) {
        self.epoch = None;
        self.fraction = 0.0;
    }

    /// By how much `cwnd` grows. Never by more than was acknowledged.
    pub(super) fn growth(&mut self, acked: Arrived, cwnd: usize, pmdcs: usize) -> usize {
        let (cwnd, bytes, segment) = (cwnd as f64, acked.bytes as f64, pmdcs as f64);
        let w_max = *self.w_max.get_or_insert(cwnd);
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            began: acked.now,
            plateau: w_max.max(cwnd),
            // RFC 9438, 4.2
            k: ((w_max - cwnd).max(0.0) / segment / C).cbrt(),
            w_est: cwnd,
        });
        let ahead = acked.now.saturating_duration_since(epoch.began) + acked.rtt;
        let curve = C * (ahead.as_secs_f64() - epoch.k).powi(3) * segment + epoch.plateau;
        // RFC 9438, 4.3: no less than AIMD with the same average.
        let alpha = if epoch.w_est >= self.prior { 1.0 } else { 3.0 * (1.0 - BETA) / (1.0 + BETA) };
        epoch.w_est += alpha * bytes / cwnd * segment;
        // RFC 9438, 4.2: at most half as much again in a round trip.
        let by_curve = (curve.clamp(cwnd, cwnd * 1.5) - cwnd) * bytes / cwnd;
        let grown = self.fraction + by_curve.max(epoch.w_est - cwnd);
        let whole = grown.floor().clamp(0.0, bytes);
        self.fraction = (grown - whole).clamp(0.0, 1.0);
        whole as usize
    }
}

/// RFC 9438, 4.1 and 4.6
const C: f64 = 0.4;
const BETA: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: usize = 1_468;

    #[test]
    fn only_a_loss_below_the_old_maximum_leaves_room_to_others() {
        let mut cubic = Cubic::default();
        // RFC 9438, 4.7: W_max is (1 + beta) / 2 of cwnd then, and cwnd where it has come that far again.
        for (cwnd, left, w_max) in [
            (100_000, 70_000, 100_000.0),
            (100_000, 70_000, 100_000.0),
            (80_000, 56_000, 68_000.0),
            (70_000, 49_000, 70_000.0),
        ] {
            assert_eq!(cubic.on_loss(cwnd), left);
            assert!((cubic.w_max.unwrap() - w_max).abs() < 0.01, "{cwnd}: {:?}", cubic.w_max);
        }
    }

    #[test]
    fn aimd_grows_by_a_segment_for_each_window_once_it_is_back_where_the_loss_was() {
        let cwnd = 10 * SEGMENT;
        let step = |prior: usize| {
            let mut cubic = Cubic { prior: prior as f64, ..Cubic::default() };
            let acked =
                Arrived { now: base(), rtt: Duration::from_millis(1), bytes: cwnd, oldest: 1 };
            cubic.growth(acked, cwnd, SEGMENT);
            (cubic.epoch.unwrap().w_est - cwnd as f64) / SEGMENT as f64
        };
        // RFC 9438, 4.3: alpha is 3 (1 - beta) / (1 + beta) until W_est reaches cwnd_prior.
        assert!((step(cwnd) - 1.0).abs() < 0.001);
        assert!((step(cwnd + 1) - 0.9 / 1.7).abs() < 0.001);
    }

    /// The window after each second of acknowledgements, a tenth of it at a time.
    fn run(cubic: &mut Cubic, mut cwnd: usize, seconds: usize) -> Vec<usize> {
        let mut now = base();
        let rtt = Duration::from_millis(100);
        let mut after = Vec::new();
        for tick in 1..=seconds * 100 {
            now += Duration::from_millis(10);
            cwnd += cubic.growth(Arrived { now, rtt, bytes: cwnd / 10, oldest: 1 }, cwnd, SEGMENT);
            if tick % 100 == 0 {
                after.push(cwnd);
            }
        }
        after
    }

    #[test]
    fn the_window_is_back_after_the_time_k_slowly_around_it_and_fast_beyond() {
        let mut cubic = Cubic::default();
        let full = 1_000 * SEGMENT;
        let left = cubic.on_loss(full);
        assert!(left.abs_diff(700 * SEGMENT) <= 1, "{left}");
        // K = cbrt(300 / 0.4) = 9.1 s.
        let windows = run(&mut cubic, left, 20);
        assert!(windows[4] > full * 9 / 10 && windows[4] < full);
        assert!(windows[8].abs_diff(full) < full / 100, "{windows:?}");
        let gains: Vec<_> = windows.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gains[7] < gains[0] / 10 && gains[18] > 10 * gains[7], "{gains:?}");
    }

    #[test]
    fn a_small_window_grows_like_aimd_with_the_same_average() {
        let mut cubic = Cubic::default();
        let left = cubic.on_loss(10 * SEGMENT);
        let windows = run(&mut cubic, left, 1);
        // Ten round trips by 0.53 chunks each, until the old window is reached.
        assert!(windows[0] > 10 * SEGMENT && windows[0] < 15 * SEGMENT, "{windows:?}");
    }

    #[test]
    fn a_second_loss_below_the_old_maximum_gives_room_to_others() {
        let mut cubic = Cubic::default();
        cubic.on_loss(100_000);
        cubic.on_loss(80_000);
        assert!(cubic.w_max.unwrap() < 80_000.0 * 0.86);
    }

    #[test]
    fn after_a_time_out_the_old_maximum_is_forgotten_and_the_curve_begins_flat() {
        let mut cubic = Cubic::default();
        let full = 1_000 * SEGMENT;
        cubic.on_loss(full);
        // Slow start leads to ssthresh, where congestion avoidance begins.
        let ssthresh = cubic.on_timeout(full);
        assert!(ssthresh.abs_diff(700 * SEGMENT) <= 1, "{ssthresh}");
        let windows = run(&mut cubic, ssthresh, 8);
        let gains: Vec<_> = windows.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gains.is_sorted(), "ever faster: {gains:?}");
        // 0.4 t^3 chunks after t seconds, and AIMD's 0.53 in each of 80 round trips at most.
        let grown = (windows[7] - ssthresh) / SEGMENT;
        assert!((180..260).contains(&grown), "{grown}");
        assert!(cubic.w_max.unwrap() <= ssthresh as f64, "W_max is where it began");
    }

    #[expect(clippy::disallowed_methods, reason = "an arbitrary starting point")]
    fn base() -> Instant {
        Instant::now()
    }
}
