//! Whether an association that was given up had been answered: a peer that answers is never lost.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use usctp_chunk::{Checksum, ChunkType, Packet, VerificationTag};

use super::calm::Link;
use crate::{Association, Event, LostReason, PathStatus};

/// What one side of an association heard, and knows to have been heard.
///
/// Every packet with DATA that it takes in is numbered. What it acknowledges then carries that number through the network, so
/// that the other side's simulated application knows, as the protocol can by other means only, that it was answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Packets with DATA taken in.
    heard: u64,
    /// The greatest number that an acknowledgement carried here.
    answered: u64,
    /// Failures that were counted for each address when it came.
    failures: BTreeMap<IpAddr, u64>,
    /// SHUTDOWN or SHUTDOWN ACK was sent: from now on it is their answers that count.
    closing: bool,
}

/// What a packet carries through the network that is not in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// The number of what it answers.
    pub(super) number: u64,
    /// Its place in the chain of answers.
    pub(super) link: Link,
}

impl Mark {
    /// That of a packet of a host without an endpoint.
    pub(super) const NONE: Self = Self { number: 0, link: Link::FIRST };
}

/// The chunks of a packet that matter here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glance {
    pub(super) tag: VerificationTag,
    data: bool,
    sack: bool,
    closing: bool,
}

impl Glance {
    /// `None` for a packet that was damaged.
    pub(super) fn at(bytes: &Bytes) -> Option<Self> {
        let packet = Packet::parse(bytes).ok()?;
        if packet.checksum() != Checksum::Valid {
            return None;
        }
        let has = |kind| packet.chunks().flatten().any(|chunk| chunk.kind == kind);
        Some(Self {
            tag: packet.header.verification_tag,
            data: has(ChunkType::DATA),
            sack: has(ChunkType::SACK),
            closing: has(ChunkType::SHUTDOWN) || has(ChunkType::SHUTDOWN_ACK),
        })
    }
}

impl Answers {
    /// A packet leaves; the number that it carries.
    pub(super) fn sends(&mut self, glance: Glance) -> u64 {
        self.closing |= glance.closing;
        if glance.sack { self.heard } else { 0 }
    }

    /// A packet from one of the peer's addresses is about to be taken in.
    pub(super) fn hears(&mut self, glance: Glance, number: u64, association: &Association) {
        self.heard += u64::from(glance.data);
        if number > self.answered {
            self.answered = number;
            self.failures = failures(association);
        }
    }

    /// RFC 9260, 8.1: failures in a row end an association, and an answer ends the row.
    ///
    /// # Errors
    /// It was given up although it was answered.
    pub(super) fn judge(&mut self, event: &Event, association: &Association) -> Result<(), String> {
        if *event == Event::Restart {
            *self = Self::default();
            self.failures = failures(association);
        }
        if *event != Event::CommLost(LostReason::TooManyRetransmissions) || self.closing {
            return Ok(());
        }
        let most = u64::from(association.ctx.config.retransmission.association_max);
        let now = failures(association);
        // What was counted for an address that is none of the peer's any more is not known.
        let is_known = self.failures.keys().all(|peer| now.contains_key(peer));
        let before = |peer: &IpAddr| self.failures.get(peer).copied().unwrap_or_default();
        let since: u64 = now.iter().map(|(peer, count)| count.saturating_sub(before(peer))).sum();
        match since > most || self.answered == 0 || !is_known {
            true => Ok(()),
            false => Err(format!(
                "association {} was given up {since} failures after the peer's last answer, with Association.Max.Retrans {most}",
                association.id()
            )),
        }
    }
}

/// Time-outs of DATA and HEARTBEATs without an answer, on each path.
fn failures(association: &Association) -> BTreeMap<IpAddr, u64> {
    let count = |path: PathStatus| path.counts.t3_expiries + path.counts.heartbeats_unanswered;
    association.paths().map(|path| (path.peer, count(path))).collect()
}
