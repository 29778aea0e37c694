//! IP headers as raw sockets deliver them and as ICMP messages quote them, every length checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;

/// The protocol number of SCTP (RFC 9260, section 17; IANA "Protocol Numbers").
pub(crate) const SCTP: u8 = 132;

/// The protocol number of UDP.
pub(crate) const UDP: u8 = 17;

/// What we need of an IP header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IpHeader {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// The protocol, or the next header behind the extension headers that may stand before it.
    pub(super) protocol: u8,
    /// The type-of-service or traffic-class octet.
    pub(super) tos: u8,
    /// Where the payload lies. It ends with the IP packet, or with the bytes there are if a quote
    /// cut it off.
    pub(super) payload: Range<usize>,
    /// The whole IP packet is there.
    pub(super) complete: bool,
}

impl IpHeader {
    /// Reads an IPv4 header (RFC 791, section 3.1) at the start of `bytes`.
    pub(super) fn parse_v4(bytes: &[u8]) -> Option<Self> {
        let packet = Ipv4Packet::new(bytes)?;
        let header_len = usize::from(packet.get_header_length()) * 4;
        let total_len = usize::from(packet.get_total_length());
        if packet.get_version() != 4
            || header_len < Ipv4Packet::minimum_packet_size()
            || total_len < header_len
            || bytes.len() < header_len
            // A later fragment has no transport header at its front; the kernel reassembles what it
            // delivers.
            || packet.get_fragment_offset() != 0
        {
            return None;
        }
        Some(Self {
            source: IpAddr::V4(packet.get_source()),
            destination: IpAddr::V4(packet.get_destination()),
            protocol: packet.get_next_level_protocol().0,
            tos: packet.get_dscp() << 2 | packet.get_ecn(),
            payload: header_len..total_len.min(bytes.len()),
            complete: total_len <= bytes.len(),
        })
    }

    /// Reads an IPv6 header (RFC 8200, section 3) at the start of `bytes` and steps over the
    /// extension headers that routers may have left before the transport header.
    pub(super) fn parse_v6(bytes: &[u8]) -> Option<Self> {
        let packet = Ipv6Packet::new(bytes)?;
        if packet.get_version() != 6 {
            return None;
        }
        let fixed = Ipv6Packet::minimum_packet_size();
        let end = fixed + usize::from(packet.get_payload_length());
        let mut protocol = packet.get_next_header().0;
        let mut start = fixed;
        // Hop-by-hop options 0, routing 43, destination options 60: length in units of 8 bytes
        // beyond the first (RFC 8200, section 4). Each step moves on by 8 bytes at least.
        while let 0 | 43 | 60 = protocol {
            let [next, len] = *bytes.get(start..)?.first_chunk::<2>()?;
            protocol = next;
            start += 8 + usize::from(len) * 8;
        }
        if start > end || start > bytes.len() {
            return None;
        }
        Some(Self {
            source: IpAddr::V6(packet.get_source()),
            destination: IpAddr::V6(packet.get_destination()),
            protocol,
            tos: packet.get_traffic_class(),
            payload: start..end.min(bytes.len()),
            complete: end <= bytes.len(),
        })
    }
}

/// Whether an address can be the one end of an association: no multicast, no broadcast, not
/// unspecified (RFC 9260, section 8.4 (1), and section 5.1.2).
pub(super) fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address != Ipv4Addr::UNSPECIFIED && !address.is_broadcast() && !address.is_multicast()
        }
        IpAddr::V6(address) => address != Ipv6Addr::UNSPECIFIED && !address.is_multicast(),
    }
}
