//! Sending: a caller's packets sorted onto the links, and what becomes of the refused ones.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use usctp_assoc::{NoticeKind, PathNotice, Quote, Transmit};

use super::Links;
use super::raw::{RawLink, family_of};
use super::sys::{self, Outgoing};
use super::udp::UdpSocket;
use crate::capture::Capture;

/// How long one call waits for full sockets altogether.
const PATIENCE: Duration = Duration::from_millis(20);

/// Pause when a device queue is full: the socket says "writable" all the same (ENOBUFS).
const DEVICE_PAUSE: Duration = Duration::from_micros(200);

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
    Raw(&'a RawLink),
    Udp(UdpSocket<'a>),
}

/// See [`Links::send`].
pub(super) fn send(
    links: &Links,
    packets: &[u8],
    transmits: &[Transmit],
    notices: &mut Vec<PathNotice>,
) {
    let mut batch = Batch::new(packets, transmits);
    let mut patience = Patience { until: None };
    while let Some((transmit, packet)) = batch.iter().next() {
        let route = route(links, transmit);
        let capture = links.capture.as_ref().map(Capture::sending);
        let result = match &route {
            Some(route) => route.send(batch, transmit),
            // No socket of that kind is open: as good as no route.
            None => Err(io::Error::from_raw_os_error(libc::ENETUNREACH)),
        };
        // Others may write while this one waits for room.
        let capture = capture.filter(|_| result.is_ok());
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
            (Err(error), Some(route)) if is_full(&error) => {
                if !patience.wait(route.as_fd(), &error) {
                    links.counters.send_drops.add(1);
                    batch.advance(1);
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
    fn send(&self, batch: Batch<'_>, first: &Transmit) -> io::Result<usize> {
        if first.fragmentable {
            return self.send_fragmentable(batch, first);
        }
        match self {
            Route::Raw(link) => {
                let same = |other: &Transmit| {
                    other.udp_port.is_none()
                        && !other.fragmentable
                        && other.destination.is_ipv4() == first.destination.is_ipv4()
                };
                link.send(batch.iter().take_while(|(other, _)| same(other)).map(outgoing))
            }
            Route::Udp(socket) => socket.send(batch, first),
        }
    }

    /// Sends the first packet, which IP may cut. The option is the socket's: what another thread
    /// sends meanwhile may be cut, too, which does no harm.
    fn send_fragmentable(&self, batch: Batch<'_>, first: &Transmit) -> io::Result<usize> {
        let v4 = first.destination.is_ipv4();
        sys::let_fragment(self.as_fd(), v4, true)?;
        let result = sys::send_batch(self.as_fd(), batch.iter().take(1).map(outgoing));
        sys::let_fragment(self.as_fd(), v4, false)?;
        result
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Route::Raw(link) => link.as_fd(),
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
        None => links.raw_for(transmit.destination).map(Route::Raw),
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

/// The time that a call still waits for full sockets.
struct Patience {
    until: Option<Instant>,
}

impl Patience {
    /// Waits until the socket may take more; `false` if patience is over.
    fn wait(&mut self, fd: BorrowedFd<'_>, error: &io::Error) -> bool {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + PATIENCE);
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return false;
        }
        if error.kind() == io::ErrorKind::WouldBlock {
            // Whatever it says, the next attempt to send shows the truth.
            let _ = sys::poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], Some(left));
        } else {
            std::thread::sleep(DEVICE_PAUSE.min(left));
        }
        true
    }
}
