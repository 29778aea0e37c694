//! COOKIE-WAIT: INITs to the listed addresses, one after the other, until one answers (RFC 9260, section 5.1; `connectx`).

use std::net::IpAddr;
use std::time::Instant;

use usctp_chunk::{CauseCode, Init, Parameter};

use super::schedule::{first_time_out, init_budget};
use super::{Arrival, Ending};
use crate::config::{Compat, Config, ConnectOptions, OnRefused};
use crate::context::Context;
use crate::event::{AddressChange, Event, LostReason, MovedOn, RemovedReason};
use crate::negotiate::{LocalOffer, PeerOffer};
use crate::path::{PathId, PathState, SetupMark};
use crate::timer::Timer;

/// What the set-up needs until the association is established.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) offer: LocalOffer,
    pub(crate) compat: Compat,
    on_refused: OnRefused,
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
    pub(crate) current: PathId,
    /// An INIT is to be sent.
    pub(crate) due: bool,
    pub(crate) t1: Timer,
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
        Self { setup, current: first, due: true, t1: Timer::default(), sent_at: None }
    }

    /// RFC 9260, 5.2.6 (3): a stale cookie starts the set-up again, with the addresses that were kept
    /// and a wish for a longer life of the cookie.
    pub(crate) fn after_stale_cookie(setup: Setup, current: PathId, extension_ms: u32) -> Self {
        let setup = Setup { preservative: Some(extension_ms), ..setup };
        Self { setup, current, due: true, t1: Timer::default(), sent_at: None }
    }

    /// The INIT to send.
    pub(crate) fn init(&self) -> Init {
        let wish = self
            .setup
            .preservative
            .map(|increment_ms| Parameter::CookiePreservative { increment_ms });
        self.setup.offer.init([self.setup.offer.address_types()].into_iter().chain(wish))
    }

    /// The INIT was handed to the network.
    pub(crate) fn init_sent(&mut self, now: Instant, ctx: &mut Context) {
        self.due = false;
        self.setup.attempts += 1;
        self.sent_at = (self.setup.attempts == 1).then_some(now);
        let attempt = self.setup.attempts;
        let Some(path) = ctx.paths.path(self.current) else { return };
        let (peer, rto) = (path.peer, path.rto.current());
        self.t1.start(now, rto);
        ctx.tell(Event::Tried { peer, attempt });
    }

    /// T1-init expired: the next address in the caller's order is tried, cyclic.
    pub(crate) fn on_timeout(&mut self, now: Instant, ctx: &mut Context) -> Option<Ending> {
        if self.setup.deadline.take_expired(now) {
            return Some(Ending::lost(LostReason::Deadline));
        }
        if !self.t1.take_expired(now) {
            return None;
        }
        if let Some(path) = ctx.paths.path_mut(self.current) {
            path.rto.back_off();
        }
        if self.setup.attempts >= self.setup.budget {
            return Some(Ending::lost(LostReason::SetupTimeout));
        }
        // After a wait, addresses that could not be reached get their chance again.
        for path in ctx.paths.iter_mut() {
            path.record.mark = path.record.mark.filter(|mark| *mark == SetupMark::Refused);
        }
        let next = ctx.paths.next_after(self.current, |path| path.record.mark.is_none());
        self.turn_to(next.unwrap_or(self.current), MovedOn::Timeout, ctx);
        None
    }

    /// The network, or the attempt to send, says that an address cannot be reached: the next one is
    /// tried at once, and the time-out of this one is not backed off.
    pub(crate) fn on_unreachable(
        &mut self,
        id: PathId,
        mark: SetupMark,
        ctx: &mut Context,
    ) -> Option<Ending> {
        if let Some(path) = ctx.paths.path_mut(id) {
            path.record.mark.get_or_insert(mark);
        }
        if id != self.current || self.due {
            return None;
        }
        if ctx.paths.iter().all(|path| path.record.mark == Some(SetupMark::SendFailed)) {
            return Some(Ending::lost(LostReason::Unreachable));
        }
        // When all are out, T1-init goes on and starts the next round.
        let next = ctx.paths.next_after(id, |path| path.record.mark.is_none())?;
        if self.setup.attempts >= self.setup.budget {
            return None;
        }
        self.turn_to(next, MovedOn::Unreachable, ctx);
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
        let refused = Ending::lost(LostReason::Refused { peer: path.peer, cause, no_sctp });
        if self.setup.on_refused == OnRefused::Fail {
            return Some(refused);
        }
        let fresh = ctx.paths.next_after(id, |path| path.record.mark.is_none());
        let left = || ctx.paths.next_after(id, |path| path.record.mark != Some(SetupMark::Refused));
        let Some(next) = fresh.or_else(left) else { return Some(refused) };
        if id == self.current {
            self.turn_to(next, MovedOn::Refused, ctx);
        }
        None
    }

    /// Whether an INIT ACK belongs here: it came from a known address, or lists one (RFC 9260, 5.1.2, D).
    pub(crate) fn knows_one_of(&self, arrival: &Arrival, offer: &PeerOffer, ctx: &Context) -> bool {
        arrival.path.is_some() || offer.addresses.iter().any(|peer| ctx.paths.find(*peer).is_some())
    }

    /// Makes the peer's addresses out of the caller's list and the INIT ACK's, and says which of them the
    /// COOKIE ECHO goes to.
    pub(crate) fn settle(
        &self,
        now: Instant,
        arrival: &Arrival,
        offer: &PeerOffer,
        taken: &dyn Fn(IpAddr) -> bool,
        ctx: &mut Context,
    ) -> PathId {
        self.measure(now, arrival, ctx);
        let first = ctx.paths.iter().next().map(|path| path.id);
        settle_addresses(arrival.source, &offer.addresses, &self.setup.offer.own, taken, ctx);
        let answered = arrival.path.filter(|id| ctx.paths.path(*id).is_some());
        let to = self.cookie_path(answered, ctx);
        // The first listed address stays primary if it answered; else the one that did.
        let primary = first.filter(|first| answered == Some(*first)).unwrap_or(to);
        ctx.paths.set_primary(primary);
        to
    }

    /// The address that answered if it is confirmed; else the last one tried, else any confirmed one; and
    /// if the peer kept none of the listed ones, the only one there is.
    fn cookie_path(&self, answered: Option<PathId>, ctx: &Context) -> PathId {
        let confirmed = |id: &PathId| ctx.paths.path(*id).is_some_and(|path| path.confirmed);
        let any = || ctx.paths.iter().find(|path| path.confirmed).map(|path| path.id);
        let first = || ctx.paths.iter().next().map(|path| path.id);
        answered
            .filter(confirmed)
            .or_else(|| Some(self.current).filter(confirmed))
            .or_else(any)
            .or_else(first)
            .unwrap_or(self.current)
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
        if next != self.current
            && let Some(path) = ctx.paths.path(self.current)
        {
            let peer = path.peer;
            ctx.tell(Event::MovedOn { peer, reason });
        }
        self.current = next;
        self.due = true;
        self.t1.stop();
    }
}

/// `connectx`: listed addresses that the peer omits, and does not answer from, are dropped; those it adds
/// are unconfirmed. Addresses of another association (`taken`) and of families without an own address
/// (none in `own`) are ignored.
pub(crate) fn settle_addresses(
    source: IpAddr,
    offered: &[IpAddr],
    own: &[IpAddr],
    taken: &dyn Fn(IpAddr) -> bool,
    ctx: &mut Context,
) {
    let config = ctx.config.clone();
    let kept = |peer| peer == source || offered.contains(&peer);
    let dropped: Vec<PathId> =
        ctx.paths.iter().filter(|path| !kept(path.peer)).map(|path| path.id).collect();
    for id in dropped {
        ctx.tell_path(id, AddressChange::Removed(RemovedReason::NotInInitAck));
        ctx.paths.remove(id);
    }
    for path in ctx.paths.iter_mut() {
        path.state = PathState::Active;
        path.record.mark = None;
    }
    for peer in std::iter::once(source).chain(offered.iter().copied()) {
        let usable = own.iter().any(|own| own.is_ipv4() == peer.is_ipv4());
        // A loopback address means the peer's own host unless it is this one.
        let reachable = source.is_loopback() || !peer.is_loopback();
        let room = ctx.paths.len() < config.limits.peer_addresses;
        if ctx.paths.find(peer).is_none() && usable && reachable && room && !taken(peer) {
            let id = ctx.paths.add(peer, PathState::Unconfirmed, &config);
            ctx.tell_path(id, AddressChange::Unconfirmed);
        }
    }
    ctx.addresses_changed = true;
}
