//! When a SACK is due (RFC 9260, section 6.2).

use std::time::Instant;

use crate::config::SackOptions;
use crate::timer::Timer;

/// Counts packets with DATA since the last SACK and delays the next one.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    /// Packets with DATA that no SACK has covered.
    packets: u8,
    /// Whether the packet being read held DATA, and whether it wants an answer at once.
    in_packet: Option<Urgency>,
    due: bool,
    first: bool,
    delay: Timer,
}

/// How soon DATA is to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    Delayed,
    Immediate,
}

impl Ack {
    pub(crate) fn new() -> Self {
        Self { packets: 0, in_packet: None, due: false, first: true, delay: Timer::default() }
    }

    /// The packet being read holds DATA of this urgency.
    pub(crate) fn note(&mut self, urgency: Urgency) {
        self.in_packet = self.in_packet.max(Some(urgency));
    }

    /// The packet being read is read; whether it held DATA.
    pub(crate) fn end_of_packet(&mut self, now: Instant, options: &SackOptions) -> bool {
        let Some(urgency) = self.in_packet.take() else { return false };
        self.packets = self.packets.saturating_add(1);
        // RFC 9260, 5.1: the first DATA is acknowledged at once.
        let at_once = urgency == Urgency::Immediate || std::mem::take(&mut self.first);
        if at_once || self.packets >= options.frequency || options.delay.is_zero() {
            self.due = true;
        } else if !self.delay.is_running() {
            self.delay.start(now, options.delay);
        }
        true
    }

    /// Whether a SACK is to go out by itself.
    pub(crate) fn is_due(&self) -> bool {
        self.due
    }

    /// Whether DATA could ride with a SACK that is not due yet (RFC 9260, section 6.1).
    pub(crate) fn is_pending(&self) -> bool {
        self.due || self.packets > 0
    }

    /// Asks for a SACK in any case, as a window update does.
    pub(crate) fn request(&mut self) {
        self.due = true;
    }

    pub(crate) fn sent(&mut self) {
        self.packets = 0;
        self.due = false;
        self.delay.stop();
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.delay.deadline()
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if self.delay.take_expired(now) {
            self.due = true;
        }
    }
}
