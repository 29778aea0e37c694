//! What the chunks of the outstanding queue add up to: the one way by which a chunk enters and leaves flight and the list of
//! what is to be sent again.

use std::collections::BTreeSet;

use super::{Fate, Sent, window_cost};
use crate::path::{Path, Paths};

/// Kept up to date whenever a chunk changes its fate, so that no event has to count.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// What is in flight takes so many bytes of the peer's window.
    in_flight: usize,
    /// Numbers of the chunks marked for retransmission.
    lost: BTreeSet<u64>,
    /// One packet of the marked chunks up to this one may leave whatever cwnd says (RFC 9260, 7.2.4, 3).
    fast_until: Option<u64>,
}

impl Totals {
    /// Bytes of the peer's window.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn lost(&self) -> &BTreeSet<u64> {
        &self.lost
    }

    /// Whether the first chunk marked for retransmission may leave whatever cwnd says.
    pub(super) fn is_fast(&self) -> bool {
        self.fast_until.is_some()
    }

    /// One packet of the chunks that are marked for retransmission now may leave whatever cwnd says.
    pub(super) fn allow_fast(&mut self) {
        self.fast_until = self.lost.last().copied();
    }

    /// It left, or is not to leave any more.
    pub(super) fn end_fast(&mut self) {
        self.fast_until = None;
    }

    /// A chunk with so many bytes of payload, and so many with all that congestion control counts, is in flight on a path.
    #[inline]
    pub(super) fn enter_flight(
        &mut self,
        payload: usize,
        len: usize,
        number: u64,
        path: Option<&mut Path>,
    ) {
        self.in_flight += window_cost(payload);
        if let Some(path) = path {
            path.congestion.on_entered_flight(len);
            path.record.earliest = path.record.earliest.min(number);
        }
    }

    /// A chunk leaves the queue, or is about to have another fate. So many bytes leave flight on its path, which the caller
    /// has to tell it: once for all that leave together.
    #[inline]
    #[must_use = "they leave flight on the path"]
    pub(super) fn leave(&mut self, sent: &Sent, number: u64) -> usize {
        match sent.fate {
            Fate::InFlight => {
                self.in_flight -= window_cost(sent.data.payload.len());
                sent.len()
            }
            Fate::Lost => {
                self.unmark(number);
                0
            }
            Fate::Gapped => 0,
        }
    }

    /// A chunk has another fate from now on.
    #[inline]
    pub(super) fn turn(&mut self, sent: &mut Sent, number: u64, fate: Fate, paths: &mut Paths) {
        let left = self.leave(sent, number);
        sent.fate = fate;
        let mut path = paths.path_mut(sent.path);
        if let Some(path) = &mut path {
            path.congestion.on_left_flight(left);
        }
        match fate {
            Fate::InFlight => self.enter_flight(sent.data.payload.len(), sent.len(), number, path),
            Fate::Lost => _ = self.lost.insert(number),
            Fate::Gapped => {}
        }
    }

    /// A chunk is no longer marked for retransmission. Once all are acknowledged or sent of which one packet might leave, the
    /// permission is gone with them.
    #[cold]
    fn unmark(&mut self, number: u64) {
        self.lost.remove(&number);
        let first = self.lost.first();
        self.fast_until = self.fast_until.filter(|until| first.is_some_and(|first| first <= until));
    }
}
