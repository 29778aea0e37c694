//! UDP encapsulation (RFC 6951): SCTP packets in UDP, coalesced in both directions where the kernel can.

use std::array;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use usctp_assoc::{Datagram, Ecn, PathNotice, Transmit};

use super::buffers::Pool;
use super::ip::{is_unicast, zone_between};
use super::raw::is_family_missing;
use super::send::{Batch, Jam, outgoing};
use super::sys::{self, BATCH, GREATEST_PACKET, Outgoing};
use super::{Counters, Family, LinkError, icmp};

/// The greatest payload of an IPv4 UDP packet, and so of what is given to the kernel for
/// segmentation.
const GREATEST_PAYLOAD: usize = GREATEST_PACKET - 20 - 8;

/// Attempts at one call when the socket reports the fate of an earlier packet instead.
const ATTEMPTS: usize = 4;

/// Ports tried for one that is free in both families.
const PORT_ATTEMPTS: usize = 16;

/// The UDP sockets of both families on one port.
#[derive(Debug)]
pub(super) struct UdpLink {
    port: u16,
    v4: Option<Side>,
    v6: Option<Side>,
}

/// The socket of one family.
#[derive(Debug)]
struct Side {
    socket: Socket,
    state: UdpSocketState,
    /// The kernel or the device does not segment: found out when it refused.
    unsegmented: AtomicBool,
}

/// One family's socket, to send from.
#[derive(Debug)]
pub(super) struct UdpSocket<'a>(&'a Side);

/// The buffers that UDP packets arrive in, each for as many as the kernel coalesces.
#[derive(Debug)]
pub(super) struct UdpSlots {
    pool: Pool,
    slots: Option<Box<[BytesMut; BATCH_SIZE]>>,
}

impl UdpSlots {
    /// No memory yet: it is taken at the first call.
    pub(super) fn new() -> Self {
        Self { pool: Pool::new(GREATEST_PACKET), slots: None }
    }
}

impl UdpLink {
    /// Binds the port in both families; 0 takes one that is free in both.
    pub(super) fn open(port: u16) -> Result<Self, LinkError> {
        for _ in 0..PORT_ATTEMPTS {
            let v4 = Side::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                .map_err(|error| explain(error, port))?;
            let bound = v4.port().map_err(|error| explain(error, port))?;
            let v6 = match Side::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, bound))) {
                Ok(v6) => Some(v6),
                Err(error) if is_family_missing(&error) => None,
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => continue,
                Err(error) => return Err(explain(error, bound)),
            };
            return Ok(Self { port: bound, v4: Some(v4), v6 });
        }
        Err(LinkError::NoFreePort)
    }

    /// Takes a socket opened elsewhere; `None` if it is unbound or an IPv6 socket that takes IPv4 too.
    pub(super) fn from_fd(fd: OwnedFd, family: Family) -> io::Result<Option<Self>> {
        let Some(side) = Side::adopt(fd, family)? else { return Ok(None) };
        let mut link = Self { port: side.port()?, v4: None, v6: None };
        *link.slot(family) = Some(side);
        Ok(Some(link))
    }

    /// Takes the socket of the second family; `false` if that family has one or the ports differ.
    pub(super) fn adopt(&mut self, fd: OwnedFd, family: Family) -> io::Result<bool> {
        match Side::adopt(fd, family)? {
            Some(side) if side.port()? == self.port && self.slot(family).is_none() => {
                *self.slot(family) = Some(side);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The local port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the family is open.
    pub(super) fn carries(&self, family: Family) -> bool {
        self.side(family).is_some()
    }

    /// The socket of the family.
    pub(super) fn socket(&self, family: Family) -> Option<BorrowedFd<'_>> {
        self.side(family).map(|side| side.socket.as_fd())
    }

    /// The socket of the family, to send from.
    pub(super) fn sender(&self, family: Family) -> Option<UdpSocket<'_>> {
        self.side(family).map(UdpSocket)
    }

    /// Packets that the kernel dropped because a receive buffer was full.
    pub(super) fn drops(&self) -> u64 {
        [&self.v4, &self.v6].into_iter().flatten().map(|side| sys::drops(side.socket.as_fd())).sum()
    }

    /// Takes one batch, and what the network reported about packets sent.
    pub(super) fn receive(
        &self,
        family: Family,
        slots: &mut UdpSlots,
        counters: &Counters,
        datagrams: &mut Vec<Datagram>,
        notices: &mut Vec<PathNotice>,
    ) -> io::Result<()> {
        let Some(side) = self.side(family) else { return Ok(()) };
        let was_told = icmp::drain_error_queue(side.socket.as_fd(), notices);
        match side.receive(slots, counters, datagrams) {
            // It was ready because of that.
            Err(error) if was_told && error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    fn side(&self, family: Family) -> Option<&Side> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    fn slot(&mut self, family: Family) -> &mut Option<Side> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl Side {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        Self::new(socket)
    }

    fn adopt(fd: OwnedFd, family: Family) -> io::Result<Option<Self>> {
        let socket = Socket::from(fd);
        if family == Family::V6 && !socket.only_v6()? {
            return Ok(None);
        }
        let side = Self::new(socket)?;
        Ok((side.port()? != 0).then_some(side))
    }

    fn new(socket: Socket) -> io::Result<Self> {
        // Packet information, ECN, no fragmentation, coalesced receive, non-blocking.
        let state = UdpSocketState::new((&socket).into())?;
        // It turns time stamps on too, which nobody reads here; with them its room for control
        // messages is too small for the ECN field of coalesced packets (quinn-udp 0.6.3).
        sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0)?;
        state.enable_transport_errors((&socket).into())?;
        sys::enlarge_buffers(socket.as_fd());
        Ok(Self { socket, state, unsegmented: AtomicBool::new(false) })
    }

    fn port(&self) -> io::Result<u16> {
        let address = self.socket.local_addr()?.as_socket();
        Ok(address.map_or(0, |address| address.port()))
    }

    fn receive(
        &self,
        slots: &mut UdpSlots,
        counters: &Counters,
        datagrams: &mut Vec<Datagram>,
    ) -> io::Result<()> {
        let UdpSlots { pool, slots } = slots;
        let slots = slots.get_or_insert_with(|| Box::new(array::from_fn(|_| pool.take())));
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let count = {
            let mut buffers = slots.each_mut().map(|slot| IoSliceMut::new(slot));
            // With the error queue on, a call may return the fate of an earlier packet instead; the
            // queue tells it in full.
            persist(|| {
                #[cfg(test)]
                sys::faults::receiving(self.socket.as_fd())?;
                self.state.recv((&self.socket).into(), &mut buffers, &mut metas)
            })?
        };
        for (slot, meta) in slots.iter_mut().zip(&metas).take(count) {
            let packets = pool.take_packet(slot, meta.len.min(GREATEST_PACKET));
            split(packets, meta, counters, datagrams);
        }
        Ok(())
    }
}

impl UdpSocket<'_> {
    /// Sends from the front of the batch what goes through this socket: runs of packets of one
    /// length to one destination as one message each, which the kernel cuts again.
    pub(super) fn send(&self, batch: Batch<'_>, first: &Transmit, jam: &Jam) -> io::Result<usize> {
        let segments = if self.0.unsegmented.load(Ordering::Relaxed) {
            1
        } else {
            self.0.state.max_gso_segments()
        };
        let mut runs = [0; BATCH];
        let mut rest = batch;
        let messages = runs.iter_mut().map_while(|run| {
            let (next, _) = rest.iter().next()?;
            if jam.holds(next) {
                return None;
            }
            let (message, packets) = next_run(rest, first.destination.is_ipv4(), segments)?;
            *run = packets;
            rest.advance(packets);
            Some(message)
        });
        match sys::send_batch(self.as_fd(), messages) {
            Ok(sent) => Ok(runs.iter().take(sent).sum()),
            Err(error) => self.send_single(batch, &error, runs.first().is_some_and(|run| *run > 1)),
        }
    }

    /// Sends the first packet alone after the kernel refused a run, or reported an earlier packet's
    /// fate.
    fn send_single(&self, batch: Batch<'_>, error: &io::Error, in_run: bool) -> io::Result<usize> {
        if !may_be_stale(error) {
            return Err(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO)));
        }
        let sent = persist(|| sys::send_batch(self.as_fd(), batch.iter().take(1).map(outgoing)))?;
        // Refused in a run, taken alone: the device does not segment (EIO, on some EINVAL). A run
        // that is too big for the path (EMSGSIZE) says nothing of that kind.
        let unable = matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL));
        if in_run && unable && !self.0.unsegmented.swap(true, Ordering::Relaxed) {
            tracing::info!(%error, "UDP segmentation offload is off");
        }
        Ok(sent)
    }
}

impl AsFd for UdpSocket<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

/// The packets at the front that the kernel can cut out of one message: same way, same length, the
/// last one shorter at most. `None` if the first goes through another socket.
fn next_run(batch: Batch<'_>, v4: bool, segments: usize) -> Option<(Outgoing<'_>, usize)> {
    let mut packets = batch.iter();
    let (first, packet) = packets.next()?;
    if first.udp_port.is_none() || first.fragmentable || first.destination.is_ipv4() != v4 {
        return None;
    }
    let mut message = outgoing((first, packet));
    let Ok(segment) = u16::try_from(first.len) else { return Some((message, 1)) };
    let (mut count, mut total) = (1, first.len);
    for (next, _) in packets {
        let fits = count < segments
            && next.len <= first.len
            && total + next.len <= GREATEST_PAYLOAD
            && !next.fragmentable
            && same_way(next, first);
        if !fits {
            break;
        }
        count += 1;
        total += next.len;
        if next.len < first.len {
            break;
        }
    }
    if count > 1 {
        message.packet = batch.front(total);
        message.segment = Some(segment);
    }
    Some((message, count))
}

fn same_way(one: &Transmit, other: &Transmit) -> bool {
    one.destination == other.destination
        && one.udp_port == other.udp_port
        && one.source == other.source
        && one.zone == other.zone
        && one.ecn == other.ecn
}

/// Takes the packets of one coalesced message apart.
fn split(mut packets: Bytes, meta: &RecvMeta, counters: &Counters, datagrams: &mut Vec<Datagram>) {
    let source = meta.addr.ip();
    // A directed broadcast passes for unicast here: it is no address that an endpoint is bound to.
    let Some(destination) = meta.dst_ip.filter(|ip| is_unicast(*ip) && is_unicast(source)) else {
        counters.malformed.add(1);
        return;
    };
    let ecn = match meta.ecn {
        None => Ecn::NotEct,
        Some(EcnCodepoint::Ect0) => Ecn::Ect0,
        Some(EcnCodepoint::Ect1) => Ecn::Ect1,
        Some(EcnCodepoint::Ce) => Ecn::Ce,
    };
    let zone = zone_between(source, destination, meta.interface_index.unwrap_or(0));
    let stride = meta.stride.max(1);
    while !packets.is_empty() {
        let payload = packets.split_to(stride.min(packets.len()));
        let udp_port = Some(meta.addr.port());
        datagrams.push(Datagram { source, destination, udp_port, zone, ecn, payload });
    }
}

/// Repeats a call whose error may tell of an earlier packet: each error is told once.
fn persist<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut result = call();
    for _ in 1..ATTEMPTS {
        match &result {
            Err(error) if may_be_stale(error) => result = call(),
            _ => break,
        }
    }
    result
}

/// Whether an error can be the network's answer to an earlier packet (udp(7), IP_RECVERR).
fn may_be_stale(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        && error.raw_os_error() != Some(libc::ENOBUFS)
}

fn explain(error: io::Error, port: u16) -> LinkError {
    match error.kind() {
        io::ErrorKind::AddrInUse => LinkError::AddressInUse { port },
        io::ErrorKind::PermissionDenied => LinkError::NoPermission,
        _ => LinkError::Io { what: "open the UDP port of the encapsulation", source: error },
    }
}

#[cfg(test)]
mod tests;
