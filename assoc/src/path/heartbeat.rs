//! The HEARTBEATs of one path: when one is due, and which answer is the right one (RFC 9260, sections 5.4 and 8.3).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rand::Rng;
use rand::rngs::StdRng;

use super::PathId;
use crate::timer::{Timer, earliest};

/// At most one HEARTBEAT of a path is waited for, and only its exact echo is believed, or that of one that went out since.
///
/// Failures are counted by the RTO, which backs off; a path that failed is asked more often than that, so that its return is
/// found in time. Those HEARTBEATs count for nothing but their answers.
///
/// The nonce, the path and the time are kept here and compared byte by byte, so the packet needs no MAC.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heartbeat {
    /// When the next one is due.
    next: Timer,
    /// When the outstanding one counts as lost.
    expiry: Timer,
    outstanding: Option<Outstanding>,
    due: bool,
    /// The application waits for the outcome of the one that is due, or else of the outstanding one.
    awaited: bool,
    interim: Interim,
}

/// HEARTBEATs to a path that failed, between those whose loss counts.
#[derive(Debug, Clone, Default)]
struct Interim {
    /// When the next one is due.
    timer: Timer,
    due: bool,
    /// The latest ones, in the order they were sent.
    sent: VecDeque<Outstanding>,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The round-trip time.
    pub(crate) trip: Duration,
    /// The application waited for it; it is taken to be told.
    pub(crate) awaited: bool,
}

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    info: [u8; INFO_LEN],
    sent_at: Instant,
}

impl Heartbeat {
    /// Sets when the next HEARTBEAT is due, in the place of what was set before.
    pub(crate) fn schedule(&mut self, now: Instant, after: Duration) {
        self.next.start(now, after);
    }

    /// Sends none until another time is set or one is asked for.
    pub(crate) fn unschedule(&mut self) {
        self.next.stop();
        self.interim = Interim::default();
    }

    /// Sets when the next one is due whose loss counts for nothing.
    pub(crate) fn schedule_interim(&mut self, now: Instant, after: Duration) {
        self.interim.timer.start(now, after);
    }

    pub(crate) fn is_interim_scheduled(&self) -> bool {
        self.interim.timer.is_running()
    }

    /// Whether it is time for such a one.
    pub(crate) fn take_interim(&mut self, now: Instant) -> bool {
        self.interim.timer.take_expired(now)
    }

    /// Asks for such a one now.
    pub(crate) fn request_interim(&mut self) {
        self.interim.due = true;
    }

    /// The path answers: those that went out in between are of no more interest.
    pub(crate) fn end_interim(&mut self) {
        self.interim = Interim::default();
    }

    /// Asks for one now.
    pub(crate) fn request(&mut self) {
        self.due = true;
    }

    /// Asks for one now, whose outcome the application is to hear (RFC 9260, section 11.1.10).
    pub(crate) fn request_with_outcome(&mut self) {
        self.due = true;
        self.awaited = true;
    }

    /// Whether the application waits for the outcome of the one that has just ended; it is taken to be told.
    pub(crate) fn take_awaited(&mut self) -> bool {
        // If another one is due already, it is that one's outcome which was asked for.
        !self.due && std::mem::take(&mut self.awaited)
    }

    /// Forgets everything. Whether the application waited for an outcome.
    pub(crate) fn stop(&mut self) -> bool {
        std::mem::take(self).awaited
    }

    /// Ends all sending, as closing does (RFC 9260, section 8.3); what was sent may still be answered. Whether the
    /// application waited for an outcome.
    pub(crate) fn discontinue(&mut self) -> bool {
        let outstanding = self.outstanding;
        std::mem::replace(self, Self { outstanding, ..Self::default() }).awaited
    }

    /// Whether one was sent, and neither answered nor given up.
    pub(crate) fn is_outstanding(&self) -> bool {
        self.outstanding.is_some()
    }

    pub(crate) fn is_due(&self) -> bool {
        self.due || self.interim.due
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        earliest([self.next.deadline(), self.expiry.deadline(), self.interim.timer.deadline()])
    }

    /// Whether it is time to send one.
    pub(crate) fn take_next(&mut self, now: Instant) -> bool {
        self.next.take_expired(now)
    }

    /// When the outstanding one was sent, if it was not answered in time; it is forgotten then.
    pub(crate) fn take_lost(&mut self, now: Instant) -> Option<Instant> {
        let lost = self.expiry.take_expired(now);
        self.outstanding.take_if(|_| lost).map(|outstanding| outstanding.sent_at)
    }

    /// Whether one was sent, or is to be sent now, and neither answered nor found missing.
    pub(crate) fn is_under_way(&self) -> bool {
        self.due || self.expiry.is_running()
    }

    /// Makes the Heartbeat Info of one to be sent now: a fresh nonce, the path, and the time since `epoch`. Whether its loss
    /// counts.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        epoch: Instant,
        rto: Duration,
        path: PathId,
        rng: &mut StdRng,
    ) -> (Bytes, bool) {
        let mut info = BytesMut::with_capacity(INFO_LEN);
        info.put_u64(rng.random());
        info.put_u32(path.0.into());
        let elapsed = now.saturating_duration_since(epoch).as_micros();
        info.put_u64(u64::try_from(elapsed).unwrap_or(u64::MAX));
        let mut kept = [0; INFO_LEN];
        kept.copy_from_slice(&info);
        let sent = Outstanding { info: kept, sent_at: now };
        let counts = std::mem::take(&mut self.due);
        self.interim.due = false;
        if counts {
            self.outstanding = Some(sent);
            self.expiry.start(now, rto);
        } else {
            self.interim.sent.truncate(MOST_INTERIM - 1);
            self.interim.sent.push_front(sent);
        }
        (info.freeze(), counts)
    }

    /// The round-trip time if `info` is the exact echo of the outstanding HEARTBEAT or of one that was sent in between. It
    /// ends the wait, unless the application wants to know about the outstanding one and this is another.
    pub(crate) fn take_answer(&mut self, now: Instant, info: &[u8]) -> Option<Answer> {
        let waited_for = self.outstanding.filter(|outstanding| outstanding.info == info);
        let interim = || self.interim.sent.iter().find(|sent| sent.info == info).copied();
        let answered = waited_for.or_else(interim)?;
        if waited_for.is_some() || !self.awaited {
            self.outstanding = None;
            self.expiry.stop();
        }
        let awaited = waited_for.is_some() && self.take_awaited();
        let trip = now.saturating_duration_since(answered.sent_at);
        Some(Answer { trip, awaited })
    }
}

/// The path that a Heartbeat Info claims to belong to.
pub(crate) fn path_of(info: &[u8]) -> Option<PathId> {
    let (_nonce, rest) = info.split_first_chunk::<8>()?;
    let (path, _) = rest.split_first_chunk::<4>()?;
    u16::try_from(u32::from_be_bytes(*path)).ok().map(PathId)
}

/// The length of a HEARTBEAT chunk in bytes: its header, that of its parameter, and the Heartbeat Info.
pub(crate) const CHUNK_LEN: usize = 4 + 4 + INFO_LEN;
// Nonce, path, time.
const INFO_LEN: usize = 8 + 4 + 8;
/// How many HEARTBEATs whose loss does not count may be answered: they follow each other by an RTO or more, and a round trip
/// that has become longer than four of those is measured by those that count.
const MOST_INTERIM: usize = 4;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const RTO: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "an arbitrary starting point")]
    fn base() -> Instant {
        Instant::now()
    }

    /// Sends one, whose loss counts or not; its Heartbeat Info.
    fn sends(heartbeat: &mut Heartbeat, now: Instant, counts: bool) -> Bytes {
        if counts {
            heartbeat.request();
        } else {
            heartbeat.request_interim();
        }
        let mut rng = StdRng::seed_from_u64(heartbeat.interim.sent.len() as u64);
        heartbeat.make(now, now, RTO, PathId(0), &mut rng).0
    }

    #[test]
    fn one_is_answered_once_and_is_not_found_missing_afterwards() {
        let (mut heartbeat, now) = (Heartbeat::default(), base());
        let info = sends(&mut heartbeat, now, true);
        assert!(heartbeat.is_under_way());
        assert!(heartbeat.take_answer(now + RTO / 2, b"something else").is_none());
        let answer = heartbeat.take_answer(now + RTO / 2, &info).expect("it is the echo");
        assert_eq!(answer.trip, RTO / 2);
        assert!(!heartbeat.is_outstanding() && !heartbeat.is_under_way());
        assert!(heartbeat.take_answer(now + RTO, &info).is_none(), "a copy says nothing new");
        assert_eq!(heartbeat.take_lost(now + RTO * 2), None);
    }

    #[test]
    fn of_those_sent_in_between_the_last_four_may_be_answered_until_the_path_answers() {
        let (mut heartbeat, now) = (Heartbeat::default(), base());
        let infos: Vec<_> =
            (0..5).map(|round| sends(&mut heartbeat, now + RTO * round, false)).collect();
        let answered = |heartbeat: &mut Heartbeat, info: &Bytes| {
            heartbeat.take_answer(now + RTO * 5, info).map(|answer| answer.trip)
        };
        let trips: Vec<_> = infos.iter().map(|info| answered(&mut heartbeat, info)).collect();
        assert_eq!(trips, [None, Some(RTO * 4), Some(RTO * 3), Some(RTO * 2), Some(RTO)]);
        heartbeat.end_interim();
        assert!(infos.iter().all(|info| answered(&mut heartbeat, info).is_none()));
    }

    #[test]
    fn one_sent_in_between_ends_the_wait_unless_the_application_wants_to_hear_of_the_other() {
        for awaited in [false, true] {
            let (mut heartbeat, now) = (Heartbeat::default(), base());
            sends(&mut heartbeat, now, true);
            heartbeat.awaited = awaited;
            // The first draws the same nonce as that one.
            sends(&mut heartbeat, now, false);
            let between = sends(&mut heartbeat, now, false);
            let answer = heartbeat.take_answer(now + RTO / 2, &between).expect("it is the echo");
            assert!(!answer.awaited);
            assert_eq!([heartbeat.is_outstanding(), heartbeat.is_under_way()], [awaited; 2]);
        }
    }
}
