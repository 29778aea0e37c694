//! Packets for an association: chunk by chunk, each to the state it finds (RFC 9260, sections 5.1, 6.10 and 8.5).

use std::net::IpAddr;
use std::time::Instant;

use rand::Rng;
use usctp_chunk::{
    Abort, Cause, Causes, Chunk, ChunkType, DecodeError, Init, MissingParameters, Packet,
    ParameterType, RawChunk, ShutdownComplete, VerificationTag,
};

use super::setup::{CookieWait, Setup};
use super::tcb::{CookieEchoed, Phase, Tcb, abort_chunk, is_well_formed};
use super::{Arrival, Association, Ending, Outcome, State};
use crate::context::Context;
use crate::cookie::Ties;
use crate::event::{Event, LostReason};
use crate::negotiate::{Negotiated, PeerOffer, Refusal, is_known};
use crate::path::{Path, PathId};
use crate::recv::Receiver;
use crate::reply::Reply;
use crate::send::Sender;
use crate::timer::Timer;

impl Association {
    /// The tag that packets of this association reflect when they carry the T bit.
    pub(crate) fn peer_tag(&self) -> Option<VerificationTag> {
        match &self.state {
            State::Open(tcb) => Some(tcb.peer_tag),
            _ => None,
        }
    }

    /// Acts on a packet whose ports fit and whose tag is this side's, or for ABORT and SHUTDOWN COMPLETE
    /// with the T bit the peer's. `taken` tells addresses of other associations.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        packet: &Packet,
        arrival: &Arrival,
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> Option<Reply> {
        self.handle_chunks(now, packet, 0, arrival, taken)
    }

    /// The same from a chunk on: those before it were the endpoint's.
    pub(crate) fn handle_chunks(
        &mut self,
        now: Instant,
        packet: &Packet,
        skip: usize,
        arrival: &Arrival,
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> Option<Reply> {
        self.ctx.statistics.packets_received += 1;
        let Company { abort, breaks_rules } = Company::of(packet);
        if breaks_rules {
            return None;
        }
        if let Some(abort) = &abort {
            if !self.believes(abort, arrival) {
                return None;
            }
            if abort.flags & 1 != 0 && self.may_be_a_third(arrival) {
                self.disown(arrival);
                return None;
            }
        }
        self.learn_way(packet, arrival);
        let reply = self.act_on_chunks(now, packet, skip, arrival, taken);
        if abort.is_none() {
            return reply;
        }
        // RFC 9260, 9.1: a packet with an ABORT is not responded to, whatever else it holds.
        if let State::Closed(closed) = &mut self.state {
            closed.last_words = None;
        }
        None
    }

    /// RFC 6951, 5.4: the address that a packet came from is reached at the UDP port that it came from, or without UDP. And it is
    /// reached from the address that the peer sends its DATA to, or anything while no other one is known: routing may choose
    /// one that what lies between does not let through, or whose way is what the peer has given up.
    ///
    /// The tag shows that it is the peer's: it must be this side's own, since the one that the T bit reflects goes with every
    /// packet to the peer, and may have gone to who has the peer's former address.
    fn learn_way(&mut self, packet: &Packet, arrival: &Arrival) {
        let Context { me, paths, config, .. } = &mut self.ctx;
        let path = arrival.path.and_then(|id| paths.path_mut(id));
        let is_known = |path: &Path| {
            path.udp_port == arrival.udp_port && path.local == Some(arrival.destination)
        };
        let Some(path) = path.filter(|path| !is_known(path)) else { return };
        if arrival.header.verification_tag != me.local_tag {
            return;
        }
        let has_data =
            || packet.chunks().any(|raw| raw.is_ok_and(|raw| raw.kind == ChunkType::DATA));
        if path.is_reached_from(arrival) && (path.local.is_none() || has_data()) {
            path.local = Some(arrival.destination);
        }
        let (id, changes) = (path.id, path.set_udp_port(arrival.udp_port));
        if let State::Open(tcb) = &mut self.state
            && changes
        {
            tcb.sender.on_smaller_mtu(id, paths, config);
        }
    }

    /// RFC 9260, 8.5.1 (B): without the T bit the tag is this side's, with it the peer's.
    fn believes(&self, abort: &RawChunk<'_>, arrival: &Arrival) -> bool {
        let reflected = abort.flags & 1 != 0;
        let tag = if reflected { self.peer_tag() } else { Some(self.ctx.me.local_tag) };
        tag == Some(arrival.header.verification_tag)
    }

    fn act_on_chunks(
        &mut self,
        now: Instant,
        packet: &Packet,
        skip: usize,
        arrival: &Arrival,
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> Option<Reply> {
        self.begin_packet(arrival);
        let mut reply = None;
        for raw in packet.chunks().skip(skip) {
            let outcome = raw.and_then(|raw| self.on_raw_chunk(now, packet, &raw, arrival, taken));
            let Ok(outcome) = outcome else {
                // RFC 9260, 6.10: a partial chunk is dropped; nothing behind it can be found.
                self.ctx.statistics.malformed_chunks += 1;
                break;
            };
            match outcome {
                Outcome::Continue => {}
                Outcome::Stop => break,
                Outcome::Answer(tag, chunk) => {
                    if !self.has_answered() {
                        reply = Some(Reply::to(arrival.header, arrival.way(), tag, chunk));
                    }
                    break;
                }
                Outcome::StaleCookie { extension_ms } => {
                    self.begin_again(extension_ms);
                    break;
                }
                Outcome::End(ending) => {
                    self.end(ending);
                    return reply;
                }
            }
        }
        if let State::Open(tcb) = &mut self.state {
            tcb.end_of_packet(now, &mut self.ctx);
        }
        reply
    }

    fn begin_packet(&mut self, arrival: &Arrival) {
        let State::Open(tcb) = &mut self.state else { return };
        tcb.receiver.begin_packet(self.ctx.account.pressure());
        // RFC 9260, 12.4: one packet is answered by one packet, SACK and DATA apart.
        if let Some(path) = arrival.path.and_then(|id| self.ctx.paths.path(id)) {
            tcb.control.begin_packet(path.packet_limit());
        }
    }

    fn has_answered(&self) -> bool {
        matches!(&self.state, State::Open(tcb) if tcb.control.has_answered())
    }

    #[inline]
    fn on_raw_chunk(
        &mut self,
        now: Instant,
        packet: &Packet,
        raw: &RawChunk<'_>,
        arrival: &Arrival,
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> Result<Outcome, DecodeError> {
        match &mut self.state {
            // Most chunks, which are spared the way through all kinds of them.
            State::Open(tcb) if raw.kind == ChunkType::DATA => {
                tcb.on_data_chunk(packet.bytes(), raw, arrival, &mut self.ctx)
            }
            _ => self.on_other_chunk(now, raw, arrival, taken),
        }
    }

    /// Apart from DATA, so that the loop over that stays small.
    #[inline(never)]
    fn on_other_chunk(
        &mut self,
        now: Instant,
        raw: &RawChunk<'_>,
        arrival: &Arrival,
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> Result<Outcome, DecodeError> {
        match &mut self.state {
            // Nothing is looked at in what was not agreed on.
            State::Open(tcb) if !is_known(raw.kind) => {
                Ok(tcb.on_unrecognized(raw, arrival, &self.ctx))
            }
            _ if !is_known(raw.kind) => Ok(Outcome::Stop),
            _ => Ok(self.on_chunk(now, raw.decode()?, arrival, taken)),
        }
    }

    fn on_chunk(
        &mut self,
        now: Instant,
        chunk: Chunk,
        arrival: &Arrival,
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> Outcome {
        match &mut self.state {
            State::Open(tcb) => tcb.on_chunk(now, chunk, arrival, &mut self.ctx),
            State::CookieWait(_) => self.on_chunk_in_cookie_wait(now, chunk, arrival, taken),
            State::Closed(_) => Outcome::Stop,
        }
    }

    fn on_chunk_in_cookie_wait(
        &mut self,
        now: Instant,
        chunk: Chunk,
        arrival: &Arrival,
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> Outcome {
        match chunk {
            Chunk::InitAck(init) => {
                // RFC 9260, 6.10: INIT ACK is never bundled, so nothing may follow it.
                self.on_init_ack(now, &init, arrival, taken)
            }
            // RFC 9260, 8.5.1 (B): the peer's tag is not known, so a reflected tag cannot be right.
            Chunk::Abort(abort) if !abort.tag_reflected && is_well_formed(&abort) => {
                let cause = abort.causes.iter().next().and_then(Result::ok).map(|c| c.code());
                let State::CookieWait(wait) = &mut self.state else { return Outcome::Stop };
                let path = arrival.path.unwrap_or(wait.current);
                match wait.on_refused(path, cause, false, &mut self.ctx) {
                    Some(ending) => Outcome::End(ending),
                    None => Outcome::Stop,
                }
            }
            // RFC 9260, 8.5.1 (E) and 9.2: as if it were out of the blue; the set-up goes on.
            Chunk::ShutdownAck => {
                let complete = ShutdownComplete { tag_reflected: true };
                Outcome::Answer(arrival.header.verification_tag, Chunk::ShutdownComplete(complete))
            }
            _ => Outcome::Stop,
        }
    }

    /// RFC 9260, 5.1 (C): the INIT ACK's cookie goes back, and the addresses are settled.
    fn on_init_ack(
        &mut self,
        now: Instant,
        init: &Init,
        arrival: &Arrival,
        taken: &dyn Fn(IpAddr) -> bool,
    ) -> Outcome {
        let State::CookieWait(wait) = &mut self.state else { return Outcome::Stop };
        let most = self.ctx.config.limits.peer_addresses;
        let offer = match PeerOffer::read(init, most) {
            Ok(offer) => offer,
            Err(Refusal::Discard) if init.initiate_tag.is_zero() => {
                return on_init_ack_without_tag(wait, arrival, &mut self.ctx);
            }
            Err(Refusal::Discard) => return Outcome::Stop,
            Err(Refusal::Abort(cause)) => return refuse_init_ack(init, *cause, arrival),
            // RFC 9260, 3.3.3: unlike with what is wrong above, the state stays as it is.
            Err(Refusal::SmallWindow) => {
                let abort = abort_chunk(Some(Cause::InvalidMandatoryParameter));
                return Outcome::Answer(init.initiate_tag, abort);
            }
        };
        if !wait.knows_one_of(arrival, &offer, taken, &self.ctx) {
            // RFC 9260, 5.1.2 (D) and 8.4 (8): it belongs to no association.
            let abort = Abort { tag_reflected: true, causes: Causes::default() };
            return Outcome::Answer(arrival.header.verification_tag, Chunk::Abort(abort));
        }
        let Some(cookie) = offer.cookie.clone() else {
            let missing = [ParameterType::STATE_COOKIE].into_iter().collect::<MissingParameters>();
            let cause = Cause::MissingMandatoryParameter(missing);
            return refuse_init_ack(init, cause, arrival);
        };
        let Some(path) = wait.settle(now, arrival, &offer, taken, &mut self.ctx) else {
            let lost = Ending::lost(LostReason::Unreachable);
            return Outcome::End(lost.with_last_words(arrival.way(), offer.tag, abort_chunk(None)));
        };
        let setup = wait.setup.clone();
        let negotiated = setup.offer.agree(&offer);
        let phase = Phase::CookieEchoed(Box::new(CookieEchoed {
            cookie,
            path,
            due: true,
            t1: Timer::default(),
            attempts: 0,
            sent_at: None,
            unrecognized: unrecognized_causes(&offer, &self.ctx, path),
            setup: setup.clone(),
        }));
        self.reject_streams(negotiated);
        let tcb = new_tcb(phase, &setup, &offer, negotiated, &mut self.ctx);
        self.state = State::Open(Box::new(tcb));
        Outcome::Stop
    }

    /// RFC 9260, 5.2.6 (3). Messages that went with the cookie are sent again, under the same numbers.
    fn begin_again(&mut self, extension_ms: u32) {
        self.take_messages_back();
        let State::Open(tcb) = &self.state else { return };
        let Phase::CookieEchoed(echoed) = &tcb.phase else { return };
        if echoed.setup.attempts >= echoed.setup.budget {
            return self.end(Ending::lost(LostReason::SetupTimeout));
        }
        let wait = CookieWait::after_stale_cookie(echoed.setup.clone(), echoed.path, extension_ms);
        self.state = State::CookieWait(Box::new(wait));
    }

    /// The peer never had what went with the cookie: it is as if it had not been sent.
    fn take_messages_back(&mut self) {
        let State::Open(tcb) = &mut self.state else { return };
        if tcb.sender.is_idle() {
            return;
        }
        self.ctx.outbox.take_back(tcb.sender.give_back());
        for path in self.ctx.paths.iter_mut() {
            path.forget_flight();
        }
    }

    /// Messages for streams that the peer does not want cannot be sent.
    pub(super) fn reject_streams(&mut self, negotiated: Negotiated) {
        let beyond = self.ctx.outbox.take_beyond(negotiated.outbound_streams);
        let failed = |message| Event::SendFailed { message, sent: false };
        self.ctx.tell_all(beyond.into_iter().map(failed));
    }
}

/// What the chunks of a packet mean for each other.
struct Company<'a> {
    abort: Option<RawChunk<'a>>,
    /// RFC 9260, 6.10: INIT, INIT ACK and SHUTDOWN COMPLETE stand alone. What comes with one of them is not to be trusted, and
    /// the packet is discarded, as FreeBSD does.
    breaks_rules: bool,
}

impl<'a> Company<'a> {
    fn of(packet: &'a Packet) -> Self {
        let (mut abort, mut lone, mut count) = (None, false, 0);
        for raw in packet.chunks().flatten() {
            count += 1;
            match raw.kind {
                ChunkType::DATA => {}
                ChunkType::ABORT => abort = abort.or(Some(raw)),
                kind => lone |= stands_alone(kind),
            }
        }
        Self { abort, breaks_rules: lone && count > 1 }
    }
}

/// RFC 9260, 6.10
fn stands_alone(kind: ChunkType) -> bool {
    matches!(kind, ChunkType::INIT | ChunkType::INIT_ACK | ChunkType::SHUTDOWN_COMPLETE)
}

/// Whether a packet breaks the rules for what may stand beside what (RFC 9260, 6.10).
pub(crate) fn is_badly_bundled(packet: &Packet) -> bool {
    Company::of(packet).breaks_rules
}

/// RFC 9260, 3.3.3: with tag 0 the attempt is over, and no tag is known to answer with but the packet's. The cause is that of
/// 3.3.10.7.
fn on_init_ack_without_tag(wait: &mut CookieWait, arrival: &Arrival, ctx: &mut Context) -> Outcome {
    let path = arrival.path.unwrap_or(wait.current);
    let tag = arrival.header.verification_tag;
    let causes = [Cause::InvalidMandatoryParameter].into_iter().collect();
    let abort = Chunk::Abort(Abort { tag_reflected: true, causes });
    match wait.on_refused(path, None, false, ctx) {
        Some(lost) => Outcome::End(lost.with_last_words(arrival.way(), tag, abort)),
        None => Outcome::Answer(tag, abort),
    }
}

/// The set-up fails because of what the INIT ACK says; the peer is told (RFC 9260, 5.1).
fn refuse_init_ack(init: &Init, cause: Cause, arrival: &Arrival) -> Outcome {
    let lost = Ending::lost(LostReason::PeerViolation(cause.code()));
    let abort = abort_chunk(Some(cause));
    Outcome::End(lost.with_last_words(arrival.way(), init.initiate_tag, abort))
}

/// A TCB for what the two sides offered each other.
fn new_tcb(
    phase: Phase,
    setup: &Setup,
    offer: &PeerOffer,
    negotiated: Negotiated,
    ctx: &mut Context,
) -> Tcb {
    Tcb {
        phase,
        peer_tag: offer.tag,
        ties: new_ties(ctx),
        negotiated,
        control: Default::default(),
        receiver: Receiver::new(offer.initial_tsn, negotiated.inbound_streams, &ctx.config.limits),
        sender: Sender::before_cookie_ack(setup.offer.initial_tsn, offer.a_rwnd, &ctx.config),
        adaptation: offer.adaptation,
        guard: Timer::default(),
        closes: false,
    }
}

/// RFC 9260, 5.2.2: random, and not 0.
pub(super) fn new_ties(ctx: &mut Context) -> Ties {
    Ties { local: ctx.rng.random_range(1..=u32::MAX), peer: ctx.rng.random_range(1..=u32::MAX) }
}

/// RFC 9260, 3.2.2: reported next to the COOKIE ECHO, as far as the packet has room.
fn unrecognized_causes(offer: &PeerOffer, ctx: &Context, path: PathId) -> Causes {
    let limit = ctx.paths.path(path).map_or(0, Path::packet_limit);
    let cookie = offer.cookie.as_ref().map_or(0, |cookie| cookie.len().next_multiple_of(4));
    let room = limit.saturating_sub(HEADERS + cookie);
    let mut parameters = bytes::BytesMut::new();
    for parameter in &offer.unrecognized {
        // RFC 9260, 3.3.10.8: copied, one after the other; what is padded in between counts, and the padding of the last one
        // does not, as in a chunk (3.2). Linux and FreeBSD leave it out as well.
        let start = parameters.len().next_multiple_of(4);
        if start + parameter.len().next_multiple_of(4) > room {
            break;
        }
        parameters.resize(start, 0);
        parameters.extend_from_slice(parameter);
    }
    if parameters.is_empty() {
        return Causes::default();
    }
    [Cause::UnrecognizedParameters(parameters.freeze())].into_iter().collect()
}

// The common header, and those of COOKIE ECHO, of ERROR and of its cause.
const HEADERS: usize = 12 + 4 + 4 + 4;
