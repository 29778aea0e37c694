//! That hosts with nothing to do fall silent: how long packets may answer each other, and how often an address may be asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use usctp_chunk::{ChunkType, Packet, VerificationTag};

use crate::Config;

/// Where a packet stands in the chain of packets of which each answers the one before.
///
/// A chain begins where something happens: a time has come, or the application does something; and where DATA is sent, for
/// that is what everything is for. RFC 9260, 12.4, answers a packet with one packet at most, which bounds what a moment leads
/// to only if the chains of answers end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link(u32);

impl Link {
    /// What answers nothing.
    pub(super) const FIRST: Self = Self(0);

    /// The answer to a packet.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The longest chain. A set-up has 4 packets (RFC 9260, 5.1), an address that it confirms 2 more, a close 3; the longest is the
/// search for the MTU, of which each probe that is answered may lead to the next (RFC 8899, 5.3): at most some twenty.
const LONGEST: u32 = 64;

/// HEARTBEATs to an address beyond what its timers ask for: with answers to repeated cookies, at returns, by the application.
const AT_ONCE: u32 = 16;

/// HEARTBEATs to an address within the least RTO: one by RFC 9260, 8.3, or RFC 7829, 3.2 (5), with half an RTO of jitter, and
/// one whose loss counts for nothing, to a path that failed.
const PER_RTO: u32 = 4;

/// What a host answers, and whom it asks.
#[derive(Debug, Default)]
pub(super) struct Calm {
    /// The longest chain that came in since packets were taken out last.
    heard: Option<Link>,
    /// By tag, port and address.
    asked: BTreeMap<(VerificationTag, u16, IpAddr), Asked>,
}

/// HEARTBEATs to one address, as a bucket that runs out with time.
#[derive(Debug)]
struct Asked {
    since: Instant,
    /// In the time that one of them takes to run out.
    fill: Duration,
}

impl Calm {
    pub(super) fn hears(&mut self, link: Link) {
        self.heard = self.heard.max(Some(link));
    }

    /// A packet is sent: its place in the chain.
    ///
    /// # Errors
    /// It answers where it should rest, or asks too often.
    pub(super) fn sends(
        &mut self,
        now: Instant,
        destination: IpAddr,
        bytes: &Bytes,
        config: &Config,
    ) -> Result<Link, String> {
        let Ok(packet) = Packet::parse(bytes) else { return Ok(Link::FIRST) };
        let has = |kind| packet.chunks().flatten().any(|chunk| chunk.kind == kind);
        if has(ChunkType::HEARTBEAT) && !has(ChunkType::PAD) {
            let header = packet.header;
            let name = (header.verification_tag, header.destination_port, destination);
            let fresh = Asked { since: now, fill: Duration::ZERO };
            let asked = self.asked.entry(name).or_insert(fresh);
            if !asked.take(now, config.rto.min) {
                return Err(format!(
                    "{destination} is sent more HEARTBEATs than {PER_RTO} in each RTO"
                ));
            }
        }
        let link = match self.heard {
            Some(heard) if !has(ChunkType::DATA) => heard.next(),
            _ => Link::FIRST,
        };
        if link > Link(LONGEST) {
            let kinds: Vec<_> = packet.chunks().flatten().map(|chunk| chunk.kind.name()).collect();
            return Err(format!(
                "{LONGEST} packets without DATA answer each other, and so does {kinds:?}"
            ));
        }
        Ok(link)
    }

    /// All packets were taken out: what follows answers nothing that came before.
    pub(super) fn rests(&mut self) {
        self.heard = None;
    }
}

impl Asked {
    /// Whether there may be another one, which is counted.
    fn take(&mut self, now: Instant, rto_min: Duration) -> bool {
        let each = rto_min.max(LEAST_RTO) / PER_RTO;
        self.fill = self.fill.saturating_sub(now.saturating_duration_since(self.since)) + each;
        self.since = now;
        self.fill <= each * AT_ONCE
    }
}

/// An RTO.Min of nothing would permit everything.
const LEAST_RTO: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_asked_some_times_at_once_and_then_four_times_in_each_rto() {
        let (mut now, rto) = (crate::sim::epoch(), Duration::from_secs(1));
        let mut asked = Asked { since: now, fill: Duration::ZERO };
        assert!((0..AT_ONCE).all(|_| asked.take(now, rto)));
        assert!(!asked.take(now, rto));
        now += rto * 10;
        assert!((0..100).all(|_| {
            now += rto / PER_RTO;
            asked.take(now, rto)
        }));
    }
}
