//! Sending: a caller's packets sorted onto the links, and what becomes of the refused ones.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError, RwLock};

use usctp_assoc::{NoticeKind, PathNotice, Quote, Transmit};

use super::Links;
use super::raw::{RawLink, Sender, family_of};
use super::sys::{self, Outgoing};
use super::udp::UdpSocket;
use crate::capture::Capture;

/// Packets still to be sent, one behind the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a> {
    bytes: &'a [u8],
    transmits: &'a [Transmit],
}

impl<'a> Batch<'a> {
    /// Packets one behind the other and where each goes.
    pub(super) fn new(bytes: &'a [u8], transmits: &'a [Transmit]) -> Self {
        Self { bytes, transmits }
    }

    /// The packets in order, as far as the bytes reach.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a Transmit, &'a [u8])> {
        let mut bytes = self.bytes;
        self.transmits.iter().map_while(move |transmit| {
            let (packet, rest) = bytes.split_at_checked(transmit.len)?;
            bytes = rest;
            Some((transmit, packet))
        })
    }

    /// The bytes of the first `len`.
    pub(super) fn front(self, len: usize) -> &'a [u8] {
        self.bytes.get(..len).unwrap_or_default()
    }

    /// Steps over packets that are done with.
    pub(super) fn advance(&mut self, packets: usize) {
        let len: usize = self.iter().take(packets).map(|(transmit, _)| transmit.len).sum();
        self.bytes = self.bytes.get(len..).unwrap_or_default();
        self.transmits = self.transmits.get(packets..).unwrap_or_default();
    }
}

/// The socket that carries a packet.
enum Route<'a> {
    /// The link, and the socket of its own that the packet's source address has.
    Raw(&'a RawLink, Option<Arc<Sender>>),
    Udp(UdpSocket<'a>),
}

/// Ways that take no more packets for now, and the packets that found them so.
#[derive(Debug, Default)]
pub(crate) struct Jam {
    ways: Vec<Way>,
    /// Which packets of the last call are left, by their numbers in it.
    left: Vec<usize>,
}

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A socket: all that it carries from this source.
    Socket { udp: bool, v4: bool, source: Option<IpAddr> },
    /// The queue of the device that leads to a peer's address.
    Device(IpAddr),
}

impl Jam {
    /// Takes out the numbers of the packets that are left.
    pub(crate) fn take_left(&mut self) -> std::vec::Drain<'_, usize> {
        self.left.drain(..)
    }

    /// Forgets what was full: it is tried again.
    pub(crate) fn clear(&mut self) {
        self.ways.clear();
    }

    /// Whether a packet is not even to be tried.
    pub(super) fn holds(&self, transmit: &Transmit) -> bool {
        if self.ways.is_empty() {
            return false;
        }
        let (udp, v4) = (transmit.udp_port.is_some(), transmit.destination.is_ipv4());
        self.ways.iter().any(|way| match way {
            Way::Socket { udp: of_udp, v4: of_v4, source } => {
                (udp, v4, transmit.source) == (*of_udp, *of_v4, *source)
            }
            Way::Device(peer) => transmit.destination == *peer,
        })
    }

    /// A packet found no room.
    fn note(&mut self, transmit: &Transmit, error: &io::Error) {
        let (udp, v4) = (transmit.udp_port.is_some(), transmit.destination.is_ipv4());
        // Linux says ENOBUFS of a raw socket that is full, and of a device's queue where errors are asked for (IP_RECVERR), as
        // they are of UDP.
        let is_device = udp && error.raw_os_error() == Some(libc::ENOBUFS);
        let Transmit { source, destination, .. } = *transmit;
        let socket = Way::Socket { udp, v4, source };
        self.ways.push(if is_device { Way::Device(destination) } else { socket });
    }
}

/// See [`Links::send`]. What finds its way full is left, and so is what is for the same way behind it.
pub(super) fn send(
    links: &Links,
    packets: &[u8],
    transmits: &[Transmit],
    jam: &mut Jam,
    notices: &mut Vec<PathNotice>,
) {
    let mut batch = Batch::new(packets, transmits);
    while let Some((transmit, packet)) = batch.iter().next() {
        let at = transmits.len() - batch.transmits.len();
        if jam.holds(transmit) {
            jam.left.push(at);
            batch.advance(1);
            continue;
        }
        let route = route(links, transmit);
        let capture = links.capture.as_ref().map(Capture::sending);
        let result = match &route {
            Some(route) => route.send(batch, transmit, jam, &links.fragmenting),
            // No socket of that kind is open: as good as no route.
            None => Err(io::Error::from_raw_os_error(libc::ENETUNREACH)),
        };
        match (result, &route) {
            (Ok(sent), _) => {
                // The kernel takes one at least; were it none, the first is given up rather than
                // tried for ever.
                let sent = sent.max(1);
                links.counters.sent.add(sent);
                if let Some(capture) = capture {
                    capture.sent(batch.iter().take(sent), links.udp_port());
                }
                batch.advance(sent);
            }
            (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => {}
            // It is left at the next look, unless there is another socket for it.
            (Err(error), Some(route)) if is_full(&error) => {
                if !route.gives_way(transmit) {
                    jam.note(transmit, &error);
                }
            }
            (Err(error), _) => {
                links.counters.refused.add(1);
                notices.extend(notice(links, &error, transmit, packet));
                batch.advance(1);
            }
        }
    }
}

impl Route<'_> {
    /// Sends from the front of the batch what goes the same way as its first packet.
    fn send(
        &self,
        batch: Batch<'_>,
        first: &Transmit,
        jam: &Jam,
        fragmenting: &RwLock<()>,
    ) -> io::Result<usize> {
        if first.fragmentable {
            let _alone = fragmenting.write().unwrap_or_else(PoisonError::into_inner);
            return self.send_fragmentable(batch, first);
        }
        let _whole = fragmenting.read().unwrap_or_else(PoisonError::into_inner);
        match self {
            Route::Raw(_, sender) => {
                let same = |other: &Transmit| {
                    other.udp_port.is_none()
                        && !other.fragmentable
                        && other.destination.is_ipv4() == first.destination.is_ipv4()
                        && (sender.is_none() || other.source == first.source)
                        && !jam.holds(other)
                };
                let packets = batch.iter().take_while(|(other, _)| same(other)).map(outgoing);
                sys::send_batch(self.as_fd(), packets)
            }
            Route::Udp(socket) => socket.send(batch, first, jam),
        }
    }

    /// Sends the first packet, which IP may cut. The option is the socket's, so that nobody else may send meanwhile: a probe
    /// for the MTU that is cut arrives where it should not.
    fn send_fragmentable(&self, batch: Batch<'_>, first: &Transmit) -> io::Result<usize> {
        let v4 = first.destination.is_ipv4();
        sys::let_fragment(self.as_fd(), v4, true)?;
        let result = sys::send_batch(self.as_fd(), batch.iter().take(1).map(outgoing));
        sys::let_fragment(self.as_fd(), v4, false)?;
        result
    }

    /// The socket is full; whether the packet has another one now.
    fn gives_way(&self, transmit: &Transmit) -> bool {
        match self {
            Route::Raw(link, None) => link.give_way(transmit.source),
            Route::Raw(..) | Route::Udp(_) => false,
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Route::Raw(link, sender) => {
                sender.as_ref().map_or(link.as_fd(), |sender| sender.as_fd())
            }
            Route::Udp(socket) => socket.as_fd(),
        }
    }
}

/// One packet as the system calls take it.
pub(super) fn outgoing<'a>((transmit, packet): (&Transmit, &'a [u8])) -> Outgoing<'a> {
    Outgoing {
        source: transmit.source,
        destination: transmit.destination,
        port: transmit.udp_port.unwrap_or(0),
        zone: transmit.zone,
        ecn: transmit.ecn,
        segment: None,
        packet,
    }
}

fn route<'a>(links: &'a Links, transmit: &Transmit) -> Option<Route<'a>> {
    match transmit.udp_port {
        None => {
            let link = links.raw_for(transmit.destination)?;
            Some(Route::Raw(link, link.sender(transmit.source)))
        }
        Some(_) => links.udp.as_ref()?.sender(family_of(transmit.destination)).map(Route::Udp),
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// What the local system's refusal means to the association.
fn notice(
    links: &Links,
    error: &io::Error,
    transmit: &Transmit,
    packet: &[u8],
) -> Option<PathNotice> {
    let kind = match error.raw_os_error() {
        Some(libc::EMSGSIZE) => {
            let Transmit { destination, zone, source, .. } = *transmit;
            let mtu = links.mtu_towards(destination, zone, source).ok().flatten().unwrap_or(0);
            NoticeKind::PacketTooBig { mtu }
        }
        _ => NoticeKind::SendFailed,
    };
    tracing::debug!(%error, peer = %transmit.destination, len = transmit.len, "a packet was refused");
    let quote = Quote::parse(packet)?;
    let Transmit { destination: peer, source: local, zone, .. } = *transmit;
    Some(PathNotice { peer, zone, local, kind, quote })
}
