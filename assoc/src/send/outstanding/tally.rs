//! What a SACK newly acknowledged, path by path.

use std::time::Instant;

use super::{Fate, Sent};
use crate::path::{PathId, Paths, Probe};

/// What a SACK newly acknowledged on one path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) path: PathId,
    /// Bytes of DATA chunks with header and padding.
    pub(crate) bytes: usize,
    /// Bytes that leave flight, of which the path is told when all are counted.
    pub(super) leaves: usize,
    /// Those of them that speak for the path: the others had been sent on another one as well, or acknowledged before.
    pub(crate) credited: usize,
    /// Whether the earliest outstanding TSN of the path was among them (RFC 9260, 6.3.2, R3).
    pub(crate) earliest: bool,
    /// The round trip of the chunk that measures it.
    pub(crate) measured_from: Option<Instant>,
    /// The largest SCTP packet that certainly arrived, in bytes.
    pub(crate) largest: usize,
    /// The latest transmission among them.
    pub(crate) newest: Option<Transmission>,
    /// The earliest transmission among them.
    pub(crate) oldest: u64,
    /// The earliest transmission of what was sent once, as far as there is any.
    oldest_original: u64,
    /// Whether something in flight on the path was passed on the way from the lower edge of the queue.
    pub(super) seen: bool,
    /// The chunk that measures the round trip of the path.
    probe: Option<Probe>,
}

impl Tally {
    /// Once a path and SACK, and never inlined into what each chunk goes through.
    #[cold]
    fn new(path: PathId, paths: &Paths) -> Self {
        Self {
            path,
            bytes: 0,
            leaves: 0,
            credited: 0,
            earliest: false,
            measured_from: None,
            largest: 0,
            newest: None,
            oldest: u64::MAX,
            oldest_original: u64::MAX,
            seen: false,
            probe: paths.path(path).and_then(|path| path.record.probe),
        }
    }

    /// The earliest transmission of what was sent once.
    pub(crate) fn oldest_original(&self) -> Option<u64> {
        (self.oldest_original < u64::MAX).then_some(self.oldest_original)
    }
}

/// One sending of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transmission {
    /// Its place among all of the association.
    pub(crate) order: u64,
    pub(crate) sent_at: Instant,
    /// Whether the chunk had been sent before, so that the acknowledgement may be for that.
    pub(crate) again: bool,
}

/// Notes a newly acknowledged chunk for its path, before it leaves flight.
#[inline]
pub(super) fn tally<'a>(
    sent: &Sent,
    number: u64,
    paths: &Paths,
    tallies: &'a mut Vec<Tally>,
) -> &'a mut Tally {
    let len = sent.len();
    let tally = tally_for(sent.path, paths, tallies);
    tally.bytes += len;
    tally.oldest = tally.oldest.min(sent.order);
    if tally.newest.is_none_or(|newest| newest.order < sent.order) {
        let Sent { order, sent_at, again, .. } = *sent;
        tally.newest = Some(Transmission { order, sent_at, again });
    }
    if !sent.again {
        tally.oldest_original = tally.oldest_original.min(sent.order);
    }
    // RFC 9260, 8.2: an ambiguous acknowledgement is not credited to the path; 7.2.1: nor is one that was credited before.
    if !sent.moved && !sent.withdrawn {
        tally.credited += len;
        tally.largest = tally.largest.max(sent.packet.into());
    }
    if sent.fate == Fate::InFlight {
        tally.earliest |= !std::mem::replace(&mut tally.seen, true);
        if tally.probe.is_some_and(|probe| probe.number == number) {
            tally.measured_from = tally.probe.take().map(|probe| probe.sent_at);
        }
    }
    tally
}

/// Tells the paths what left flight, and ends the measurements that what was acknowledged ended.
pub(super) fn settle(paths: &mut Paths, tallies: &mut [Tally]) {
    for tally in tallies {
        let Some(path) = paths.path_mut(tally.path) else { continue };
        path.congestion.on_left_flight(std::mem::take(&mut tally.leaves));
        path.record.probe = tally.probe;
    }
}

#[inline]
pub(super) fn tally_for<'a>(
    path: PathId,
    paths: &Paths,
    tallies: &'a mut Vec<Tally>,
) -> &'a mut Tally {
    let at = match tallies.iter().position(|tally| tally.path == path) {
        Some(at) => at,
        None => {
            tallies.push(Tally::new(path, paths));
            tallies.len() - 1
        }
    };
    #[expect(clippy::indexing_slicing, reason = "the index was found or made a line above")]
    &mut tallies[at]
}
