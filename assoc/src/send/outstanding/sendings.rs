//! What loss detection by time asks of the outstanding queue: when and in which order chunks were sent.

use std::time::Instant;

use usctp_chunk::Tsn;

use super::{Fate, Outstanding, Sent, Transmission};
use crate::path::{PathId, Paths};

/// The last sending of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) path: PathId,
    pub(crate) number: u64,
    pub(crate) last: Transmission,
    /// A gap block covers it.
    pub(crate) delivered: bool,
}

impl Sent {
    pub(super) fn sending(&self, number: u64) -> Sending {
        let Self { path, order, sent_at, again, fate, .. } = *self;
        let last = Transmission { order, sent_at, again };
        Sending { path, number, last, delivered: fate == Fate::Gapped }
    }
}

impl Outstanding {
    /// The last sendings of all chunks that are not marked for retransmission, by time.
    pub(crate) fn sendings(&self) -> Vec<Sending> {
        let all = (self.first..).zip(&self.chunks).filter(|(_, sent)| sent.fate != Fate::Lost);
        let mut sendings: Vec<_> = all.map(|(number, sent)| sent.sending(number)).collect();
        sendings.sort_unstable_by_key(|sending| sending.last.order);
        sendings
    }

    /// How many transmissions of chunks there were: the order of the last one.
    pub(crate) fn transmissions(&self) -> u64 {
        self.transmissions
    }

    /// How many chunks gap blocks cover.
    pub(crate) fn gapped(&self) -> usize {
        self.gaps.chunks()
    }

    /// Whether gap blocks cover any.
    pub(crate) fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// A sending of a chunk, if it is the last one and still in flight.
    pub(crate) fn sending(&self, number: u64, order: u64) -> Option<Transmission> {
        let at = number.checked_sub(self.first)?;
        let sent = self.chunks.get(usize::try_from(at).ok()?)?;
        let current = sent.fate == Fate::InFlight && sent.order == order;
        current.then_some(Transmission { order, sent_at: sent.sent_at, again: sent.again })
    }

    /// The last sending of a chunk, if it is in flight.
    pub(crate) fn in_flight_at(&self, number: u64) -> Option<Sending> {
        let at = number.checked_sub(self.first)?;
        let sent = self.chunks.get(usize::try_from(at).ok()?)?;
        (sent.fate == Fate::InFlight).then(|| sent.sending(number))
    }

    /// What is in flight on a path.
    pub(crate) fn in_flight_on(&self, path: PathId) -> impl Iterator<Item = Sending> + '_ {
        let here = move |sent: &Sent| sent.fate == Fate::InFlight && sent.path == path;
        let all = (self.first..).zip(&self.chunks);
        all.filter(move |(_, sent)| here(sent)).map(|(number, sent)| sent.sending(number))
    }

    /// Whether a chunk that was sent is acknowledged, by a gap block at least.
    pub(crate) fn is_acked(&self, number: u64) -> bool {
        let Some(at) = number.checked_sub(self.first) else { return true };
        let sent = self.chunks.get(usize::try_from(at).unwrap_or(usize::MAX));
        sent.is_none_or(|sent| sent.fate == Fate::Gapped)
    }

    /// Marks a chunk in flight for retransmission where it went before.
    pub(crate) fn lose(&mut self, number: u64, paths: &mut Paths) {
        let at = self.offset(number);
        if let Some(path) = self.chunks.get(at).map(|sent| sent.path) {
            self.mark_lost(at, path, paths);
        }
    }

    /// Marks what is in flight on a path since `until` or longer for retransmission there. How many chunks that were, and when
    /// the earliest of those was sent that stay in flight there.
    pub(crate) fn lose_sent_until(
        &mut self,
        path: PathId,
        until: Instant,
        paths: &mut Paths,
    ) -> (usize, Option<Instant>) {
        let (mut lost, mut earliest) = (0, None::<Instant>);
        for at in 0..self.chunks.len() {
            let Some(sent) = self.chunks.get(at) else { break };
            if sent.fate != Fate::InFlight || sent.path != path {
                continue;
            }
            if sent.sent_at <= until {
                self.mark_lost(at, path, paths);
                lost += 1;
            } else {
                earliest = Some(earliest.map_or(sent.sent_at, |at| at.min(sent.sent_at)));
            }
        }
        (lost, earliest)
    }

    /// Marks the last chunk in flight on a path for retransmission, asking for an acknowledgement at once (the I bit).
    /// Which one it is.
    pub(crate) fn probe_with_last(
        &mut self,
        path: PathId,
        paths: &mut Paths,
    ) -> Option<(u64, Tsn)> {
        let here = self.chunks.iter().rposition(|s| s.fate == Fate::InFlight && s.path == path)?;
        let sent = self.chunks.get_mut(here)?;
        sent.data.flags.immediate = true;
        let tsn = sent.data.tsn;
        self.mark_lost(here, path, paths);
        Some((self.first + here as u64, tsn))
    }
}
