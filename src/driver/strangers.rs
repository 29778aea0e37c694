//! Packets for ports that this stack does not own: who answers them, and how often (RFC 9260, section 8.4).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use usctp_assoc::{Datagram, RateLimit, Transmit};

use crate::port::{Carrier, Responder, is_claimed, kernel_speaks_sctp};

/// Answers a second, and as many at once after a pause: enough for whoever asks in earnest.
const RATE: u32 = 200;
/// How long a port is taken to belong to another process after it was found to.
const BELIEF: Duration = Duration::from_secs(1);
/// How often the role of the responder is asked for while another process has it.
const RETRY: Duration = Duration::from_secs(10);

/// Answers packets out of the blue.
///
/// What came over raw IP every process of the network namespace hears, so only the one that holds the role of the
/// responder answers, and only for ports that no process has claimed. What came over UDP came to this stack alone.
#[derive(Debug)]
pub(crate) struct Strangers {
    hears_ip: bool,
    responder: Option<Responder>,
    asked: Option<Instant>,
    limit: RateLimit,
    /// Whether the last packet was one beyond the limit.
    is_spent: bool,
    /// Ports of other processes, and when that was found out.
    others: HashMap<u16, Instant>,
    udp_port: Option<u16>,
}

impl Strangers {
    /// For a stack that hears raw IP or not, and with this local UDP port, if it has one.
    pub(crate) fn new(hears_ip: bool, udp_port: Option<u16>, now: Instant) -> Self {
        Self {
            hears_ip,
            responder: None,
            asked: None,
            limit: RateLimit::new(RATE, now),
            is_spent: false,
            others: HashMap::new(),
            udp_port,
        }
    }

    /// Asks for the role of the responder from time to time; true when it was just given.
    pub(crate) fn claim_role(&mut self, now: Instant) -> bool {
        let is_early = |asked| now.saturating_duration_since(asked) < RETRY;
        // Without raw links the role would be kept from those who can play it.
        if !self.hears_ip || self.responder.is_some() || self.asked.is_some_and(is_early) {
            return false;
        }
        let is_first = self.asked.replace(now).is_none();
        if kernel_speaks_sctp() {
            return false;
        }
        // Later on, there are associations that wait for this thread.
        self.responder = if is_first { Responder::claim() } else { Responder::claim_at_once() };
        self.responder.is_some()
    }

    /// When the role is to be asked for next, if another process has it. Whoever has nothing to do has to wake up for that,
    /// or nobody would answer once that process has ended.
    pub(crate) fn claim_due(&self) -> Option<Instant> {
        let may_get_it = self.hears_ip && self.responder.is_none();
        self.asked.filter(|_| may_get_it).map(|asked| asked + RETRY)
    }

    /// The answer to a packet that belongs to none of the stack's endpoints, appended to `out`; most get none.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        out: &mut BytesMut,
    ) -> Option<Transmit> {
        self.is_spent = false;
        let port = destination_port(datagram)?;
        let carrier = match (datagram.udp_port, self.udp_port) {
            (None, _) if self.responder.is_none() => return None,
            (None, _) => Carrier::Ip,
            (Some(_), local) => Carrier::Udp(local?),
        };
        let believed = |found: &Instant| now.saturating_duration_since(*found) < BELIEF;
        if carrier == Carrier::Ip && self.others.get(&port).is_some_and(believed) {
            return None;
        }
        self.is_spent = !self.limit.take(now);
        if self.is_spent {
            return None;
        }
        // A port of this stack counts too: the packet was for an address that its socket is not bound to.
        if is_claimed(carrier, port) {
            self.others.insert(port, now);
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
