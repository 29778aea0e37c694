//! What follows from losses: Fast Retransmit and Fast Recovery, and when and by which of two ways losses are found
//! (RFC 9260, section 7.2.4; RFC 8985).

use std::time::Instant;

use usctp_chunk::Sack;

use super::Sender;
use super::outstanding::{Acked, Tally};
use super::rack::Rack;
use crate::config::{LossDetection, RecoveryOptions};
use crate::path::{COMMON_HEADER, PathId, Paths};

#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// The number behind the highest chunk outstanding when Fast Recovery began.
    pub(super) exit: Option<u64>,
    /// How many transmissions there were when it began.
    began: u64,
    /// Paths whose windows were cut for it.
    cut: Vec<PathId>,
    /// Paths that have left it by T3-rtx.
    left: Vec<PathId>,
}

impl Recovery {
    /// Whether Fast Recovery holds back the window of a path.
    pub(super) fn holds(&self, path: PathId) -> bool {
        self.exit.is_some() && !self.left.contains(&path)
    }

    /// T3-rtx of a path expired: that starts slow start, which Fast Recovery would forbid (RFC 9260, 7.2.1). Other paths, whose
    /// windows were cut for losses of their own, stay in it, and are not cut again for these. Whether it is over.
    pub(super) fn leave(&mut self, path: PathId) -> bool {
        self.cut.retain(|cut| *cut != path);
        if self.cut.is_empty() {
            *self = Self::default();
            return true;
        }
        if !self.left.contains(&path) {
            self.left.push(path);
        }
        false
    }

    /// The window of a path was cut: it begins, or lasts until what was sent by now is acknowledged.
    fn enter(&mut self, path: PathId, exit: u64, began: u64) {
        self.left.retain(|left| *left != path);
        if !self.cut.contains(&path) {
            self.cut.push(path);
        }
        (self.exit, self.began) = (Some(exit), began);
    }
}

impl Sender {
    /// From now on losses are found, and packets spread over time, as `recovery` says.
    ///
    /// What is marked for retransmission, and Fast Recovery, stay. The time that a packet is held back until by pacing is
    /// waited for, so that what was spread does not leave in one burst.
    pub(crate) fn set_recovery(
        &mut self,
        now: Instant,
        recovery: RecoveryOptions,
        paths: &mut Paths,
    ) {
        self.pacing.wanted = recovery.pacing;
        let by_time = recovery.detection == LossDetection::Rack;
        if by_time == self.rack.is_some() {
            return;
        }
        self.rack = by_time.then(|| Rack::taking_over(&self.outstanding, paths));
        self.find_by_time(now, paths);
        self.schedule_probes(now, paths);
    }

    /// Takes in what an acknowledgement says of what did not arrive. One without a SACK reports nothing missing, but it may end
    /// Fast Recovery, and where losses are found by time it shows which sendings were overtaken.
    pub(super) fn detect_losses(
        &mut self,
        now: Instant,
        acked: Acked,
        tallies: &[Tally],
        sack: Option<&Sack>,
        paths: &mut Paths,
    ) {
        if acked.has_reneged {
            // RFC 9260, 6.3.2 (R4): on whatever paths it was.
            for path in paths.iter_mut().filter(|path| path.congestion.flight() > 0) {
                if !path.t3.is_running() {
                    path.t3.start(now, path.rto.current());
                }
            }
            if let Some(rack) = &mut self.rack {
                rack.on_reneged(now, paths);
            }
        }
        if self.recovery.exit.is_some_and(|exit| self.outstanding.first_number() >= exit) {
            self.recovery = Recovery::default();
            if let Some(rack) = &mut self.rack {
                rack.recovered();
            }
        }
        match &mut self.rack {
            None if sack.is_none() => {}
            None => self.count_misses(acked, tallies, paths),
            Some(rack) => {
                let repaired = rack.on_acknowledgement(now, tallies, sack, &self.outstanding);
                if let Some(path) = repaired.filter(|_| self.recovery.exit.is_none()) {
                    // RFC 8985, 7.4.2: the probe has repaired a loss, which was one all the same.
                    self.cut(path, paths);
                }
                self.find_by_time(now, paths);
            }
        }
    }

    fn count_misses(&mut self, acked: Acked, tallies: &[Tally], paths: &mut Paths) {
        let in_fast_recovery = self.recovery.exit.is_some();
        let mut struck: Vec<PathId> = Vec::new();
        let window = &self.window;
        self.outstanding.count_misses(acked, tallies, paths, in_fast_recovery, |paths, lost| {
            note_loss(paths, lost.path);
            let refused = window.may_have_refused(lost.number, lost.last.order);
            if !refused && !struck.contains(&lost.path) {
                struck.push(lost.path);
            }
        });
        self.after_losses(&struck, !in_fast_recovery, paths);
    }

    /// Whether something was marked for retransmission.
    fn find_by_time(&mut self, now: Instant, paths: &mut Paths) -> bool {
        let Some(rack) = &mut self.rack else { return false };
        let in_fast_recovery = self.recovery.exit.is_some();
        let began = self.recovery.began;
        let mut fresh = !in_fast_recovery;
        let mut struck: Vec<PathId> = Vec::new();
        let mut any = false;
        let window = &self.window;
        rack.detect(now, in_fast_recovery, &mut self.outstanding, paths, |paths, lost| {
            note_loss(paths, lost.path);
            any = true;
            if window.may_have_refused(lost.number, lost.last.order) {
                return;
            }
            // RFC 5681, 4.3: the loss of a retransmission is one more sign of congestion.
            fresh |= lost.last.again && lost.last.order > began;
            if !struck.contains(&lost.path) {
                struck.push(lost.path);
            }
        });
        self.after_losses(&struck, fresh, paths);
        any
    }

    /// RFC 9260, 7.2.4 (2, 3, 6): windows are cut once for each address, and not again while recovering.
    fn after_losses(&mut self, struck: &[PathId], fresh: bool, paths: &mut Paths) {
        if struck.is_empty() {
            return;
        }
        let mut any = false;
        for &id in struck {
            if fresh || !self.recovery.holds(id) {
                self.cut(id, paths);
                any = true;
            }
        }
        if any {
            self.outstanding.allow_fast();
        }
        for &id in struck {
            if paths.path(id).is_some_and(|path| !path.is_usable()) {
                self.on_path_failed(id, paths);
            }
        }
    }

    /// A window is cut, and Fast Recovery begins.
    fn cut(&mut self, id: PathId, paths: &mut Paths) {
        if let Some(path) = paths.path_mut(id) {
            path.congestion.on_fast_retransmit();
        }
        let exit = self.outstanding.next_number();
        self.recovery.enter(id, exit, self.outstanding.transmissions());
    }

    /// A packet with DATA left: when the next one may, and when its fate is asked for.
    pub(super) fn packet_left(&mut self, now: Instant, to: PathId, len: usize, paths: &mut Paths) {
        let calm = self.rack.is_some() && self.is_calm();
        let Some(path) = paths.path_mut(to) else { return };
        if !path.congestion.has_room() {
            path.congestion.note_fully_used(self.outstanding.transmissions());
        }
        let round_trip = path.round_trip();
        path.burst.on_sent(now, len.saturating_sub(COMMON_HEADER), &path.congestion, round_trip);
        if self.pacing.wanted {
            path.pacer.on_sent(now, len, &path.congestion, path.rto.srtt());
        }
        if let Some(rack) = &mut self.rack {
            rack.schedule_probe(now, path, calm);
        }
    }

    pub(super) fn schedule_probes(&mut self, now: Instant, paths: &Paths) {
        let calm = self.rack.is_some() && self.is_calm();
        if let Some(rack) = &mut self.rack {
            for path in paths.iter() {
                rack.schedule_probe(now, path, calm);
            }
        }
    }

    /// Whether nothing speaks of a loss (RFC 8985, 7.2).
    fn is_calm(&self) -> bool {
        let clear = !self.outstanding.has_gaps() && self.outstanding.first_lost().is_none();
        clear && self.recovery.exit.is_none() && !self.window.is_closed() && !self.setting_up
    }

    /// Looks again for losses that had time, and sends probes. Whether something is to be sent.
    pub(super) fn on_rack_timeout(&mut self, now: Instant, paths: &mut Paths) -> bool {
        let Some(rack) = &mut self.rack else { return false };
        let due = rack.take_reneged(now, &self.outstanding) || rack.is_due(now);
        let probe = rack.take_due_probe(now);
        let mut any = due && self.find_by_time(now, paths);
        if let Some(path) = probe.filter(|_| self.is_calm()) {
            any |= self.probe_tail(now, path, paths);
        }
        any
    }

    fn probe_tail(&mut self, now: Instant, id: PathId, paths: &mut Paths) -> bool {
        let Some((number, tsn)) = self.outstanding.probe_with_last(id, paths) else { return false };
        if let Some(rack) = &mut self.rack {
            rack.probe_sent(now, id, number, tsn);
        }
        if let Some(path) = paths.path_mut(id) {
            path.record.counts.tail_loss_probes += 1;
        }
        self.outstanding.allow_fast();
        true
    }
}

fn note_loss(paths: &mut Paths, id: PathId) {
    if let Some(path) = paths.path_mut(id) {
        path.record.counts.fast_retransmits += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_left_fast_recovery_by_t3_is_in_it_again_when_its_window_is_cut_again() {
        let (one, other) = (PathId(0), PathId(1));
        let mut recovery = Recovery::default();
        recovery.enter(one, 10, 5);
        recovery.enter(other, 10, 5);
        assert!(!recovery.leave(one), "the other one is still in it");
        assert_eq!([recovery.holds(one), recovery.holds(other)], [false, true]);
        recovery.enter(one, 20, 15);
        assert_eq!([recovery.holds(one), recovery.holds(other)], [true, true]);
        assert_eq!((recovery.exit, recovery.began), (Some(20), 15));
        assert!(!recovery.leave(other) && recovery.leave(one), "over with the last");
        assert!(!recovery.holds(one));
    }
}
