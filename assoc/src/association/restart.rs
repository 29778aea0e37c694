//! Cookies: an association made of one, and one that meets the association it belongs to (RFC 9260, sections 5.1.5 and 5.2).

use std::net::IpAddr;
use std::time::Instant;

use usctp_chunk::{Cause, Chunk};

use super::addresses::Named;
use super::collision::{CookieAction, InitAction, cookie_action, tags};
use super::inbound::new_ties;
use super::setup::settle_addresses;
use super::tcb::{Phase, Tcb};
use super::{Arrival, Association, State};
use crate::context::Context;
use crate::cookie::{Cookie, Route, Ties};
use crate::event::{ActiveReason, Event, RemovedReason};
use crate::negotiate::PeerOffer;
use crate::path::{Heartbeat, Pacer, Path, PathId, PathState, Paths, Record, Rto};
use crate::recv::Receiver;
use crate::send::Sender;
use crate::timer::Timer;

impl Association {
    /// An association that a peer opened: the context has the INIT's source as its only path.
    pub(crate) fn accepted(
        mut ctx: Context,
        now: Instant,
        cookie: &Cookie,
        own: &[IpAddr],
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> Self {
        settle_addresses(&named(cookie, own, taken), &mut ctx);
        let learned = std::mem::take(&mut ctx.events);
        let first = ctx.paths.primary();
        follow(&cookie.route, first, &mut ctx);
        let tcb = tcb_of(cookie, &mut ctx);
        let mut association = Self { ctx, state: State::Open(Box::new(tcb)) };
        association.acknowledge_cookie(now, None, true);
        // The application hears of the association first, and then of its addresses.
        association.ctx.events.extend(learned);
        association
    }

    /// What to do about an INIT whose addresses lead to this association (RFC 9260, 5.2.1, 5.2.2, 9.2).
    /// `own` and `taken` are as when an association begins.
    pub(crate) fn on_init(
        &mut self,
        (source, zone): (IpAddr, u32),
        offer: &PeerOffer,
        own: &[IpAddr],
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> InitAction {
        let known = self.ctx.paths.find_in(source, zone).is_some();
        // RFC 9260, 5.2.2: what a new association would not have is not added to this one either.
        let mut new =
            Named { source, zone, listed: &offer.addresses, own, taken }.added_to(&self.ctx);
        if !known && !new.contains(&source) {
            new.insert(0, source);
        }
        match &mut self.state {
            State::Closed(_) => InitAction::Discard,
            // RFC 9260, 5.2.1: answered only at an address that the application listed, and that the INIT names; where it came
            // from if that is one.
            State::CookieWait(_) if known => InitAction::AnswerAsOffered(Ties::default()),
            State::CookieWait(_) => match self.ctx.paths.first_of(&offer.addresses) {
                Some(&Path { peer, udp_port, zone, .. }) => {
                    InitAction::AnswerAt { peer, udp_port, zone }
                }
                None => InitAction::Discard,
            },
            State::Open(tcb) => match &mut tcb.phase {
                Phase::ShutdownAckSent(closing) => {
                    closing.due = true;
                    InitAction::RepeatShutdownAck
                }
                _ if !new.is_empty() => InitAction::RefuseNewAddresses(new),
                Phase::CookieEchoed(_) => InitAction::AnswerAsOffered(tcb.ties),
                _ => InitAction::AnswerAnew(tcb.ties),
            },
        }
    }

    /// What this side offered, if it opened the association and still sets it up.
    pub(crate) fn own_offer(&self) -> Option<&crate::negotiate::LocalOffer> {
        match &self.state {
            State::CookieWait(wait) => Some(&wait.setup.offer),
            State::Open(tcb) => match &tcb.phase {
                Phase::CookieEchoed(echoed) => Some(&echoed.setup.offer),
                _ => None,
            },
            State::Closed(_) => None,
        }
    }

    /// Which row of table 12 an authentic cookie meets here.
    pub(crate) fn cookie_action(&self, cookie: &Cookie) -> CookieAction {
        let ties = match &self.state {
            State::Open(tcb) => tcb.ties,
            _ => Ties::default(),
        };
        if self.is_over() {
            return CookieAction::None;
        }
        cookie_action(tags(self.ctx.me.local_tag, self.peer_tag()), ties, cookie)
    }

    /// Acts on an authentic cookie (RFC 9260, 5.2.4). Whether the rest of the packet belongs here.
    pub(crate) fn on_cookie(
        &mut self,
        now: Instant,
        action: CookieAction,
        cookie: &Cookie,
        arrival: &Arrival,
        own: &[IpAddr],
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> bool {
        match action {
            CookieAction::None | CookieAction::Late => return false,
            CookieAction::Restart => return self.on_restart(now, cookie, arrival, own, taken),
            CookieAction::Collision => self.on_collision(now, cookie, arrival, taken),
            CookieAction::Duplicate => {
                let setting_up = matches!(&self.state, State::Open(tcb)
                    if matches!(tcb.phase, Phase::CookieEchoed(_)));
                self.acknowledge_cookie(now, Some(arrival), setting_up);
            }
        }
        true
    }

    /// RFC 9260, 5.2.4 (A): as if an ABORT had come, and the cookie had then met no association. What the application set is
    /// kept, and so are the messages that were not sent yet.
    fn on_restart(
        &mut self,
        now: Instant,
        cookie: &Cookie,
        arrival: &Arrival,
        own: &[IpAddr],
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> bool {
        let State::Open(tcb) = &mut self.state else { return false };
        let (route, named) = (&cookie.route, named(cookie, own, taken));
        let first = self.ctx.paths.find_in(route.peer, route.zone);
        let Some(first) = first.filter(|_| named.added_to(&self.ctx).is_empty()) else {
            return false;
        };
        if let Phase::ShutdownAckSent(closing) = &mut tcb.phase {
            // No new association now: SHUTDOWN ACK again, and the reason for it.
            closing.due = true;
            let causes = [Cause::CookieReceivedWhileShuttingDown].into_iter().collect();
            let to = self.ctx.confirmed(arrival.path).unwrap_or(closing.path);
            tcb.control.push(to, self.ctx.asked(to, arrival), Chunk::Error(causes));
            return false;
        }
        // A close of this side goes on, and T5-shutdown-guard bounds the whole of it; one of the old peer is void.
        let closes = tcb.closes;
        let guard = if closes { tcb.guard } else { Timer::default() };
        tcb.cut_partial_deliveries(&mut self.ctx);
        give_back(tcb, &mut self.ctx);
        self.ctx.end_heartbeats(Heartbeat::stop);
        let told = std::mem::take(&mut self.ctx.events);
        named.drop_others(RemovedReason::NotInInit, &mut self.ctx);
        // What was left out stays so: it was not looked at whether it is of use now.
        self.ctx.paths.note_listed(named.listed);
        let removed = std::mem::replace(&mut self.ctx.events, told);
        follow(route, first, &mut self.ctx);
        let returned = renew(now, first, &mut self.ctx.paths);
        let me = &mut self.ctx.me;
        me.answered_at(route.local);
        me.local_tag = cookie.tags.local;
        me.sources = route.sources;
        self.ctx.addresses_changed = true;
        let tcb = Tcb { closes, guard, ..tcb_of(cookie, &mut self.ctx) };
        self.adopt(tcb);
        self.acknowledge_cookie(now, Some(arrival), false);
        if let State::Open(tcb) = &mut self.state {
            tcb.restart(now, &mut self.ctx);
        }
        // The application hears of the restart first, and then of the addresses.
        self.ctx.events.extend(removed);
        for (id, before) in returned {
            self.ctx.tell_return(id, before, ActiveReason::Restarted);
        }
        true
    }

    /// RFC 9260, 5.2.4 (B): the peer's tag, and all else of the cookie, is what counts.
    fn on_collision(
        &mut self,
        now: Instant,
        cookie: &Cookie,
        arrival: &Arrival,
        taken: &dyn Fn(IpAddr) -> bool,
    ) {
        match &mut self.state {
            State::CookieWait(wait) => {
                let (ctx, own) = (&mut self.ctx, &wait.setup.offer.own);
                ctx.me.answered_at(cookie.route.local);
                settle_addresses(&named(cookie, own, taken), ctx);
                if let Some(path) = ctx.paths.find(cookie.route.peer) {
                    ctx.paths.set_primary(path);
                }
            }
            State::Open(tcb) if matches!(tcb.phase, Phase::CookieEchoed(_)) => {
                // The peer that had the first cookie is gone, and may have taken what went with it.
                give_back(tcb, &mut self.ctx);
            }
            State::Open(tcb) => {
                tcb.peer_tag = cookie.tags.peer;
                return self.acknowledge_cookie(now, Some(arrival), false);
            }
            State::Closed(_) => return,
        }
        let tcb = tcb_of(cookie, &mut self.ctx);
        self.adopt(tcb);
        self.acknowledge_cookie(now, Some(arrival), true);
    }

    /// The association goes on with another TCB. Messages for streams that the peer no longer has cannot be sent.
    fn adopt(&mut self, tcb: Tcb) {
        self.reject_streams(tcb.negotiated);
        self.state = State::Open(Box::new(tcb));
    }

    /// Sends COOKIE ACK to where the cookie came from, and opens the association with it if it is new.
    fn acknowledge_cookie(&mut self, now: Instant, arrival: Option<&Arrival>, establish: bool) {
        let State::Open(tcb) = &mut self.state else { return };
        let primary = self.ctx.paths.primary();
        let from = arrival.and_then(|arrival| self.ctx.paths.find_in(arrival.source, arrival.zone));
        let to = from.unwrap_or(primary);
        let asked = arrival.and_then(|arrival| self.ctx.asked(to, arrival));
        tcb.control.push_first(to, asked, Chunk::CookieAck);
        if establish {
            tcb.establish(now, &mut self.ctx);
        }
        if let Some(path) = self.ctx.paths.path_mut(to).filter(|path| !path.confirmed) {
            // RFC 9260, 5.4: to an unconfirmed address only together with a nonce.
            path.heartbeat.request();
        }
    }
}

/// The addresses that a cookie names.
fn named<'a>(
    cookie: &'a Cookie,
    own: &'a [IpAddr],
    taken: &'a dyn Fn(IpAddr) -> bool,
) -> Named<'a> {
    let (source, zone) = (cookie.route.peer, cookie.route.zone);
    Named { source, zone, listed: &cookie.addresses, own, taken }
}

/// What follows goes the way that the INIT came, which the cookie has shown to lead to the peer (RFC 9260, 5.4).
fn follow(route: &Route, first: PathId, ctx: &mut Context) {
    ctx.paths.set_primary(first);
    for path in ctx.paths.iter_mut() {
        path.local = None;
        path.set_udp_port(route.udp_port);
    }
    if let Some(path) = ctx.paths.path_mut(first) {
        // The answer leaves from the address that was asked.
        path.local = Some(route.local);
        path.zone = route.zone;
    }
}

/// RFC 9260, 5.2.4 (A): what was learned of the paths is forgotten, but for their statistics, and that an address is the
/// peer's. Those that are active now and were not.
fn renew(now: Instant, first: PathId, paths: &mut Paths) -> Vec<(PathId, PathState)> {
    let mut returned = Vec::new();
    paths.forget_errors();
    for path in paths.iter_mut() {
        path.rto = Rto::new(&path.settings.rto);
        path.pacer = Pacer::default();
        path.record = Record { counts: path.record.counts, ..Record::default() };
        path.confirmed |= path.id == first;
        if path.confirmed && path.state != PathState::Active {
            returned.push((path.id, path.state));
            path.enter(now, PathState::Active);
        }
    }
    returned
}

/// What was sent to a peer that is gone is given back to the application, and the streams begin anew.
fn give_back(tcb: &mut Tcb, ctx: &mut Context) {
    let lost = tcb.sender.give_back();
    ctx.tell_all(lost.into_iter().map(|message| Event::SendFailed { message, sent: true }));
    ctx.outbox.restart();
    for path in ctx.paths.iter_mut() {
        path.forget_flight();
    }
}

/// An established association as the cookie describes it (RFC 9260, 5.1.5, step 5).
fn tcb_of(cookie: &Cookie, ctx: &mut Context) -> Tcb {
    let streams = cookie.negotiated.inbound_streams;
    Tcb {
        phase: Phase::Established,
        peer_tag: cookie.tags.peer,
        ties: new_ties(ctx),
        negotiated: cookie.negotiated,
        control: Default::default(),
        receiver: Receiver::new(cookie.peer_tsn, streams, &ctx.config.limits),
        sender: Sender::new(cookie.local_tsn, cookie.peer_rwnd, &ctx.config),
        adaptation: cookie.adaptation,
        guard: Timer::default(),
        closes: false,
    }
}
