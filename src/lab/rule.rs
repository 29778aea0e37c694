//! Which frames a relay loses by rule: a filter that knows IP and SCTP, in the place of a firewall's.

use bytes::Bytes;
use pnet::packet::Packet as _;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use usctp_chunk::{ChunkType, Packet};

/// Which way a frame goes over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the first host to the second.
    ToFar,
    /// From the second host to the first.
    ToNear,
}

/// What is lost, always and silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everything, the questions for hardware addresses too.
    Everything,
    /// IP packets of more than so many bytes.
    LongerThan(usize),
    /// SCTP packets that hold a SACK chunk, whatever else they hold.
    Sacks,
}

impl Rule {
    /// Whether it is the lot of this Ethernet frame to be lost.
    pub(super) fn applies_to(self, frame: &[u8]) -> bool {
        let Some(frame) = EthernetPacket::new(frame) else { return false };
        let is_ip = matches!(frame.get_ethertype(), EtherTypes::Ipv4 | EtherTypes::Ipv6);
        match self {
            Self::Everything => true,
            // A veth pair pads nothing: behind the Ethernet header is the IP packet alone.
            Self::LongerThan(most) => is_ip && frame.payload().len() > most,
            Self::Sacks => sctp(&frame).is_some_and(|packet| {
                packet.chunks().flatten().any(|chunk| chunk.kind == ChunkType::SACK)
            }),
        }
    }
}

/// The SCTP packet in a frame; none behind extension headers, which no host of a lab writes.
fn sctp(frame: &EthernetPacket<'_>) -> Option<Packet> {
    let sctp = match frame.get_ethertype() {
        EtherTypes::Ipv4 => Ipv4Packet::new(frame.payload())
            .filter(|ip| ip.get_next_level_protocol() == IpNextHeaderProtocols::Sctp)
            .map(|ip| Bytes::copy_from_slice(ip.payload())),
        EtherTypes::Ipv6 => Ipv6Packet::new(frame.payload())
            .filter(|ip| ip.get_next_header() == IpNextHeaderProtocols::Sctp)
            .map(|ip| Bytes::copy_from_slice(ip.payload())),
        _ => None,
    };
    Packet::parse(sctp?).ok()
}
