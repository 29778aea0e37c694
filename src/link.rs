//! The links of a stack: raw IPv4, raw IPv6 and UDP sockets as one value that receives and sends in batches.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use usctp_assoc::{Datagram, PathNotice, Transmit};

use self::buffers::Slots;
use self::icmp::IcmpLink;
use self::raw::RawLink;
use self::routing::Routing;
use self::strain::Strain;
use self::sys::Arrived;
use self::udp::{UdpLink, UdpSlots};
use self::watch::Watch;
use crate::capture::Capture;

mod buffers;
mod error;
mod filter;
mod icmp;
pub(crate) mod ip;
mod netlink;
mod raw;
mod room;
pub(crate) mod routing;
mod send;
mod strain;
#[expect(unsafe_code, reason = "the one place of the crate that speaks to the kernel directly")]
mod sys;
mod udp;
mod waiting;
mod watch;

pub use error::LinkError;
pub use room::LinkBuffers;
pub(crate) use send::Jam;
#[cfg(test)]
pub(crate) use sys::faults;
pub(crate) use sys::wiped_on_fork;
pub use waiting::Waiting;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// The open sockets of a stack. All methods that carry packets take `&self` and hold no lock, so
/// that an application's thread sends while the I/O thread receives.
#[derive(Debug, Default)]
pub struct Links {
    /// Held by whoever sends, and alone while a socket lets IP cut packets.
    fragmenting: RwLock<()>,
    raw_v4: Option<RawLink>,
    raw_v6: Option<RawLink>,
    icmp_v4: Option<IcmpLink>,
    icmp_v6: Option<IcmpLink>,
    udp: Option<UdpLink>,
    watch: Option<Watch>,
    routing: Routing,
    capture: Option<Capture>,
    counters: Counters,
    strain: Strain,
}

/// What the receiving thread owns: the buffers that packets arrive in.
#[derive(Debug)]
pub struct Inbox {
    slots: Slots,
    init_slots: Slots,
    udp_slots: UdpSlots,
    arrived: Vec<Arrived>,
    /// Addresses that this host got, with the numbers of their interfaces.
    gained: Vec<(IpAddr, u32)>,
    has_host_changed: bool,
}

/// Which sockets have something, as [`Links::wait`] found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The caller's own descriptor is readable.
    pub woken: bool,
    sockets: u16,
}

/// What went over the links since they were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LinkCounters {
    /// SCTP packets received.
    pub received: u64,
    /// SCTP packets handed to the kernel.
    pub sent: u64,
    /// Packets that the kernel refused to send; each gave a notice.
    pub refused: u64,
    /// Packets given up because the sending socket stayed full, as a network drops them.
    pub send_drops: u64,
    /// Packets that arrived whole but without a sound IP header, or not addressed to this host
    /// alone.
    pub malformed: u64,
    /// Packets that the kernel dropped because a receive buffer was full: [`LinkBuffers`] says how much it holds.
    pub receive_drops: u64,
    /// INITs that the kernel dropped because their buffer was full: over raw IP they have one of their own, so that a flood
    /// of them takes no room from others.
    pub init_drops: u64,
}

/// Counters that several threads add to.
#[derive(Debug, Default)]
struct Counters {
    received: Counter,
    sent: Counter,
    refused: Counter,
    send_drops: Counter,
    malformed: Counter,
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, count: usize) {
        // A usize has at most 64 bits here.
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Links {
    /// No link yet; `open_raw`, `open_udp` and `from_fds` add them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens raw IPv4 and, where the host has it, raw IPv6, with ICMP sockets for what the network
    /// reports. They hear nothing until [`accept_ports`](Self::accept_ports).
    ///
    /// # Errors
    /// [`LinkError::NoPermission`] without the capability CAP_NET_RAW in the network namespace's
    /// user namespace; [`LinkError::Io`] otherwise.
    pub fn open_raw(&mut self) -> Result<(), LinkError> {
        let (v4, v6) = raw::open_both()?;
        self.icmp_v4 = IcmpLink::open(Family::V4);
        self.icmp_v6 = v6.as_ref().and_then(|_| IcmpLink::open(Family::V6));
        self.raw_v4 = Some(v4);
        self.raw_v6 = v6;
        Ok(())
    }

    /// The raw SCTP sockets.
    pub(crate) fn raw_sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let raw = [&self.raw_v4, &self.raw_v6].into_iter().flatten();
        raw.flat_map(|raw| [Some(raw.as_fd()), raw.inits()]).flatten()
    }

    /// Opens UDP encapsulation (RFC 6951) on a local port of all addresses, 0 for any free one;
    /// returns the port. IANA's port for SCTP over UDP is 9899.
    ///
    /// # Errors
    /// [`LinkError::AddressInUse`] if another socket has the port, [`LinkError::NoPermission`] for
    /// a port below 1,024 without the capability, [`LinkError::Io`] otherwise.
    pub fn open_udp(&mut self, port: u16) -> Result<u16, LinkError> {
        let link = UdpLink::open(port)?;
        let port = link.port();
        self.udp = Some(link);
        Ok(port)
    }

    /// Takes sockets that were opened elsewhere, so that an application may drop its privileges or
    /// be handed the sockets by a supervisor. Each is known by its own kind: raw SCTP and raw ICMP
    /// sockets of either family, UDP sockets bound to one port. The options that the links need are
    /// set here and want no privilege.
    ///
    /// Of raw SCTP sockets a second one of each family serves for INITs, as with
    /// [`open_raw`](Self::open_raw). If there is none it is opened where this process may, and the
    /// first one is bound to no address or interface; where it may not, the log says so, and while the
    /// receive buffer is full the kernel tells peers "protocol unreachable", which those that believe
    /// it take for the end of the association (RFC 9260, section 10, ICMP8).
    ///
    /// # Errors
    /// [`LinkError::UnsuitableSocket`] with the index of a descriptor of another kind, of one more
    /// of the same kind or, of raw SCTP, of another network namespace, or of a UDP socket that is
    /// unbound, bound to another port than the first, or IPv6 without `IPV6_V6ONLY`; [`LinkError::Io`] if an option cannot be set.
    pub fn from_fds(fds: impl IntoIterator<Item = OwnedFd>) -> Result<Self, LinkError> {
        let mut links = Self::new();
        for (index, fd) in fds.into_iter().enumerate() {
            links.adopt(index, fd)?;
        }
        let raws = [&mut links.raw_v4, &mut links.raw_v6];
        raws.into_iter().flatten().for_each(RawLink::complete);
        Ok(links)
    }

    /// Watches for changes of the host's interfaces and addresses, in the network namespace of the calling thread, and asks
    /// there from now on, whichever thread asks.
    pub fn watch_addresses(&mut self) {
        self.routing = Routing::open();
        let watch = Watch::open();
        // A system that forbids it is as one whose addresses never change.
        self.watch = watch
            .inspect_err(|error| tracing::warn!(%error, "changes of addresses go unnoticed"))
            .ok();
    }

    /// Writes every packet from now on to a capture file too.
    pub fn capture_to(&mut self, capture: Capture) {
        self.capture = Some(capture);
    }

    /// Says which destination ports the raw sockets shall hear; with `all` those of everybody,
    /// which is for the process that answers packets out of the blue. The kernel drops the others.
    ///
    /// # Errors
    /// [`LinkError::Io`] if the kernel refuses the filter.
    pub fn accept_ports(&self, ports: &[u16], all: bool) -> Result<(), LinkError> {
        for raw in [&self.raw_v4, &self.raw_v6].into_iter().flatten() {
            raw.accept_ports(ports, all).map_err(|source| LinkError::Io {
                what: "attach the port filter to a raw socket",
                source,
            })?;
        }
        Ok(())
    }

    /// The local UDP port, if UDP encapsulation is open.
    pub fn udp_port(&self) -> Option<u16> {
        self.udp.as_ref().map(UdpLink::port)
    }

    /// Whether packets to this address can be sent: raw, or encapsulated in UDP.
    pub fn carries(&self, destination: IpAddr, encapsulated: bool) -> bool {
        if encapsulated {
            self.udp.as_ref().is_some_and(|udp| udp.carries(raw::family_of(destination)))
        } else {
            self.raw_for(destination).is_some()
        }
    }

    /// What a thread needs to wait for the links and for a descriptor of its own.
    ///
    /// # Errors
    /// The system's, if it has no descriptor left.
    pub fn waiting(&self, wake: BorrowedFd<'_>) -> io::Result<Waiting> {
        let waiting = Waiting::new()?;
        waiting.add(wake, 0)?;
        for (position, socket) in (0_u64..).zip(self.sockets()) {
            if let Some(socket) = socket {
                waiting.add(socket, 1 << position)?;
            }
        }
        Ok(waiting)
    }

    /// Sleeps until a link has something, the caller's own descriptor is readable, or the time is over (`None`: no
    /// limit). A signal ends it early. One thread at a time sleeps.
    ///
    /// A socket that is always ready and gives nothing but errors is left out for a while, longer each time. After half a
    /// minute its link has failed.
    ///
    /// # Errors
    /// What receiving said, if all links have failed; what epoll says, of which nothing is expected.
    pub fn wait(&self, waiting: &Waiting, timeout: Option<Duration>) -> io::Result<Ready> {
        self.heed_inits(waiting, true)?;
        self.sleep(waiting, timeout)
    }

    /// The same, with INITs left where they are if they have sockets of their own.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_past_inits(
        &self,
        waiting: &Waiting,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        self.heed_inits(waiting, false)?;
        self.sleep(waiting, timeout)
    }

    fn sleep(&self, waiting: &Waiting, timeout: Option<Duration>) -> io::Result<Ready> {
        if !self.strain.has_suspects() && !waiting.leaves_any() {
            return waiting.wait(timeout);
        }
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let now = Instant::now();
        let left = self.strain.left(now);
        waiting.leave(left.bits, &self.sockets());
        let again = left.until.map(|until| until.saturating_duration_since(now));
        waiting.wait([timeout, again].into_iter().flatten().min())
    }

    /// What receiving said, if none of the links that carry packets receives any more.
    fn failure(&self) -> Option<io::Error> {
        let open = [
            (RAW_V4, self.raw_v4.is_some()),
            (RAW_V6, self.raw_v6.is_some()),
            (UDP_V4, self.udp.as_ref().is_some_and(|udp| udp.carries(Family::V4))),
            (UDP_V6, self.udp.as_ref().is_some_and(|udp| udp.carries(Family::V6))),
        ];
        let mut open =
            open.into_iter().filter(|(_, is_open)| *is_open).map(|(bit, _)| bit).peekable();
        let first = *open.peek()?;
        open.all(|bit| self.strain.has_failed(bit)).then(|| self.strain.error(first))
    }

    fn heed_inits(&self, waiting: &Waiting, heeded: bool) -> io::Result<()> {
        if !waiting.begins_to_heed(heeded) {
            return Ok(());
        }
        for (raw, bit) in [(&self.raw_v4, INITS_V4), (&self.raw_v6, INITS_V6)] {
            if let Some(inits) = raw.as_ref().and_then(RawLink::inits) {
                waiting.heed(inits, bit, heeded)?;
            }
        }
        Ok(())
    }

    /// Takes one batch from every link that is ready, at most 64 system-call messages each, without
    /// waiting; with INITs over raw IP more, so that nothing is left that came before them. A link that has more is ready
    /// again at the next [`wait`](Self::wait).
    pub fn receive(
        &self,
        inbox: &mut Inbox,
        ready: Ready,
        datagrams: &mut Vec<Datagram>,
        notices: &mut Vec<PathNotice>,
    ) {
        let before = datagrams.len();
        for (inits, others, raw) in
            [(INITS_V4, RAW_V4, &self.raw_v4), (INITS_V6, RAW_V6, &self.raw_v6)]
        {
            if let Some(raw) = raw {
                self.receive_raw(raw, inbox, ready, (inits, others), datagrams);
            }
        }
        for (bit, icmp) in [(ICMP_V4, &self.icmp_v4), (ICMP_V6, &self.icmp_v6)] {
            if let (true, Some(icmp)) = (ready.has(bit), icmp) {
                let Inbox { slots, arrived, .. } = inbox;
                self.report(icmp.receive(slots, arrived, notices), ready, bit, "ICMP");
            }
        }
        if let Some(udp) = &self.udp {
            for (bit, family) in [(UDP_V4, Family::V4), (UDP_V6, Family::V6)] {
                if ready.has(bit) {
                    let slots = &mut inbox.udp_slots;
                    let result = udp.receive(family, slots, &self.counters, datagrams, notices);
                    self.report(result, ready, bit, "UDP");
                }
            }
        }
        let fresh = datagrams.get(before..).unwrap_or_default();
        // What reflects our tag may come from this host itself, of whose new address the kernel has told by now.
        let asks = ready.has(WATCH) || fresh.iter().any(reflects_tag);
        if let (true, Some(watch)) = (asks, &self.watch) {
            let result = watch.drain(&mut inbox.gained);
            inbox.has_host_changed |= matches!(result, Ok(true));
            self.report(result.map(drop), ready, WATCH, "changes of addresses");
        }
        self.counters.received.add(fresh.len());
        if let Some(capture) = &self.capture {
            capture.received(fresh, self.udp_port());
        }
    }

    /// What a peer sent before an INIT, such as the end of the association of before, is taken with it, whenever it came: else the
    /// INIT would meet that association, and be lost (RFC 9260, 9.2). So INITs are taken first, and then all that is there.
    /// Whoever hands them on puts what belongs to associations first.
    fn receive_raw(
        &self,
        raw: &RawLink,
        inbox: &mut Inbox,
        ready: Ready,
        (inits, others): (u16, u16),
        datagrams: &mut Vec<Datagram>,
    ) {
        let Inbox { slots, init_slots, arrived, .. } = inbox;
        let (has_inits, has_others) = (ready.has(inits), ready.has(others));
        if has_inits {
            let result = raw.receive_inits(init_slots, arrived, &self.counters, datagrams);
            self.report(result, ready, inits, "raw IP, INITs");
        }
        let batches = match (has_inits, has_others) {
            (true, _) => BATCHES_WITH_INITS,
            (false, true) => 1,
            (false, false) => 0,
        };
        for batch in 0..batches {
            let result = raw.receive(slots, arrived, &self.counters, datagrams);
            let may_have_more = matches!(result, Ok(true));
            // Only the first one was promised anything.
            let promised = if batch == 0 { ready } else { Ready::ALL };
            self.report(result.map(drop), promised, others, "raw IP");
            if !may_have_more {
                break;
            }
        }
    }

    /// Notes what became of a socket that was ready, or tried without being so. An empty one is no error; others are logged,
    /// because there is nobody to answer for them.
    fn report(&self, result: io::Result<()>, ready: Ready, bit: u16, link: &'static str) {
        let Err(error) = result else { return self.strain.gave(bit) };
        let is_empty = error.kind() == io::ErrorKind::WouldBlock;
        if !is_empty || ready.has(bit) && ready != Ready::ALL {
            tracing::debug!(%error, link, "nothing was received");
            self.strain.gave_nothing(bit, &error, link, Instant::now());
        }
    }

    /// What went over the links; the kernel's drop counts are asked for here.
    pub fn counters(&self) -> LinkCounters {
        let raws = || [&self.raw_v4, &self.raw_v6].into_iter().flatten();
        let raw: u64 = raws().map(RawLink::drops).sum();
        LinkCounters {
            received: self.counters.received.value(),
            sent: self.counters.sent.value(),
            refused: self.counters.refused.value(),
            send_drops: self.counters.send_drops.value(),
            malformed: self.counters.malformed.value(),
            receive_drops: raw + self.udp.as_ref().map_or(0, UdpLink::drops),
            init_drops: raws().map(RawLink::init_drops).sum(),
        }
    }

    /// The room that the system gives to the links; `None` if none is open.
    pub fn buffers(&self) -> Option<LinkBuffers> {
        let raw = [&self.raw_v4, &self.raw_v6].into_iter().flatten().map(AsFd::as_fd);
        let udp = [Family::V4, Family::V6]
            .into_iter()
            .filter_map(|family| self.udp.as_ref()?.socket(family));
        LinkBuffers::least(raw.chain(udp))
    }

    /// Tells the log if that is so little that bursts will lose packets.
    pub(crate) fn warn_of_small_buffers(&self) {
        if let Some(warning) = self.buffers().and_then(LinkBuffers::warning) {
            tracing::warn!("{warning}");
        }
    }

    /// Hands packets to the kernel: `packets` holds them one behind the other, `transmits` says for
    /// each in order how long it is and where it goes. Runs of equal length to one destination over
    /// UDP leave as one segmentation-offload call. What the local system refuses comes back in
    /// `notices`.
    ///
    /// A packet between IPv6 link-local addresses leaves by the interface of its zone; without one it is refused.
    ///
    /// It never waits: what finds its socket or its device full is dropped as a network would, and counted.
    pub fn send(&self, packets: &[u8], transmits: &[Transmit], notices: &mut Vec<PathNotice>) {
        let mut jam = Jam::default();
        send::send(self, packets, transmits, &mut jam, notices);
        self.note_dropped(jam.take_left().len());
    }

    /// The same, but what finds its way full is named in `jam`, and so is what follows it on the same way.
    pub(crate) fn send_some(
        &self,
        packets: &[u8],
        transmits: &[Transmit],
        jam: &mut Jam,
        notices: &mut Vec<PathNotice>,
    ) {
        send::send(self, packets, transmits, jam, notices);
    }

    /// So many packets were given up because their way was full for too long.
    pub(crate) fn note_dropped(&self, packets: usize) {
        self.counters.send_drops.add(packets);
    }

    /// The greatest IP packet in bytes that the kernel believes to pass on the way from `source`, or from where routing
    /// says, to `destination`: the MTU of the local link, unless a router said less. None without a route. It costs some system
    /// calls.
    ///
    /// # Errors
    /// The kernel did not answer.
    pub fn mtu_towards(
        &self,
        destination: IpAddr,
        zone: u32,
        source: Option<IpAddr>,
    ) -> io::Result<Option<u32>> {
        self.routing.mtu_towards(destination, zone, source)
    }

    /// Where routes and addresses are asked for.
    pub(crate) fn routing(&self) -> &Routing {
        &self.routing
    }

    fn raw_for(&self, destination: IpAddr) -> Option<&RawLink> {
        match raw::family_of(destination) {
            Family::V4 => self.raw_v4.as_ref(),
            Family::V6 => self.raw_v6.as_ref(),
        }
    }

    /// All sockets, each at the position of its bit.
    fn sockets(&self) -> [Option<BorrowedFd<'_>>; SOCKETS] {
        let udp = |family| self.udp.as_ref().and_then(|udp| udp.socket(family));
        [
            self.raw_v4.as_ref().map(AsFd::as_fd),
            self.raw_v6.as_ref().map(AsFd::as_fd),
            self.icmp_v4.as_ref().map(AsFd::as_fd),
            self.icmp_v6.as_ref().map(AsFd::as_fd),
            udp(Family::V4),
            udp(Family::V6),
            self.watch.as_ref().map(AsFd::as_fd),
            self.raw_v4.as_ref().and_then(RawLink::inits),
            self.raw_v6.as_ref().and_then(RawLink::inits),
        ]
    }

    fn adopt(&mut self, index: usize, fd: OwnedFd) -> Result<(), LinkError> {
        let io = |source| LinkError::Io { what: "take over a socket", source };
        let unsuitable = LinkError::UnsuitableSocket { index };
        let ask = |name| sys::option(fd.as_fd(), libc::SOL_SOCKET, name);
        let (Ok(domain), Ok(kind), Ok(protocol)) =
            (ask(libc::SO_DOMAIN), ask(libc::SO_TYPE), ask(libc::SO_PROTOCOL))
        else {
            return Err(unsuitable);
        };
        let family = match domain {
            libc::AF_INET => Family::V4,
            libc::AF_INET6 => Family::V6,
            _ => return Err(unsuitable),
        };
        match (kind, protocol) {
            (libc::SOCK_RAW, libc::IPPROTO_SCTP) => {
                let taken = match self.raw_slot(family) {
                    Some(raw) => raw.adopt(fd).map_err(io)?,
                    none => {
                        *none = Some(RawLink::from_fd(fd, family).map_err(io)?);
                        true
                    }
                };
                taken.then_some(()).ok_or(unsuitable)
            }
            (libc::SOCK_RAW, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => {
                let link = IcmpLink::from_fd(fd, family).map_err(io)?;
                vacant(self.icmp_slot(family), link, unsuitable)
            }
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP) => {
                let taken = match &mut self.udp {
                    Some(udp) => udp.adopt(fd, family).map_err(io)?,
                    none => {
                        *none = UdpLink::from_fd(fd, family).map_err(io)?;
                        none.is_some()
                    }
                };
                taken.then_some(()).ok_or(unsuitable)
            }
            _ => Err(unsuitable),
        }
    }

    fn raw_slot(&mut self, family: Family) -> &mut Option<RawLink> {
        match family {
            Family::V4 => &mut self.raw_v4,
            Family::V6 => &mut self.raw_v6,
        }
    }

    fn icmp_slot(&mut self, family: Family) -> &mut Option<IcmpLink> {
        match family {
            Family::V4 => &mut self.icmp_v4,
            Family::V6 => &mut self.icmp_v6,
        }
    }
}

/// Batches that are taken with INITs at most: a thousand packets, if there are as many.
const BATCHES_WITH_INITS: usize = 16;

/// Sockets that `Links` can hold.
const SOCKETS: usize = 9;

// The bits of `Ready`, in the order of `Links::sockets`.
const RAW_V4: u16 = 1 << 0;
const RAW_V6: u16 = 1 << 1;
const ICMP_V4: u16 = 1 << 2;
const ICMP_V6: u16 = 1 << 3;
const UDP_V4: u16 = 1 << 4;
const UDP_V6: u16 = 1 << 5;
const WATCH: u16 = 1 << 6;
const INITS_V4: u16 = 1 << 7;
const INITS_V6: u16 = 1 << 8;
const INITS: u16 = INITS_V4 | INITS_V6;

impl Ready {
    /// Every link is to be tried.
    pub const ALL: Self = Self { woken: false, sockets: u16::MAX };

    /// Whether any link has something.
    pub fn any(self) -> bool {
        self.sockets != 0
    }

    fn has(self, bit: u16) -> bool {
        self.sockets & bit != 0
    }
}

impl Inbox {
    /// Empty buffers; memory is taken when the first packets arrive.
    pub fn new() -> Self {
        Self {
            slots: Slots::new(),
            init_slots: Slots::new(),
            udp_slots: UdpSlots::new(),
            arrived: Vec::new(),
            gained: Vec::new(),
            has_host_changed: false,
        }
    }

    /// Whether interfaces or addresses of the host changed since the last call.
    pub fn take_host_change(&mut self) -> bool {
        std::mem::take(&mut self.has_host_changed)
    }

    /// The addresses that the host got since the last call, with the numbers of their interfaces.
    pub fn take_gained(&mut self) -> Vec<(IpAddr, u32)> {
        std::mem::take(&mut self.gained)
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

fn vacant<T>(slot: &mut Option<T>, link: T, error: LinkError) -> Result<(), LinkError> {
    if slot.is_some() {
        return Err(error);
    }
    *slot = Some(link);
    Ok(())
}

/// Whether a packet begins with ABORT or SHUTDOWN COMPLETE that reflects the tag it answers (RFC 9260, sections 3.3.7 and
/// 3.3.13).
fn reflects_tag(datagram: &Datagram) -> bool {
    const FIRST_CHUNK: usize = 12;
    let first = datagram.payload.get(FIRST_CHUNK..FIRST_CHUNK + 2);
    matches!(first, Some([6 | 14, flags]) if flags & 1 != 0)
}
