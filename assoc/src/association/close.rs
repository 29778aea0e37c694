//! The graceful close and its collisions (RFC 9260, section 9.2).

use std::time::Instant;

use usctp_chunk::{Cause, Chunk, Shutdown, ShutdownComplete};

use super::closing::Closing;
use super::tcb::{Phase, Tcb, abort_chunk};
use super::{Arrival, Ending, Outcome};
use crate::context::Context;
use crate::event::{Event, LostReason};
use crate::path::Heartbeat;
use crate::recv::Missing;

impl Tcb {
    /// The application wants to close.
    pub(crate) fn shutdown(&mut self, now: Instant, ctx: &Context) {
        self.closes = true;
        if matches!(self.phase, Phase::Established) {
            self.phase = Phase::ShutdownPending;
            self.begin_close(now, ctx);
            self.sender.open_burst(&ctx.config);
        }
    }

    /// From now on no message is taken, and the whole close is bounded: a peer that takes nothing more, and says so, would
    /// else put off the SHUTDOWN for ever, or the answer to its own. RFC 9260, 9.2, lets T5-shutdown-guard begin with
    /// the SHUTDOWN; FreeBSD starts it with the close as well.
    fn begin_close(&mut self, now: Instant, ctx: &Context) {
        self.sender.close();
        if !self.guard.is_running() {
            self.guard.start(now, ctx.config.shutdown_guard());
        }
    }

    /// Sends SHUTDOWN or SHUTDOWN ACK once nothing is left to be acknowledged.
    ///
    /// It is asked in one place, whenever packets are about to be made: that follows every input, whatever emptied the
    /// queues.
    pub(crate) fn progress_shutdown(&mut self, ctx: &mut Context) {
        let waits = matches!(self.phase, Phase::ShutdownPending | Phase::ShutdownReceived(_));
        if !waits || !ctx.outbox.is_empty() || !self.sender.is_idle() {
            return;
        }
        let path = ctx.paths.for_data().unwrap_or_else(|| ctx.paths.primary());
        match self.phase {
            Phase::ShutdownPending => self.phase = Phase::ShutdownSent(Closing::new(path)),
            Phase::ShutdownReceived(from) => {
                // RFC 9260, 6.4: answers go to where the question came from.
                let path = ctx.confirmed(from).unwrap_or(path);
                self.phase = Phase::ShutdownAckSent(Closing::new(path));
            }
            _ => return,
        }
        // RFC 9260, 8.3: no HEARTBEATs after SHUTDOWN or SHUTDOWN ACK.
        ctx.end_heartbeats(Heartbeat::discontinue);
    }

    /// SHUTDOWN left.
    pub(crate) fn shutdown_sent(&mut self) {
        if self.receiver.needs_sack() {
            self.receiver.request_sack();
        } else {
            // SHUTDOWN itself acknowledges what came in sequence.
            self.receiver.shutdown_sent();
        }
    }

    pub(super) fn on_shutdown(
        &mut self,
        now: Instant,
        shutdown: Shutdown,
        arrival: &Arrival,
        ctx: &mut Context,
    ) -> Outcome {
        if let Some(missing) = self.receiver.missing() {
            return self.refuse_close("SHUTDOWN", missing, arrival);
        }
        match &mut self.phase {
            // RFC 9260, 9.2: silently discarded.
            Phase::CookieEchoed(_) => return Outcome::Continue,
            Phase::Established | Phase::ShutdownPending => {
                self.phase = Phase::ShutdownReceived(arrival.path);
                self.begin_close(now, ctx);
                ctx.tell(Event::PeerShutdown);
            }
            Phase::ShutdownReceived(from) => *from = arrival.path.or(*from),
            Phase::ShutdownSent(_) => {
                // Both sides close at once: SHUTDOWN is answered like one that came later.
                let path = ctx.confirmed(arrival.path).unwrap_or_else(|| ctx.paths.primary());
                self.phase = Phase::ShutdownAckSent(Closing::new(path));
                return Outcome::Continue;
            }
            Phase::ShutdownAckSent(closing) => {
                closing.due = true;
                closing.path = ctx.confirmed(arrival.path).unwrap_or(closing.path);
                return Outcome::Continue;
            }
        }
        self.on_acknowledgement(now, shutdown.cumulative_tsn, None, arrival, ctx)
    }

    pub(super) fn on_shutdown_ack(&mut self, arrival: &Arrival, ctx: &Context) -> Outcome {
        let complete = |tag_reflected| Chunk::ShutdownComplete(ShutdownComplete { tag_reflected });
        match self.phase {
            Phase::ShutdownSent(_) | Phase::ShutdownAckSent(_) => {
                if let Some(missing) = self.receiver.missing() {
                    return self.refuse_close("SHUTDOWN ACK", missing, arrival);
                }
                let ending = Ending { event: Event::ShutdownComplete, last_words: None };
                let way = arrival.way();
                Outcome::End(ending.with_last_words(way, self.peer_tag, complete(false)))
            }
            // RFC 9260, 8.5.1 (E) and 9.2: as if it were out of the blue; the set-up goes on.
            Phase::CookieEchoed(_) => Outcome::Answer(ctx.me.local_tag, complete(true)),
            _ => Outcome::Continue,
        }
    }

    /// RFC 9260, 9.2: a peer closes when all its DATA has been acknowledged. One that closes before loses what is missing, and
    /// what waits for that: no graceful end. FreeBSD ends it with an ABORT as well.
    fn refuse_close(&self, chunk: &str, missing: Missing, arrival: &Arrival) -> Outcome {
        let why = match missing {
            Missing::Tsn(tsn) => format!("{chunk} came, and TSN {} did not", tsn.value()),
            Missing::RestOfMessage => format!("{chunk} came, and the rest of a message did not"),
        };
        self.abort(Cause::ProtocolViolation(why.into()), arrival)
    }

    pub(super) fn on_shutdown_complete(&self, _: ShutdownComplete) -> Outcome {
        match self.phase {
            Phase::ShutdownAckSent(_) => {
                Outcome::End(Ending { event: Event::ShutdownComplete, last_words: None })
            }
            // RFC 9260, 8.5.1 (C)
            _ => Outcome::Continue,
        }
    }

    /// T2-shutdown and T5-shutdown-guard.
    pub(crate) fn on_closing_timeout(&mut self, now: Instant, ctx: &mut Context) -> Option<Ending> {
        if self.guard.take_expired(now) {
            return Some(self.given_up(LostReason::ShutdownTimeout, ctx));
        }
        let (Phase::ShutdownSent(closing) | Phase::ShutdownAckSent(closing)) = &mut self.phase
        else {
            return None;
        };
        let lost = closing.on_timeout(now, ctx)?;
        Some(self.given_up(lost, ctx))
    }

    /// This side gives the association up: the peer is told by an ABORT (RFC 9260, 9.1) on the path that has the best chance,
    /// as Linux and FreeBSD do. Without a cause, as FreeBSD has it: the peer broke no rule.
    pub(super) fn given_up(&self, reason: LostReason, ctx: &Context) -> Ending {
        let lost = Ending::lost(reason);
        match ctx.paths.for_data().and_then(|id| ctx.paths.path(id)) {
            Some(path) => lost.with_last_words(path.way(&ctx.me), self.peer_tag, abort_chunk(None)),
            None => lost,
        }
    }
}
