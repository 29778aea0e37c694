//! What the network reports about our packets: ICMP and ICMPv6 errors, as far as they quote SCTP (RFC 9260, section 10).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::transport::{TransportChannelType, TransportProtocol, transport_channel};
use usctp_assoc::{NoticeKind, PathNotice, Quote};

use super::buffers::Slots;
use super::ip::{IpHeader, SCTP, zone_between};
use super::sys::{self, Arrived, QueuedError};
use super::{Family, filter};

/// Bytes of a quoted packet that we look at: common header and the first 8 of an INIT, with room to
/// spare.
const QUOTE: usize = 128;

/// Entries taken from an error queue at once; the rest waits for the next turn.
const QUEUE_BATCH: usize = 64;

/// A raw ICMP socket of one family.
#[derive(Debug)]
pub(super) struct IcmpLink {
    fd: OwnedFd,
    family: Family,
}

impl IcmpLink {
    /// Opens the socket; `None` where that is not allowed: the associations then do without the
    /// reports.
    pub(super) fn open(family: Family) -> Option<Self> {
        let protocol = match family {
            Family::V4 => TransportProtocol::Ipv4(IpNextHeaderProtocols::Icmp),
            Family::V6 => TransportProtocol::Ipv6(IpNextHeaderProtocols::Icmpv6),
        };
        let opened = transport_channel(0, TransportChannelType::Layer4(protocol))
            .and_then(|(sender, _receiver)| sys::socket_of(&sender))
            .and_then(|fd| Self::from_fd(fd, family));
        opened
            .inspect_err(|error| tracing::warn!(%error, ?family, "no ICMP errors will be heard"))
            .ok()
    }

    /// Prepares a raw ICMP socket opened elsewhere.
    pub(super) fn from_fd(fd: OwnedFd, family: Family) -> io::Result<Self> {
        sys::attach_filter(fd.as_fd(), &filter::quotes_sctp(family))?;
        match family {
            Family::V4 => {
                // A set bit holds a type back (raw(7), ICMP_FILTER).
                let blocked = !(1_u32 << DESTINATION_UNREACHABLE_V4);
                let value = blocked.to_ne_bytes();
                sys::set_bytes(fd.as_fd(), libc::SOL_RAW, ICMP_FILTER, &value)?;
            }
            Family::V6 => {
                // The same, for 256 types (RFC 3542, section 3.2, in Linux's polarity).
                let passed = [DESTINATION_UNREACHABLE_V6, PACKET_TOO_BIG, PARAMETER_PROBLEM];
                let passed = passed.into_iter().fold(0_u32, |bits, kind| bits | 1 << kind);
                let mut value = [0xff; 32];
                if let Some(first) = value.first_chunk_mut::<4>() {
                    *first = (!passed).to_ne_bytes();
                }
                // Link-local addresses in the quoted packet belong to the interface it came in by.
                sys::set_option(fd.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
                let level = libc::IPPROTO_ICMPV6;
                sys::set_bytes(fd.as_fd(), level, ICMP6_FILTER, &value)?;
            }
        }
        Ok(Self { fd, family })
    }

    /// Takes one batch from the socket.
    pub(super) fn receive(
        &self,
        slots: &mut Slots,
        arrived: &mut Vec<Arrived>,
        notices: &mut Vec<PathNotice>,
    ) -> io::Result<()> {
        arrived.clear();
        let (offered, overflow) = slots.offer();
        sys::receive_batch(self.fd.as_fd(), offered, overflow, Slots::OVERFLOW, false, arrived)?;
        for (index, arrived) in arrived.iter().enumerate() {
            let message = slots.take_packet(index, arrived.len);
            notices.extend(message.and_then(|message| match self.family {
                Family::V4 => read_v4(&message),
                Family::V6 => read_v6(&message, arrived.interface),
            }));
        }
        Ok(())
    }
}

impl AsFd for IcmpLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads the error queue of a UDP socket that carries encapsulated packets; whether there was anything.
pub(super) fn drain_error_queue(fd: BorrowedFd<'_>, notices: &mut Vec<PathNotice>) -> bool {
    let mut quote = [0; QUOTE];
    for turn in 0..QUEUE_BATCH {
        let Ok(error) = sys::receive_error(fd, &mut quote) else { return turn > 0 };
        let quoted = quote.get(..error.len).unwrap_or_default();
        notices.extend(read_queued(&error, quoted));
    }
    true
}

// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443).
const DESTINATION_UNREACHABLE_V4: u8 = 3;
const DESTINATION_UNREACHABLE_V6: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const PARAMETER_PROBLEM: u8 = 4;

/// Socket options that the libc crate lacks (linux/icmp.h, linux/icmpv6.h).
const ICMP_FILTER: libc::c_int = 1;
const ICMP6_FILTER: libc::c_int = 1;

/// Reads an IPv4 packet with an ICMP message.
fn read_v4(packet: &[u8]) -> Option<PathNotice> {
    let outer = IpHeader::parse_v4(packet)?;
    let message = packet.get(outer.payload)?;
    let ([kind, code, _, _, rest @ ..], quoted) = message.split_first_chunk::<8>()?;
    let kind = kind_v4(*kind, *code, next_hop_mtu(*rest))?;
    let header = IpHeader::parse_v4(quoted)?;
    notice(kind, header, quoted, 0)
}

/// Reads an ICMPv6 message; raw IPv6 sockets deliver it without the IP header.
fn read_v6(message: &[u8], interface: u32) -> Option<PathNotice> {
    let ([kind, code, _, _, rest @ ..], quoted) = message.split_first_chunk::<8>()?;
    let kind = kind_v6(*kind, *code, u32::from_be_bytes(*rest))?;
    let header = IpHeader::parse_v6(quoted)?;
    // What was sent on a link is reported on that link.
    let zone = zone_between(header.source, header.destination, interface);
    notice(kind, header, quoted, zone)
}

/// The MTU stands in the second half of an ICMP message's second word (RFC 1191, section 4); old
/// routers leave 0.
fn next_hop_mtu([_, _, high, low]: [u8; 4]) -> u32 {
    u32::from(u16::from_be_bytes([high, low]))
}

fn notice(kind: NoticeKind, header: IpHeader, quoted: &[u8], zone: u32) -> Option<PathNotice> {
    if header.protocol != SCTP {
        return None;
    }
    let quote = Quote::parse(quoted.get(header.payload)?)?;
    Some(PathNotice { peer: header.destination, zone, local: Some(header.source), kind, quote })
}

/// Reads an entry of the error queue; the quoted bytes begin behind the UDP header.
fn read_queued(error: &QueuedError, quoted: &[u8]) -> Option<PathNotice> {
    let kind = match error.origin {
        libc::SO_EE_ORIGIN_ICMP => kind_v4(error.kind, error.code, error.info)?,
        libc::SO_EE_ORIGIN_ICMP6 => kind_v6(error.kind, error.code, error.info)?,
        // Local errors are answered where the packet is sent.
        _ => return None,
    };
    let quote = Quote::parse(quoted)?;
    Some(PathNotice { peer: error.peer?, zone: error.zone, local: error.local, kind, quote })
}

/// ICMP types and codes (RFC 792; RFC 1122, section 3.2.2.1; RFC 1812, section 5.2.7.1) as RFC
/// 9260, section 10, has them treated. Codes for a type of service (11 to 13, with 13
/// "administratively prohibited") count as unreachable like the others.
fn kind_v4(kind: u8, code: u8, mtu: u32) -> Option<NoticeKind> {
    // RFC 9260, section 10, ICMP1: everything but "destination unreachable" is ignored.
    if kind != DESTINATION_UNREACHABLE_V4 {
        return None;
    }
    match code {
        0 | 1 | 5..=13 => Some(NoticeKind::Unreachable),
        2 => Some(NoticeKind::ProtocolUnreachable),
        3 => Some(NoticeKind::PortUnreachable),
        4 => Some(NoticeKind::PacketTooBig { mtu }),
        _ => None,
    }
}

/// ICMPv6 types and codes (RFC 4443, sections 3.1, 3.2, 3.4).
fn kind_v6(kind: u8, code: u8, mtu: u32) -> Option<NoticeKind> {
    match (kind, code) {
        (DESTINATION_UNREACHABLE_V6, 0..=3 | 5 | 6) => Some(NoticeKind::Unreachable),
        (DESTINATION_UNREACHABLE_V6, 4) => Some(NoticeKind::PortUnreachable),
        (PACKET_TOO_BIG, _) => Some(NoticeKind::PacketTooBig { mtu }),
        // "Unrecognized Next Header type": the host speaks no SCTP (RFC 9260, section 10, ICMP5).
        (PARAMETER_PROBLEM, 1) => Some(NoticeKind::ProtocolUnreachable),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
