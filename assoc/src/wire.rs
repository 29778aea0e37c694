//! The border to the network: packets in, packets out, and what the network says about a path.

use std::net::IpAddr;

use bytes::Bytes;
use usctp_chunk::VerificationTag;

use crate::scope::is_unicast;

/// The ECN field of the IP header a packet travelled under (RFC 3168, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ecn {
    /// The sender's transport knows nothing of ECN.
    #[default]
    NotEct,
    /// ECN-capable, code point ECT(1).
    Ect1,
    /// ECN-capable, code point ECT(0).
    Ect0,
    /// Congestion was experienced on the way.
    Ce,
}

/// Names the local addresses that a peer was told of: an association has those of the time when it began, whatever is bound
/// and unbound later (RFC 6458, section 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AddressSet(pub(crate) u32);

/// One SCTP packet that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The address the packet came from.
    pub source: IpAddr,
    /// The local address it was sent to; answers leave from it.
    pub destination: IpAddr,
    /// The peer's UDP port if the packet was encapsulated (RFC 6951, section 5.4).
    pub udp_port: Option<u16>,
    /// The interface it came in by, as the system numbers it, if one of its addresses is IPv6 link-local and so means
    /// something on that link alone (RFC 4007, section 6); otherwise 0.
    pub zone: u32,
    /// The ECN field of the IP header.
    pub ecn: Ecn,
    /// The packet from its common header on, without IP and UDP headers.
    pub payload: Bytes,
}

impl Datagram {
    /// Whether its addresses are those of two hosts, and it can be answered (RFC 9260, section 8.4, 1).
    pub(crate) fn is_between_hosts(&self) -> bool {
        let known =
            |address: IpAddr| is_unicast(address) || is_link_local(address) && self.zone != 0;
        known(self.source) && known(self.destination)
    }

    /// Where its source means something: the zone if it is link-local.
    pub(crate) fn source_zone(&self) -> u32 {
        zone_of(self.source, self.zone)
    }
}

/// Whether an address means something on one link only, and different hosts on different ones.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The zone, if the address has one at all.
pub(crate) fn zone_of(address: IpAddr, zone: u32) -> u32 {
    if is_link_local(address) { zone } else { 0 }
}

/// Where the packet that [`poll_transmit`](crate::Endpoint::poll_transmit) appended is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The local address to send from; `None` leaves the choice, among `sources`, to routing.
    pub source: Option<IpAddr>,
    /// The peer's address.
    pub destination: IpAddr,
    /// The peer's UDP port if the packet is to be encapsulated (RFC 6951).
    pub udp_port: Option<u16>,
    /// The interface to send by if one of the addresses is IPv6 link-local; otherwise 0.
    pub zone: u32,
    /// Without a source: those it may be chosen from ([`Endpoint::address_set`](crate::Endpoint::address_set)).
    pub sources: AddressSet,
    /// The ECN field to set.
    pub ecn: Ecn,
    /// Whether IP may cut the packet into fragments: it holds a DATA chunk that was cut before the path's MTU
    /// became smaller, and that cannot be cut again (RFC 9260, section 6.9). Any other packet is not to be cut.
    pub fragmentable: bool,
    /// The packet's length in bytes: the last `len` bytes of the caller's buffer.
    pub len: usize,
}

/// What the network, or the attempt to send, said about a packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathNotice {
    /// The peer's address the packet was meant for.
    pub peer: IpAddr,
    /// The interface that address is to be reached by if it is IPv6 link-local; otherwise 0.
    pub zone: u32,
    /// The local address the packet carried, where it is known.
    pub local: Option<IpAddr>,
    /// What happened.
    pub kind: NoticeKind,
    /// What the notice quotes of our packet: a notice from the network is believed only if it fits.
    pub quote: Quote,
}

/// The kinds of notices (RFC 9260, section 10, and local errors).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// ICMP or ICMPv6: no route to the network or host, or forbidden on the way.
    Unreachable,
    /// ICMP protocol unreachable, ICMPv6 unrecognized next header: the peer's host speaks no SCTP.
    ProtocolUnreachable,
    /// ICMP or ICMPv6 port unreachable: over UDP encapsulation the same as protocol unreachable (RFC 6951, section 5.5).
    PortUnreachable,
    /// The packet was too big for a link; the greatest IP packet that fits, in bytes, where the router said it.
    PacketTooBig {
        /// The greatest IP packet in bytes, 0 if unknown.
        mtu: u32,
    },
    /// The local system refused to send (no route, interface down, forbidden by a filter).
    SendFailed,
}

/// The part of our own packet that a notice quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Our port.
    pub source_port: u16,
    /// The peer's port.
    pub destination_port: u16,
    /// The verification tag of the common header.
    pub verification_tag: VerificationTag,
    /// The Initiate Tag if the quoted packet is an INIT and enough of it is there.
    pub initiate_tag: Option<VerificationTag>,
}

impl Quote {
    /// Reads the first bytes of an SCTP packet as an ICMP message quotes them: 8 bytes at the least
    /// (RFC 792), 20 where the Initiate Tag of an INIT is to be checked (RFC 9260, section 10, ICMP6).
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (ports, rest) = packet.split_first_chunk::<4>()?;
        let (tag, rest) = rest.split_first_chunk::<4>()?;
        let [s0, s1, d0, d1] = *ports;
        // Behind the checksum stands the first chunk: type, flags, length, and for INIT its tag.
        let initiate_tag = match rest.get(4..12) {
            Some([1, _, _, _, tag @ ..]) => {
                <[u8; 4]>::try_from(tag).ok().map(|tag| VerificationTag(u32::from_be_bytes(tag)))
            }
            _ => None,
        };
        Some(Self {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            verification_tag: VerificationTag(u32::from_be_bytes(*tag)),
            initiate_tag,
        })
    }
}
