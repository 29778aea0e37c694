//! What a router answers to a packet that is too long for its next link: ICMP "fragmentation needed" (RFC 1191,
//! section 4), ICMPv6 "packet too big" (RFC 4443, section 3.2).

use pnet::packet::Packet as _;
use pnet::packet::ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::icmp::{self, IcmpPacket};
use pnet::packet::icmpv6::{self, Icmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};

/// How much of a packet the answer quotes at the most, in bytes: the answer stays below 576 (RFC 1812, section 4.3.2.3).
const QUOTE: usize = 512;

/// The answer to a frame that holds an IP packet, from the address that the packet is for: a relay has none.
pub(super) fn answer(frame: &[u8], mtu: usize) -> Option<Vec<u8>> {
    let frame = EthernetPacket::new(frame)?;
    let packet = match frame.get_ethertype() {
        EtherTypes::Ipv4 => answer_v4(&Ipv4Packet::new(frame.payload())?, mtu),
        EtherTypes::Ipv6 => answer_v6(&Ipv6Packet::new(frame.payload())?, mtu),
        _ => None,
    }?;
    let mut answer = vec![0; EthernetPacket::minimum_packet_size() + packet.len()];
    let mut header = MutableEthernetPacket::new(&mut answer)?;
    header.set_source(frame.get_destination());
    header.set_destination(frame.get_source());
    header.set_ethertype(EtherType(frame.get_ethertype().0));
    header.set_payload(&packet);
    Some(answer)
}

fn answer_v4(packet: &Ipv4Packet<'_>, mtu: usize) -> Option<Vec<u8>> {
    const UNREACHABLE: u8 = 3;
    const FRAGMENTATION_NEEDED: u8 = 4;
    let mut message = message(UNREACHABLE, FRAGMENTATION_NEEDED, mtu, packet.packet());
    let checksum = icmp::checksum(&IcmpPacket::new(&message)?);
    message.get_mut(2..4)?.copy_from_slice(&checksum.to_be_bytes());
    let length = Ipv4Packet::minimum_packet_size() + message.len();
    let mut answer = vec![0; length];
    let mut header = MutableIpv4Packet::new(&mut answer)?;
    header.set_version(4);
    header.set_header_length(5);
    header.set_total_length(u16::try_from(length).ok()?);
    header.set_ttl(64);
    header.set_next_level_protocol(IpNextHeaderProtocols::Icmp);
    header.set_source(packet.get_destination());
    header.set_destination(packet.get_source());
    header.set_payload(&message);
    header.set_checksum(ipv4::checksum(&header.to_immutable()));
    Some(answer)
}

fn answer_v6(packet: &Ipv6Packet<'_>, mtu: usize) -> Option<Vec<u8>> {
    const PACKET_TOO_BIG: u8 = 2;
    let (source, destination) = (packet.get_destination(), packet.get_source());
    let mut message = message(PACKET_TOO_BIG, 0, mtu, packet.packet());
    let checksum = icmpv6::checksum(&Icmpv6Packet::new(&message)?, &source, &destination);
    message.get_mut(2..4)?.copy_from_slice(&checksum.to_be_bytes());
    let mut answer = vec![0; Ipv6Packet::minimum_packet_size() + message.len()];
    let mut header = MutableIpv6Packet::new(&mut answer)?;
    header.set_version(6);
    header.set_payload_length(u16::try_from(message.len()).ok()?);
    header.set_next_header(IpNextHeaderProtocols::Icmpv6);
    header.set_hop_limit(64);
    header.set_source(source);
    header.set_destination(destination);
    header.set_payload(&message);
    Some(answer)
}

/// Type, code, a checksum to be filled in, the MTU, and the packet that was too long. ICMP has the MTU in the last two of
/// the four bytes where ICMPv6 has it.
fn message(kind: u8, code: u8, mtu: usize, packet: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(u32::try_from(mtu).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(packet.iter().take(QUOTE));
    message
}
