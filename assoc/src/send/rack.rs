//! Losses found by time instead of by counting reports: RACK and tail loss probes (RFC 8985), for each path.
//!
//! What differs from TCP: TSNs number chunks, so that sendings are compared by their own count; gap blocks are what SACK
//! blocks are there, and duplicate TSNs what D-SACK is; a probe is always the last chunk in flight, which leaves cwnd
//! (RFC 9260, 6.1, B) as it is, and asks for its SACK at once by the I bit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use usctp_chunk::{Sack, Tsn};

use super::outstanding::{Outstanding, Sending, Tally, Transmission};
use crate::path::{Path, PathId, Paths};
use crate::timer::{Timer, earliest};

/// What is known of the order and the time of sendings on all paths.
#[derive(Debug, Default)]
pub(super) struct Rack {
    paths: Vec<PathRack>,
    /// When what gap blocks covered once, and no longer do, is looked at.
    reneged: Timer,
}

#[derive(Debug)]
struct PathRack {
    path: PathId,
    /// Sendings by time; those that ended in another way are dropped when they come to the front.
    sendings: VecDeque<Mark>,
    /// The latest sending that was delivered, and how long that took.
    newest: Option<Transmission>,
    rtt: Duration,
    min_rtt: Option<Duration>,
    window: Window,
    reordering: Timer,
    probe: Probing,
}

/// Names a sending of a chunk.
#[derive(Debug, Clone, Copy)]
struct Mark {
    number: u64,
    order: u64,
}

/// How far sendings may overtake each other: RACK.reo_wnd (RFC 8985, 6.2, step 4).
#[derive(Debug)]
struct Window {
    /// A chunk that was sent once was delivered after a later one.
    seen_reordering: bool,
    /// Quarters of the least round trip.
    quarters: u32,
    /// Recoveries that keep it wide, and the sending behind which it may widen again.
    persists: u8,
    widened_at: u64,
}

/// Tail loss probes (RFC 8985, 7).
#[derive(Debug, Default)]
struct Probing {
    wait: Timer,
    out: Option<Probe>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    number: u64,
    tsn: Tsn,
    sent_at: Instant,
}

impl Rack {
    /// Begins in the middle, with what is outstanding: what gap blocks cover has overtaken what they do not.
    pub(super) fn taking_over(outstanding: &Outstanding, paths: &Paths) -> Self {
        let mut rack = Self::default();
        rack.follow(outstanding);
        for sending in outstanding.sendings().iter().filter(|sending| sending.delivered) {
            let path = sending.path;
            // How long it took nobody has noted; and of what was sent again nobody knows which sending came.
            let srtt = paths.path(path).and_then(|path| path.rto.srtt());
            if let Some(srtt) = srtt.filter(|_| !sending.last.again) {
                let rack = rack.of(path);
                (rack.newest, rack.rtt, rack.min_rtt) = (Some(sending.last), srtt, Some(srtt));
            }
        }
        rack
    }

    /// From now on all that is in flight is watched over, in the order of sending.
    fn follow(&mut self, outstanding: &Outstanding) {
        for rack in &mut self.paths {
            rack.sendings.clear();
        }
        for sending in outstanding.sendings().iter().filter(|sending| !sending.delivered) {
            self.on_sent(sending.path, sending.number, sending.last.order);
        }
    }

    /// Gap blocks no longer cover what they did. That may be an older SACK that was overtaken, which is why RFC 9260, 6.2.1
    /// (D iii), takes it for one report of three: here the peer has a round trip to say otherwise.
    pub(super) fn on_reneged(&mut self, now: Instant, paths: &Paths) {
        if !self.reneged.is_running() {
            let rtt = paths.iter().filter_map(|path| path.rto.srtt()).max();
            self.reneged.start(now, rtt.unwrap_or_default());
        }
    }

    /// Whether it had it. What is still in flight is watched over again.
    pub(super) fn take_reneged(&mut self, now: Instant, outstanding: &Outstanding) -> bool {
        let expired = self.reneged.take_expired(now);
        if expired {
            self.follow(outstanding);
        }
        expired
    }

    /// A chunk went out.
    pub(super) fn on_sent(&mut self, path: PathId, number: u64, order: u64) {
        self.of(path).sendings.push_back(Mark { number, order });
    }

    /// Takes in what was acknowledged, by a SACK or without one. Returns the paths where a probe has repaired a loss.
    pub(super) fn on_acknowledgement(
        &mut self,
        now: Instant,
        tallies: &[Tally],
        sack: Option<&Sack>,
        outstanding: &Outstanding,
    ) -> Option<PathId> {
        let duplicates = || sack.into_iter().flat_map(|sack| sack.duplicates.iter());
        let twice = duplicates().next().is_some();
        for tally in tallies {
            let Some(newest) = tally.newest else { continue };
            let rack = self.of(tally.path);
            rack.note_delivered(now, newest, tally.oldest_original());
            if twice {
                rack.window.widen(newest.order, outstanding.transmissions());
            }
        }
        let mut repaired = None;
        for rack in &mut self.paths {
            let acked = |probe: &mut Probe| outstanding.is_acked(probe.number);
            let Some(probe) = rack.probe.out.take_if(acked) else { continue };
            // RFC 8985, 7.4.2: if both the chunk and the probe came, nothing was lost. Without a SACK nobody knows: the one that
            // tells of duplicates follows the SHUTDOWN (RFC 9260, 9.2).
            let too_soon = rack.min_rtt.is_some_and(|min| now < probe.sent_at + min);
            if sack.is_some() && !too_soon && !duplicates().any(|tsn| tsn == probe.tsn) {
                repaired = Some(rack.path);
            }
        }
        repaired
    }

    /// Marks what was lost (RFC 8985, 6.2, step 5), and calls `hit` with each path and sending. The others get time.
    pub(super) fn detect(
        &mut self,
        now: Instant,
        in_recovery: bool,
        outstanding: &mut Outstanding,
        paths: &mut Paths,
        mut hit: impl FnMut(&mut Paths, Sending),
    ) {
        for rack in &mut self.paths {
            rack.reordering.stop();
            let srtt = paths.path(rack.path).map_or(Duration::MAX, Path::round_trip);
            let certain = in_recovery || outstanding.gapped() >= CERTAIN;
            let patience = rack.rtt + rack.tolerance(srtt, certain);
            while let Some(&Mark { number, order }) = rack.sendings.front() {
                let Some(sent) = outstanding.sending(number, order) else {
                    rack.sendings.pop_front();
                    continue;
                };
                if rack.newest.is_none_or(|newest| newest.order <= order) {
                    break;
                }
                let left = (sent.sent_at + patience).saturating_duration_since(now);
                if !left.is_zero() {
                    rack.reordering.start(now, left);
                    break;
                }
                rack.sendings.pop_front();
                let lost = Sending { path: rack.path, number, last: sent, delivered: false };
                outstanding.lose(number, paths);
                hit(paths, lost);
            }
        }
    }

    /// Sets the time of a probe on a path where nothing speaks of a loss yet (RFC 8985, 7.2).
    pub(super) fn schedule_probe(&mut self, now: Instant, path: &Path, calm: bool) {
        let probe = &mut self.of(path.id).probe;
        probe.wait.stop();
        let Some(srtt) = path.rto.srtt() else { return };
        if !calm || probe.out.is_some() || path.congestion.flight() == 0 {
            return;
        }
        // A single packet may wait for the delayed SACK.
        let alone = path.congestion.flight() <= path.chunk_limit();
        let delay = if alone { DELAYED_SACK } else { Duration::ZERO };
        let wait = (srtt * 2).max(LEAST_WAIT) + delay;
        if path.t3.deadline().is_some_and(|t3| now + wait < t3) {
            probe.wait.start(now, wait);
        }
    }

    /// The path whose probe is due now.
    pub(super) fn take_due_probe(&mut self, now: Instant) -> Option<PathId> {
        let due = |rack: &mut PathRack| rack.probe.wait.take_expired(now).then_some(rack.path);
        self.paths.iter_mut().find_map(due)
    }

    /// A probe is about to leave.
    pub(super) fn probe_sent(&mut self, now: Instant, path: PathId, number: u64, tsn: Tsn) {
        self.of(path).probe.out = Some(Probe { number, tsn, sent_at: now });
    }

    /// T3-rtx of a path expired: nothing is waited for there any more.
    pub(super) fn on_t3(&mut self, path: PathId) {
        let rack = self.of(path);
        rack.reordering.stop();
        rack.probe = Probing::default();
        rack.window.recovered();
    }

    /// A recovery ended.
    pub(super) fn recovered(&mut self) {
        for rack in &mut self.paths {
            rack.window.recovered();
        }
    }

    /// Whether the time to look for losses again has come.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.paths.iter().any(|rack| rack.reordering.deadline().is_some_and(|at| at <= now))
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let timers = |rack: &PathRack| [rack.reordering.deadline(), rack.probe.wait.deadline()];
        earliest(self.paths.iter().flat_map(timers).chain([self.reneged.deadline()]))
    }

    fn of(&mut self, path: PathId) -> &mut PathRack {
        let at = match self.paths.iter().position(|rack| rack.path == path) {
            Some(at) => at,
            None => {
                self.paths.push(PathRack::new(path));
                self.paths.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "the index was found or made a line above")]
        &mut self.paths[at]
    }
}

impl PathRack {
    fn new(path: PathId) -> Self {
        Self {
            path,
            sendings: VecDeque::new(),
            newest: None,
            rtt: Duration::ZERO,
            min_rtt: None,
            window: Window { seen_reordering: false, quarters: 1, persists: 0, widened_at: 0 },
            reordering: Timer::default(),
            probe: Probing::default(),
        }
    }

    /// RFC 8985, 6.2, steps 1 to 3.
    fn note_delivered(&mut self, now: Instant, newest: Transmission, original: Option<u64>) {
        let overtaken = |order| self.newest.is_some_and(|newest| order < newest.order);
        self.window.seen_reordering |= original.is_some_and(overtaken);
        let rtt = now.saturating_duration_since(newest.sent_at);
        // Too soon for a retransmission: the acknowledgement is for what went before it.
        if newest.again && self.min_rtt.is_some_and(|min| rtt < min) {
            return;
        }
        if !newest.again {
            self.min_rtt = Some(self.min_rtt.map_or(rtt, |min| min.min(rtt)));
        }
        if self.newest.is_none_or(|known| known.order < newest.order) {
            self.newest = Some(newest);
            self.rtt = rtt;
        }
    }

    fn tolerance(&self, srtt: Duration, certain: bool) -> Duration {
        if certain && !self.window.seen_reordering {
            return Duration::ZERO;
        }
        (self.min_rtt.unwrap_or_default() / 4 * self.window.quarters).min(srtt)
    }
}

impl Window {
    /// The peer got something twice: a retransmission was in vain. At most one step in a round trip.
    fn widen(&mut self, delivered: u64, transmissions: u64) {
        if delivered > self.widened_at {
            self.widened_at = transmissions;
            self.quarters = (self.quarters + 1).min(MOST_QUARTERS);
            self.persists = PERSISTENCE;
        }
    }

    fn recovered(&mut self) {
        self.persists = self.persists.saturating_sub(1);
        if self.persists == 0 {
            self.quarters = 1;
        }
    }
}

/// RFC 8985, 6.2: so many chunks covered by gap blocks tell a loss from reordering that was never seen.
const CERTAIN: usize = 3;
const PERSISTENCE: u8 = 16;
/// More than the smoothed round trip is never waited for.
const MOST_QUARTERS: u32 = 64;
/// RFC 9260, 6.2: what SACK.Delay usually is.
const DELAYED_SACK: Duration = Duration::from_millis(200);
/// What a loaded host may take to answer.
const LEAST_WAIT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: PathId = PathId(0);

    fn quarters(rack: &mut Rack) -> u32 {
        rack.of(PATH).window.quarters
    }

    #[test]
    fn a_wide_window_is_kept_for_sixteen_recoveries_whether_sacks_or_t3_end_them() {
        let mut rack = Rack::default();
        rack.of(PATH).window.widen(1, 10);
        for recovery in 0..16 {
            assert_eq!(quarters(&mut rack), 2, "after {recovery}");
            if recovery % 2 == 0 { rack.on_t3(PATH) } else { rack.recovered() }
        }
        assert_eq!(quarters(&mut rack), 1);
    }

    #[test]
    fn the_window_widens_by_one_step_in_a_round_trip() {
        let mut rack = Rack::default();
        let window = &mut rack.of(PATH).window;
        // Ten transmissions were made when the first duplicate was told of.
        for delivered in 1..=10 {
            window.widen(delivered, 10);
        }
        assert_eq!(window.quarters, 2);
        window.widen(11, 20);
        window.widen(12, 20);
        assert_eq!(window.quarters, 3);
    }
}
