//! The border to the network: packets in, packets out, and what the network says about a path.

use std::net::IpAddr;

use bytes::Bytes;
use usctp_chunk::VerificationTag;

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

/// One SCTP packet that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The address the packet came from.
    pub source: IpAddr,
    /// The local address it was sent to; answers leave from it.
    pub destination: IpAddr,
    /// The peer's UDP port if the packet was encapsulated (RFC 6951, section 5.4).
    pub udp_port: Option<u16>,
    /// The ECN field of the IP header.
    pub ecn: Ecn,
    /// The packet from its common header on, without IP and UDP headers.
    pub payload: Bytes,
}

/// Where the packet that [`poll_transmit`](crate::Endpoint::poll_transmit) appended is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The local address to send from; `None` leaves the choice, among the endpoint's addresses, to routing.
    pub source: Option<IpAddr>,
    /// The peer's address.
    pub destination: IpAddr,
    /// The peer's UDP port if the packet is to be encapsulated (RFC 6951).
    pub udp_port: Option<u16>,
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
    /// ICMP or ICMPv6 port unreachable: over UDP encapsulation, nobody listens there.
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
