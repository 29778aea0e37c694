//! When the thread that leads has to look at which endpoint, and until when it sleeps.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::endpoints::Key;

/// The nearest deadline of each endpoint.
///
/// A deadline that moves away stays where it is: the thread that leads then looks once too often, which costs less than
/// telling it of every restart of a retransmission timer.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    order: BTreeSet<(Instant, Key)>,
    of: HashMap<Key, Instant>,
    sleep: Sleep,
}

/// What the thread that leads is doing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It will look at the schedule before it sleeps.
    #[default]
    Awake,
    /// It sleeps until then, or until it is woken.
    Until(Option<Instant>),
}

impl Schedule {
    /// Enters that an endpoint is to be looked at by `at`; says whether the thread that leads must be woken.
    #[must_use]
    pub(crate) fn enter(&mut self, key: Key, at: Instant) -> bool {
        match self.of.get(&key) {
            Some(&known) if known <= at => return false,
            Some(&known) => {
                self.order.remove(&(known, key));
            }
            None => {}
        }
        self.of.insert(key, at);
        self.order.insert((at, key));
        match self.sleep {
            Sleep::Awake => false,
            Sleep::Until(None) => true,
            Sleep::Until(Some(until)) => at < until,
        }
    }

    /// Takes out an endpoint whose deadline has come.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Key> {
        let &(at, key) = self.order.first()?;
        if at > now {
            return None;
        }
        self.order.pop_first();
        self.of.remove(&key);
        Some(key)
    }

    /// The nearest deadline of all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|&(at, _)| at)
    }

    /// The thread that leads goes to sleep; until when at the latest, besides `limit`.
    pub(crate) fn fall_asleep(&mut self, limit: Option<Instant>) -> Option<Instant> {
        let until = match (self.next(), limit) {
            (Some(next), Some(limit)) => Some(next.min(limit)),
            (next, limit) => next.or(limit),
        };
        self.sleep = Sleep::Until(until);
        until
    }

    /// The thread that leads is awake.
    pub(crate) fn wake_up(&mut self) {
        self.sleep = Sleep::Awake;
    }

    /// Forgets an endpoint.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(at) = self.of.remove(&key) {
            self.order.remove(&(at, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_sleeping_thread_is_woken_only_for_a_deadline_before_its_own() {
        let now = Instant::now();
        let later = |ms| now + Duration::from_millis(ms);
        let mut schedule = Schedule::default();
        assert!(!schedule.enter(Key(1), later(100)), "the thread is awake and will look");
        assert_eq!(schedule.fall_asleep(None), Some(later(100)));
        assert!(!schedule.enter(Key(2), later(200)));
        assert!(schedule.enter(Key(3), later(50)));
        schedule.wake_up();
        assert_eq!(schedule.due(later(49)), None);
        assert_eq!(schedule.due(later(150)), Some(Key(3)));
        assert_eq!(schedule.due(later(150)), Some(Key(1)));
        assert_eq!(schedule.due(later(150)), None);
    }

    #[test]
    fn a_deadline_that_moves_away_keeps_its_place_and_one_that_comes_nearer_moves() {
        let now = Instant::now();
        let later = |ms| now + Duration::from_millis(ms);
        let mut schedule = Schedule::default();
        assert!(!schedule.enter(Key(1), later(100)));
        assert!(!schedule.enter(Key(1), later(300)));
        assert_eq!(schedule.fall_asleep(None), Some(later(100)));
        assert!(schedule.enter(Key(1), later(10)));
        assert_eq!(schedule.due(later(10)), Some(Key(1)));
        assert_eq!(schedule.due(later(400)), None, "an endpoint stands in it once");
    }

    #[test]
    fn an_idle_thread_sleeps_until_the_limit_or_until_it_is_woken() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        assert_eq!(schedule.fall_asleep(None), None);
        assert!(schedule.enter(Key(1), now));
        schedule.remove(Key(1));
        assert_eq!(schedule.fall_asleep(Some(now)), Some(now));
    }
}
