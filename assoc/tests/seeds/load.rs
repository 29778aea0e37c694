//! What is sent, and what is there to hold it.

use rand::Rng;
use rand::rngs::StdRng;
use usctp_assoc::sim::Plan;
use usctp_assoc::{Config, CongestionControl, LossDetection, Message, Options, RecoveryOptions};

use crate::faults::Faults;
use crate::{ms, secs};

/// The kinds of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Messages that the receive buffer holds twice.
    Ordinary,
    /// Messages up to twice as large as the receive buffer: they are delivered in parts.
    Large,
    /// Hundreds of messages and wide windows on fast links: hundreds of packets overtake one that is held back.
    Fast,
}

impl Load {
    pub(crate) fn draw(random: &mut StdRng) -> Self {
        match random.random_range(0..20) {
            0..5 => Self::Large,
            5 => Self::Fast,
            _ => Self::Ordinary,
        }
    }

    /// The parameters of both hosts.
    pub(crate) fn options(self, random: &mut StdRng, faults: &Faults) -> Options {
        let (receive, send) = match self {
            Self::Ordinary => (24_000..100_000, 30_000..100_000),
            Self::Large => (8_000..20_000, 60_000..100_000),
            Self::Fast => (500_000..2_000_000, 500_000..2_000_000),
        };
        let (receive, send) = (random.random_range(receive), random.random_range(send));
        let mut options = Options::default();
        options.rto.max = secs([1, 4, 4][random.random_range(0..3)]);
        let is_quiet = random.random_bool(faults.no_heartbeats);
        options.heartbeat.interval = (!is_quiet).then_some(secs(5));
        options.recovery = recovery(random);
        options.shutdown_guard = random.random_bool(faults.patient_closes).then_some(secs(600));
        options.limits.receive_buffer = receive;
        options.limits.send_buffer = send;
        options
    }

    /// The messages of one side.
    pub(crate) fn messages(self, random: &mut StdRng, faults: &Faults) -> Vec<Message> {
        let (messages, most) = match self {
            Self::Ordinary => (1..40, 100..12_000),
            Self::Large => (1..20, 20_000..40_000),
            Self::Fast => (200..1_000, 1_000..2_000),
        };
        let plan = Plan {
            messages: random.random_range(messages),
            streams: 10,
            least: 1,
            most: random.random_range(most),
            unordered: 0.3,
        };
        let messages = plan.draw(random).into_iter();
        let mortal = |message: Message| match random.random_bool(faults.lifetimes) {
            true => message.lifetime(ms(random.random_range(0..10_000))),
            false => message,
        };
        messages.map(mortal).collect()
    }
}

/// How losses are found, and what follows.
fn recovery(random: &mut StdRng) -> RecoveryOptions {
    let detection = match random.random() {
        true => LossDetection::Rack,
        false => LossDetection::Rfc9260,
    };
    let control = match random.random() {
        true => CongestionControl::Cubic,
        false => CongestionControl::Rfc9260,
    };
    let recovery = RecoveryOptions::new(detection, control);
    if random.random() { recovery.paced() } else { recovery }
}

/// The longest of one failure after the other, until Association.Max.Retrans is exceeded (RFC 9260, 8.1): each takes the
/// greatest RTO, or for an idle path HB.interval and one and a half RTOs more (8.3).
pub(crate) fn time_to_give_up(config: &Config) -> std::time::Duration {
    let failures = u32::from(config.retransmission.association_max) + 1;
    let interval = config.heartbeat.interval.unwrap_or_default();
    failures * (config.rto.max * 5 / 2 + interval)
}
