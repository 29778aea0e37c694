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

/// The interface that a packet between these addresses belongs to: 0 unless one of them is IPv6 link-local (RFC 4007,
/// section 6).
pub(super) fn zone_between(source: IpAddr, destination: IpAddr, interface: u32) -> u32 {
    if is_link_local(source) || is_link_local(destination) { interface } else { 0 }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(ihl: u8, total: u16, len: usize) -> Vec<u8> {
        let mut bytes = vec![0x40 | ihl, 0b01, 0, 0, 0, 0, 0x40, 0, 64, SCTP, 0, 0];
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        bytes.resize(len, 0);
        bytes
    }

    fn v6(next: u8, payload: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        bytes[4..6].copy_from_slice(&payload.to_be_bytes());
        bytes.extend([1; 16]);
        bytes.extend([2; 16]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn an_ipv4_header_is_stripped_by_its_own_length() {
        let header = IpHeader::parse_v4(&v4(7, 50, 60)).unwrap();
        assert_eq!((header.payload, header.complete, header.tos), (28..50, true, 1));
        assert_eq!(header.source, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(header.destination, IpAddr::from([192, 0, 2, 2]));
        assert_eq!(header.protocol, SCTP);
    }

    #[test]
    fn an_ipv4_packet_that_was_cut_off_says_so() {
        let header = IpHeader::parse_v4(&v4(5, 1_500, 28)).unwrap();
        assert_eq!((header.payload, header.complete), (20..28, false));
    }

    #[test]
    fn impossible_ipv4_headers_are_refused() {
        for (bytes, what) in [
            (v4(5, 20, 20)[..19].to_vec(), "shorter than a header"),
            (v4(4, 40, 40), "header length below 20"),
            (v4(15, 60, 59), "options cut off"),
            (v4(6, 23, 40), "total length within the header"),
            (v6(SCTP, 0, &[]), "version 6"),
        ] {
            assert_eq!(IpHeader::parse_v4(&bytes), None, "{what}");
        }
        let mut fragment = v4(5, 40, 40);
        fragment[7] = 1;
        assert_eq!(IpHeader::parse_v4(&fragment), None, "a later fragment");
    }

    #[test]
    fn ipv6_extension_headers_are_stepped_over() {
        let mut rest = vec![60, 0, 0, 0, 0, 0, 0, 0];
        rest.extend([SCTP, 1]);
        rest.resize(8 + 16 + 12, 0);
        let header = IpHeader::parse_v6(&v6(0, 36, &rest)).unwrap();
        assert_eq!((header.protocol, header.payload), (SCTP, 40 + 24..40 + 36));
    }

    #[test]
    fn ipv6_extension_headers_beyond_the_packet_are_refused() {
        assert_eq!(IpHeader::parse_v6(&v6(60, 8, &[SCTP, 9, 0, 0, 0, 0, 0, 0])), None);
        assert_eq!(IpHeader::parse_v6(&v6(60, 8, &[SCTP])), None);
        assert_eq!(IpHeader::parse_v6(&v6(SCTP, 8, &[])[..39]), None);
    }

    #[test]
    fn multicast_broadcast_and_unspecified_are_no_ends_of_an_association() {
        for address in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"] {
            assert!(!is_unicast(address.parse().unwrap()), "{address}");
        }
        for address in ["192.0.2.255", "127.0.0.1", "::1", "fe80::1"] {
            assert!(is_unicast(address.parse().unwrap()), "{address}");
        }
    }

    proptest! {
        #[test]
        fn whatever_arrives_the_payload_lies_within_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for header in [IpHeader::parse_v4(&bytes), IpHeader::parse_v6(&bytes)].into_iter().flatten() {
                prop_assert!(bytes.get(header.payload).is_some());
            }
        }

        #[test]
        fn ipv6_headers_with_any_chain_behind_them_are_read_safely(
            next in prop::sample::select(vec![0, 43, 60, 44, 132]),
            payload in any::<u16>(),
            rest in prop::collection::vec(prop::sample::select(vec![0_u8, 43, 60, 132, 1, 255]), 0..600),
        ) {
            let bytes = v6(next, payload, &rest);
            if let Some(header) = IpHeader::parse_v6(&bytes) {
                prop_assert!(bytes.get(header.payload).is_some());
            }
        }
    }
}
