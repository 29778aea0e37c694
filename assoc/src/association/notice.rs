//! What the network says about packets of ours, if it can be believed (RFC 9260, section 10).

use std::time::Instant;

use super::{Association, State};
use crate::path::SetupMark;
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
                    // Nobody has the peer's UDP port: there is no SCTP behind it.
                    NoticeKind::PortUnreachable if encapsulated => {
                        wait.on_unreachable(id, SetupMark::Unreachable, ctx)
                    }
                    // (ICMP8) like an ABORT in the answer to INIT.
                    NoticeKind::ProtocolUnreachable => wait.on_refused(id, None, true, ctx),
                    // (ICMP3)
                    NoticeKind::PortUnreachable | NoticeKind::PacketTooBig { .. } => None,
                }
            }
            // (ICMP8) would have "protocol unreachable" end the association. A peer that answered INIT speaks
            // SCTP, and Linux says the same when the receive buffer of a raw socket is full (since 6.7):
            // believing it would end associations in the middle of a transfer. As with the unreachable hosts
            // of (ICMP9), timers find out what is really lost.
            State::Open(_) | State::Closed(_) => None,
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
