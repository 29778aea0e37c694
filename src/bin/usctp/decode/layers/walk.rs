//! The walk through the headers of one frame: what is left of it, and what was met on the way.

use std::net::IpAddr;

use bytes::{Buf, Bytes};

use super::fragments::{Fate, Fragment, Key, Reassembly};
use super::table::{Next, Rule, SCTP};
use super::{Carried, Extent, Hop, Icmp, Origin, Way};

/// How many tunnels in each other are looked into.
pub(super) const DEPTH_MAX: usize = 8;

/// Where a walk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At an SCTP packet.
    Sctp,
    /// At a fragment that is kept until the others are here.
    Held,
    /// At something that carries no SCTP.
    Nothing,
    /// At something that cannot be looked into.
    Unknown,
    /// At a header that is cut off, or says something that cannot be.
    Damaged,
    /// At a fragment from the middle or end of something.
    Fragment,
    /// At one tunnel too many.
    TooDeep,
    /// At an SCTP packet behind these UDP ports, which nobody asked for.
    OtherUdpPorts(u16, u16),
}

/// What is left of a frame, and what was met on the way there.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    /// From the next header on.
    pub(super) bytes: Bytes,
    /// How much of what is carried here `bytes` is.
    pub(super) extent: Extent,
    /// The headers of IP and of tunnels, the outermost first.
    pub(super) path: Vec<Hop>,
    /// The ports of a UDP header right before the SCTP packet.
    pub(super) udp_ports: Option<(u16, u16)>,
    /// The ICMP error inside which this is.
    pub(super) icmp: Option<Icmp>,
    pub(super) problem: Option<&'static str>,
    /// UDP ports that SCTP packets are looked for behind.
    pub(super) asked_ports: &'a [u16],
    /// Where fragments are put together; `None` where that has been given up.
    pub(super) reassembly: Option<&'a mut Reassembly>,
    origin: Origin,
    /// The frames whose fragments are in this.
    fragments: Vec<u64>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(asked_ports: &'a [u16], origin: Origin, bytes: Bytes) -> Self {
        Self {
            bytes,
            extent: Extent::Whole,
            path: Vec::new(),
            udp_ports: None,
            icmp: None,
            problem: None,
            asked_ports,
            reassembly: None,
            origin,
            fragments: Vec::new(),
        }
    }

    /// Takes off header after header. Each takes at least a byte, so that this ends where the bytes do.
    pub(super) fn run(&mut self, mut next: Next) -> (Next, End) {
        loop {
            let layer = match next.rule() {
                Rule::Open(layer) => layer,
                Rule::Nothing => return (next, End::Nothing),
                Rule::Unknown => return (next, End::Unknown),
            };
            // The header is in the first fragment.
            if self.extent == Extent::LaterFragment && next != SCTP {
                return (next, End::Fragment);
            }
            match layer(self) {
                Ok(following) => next = following,
                Err(end) => return (next, end),
            }
        }
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<Bytes, End> {
        if len > self.bytes.len() {
            return Err(End::Damaged);
        }
        Ok(self.bytes.split_to(len))
    }

    pub(super) fn u8(&mut self) -> Result<u8, End> {
        Ok(self.bytes.try_get_u8()?)
    }

    pub(super) fn u16(&mut self) -> Result<u16, End> {
        Ok(self.bytes.try_get_u16()?)
    }

    pub(super) fn u32(&mut self) -> Result<u32, End> {
        Ok(self.bytes.try_get_u32()?)
    }

    /// The number `at` so many bytes from here, if there is one.
    pub(super) fn peek_u16(&self, at: usize) -> Option<u16> {
        self.bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// Drops what follows `len` bytes (padding of the link layer), or notes that some of them are missing.
    pub(super) fn cut(&mut self, len: usize) {
        if self.bytes.len() < len && self.extent == Extent::Whole {
            self.extent = Extent::Truncated;
        }
        self.bytes.truncate(len);
    }

    /// Goes into what an IP header carries.
    pub(super) fn enter_ip(
        &mut self,
        name: &'static str,
        source: impl Into<IpAddr>,
        destination: impl Into<IpAddr>,
    ) -> Result<(), End> {
        let (src, dst) = (Some(source.into()), Some(destination.into()));
        self.enter(Hop { name, src, dst, id: None })
    }

    /// Goes into a tunnel.
    pub(super) fn enter_tunnel(&mut self, name: &'static str, id: Option<u32>) -> Result<(), End> {
        self.enter(Hop { name, src: None, dst: None, id })
    }

    fn enter(&mut self, hop: Hop) -> Result<(), End> {
        self.path.push(hop);
        // The IP header that carries a tunnel and the one inside are no tunnels; one right after another is.
        let ip_in_ip = self.path.windows(2).filter(|two| two.iter().all(|hop| hop.src.is_some()));
        let others = self.path.iter().filter(|hop| hop.src.is_none());
        if ip_in_ip.count() + others.count() > DEPTH_MAX {
            return Err(End::TooDeep);
        }
        Ok(())
    }

    /// Goes on behind the header of a fragment: with all that was fragmented, if it is here now.
    ///
    /// `protocol` is what the header says that follows; the result is what the first fragment's header says.
    pub(super) fn fragment(&mut self, key: Key, fragment: Fragment) -> Result<u8, End> {
        let protocol = fragment.protocol;
        // What a later fragment of IPv6 says that follows may be wrong (RFC 8200, section 4.5).
        let is_opened = matches!(Next::IpProtocol(protocol).rule(), Rule::Open(_))
            || key.protocol.is_none() && fragment.offset > 0;
        let is_here = self.extent == Extent::Whole && self.icmp.is_none() && is_opened;
        self.extent = fragment.extent();
        // What ICMP quotes is not under way, and of what the capture cut there will never be all.
        if let (true, Some(reassembly)) = (is_here, &mut self.reassembly) {
            match reassembly.add(key, fragment) {
                Fate::Held => return Err(End::Held),
                Fate::Refused(problem) => self.problem = Some(problem),
                Fate::Complete { protocol, bytes, frames } => {
                    self.bytes = bytes;
                    self.extent = Extent::Whole;
                    self.fragments.extend(frames);
                    return Ok(protocol);
                }
            }
        }
        Ok(protocol)
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// What has been found, at the end of a walk to SCTP.
    pub(super) fn into_carried(mut self) -> Carried {
        let ip = self.path.iter().rposition(|hop| hop.src.is_some());
        let ip = ip.map(|at| self.path.remove(at));
        Carried {
            origin: self.origin,
            addresses: ip.and_then(|hop| hop.src.zip(hop.dst)),
            way: Way {
                udp_src_port: self.udp_ports.map(|ports| ports.0),
                udp_dst_port: self.udp_ports.map(|ports| ports.1),
                encapsulation: self.path,
                fragments: self.fragments,
                icmp: self.icmp,
            },
            extent: self.extent,
            problem: self.problem,
            payload: self.bytes,
        }
    }
}

impl From<bytes::TryGetError> for End {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Damaged
    }
}
