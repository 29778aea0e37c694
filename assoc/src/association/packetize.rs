//! The one place that makes packets; it changes nothing but "this was sent" (RFC 9260, section 6.10).

use std::time::Instant;

use bytes::BytesMut;
use usctp_chunk::{Chunk, CommonHeader, Heartbeat, PacketBuilder, Shutdown, VerificationTag};

use super::setup::CookieWait;
use super::tcb::{CookieEchoed, Phase, Tcb};
use crate::context::Context;
use crate::event::Event;
use crate::path::{COMMON_HEADER, PathId, heartbeat};
use crate::wire::Transmit;

impl CookieWait {
    /// INIT stands alone in its packet, with verification tag 0 (RFC 9260, 8.5.1, A).
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        out: &mut BytesMut,
        ctx: &mut Context,
    ) -> Option<Transmit> {
        let to = self.take_due()?;
        let chunk = Chunk::Init(self.init());
        let transmit = write(ctx, to, VerificationTag::ZERO, out, |packet, _| {
            packet.push(&chunk);
        });
        self.init_sent(now, ctx);
        transmit
    }
}

impl Tcb {
    /// Control chunks first, then SACK, then HEARTBEAT, then probes for the MTU, then DATA; the first that wants to go somewhere
    /// picks the path, and the others ride along.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        out: &mut BytesMut,
        ctx: &mut Context,
    ) -> Option<Transmit> {
        // A chunk that fits no packet is thrown away, and what waits behind it has its turn.
        for _ in 0..MAX_EMPTY {
            self.discard_stale(now, ctx);
            self.progress_shutdown(ctx);
            let probe =
                self.probe_destination(ctx).filter(|_| self.destination(None, ctx).is_none());
            if let Some(probe) = probe {
                return self.write_probe(now, probe, out, ctx);
            }
            let data_to = self.data_destination(now, ctx);
            let Some(to) = self.destination(data_to, ctx) else { break };
            let oversized = data_to.and_then(|_| self.sender.oversized(&ctx.paths));
            let transmit = match oversized {
                Some(limit) if self.destination(None, ctx).is_none() => {
                    self.write_oversized(now, to, limit, out, ctx)
                }
                // What else is due leaves first: an oversized chunk travels alone.
                Some(_) => self.write_packet(now, to, false, out, ctx),
                None => self.write_packet(now, to, data_to == Some(to), out, ctx),
            };
            if transmit.is_some() {
                return transmit;
            }
        }
        self.sender.end_burst();
        None
    }

    fn write_packet(
        &mut self,
        now: Instant,
        to: PathId,
        with_data: bool,
        out: &mut BytesMut,
        ctx: &mut Context,
    ) -> Option<Transmit> {
        let tag = self.peer_tag;
        let from = self.control.source_towards(to);
        if self.cookie_is_oversized(to, ctx) {
            return write_within(ctx, to, tag, GREATEST_PACKET, out, |packet, ctx| {
                self.write_cookie_echo(now, to, packet, ctx);
            });
        }
        let transmit = write(ctx, to, tag, out, |packet, ctx| {
            // RFC 9260, 5.1 (C): DATA may go with the cookie, and only with it until COOKIE ACK; not with one that is sent
            // again: where the path takes less than it should, the cookie alone still passes.
            let with_cookie = self.write_cookie_echo(now, to, packet, ctx) && self.echoes_first();
            self.ask_with_answer(to, ctx);
            self.control.write(to, packet, room_for_nonce(to, ctx));
            self.write_closing(now, to, packet, ctx);
            self.write_sack(to, with_data, packet, ctx);
            write_heartbeat(now, to, packet, ctx);
            if with_data || (with_cookie && ctx.confirmed(Some(to)).is_some()) {
                self.write_data(now, to, packet, ctx);
            }
        });
        let way = from.and_then(|from| Some(ctx.paths.path(to)?.way_from(Some(from), &ctx.me)));
        match way {
            Some(way) => {
                transmit.map(|transmit| Transmit { source: way.local, zone: way.zone, ..transmit })
            }
            None => transmit,
        }
    }

    /// Appends a packet of at most `limit` bytes for a path, whatever its MTU.
    pub(super) fn write_within(
        &self,
        to: PathId,
        limit: usize,
        out: &mut BytesMut,
        ctx: &mut Context,
        fill: impl FnOnce(&mut PacketBuilder<'_>, &mut Context),
    ) -> Option<Transmit> {
        write_within(ctx, to, self.peer_tag, limit, out, fill)
    }

    fn write_oversized(
        &mut self,
        now: Instant,
        to: PathId,
        limit: usize,
        out: &mut BytesMut,
        ctx: &mut Context,
    ) -> Option<Transmit> {
        write_within(ctx, to, self.peer_tag, limit, out, |packet, ctx| {
            self.write_data(now, to, packet, ctx);
        })
    }

    /// RFC 9260, 3.3.3: a cookie may be quite large. Then it goes alone, in an IP packet that may be cut;
    /// not so to an unconfirmed address, where a nonce would have to go with it (5.4).
    fn cookie_is_oversized(&self, to: PathId, ctx: &Context) -> bool {
        let Phase::CookieEchoed(echoed) = &self.phase else { return false };
        let confirmed = ctx.confirmed(Some(to)).and_then(|id| ctx.paths.path(id));
        let len = COMMON_HEADER + CHUNK_HEADER + echoed.cookie.len();
        echoed.due
            && echoed.path == to
            && confirmed.is_some_and(|path| len.next_multiple_of(4) > path.packet_limit())
    }

    fn data_destination(&mut self, now: Instant, ctx: &mut Context) -> Option<PathId> {
        if !self.sends_data() {
            return None;
        }
        let Context { paths, outbox, .. } = ctx;
        self.sender.destination(now, outbox, paths)
    }

    /// Gives back the next messages if they grew too old while they waited (RFC 9260, section 11.1.5).
    fn discard_stale(&mut self, now: Instant, ctx: &mut Context) {
        if !self.sends_data() {
            return;
        }
        while let Some(message) = ctx.outbox.take_stale(now) {
            ctx.tell(Event::SendFailed { message, sent: false });
            self.on_departed(ctx);
        }
    }

    fn destination(&self, data_to: Option<PathId>, ctx: &Context) -> Option<PathId> {
        let phase = match &self.phase {
            Phase::CookieEchoed(echoed) => echoed.due.then_some(echoed.path),
            Phase::ShutdownSent(closing) | Phase::ShutdownAckSent(closing) => {
                closing.due.then_some(closing.path)
            }
            _ => None,
        };
        let sack = || self.receiver.sack_is_due().then(|| self.sack_destination(ctx)).flatten();
        let heartbeat =
            || ctx.paths.iter().find(|path| path.heartbeat.is_due()).map(|path| path.id);
        phase.or_else(|| self.control.destination()).or_else(sack).or_else(heartbeat).or(data_to)
    }

    /// RFC 9260, 6.7: where the last DATA came from, unless that address is not to get anything yet.
    pub(super) fn sack_destination(&self, ctx: &Context) -> Option<PathId> {
        ctx.confirmed(self.receiver.source()).or_else(|| ctx.paths.for_data())
    }

    /// Whether the cookie goes back for the first time.
    fn echoes_first(&self) -> bool {
        matches!(&self.phase, Phase::CookieEchoed(echoed) if echoed.attempts <= 1)
    }

    /// Whether it was due.
    fn write_cookie_echo(
        &mut self,
        now: Instant,
        to: PathId,
        packet: &mut PacketBuilder<'_>,
        ctx: &mut Context,
    ) -> bool {
        let Phase::CookieEchoed(echoed) = &mut self.phase else { return false };
        if !echoed.due || echoed.path != to {
            return false;
        }
        let echo = Chunk::CookieEcho(echoed.cookie.clone());
        if let Some(path) = ctx.paths.path_mut(to).filter(|path| !path.confirmed) {
            // RFC 9260, 5.4: an unconfirmed address gets the cookie only together with a nonce in a packet that fits the
            // MTU, and nothing else. T1-cookie finds another address, or gives up.
            let fits = echo.encoded_len() + heartbeat::CHUNK_LEN <= packet.remaining();
            if fits {
                path.heartbeat.request();
                packet.push(&echo);
            }
            echoed.sent(now, ctx);
            return fits;
        }
        packet.push(&echo);
        if !echoed.unrecognized.is_empty() && packet.len() <= usize::from(ctx.config.path_mtu) {
            packet.push(&Chunk::Error(echoed.unrecognized.clone()));
        }
        echoed.sent(now, ctx);
        true
    }

    /// RFC 9260, 5.4: COOKIE ACK takes a nonce along to an address that is not confirmed. It may have been called off since, as
    /// when the association closes. No other answer does: two hosts that ask with each answer would never hear the end of it.
    fn ask_with_answer(&self, to: PathId, ctx: &mut Context) {
        if self.control.acknowledges_cookie_at() != Some(to) {
            return;
        }
        if let Some(path) = ctx.paths.path_mut(to).filter(|path| !path.confirmed) {
            path.heartbeat.request();
        }
    }

    fn write_closing(
        &mut self,
        now: Instant,
        to: PathId,
        packet: &mut PacketBuilder<'_>,
        ctx: &Context,
    ) {
        let cumulative_tsn = self.receiver.cumulative_tsn();
        let (chunk, closing) = match &mut self.phase {
            Phase::ShutdownSent(closing) => (Chunk::Shutdown(Shutdown { cumulative_tsn }), closing),
            Phase::ShutdownAckSent(closing) => (Chunk::ShutdownAck, closing),
            _ => return,
        };
        if !closing.due || closing.path != to || !packet.push(&chunk) {
            return;
        }
        closing.sent(now, ctx);
        if matches!(self.phase, Phase::ShutdownSent(_)) {
            self.shutdown_sent();
        }
    }

    /// RFC 9260, 6.1: what is not acknowledged yet is so together with DATA.
    fn write_sack(
        &mut self,
        to: PathId,
        with_data: bool,
        packet: &mut PacketBuilder<'_>,
        ctx: &mut Context,
    ) {
        let wanted = if with_data {
            self.receiver.sack_is_pending()
        } else {
            self.receiver.sack_is_due() && self.sack_destination(ctx) == Some(to)
        };
        if !wanted {
            return;
        }
        let a_rwnd = self.receiver.advertise(&ctx.inbox);
        let map = self.receiver.map();
        if packet.push_sack(map.cumulative(), a_rwnd, map.gaps(), map.duplicates()) {
            self.receiver.sack_sent();
            ctx.statistics.sacks_sent += 1;
        }
    }

    fn write_data(
        &mut self,
        now: Instant,
        to: PathId,
        packet: &mut PacketBuilder<'_>,
        ctx: &mut Context,
    ) {
        let Context { paths, outbox, statistics, .. } = ctx;
        let written = self.sender.write(now, to, packet, outbox, paths);
        statistics.data_chunks_sent += written.chunks;
        statistics.data_chunks_retransmitted += written.retransmitted;
        statistics.fast_retransmits += u64::from(written.fast);
    }
}

impl CookieEchoed {
    fn sent(&mut self, now: Instant, ctx: &Context) {
        self.due = false;
        self.attempts += 1;
        self.sent_at = (self.attempts == 1).then_some(now);
        if let Some(path) = ctx.paths.path(self.path) {
            self.t1.start(now, path.rto.current());
        }
    }
}

/// RFC 9260, 5.4: what answers and acknowledges leaves room for the nonce that an unconfirmed address is to get with it.
fn room_for_nonce(to: PathId, ctx: &Context) -> usize {
    let path = ctx.paths.path(to).filter(|path| !path.confirmed && path.heartbeat.is_due());
    path.map_or(0, |_| heartbeat::CHUNK_LEN)
}

fn write_heartbeat(now: Instant, to: PathId, packet: &mut PacketBuilder<'_>, ctx: &mut Context) {
    let Context { paths, rng, epoch, .. } = ctx;
    let Some(path) = paths.path_mut(to).filter(|path| path.heartbeat.is_due()) else { return };
    let rto = path.rto.current();
    let (info, counts) = path.heartbeat.make(now, *epoch, rto, to, rng);
    // If it does not fit now, it is lost, and found missing after the RTO.
    packet.push(&Chunk::Heartbeat(Heartbeat::new(info)));
    if counts {
        path.record.used_at = Some(now);
    }
    path.record.counts.heartbeats_sent += 1;
    ctx.schedule_interim(now, to);
}

/// Appends a packet for a path; `None` if nothing was written.
fn write(
    ctx: &mut Context,
    to: PathId,
    verification_tag: VerificationTag,
    out: &mut BytesMut,
    fill: impl FnOnce(&mut PacketBuilder<'_>, &mut Context),
) -> Option<Transmit> {
    let limit = ctx.paths.path(to)?.packet_limit();
    write_within(ctx, to, verification_tag, limit, out, fill)
}

fn write_within(
    ctx: &mut Context,
    to: PathId,
    verification_tag: VerificationTag,
    limit: usize,
    out: &mut BytesMut,
    fill: impl FnOnce(&mut PacketBuilder<'_>, &mut Context),
) -> Option<Transmit> {
    let path = ctx.paths.path(to)?;
    let way = path.way(&ctx.me);
    let fits = path.packet_limit();
    let header = CommonHeader {
        source_port: ctx.me.local_port,
        destination_port: ctx.me.peer_port,
        verification_tag,
    };
    let mut packet = PacketBuilder::new(out, header, limit);
    fill(&mut packet, ctx);
    if packet.is_empty() {
        packet.cancel();
        return None;
    }
    let len = packet.finish();
    ctx.statistics.packets_sent += 1;
    Some(Transmit { fragmentable: len > fits, ..way.transmit(len) })
}

const MAX_EMPTY: usize = 4;
const CHUNK_HEADER: usize = 4;
const GREATEST_PACKET: usize = 65_000;
