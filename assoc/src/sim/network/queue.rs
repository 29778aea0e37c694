//! What is under way in the network, ordered by time and then by the order it was queued in.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::Network;
use crate::sim::HostId;
use crate::sim::answers::Mark;
use crate::{Datagram, PathNotice};

pub(super) type Action = Box<dyn FnOnce(&mut Network) + Send>;

pub(super) enum Happening {
    /// With the host that sent it, and what it carries unseen.
    Arrive(HostId, Datagram, Mark),
    Notice(HostId, PathNotice),
    /// A host looks at what came for it.
    Wake(HostId),
    Act(Action),
}

#[derive(Default)]
pub(super) struct Queue {
    entries: BinaryHeap<Entry>,
    count: u64,
}

struct Entry {
    at: Instant,
    number: u64,
    happening: Happening,
}

impl Queue {
    pub(super) fn push(&mut self, at: Instant, happening: Happening) {
        self.count += 1;
        self.entries.push(Entry { at, number: self.count, happening });
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.entries.peek().map(|entry| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<Happening> {
        self.entries.pop().map(|entry| entry.happening)
    }
}

/// The earliest is the greatest, as the heap wants it; what was queued first happens first.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
