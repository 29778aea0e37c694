//! A packet of one chunk that no association keeps: answers to strangers, and last words.

use std::net::IpAddr;

use bytes::BytesMut;
use usctp_chunk::{Chunk, CommonHeader, PacketBuilder, VerificationTag};

use crate::wire::{AddressSet, Datagram, Ecn, Transmit};

/// Where an answer goes: back along the way of the question, from the address that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) local: Option<IpAddr>,
    pub(crate) peer: IpAddr,
    pub(crate) udp_port: Option<u16>,
    pub(crate) zone: u32,
    /// What the source is chosen from if there is no `local`.
    pub(crate) sources: AddressSet,
}

impl Way {
    /// The way back.
    pub(crate) fn back(datagram: &Datagram) -> Self {
        Self {
            local: Some(datagram.destination),
            peer: datagram.source,
            udp_port: datagram.udp_port,
            zone: datagram.zone,
            sources: AddressSet::default(),
        }
    }

    pub(crate) fn transmit(self, len: usize) -> Transmit {
        Transmit {
            source: self.local,
            destination: self.peer,
            udp_port: self.udp_port,
            zone: self.zone,
            sources: self.sources,
            ecn: Ecn::NotEct,
            fragmentable: false,
            len,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) way: Way,
    pub(crate) header: CommonHeader,
    pub(crate) chunk: Chunk,
}

impl Reply {
    /// The answer to a packet with this header, which leaves from the port it was sent to.
    pub(crate) fn to(
        asked: CommonHeader,
        way: Way,
        verification_tag: VerificationTag,
        chunk: Chunk,
    ) -> Self {
        let header = CommonHeader {
            source_port: asked.destination_port,
            destination_port: asked.source_port,
            verification_tag,
        };
        Self { way, header, chunk }
    }

    /// Appends the packet, if it is at most `limit` bytes long.
    pub(crate) fn write(&self, out: &mut BytesMut, limit: usize) -> Option<Transmit> {
        let mut packet = PacketBuilder::new(out, self.header, limit);
        if !packet.push(&self.chunk) {
            packet.cancel();
            return None;
        }
        let len = packet.finish();
        Some(self.way.transmit(len))
    }
}
