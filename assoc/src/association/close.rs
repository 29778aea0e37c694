//! The graceful close and its collisions (RFC 9260, section 9.2).

use std::time::Instant;

use usctp_chunk::{Cause, Chunk, Shutdown, ShutdownComplete};

use super::closing::Closing;
use super::tcb::{Phase, Tcb, abort_chunk};
use super::{Arrival, Ending, Outcome};
use crate::context::Context;
use crate::event::{ActiveReason, Event, LostReason};
use crate::path::{Heartbeat, Path};

impl Tcb {
    /// The application wants to close.
    pub(crate) fn shutdown(&mut self, ctx: &mut Context) {
        self.closes = true;
        if matches!(self.phase, Phase::Established) {
            self.phase = Phase::ShutdownPending;
            self.sender.close();
            self.sender.open_burst(&ctx.config);
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

    /// SHUTDOWN left; the whole close is bounded from now on.
    pub(crate) fn shutdown_sent(&mut self, now: Instant, ctx: &Context) {
        if !self.guard.is_running() {
            self.guard.start(now, ctx.config.shutdown_guard());
        }
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
        match &mut self.phase {
            // RFC 9260, 9.2: silently discarded.
            Phase::CookieEchoed(_) => return Outcome::Continue,
            Phase::Established | Phase::ShutdownPending => {
                self.phase = Phase::ShutdownReceived(arrival.path);
                self.sender.close();
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
        // SHUTDOWN acknowledges cumulatively; it says nothing of gaps and of the window.
        self.acknowledge_by_shutdown(now, shutdown, arrival, ctx)
    }

    fn acknowledge_by_shutdown(
        &mut self,
        now: Instant,
        shutdown: Shutdown,
        arrival: &Arrival,
        ctx: &mut Context,
    ) -> Outcome {
        let before = self.sender.cost();
        let Context { paths, config, .. } = &mut *ctx;
        let mut live = Vec::new();
        let acked =
            self.sender.on_cumulative(now, shutdown.cumulative_tsn, paths, config, |paths, id| {
                // As with a SACK: what came by another path says little of one that fails.
                if arrival.path != Some(id) && paths.path(id).is_some_and(Path::is_in_doubt) {
                    return paths.forget_errors();
                }
                live.push(id);
            });
        for path in live {
            ctx.answered(now, path, ActiveReason::DataAcked);
        }
        if self.sender.cost() < before {
            self.on_departed(ctx);
        }
        match acked {
            Ok(_) => Outcome::Continue,
            Err(_) => {
                let why = bytes::Bytes::from_static(b"SHUTDOWN acknowledges what was never sent");
                self.abort(Cause::ProtocolViolation(why), arrival)
            }
        }
    }

    pub(super) fn on_shutdown_ack(&mut self, arrival: &Arrival, ctx: &Context) -> Outcome {
        let complete = |tag_reflected| Chunk::ShutdownComplete(ShutdownComplete { tag_reflected });
        match self.phase {
            Phase::ShutdownSent(_) | Phase::ShutdownAckSent(_) => {
                let ending = Ending { event: Event::ShutdownComplete, last_words: None };
                let way = arrival.way();
                Outcome::End(ending.with_last_words(way, self.peer_tag, complete(false)))
            }
            // RFC 9260, 8.5.1 (E) and 9.2: as if it were out of the blue; the set-up goes on.
            Phase::CookieEchoed(_) => Outcome::Answer(ctx.me.local_tag, complete(true)),
            _ => Outcome::Continue,
        }
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
            let lost = Ending::lost(LostReason::ShutdownTimeout);
            let path = ctx.paths.for_data().and_then(|id| ctx.paths.path(id));
            let way = path.map(|path| path.way(&ctx.me));
            return Some(match way {
                Some(way) => lost.with_last_words(way, self.peer_tag, abort_chunk(None)),
                None => lost,
            });
        }
        match &mut self.phase {
            Phase::ShutdownSent(closing) | Phase::ShutdownAckSent(closing) => {
                closing.on_timeout(now, ctx)
            }
            _ => None,
        }
    }
}
