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
    /// The same, but the sender is told by ICMP, as by a router whose next link takes no longer ones.
    TooBig(usize),
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
            Self::LongerThan(most) | Self::TooBig(most) => is_ip && frame.payload().len() > most,
            Self::Sacks => sctp(&frame).is_some_and(|packet| holds_a_sack(&packet)),
        }
    }
}

/// The SCTP packet in a frame; none behind extension headers, which no host of a lab writes.
fn sctp(frame: &EthernetPacket<'_>) -> Option<Bytes> {
    match frame.get_ethertype() {
        EtherTypes::Ipv4 => Ipv4Packet::new(frame.payload())
            .filter(|ip| ip.get_next_level_protocol() == IpNextHeaderProtocols::Sctp)
            .map(|ip| Bytes::copy_from_slice(ip.payload())),
        EtherTypes::Ipv6 => Ipv6Packet::new(frame.payload())
            .filter(|ip| ip.get_next_header() == IpNextHeaderProtocols::Sctp)
            .map(|ip| Bytes::copy_from_slice(ip.payload())),
        _ => None,
    }
}

fn holds_a_sack(packet: &Bytes) -> bool {
    Packet::parse(packet)
        .is_ok_and(|packet| packet.chunks().flatten().any(|chunk| chunk.kind == ChunkType::SACK))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use usctp_chunk::{Chunk, CommonHeader, Heartbeat, PacketBuilder, Tsn, VerificationTag};

    use super::*;

    fn packet(with_sack: bool) -> Vec<u8> {
        let header = CommonHeader {
            source_port: 1,
            destination_port: 2,
            verification_tag: VerificationTag(3),
        };
        let mut out = BytesMut::new();
        let mut packet = PacketBuilder::new(&mut out, header, 1000);
        packet.push(&Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"hello"))));
        if with_sack {
            packet.push_sack(Tsn::new(1), 2, [], []);
        }
        packet.finish();
        out.to_vec()
    }

    fn frame(v6: bool, sctp: &[u8]) -> Vec<u8> {
        let length = sctp.len() as u8;
        let mut frame = vec![0; 12];
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, length, 132, 64]);
            frame.extend([0; 32]);
        } else {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 20 + length, 0, 0, 0, 0, 64, 132]);
            frame.extend([0; 10]);
        }
        frame.extend(sctp);
        frame
    }

    #[test]
    fn a_sack_is_found_behind_other_chunks_and_in_both_families() {
        for v6 in [false, true] {
            assert!(Rule::Sacks.applies_to(&frame(v6, &packet(true))), "{v6}");
            assert!(!Rule::Sacks.applies_to(&frame(v6, &packet(false))), "{v6}");
        }
        let mut udp = frame(false, &packet(true));
        udp[23] = 17;
        assert!(!Rule::Sacks.applies_to(&udp), "it is no SCTP packet");
    }

    #[test]
    fn the_length_is_that_of_the_ip_packet() {
        let frame = frame(false, &packet(false));
        let length = frame.len() - 14;
        assert!(!Rule::LongerThan(length).applies_to(&frame));
        assert!(Rule::LongerThan(length - 1).applies_to(&frame));
        let arp = [&frame[..12], &[0x08, 0x06], &frame[14..]].concat();
        assert!(!Rule::LongerThan(0).applies_to(&arp), "it is no IP packet");
    }

    #[test]
    fn a_frame_that_is_cut_off_is_lost_only_with_everything() {
        let whole = frame(true, &packet(true));
        for length in 0..14 {
            assert!(!Rule::Sacks.applies_to(&whole[..length]));
        }
        assert!(!Rule::Sacks.applies_to(&whole[..60]));
    }
}
