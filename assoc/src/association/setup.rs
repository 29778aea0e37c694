//! COOKIE-WAIT: INITs to the listed addresses, one after the other, until one answers (RFC 9260, section 5.1; `connectx`).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use usctp_chunk::{CauseCode, Init, Parameter};

use super::addresses::Named;
use super::schedule::{FullCycle, first_time_out, init_budget};
use super::{Arrival, Ending};
use crate::config::{Compat, Config, ConnectOptions, OnRefused};
use crate::context::Context;
use crate::event::{Event, LostReason, MovedOn, RemovedReason};
use crate::negotiate::{LocalOffer, PeerOffer};
use crate::path::{Path, PathId, PathState, SetupMark};
use crate::timer::{Timer, earliest};

/// What the set-up needs until the association is established.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) offer: LocalOffer,
    compat: Compat,
    on_refused: OnRefused,
    /// Whether an INIT ACK counts by its tag alone.
    by_tag: bool,
    /// How long an address waits before the next one enters the race, if there is one.
    stagger: Option<Duration>,
    /// The time-out of all addresses, where it is not each one's RTO.
    cycle: Option<FullCycle>,
    /// How many INITs may be sent in all, and how many were.
    pub(crate) budget: u32,
    pub(crate) attempts: u32,
    pub(crate) deadline: Timer,
    /// What to ask for with Cookie Preservative, in milliseconds, after a stale cookie.
    preservative: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct CookieWait {
    pub(crate) setup: Setup,
    /// The address that the last INIT went to, or the next one is to go to.
    pub(crate) current: PathId,
    /// Addresses that an INIT is to be sent to: one, or in a race several.
    due: VecDeque<PathId>,
    /// T1-init of each address whose INIT was not answered yet: of one, or in a race of several.
    t1: Vec<(PathId, Timer)>,
    /// When the next address enters the race.
    next_entry: Timer,
    /// When the INIT left, if it is the only one: only then its answer measures a round trip.
    sent_at: Option<Instant>,
}

impl Setup {
    pub(crate) fn new(
        now: Instant,
        offer: LocalOffer,
        addresses: usize,
        options: &ConnectOptions,
        config: &Config,
    ) -> Self {
        let init_max = options.init_max.unwrap_or(config.retransmission.init_max);
        Self {
            offer,
            compat: options.compat,
            on_refused: options.on_refused,
            by_tag: options.accept_init_ack_by_tag,
            stagger: options.race,
            cycle: FullCycle::of(options.compat, &config.rto),
            budget: init_budget(options.compat, addresses, init_max),
            attempts: 0,
            deadline: options.deadline.map(|after| Timer::started(now, after)).unwrap_or_default(),
            preservative: None,
        }
    }
}

impl CookieWait {
    pub(crate) fn new(setup: Setup, first: PathId, ctx: &mut Context) -> Self {
        for path in ctx.paths.iter_mut() {
            path.rto.start_at(first_time_out(setup.compat, &ctx.config.rto));
        }
        Self::asking(setup, first)
    }

    /// RFC 9260, 5.2.6 (3): a stale cookie starts the set-up again, with the addresses that were kept
    /// and a wish for a longer life of the cookie. Which address answers is known now: there is no race.
    pub(crate) fn after_stale_cookie(setup: Setup, current: PathId, extension_ms: u32) -> Self {
        let setup = Setup { preservative: Some(extension_ms), stagger: None, ..setup };
        Self::asking(setup, current)
    }

    fn asking(setup: Setup, current: PathId) -> Self {
        Self {
            setup,
            current,
            due: VecDeque::from([current]),
            t1: Vec::new(),
            next_entry: Timer::default(),
            sent_at: None,
        }
    }

    /// The INIT to send.
    pub(crate) fn init(&self) -> Init {
        let wish = self
            .setup
            .preservative
            .map(|increment_ms| Parameter::CookiePreservative { increment_ms });
        self.setup.offer.init([self.setup.offer.address_types()].into_iter().chain(wish))
    }

    /// Where an INIT is to be sent now.
    pub(crate) fn take_due(&mut self) -> Option<PathId> {
        self.current = self.due.pop_front()?;
        Some(self.current)
    }

    /// The INIT was handed to the network.
    pub(crate) fn init_sent(&mut self, now: Instant, ctx: &mut Context) {
        self.setup.attempts += 1;
        self.sent_at = (self.setup.attempts == 1).then_some(now);
        let attempt = self.setup.attempts;
        let Some(path) = ctx.paths.path_mut(self.current) else { return };
        path.record.inits += 1;
        let time_out = match &mut self.setup.cycle {
            Some(cycle) => cycle.time_out(path.record.inits, &ctx.config.rto),
            None => path.rto.current(),
        };
        let peer = path.peer;
        self.t1.push((self.current, Timer::started(now, time_out)));
        if let Some(stagger) = self.setup.stagger.filter(|_| self.entrants(ctx).next().is_some()) {
            self.next_entry.start(now, stagger);
        }
        ctx.tell(Event::Tried { peer, attempt });
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let t1 = earliest(self.t1.iter().map(|(_, timer)| timer.deadline()));
        earliest([t1, self.next_entry.deadline(), self.setup.deadline.deadline()])
    }

    /// T1-init expired: the next address in the caller's order is tried, cyclic. In a race it is the same address
    /// that is tried again; and another one may enter.
    pub(crate) fn on_timeout(&mut self, now: Instant, ctx: &mut Context) -> Option<Ending> {
        if self.setup.deadline.take_expired(now) {
            return Some(Ending::lost(LostReason::Deadline));
        }
        if self.next_entry.take_expired(now) {
            self.enter_next(ctx);
        }
        let expired = take_expired(&mut self.t1, now);
        if expired.is_empty() {
            return None;
        }
        for path in ctx.paths.iter_mut().filter(|path| expired.contains(&path.id)) {
            // Where one time-out serves all addresses, none has its own.
            if self.setup.cycle.is_none() {
                path.rto.back_off();
            }
        }
        // After a wait, addresses that could not be reached get their chance again.
        for path in ctx.paths.iter_mut() {
            path.record.mark = path.record.mark.filter(|mark| *mark == SetupMark::Refused);
        }
        if self.is_racing() {
            for id in expired {
                self.ask_again(id, ctx);
            }
        } else if !self.is_exhausted() {
            let next = ctx.paths.next_after(self.current, is_open);
            self.turn_to(next.unwrap_or(self.current), MovedOn::Timeout, ctx);
        }
        self.is_over().then(|| Ending::lost(LostReason::SetupTimeout))
    }

    /// The network, or the attempt to send, says that an address cannot be reached: the next one is
    /// tried at once, and the time-out of this one is not backed off.
    pub(crate) fn on_unreachable(
        &mut self,
        id: PathId,
        mark: SetupMark,
        ctx: &mut Context,
    ) -> Option<Ending> {
        if self.setup.compat != Compat::Rfc {
            // There, only T1-init moves on.
            return None;
        }
        if let Some(path) = ctx.paths.path_mut(id) {
            path.record.mark.get_or_insert(mark);
        }
        let failed = |path: &Path| path.record.mark == Some(SetupMark::SendFailed);
        if ctx.paths.iter().filter(|path| path.confirmed || path.id == id).all(failed) {
            return Some(Ending::lost(LostReason::Unreachable));
        }
        if self.is_racing() {
            let waits = self.t1.iter().any(|(asked, _)| *asked == id);
            if waits && self.entrants(ctx).next().is_some() {
                tell_moved_on(id, MovedOn::Unreachable, ctx);
                self.enter_next(ctx);
            }
            return None;
        }
        if id != self.current || !self.due.is_empty() {
            return None;
        }
        // When all are out, T1-init goes on and starts the next round.
        let next = ctx.paths.next_after(id, is_open)?;
        if !self.is_exhausted() {
            self.turn_to(next, MovedOn::Unreachable, ctx);
        }
        None
    }

    /// An address refused: with ABORT, or with ICMP protocol unreachable in its place.
    pub(crate) fn on_refused(
        &mut self,
        id: PathId,
        cause: Option<CauseCode>,
        no_sctp: bool,
        ctx: &mut Context,
    ) -> Option<Ending> {
        let path = ctx.paths.path_mut(id)?;
        path.record.mark = Some(SetupMark::Refused);
        let (peer, zone) = (path.peer, path.zone);
        let refused = Ending::lost(LostReason::Refused { peer, cause, no_sctp });
        // This host speaks for itself alone: a peer of which other addresses are listed may be elsewhere.
        let is_ours = |path: &Path| ctx.host.has(path.peer, path.zone);
        let by_us = ctx.host.has(peer, zone) && !ctx.paths.iter().all(is_ours);
        if self.setup.on_refused == OnRefused::Fail && !by_us {
            return Some(refused);
        }
        let fresh = ctx.paths.next_after(id, is_open);
        let is_left = |path: &Path| path.confirmed && path.record.mark != Some(SetupMark::Refused);
        let left = || ctx.paths.next_after(id, is_left);
        let Some(next) = fresh.or_else(left) else { return Some(refused) };
        if self.is_racing() {
            self.t1.retain(|(asked, _)| *asked != id);
            self.due.retain(|due| *due != id);
            tell_moved_on(id, MovedOn::Refused, ctx);
            self.enter_next(ctx);
        } else if id == self.current {
            if self.is_exhausted() {
                return Some(refused);
            }
            self.turn_to(next, MovedOn::Refused, ctx);
        }
        self.is_over().then_some(refused)
    }

    /// Whether an INIT ACK belongs here: it came from a known address, or lists one (RFC 9260, 5.1.2, D). By its tag alone it
    /// does if it names an address at least that can be spoken to.
    pub(crate) fn knows_one_of(
        &self,
        arrival: &Arrival,
        offer: &PeerOffer,
        taken: &dyn Fn(IpAddr) -> bool,
        ctx: &Context,
    ) -> bool {
        let listed: Vec<IpAddr> = offer.listed().collect();
        let known = listed.iter().any(|peer| ctx.paths.find(*peer).is_some());
        let (source, zone, own) = (arrival.source, arrival.zone, &*self.setup.offer.own);
        let usable = || !Named { source, zone, listed: &listed, own, taken }.new_to(ctx).is_empty();
        arrival.path.is_some() || known || (self.setup.by_tag && usable())
    }

    /// Makes the peer's addresses out of the caller's list and the INIT ACK's, and says which of them the
    /// COOKIE ECHO goes to: it is the primary path from now on. None if there is no address left to speak to.
    pub(crate) fn settle(
        &self,
        now: Instant,
        arrival: &Arrival,
        offer: &PeerOffer,
        taken: &dyn Fn(IpAddr) -> bool,
        ctx: &mut Context,
    ) -> Option<PathId> {
        self.measure(now, arrival, ctx);
        ctx.me.answered_at(arrival.destination);
        let offered: Vec<IpAddr> = offer.listed().collect();
        let (source, zone, own) = (arrival.source, arrival.zone, &*self.setup.offer.own);
        settle_addresses(&Named { source, zone, listed: &offered, own, taken }, ctx);
        let source = ctx.paths.find(arrival.source).and_then(|id| ctx.paths.path_mut(id));
        if let Some(path) = source {
            path.zone = arrival.zone;
            // It may be one that is known by the tag alone, and was not met before.
            path.set_udp_port(arrival.udp_port);
        }
        let answered = arrival.path.filter(|id| ctx.paths.path(*id).is_some());
        let to = self.cookie_path(answered, ctx)?;
        ctx.paths.set_primary(to);
        Some(to)
    }

    /// The address that answered if it is confirmed; else the last one tried, else any confirmed one; and
    /// if the peer kept none of the listed ones, the only one there is.
    fn cookie_path(&self, answered: Option<PathId>, ctx: &Context) -> Option<PathId> {
        let confirmed = |id: &PathId| ctx.paths.path(*id).is_some_and(|path| path.confirmed);
        let any = || ctx.paths.iter().find(|path| path.confirmed).map(|path| path.id);
        let first = || ctx.paths.iter().next().map(|path| path.id);
        answered
            .filter(confirmed)
            .or_else(|| Some(self.current).filter(confirmed))
            .or_else(any)
            .or_else(first)
    }

    /// RFC 9260, 6.3.1 (C5): an INIT that was sent once measures the round trip.
    fn measure(&self, now: Instant, arrival: &Arrival, ctx: &mut Context) {
        let Some(sent_at) = self.sent_at.filter(|_| self.setup.attempts == 1) else { return };
        if arrival.path == Some(self.current)
            && let Some(path) = ctx.paths.path_mut(self.current)
        {
            path.rto.measure(now.saturating_duration_since(sent_at));
        }
    }

    fn turn_to(&mut self, next: PathId, reason: MovedOn, ctx: &mut Context) {
        if next != self.current {
            tell_moved_on(self.current, reason, ctx);
        }
        self.current = next;
        self.t1.clear();
        self.due.clear();
        self.due.push_back(next);
    }

    fn is_racing(&self) -> bool {
        self.setup.stagger.is_some()
    }

    /// Whether as many INITs were sent, or are about to be, as may be.
    fn is_exhausted(&self) -> bool {
        let due = u32::try_from(self.due.len()).unwrap_or(u32::MAX);
        self.setup.attempts.saturating_add(due) >= self.setup.budget
    }

    /// Whether no answer is waited for any more, and no INIT left to send.
    fn is_over(&self) -> bool {
        self.t1.is_empty() && self.due.is_empty() && !self.next_entry.is_running()
    }

    /// The addresses that were not tried yet, in the caller's order.
    fn entrants(&self, ctx: &Context) -> impl Iterator<Item = PathId> {
        let waits =
            |path: &&Path| path.record.inits == 0 && is_open(path) && !self.due.contains(&path.id);
        ctx.paths.iter().filter(waits).map(|path| path.id)
    }

    /// The next address enters the race, if there may be another INIT.
    fn enter_next(&mut self, ctx: &Context) {
        let next = self.entrants(ctx).next();
        if let Some(next) = next.filter(|_| !self.is_exhausted()) {
            self.due.push_back(next);
        }
        self.next_entry.stop();
    }

    /// An address is asked once more, unless that would take the only INIT of one that has not been asked.
    fn ask_again(&mut self, id: PathId, ctx: &Context) {
        let spoken_for = self.due.len() + self.entrants(ctx).count();
        let spoken_for = u32::try_from(spoken_for).unwrap_or(u32::MAX);
        if self.setup.attempts.saturating_add(spoken_for) < self.setup.budget {
            self.due.push_back(id);
        }
    }
}

/// Whether an address may be asked in this round. After a stale cookie there may be learned ones: an unconfirmed one gets
/// no INIT (RFC 9260, 5.4).
fn is_open(path: &Path) -> bool {
    path.confirmed && path.record.mark.is_none()
}

fn tell_moved_on(from: PathId, reason: MovedOn, ctx: &mut Context) {
    if let Some(peer) = ctx.paths.path(from).map(|path| path.peer) {
        ctx.tell(Event::MovedOn { peer, reason });
    }
}

/// Takes out the timers whose time has come, in the order in which it came.
fn take_expired(timers: &mut Vec<(PathId, Timer)>, now: Instant) -> Vec<PathId> {
    let is_expired = |timer: &Timer| timer.deadline().is_some_and(|deadline| deadline <= now);
    let (mut expired, running): (Vec<_>, Vec<_>) =
        std::mem::take(timers).into_iter().partition(|(_, timer)| is_expired(timer));
    *timers = running;
    expired.sort_by_key(|(_, timer)| timer.deadline());
    expired.into_iter().map(|(id, _)| id).collect()
}

/// `connectx`: listed addresses that the peer omits, and does not answer from, are dropped; those it adds are unconfirmed.
pub(crate) fn settle_addresses(named: &Named<'_>, ctx: &mut Context) {
    let gone = named.drop_others(RemovedReason::NotInInitAck, ctx);
    for path in ctx.paths.iter_mut() {
        if path.confirmed {
            path.state = PathState::Active;
        }
        path.record.mark = None;
    }
    named.add_new(&gone, ctx);
    ctx.paths.note_listed(named.listed);
}
