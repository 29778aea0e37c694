//! Counts the outstanding queue chunk by chunk, for tests: what is kept as a sum has to be one.

use std::collections::BTreeSet;

use super::{Fate, Outstanding, chunk_len, window_cost};
use crate::outbox::cost;
use crate::path::Paths;

impl Outstanding {
    /// Compares what is kept with what the chunks say. How many these are.
    ///
    /// # Errors
    /// What differs, in words.
    pub(crate) fn audit(&self, paths: &Paths) -> Result<usize, String> {
        let same = |what: &str, kept: usize, counted: usize| match kept == counted {
            true => Ok(()),
            false => Err(format!("{what}: {kept} are kept, the chunks say {counted}")),
        };
        let of = |fate: Fate| (self.first..).zip(&self.chunks).filter(move |(_, s)| s.fate == fate);
        let payload = |sent: &super::Sent| sent.data.payload.len();
        let in_flight = of(Fate::InFlight).map(|(_, sent)| window_cost(payload(sent))).sum();
        same("bytes of the peer's window", self.totals.in_flight(), in_flight)?;
        let all = self.chunks.iter().map(|sent| cost(payload(sent))).sum();
        same("bytes of the send buffer", self.cost, all)?;
        let lost: BTreeSet<u64> = of(Fate::Lost).map(|(number, _)| number).collect();
        if lost != *self.totals.lost() {
            let kept = self.totals.lost();
            return Err(format!("marked for retransmission: {kept:?}, the chunks say {lost:?}"));
        }
        if self.totals.is_fast() && lost.is_empty() {
            return Err("a packet may leave whatever cwnd says, and there is none".to_owned());
        }
        let covered: Vec<u64> = self.gaps.blocks().flatten().collect();
        if !of(Fate::Gapped).map(|(number, _)| number).eq(covered.iter().copied()) {
            return Err(format!("gap blocks cover {covered:?}, which the chunks do not say"));
        }
        for path in paths.iter() {
            let here = || of(Fate::InFlight).filter(|(_, sent)| sent.path == path.id);
            let flight = here().map(|(_, sent)| chunk_len(&sent.data)).sum();
            same(&format!("flight to {}", path.peer), path.congestion.flight(), flight)?;
            if here().next().is_some_and(|(number, _)| number < path.record.earliest) {
                return Err(format!("something earlier is in flight to {}", path.peer));
            }
        }
        Ok(self.chunks.len())
    }
}
