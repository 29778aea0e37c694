//! A deadline that its owner starts, stops and asks about.

use std::time::{Duration, Instant};

/// A timer that fires once; running while it has a deadline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timer(Option<Instant>);

impl Timer {
    /// One that runs for longer than the clock can count never fires.
    pub(crate) fn started(now: Instant, after: Duration) -> Self {
        Self(now.checked_add(after))
    }

    pub(crate) fn start(&mut self, now: Instant, after: Duration) {
        *self = Self::started(now, after);
    }

    pub(crate) fn stop(&mut self) {
        self.0 = None;
    }

    pub(crate) fn is_running(self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        self.0
    }

    /// Whether the deadline has come; if so the timer is stopped.
    pub(crate) fn take_expired(&mut self, now: Instant) -> bool {
        let expired = self.0.is_some_and(|deadline| deadline <= now);
        if expired {
            self.stop();
        }
        expired
    }
}

/// The earliest of several deadlines.
#[inline]
pub(crate) fn earliest(deadlines: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    let sooner = |one: Option<Instant>, other: Option<Instant>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    deadlines.into_iter().fold(None, sooner)
}
