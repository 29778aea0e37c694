//! How much memory peers may make endpoints hold: a budget for each endpoint, and one that several share.
//!
//! What counts is what a peer decides on: associations, their paths and streams, and what was received and not yet taken by
//! the application. What the application sends is its own affair: [`LimitOptions::send_buffer`](crate::LimitOptions).
//!
//! | spent | what follows |
//! |---|---|
//! | three quarters | nothing more is kept behind a gap: a chunk that is overtaken costs retransmissions |
//! | all | what lies behind gaps is thrown away, first of those that hold the most of it (RFC 9260, section 6.2, allows it, as nothing of it was acknowledged for good); then peers that want to open an association get an ABORT, *Out of Resource*; data in order is taken as long as an association holds less than 4 KiB, and its window says so |
//!
//! So nobody's association ends for what others do, and every one goes on as its application reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound for the memory that peers may make endpoints hold, in bytes, and how much they do.
///
/// It may be exceeded by 8 KiB for each association, and by what arrives between two drainings of an endpoint.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
    /// The one that this is a part of.
    whole: Option<Arc<Budget>>,
}

/// How much of a budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Pressure {
    #[default]
    None,
    /// Three quarters.
    Tight,
    /// All.
    Spent,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), whole: None })
    }

    /// A part of a budget: what is held counts in both, and each is a bound.
    pub fn within(whole: &Arc<Self>, limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), whole: Some(Arc::clone(whole)) })
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are held, to 2 KiB for each association.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn pressure(&self) -> Pressure {
        let held = self.held();
        let own = if held >= self.limit {
            Pressure::Spent
        } else if held >= self.limit / 4 * 3 {
            Pressure::Tight
        } else {
            Pressure::None
        };
        own.max(self.whole.as_ref().map_or(Pressure::None, |whole| whole.pressure()))
    }

    fn change(&self, from: usize, to: usize) {
        // No order is kept with anything else: whoever reads it a moment too early is as wrong as by what is not noted yet.
        if to >= from {
            self.held.fetch_add(to - from, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(from - to, Ordering::Relaxed);
        }
        if let Some(whole) = &self.whole {
            whole.change(from, to);
        }
    }
}

/// What one association holds of a budget; it is given back when the association is gone.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Arc<Budget>,
    held: usize,
    /// What of it the budget knows.
    noted: usize,
}

impl Account {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, held: 0, noted: 0 }
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.budget.pressure()
    }

    /// Notes how much is held now, unless that has changed by little: the budget is shared by threads.
    #[inline]
    pub(crate) fn note(&mut self, held: usize) {
        self.held = held;
        if held.abs_diff(self.noted) >= GRAIN {
            self.tell();
        }
    }

    #[cold]
    fn tell(&mut self) {
        self.budget.change(self.noted, self.held);
        self.noted = self.held;
    }

    /// Notes that so much is held no more.
    #[inline]
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.note(self.held.saturating_sub(bytes));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.change(self.noted, 0);
    }
}

/// Changes of less are not noted.
const GRAIN: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_in_the_part_and_in_the_whole_and_comes_back() {
        let whole = Budget::new(100_000);
        let parts = [Budget::within(&whole, 80_000), Budget::within(&whole, 80_000)];
        let mut accounts = parts.each_ref().map(|part| Account::new(Arc::clone(part)));
        accounts[0].note(60_000);
        assert_eq!((parts[0].held(), parts[1].held(), whole.held()), (60_000, 0, 60_000));
        assert_eq!(parts.each_ref().map(|part| part.pressure()), [Pressure::Tight, Pressure::None]);
        accounts[1].note(40_000);
        assert_eq!(parts.each_ref().map(|part| part.pressure()), [Pressure::Spent; 2]);
        accounts[0].note(59_000);
        assert_eq!(whole.held(), 100_000, "little is not noted");
        accounts[0].give_back(GRAIN - 1_000);
        assert_eq!(whole.held(), 100_000 - GRAIN, "what is noted at last is all of it");
        accounts[0].note(10_000);
        assert_eq!(whole.held(), 50_000);
        assert_eq!((whole.limit(), parts[0].limit()), (100_000, 80_000));
        drop(accounts);
        assert_eq!((parts[0].held(), whole.held()), (0, 0));
    }
}
