//! What the network says about packets of ours, if it can be believed (RFC 9260, section 10).

use std::time::Instant;

use super::tcb::Tcb;
use super::{Association, State};
use crate::context::Context;
use crate::event::FailureReason;
use crate::path::{Path, PathId, PathState, SetupMark};
use crate::wire::{NoticeKind, PathNotice};

impl Association {
    /// Acts on a notice about a packet for one of the peer's addresses.
    pub(crate) fn handle_notice(&mut self, now: Instant, notice: &PathNotice) -> bool {
        if !self.quotes_us(notice) {
            return false;
        }
        let Some(id) = self.ctx.paths.find(notice.peer) else { return false };
        if let NoticeKind::PacketTooBig { mtu } = notice.kind {
            self.on_packet_too_big(now, id, mtu);
            return true;
        }
        let encapsulated = self.ctx.paths.path(id).is_some_and(|path| path.udp_port.is_some());
        let ending = match &mut self.state {
            State::CookieWait(wait) => {
                let ctx = &mut self.ctx;
                match notice.kind {
                    NoticeKind::SendFailed => wait.on_unreachable(id, SetupMark::SendFailed, ctx),
                    NoticeKind::Unreachable => wait.on_unreachable(id, SetupMark::Unreachable, ctx),
                    // (ICMP8) like an ABORT in the answer to INIT.
                    NoticeKind::ProtocolUnreachable => wait.on_refused(id, None, true, ctx),
                    // RFC 6951, 5.5: nobody has the peer's UDP port, so there is no SCTP behind it.
                    NoticeKind::PortUnreachable if encapsulated => {
                        wait.on_refused(id, None, true, ctx)
                    }
                    // (ICMP3)
                    NoticeKind::PortUnreachable | NoticeKind::PacketTooBig { .. } => None,
                }
            }
            // (ICMP8) would have "protocol unreachable" end the association. A peer that answered INIT speaks
            // SCTP, and Linux says the same when the receive buffer of a raw socket is full (since 6.7):
            // believing it would end associations in the middle of a transfer: timers find out what is really lost.
            State::Open(tcb) => {
                match notice.kind {
                    NoticeKind::SendFailed | NoticeKind::Unreachable => {
                        tcb.on_unreachable(now, id, &mut self.ctx);
                    }
                    NoticeKind::PortUnreachable if encapsulated => {
                        tcb.on_unreachable(now, id, &mut self.ctx);
                    }
                    _ => {}
                }
                None
            }
            State::Closed(_) => None,
        };
        if let Some(ending) = ending {
            self.end(ending);
        }
        true
    }

    /// (ICMP6) The quoted tag is the peer's; or it is 0, and the packet is an INIT with our tag.
    fn quotes_us(&self, notice: &PathNotice) -> bool {
        let quote = &notice.quote;
        let me = &self.ctx.me;
        let ports = quote.source_port == me.local_port && quote.destination_port == me.peer_port;
        let tag = if quote.verification_tag.is_zero() {
            quote.initiate_tag == Some(me.local_tag)
        } else {
            self.peer_tag() == Some(quote.verification_tag)
        };
        ports && tag
    }
}

impl Tcb {
    /// (ICMP9) allows to count a failure. That is a hint: it may bring data to another active path, and has a HEARTBEAT
    /// find out at once whether it is true, but makes nothing inactive and does not speak for the association. One that is
    /// forged or old costs a round trip, and no more than one in each RTO counts.
    fn on_unreachable(&mut self, now: Instant, id: PathId, ctx: &mut Context) {
        let elsewhere = ctx.paths.iter().any(|path| path.id != id && path.is_usable());
        let Some(path) = ctx.paths.path(id).filter(|path| is_open_to_hints(path, now)) else {
            return;
        };
        if !self.sends_data() {
            return;
        }
        let errors = path.record.errors.saturating_add(1);
        let fails = path.settings.potentially_failed_max.is_some_and(|most| errors > most);
        if fails && elsewhere && errors <= path.settings.max_retrans {
            ctx.strike(now, id, false, FailureReason::Unreachable);
            self.sender.on_path_failed(id, &ctx.paths);
            self.sender.open_burst(&ctx.config);
        }
        if let Some(path) = ctx.paths.path_mut(id) {
            path.heartbeat.request();
        }
    }
}

/// Whether a path is active, has been so for an RTO, and may be asked whether it is.
fn is_open_to_hints(path: &Path, now: Instant) -> bool {
    let changed = path.record.counts.changed_at;
    let settled = |at| now.saturating_duration_since(at) >= path.rto.current();
    path.state == PathState::Active
        && path.is_monitored()
        && !path.heartbeat.is_under_way()
        && changed.is_none_or(settled)
}
