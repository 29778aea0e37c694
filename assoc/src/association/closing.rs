//! SHUTDOWN or SHUTDOWN ACK on its way, and T2-shutdown, which repeats it (RFC 9260, section 9.2).

use std::time::Instant;

use crate::context::Context;
use crate::event::{FailureReason, LostReason};
use crate::path::PathId;
use crate::timer::Timer;

/// SHUTDOWN or SHUTDOWN ACK is being sent until it is answered.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) path: PathId,
    pub(crate) due: bool,
    t2: Timer,
    /// How often it was sent again since the peer was last heard of.
    attempts: u16,
}

impl Closing {
    pub(crate) fn new(path: PathId) -> Self {
        Self { path, due: true, t2: Timer::default(), attempts: 0 }
    }

    /// It was handed to the network. A repetition that the peer asked for, or who pretends to be, leaves T2-shutdown as it
    /// is: else INITs without end would keep it from expiring.
    pub(crate) fn sent(&mut self, now: Instant, ctx: &Context) {
        self.due = false;
        if !self.t2.is_running() {
            self.restart(now, ctx);
        }
    }

    /// A packet of the peer came: it is at work, and gets time for what it has left (RFC 9260, 9.2). Its HEARTBEATs may come long
    /// before its DATA does, as while it finds out what its paths take. What bounds that is T5-shutdown-guard.
    pub(crate) fn on_packet(&mut self, ctx: &mut Context) {
        self.attempts = 0;
        ctx.paths.forget_errors();
    }

    /// It had DATA, which is answered at once, where it came from (RFC 9260, 6.4 and 9.2), so that T2-shutdown begins anew.
    ///
    /// RFC 9260, 9.2, restarts it for "any packet from its peer (i.e., as the peer sends all of its queued DATA chunks)". One without
    /// DATA is answered by no SHUTDOWN: HEARTBEATs that come faster than T2-shutdown expires would keep the next one back, and
    /// the peer, which asks since it heard of no close, from ever hearing of it. Linux and FreeBSD restart it for DATA alone.
    pub(crate) fn on_data(&mut self, now: Instant, from: Option<PathId>, ctx: &Context) {
        self.due = true;
        self.path = from.unwrap_or(self.path);
        if self.t2.is_running() {
            self.restart(now, ctx);
        }
    }

    fn restart(&mut self, now: Instant, ctx: &Context) {
        if let Some(path) = ctx.paths.path(self.path) {
            self.t2.start(now, path.rto.current());
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.t2.deadline()
    }

    /// T2-shutdown expired: once more, by another path if there is one. Why the association is given up, if it is.
    pub(crate) fn on_timeout(&mut self, now: Instant, ctx: &mut Context) -> Option<LostReason> {
        if !self.t2.take_expired(now) {
            return None;
        }
        self.attempts += 1;
        let config = ctx.config.clone();
        if let Some(path) = ctx.paths.path_mut(self.path) {
            path.rto.back_off();
        }
        ctx.strike(now, self.path, true, FailureReason::T2Expired);
        if self.attempts > config.retransmission.association_max || ctx.paths.are_exhausted(&config)
        {
            return Some(LostReason::TooManyRetransmissions);
        }
        self.path = ctx.paths.for_retransmission(self.path).unwrap_or(self.path);
        self.due = true;
        None
    }
}
