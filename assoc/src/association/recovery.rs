//! How an association finds losses and how fast it sends: chosen when it begins, or at any time.

use std::time::Instant;

use super::{Association, State};
use crate::config::RecoveryOptions;

impl Association {
    /// How it finds losses and how fast it sends.
    pub fn recovery(&self) -> RecoveryOptions {
        self.ctx.config.recovery
    }

    /// Sets how it finds losses (RFC 9260, section 7.2.4; RFC 8985) and how fast it sends (RFC 9260, section 7.2; RFC 9438),
    /// in the place of what it began with; FreeBSD's `SCTP_PLUGGABLE_CC` can be set like that.
    ///
    /// At any time: windows, what is in flight and what is being recovered from stay as they are. CUBIC begins as after slow
    /// start, with the window it finds; missing reports are counted from the next SACK on. The choice outlives a restart of
    /// the peer, and the peer need not know of it.
    pub fn set_recovery(&mut self, now: Instant, recovery: RecoveryOptions) {
        if recovery == self.recovery() {
            return;
        }
        self.ctx.set_recovery(recovery);
        if let State::Open(tcb) = &mut self.state {
            tcb.sender.set_recovery(now, recovery, &mut self.ctx.paths);
        }
    }
}
