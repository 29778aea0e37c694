//! An association whose peer is known: its phase, its two halves, and what each chunk does to it (RFC 9260, section 4).

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use usctp_chunk::{
    Abort, Cause, Causes, Chunk, ChunkType, DataHead, DecodeError, Heartbeat, RawChunk, Sack, Tsn,
    VerificationTag,
};

use super::closing::Closing;
use super::control::Control;
use super::setup::Setup;
use super::{Arrival, Ending, Outcome};
use crate::context::Context;
use crate::cookie::Ties;
use crate::event::{ActiveReason, AddressChange, AssociationState, Event, LostReason};
use crate::negotiate::Negotiated;
use crate::path::{Path, PathId, PathState, Paths, heartbeat};
use crate::recv::{Payload, Receiver, Verdict};
use crate::send::Sender;
use crate::timer::Timer;

/// The transmission control block (RFC 9260, section 14).
#[derive(Debug)]
pub(crate) struct Tcb {
    pub(crate) phase: Phase,
    pub(crate) peer_tag: VerificationTag,
    /// Nonces that tie a cookie to this association (RFC 9260, 5.2.2).
    pub(crate) ties: Ties,
    pub(crate) negotiated: Negotiated,
    pub(crate) control: Control,
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
    /// T5-shutdown-guard.
    pub(crate) guard: Timer,
    /// The peer's Adaptation Layer Indication, until the application was told.
    pub(crate) adaptation: Option<u32>,
    /// The application closes, whoever the peer is by now.
    pub(crate) closes: bool,
}

/// Where an association with a known peer stands, with the data of that state.
#[derive(Debug)]
pub(crate) enum Phase {
    CookieEchoed(Box<CookieEchoed>),
    Established,
    ShutdownPending,
    ShutdownSent(Closing),
    /// The peer's SHUTDOWN came; SHUTDOWN ACK goes back to where it came from, once nothing is outstanding.
    ShutdownReceived(Option<PathId>),
    ShutdownAckSent(Closing),
}

/// COOKIE-ECHOED: the cookie was sent back, and COOKIE ACK is awaited.
#[derive(Debug)]
pub(crate) struct CookieEchoed {
    pub(crate) setup: Setup,
    pub(crate) cookie: Bytes,
    /// Where COOKIE ECHO goes.
    pub(crate) path: PathId,
    pub(crate) due: bool,
    pub(crate) t1: Timer,
    pub(crate) attempts: u16,
    pub(crate) sent_at: Option<Instant>,
    /// Parameters of INIT ACK that are to be reported, in the packet of COOKIE ECHO (RFC 9260, 3.2.2).
    pub(crate) unrecognized: Causes,
}

impl Tcb {
    pub(crate) fn state(&self) -> AssociationState {
        match self.phase {
            Phase::CookieEchoed(_) => AssociationState::CookieEchoed,
            Phase::Established => AssociationState::Established,
            Phase::ShutdownPending => AssociationState::ShutdownPending,
            Phase::ShutdownSent(_) => AssociationState::ShutdownSent,
            Phase::ShutdownReceived(_) => AssociationState::ShutdownReceived,
            Phase::ShutdownAckSent(_) => AssociationState::ShutdownAckSent,
        }
    }

    /// Whether the application may hand messages over.
    pub(crate) fn takes_messages(&self) -> bool {
        matches!(self.phase, Phase::CookieEchoed(_) | Phase::Established)
    }

    /// Whether messages may be sent, as far as the phase goes.
    pub(crate) fn sends_data(&self) -> bool {
        matches!(
            self.phase,
            Phase::Established | Phase::ShutdownPending | Phase::ShutdownReceived(_)
        )
    }

    /// Acts on one chunk; the verification tag was checked.
    pub(crate) fn on_chunk(
        &mut self,
        now: Instant,
        chunk: Chunk,
        arrival: &Arrival,
        ctx: &mut Context,
    ) -> Outcome {
        match chunk {
            Chunk::Sack(sack) => self.on_sack(now, &sack, arrival, ctx),
            Chunk::Heartbeat(heartbeat) => self.on_heartbeat(heartbeat, arrival, ctx),
            Chunk::HeartbeatAck(heartbeat) if self.on_probe_ack(now, &heartbeat.info, ctx) => {
                Outcome::Continue
            }
            Chunk::HeartbeatAck(heartbeat) => self.on_heartbeat_ack(now, &heartbeat, ctx),
            Chunk::CookieAck => self.on_cookie_ack(now, ctx),
            Chunk::Error(causes) => self.on_error(now, &causes, ctx),
            Chunk::Abort(abort) => self.on_abort(&abort, arrival),
            Chunk::Shutdown(shutdown) => self.on_shutdown(now, shutdown, arrival, ctx),
            Chunk::ShutdownAck => self.on_shutdown_ack(arrival, ctx),
            Chunk::ShutdownComplete(complete) => self.on_shutdown_complete(complete),
            // RFC 9260, 5.2.3: an unexpected INIT ACK is old.
            Chunk::InitAck(_) => Outcome::Continue,
            // The endpoint takes INIT and COOKIE ECHO where they may stand; elsewhere they are out of place. The others came
            // another way.
            _ => Outcome::Stop,
        }
    }

    /// The packet is read: acknowledgements are decided on.
    pub(crate) fn end_of_packet(&mut self, now: Instant, ctx: &mut Context) {
        let had_data = self.receiver.end_of_packet(now, &ctx.config.sack);
        let answer_to = self.sack_destination(ctx);
        if let Phase::ShutdownSent(closing) = &mut self.phase {
            closing.on_packet(ctx);
            if had_data {
                closing.on_data(now, answer_to, ctx);
            }
        }
        self.drive_pmtud(now, ctx);
        // Told once for all packets in a row: a burst of them leaves one event, and needs no longer queue.
        if ctx.inbox.take_news() && !matches!(ctx.events.back(), Some((_, Event::Readable))) {
            ctx.tell(Event::Readable);
        }
    }

    /// The peer acknowledged the set-up, or sent its cookie back: messages may flow.
    pub(crate) fn establish(&mut self, now: Instant, ctx: &mut Context) {
        self.phase = Phase::Established;
        self.sender.established(now, &mut ctx.paths);
        ctx.paths.forget_errors();
        let primary = ctx.paths.primary();
        if let Some(peer) = ctx.paths.path(primary).map(|path| path.peer) {
            ctx.tell(Event::CommUp {
                role: ctx.me.role,
                primary: peer,
                outbound_streams: self.negotiated.outbound_streams,
                inbound_streams: self.negotiated.inbound_streams,
            });
        }
        self.tell_adaptation(ctx);
        self.tell_of_room(ctx);
        self.start_heartbeats(now, ctx);
        self.sender.open_burst(&ctx.config);
    }

    /// RFC 5061, 4.2.6: the peer's indication is passed to the application.
    fn tell_adaptation(&mut self, ctx: &mut Context) {
        if let Some(indication) = self.adaptation.take() {
            ctx.tell(Event::AdaptationIndication(indication));
        }
    }

    /// The peer restarted: the association is new, but for the application it goes on. If that was closing it, the close
    /// goes on as well: with nobody to take them, messages would be acknowledged and thrown away.
    pub(crate) fn restart(&mut self, now: Instant, ctx: &mut Context) {
        ctx.tell(Event::Restart);
        self.tell_adaptation(ctx);
        self.tell_of_room(ctx);
        self.start_heartbeats(now, ctx);
        self.sender.open_burst(&ctx.config);
        if self.closes {
            self.shutdown(now, ctx);
        }
    }

    /// RFC 9260, 5.4: probing begins when the association is established, a few paths in each RTO.
    fn start_heartbeats(&self, now: Instant, ctx: &mut Context) {
        self.drive_pmtud(now, ctx);
        let burst = usize::from(ctx.config.heartbeat.max_burst);
        // One that went with COOKIE ECHO may still be answered, and is followed by others if it is not.
        let asked = |path: &&Path| path.heartbeat.is_outstanding();
        let ids: Vec<(PathId, bool)> = (ctx.paths.iter().filter(|path| !asked(path)))
            .map(|path| (path.id, path.confirmed))
            .collect();
        let mut turn = 0;
        for (id, confirmed) in ids {
            if confirmed {
                ctx.schedule_heartbeat(now, id);
                continue;
            }
            let rounds = u32::try_from(turn / burst).unwrap_or(u32::MAX);
            turn += 1;
            if let Some(path) = ctx.paths.path_mut(id) {
                let wait = path.rto.current().saturating_mul(rounds);
                path.heartbeat.schedule(now, wait);
            }
        }
    }

    /// The rest of messages that are being delivered in parts will not come.
    pub(crate) fn cut_partial_deliveries(&self, ctx: &mut Context) {
        for stream in self.receiver.partial_streams() {
            ctx.inbox.cut(stream);
            ctx.tell(Event::PartialDeliveryAborted(stream));
        }
    }

    /// Acts on a DATA chunk of a packet as [`on_chunk`](Self::on_chunk) does.
    #[inline]
    pub(crate) fn on_data_chunk(
        &mut self,
        packet: &Bytes,
        raw: &RawChunk<'_>,
        arrival: &Arrival,
        ctx: &mut Context,
    ) -> Result<Outcome, DecodeError> {
        let (head, bytes) = raw.read_data()?;
        Ok(self.on_data(head, Payload { packet, bytes }, arrival, ctx))
    }

    #[inline]
    fn on_data(
        &mut self,
        head: DataHead,
        payload: Payload<'_>,
        arrival: &Arrival,
        ctx: &mut Context,
    ) -> Outcome {
        let receives = matches!(
            self.phase,
            Phase::Established | Phase::ShutdownPending | Phase::ShutdownSent(_)
        );
        if !receives {
            return Outcome::Continue;
        }
        ctx.statistics.data_chunks_received += 1;
        if payload.bytes.is_empty() {
            // RFC 9260, 6.2
            return self.abort(Cause::NoUserData { tsn: head.tsn }, arrival);
        }
        let stream = head.stream;
        match self.receiver.on_data(head, payload, arrival.path, &mut ctx.inbox) {
            Verdict::Accepted => {}
            Verdict::Duplicate => ctx.statistics.duplicate_chunks += 1,
            Verdict::Dropped => ctx.statistics.dropped_chunks += 1,
            // RFC 9260, 6.5
            Verdict::InvalidStream => {
                self.report(Cause::InvalidStreamIdentifier { stream }, arrival, ctx);
            }
            Verdict::Contradiction(why) => {
                let why = Bytes::from_static(why.as_bytes());
                return self.abort(Cause::ProtocolViolation(why), arrival);
            }
            Verdict::OutOfResource => return self.abort(Cause::OutOfResource, arrival),
        }
        Outcome::Continue
    }

    fn on_sack(
        &mut self,
        now: Instant,
        sack: &Sack,
        arrival: &Arrival,
        ctx: &mut Context,
    ) -> Outcome {
        // RFC 9260, 6: discarded where nothing can be outstanding.
        if !self.sends_data() {
            return Outcome::Continue;
        }
        self.on_acknowledgement(now, sack.cumulative_tsn, Some(sack), arrival, ctx)
    }

    /// A SACK came, or the Cumulative TSN Ack of a SHUTDOWN.
    pub(super) fn on_acknowledgement(
        &mut self,
        now: Instant,
        cumulative: Tsn,
        sack: Option<&Sack>,
        arrival: &Arrival,
        ctx: &mut Context,
    ) -> Outcome {
        let before = self.sender.cost();
        let mut returned = Vec::new();
        let Context { paths, config, .. } = &mut *ctx;
        let answered = |paths: &mut Paths, id: PathId| {
            // What came by another path says little of one that fails.
            if arrival.path != Some(id) && paths.path(id).is_some_and(Path::is_in_doubt) {
                return paths.forget_errors();
            }
            if let Some(before) = paths.answered(now, id) {
                returned.push((id, before));
            }
        };
        let acked = self.sender.on_acknowledgement(now, cumulative, sack, paths, config, answered);
        for (id, before) in returned {
            ctx.tell_return(id, before, ActiveReason::DataAcked);
            self.on_path_returned(now, id, ctx);
            // RFC 9260, 8.3: the interval counts again.
            ctx.schedule_heartbeat(now, id);
        }
        if self.sender.cost() < before {
            self.on_departed(ctx);
        }
        if acked.is_err() {
            let by = if sack.is_some() { "a SACK" } else { "SHUTDOWN" };
            let why = format!("{by} acknowledges what was never sent");
            return self.abort(Cause::ProtocolViolation(why.into()), arrival);
        }
        Outcome::Continue
    }

    /// Messages left the send buffer, acknowledged or given back: it has room again, and may be empty.
    pub(crate) fn on_departed(&mut self, ctx: &mut Context) {
        self.tell_of_room(ctx);
        if ctx.outbox.is_empty() && self.sender.is_idle() {
            ctx.tell(Event::SenderDry);
        }
    }

    /// Wakes a sender that was refused, once the send buffer has room: because of an acknowledgement, or because
    /// messages were taken out for which there is no stream, or whose association the peer has forgotten.
    pub(super) fn tell_of_room(&self, ctx: &mut Context) {
        let held = ctx.outbox.bytes() + self.sender.cost();
        // Half of it, so that a sender is not woken for each message.
        if ctx.send_refused && held <= ctx.config.limits.send_buffer / 2 {
            ctx.send_refused = false;
            ctx.tell(Event::Writable);
        }
    }

    fn on_heartbeat(&mut self, heartbeat: Heartbeat, arrival: &Arrival, ctx: &Context) -> Outcome {
        // RFC 9260, 8.3: a MUST until SHUTDOWN or SHUTDOWN ACK was sent, and no ban from then on. The peer still has DATA to
        // deliver after our SHUTDOWN, and finds out by HEARTBEATs what its paths can do (RFC 8899). Linux and FreeBSD answer.
        if let Some(path) = arrival.path {
            self.control.push(path, ctx.asked(path, arrival), Chunk::HeartbeatAck(heartbeat));
        }
        Outcome::Continue
    }

    fn on_heartbeat_ack(
        &mut self,
        now: Instant,
        heartbeat: &Heartbeat,
        ctx: &mut Context,
    ) -> Outcome {
        let Some(id) = heartbeat::path_of(&heartbeat.info) else { return Outcome::Continue };
        let Some(path) = ctx.paths.path_mut(id) else { return Outcome::Continue };
        let Some(answer) = path.heartbeat.take_answer(now, &heartbeat.info) else {
            return Outcome::Continue;
        };
        let heartbeat::Answer { trip, awaited } = answer;
        path.rto.measure(trip);
        let before = path.state;
        let confirmed = std::mem::replace(&mut path.confirmed, true);
        if !confirmed {
            // RFC 9260, 5.4: now the address may carry everything.
            path.enter(now, PathState::Active);
            ctx.tell_path(id, AddressChange::Active(ActiveReason::Confirmed));
        }
        ctx.answered(now, id, ActiveReason::HeartbeatAcked);
        if awaited {
            ctx.tell_heartbeat(id, Some(trip));
        }
        if before != PathState::Active {
            self.on_path_returned(now, id, ctx);
        }
        // RFC 9260, 8.3: none after SHUTDOWN or SHUTDOWN ACK.
        if self.sends_data() {
            ctx.schedule_heartbeat(now, id);
        }
        Outcome::Continue
    }

    /// What waits for a path that fails may go here, and what is on its way to one that failed had better.
    fn on_path_returned(&mut self, now: Instant, id: PathId, ctx: &mut Context) {
        let Context { paths, config, .. } = ctx;
        self.sender.on_path_returned(now, id, paths);
        self.sender.open_burst(config);
    }

    fn on_cookie_ack(&mut self, now: Instant, ctx: &mut Context) -> Outcome {
        let Phase::CookieEchoed(echoed) = &mut self.phase else {
            // RFC 9260, 5.2.5
            return Outcome::Continue;
        };
        let (id, sent_at) = (echoed.path, echoed.sent_at);
        if let (Some(path), Some(sent_at)) = (ctx.paths.path_mut(id), sent_at) {
            path.rto.measure(now.saturating_duration_since(sent_at));
        }
        self.establish(now, ctx);
        Outcome::Continue
    }

    fn on_error(&mut self, now: Instant, causes: &Causes, ctx: &mut Context) -> Outcome {
        for cause in causes.iter() {
            let Ok(cause) = cause else { return Outcome::Stop };
            let stale = matches!(cause, Cause::StaleCookie { .. });
            match &self.phase {
                Phase::CookieEchoed(echoed) if stale => {
                    // RFC 9260, 5.2.6: no more than a second beyond the measured round trip.
                    let trip = echoed.sent_at.map(|at| now.saturating_duration_since(at));
                    let trip_ms =
                        trip.map_or(0, |trip| u32::try_from(trip.as_millis()).unwrap_or(0));
                    return Outcome::StaleCookie { extension_ms: trip_ms.saturating_add(1000) };
                }
                Phase::CookieEchoed(_) => {}
                // RFC 9260, 5.2.6: of an old cookie, and silently discarded.
                _ if stale => return Outcome::Continue,
                _ => ctx.tell(Event::RemoteError(cause.code())),
            }
        }
        Outcome::Continue
    }

    fn on_abort(&mut self, abort: &Abort, arrival: &Arrival) -> Outcome {
        if !is_well_formed(abort) {
            return Outcome::Stop;
        }
        let first = abort.causes.iter().next().and_then(Result::ok);
        let cause = first.as_ref().map(Cause::code);
        if let Phase::CookieEchoed(_) = self.phase {
            let peer = arrival.source;
            return Outcome::End(Ending::lost(LostReason::Refused { peer, cause, no_sctp: false }));
        }
        if abort.tag_reflected && matches!(self.phase, Phase::ShutdownAckSent(_)) {
            // The peer has forgotten the association, as after SHUTDOWN COMPLETE, which was overtaken or lost:
            // nothing is outstanding in either direction.
            return Outcome::End(Ending { event: Event::ShutdownComplete, last_words: None });
        }
        let user = abort.causes.iter().find_map(|cause| match cause {
            Ok(Cause::UserInitiatedAbort(reason)) => Some(reason),
            _ => None,
        });
        let reason = user.unwrap_or_default();
        Outcome::End(Ending::lost(LostReason::PeerAborted { cause, reason }))
    }

    /// Acts on a chunk of a type that is not known here, of which nothing but that is looked at.
    pub(crate) fn on_unrecognized(
        &mut self,
        raw: &RawChunk<'_>,
        arrival: &Arrival,
        ctx: &Context,
    ) -> Outcome {
        // RFC 9260, 3.2, reserves these two. There is nothing to be done about them, and no harm in what follows.
        if matches!(raw.kind, ChunkType::ECNE | ChunkType::CWR) {
            return Outcome::Continue;
        }
        // RFC 9260, 3.2: the two high bits of the type decide.
        let unrecognized = raw.kind.unrecognized();
        if unrecognized.report {
            // RFC 9260, 3.3.10.6: the chunk as it stood in the packet, where its total length is a multiple of 4 (3.2). So
            // here the padding counts, as with Linux and FreeBSD; of parameters the last one's does not.
            let mut chunk = BytesMut::from(raw.bytes());
            chunk.resize(chunk.len().next_multiple_of(4), 0);
            self.report(Cause::UnrecognizedChunkType(chunk.freeze()), arrival, ctx);
        }
        if unrecognized.skip { Outcome::Continue } else { Outcome::Stop }
    }

    /// Reports an error that does not end the association, to where it came from if that is confirmed.
    fn report(&mut self, cause: Cause, arrival: &Arrival, ctx: &Context) {
        if let Some(path) = ctx.confirmed(arrival.path).or_else(|| ctx.paths.for_data()) {
            let asked = ctx.asked(path, arrival);
            self.control.push(path, asked, Chunk::Error([cause].into_iter().collect()));
        }
    }

    /// Ends the association with an ABORT to where the packet came from.
    pub(crate) fn abort(&self, cause: Cause, arrival: &Arrival) -> Outcome {
        let reason = LostReason::PeerViolation(cause.code());
        let abort = abort_chunk(Some(cause));
        Outcome::End(Ending::lost(reason).with_last_words(arrival.way(), self.peer_tag, abort))
    }
}

/// An ABORT with at most one cause, that does not reflect the tag.
pub(crate) fn abort_chunk(cause: Option<Cause>) -> Chunk {
    Chunk::Abort(Abort { tag_reflected: false, causes: cause.into_iter().collect() })
}

/// RFC 9260, 3.3.7: an ABORT with a format error is silently discarded.
pub(crate) fn is_well_formed(abort: &Abort) -> bool {
    abort.causes.raw_iter().all(|cause| cause.is_ok())
}
