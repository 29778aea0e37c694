//! How often strangers are answered.

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
}
