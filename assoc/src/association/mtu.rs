//! What the discovery of path MTUs does to an association: probes, their answers, and packets of another size (RFC 8899).

use std::net::IpAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use usctp_chunk::{Chunk, Heartbeat};

use super::tcb::Tcb;
use super::{Association, State};
use crate::context::Context;
use crate::error::PathMtuError;
use crate::event::{ActiveReason, Event, MtuReason};
use crate::path::{COMMON_HEADER, PathId, PathState, heartbeat};
use crate::wire::Transmit;

impl Association {
    /// Sets the greatest IP packet in bytes for an address of the peer for good, 68 (with IPv6 1,280) to 65,535, and
    /// ends the discovery of it; `None` lets it be discovered (again) (RFC 6458, section 8.1.12,
    /// `SPP_PMTUD_DISABLE` with `spp_pathmtu`, and `SPP_PMTUD_ENABLE`).
    ///
    /// # Errors
    /// The address is none of the peer's, or the size is out of its range.
    pub fn set_path_mtu(
        &mut self,
        now: Instant,
        peer: IpAddr,
        mtu: Option<u16>,
    ) -> Result<(), PathMtuError> {
        let id = self.ctx.paths.find(peer).ok_or(PathMtuError::NoSuchPath(peer))?;
        let least = if peer.is_ipv4() { 68 } else { 1280 };
        if let Some(mtu) = mtu.filter(|mtu| *mtu < least) {
            return Err(PathMtuError::OutOfRange { mtu, least });
        }
        if let Some(path) = self.ctx.paths.path_mut(id) {
            path.plpmtud.set(mtu.map(usize::from));
        }
        self.adopt_mtu(id);
        if let State::Open(tcb) = &self.state {
            tcb.drive_pmtud(now, &mut self.ctx);
        }
        Ok(())
    }

    /// Takes in what the local system knows of the way to an address of the peer: the MTU of the link that packets leave
    /// by, in bytes. A new path then starts with that in place of [`Options::path_mtu`](crate::Options), if it is more, and
    /// it is confirmed by the first probe; with [`PmtudOptions::max`](crate::PmtudOptions), or without discovery, nothing changes.
    pub fn learn_link_mtu(&mut self, now: Instant, peer: IpAddr, mtu: u16) {
        let Some(id) = self.ctx.paths.find(peer) else { return };
        if let Some(path) = self.ctx.paths.path_mut(id) {
            path.plpmtud.learn_link(mtu.into());
        }
        self.adopt_mtu(id);
        if let State::Open(tcb) = &self.state {
            tcb.drive_pmtud(now, &mut self.ctx);
        }
    }

    /// (ICMP7) RFC 9260, 7.3; RFC 8899, 4.6: the notice was found to quote a packet of ours.
    pub(super) fn on_packet_too_big(&mut self, now: Instant, id: PathId, mtu: u32) {
        let Some(path) = self.ctx.paths.path_mut(id) else { return };
        let (mtu, rtt) = (usize::try_from(mtu).unwrap_or(usize::MAX), path.round_trip());
        path.plpmtud.on_packet_too_big(now, mtu, rtt);
        self.adopt_mtu(id);
    }

    fn adopt_mtu(&mut self, id: PathId) {
        match &mut self.state {
            State::Open(tcb) => tcb.adopt_mtu(id, &mut self.ctx),
            State::CookieWait(_) | State::Closed(_) => _ = self.ctx.adopt_mtu(id),
        }
    }
}

impl Tcb {
    /// Paths are probed while they are confirmed and answer, and while messages may be sent; for the first time when
    /// something was acknowledged, or timed out, since the set-up: a probe is nobody's first packet.
    pub(super) fn drive_pmtud(&self, now: Instant, ctx: &mut Context) {
        let open = self.sends_data();
        for path in ctx.paths.iter_mut() {
            let down = matches!(path.state, PathState::Unconfirmed | PathState::Inactive);
            if open && path.confirmed && !down {
                if path.record.judged_at.is_some() {
                    path.plpmtud.start(now, path.round_trip());
                }
            } else {
                path.plpmtud.stop();
            }
        }
    }

    /// Whether a HEARTBEAT ACK answers the probe of a path.
    pub(super) fn on_probe_ack(&mut self, now: Instant, info: &Bytes, ctx: &mut Context) -> bool {
        let path = heartbeat::path_of(info).and_then(|id| ctx.paths.path_mut(id));
        let Some(path) = path else { return false };
        let Some(trip) = path.plpmtud.take_answer(now, info) else { return false };
        path.rto.measure(trip);
        let id = path.id;
        // RFC 8899, 6.2.1.2: a probe that is answered counts for the path, one that is not counts for nothing.
        ctx.answered(now, id, ActiveReason::HeartbeatAcked);
        self.adopt_mtu(id, ctx);
        true
    }

    /// PROBE_TIMER or PMTU_RAISE_TIMER of a path expired.
    pub(super) fn on_pmtud_timeout(&mut self, now: Instant, id: PathId, ctx: &mut Context) {
        let Some(path) = ctx.paths.path_mut(id) else { return };
        path.plpmtud.on_timeout(now, path.round_trip());
        self.adopt_mtu(id, ctx);
    }

    /// T3-rtx of a path expired with DATA in flight in SCTP packets of up to `largest` bytes: they may be too large.
    pub(super) fn on_large_timeout(
        &mut self,
        now: Instant,
        id: PathId,
        largest: usize,
        ctx: &mut Context,
    ) {
        let Some(path) = ctx.paths.path_mut(id) else { return };
        let size = largest + path.headers_below();
        // The very first DATA may have been too large.
        path.plpmtud.start(now, path.round_trip());
        path.plpmtud.on_t3(now, size, path.round_trip());
        self.adopt_mtu(id, ctx);
    }

    /// The MTU of a path may have changed: what is in flight and too long for it is sent again.
    fn adopt_mtu(&mut self, id: PathId, ctx: &mut Context) {
        if ctx.adopt_mtu(id) {
            let Context { paths, config, .. } = ctx;
            self.sender.on_smaller_mtu(id, paths, config);
        }
    }

    /// A path whose probe is due, and the greatest SCTP packet in bytes that makes it.
    pub(super) fn probe_destination(&self, ctx: &Context) -> Option<(PathId, usize)> {
        ctx.paths.iter().find_map(|path| {
            let size = path.plpmtud.due()?.saturating_sub(path.headers_below());
            Some((path.id, size))
        })
    }

    /// RFC 8899, 6.2.1.2: a probe is a HEARTBEAT and as much padding as makes its size (RFC 4820), and never cut.
    pub(super) fn write_probe(
        &mut self,
        now: Instant,
        (to, len): (PathId, usize),
        out: &mut BytesMut,
        ctx: &mut Context,
    ) -> Option<Transmit> {
        let transmit = self.write_within(to, len, out, ctx, |packet, ctx| {
            let Context { paths, rng, statistics, .. } = ctx;
            let Some(path) = paths.path_mut(to) else { return };
            let heartbeat = Chunk::Heartbeat(Heartbeat::new(path.plpmtud.make(now, to, rng)));
            let rest = len.saturating_sub(COMMON_HEADER + heartbeat.encoded_len());
            packet.push(&heartbeat);
            if let Some(padding) = rest.checked_sub(CHUNK_HEADER) {
                packet.push_padding(padding);
            }
            statistics.mtu_probes_sent += 1;
        });
        transmit.map(|transmit| Transmit { fragmentable: false, ..transmit })
    }
}

impl Context {
    /// The congestion control and the application learn of another MTU.
    /// Whether there is another one.
    fn adopt_mtu(&mut self, id: PathId) -> bool {
        let Some(path) = self.paths.path_mut(id) else { return false };
        let Some(reason) = path.plpmtud.take_change() else { return false };
        let pmdcs = path.chunk_limit();
        match reason {
            MtuReason::Link => path.congestion.start_with(pmdcs, path.peer),
            _ => path.congestion.set_pmdcs(pmdcs, path.peer),
        }
        let (peer, mtu) = (path.peer, path.plpmtud.mtu());
        self.tell(Event::PathMtuChange { peer, mtu, reason });
        true
    }
}

const CHUNK_HEADER: usize = 4;
