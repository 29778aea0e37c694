//! For tests: whether an association would be silent for ever although it has something to do.

use super::tcb::Phase;
use super::{Association, State};

impl Association {
    /// What will never happen, to be asked when everything to transmit was taken: nothing that is in flight, or that waits for
    /// a timer which exists for that purpose, leads to it. HEARTBEATs, which run in any case, are no such timer.
    pub(crate) fn is_stuck(&self) -> Option<String> {
        let tcb = match &self.state {
            State::Open(tcb) => tcb,
            State::CookieWait(wait) => {
                return wait.next_timeout().is_none().then(|| "INIT is not sent again".to_owned());
            }
            State::Closed(_) => return None,
        };
        match &tcb.phase {
            Phase::CookieEchoed(echoed) if !echoed.t1.is_running() => {
                return Some("COOKIE ECHO is not sent again".to_owned());
            }
            Phase::ShutdownSent(closing) | Phase::ShutdownAckSent(closing)
                if closing.next_timeout().is_none() =>
            {
                return Some("SHUTDOWN or its ACK is not sent again".to_owned());
            }
            Phase::ShutdownPending | Phase::ShutdownReceived(_)
                if self.ctx.outbox.is_empty() && tcb.sender.is_idle() =>
            {
                return Some("nothing is outstanding, and the close does not go on".to_owned());
            }
            _ if !tcb.sends_data() => return None,
            _ => {}
        }
        // RFC 9260, 6.3.2 (R1)
        let unwatched =
            |path: &&crate::path::Path| path.congestion.flight() > 0 && !path.t3.is_running();
        if let Some(path) = self.ctx.paths.iter().find(unwatched) {
            let (flight, peer) = (path.congestion.flight(), path.peer);
            return Some(format!(
                "{flight} bytes are in flight to {peer}, and T3-rtx does not run"
            ));
        }
        // With nothing in flight every cwnd has room, and a closed window has its probe: messages leave, or wait for a
        // timer of the sender's.
        let waits = !self.ctx.outbox.is_empty() || !tcb.sender.is_idle();
        let flies = self.ctx.paths.iter().any(|path| path.congestion.flight() > 0);
        // RFC 9260, 5.4: nothing may go before one address is confirmed, for which HEARTBEATs see.
        let is_open = self.ctx.paths.iter().any(|path| path.confirmed);
        let stuck = waits && is_open && !flies && tcb.sender.next_timeout().is_none();
        stuck.then(|| {
            "messages wait, nothing is in flight, and no timer of the sender's runs".to_owned()
        })
    }
}
