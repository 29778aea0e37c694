//! Addresses that are not the peer's, or not the peer's alone: this host's own, and those of a third host. Their paths end.

use super::tcb::{Phase, Tcb};
use super::{Arrival, Association, Ending, State};
use crate::context::Context;
use crate::event::{AddressChange, LostReason, PrimaryReason, RemovedReason};
use crate::path::PathId;

impl Association {
    /// Whether an address of the peer is one of this host by now.
    pub(crate) fn leads_back(&self) -> bool {
        !self.ctx.paths_back().is_empty()
    }

    /// Whether the peer is known not to be on this host.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self.state, State::Open(_)) && !self.ctx.me.peer_is_here
    }

    /// The addresses of this host changed: paths that lead back to it end, and with the last one the association.
    pub(crate) fn on_host_change(&mut self) {
        // During COOKIE-WAIT it is not known where the peer is: the answer tells.
        let State::Open(tcb) = &mut self.state else { return };
        if let Some(ending) = tcb.leave_own_addresses(&mut self.ctx) {
            self.end(ending);
        }
    }

    /// Whether a packet came from an address of which only the peer says that it is its own. A host that the address
    /// belongs to instead answers our HEARTBEAT with an ABORT that reflects its tag (RFC 9260, 8.4, 8), and knows no more of
    /// the peer than that tag: the peer itself would say so from a confirmed address (5.4), too. RFC 9260, 8.5.1 (B), would
    /// have it end the association, and so whoever has an address that many hosts share would end those of others.
    pub(super) fn may_be_a_third(&self, arrival: &Arrival) -> bool {
        let paths = &self.ctx.paths;
        let from = arrival.path.and_then(|id| paths.path(id));
        from.is_some_and(|path| !path.confirmed) && paths.iter().any(|path| path.confirmed)
    }

    /// The address that a packet came from is not the peer's.
    pub(super) fn disown(&mut self, arrival: &Arrival) {
        let (State::Open(tcb), Some(id)) = (&mut self.state, arrival.path) else { return };
        self.ctx.remove_paths(&[id], RemovedReason::Disowned);
        if let Some(to) = self.ctx.paths.for_data() {
            tcb.leave_path(id, to);
        }
    }
}

impl Tcb {
    fn leave_own_addresses(&mut self, ctx: &mut Context) -> Option<Ending> {
        let ended = ctx.paths_back();
        let peer = ended.first().and_then(|id| ctx.paths.path(*id))?.peer;
        if !ctx.paths.iter().any(|path| path.confirmed && !ended.contains(&path.id)) {
            return Some(Ending::lost(LostReason::OwnAddress { peer }));
        }
        for &id in &ended {
            self.sender.lose_path(id, &mut ctx.paths);
        }
        let primary = ctx.paths.primary();
        ctx.remove_paths(&ended, RemovedReason::OwnAddress);
        let to = ctx.paths.for_data()?;
        if ended.contains(&primary) {
            ctx.paths.set_primary(to);
            ctx.tell_path(to, AddressChange::Primary(PrimaryReason::Removed));
        }
        for &id in &ended {
            self.leave_path(id, to);
        }
        self.sender.open_burst(&ctx.config);
        None
    }

    /// What was bound for a path that is gone goes to another one.
    fn leave_path(&mut self, gone: PathId, to: PathId) {
        self.sender.redirect(gone, to);
        self.control.redirect(gone, to);
        match &mut self.phase {
            Phase::CookieEchoed(echoed) if echoed.path == gone => {
                (echoed.path, echoed.due) = (to, true);
            }
            Phase::ShutdownSent(closing) | Phase::ShutdownAckSent(closing)
                if closing.path == gone =>
            {
                (closing.path, closing.due) = (to, true);
            }
            _ => {}
        }
    }
}
