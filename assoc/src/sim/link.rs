//! One direction of a link: what becomes of a packet that is put on it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use crate::NoticeKind;

/// How a link treats packets. A fresh one is ideal: no delay, no loss, 1,500 bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkSettings {
    /// The delay of every packet.
    pub latency: Duration,
    /// The greatest delay added at random; it does not change the order of packets.
    pub jitter: Duration,
    /// Which packets vanish.
    pub loss: Loss,
    /// The share of packets that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// The share of packets that arrive with one to three bits flipped, 0 to 1: so few, CRC32c never misses.
    pub corrupt: f64,
    /// The share of packets that are held back by up to `hold`, so that later ones overtake them, 0 to 1.
    pub reorder: f64,
    /// The greatest delay of a packet that is held back.
    pub hold: Duration,
    /// The speed of the link; `None` for no limit.
    pub rate: Option<Rate>,
    /// The greatest IP packet in bytes.
    pub mtu: usize,
    /// Whether the sender of a packet that is too big is told so (ICMP) or the packet just vanishes.
    pub tells_too_big: bool,
    /// Whether packets pass at all.
    pub status: Status,
}

/// The speed of a link and the queue in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bytes that pass in one second, IP headers included; at least 1.
    pub bytes_per_second: u64,
    /// Bytes that may wait; a packet that finds the queue full vanishes.
    pub queue: u64,
}

/// Which packets vanish.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// None.
    None,
    /// Each packet on its own with this probability.
    Uniform(f64),
    /// The model of Gilbert and Elliott: a good and a bad state, each with its own loss.
    Burst {
        /// The probability, for each packet, of leaving the good state.
        enter: f64,
        /// The probability, for each packet, of leaving the bad state.
        leave: f64,
        /// The loss in the good state.
        good: f64,
        /// The loss in the bad state.
        bad: f64,
    },
}

/// Whether packets pass, and who says so if they do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// They pass.
    Up,
    /// They vanish.
    Down,
    /// A router answers with an ICMP message of this kind after one latency.
    Icmp(NoticeKind),
    /// The sender's own system refuses them at once.
    SendFailed,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Loss::None,
            duplicate: 0.0,
            corrupt: 0.0,
            reorder: 0.0,
            hold: Duration::ZERO,
            rate: None,
            mtu: 1500,
            tells_too_big: false,
            status: Status::Up,
        }
    }
}

impl LinkSettings {
    /// An ideal link with this delay.
    pub fn with_latency(latency: Duration) -> Self {
        Self { latency, ..Self::default() }
    }
}

/// One direction of a link with what it remembers.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) settings: LinkSettings,
    bursting: bool,
    /// When the last byte that was accepted leaves the queue.
    busy_until: Instant,
    /// When the last packet that kept its order arrives.
    last_arrival: Instant,
    /// Packets that are held back: when each arrives, and how many have overtaken it.
    held: Vec<(Instant, usize)>,
    most_overtaken: usize,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives then, and a second time if it was duplicated.
    Arrives(Instant, Option<Instant>),
    /// It vanishes.
    Lost,
    /// Its sender is told then.
    Noticed(Instant, NoticeKind),
}

impl Link {
    pub(super) fn new(settings: LinkSettings, now: Instant) -> Self {
        Self {
            settings,
            bursting: false,
            busy_until: now,
            last_arrival: now,
            held: Vec::new(),
            most_overtaken: 0,
        }
    }

    /// Decides what becomes of a packet of `len` bytes, IP header included. One that may be cut passes whatever its
    /// length: here it stays in one piece.
    pub(super) fn carry(
        &mut self,
        now: Instant,
        len: usize,
        fragmentable: bool,
        random: &mut StdRng,
    ) -> Fate {
        match self.settings.status {
            Status::Up => {}
            Status::Down => return Fate::Lost,
            Status::Icmp(kind) => return Fate::Noticed(now + self.settings.latency, kind),
            Status::SendFailed => return Fate::Noticed(now, NoticeKind::SendFailed),
        }
        if len > self.settings.mtu && !fragmentable {
            let mtu = u32::try_from(self.settings.mtu).unwrap_or(u32::MAX);
            return match self.settings.tells_too_big {
                true => {
                    Fate::Noticed(now + self.settings.latency, NoticeKind::PacketTooBig { mtu })
                }
                false => Fate::Lost,
            };
        }
        if self.loses(random) {
            return Fate::Lost;
        }
        let Some(departure) = self.departure(now, len) else { return Fate::Lost };
        let first = self.arrival(departure, random);
        self.count_overtaken(now, first);
        let second =
            chance(random, self.settings.duplicate).then(|| self.arrival(departure, random));
        Fate::Arrives(first, second)
    }

    /// The greatest number of packets that overtook a single one.
    pub(super) fn most_overtaken(&self) -> usize {
        self.most_overtaken
    }

    fn count_overtaken(&mut self, now: Instant, arrival: Instant) {
        self.held.retain(|(at, _)| *at > now);
        for (_, overtaken) in self.held.iter_mut().filter(|(at, _)| *at > arrival) {
            *overtaken += 1;
            self.most_overtaken = self.most_overtaken.max(*overtaken);
        }
        if arrival > self.last_arrival {
            self.held.push((arrival, 0));
        }
    }

    /// The payload as it comes out: as it went in, or damaged.
    pub(super) fn damage(&self, payload: &Bytes, random: &mut StdRng) -> Bytes {
        if payload.is_empty() || !chance(random, self.settings.corrupt) {
            return payload.clone();
        }
        let mut damaged = payload.to_vec();
        let mut flips = BTreeSet::new();
        for _ in 0..random.random_range(1..=3) {
            flips.insert(random.random_range(0..damaged.len() * 8));
        }
        for bit in flips {
            if let Some(byte) = damaged.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        damaged.into()
    }

    fn loses(&mut self, random: &mut StdRng) -> bool {
        match self.settings.loss {
            Loss::None => false,
            Loss::Uniform(share) => chance(random, share),
            Loss::Burst { enter, leave, good, bad } => {
                if chance(random, if self.bursting { leave } else { enter }) {
                    self.bursting = !self.bursting;
                }
                chance(random, if self.bursting { bad } else { good })
            }
        }
    }

    /// When the packet has left the queue; `None` if the queue is full.
    fn departure(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.settings.rate else { return Some(now) };
        let waiting = self.busy_until.saturating_duration_since(now);
        let queued = waiting.as_nanos() * u128::from(rate.bytes_per_second) / 1_000_000_000;
        if queued + len as u128 > u128::from(rate.queue.max(len as u64)) {
            return None;
        }
        let nanos = (len as u64).saturating_mul(1_000_000_000) / rate.bytes_per_second.max(1);
        self.busy_until = self.busy_until.max(now) + Duration::from_nanos(nanos);
        Some(self.busy_until)
    }

    fn arrival(&mut self, departure: Instant, random: &mut StdRng) -> Instant {
        let settings = &self.settings;
        let plain = departure + settings.latency + up_to(random, settings.jitter);
        if chance(random, settings.reorder) {
            return plain + up_to(random, settings.hold);
        }
        self.last_arrival = self.last_arrival.max(plain);
        self.last_arrival
    }
}

/// Draws nothing where the answer is certain, so that an ideal link leaves the random numbers to others.
fn chance(random: &mut StdRng, share: f64) -> bool {
    share > 0.0 && random.random::<f64>() < share
}

fn up_to(random: &mut StdRng, most: Duration) -> Duration {
    match u64::try_from(most.as_nanos()).unwrap_or(u64::MAX) {
        0 => Duration::ZERO,
        nanos => Duration::from_nanos(random.random_range(0..=nanos)),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::sim::epoch;

    fn fates(settings: LinkSettings, count: usize) -> Vec<Fate> {
        let mut random = StdRng::seed_from_u64(7);
        let mut link = Link::new(settings, epoch());
        (0..count).map(|_| link.carry(epoch(), 1000, false, &mut random)).collect()
    }

    fn lost(fates: &[Fate]) -> usize {
        fates.iter().filter(|fate| **fate == Fate::Lost).count()
    }

    #[test]
    fn an_ideal_link_delivers_at_once_and_once() {
        assert!(
            fates(LinkSettings::default(), 9).iter().all(|f| *f == Fate::Arrives(epoch(), None))
        );
    }

    #[test]
    fn uniform_loss_loses_about_its_share() {
        let settings = LinkSettings { loss: Loss::Uniform(0.2), ..LinkSettings::default() };
        let lost = lost(&fates(settings, 10_000));
        assert!((1_800..2_200).contains(&lost), "{lost}");
    }

    #[test]
    fn bursts_lose_packets_in_rows() {
        let loss = Loss::Burst { enter: 0.02, leave: 0.2, good: 0.0, bad: 1.0 };
        let fates = fates(LinkSettings { loss, ..LinkSettings::default() }, 10_000);
        let rows = fates.windows(2).filter(|w| w[0] != Fate::Lost && w[1] == Fate::Lost).count();
        let mean = lost(&fates) as f64 / rows as f64;
        assert!((4.0..6.0).contains(&mean), "a burst lasts 1 / leave = 5 packets, not {mean}");
    }

    #[test]
    fn a_rate_spaces_packets_and_a_full_queue_drops_them() {
        let rate = Some(Rate { bytes_per_second: 100_000, queue: 3_000 });
        let fates = fates(LinkSettings { rate, ..LinkSettings::default() }, 5);
        let at = |ms| Fate::Arrives(epoch() + Duration::from_millis(ms), None);
        assert_eq!(fates, [at(10), at(20), at(30), Fate::Lost, Fate::Lost]);
    }

    #[test]
    fn a_packet_above_the_mtu_vanishes_or_is_reported() {
        let small = LinkSettings { mtu: 999, ..LinkSettings::default() };
        assert_eq!(fates(small.clone(), 1), [Fate::Lost]);
        let telling = LinkSettings { tells_too_big: true, ..small };
        let kind = NoticeKind::PacketTooBig { mtu: 999 };
        assert_eq!(fates(telling, 1), [Fate::Noticed(epoch(), kind)]);
    }

    #[test]
    fn jitter_keeps_the_order_and_holding_back_breaks_it() {
        let in_order = |fates: &[Fate]| {
            fates.windows(2).all(|w| match (w[0], w[1]) {
                (Fate::Arrives(a, _), Fate::Arrives(b, _)) => a <= b,
                _ => false,
            })
        };
        let ms = Duration::from_millis(50);
        let jitter = LinkSettings { jitter: ms, ..LinkSettings::default() };
        assert!(in_order(&fates(jitter, 100)));
        let held = LinkSettings { reorder: 0.2, hold: ms, ..LinkSettings::default() };
        assert!(!in_order(&fates(held, 100)));
    }

    #[test]
    fn a_damaged_packet_differs_in_one_to_three_bits() {
        let mut random = StdRng::seed_from_u64(7);
        let sent = Bytes::from_static(b"a packet of some length");
        let link =
            |corrupt| Link::new(LinkSettings { corrupt, ..LinkSettings::default() }, epoch());
        assert_eq!(link(0.0).damage(&sent, &mut random), sent);
        for _ in 0..1_000 {
            let came = link(1.0).damage(&sent, &mut random);
            let flipped: u32 = sent.iter().zip(&came).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert!(came.len() == sent.len() && (1..=3).contains(&flipped), "{flipped}");
        }
    }
}
