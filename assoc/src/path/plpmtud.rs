//! Datagram Packetization Layer Path MTU Discovery of one path (RFC 8899, section 5).
//!
//! All sizes are those of IP packets in bytes, multiples of 4: the PLPMTU with the headers below SCTP. A path starts
//! with what is known of the local link, as RFC 9260, 7.2.1, and the kernels have it, and not with BASE_PLPMTU: a link of
//! the usual size loses nothing then. That start is confirmed by the first probe; it falls to BASE_PLPMTU where its
//! probe is lost MAX_PROBES times and a packet of that size passes, where T3-rtx expires for larger packets and a packet
//! of that size passes, or where a router says so. So loss alone, and a path that is dead, change nothing.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rand::Rng;
use rand::rngs::StdRng;

use super::PathId;
use crate::config::{Config, PmtudMode, PmtudOptions};
use crate::event::MtuReason;
use crate::timer::{Timer, earliest};

mod sizes;

use sizes::{COMMON, Sizes};

/// The states of RFC 8899, section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PmtudState {
    /// Discovery is switched off, or the path is not known to answer.
    Disabled,
    /// It is being confirmed that packets of the starting size, or of BASE_PLPMTU, pass.
    Base,
    /// Larger packets are being tried.
    Searching,
    /// The search is over; it begins anew when PMTU_RAISE_TIMER expires.
    SearchComplete,
    /// Not even packets of BASE_PLPMTU pass.
    Error,
}

#[derive(Debug, Clone)]
pub(crate) struct Plpmtud {
    options: PmtudOptions,
    /// By what the MTU is found now.
    mode: PmtudMode,
    sizes: Sizes,
    state: PmtudState,
    /// The PLPMTU.
    mtu: usize,
    /// Whether a packet of that size was acknowledged since the path last came up.
    confirmed: bool,
    /// PROBED_SIZE.
    probed: usize,
    /// PROBE_COUNT.
    probe_count: u8,
    probing: Probing,
    suspicion: Suspicion,
    raise: Raise,
    /// When a router, or the local link, last said of a packet that it is too big, and not what fits.
    lowered_at: Option<Instant>,
    /// Why the PLPMTU changed, until somebody asks.
    changed: Option<MtuReason>,
}

/// The one probe that is due or outstanding.
#[derive(Debug, Clone, Default)]
struct Probing {
    /// The size of the one to send, and whether its time has come.
    wanted: Option<usize>,
    due: bool,
    outstanding: Option<Outstanding>,
    sent_at: Option<Instant>,
    /// PROBE_TIMER, or when the wanted one may leave.
    timer: Timer,
}

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    info: [u8; INFO_LEN],
    size: usize,
    sent_at: Instant,
    /// It only shows whether a smaller packet passes; its loss says nothing.
    check: bool,
}

/// What speaks for a black hole since the last packet of such a size was acknowledged.
#[derive(Debug, Clone, Copy, Default)]
struct Suspicion {
    /// Expiries of T3-rtx in a row.
    timeouts: u8,
    /// The least size that did not pass.
    size: usize,
    /// A smaller packet that was sent since did pass.
    survived: Option<usize>,
    /// The next probe is to show that.
    check: bool,
}

/// PMTU_RAISE_TIMER, and whether DATA was sent since it was started.
#[derive(Debug, Clone, Copy, Default)]
struct Raise {
    timer: Timer,
    used: bool,
}

impl Plpmtud {
    /// A path that starts with `config.path_mtu` and has `overhead` bytes of headers below SCTP.
    pub(crate) fn new(config: &Config, v4: bool, overhead: usize) -> Self {
        let sizes = Sizes::new(config, v4, overhead);
        Self {
            options: config.pmtud,
            mode: config.pmtud.mode,
            mtu: sizes.start,
            sizes,
            state: PmtudState::Disabled,
            confirmed: false,
            probed: 0,
            probe_count: 0,
            probing: Probing::default(),
            suspicion: Suspicion::default(),
            raise: Raise::default(),
            lowered_at: None,
            changed: None,
        }
    }

    /// The greatest IP packet that may be sent.
    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    pub(crate) fn state(&self) -> PmtudState {
        self.state
    }

    /// Why the PLPMTU changed since this was last asked, if it did.
    pub(crate) fn take_change(&mut self) -> Option<MtuReason> {
        self.changed.take()
    }

    /// The application sets the MTU for good, or lets it be discovered again (RFC 6458, 8.1.12).
    pub(crate) fn set(&mut self, fixed: Option<usize>) {
        self.stop();
        self.raise.timer.stop();
        self.mode = match (fixed, self.options.mode) {
            (Some(_), _) => PmtudMode::Off,
            (None, PmtudMode::Off) => PmtudMode::default(),
            (None, mode) => mode,
        };
        if let Some(mtu) = fixed {
            self.change(mtu & !3, MtuReason::Set);
        } else {
            self.sizes.forget_failures();
        }
    }

    /// The system says what the link takes that packets leave by: the path starts with that (RFC 9260, 7.2.1), unless
    /// something smaller was asked for, or found to be all that passes.
    pub(crate) fn learn_link(&mut self, mtu: usize) {
        let is_wanted = self.mode != PmtudMode::Off && self.options.max.is_none();
        if is_wanted && self.mtu == self.sizes.max && mtu > self.mtu {
            self.sizes.learn_link(mtu);
            self.change(self.sizes.max, MtuReason::Link);
            // A probe of the former size would say less.
            self.stop();
        }
    }

    /// The path is confirmed and answers: what it has is confirmed first.
    pub(crate) fn start(&mut self, now: Instant, rtt: Duration) {
        if self.state == PmtudState::Disabled && self.mode == PmtudMode::Probes {
            self.enter_base(now, rtt);
        }
    }

    /// The path is not to be probed (any longer). What was found stays, and is to be confirmed again.
    pub(crate) fn stop(&mut self) {
        if self.state != PmtudState::Disabled {
            self.state = PmtudState::Disabled;
            self.confirmed = false;
            self.probing = Probing::default();
            self.suspicion = Suspicion::default();
            self.raise = Raise::default();
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        earliest([self.probing.timer.deadline(), self.raise.timer.deadline()])
    }

    /// The size of the probe that is to be sent now.
    pub(crate) fn due(&self) -> Option<usize> {
        self.probing.wanted.filter(|_| self.probing.due)
    }

    /// Makes the Heartbeat Info of the probe that is due: a fresh nonce, the path and the size.
    pub(crate) fn make(&mut self, now: Instant, path: PathId, rng: &mut StdRng) -> Bytes {
        let size = self.probing.wanted.take().unwrap_or(self.mtu);
        let mut info = BytesMut::with_capacity(INFO_LEN);
        info.put_u64(rng.random());
        info.put_u32(path.0.into());
        info.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
        let mut kept = [0; INFO_LEN];
        kept.copy_from_slice(&info);
        let check = std::mem::take(&mut self.suspicion.check);
        self.probing.outstanding = Some(Outstanding { info: kept, size, sent_at: now, check });
        self.probing.due = false;
        self.probing.sent_at = Some(now);
        self.probing.timer.start(now, self.options.probe_timer);
        info.freeze()
    }

    /// DATA was sent here: larger packets would be of use.
    pub(crate) fn on_sent(&mut self) {
        self.raise.used = true;
    }

    /// The round-trip time if `info` is the exact echo of the outstanding probe, which it ends.
    pub(crate) fn take_answer(&mut self, now: Instant, info: &[u8]) -> Option<Duration> {
        let probe = self.probing.outstanding.take_if(|probe| probe.info == info)?;
        self.probing.timer.stop();
        let rtt = now.saturating_duration_since(probe.sent_at);
        if probe.check {
            self.on_check_passed(now, probe.size, rtt);
        } else {
            self.on_passed(now, probe.size, rtt);
        }
        Some(rtt)
    }

    /// DATA was acknowledged that went out once, in a packet of `size` bytes.
    pub(crate) fn on_data_passed(&mut self, now: Instant, size: usize, rtt: Duration) {
        if self.suspicion.timeouts > 0 && size >= self.suspicion.size {
            let unsent = std::mem::take(&mut self.suspicion).check;
            if unsent {
                self.probing.wanted = None;
                self.resume(now, rtt);
            }
        }
        if size < self.mtu || self.confirmed {
            return;
        }
        self.confirmed = true;
        if self.state == PmtudState::Base && self.probed == self.mtu {
            self.probing.outstanding = None;
            self.on_passed(now, self.mtu, rtt);
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant, rtt: Duration) {
        if self.probing.timer.take_expired(now) {
            match self.probing.outstanding.take() {
                Some(probe) if probe.check => self.resume(now, rtt),
                Some(_) => self.on_probe_lost(now, rtt),
                None => self.probing.due = self.probing.wanted.is_some(),
            }
        }
        if self.raise.timer.take_expired(now) {
            self.on_raise(now, rtt);
        }
    }

    /// T3-rtx expired with DATA in flight in packets of up to `size` bytes (RFC 8899, 4.3).
    ///
    /// The first time, a probe of BASE_PLPMTU shows whether the path takes that; the second time that decides. Where
    /// not even that passed, or where packets up to that size got lost, the probe is smaller, and in the end of MIN_PLPMTU.
    /// A path that is dead answers none of them.
    pub(crate) fn on_t3(&mut self, now: Instant, size: usize, rtt: Duration) {
        if self.state == PmtudState::Disabled || size <= self.sizes.min {
            return;
        }
        let suspicion = &mut self.suspicion;
        suspicion.size = if suspicion.timeouts == 0 { size } else { suspicion.size.min(size) };
        suspicion.timeouts = suspicion.timeouts.saturating_add(1);
        let Suspicion { size: lost, timeouts, survived, .. } = *suspicion;
        // Small packets that get lost are hardly ever too large: it takes more of them.
        let small = lost <= COMMON;
        let enough = if small { STEPS + 1 } else { 2 };
        if let Some(size) = survived.filter(|size| timeouts >= enough && *size < lost) {
            self.sink(now, size, rtt);
        } else if !small || timeouts > 1 {
            // One size less at each expiry, down to MIN_PLPMTU.
            let below = (0..timeouts.min(STEPS)).fold(lost, |size, _| self.sizes.below(size));
            self.suspicion.check = true;
            self.want(now, below, rtt);
        }
    }

    /// A packet of ours was too big for a router or the local link; the greatest that fits, 0 if it does not say
    /// (RFC 8899, section 4.6.2). The notice quotes our tag.
    pub(crate) fn on_packet_too_big(&mut self, now: Instant, reported: usize, rtt: Duration) {
        if self.mode == PmtudMode::Off {
            return;
        }
        let reported = reported & !3;
        let probed = self.probing.outstanding.map_or(0, |probe| probe.size).max(self.mtu);
        if reported == 0 {
            self.on_too_big_without_size(now, probed, rtt);
        } else if reported < self.sizes.min || reported >= probed {
            // Invalid, or about something that was sent long ago.
        } else if reported < self.mtu {
            self.sizes.learn_limit(reported);
            self.suspicion = Suspicion::default();
            // RFC 8899, 4.6.2 and 5.2: below BASE_PLPMTU it is the Error state; messages are not cut smaller than the router
            // asks for while a probe confirms it.
            let named = self.mode == PmtudMode::Icmp;
            let (mtu, state) = match reported {
                size if named || size < self.sizes.base => (size, PmtudState::Error),
                _ => (self.sizes.base, PmtudState::Base),
            };
            self.change(mtu.min(self.mtu), MtuReason::PacketTooBig);
            self.fall(now, state, rtt);
        } else {
            self.sizes.learn_limit(reported);
            self.probing.outstanding = None;
            self.advance(now, rtt);
        }
    }

    /// Routers of old do not say what fits (RFC 1191, section 5): it was the probe if there is one.
    fn on_too_big_without_size(&mut self, now: Instant, probed: usize, rtt: Duration) {
        if probed > self.mtu {
            self.sizes.fails_at(probed);
            self.probing.outstanding = None;
            self.advance(now, rtt);
        } else if self.mtu > self.sizes.min && !self.lowered_within(now, rtt) {
            self.lowered_at = Some(now);
            self.sizes.fails_at(self.mtu);
            let below = self.sizes.below(self.mtu);
            self.change(below, MtuReason::PacketTooBig);
            let base = below >= self.sizes.base;
            self.fall(now, if base { PmtudState::Base } else { PmtudState::Error }, rtt);
        }
    }

    /// Whether what was sent before the last such notice may still be on its way, and be told of.
    fn lowered_within(&self, now: Instant, rtt: Duration) -> bool {
        self.lowered_at.is_some_and(|at| now.saturating_duration_since(at) <= rtt)
    }

    /// The PLPMTU was lowered without a probe: where discovery runs, it goes on from there.
    fn fall(&mut self, now: Instant, state: PmtudState, rtt: Duration) {
        if self.mode == PmtudMode::Icmp {
            // RFC 1191, 6.3: after a while it may be more again.
            self.raise.timer.start(now, self.options.raise_timer);
        }
        if self.state == PmtudState::Disabled {
            return;
        }
        self.probing.outstanding = None;
        self.raise.timer.stop();
        match state {
            PmtudState::Base => self.enter_base(now, rtt),
            _ => {
                self.state = state;
                self.probe_count = 0;
                self.advance(now, rtt);
            }
        }
    }

    /// What there is, is confirmed first; a probe larger than BASE_PLPMTU that is answered confirms that, too.
    fn enter_base(&mut self, now: Instant, rtt: Duration) {
        self.state = PmtudState::Base;
        self.probe_count = 0;
        self.probed = self.mtu.max(self.sizes.base);
        self.advance(now, rtt);
    }

    fn on_passed(&mut self, now: Instant, size: usize, rtt: Duration) {
        self.probe_count = 0;
        if size < self.mtu && self.state == PmtudState::Base {
            // Found in BASE: what the path started with does not pass, and this does.
            self.sizes.fails_at(self.mtu);
            self.change(size, MtuReason::BlackHole);
        } else if size > self.mtu {
            self.change(size, MtuReason::Probed);
        }
        self.confirmed = true;
        self.state = match size {
            size if size < self.sizes.base => PmtudState::Error,
            _ => PmtudState::Searching,
        };
        self.advance(now, rtt);
    }

    fn on_check_passed(&mut self, now: Instant, size: usize, rtt: Duration) {
        if self.suspicion.timeouts > 0 {
            self.suspicion.survived = Some(size);
            let start = !self.confirmed && size == self.sizes.base;
            let often = self.suspicion.timeouts >= STEPS && self.suspicion.size > COMMON;
            if start || often {
                // A start that nothing has confirmed is not worth a second expiry, nor what has timed out so often.
                self.sink(now, size, rtt);
                return;
            }
        }
        self.resume(now, rtt);
    }

    /// A black hole: packets of `size` pass, and those of the PLPMTU do not.
    fn sink(&mut self, now: Instant, size: usize, rtt: Duration) {
        if self.suspicion.size > COMMON {
            self.sizes.fails_at(self.suspicion.size.min(self.mtu));
        }
        // Else probes find out what passes, and if it was something else that lost them, in a few round trips.
        self.suspicion = Suspicion::default();
        self.probing.outstanding = None;
        self.raise.timer.stop();
        self.change(size, MtuReason::BlackHole);
        self.on_passed(now, size, rtt);
    }

    /// PROBE_TIMER expired.
    fn on_probe_lost(&mut self, now: Instant, rtt: Duration) {
        self.probe_count = self.probe_count.saturating_add(1);
        match self.state {
            PmtudState::Disabled => {}
            PmtudState::Base => self.on_lost_in_base(now, rtt),
            PmtudState::Searching | PmtudState::Error | PmtudState::SearchComplete => {
                self.sizes.note_loss(self.probed);
                if self.probe_count < MAX_PROBES {
                    self.advance(now, rtt);
                } else {
                    self.complete(now);
                }
            }
        }
    }

    /// The next smaller size is tried after MAX_PROBES losses; what passes then is the PLPMTU.
    fn on_lost_in_base(&mut self, now: Instant, rtt: Duration) {
        if self.probe_count >= MAX_PROBES {
            let below = self.sizes.below(self.probed);
            if below == self.probed {
                // Nothing passes, whatever its size.
                self.complete(now);
                return;
            }
            self.probe_count = 0;
            self.probed = below;
        }
        self.want(now, self.probed, rtt);
    }

    fn on_raise(&mut self, now: Instant, rtt: Duration) {
        if self.mode == PmtudMode::Icmp {
            self.sizes.forget_failures();
            self.change(self.sizes.max, MtuReason::Expired);
            return;
        }
        // RFC 8899, 5.1.1: no probing while the application sends nothing.
        if !std::mem::take(&mut self.raise.used) {
            self.raise.timer.start(now, self.options.raise_timer);
            return;
        }
        self.sizes.forget_failures();
        self.probe_count = 0;
        match self.state {
            PmtudState::Disabled => {}
            PmtudState::Base => self.enter_base(now, rtt),
            PmtudState::Error => {
                self.probed = self.sizes.base;
                self.want(now, self.probed, rtt);
            }
            PmtudState::Searching | PmtudState::SearchComplete => {
                self.state = PmtudState::Searching;
                self.advance(now, rtt);
            }
        }
    }

    /// Probing goes on after a check.
    fn resume(&mut self, now: Instant, rtt: Duration) {
        let over = matches!(self.state, PmtudState::Disabled | PmtudState::SearchComplete);
        if !over && !self.raise.timer.is_running() {
            self.want(now, self.probed, rtt);
        }
    }

    /// The next size of the search, or its end.
    fn advance(&mut self, now: Instant, rtt: Duration) {
        if self.state == PmtudState::Base {
            if !self.sizes.exclude(self.probed) {
                self.want(now, self.probed, rtt);
                return;
            }
            self.state = PmtudState::Error;
        }
        let last = self.probe_count + 1 >= MAX_PROBES;
        match self.sizes.next(self.mtu, self.state == PmtudState::Error, last) {
            Some(size) => {
                self.probed = size;
                self.want(now, size, rtt);
            }
            None => self.complete(now),
        }
    }

    fn complete(&mut self, now: Instant) {
        if self.state == PmtudState::Searching {
            self.state = PmtudState::SearchComplete;
        }
        self.probing.wanted = None;
        self.probing.due = false;
        self.probing.timer.stop();
        self.raise.used = false;
        if self.mtu < self.sizes.max || self.state == PmtudState::Base {
            self.raise.timer.start(now, self.options.raise_timer);
        }
    }

    /// A probe leaves now, or when a round trip has passed since the last one (RFC 8899, section 3, 7).
    fn want(&mut self, now: Instant, size: usize, rtt: Duration) {
        let probing = &mut self.probing;
        probing.outstanding = None;
        probing.wanted = Some(size);
        let passed = probing.sent_at.map(|sent_at| now.saturating_duration_since(sent_at));
        let wait = passed.map_or(Duration::ZERO, |passed| rtt.saturating_sub(passed));
        probing.due = wait.is_zero();
        if probing.due {
            probing.timer.stop();
        } else {
            probing.timer.start(now, wait);
        }
    }

    fn change(&mut self, mtu: usize, reason: MtuReason) {
        if mtu != self.mtu {
            self.mtu = mtu;
            self.confirmed = false;
            self.changed = Some(reason);
        }
    }
}

// Nonce, path, size: shorter than the Heartbeat Info of others, whose first two parts are the same.
const INFO_LEN: usize = 8 + 4 + 4;
/// Expiries of T3-rtx until MIN_PLPMTU is tried: BASE_PLPMTU and a usual size come before.
const STEPS: u8 = 3;
/// MAX_PROBES (RFC 8899, section 5.1.2).
const MAX_PROBES: u8 = 3;

#[cfg(test)]
mod tests;
