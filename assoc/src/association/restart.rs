//! Cookies: an association made of one, and one that meets the association it belongs to (RFC 9260, sections 5.1.5 and 5.2).

use std::net::IpAddr;
use std::time::Instant;

use usctp_chunk::{Cause, Chunk};

use super::collision::{CookieAction, InitAction, cookie_action, tags};
use super::inbound::new_ties;
use super::setup::settle_addresses;
use super::tcb::{Phase, Tcb};
use super::{Arrival, Association, State};
use crate::context::Context;
use crate::cookie::{Cookie, Ties};
use crate::event::{ActiveReason, Event};
use crate::negotiate::PeerOffer;
use crate::outbox;
use crate::path::{Heartbeat, PathId, PathState, Rto};
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
        settle_addresses(cookie.route.peer, &cookie.addresses, own, taken, &mut ctx);
        let learned = std::mem::take(&mut ctx.events);
        let first = ctx.paths.primary();
        if let Some(path) = ctx.paths.path_mut(first) {
            // The answer leaves from the address that was asked.
            path.local = Some(cookie.route.local);
            path.udp_port = cookie.route.udp_port;
            path.zone = cookie.route.zone;
        }
        for path in ctx.paths.iter_mut() {
            path.udp_port = cookie.route.udp_port;
        }
        let tcb = tcb_of(cookie, &mut ctx);
        let mut association = Self { ctx, state: State::Open(Box::new(tcb)) };
        association.acknowledge_cookie(now, None, true);
        // The application hears of the association first, and then of its addresses.
        association.ctx.events.extend(learned);
        association
    }

    /// What to do about an INIT whose addresses lead to this association (RFC 9260, 5.2.1, 5.2.2, 9.2).
    pub(crate) fn on_init(&mut self, source: IpAddr, offer: &PeerOffer) -> InitAction {
        let known = |address: &IpAddr| self.ctx.paths.find(*address).is_some();
        let listed = std::iter::once(source).chain(offer.addresses.iter().copied());
        let new: Vec<IpAddr> = listed.filter(|address| !known(address)).collect();
        match &mut self.state {
            State::Closed(_) => InitAction::Discard,
            // RFC 9260, 5.2.1: answered only at an address that the application listed.
            State::CookieWait(_) if known(&source) => InitAction::AnswerAsOffered(Ties::default()),
            State::CookieWait(_) => InitAction::Discard,
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
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> bool {
        match action {
            CookieAction::None | CookieAction::Late => return false,
            CookieAction::Restart => return self.on_restart(now, cookie, arrival),
            CookieAction::Collision => self.on_collision(now, cookie, arrival, taken),
            CookieAction::Duplicate => {
                let setting_up = matches!(&self.state, State::Open(tcb)
                    if matches!(tcb.phase, Phase::CookieEchoed(_)));
                self.acknowledge_cookie(now, Some(arrival), setting_up);
            }
        }
        true
    }

    /// RFC 9260, 5.2.4 (A)
    fn on_restart(&mut self, now: Instant, cookie: &Cookie, arrival: &Arrival) -> bool {
        let State::Open(tcb) = &mut self.state else { return false };
        let known = |address: &IpAddr| self.ctx.paths.find(*address).is_some();
        if !std::iter::once(&cookie.route.peer).chain(&cookie.addresses).all(known) {
            return false;
        }
        if let Phase::ShutdownAckSent(closing) = &mut tcb.phase {
            // No new association now: SHUTDOWN ACK again, and the reason for it.
            closing.due = true;
            let causes = [Cause::CookieReceivedWhileShuttingDown].into_iter().collect();
            let to = self.ctx.confirmed(arrival.path).unwrap_or(closing.path);
            tcb.control.push(to, Chunk::Error(causes));
            return false;
        }
        tcb.cut_partial_deliveries(&mut self.ctx);
        give_back(tcb, &mut self.ctx);
        let returned = self.reset_paths(now);
        self.ctx.me.answered_at(cookie.route.local);
        let me = &mut self.ctx.me;
        me.local_tag = cookie.tags.local;
        me.sources = cookie.route.sources;
        self.ctx.addresses_changed = true;
        let tcb = tcb_of(cookie, &mut self.ctx);
        self.state = State::Open(Box::new(tcb));
        self.acknowledge_cookie(now, Some(arrival), false);
        if let State::Open(tcb) = &mut self.state {
            tcb.restart(now, &mut self.ctx);
        }
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
                settle_addresses(cookie.route.peer, &cookie.addresses, own, taken, ctx);
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
        self.state = State::Open(Box::new(tcb));
        self.acknowledge_cookie(now, Some(arrival), true);
    }

    /// Sends COOKIE ACK to where the cookie came from, and opens the association with it if it is new.
    fn acknowledge_cookie(&mut self, now: Instant, arrival: Option<&Arrival>, establish: bool) {
        if let State::Open(tcb) = &self.state {
            self.reject_streams(tcb.negotiated);
        }
        let State::Open(tcb) = &mut self.state else { return };
        let primary = self.ctx.paths.primary();
        let to = arrival.and_then(|arrival| arrival.path).unwrap_or(primary);
        tcb.control.push_first(to, Chunk::CookieAck);
        if establish {
            tcb.establish(now, &mut self.ctx);
        }
        if let Some(path) = self.ctx.paths.path_mut(to).filter(|path| !path.confirmed) {
            // RFC 9260, 5.4: to an unconfirmed address only together with a nonce.
            path.heartbeat.request();
        }
    }

    /// RFC 9260, 5.2.4 (A): all that was learned of the paths is forgotten. Which paths had failed, and do so no more.
    fn reset_paths(&mut self, now: Instant) -> Vec<(PathId, PathState)> {
        let mut returned = Vec::new();
        self.ctx.paths.forget_errors();
        self.ctx.end_heartbeats(Heartbeat::stop);
        for path in self.ctx.paths.iter_mut() {
            path.rto = Rto::new(&path.settings.rto);
            path.t3.stop();
            path.record = Default::default();
            if path.confirmed && path.state != PathState::Active {
                returned.push((path.id, path.state));
                path.enter(now, PathState::Active);
            }
        }
        returned
    }
}

/// What was sent to a peer that is gone is given back to the application, and the streams begin anew.
fn give_back(tcb: &mut Tcb, ctx: &mut Context) {
    let lost = outbox::whole_messages(tcb.sender.drain());
    ctx.events.extend(lost.into_iter().map(|message| Event::SendFailed { message, sent: true }));
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
    }
}
