//! Packets that wait because their way is full, while those for other ways go on.

use std::time::{Duration, Instant};

use usctp_assoc::PathNotice;

use super::outgoing::Batch;
use crate::link::{Jam, Links};

/// Bytes of packets that are held because their way is full: about as many as the queue of a device takes.
const HELD: usize = 2 << 20;
/// After so long they are tried again: nobody tells when a device has room, or a socket that the other ones share it with.
const RETRY: Duration = Duration::from_millis(1);
/// For so long they are, if not one of them leaves.
const PATIENCE: Duration = Duration::from_millis(100);

/// Packets that found their way full, in the order in which they were made: they are tried again, and those for the same way
/// that come later wait behind them. Packets for other ways do not.
#[derive(Debug, Default)]
pub(crate) struct Held {
    batch: Batch,
    jam: Jam,
    /// When the last of them, or the first one, was sent or came here.
    moved: Option<Instant>,
    /// When they are tried again.
    due: Option<Instant>,
}

impl Held {
    /// Sends a batch, after what is held if that is due. When to try again what is left.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        links: &Links,
        batch: &mut Batch,
        notices: &mut Vec<PathNotice>,
    ) -> Option<Instant> {
        if self.due.is_some_and(|due| due <= now) {
            self.retry(now, links, notices);
        }
        links.send_some(&batch.bytes, &batch.transmits, &mut self.jam, notices);
        self.keep(now, links, batch);
        if self.batch.is_empty() {
            // All but always.
            self.jam.clear();
            self.due = None;
            return None;
        }
        Some(*self.due.get_or_insert(now + RETRY))
    }

    /// When they are tried again, if there are any.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn retry(&mut self, now: Instant, links: &Links, notices: &mut Vec<PathNotice>) {
        self.due = None;
        self.jam.clear();
        let mut batch = std::mem::take(&mut self.batch);
        let before = batch.transmits.len();
        links.send_some(&batch.bytes, &batch.transmits, &mut self.jam, notices);
        let moved = self.moved;
        self.keep(now, links, &mut batch);
        let is_stuck = self.batch.transmits.len() == before;
        self.moved = moved.filter(|_| is_stuck).or(Some(now));
        if is_stuck && moved.is_some_and(|moved| now.saturating_duration_since(moved) > PATIENCE) {
            // As a network would: what comes later is of more use.
            links.note_dropped(before);
            self.batch = Batch::default();
        }
    }

    /// Keeps what was left of a batch.
    fn keep(&mut self, now: Instant, links: &Links, batch: &mut Batch) {
        let mut left = self.jam.take_left().peekable();
        if left.peek().is_none() {
            return;
        }
        if self.batch.is_empty() {
            self.moved = Some(now);
        }
        links.note_dropped(batch.move_to(left, &mut self.batch, HELD));
    }
}
