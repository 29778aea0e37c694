//! Packets for ports that this stack does not own: who answers them, and how often (RFC 9260, section 8.4).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use usctp_assoc::{Datagram, RateLimit, Transmit};

use crate::neighbours::Neighbours;
use crate::port::{Carrier, Responder, is_claimed};

/// Answers a second, and as many at once after a pause: enough for whoever asks in earnest.
const RATE: u32 = 200;
/// How long a port is taken to belong to another process after it was found to.
const BELIEF: Duration = Duration::from_secs(1);
/// So many such ports are remembered.
const MOST_BELIEVED: usize = 4096;
/// How often it is asked whether packets for ports of nobody are for this process to answer, while they are not.
const RETRY: Duration = Duration::from_secs(10);
/// For how long they are not listened to once more came than are answered: then they cost nothing, and the buffer is for
/// packets of associations.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers packets out of the blue.
///
/// What came over raw IP every process of the network namespace hears. So only the one that holds the role of the
/// responder answers, for ports that no process of this library has claimed, and only while nobody else has SCTP of his own
/// here: his ports are not known, and an ABORT in his name would end his associations. What came over UDP came to this
/// stack alone.
#[derive(Debug)]
pub(crate) struct Strangers {
    /// Whether the application wants them answered.
    is_wanted: bool,
    /// The other users of SCTP over raw IP; none if that is not heard.
    neighbours: Option<Neighbours>,
    responder: Option<Responder>,
    ear: Ear,
    limit: RateLimit,
    /// Whether the last packet was one beyond the limit.
    is_spent: bool,
    /// Ports of other processes, each on an address, and when that was found out.
    others: HashMap<(u16, IpAddr), Instant>,
    udp_port: Option<u16>,
}

/// Whether packets over raw IP for ports that are not this stack's are listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ear {
    /// Not yet.
    New,
    /// No: they are for others to answer, or others have SCTP of their own. It is asked again then.
    Closed(Instant),
    /// Yes.
    Open,
    /// Yes, but others have SCTP of their own since.
    Crowded,
    /// Yes, but more come than are answered.
    Flooded,
    /// Not until then, because more came than are answered.
    Paused(Instant),
}

impl Strangers {
    /// For a stack with these neighbours if it hears raw IP, and with this local UDP port, if it has one.
    pub(crate) fn new(
        is_wanted: bool,
        neighbours: Option<Neighbours>,
        udp_port: Option<u16>,
        now: Instant,
    ) -> Self {
        Self {
            is_wanted,
            neighbours,
            responder: None,
            ear: Ear::New,
            limit: RateLimit::new(RATE, now),
            is_spent: false,
            others: HashMap::new(),
            udp_port,
        }
    }

    /// Looks from time to time whether packets for ports of nobody are to be listened to: the answer when it has changed.
    pub(crate) fn review(&mut self, now: Instant) -> Option<bool> {
        // Without raw links the role would be kept from those who can play it.
        let neighbours = self.neighbours.as_mut().filter(|_| self.is_wanted)?;
        let opens = match self.ear {
            Ear::New => {
                // Later on, there are associations that wait for this thread.
                self.responder = Responder::claim_if(!neighbours.speak_sctp(), true);
                self.responder.is_some()
            }
            Ear::Closed(until) if until <= now => {
                self.responder = Responder::claim_if(!neighbours.speak_sctp(), false);
                self.responder.is_some()
            }
            Ear::Paused(until) if until <= now => true,
            Ear::Flooded => {
                self.ear = Ear::Paused(now + PAUSE);
                return Some(false);
            }
            Ear::Crowded => {
                self.responder = None;
                self.ear = Ear::Closed(now + RETRY);
                return Some(false);
            }
            Ear::Open | Ear::Closed(_) | Ear::Paused(_) => return None,
        };
        self.ear = if opens { Ear::Open } else { Ear::Closed(now + RETRY) };
        opens.then_some(true)
    }

    /// When that is to be looked at next. Whoever has nothing to do has to wake up for it, or nobody would answer once
    /// the process that did has ended.
    pub(crate) fn review_due(&self) -> Option<Instant> {
        match self.ear {
            Ear::Closed(until) | Ear::Paused(until) => Some(until),
            _ => None,
        }
    }

    /// The answer to a packet that belongs to none of the stack's endpoints, appended to `out`; most get none.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        out: &mut BytesMut,
    ) -> Option<Transmit> {
        self.is_spent = false;
        let port = destination_port(datagram).filter(|_| self.is_wanted)?;
        let carrier = match (datagram.udp_port, self.udp_port) {
            (None, _) if self.ear != Ear::Open => return None,
            (None, _) => Carrier::Ip,
            (Some(_), local) => Carrier::Udp(local?),
        };
        let at = (port, datagram.destination);
        let believed = |found: &Instant| now.saturating_duration_since(*found) < BELIEF;
        if carrier == Carrier::Ip && self.others.get(&at).is_some_and(believed) {
            return None;
        }
        self.is_spent = !self.limit.take(now);
        if self.is_spent {
            if carrier == Carrier::Ip {
                self.ear = Ear::Flooded;
            }
            return None;
        }
        if carrier == Carrier::Ip && self.neighbours.as_mut().is_none_or(Neighbours::speak_sctp) {
            self.ear = Ear::Crowded;
            return None;
        }
        if is_claimed(carrier, port, datagram.destination) {
            if self.others.len() >= MOST_BELIEVED {
                self.others.clear();
            }
            self.others.insert(at, now);
            return None;
        }
        usctp_assoc::out_of_the_blue(datagram, out)
    }

    /// Whether the last packet was left without an answer because there were too many.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent
    }
}

/// The port in the common header (RFC 9260, section 3.1).
pub(crate) fn destination_port(datagram: &Datagram) -> Option<u16> {
    let &[_, _, high, low] = datagram.payload.first_chunk()?;
    Some(u16::from_be_bytes([high, low]))
}

/// Whether the verification tag is 0, as that of an INIT is, and of nothing else.
pub(crate) fn has_no_tag(datagram: &Datagram) -> bool {
    matches!(datagram.payload.first_chunk(), Some([_, _, _, _, 0, 0, 0, 0]))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use usctp_assoc::Ecn;

    use super::*;

    /// HEARTBEAT ACK to a port.
    fn packet(port: u16) -> Datagram {
        let ports = [[0x13, 0x88], port.to_be_bytes()].concat();
        let rest = [0, 0, 0, 7, 0, 0, 0, 0, 5, 0, 0, 4];
        Datagram {
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            destination: IpAddr::V4(Ipv4Addr::LOCALHOST),
            udp_port: None,
            zone: 0,
            ecn: Ecn::NotEct,
            payload: [&ports[..], &rest].concat().into(),
        }
    }

    #[test]
    fn once_more_come_than_are_answered_nobody_listens_for_a_while() {
        let now = Instant::now();
        let mut strangers = Strangers::new(true, Some(Neighbours::of([].into_iter())), None, now);
        strangers.ear = Ear::Open;
        let mut out = BytesMut::new();
        for _ in 0..RATE {
            // Whether there is an answer depends on who else is here.
            strangers.answer(now, &packet(9), &mut out);
            strangers.ear = Ear::Open;
        }
        assert_eq!(strangers.review(now), None);
        assert!(strangers.answer(now, &packet(9), &mut out).is_none());
        assert!(strangers.is_spent());
        assert_eq!(strangers.review(now), Some(false));
        assert_eq!(strangers.review_due(), Some(now + PAUSE));
        assert_eq!(strangers.review(now + PAUSE / 2), None);
        assert_eq!(strangers.review(now + PAUSE), Some(true));
        assert_eq!(strangers.review_due(), None);
    }

    #[test]
    fn who_finds_others_with_sctp_of_their_own_listens_no_more_and_asks_again() {
        let now = Instant::now();
        let mut strangers = Strangers::new(true, Some(Neighbours::of([].into_iter())), None, now);
        strangers.ear = Ear::Crowded;
        assert_eq!(strangers.review(now), Some(false));
        assert!(strangers.answer(now, &packet(9), &mut BytesMut::new()).is_none());
        assert_eq!(strangers.review_due(), Some(now + RETRY));
    }

    #[test]
    fn who_is_not_to_answer_never_listens() {
        let now = Instant::now();
        let mut strangers =
            Strangers::new(false, Some(Neighbours::of([].into_iter())), Some(9899), now);
        assert_eq!(strangers.review(now), None);
        assert_eq!(strangers.review_due(), None);
        let over_udp = Datagram { udp_port: Some(40_000), ..packet(9) };
        for packet in [packet(9), over_udp] {
            assert!(strangers.answer(now, &packet, &mut BytesMut::new()).is_none());
        }
    }
}
