//! The graceful close and its collisions (RFC 9260, section 9.2).

use std::time::Instant;

use usctp_chunk::{Cause, Chunk, Shutdown, ShutdownComplete};

use super::tcb::{Phase, Tcb, abort_chunk};
use super::{Arrival, Ending, Outcome};
use crate::context::Context;
use crate::event::{Event, LostReason};
use crate::path::PathId;
use crate::reply::Way;
use crate::timer::Timer;

/// SHUTDOWN or SHUTDOWN ACK is being sent until it is answered.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) path: PathId,
    pub(crate) due: bool,
    t2: Timer,
    /// How often it was sent since the peer was last heard of.
    attempts: u16,
}

impl Closing {
    fn new(path: PathId) -> Self {
        Self { path, due: true, t2: Timer::default(), attempts: 0 }
    }

    /// It was handed to the network.
    pub(crate) fn sent(&mut self, now: Instant, ctx: &Context) {
        self.due = false;
        self.restart(now, ctx);
    }

    /// A packet of the peer came: it gets time to send what it has left, and DATA is answered at once, where it
    /// came from (RFC 9260, 6.4 and 9.2).
    pub(crate) fn on_packet(&mut self, now: Instant, data_from: Option<PathId>, ctx: &mut Context) {
        self.attempts = 0;
        ctx.paths.forget_errors();
        if let Some(path) = data_from {
            self.due = true;
            self.path = path;
        }
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

    /// T2-shutdown expired: once more, by another path if there is one.
    fn on_timeout(&mut self, now: Instant, ctx: &mut Context) -> Option<Ending> {
        if !self.t2.take_expired(now) {
            return None;
        }
        self.attempts += 1;
        let config = ctx.config.clone();
        if let Some(path) = ctx.paths.path_mut(self.path) {
            path.rto.back_off(&config.rto);
        }
        ctx.strike(self.path, true);
        if self.attempts > config.retransmission.association_max || ctx.paths.are_exhausted(&config)
        {
            return Some(Ending::lost(LostReason::TooManyRetransmissions));
        }
        self.path = ctx.paths.for_retransmission(self.path).unwrap_or(self.path);
        self.due = true;
        None
    }
}

impl Tcb {
    /// The application wants to close.
    pub(crate) fn shutdown(&mut self, ctx: &mut Context) {
        if matches!(self.phase, Phase::Established) {
            self.phase = Phase::ShutdownPending;
            self.sender.close();
            self.sender.open_burst(&ctx.config);
            self.progress_shutdown(ctx);
        }
    }

    /// Sends SHUTDOWN or SHUTDOWN ACK once nothing is left to be acknowledged.
    pub(crate) fn progress_shutdown(&mut self, ctx: &mut Context) {
        if !ctx.outbox.is_empty() || !self.sender.is_idle() {
            return;
        }
        let path = ctx.paths.for_data().unwrap_or_else(|| ctx.paths.primary());
        match self.phase {
            Phase::ShutdownPending => self.phase = Phase::ShutdownSent(Closing::new(path)),
            Phase::ShutdownReceived => self.phase = Phase::ShutdownAckSent(Closing::new(path)),
            _ => return,
        }
        // RFC 9260, 8.3: no HEARTBEATs after SHUTDOWN or SHUTDOWN ACK.
        for path in ctx.paths.iter_mut() {
            path.heartbeat.discontinue();
        }
    }

    /// SHUTDOWN left; the whole close is bounded from now on.
    pub(crate) fn shutdown_sent(&mut self, now: Instant, ctx: &Context) {
        if !self.guard.is_running() {
            self.guard.start(now, ctx.config.shutdown_guard());
        }
        let reported = !self.receiver.map().has_gaps() && !self.receiver.map().has_duplicates();
        if reported {
            // SHUTDOWN itself acknowledges what came in sequence.
            self.receiver.sack_sent();
        } else {
            self.receiver.request_sack();
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
                self.phase = Phase::ShutdownReceived;
                self.sender.close();
                ctx.tell(Event::PeerShutdown);
            }
            Phase::ShutdownReceived => {}
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
        let Context { paths, config, .. } = &mut *ctx;
        let mut live = Vec::new();
        let acked =
            self.sender.on_cumulative(now, shutdown.cumulative_tsn, paths, config, |_, path| {
                live.push(path);
            });
        for path in live {
            ctx.answered(path);
        }
        match acked {
            Ok(_) => {
                self.progress_shutdown(ctx);
                if let Phase::ShutdownAckSent(closing) = &mut self.phase {
                    // RFC 9260, 6.4: the reply goes back where the question came from.
                    closing.path = ctx.confirmed(arrival.path).unwrap_or(closing.path);
                }
                Outcome::Continue
            }
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
            let way = path.map(|path| Way {
                local: path.local,
                peer: path.peer,
                udp_port: path.udp_port,
            });
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
