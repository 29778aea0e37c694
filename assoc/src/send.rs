//! The sending half of an association: messages in, DATA out, SACKs in (RFC 9260, sections 6.1, 6.2.1, 6.3 and 7.2).

use std::time::Instant;

use usctp_chunk::{Data, Sack, Tsn};

use crate::config::{Config, LossDetection};
use crate::message::Message;
use crate::outbox::Outbox;
use crate::path::{Arrived, COMMON_HEADER, Path, PathId, Paths};
use crate::timer::{Timer, earliest};

mod losses;
mod outstanding;
mod rack;
mod window;
mod write;

use losses::Recovery;
pub(crate) use outstanding::NeverSent;
use outstanding::{Outstanding, Tally, chunk_len};
use rack::Rack;
use window::PeerWindow;

#[derive(Debug)]
pub(crate) struct Sender {
    outstanding: Outstanding,
    window: PeerWindow,
    /// Packets that may still be sent on this occasion, if something came in that makes it one (RFC 9260, 6.1, D).
    burst: Option<usize>,
    /// Max.Burst, in packets.
    max_burst: usize,
    recovery: Recovery,
    tallies: Vec<Tally>,
    /// Where losses are found by time.
    rack: Option<Rack>,
    pacing: Pacing,
    /// COOKIE ACK has not come: only whole messages leave, which can be taken back, and T1-cookie watches over them.
    setting_up: bool,
    /// Whether the application is closing: the peer is asked to acknowledge at once.
    closing: bool,
    nagle: bool,
    /// The greatest payload of a DATA chunk that the application wants, in bytes.
    fragment_limit: usize,
}

/// Sending spread over time.
#[derive(Debug)]
struct Pacing {
    /// All of it, not only what is beyond Max.Burst.
    wanted: bool,
    /// When what has to wait may leave.
    wait: Timer,
}

impl Pacing {
    fn holds(&self, now: Instant) -> bool {
        self.wait.deadline().is_some_and(|at| at > now)
    }
}

impl Sender {
    pub(crate) fn new(initial_tsn: Tsn, peer_rwnd: u32, config: &Config) -> Self {
        Self {
            outstanding: Outstanding::new(initial_tsn),
            window: PeerWindow::new(peer_rwnd),
            burst: None,
            max_burst: config.max_burst.into(),
            recovery: Recovery::default(),
            tallies: Vec::new(),
            rack: (config.recovery.detection == LossDetection::Rack).then(Rack::default),
            pacing: Pacing { wanted: config.recovery.pacing, wait: Timer::default() },
            setting_up: false,
            closing: false,
            nagle: config.nagle,
            fragment_limit: config.fragment_limit.map_or(usize::MAX, usize::from),
        }
    }

    /// The same for a peer that has not acknowledged the cookie yet.
    pub(crate) fn before_cookie_ack(initial_tsn: Tsn, peer_rwnd: u32, config: &Config) -> Self {
        Self { setting_up: true, ..Self::new(initial_tsn, peer_rwnd, config) }
    }

    /// The association is established: from now on T3-rtx watches over what went with the cookie.
    pub(crate) fn established(&mut self, now: Instant, paths: &mut Paths) {
        self.setting_up = false;
        for path in paths.iter_mut().filter(|path| path.congestion.flight() > 0) {
            path.t3.start(now, path.rto.current());
        }
    }

    /// The packet with the cookie was lost, and what went with it: it goes with the next one.
    pub(crate) fn cookie_lost(&mut self, path: PathId, to: PathId, paths: &mut Paths) {
        self.lose_path(path, paths);
        self.redirect(path, to);
    }

    /// What is in flight on a path will not be acknowledged there: it is to be sent again.
    pub(crate) fn lose_path(&mut self, path: PathId, paths: &mut Paths) {
        self.outstanding.lose_path(path, paths);
        if let Some(rack) = &mut self.rack {
            rack.on_t3(path);
        }
    }

    /// What was to be sent again on a path goes to another one.
    pub(crate) fn redirect(&mut self, path: PathId, to: PathId) {
        self.outstanding.redirect_lost(path, to);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// The cost of what is outstanding to the send buffer, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.outstanding.cost()
    }

    /// The application sends no more: acknowledgements are wanted at once (RFC 9260, 6.1, the I bit).
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Something came in that may let packets out.
    pub(crate) fn open_burst(&mut self, config: &Config) {
        self.grant(config.max_burst.into());
    }

    fn grant(&mut self, packets: usize) {
        self.burst = Some(self.burst.unwrap_or(0).saturating_add(packets));
    }

    /// Nothing more can be sent on this occasion.
    pub(crate) fn end_burst(&mut self) {
        self.burst = None;
    }

    /// The path that DATA is to go to now, if any may go.
    pub(crate) fn destination(
        &mut self,
        now: Instant,
        outbox: &Outbox,
        paths: &mut Paths,
    ) -> Option<PathId> {
        if let Some((number, to, data)) = self.outstanding.first_lost() {
            let payload = data.payload.len();
            let to = self.turn_aside(to, paths);
            let path = paths.path_mut(to)?;
            if !self.window_allows_again(number, payload, now, path) {
                return None;
            }
            // RFC 9260, 6.1 (C): what is marked for retransmission goes first, as cwnd allows.
            if self.outstanding.is_fast() {
                return Some(to);
            }
            return (self.has_room(now, path) && self.may_leave(now, path)).then_some(to);
        }
        if outbox.is_empty() {
            return None;
        }
        let to = path_for_new(outbox, paths)?;
        let limit = self.fragment_limit(paths);
        let len = outbox.next_len(limit)?;
        let path = paths.path_mut(to)?;
        let room = self.has_room(now, path);
        if self.waits_for_more(outbox, limit) {
            return None;
        }
        let open = room && self.window_allows(len, now, path);
        (open && self.window_is_tidy() && self.may_leave(now, path)).then_some(to)
    }

    /// Whether cwnd has room on a path for what is to be sent there.
    fn has_room(&self, now: Instant, path: &mut Path) -> bool {
        path.congestion.decay(now, path.rto.current());
        let room = path.congestion.has_room();
        if !room {
            path.congestion.note_fully_used(self.outstanding.transmissions());
        }
        room
    }

    /// RFC 9260, 6.1 (D): whether a packet may follow those that were just sent: by pacing, or by Max.Burst for what came in,
    /// or where only the application sends, by Max.Burst and time.
    fn may_leave(&mut self, now: Instant, path: &mut Path) -> bool {
        let at = match (self.pacing.wanted, self.burst) {
            (true, _) => path.pacer.waits_until(now),
            (false, Some(packets)) => return packets > 0,
            // What is held back leaves in its time, also if messages follow that could leave.
            (false, None) if self.pacing.holds(now) => self.pacing.wait.deadline(),
            (false, None) => {
                let most = self.max_burst * path.congestion.pmdcs();
                path.burst.waits_until(now, most, &path.congestion, path.round_trip())
            }
        };
        let Some(at) = at else { return true };
        // cwnd has room, but what is held back here uses it: RFC 9260, 6.1 (D), would make it smaller for this time.
        path.congestion.note_fully_used(self.outstanding.transmissions());
        self.pacing.wait.start(now, at.saturating_duration_since(now));
        false
    }

    /// Takes a Cumulative TSN Ack in, and the rest of the SACK that it came with. That of a SHUTDOWN comes without one: it
    /// says nothing of gaps, of the window and of what came twice, and for all else it is an acknowledgement like others.
    pub(crate) fn on_acknowledgement(
        &mut self,
        now: Instant,
        cumulative: Tsn,
        sack: Option<&Sack>,
        paths: &mut Paths,
        config: &Config,
        mut answered: impl FnMut(&mut Paths, PathId),
    ) -> Result<(), NeverSent> {
        let mut tallies = std::mem::take(&mut self.tallies);
        let acked = match sack {
            Some(sack) => {
                self.outstanding.on_sack(cumulative, sack.gaps.iter(), paths, &mut tallies)
            }
            None => self.outstanding.on_cumulative(cumulative, paths, &mut tallies),
        };
        if let Ok(Some(acked)) = acked {
            self.credit_paths(now, &tallies, paths, &mut answered);
            self.update_window(now, sack.map(|sack| sack.a_rwnd), paths, &mut answered);
            self.detect_losses(now, acked, &tallies, sack, paths);
            self.schedule_probes(now, paths);
        }
        self.open_burst(config);
        self.grant(stretch(&tallies, paths));
        self.tallies = tallies;
        acked.map(|_| ())
    }

    /// T3-rtx of a path expired (RFC 9260, section 6.3.3). Whether that counts as a failure of the path: not if the peer lives
    /// and may have had no room for what was in flight.
    ///
    /// Where the retransmissions go is settled by [`on_path_failed`](Self::on_path_failed), when the failure is counted.
    pub(crate) fn on_t3(&mut self, path: PathId, paths: &mut Paths, config: &Config) -> bool {
        let window = &self.window;
        let refused = (self.outstanding.in_flight_on(path))
            .all(|sent| window.may_have_refused(sent.number, sent.last.order));
        self.open_burst(config);
        if !self.outstanding.lose_path(path, paths) {
            return false;
        }
        self.window.probe_at_once();
        if refused {
            // RFC 9260, 6.1 (A)
            return false;
        }
        if let Some(path) = paths.path_mut(path) {
            path.congestion.on_timeout();
            path.rto.back_off();
        }
        if let Some(rack) = &mut self.rack {
            rack.on_t3(path);
        }
        if self.recovery.leave(path) {
            self.outstanding.end_fast();
        }
        true
    }

    /// A path's MTU became smaller: what is in flight there and too long is sent again, which is no sign of
    /// congestion (RFC 9260, section 7.3).
    pub(crate) fn on_smaller_mtu(&mut self, path: PathId, paths: &mut Paths, config: &Config) {
        if let Some(limit) = paths.path(path).map(Path::chunk_limit) {
            self.outstanding.lose_longer(path, limit, paths);
            self.open_burst(config);
        }
    }

    /// The length of the packet that a chunk to be sent again needs, if that is more than its path takes: it has its
    /// TSN and cannot be cut again (RFC 9260, section 6.9).
    pub(crate) fn oversized(&self, paths: &Paths) -> Option<usize> {
        let (_, to, data) = self.outstanding.first_lost()?;
        let len = chunk_len(data);
        let limit = paths.path(to)?.chunk_limit();
        (len > limit).then_some(crate::path::COMMON_HEADER + len)
    }

    /// The largest SCTP packet with DATA in flight on a path, in bytes.
    pub(crate) fn largest_in_flight(&self, path: PathId) -> usize {
        self.outstanding.largest_on(path)
    }

    /// Whether something is to be retransmitted on the path.
    pub(crate) fn resends_on(&self, path: PathId) -> bool {
        self.outstanding.has_lost_for(path)
    }

    /// A path failed: what was to be retransmitted there goes where it has the best chance.
    pub(crate) fn on_path_failed(&mut self, path: PathId, paths: &Paths) {
        if let Some(to) = paths.for_retransmission(path) {
            self.outstanding.redirect_lost(path, to);
        }
    }

    /// A path that had failed works. What went to other paths that failed, while there was no better one, goes there
    /// (RFC 7829, 3.2, 3), and so does what it lost itself before it worked again: T3-rtx of those may be backed off to RTO.Max.
    ///
    /// The round trip that showed it ends the back-off (RFC 9260, 6.3.1, C7), so what has been out for longer than the RTO
    /// as it is now is late, and no failure is counted for it.
    pub(crate) fn on_path_returned(&mut self, now: Instant, id: PathId, paths: &mut Paths) {
        let failed = paths.iter().filter(|path| path.has_failed() && path.congestion.flight() > 0);
        let failed: Vec<PathId> = failed.map(|path| path.id).collect();
        for other in failed {
            self.outstanding.lose_path(other, paths);
            self.outstanding.redirect_lost(other, id);
            if let Some(path) = paths.path_mut(other) {
                path.t3.stop();
            }
        }
        let Some(rto) = paths.path(id).map(|path| path.rto.current()) else { return };
        let Some(until) = now.checked_sub(rto) else { return };
        let (lost, earliest) = self.outstanding.lose_sent_until(id, until, paths);
        let Some(path) = paths.path_mut(id) else { return };
        if lost > 0 {
            path.congestion.on_timeout();
            if let Some(rack) = &mut self.rack {
                rack.on_t3(id);
            }
        }
        match earliest {
            Some(sent_at) => path.t3.start(sent_at, rto),
            None => path.t3.stop(),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let rack = self.rack.as_ref().and_then(Rack::next_timeout);
        earliest([self.window.next_timeout(), self.pacing.wait.deadline(), rack])
    }

    pub(crate) fn on_timeout(&mut self, now: Instant, paths: &mut Paths, config: &Config) {
        // What it held back is asked for again.
        self.pacing.wait.take_expired(now);
        if self.on_rack_timeout(now, paths) {
            self.open_burst(config);
        }
        if self.window.take_expired(now) {
            self.open_burst(config);
        }
    }

    /// Takes out every message that was sent, or begun, and not acknowledged whole, for the application to be told or for
    /// another attempt.
    pub(crate) fn give_back(&mut self) -> Vec<Message> {
        self.outstanding.give_back()
    }

    /// Compares what is kept as a sum with what the chunks say. How many these are.
    #[cfg(feature = "sim")]
    pub(crate) fn audit(&self, paths: &Paths) -> Result<usize, String> {
        self.outstanding.audit(paths)
    }

    /// RFC 7829, 3.2 (3): what was to be retransmitted on a path that fails goes to an active one, if by now there is one.
    fn turn_aside(&mut self, to: PathId, paths: &Paths) -> PathId {
        let Some(better) = paths.usable_instead_of(to) else { return to };
        self.outstanding.redirect_lost(to, better);
        better
    }

    /// The Gap Ack Blocks of a SACK reach 2^16; but each chunk may be a message of the same stream, and a receiver
    /// takes a stream sequence number that lies 2^15 or more ahead for an old one (RFC 9260, 6.5).
    fn window_is_tidy(&self) -> bool {
        self.outstanding.len() < MAX_OUTSTANDING
    }

    /// The greatest payload of a DATA chunk, in bytes: what fits all paths (AMDCS, RFC 9260, section 6.9),
    /// or less if the application wants less.
    fn fragment_limit(&self, paths: &Paths) -> usize {
        let fits = paths.smallest_limit().saturating_sub(COMMON_HEADER + DATA_HEADER) & !3;
        fits.min(self.fragment_limit)
    }

    /// RFC 9260, 6.1: whether what is left had better wait for more to fill a packet with (Nagle).
    fn waits_for_more(&self, outbox: &Outbox, limit: usize) -> bool {
        self.nagle
            && !self.closing
            && !outbox.is_urgent()
            && !self.outstanding.is_empty()
            && outbox.payload() < limit
    }

    fn credit_paths(
        &mut self,
        now: Instant,
        tallies: &[Tally],
        paths: &mut Paths,
        answered: &mut impl FnMut(&mut Paths, PathId),
    ) {
        for tally in tallies.iter().filter(|tally| tally.bytes > 0) {
            let Some(path) = paths.path_mut(tally.path) else { continue };
            if let Some(sent_at) = tally.measured_from {
                path.rto.measure(now.saturating_duration_since(sent_at));
            }
            let rtt = path.round_trip();
            let acked = Arrived { now, rtt, bytes: tally.credited, oldest: tally.oldest };
            path.congestion.on_acked(acked, self.recovery.holds(tally.path));
            let size = tally.largest + path.headers_below();
            path.plpmtud.on_data_passed(now, size, path.round_trip());
            if path.congestion.flight() == 0 {
                // RFC 9260, 6.3.2 (R2)
                path.t3.stop();
            } else if tally.earliest {
                // RFC 9260, 6.3.2 (R3)
                path.t3.start(now, path.rto.current());
            }
            if tally.credited > 0 {
                answered(paths, tally.path);
            } else {
                // RFC 9260, 8.1: the peer lives, whichever path it was.
                paths.forget_errors();
            }
        }
    }
}

/// Where new DATA goes: where the application wants it if that is active, else where all of it goes.
fn path_for_new(outbox: &Outbox, paths: &Paths) -> Option<PathId> {
    let wanted = outbox.wanted().and_then(|peer| paths.find(peer));
    let usable = |id: &PathId| paths.path(*id).is_some_and(Path::is_usable);
    wanted.filter(usable).or_else(|| paths.for_data())
}

const DATA_HEADER: usize = Data::HEADER;
const MAX_OUTSTANDING: usize = 32_767;

/// Packets that may leave beside Max.Burst because a SACK says that as many arrived and no other SACK came for them, as a
/// receiver does that takes many packets in at once. Max.Burst assumes a SACK for every second packet (RFC 9260, 6.2);
/// with fewer it would let the window run empty. So many packets did cross the network together before.
fn stretch(tallies: &[Tally], paths: &Paths) -> usize {
    let packets = tallies.iter().map(|tally| {
        let full = paths.path(tally.path).map_or(usize::MAX, Path::chunk_limit);
        tally.bytes / full.max(1)
    });
    let packets: usize = packets.sum();
    if packets > EVERY_SECOND { packets.min(GREATEST_STRETCH) } else { 0 }
}

/// Packets for which a SACK comes at the latest where RFC 9260, 6.2, is followed.
const EVERY_SECOND: usize = 2;

/// What a receiver takes in at once at most. A SACK for more stands for others that were lost.
const GREATEST_STRETCH: usize = 64;
