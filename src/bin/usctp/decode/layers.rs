//! Finds the SCTP packet in a frame: through link layers, tunnels, IP fragments and what ICMP quotes.

mod ethernet;
mod fragments;
mod gre;
mod gtp;
mod icmp;
mod ip;
mod mpls;
mod ppp;
mod table;
mod udp;
mod vxlan;
mod walk;

use std::net::IpAddr;

use bytes::Bytes;
use serde::Serialize;

use fragments::Reassembly;
pub(crate) use table::Next;
use walk::{End, Walk};

/// What stands between a frame and an SCTP packet, and the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Carried {
    /// The frame that the packet ended in.
    pub(crate) origin: Origin,
    /// The source and destination of the IP header; `None` where the capture begins behind it.
    pub(crate) addresses: Option<(IpAddr, IpAddr)>,
    pub(crate) way: Way,
    /// How much of the packet is here.
    pub(crate) extent: Extent,
    /// Why there is not more of it, where that is somebody's fault.
    pub(crate) problem: Option<&'static str>,
    /// The packet from its common header on, as far as it is here.
    pub(crate) payload: Bytes,
}

/// What there is around a packet besides its IP header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Way {
    /// The UDP ports right around the packet (RFC 6951).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) udp_src_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) udp_dst_port: Option<u16>,
    /// The tunnels that the packet was in, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) encapsulation: Vec<Hop>,
    /// The frames of the IP fragments that the packet was put together from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fragments: Vec<u64>,
    /// The ICMP error that quotes the packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) icmp: Option<Icmp>,
}

/// Which frame of the file something came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// From 1.
    pub(crate) frame: u64,
    /// In nanoseconds of whatever clock the file counts by.
    pub(crate) time: Option<i128>,
}

/// A header on the way to a packet that is worth telling: of a tunnel, or of IP.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Hop {
    pub(crate) name: &'static str,
    /// The addresses of an IP header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) src: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dst: Option<IpAddr>,
    /// The label, key, session or network of a tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u32>,
}

/// An ICMP error message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Icmp {
    /// `ICMP` or `ICMPv6`.
    pub(crate) protocol: &'static str,
    /// Who reports.
    pub(crate) src: Option<IpAddr>,
    pub(crate) dst: Option<IpAddr>,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// What type and code say.
    pub(crate) name: Option<&'static str>,
    /// What fits through the next link, where the message says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u32>,
}

/// How much of an SCTP packet is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// Less: the capture kept only the first bytes of each frame, or ICMP quoted no more.
    Truncated,
    /// The first IP fragment of it.
    FirstFragment,
    /// An IP fragment from its middle or end, without the common header.
    LaterFragment,
}

/// What became of a frame that has no SCTP packet to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Miss {
    /// It could not be looked into.
    Unread(Unread),
    /// It carries something else.
    Nothing(Next),
}

/// Why a frame could not be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unread {
    /// There is no table line for it, or nobody without the key can read it.
    Unknown(Next),
    /// The header is cut off or says something that cannot be.
    Damaged(Next),
    /// There are more than [`walk::DEPTH_MAX`] tunnels in each other.
    TooDeep,
    /// It is a fragment of a packet whose other fragments are missing or contradict it.
    Fragment(Next),
    /// It is SCTP over UDP, behind two ports that nobody asked for (the lower one first).
    OtherUdpPorts(u16, u16),
}

/// The way down from frames to SCTP packets, and the fragments that wait for others.
#[derive(Debug, Default)]
pub(crate) struct Layers<'a> {
    /// UDP ports that SCTP packets are looked for behind.
    udp_ports: &'a [u16],
    reassembly: Reassembly,
}

/// A packet, or what became of the frame instead.
pub(crate) type Found = Result<Carried, Miss>;

impl<'a> Layers<'a> {
    pub(crate) fn new(udp_ports: &'a [u16]) -> Self {
        Self { udp_ports, reassembly: Reassembly::default() }
    }

    /// Looks into a frame. What is found is of earlier frames, too, where their fragments have waited long enough.
    pub(crate) fn frame(&mut self, link_type: u16, origin: Origin, bytes: Bytes) -> Vec<Found> {
        self.reassembly.expire(origin.time);
        let mut walk = Walk::new(self.udp_ports, origin, bytes);
        walk.reassembly = Some(&mut self.reassembly);
        let end = walk.run(Next::LinkType(link_type));
        let found = outcome(walk, end);
        let mut all = self.abandoned();
        all.extend(found);
        all
    }

    /// What is left when the file has ended.
    pub(crate) fn finish(&mut self) -> Vec<Found> {
        self.reassembly.abandon_all();
        self.abandoned()
    }

    /// An estimate of the memory that fragments take.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.reassembly.held()
    }

    /// Shows fragments one by one where there will be no packet of them.
    fn abandoned(&mut self) -> Vec<Found> {
        let mut all = Vec::new();
        for fragment in self.reassembly.take_abandoned() {
            let mut walk = Walk::new(self.udp_ports, fragment.origin, fragment.bytes);
            walk.path = fragment.path;
            walk.extent = fragment.extent;
            walk.problem = fragment.problem;
            let end = walk.run(Next::IpProtocol(fragment.protocol));
            all.extend(outcome(walk, end));
        }
        all
    }
}

/// `None` where a fragment is kept until the others are here.
fn outcome(walk: Walk<'_>, end: (Next, End)) -> Option<Found> {
    let (at, end) = end;
    Some(match end {
        End::Sctp => Ok(walk.into_carried()),
        End::Held => return None,
        End::Nothing => Err(Miss::Nothing(at)),
        End::Unknown => Err(Miss::Unread(Unread::Unknown(at))),
        End::Damaged => Err(Miss::Unread(Unread::Damaged(at))),
        End::Fragment => Err(Miss::Unread(Unread::Fragment(at))),
        End::TooDeep => Err(Miss::Unread(Unread::TooDeep)),
        End::OtherUdpPorts(low, high) => Err(Miss::Unread(Unread::OtherUdpPorts(low, high))),
    })
}
