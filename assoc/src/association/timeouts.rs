//! What happens when a timer of an association with a known peer expires (RFC 9260, sections 5.1.4, 6.3.3, 8 and 9.2).

use std::time::Instant;

use super::Ending;
use super::tcb::{CookieEchoed, Phase, Tcb, abort_chunk};
use crate::context::Context;
use crate::event::{Event, FailureReason, LostReason};
use crate::path::{PathId, PathState, Struck};
use crate::send::Sender;
use crate::timer::earliest;

impl Tcb {
    pub(crate) fn next_timeout(&self, ctx: &Context) -> Option<Instant> {
        let phase = match &self.phase {
            // RFC 9260, 5.1 (C): nothing leaves but the cookie, so no other timer has anything to say.
            Phase::CookieEchoed(echoed) => {
                return earliest([echoed.t1.deadline(), echoed.setup.deadline.deadline()]);
            }
            Phase::ShutdownSent(closing) | Phase::ShutdownAckSent(closing) => {
                closing.next_timeout()
            }
            Phase::Established | Phase::ShutdownPending | Phase::ShutdownReceived(_) => None,
        };
        earliest([
            phase,
            self.guard.deadline(),
            ctx.paths.next_timeout(),
            self.receiver.next_timeout(),
            self.sender.next_timeout(),
        ])
    }

    pub(crate) fn on_timeout(&mut self, now: Instant, ctx: &mut Context) -> Option<Ending> {
        if let Phase::CookieEchoed(echoed) = &mut self.phase {
            let path = echoed.path;
            let ending = echoed.on_timeout(now, &mut self.sender, ctx)?;
            // RFC 9260, 9.1: whoever wants it no more tells the peer, which may have the association already. But where
            // no COOKIE ECHO was answered, nobody hears.
            let given_up = ending.event == Event::CommLost(LostReason::Deadline);
            let way = ctx.paths.path(path).filter(|_| given_up).map(|path| path.way(&ctx.me));
            return Some(match way {
                Some(way) => ending.with_last_words(way, self.peer_tag, abort_chunk(None)),
                None => ending,
            });
        }
        if let Some(ending) = self.on_closing_timeout(now, ctx) {
            return Some(ending);
        }
        self.receiver.on_timeout(now);
        self.sender.on_timeout(now, &mut ctx.paths, &ctx.config);
        let ids: Vec<PathId> = ctx
            .paths
            .iter()
            .filter(|path| path.next_timeout().is_some_and(|deadline| deadline <= now))
            .map(|path| path.id)
            .collect();
        for id in ids {
            self.on_path_timeout(now, id, ctx);
        }
        self.drive_pmtud(now, ctx);
        let exhausted = ctx.paths.are_exhausted(&ctx.config);
        exhausted.then(|| self.given_up(LostReason::TooManyRetransmissions, ctx))
    }

    fn on_path_timeout(&mut self, now: Instant, id: PathId, ctx: &mut Context) {
        let Some(path) = ctx.paths.path_mut(id) else { return };
        let t3 = path.t3.take_expired(now);
        let lost = path.heartbeat.take_lost(now);
        // Before the path asks for another one.
        let awaited = lost.is_some() && path.heartbeat.take_awaited();
        let next = path.heartbeat.take_next(now);
        let interim = path.heartbeat.take_interim(now);
        self.on_pmtud_timeout(now, id, ctx);
        if t3 {
            self.on_t3(now, id, ctx);
        }
        if let Some(sent_at) = lost {
            self.on_heartbeat_lost(now, id, sent_at, ctx);
            if awaited {
                ctx.tell_heartbeat(id, None);
            }
        } else if next {
            self.on_heartbeat_time(now, id, ctx);
        }
        if interim {
            self.ask_for_return(now, id, ctx);
        }
    }

    /// A path that failed is asked whether it has come back, unless DATA is about to ask it.
    fn ask_for_return(&self, now: Instant, id: PathId, ctx: &mut Context) {
        let asks = self.expects_heartbeat_acks();
        let resends = self.sender.resends_on(id);
        let Some(path) = ctx.paths.path_mut(id) else { return };
        // RFC 7829, 3.2 (5), and RFC 9260, 8.3: not where HEARTBEATs are off, and none after SHUTDOWN.
        if asks && path.has_failed() && path.confirmed && path.is_monitored() {
            // What waits behind a full window asks nothing.
            if !resends || path.congestion.flight() > 0 {
                path.heartbeat.request_interim();
            }
            ctx.schedule_interim(now, id);
        }
    }

    /// RFC 9260, 6.3.3
    fn on_t3(&mut self, now: Instant, id: PathId, ctx: &mut Context) {
        // RFC 9260, 6.3.2 (R2): nothing is outstanding there any more, as when it was found missing and sent elsewhere.
        if ctx.paths.path(id).is_none_or(|path| path.congestion.flight() == 0) {
            return self.sender.open_burst(&ctx.config);
        }
        let largest = self.sender.largest_in_flight(id);
        let config = ctx.config.clone();
        if !self.sender.on_t3(id, &mut ctx.paths, &config) {
            return;
        }
        ctx.statistics.t3_expiries += 1;
        self.on_large_timeout(now, id, largest, ctx);
        if let Some(path) = ctx.paths.path_mut(id) {
            path.record.counts.t3_expiries += 1;
        }
        // RFC 9260, 8.2
        ctx.strike(now, id, true, FailureReason::T3Expired);
        self.sender.on_path_failed(id, &ctx.paths);
        self.probe_failing(now, id, ctx);
    }

    /// RFC 9260, 8.3 and 5.4: a HEARTBEAT was not answered within the RTO.
    fn on_heartbeat_lost(&mut self, now: Instant, id: PathId, sent_at: Instant, ctx: &mut Context) {
        let carries_data = ctx.paths.for_data() == Some(id);
        let answers = self.expects_heartbeat_acks();
        let Some(path) = ctx.paths.path_mut(id) else { return };
        path.record.counts.heartbeats_unanswered += 1;
        // RFC 9260, 8.2, and RFC 7829, 3.2 (6): where DATA was sent since, its fate tells more. If it is known, or if the path
        // has answered to something else, that was the failure, or none: one is counted in an RTO.
        let since = |at: Option<Instant>| at.is_some_and(|at| at > sent_at);
        let idle = answers
            && path.congestion.flight() == 0
            && !since(path.record.used_at)
            && !since(path.record.judged_at);
        if idle {
            path.rto.back_off();
            // RFC 9260, 8.1: only the path that data uses speaks for the association.
            let whole = carries_data && path.confirmed;
            if ctx.strike(now, id, whole, FailureReason::HeartbeatUnanswered) != Struck::Counted {
                self.sender.on_path_failed(id, &ctx.paths);
                self.sender.open_burst(&ctx.config);
            }
        }
        ctx.schedule_heartbeat(now, id);
        self.probe_failing(now, id, ctx);
    }

    /// Whether the peer has to answer HEARTBEATs, as far as we know: once it has sent SHUTDOWN it has not, and may still wait
    /// for DATA (RFC 9260, 8.3).
    fn expects_heartbeat_acks(&self) -> bool {
        self.sends_data() && !matches!(self.phase, Phase::ShutdownReceived(_))
    }

    /// A HEARTBEAT goes out if the path was idle for the whole interval; else its time moves.
    fn on_heartbeat_time(&mut self, now: Instant, id: PathId, ctx: &mut Context) {
        let Some(path) = ctx.paths.path_mut(id) else { return };
        if path.state == PathState::PotentiallyFailed {
            return self.probe_failing(now, id, ctx);
        }
        let interval = path.settings.heartbeat_interval;
        let used = path.record.used_at.filter(|_| path.confirmed);
        if let (Some(used), Some(interval)) = (used, interval)
            && now.saturating_duration_since(used) < interval
        {
            let left = interval.saturating_sub(now.saturating_duration_since(used));
            path.heartbeat.schedule(now, left);
            return;
        }
        // Whoever it belongs to did not ask for it, and however many peers name it, it is not to be flooded.
        if !path.confirmed && !ctx.probes.take(now) {
            return path.heartbeat.schedule(now, path.rto.current());
        }
        path.heartbeat.request();
        ctx.schedule_heartbeat(now, id);
    }

    /// RFC 7829, 3.2 (5, 6): a potentially failed path gets a HEARTBEAT in each RTO: as soon as it is in that state, and
    /// when the one before is found missing. DATA on its way there, or about to be sent there, serves as well.
    pub(super) fn probe_failing(&mut self, now: Instant, id: PathId, ctx: &mut Context) {
        let carries_data = self.sender.resends_on(id);
        let sends_data = self.sends_data();
        let Some(path) = ctx.paths.path_mut(id) else { return };
        let failing = path.state == PathState::PotentiallyFailed && path.is_monitored();
        if !failing || !sends_data || path.heartbeat.is_under_way() {
            return;
        }
        if carries_data || path.congestion.flight() > 0 {
            path.heartbeat.schedule(now, path.rto.current());
        } else {
            path.heartbeat.request();
        }
    }
}

impl CookieEchoed {
    /// T1-cookie: the cookie goes out again, by the next confirmed address (RFC 9260, 5.1.4). A peer that never answered is
    /// not told of the end: Linux says nothing either.
    fn on_timeout(
        &mut self,
        now: Instant,
        sender: &mut Sender,
        ctx: &mut Context,
    ) -> Option<Ending> {
        if self.setup.deadline.take_expired(now) {
            return Some(Ending::lost(LostReason::Deadline));
        }
        if !self.t1.take_expired(now) {
            return None;
        }
        let config = ctx.config.clone();
        if let Some(path) = ctx.paths.path_mut(self.path) {
            path.rto.back_off();
        }
        if self.attempts > config.retransmission.init_max {
            return Some(Ending::lost(LostReason::SetupTimeout));
        }
        let failed = self.path;
        self.path = ctx.paths.next_after(failed, |path| path.confirmed).unwrap_or(failed);
        sender.cookie_lost(failed, self.path, &mut ctx.paths);
        self.due = true;
        None
    }
}
