//! How often strangers are answered, and sent to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A bucket of permissions that fills at a fixed rate: an endpoint's answers to packets that belong to no
/// association, and a stack's to packets for ports that nobody has, are limited by one each.
#[derive(Debug, Clone)]
pub struct RateLimit {
    per_second: u32,
    tokens: u32,
    filled: Instant,
}

impl RateLimit {
    /// So many a second (1 to 1,000,000; what is outside is taken to the nearer end), and as many at once
    /// after a pause.
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = per_second.clamp(1, 1_000_000);
        Self { per_second, tokens: per_second, filled: now }
    }

    /// Whether one more is permitted now.
    pub fn take(&mut self, now: Instant) -> bool {
        let second = Duration::from_secs(1);
        let interval = second / self.per_second;
        let elapsed = now.saturating_duration_since(self.filled);
        if elapsed >= second {
            *self = Self::new(self.per_second, now);
        } else {
            // Less than a second has passed: fewer intervals than fit a second.
            let fresh = (elapsed.as_nanos() / interval.as_nanos()) as u32;
            self.tokens = (self.tokens + fresh).min(self.per_second);
            self.filled += interval * fresh;
        }
        let is_left = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        is_left
    }
}

/// The same as a [`RateLimit`] for many that share it: those who come too early have to come again.
#[derive(Debug)]
pub(crate) struct Pace {
    epoch: Instant,
    interval: u64,
    /// When the next one would have its turn if all were spread evenly, in nanoseconds since the epoch.
    next: AtomicU64,
}

impl Pace {
    /// So many a second, and as many at once after a pause.
    pub(crate) fn new(per_second: u32, epoch: Instant) -> Self {
        let interval = SECOND / u64::from(per_second.max(1));
        Self { epoch, interval, next: AtomicU64::new(0) }
    }

    /// Whether one more is permitted now.
    pub(crate) fn take(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        let now = u64::try_from(elapsed).unwrap_or(u64::MAX - SECOND);
        // Associations of an endpoint take turns, so that nothing comes between.
        let next = self.next.load(Ordering::Relaxed).max(now);
        let permitted = next < now + SECOND;
        if permitted {
            self.next.store(next + self.interval, Ordering::Relaxed);
        }
        permitted
    }
}

const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary starting point; nothing waits for it"
    )]
    fn answers_are_limited_to_the_rate_after_a_burst() {
        let rate = 200;
        let start = Instant::now();
        let mut limit = RateLimit::new(rate, start);
        let taken = |limit: &mut RateLimit, at| (0..10 * rate).filter(|_| limit.take(at)).count();
        assert_eq!(taken(&mut limit, start), 200);
        let half = start + Duration::from_millis(500);
        assert_eq!(taken(&mut limit, half), 100);
        assert_eq!(taken(&mut limit, half), 0);
        assert_eq!(taken(&mut limit, half + Duration::from_secs(60)), 200);
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary starting point; nothing waits for it"
    )]
    fn a_pace_that_is_shared_is_kept_as_a_rate_is() {
        let start = Instant::now();
        let pace = Pace::new(200, start);
        let taken = |at| (0..2000).filter(|_| pace.take(at)).count();
        assert_eq!(taken(start), 200);
        let half = start + Duration::from_millis(500);
        assert_eq!(taken(half), 100);
        assert_eq!(taken(half), 0);
        assert_eq!(taken(half + Duration::from_secs(60)), 200);
    }
}
