//! Raw IP: SCTP as protocol 132 over IPv4 and IPv6 sockets that pnet opens, read and written in batches.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Buf as _;
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::transport::{TransportChannelType, TransportProtocol, transport_channel};
use socket2::SockRef;
use usctp_assoc::Datagram;

use super::buffers::Slots;
use super::filter::Tags;
use super::ip::{IpHeader, is_unicast, zone_between};
use super::sys::{self, Arrived};
use super::{Counters, Family, filter};
use crate::link::LinkError;

mod senders;

pub(super) use senders::Sender;
use senders::Senders;

/// A raw socket of one address family.
#[derive(Debug)]
pub(super) struct RawLink {
    fd: OwnedFd,
    family: Family,
    /// A second socket, for INITs: however many come, they fill no buffer that packets of associations wait in, and can be
    /// left where they are.
    ///
    /// It has to be there in any case. Linux passes over a raw socket whose receive buffer is full, and
    /// when no other one of the protocol has room it tells the sender "protocol unreachable", which would end
    /// the association of a peer that believes it (RFC 9260, section 10, ICMP8). This one is full only while INITs come
    /// faster than they can be thrown away.
    ///
    /// It costs the kernel a clone of each packet: 220 to 240 ns of 3,700 for one of 1,480 bytes from `sendmmsg` to
    /// `recvmmsg` over veth. It is there at all times, since nobody could open it when the buffer fills up: that
    /// happens while this process has no time to read. Only a socket that was opened elsewhere, by somebody with more
    /// rights, may have to do without.
    inits: Option<OwnedFd>,
    senders: Senders,
}

impl RawLink {
    /// Opens the socket; it hears nothing until [`accept_ports`](Self::accept_ports) says what.
    pub(super) fn open(family: Family) -> io::Result<Self> {
        let inits = channel(family)?;
        prepare(inits.as_fd(), family)?;
        Ok(Self { inits: Some(inits), ..Self::from_fd(channel(family)?, family)? })
    }

    /// Prepares a raw SCTP socket opened elsewhere.
    pub(super) fn from_fd(fd: OwnedFd, family: Family) -> io::Result<Self> {
        prepare(fd.as_fd(), family)?;
        sys::enlarge_buffers(fd.as_fd());
        sys::let_fragment(fd.as_fd(), family == Family::V4, false)?;
        Ok(Self { fd, family, inits: None, senders: Senders::default() })
    }

    /// Takes another such socket for INITs; `false` if there is one, or it hears another network.
    pub(super) fn adopt(&mut self, fd: OwnedFd) -> io::Result<bool> {
        let is_fit =
            self.inits.is_none() && sys::namespace(fd.as_fd()) == sys::namespace(self.fd.as_fd());
        if is_fit {
            prepare(fd.as_fd(), self.family)?;
            self.inits = Some(fd);
        }
        Ok(is_fit)
    }

    /// Opens the socket for INITs beside one that was opened elsewhere, where that is allowed and it would hear the same.
    pub(super) fn complete(&mut self) {
        if self.inits.is_some() {
            return;
        }
        let opened = self
            .hears_all()
            .and_then(|hears| if hears { self.adopt(channel(self.family)?) } else { Ok(false) });
        if !matches!(opened, Ok(true)) {
            tracing::warn!(
                family = ?self.family,
                ?opened,
                "there is no second raw socket: while the receive buffer is full, the kernel tells peers that nobody \
                 here speaks SCTP, which ends associations of those that believe it. Hand over two of each family"
            );
        }
    }

    /// Whether another socket of this thread would hear the same: this one is bound to nothing, and it is known where it is.
    fn hears_all(&self) -> io::Result<bool> {
        let address = SockRef::from(&self.fd).local_addr()?.as_socket();
        let interface = sys::option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX)?;
        let is_bound = address.is_none_or(|own| !own.ip().is_unspecified()) || interface != 0;
        Ok(!is_bound && sys::namespace(self.fd.as_fd()).is_some())
    }

    /// Lets the kernel deliver packets to these destination ports only, or to all.
    pub(super) fn accept_ports(&self, ports: &[u16], all: bool) -> io::Result<()> {
        let attach = |fd: &OwnedFd, tags| {
            sys::attach_filter(fd.as_fd(), &filter::packets(self.family, ports, all, tags))
        };
        match &self.inits {
            Some(inits) => {
                attach(inits, Tags::Zero)?;
                attach(&self.fd, Tags::NotZero)
            }
            None => attach(&self.fd, Tags::Any),
        }
    }

    /// Packets that the kernel dropped because the receive buffer was full.
    pub(super) fn drops(&self) -> u64 {
        sys::drops(self.fd.as_fd())
    }

    /// The same of INITs, where they have a buffer of their own.
    pub(super) fn init_drops(&self) -> u64 {
        self.inits.as_ref().map_or(0, |fd| sys::drops(fd.as_fd()))
    }

    /// The socket for INITs, where there is one.
    pub(super) fn inits(&self) -> Option<BorrowedFd<'_>> {
        self.inits.as_ref().map(AsFd::as_fd)
    }

    /// Takes one batch from the socket. Whether there may be more.
    pub(super) fn receive(
        &self,
        slots: &mut Slots,
        arrived: &mut Vec<Arrived>,
        counters: &Counters,
        datagrams: &mut Vec<Datagram>,
    ) -> io::Result<bool> {
        self.receive_from(self.fd.as_fd(), slots, arrived, counters, datagrams)
    }

    /// Takes one batch of INITs, where they have a socket of their own.
    pub(super) fn receive_inits(
        &self,
        slots: &mut Slots,
        arrived: &mut Vec<Arrived>,
        counters: &Counters,
        datagrams: &mut Vec<Datagram>,
    ) -> io::Result<()> {
        if let Some(fd) = self.inits() {
            self.receive_from(fd, slots, arrived, counters, datagrams)?;
        }
        Ok(())
    }

    fn receive_from(
        &self,
        fd: BorrowedFd<'_>,
        slots: &mut Slots,
        arrived: &mut Vec<Arrived>,
        counters: &Counters,
        datagrams: &mut Vec<Datagram>,
    ) -> io::Result<bool> {
        arrived.clear();
        let (offered, overflow) = slots.offer();
        let most = offered.len();
        let named = self.family == Family::V6;
        sys::receive_batch(fd, offered, overflow, Slots::OVERFLOW, named, arrived)?;
        for (index, arrived) in arrived.iter().enumerate() {
            match self.datagram(slots, index, arrived) {
                Some(datagram) => datagrams.push(datagram),
                None => counters.malformed.add(1),
            }
        }
        let longest = arrived.iter().map(|arrived| arrived.len).max().unwrap_or(0);
        slots.adapt(arrived.len(), longest);
        Ok(arrived.len() == most)
    }

    /// The socket of its own for packets from this address, if there is one: else they go by the common one.
    pub(super) fn sender(&self, source: Option<IpAddr>) -> Option<Arc<Sender>> {
        self.senders.get(self.family, source)
    }

    /// The common socket is full; whether packets from this address have one of their own now.
    pub(super) fn give_way(&self, source: Option<IpAddr>) -> bool {
        self.senders.begin(self.family, source)
    }

    fn datagram(&self, slots: &mut Slots, index: usize, arrived: &Arrived) -> Option<Datagram> {
        let mut payload = slots.take_packet(index, arrived.len)?;
        let (source, destination, ecn) = match self.family {
            Family::V4 => {
                let header = IpHeader::parse_v4(&payload)?;
                if !header.complete {
                    return None;
                }
                payload.truncate(header.payload.end);
                payload.advance(header.payload.start);
                (header.source, header.destination, sys::ecn_of(header.tos))
            }
            Family::V6 => (arrived.source?, arrived.destination?, arrived.ecn),
        };
        let sound = arrived.unicast && is_unicast(source) && is_unicast(destination);
        let zone = zone_between(source, destination, arrived.interface);
        sound.then_some(Datagram { source, destination, udp_port: None, zone, ecn, payload })
    }
}

impl AsFd for RawLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens a raw SCTP socket.
fn channel(family: Family) -> io::Result<OwnedFd> {
    let sctp = IpNextHeaderProtocols::Sctp;
    let protocol = match family {
        Family::V4 => TransportProtocol::Ipv4(sctp),
        Family::V6 => TransportProtocol::Ipv6(sctp),
    };
    // The channel's own buffer stays empty: the descriptor is read in batches instead.
    let (sender, _receiver) = transport_channel(0, TransportChannelType::Layer4(protocol))?;
    sys::socket_of(&sender)
}

/// Sets what receiving needs; the socket hears nothing until it is told what.
fn prepare(fd: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    sys::attach_filter(fd, &filter::packets(family, &[], false, Tags::Any))?;
    match family {
        Family::V4 => {
            // The kernel writes the IP header of what we send, also on a socket opened elsewhere.
            sys::set_option(fd, libc::IPPROTO_IP, libc::IP_HDRINCL, 0)?;
            // The IPv4 header, with its ECN field, comes with the packet: no IP_RECVTOS.
            sys::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
        }
        Family::V6 => {
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)
        }
    }
}

/// Opens both families. IPv4 must be there; a host without IPv6 goes without.
pub(super) fn open_both() -> Result<(RawLink, Option<RawLink>), LinkError> {
    let explain = |error: io::Error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => LinkError::NoPermission,
        _ => LinkError::Io { what: "open a raw socket for SCTP", source: error },
    };
    let v4 = RawLink::open(Family::V4).map_err(explain)?;
    match RawLink::open(Family::V6) {
        Ok(v6) => Ok((v4, Some(v6))),
        Err(error) if is_family_missing(&error) => Ok((v4, None)),
        Err(error) => Err(explain(error)),
    }
}

/// Whether an error of opening or binding means that the host has no IPv6.
pub(super) fn is_family_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// The family of an address.
pub(super) fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}
