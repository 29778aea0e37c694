//! The system calls that neither std nor a library serves: batched receive and send with control messages, socket options.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use bytes::BytesMut;
use libc::{c_int, c_void};
use pnet::transport::TransportSender;
use usctp_assoc::Ecn;

use self::control::{
    CONTROL, Control, Name, each_control, read_name, read_packet_info, write_control, write_name,
};

mod control;
mod epoll;
#[cfg(test)]
pub(crate) mod faults;
mod fork;

pub(super) use self::epoll::epoll_wait;
pub(crate) use self::fork::wiped_on_fork;

/// Packets that one system call receives or sends at most.
pub(super) const BATCH: usize = 64;

/// The greatest IP packet in bytes (RFC 791, section 3.1; RFC 8200, section 3, without jumbograms).
pub(super) const GREATEST_PACKET: usize = 65_535;

/// Bytes asked for the receive buffer of a socket: what arrives in some 10 ms at 5 Gbit/s, since
/// the kernel counts about twice what a packet holds.
pub(super) const RECEIVE_BUFFER: c_int = 16 << 20;

/// Bytes asked for the send buffer of a socket.
pub(super) const SEND_BUFFER: c_int = 4 << 20;

/// One packet to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    /// The local address to send from; `None` leaves it to routing.
    pub(super) source: Option<IpAddr>,
    /// The peer's address.
    pub(super) destination: IpAddr,
    /// The peer's UDP port, 0 on a raw socket.
    pub(super) port: u16,
    /// The interface to send by if an address is IPv6 link-local; otherwise 0.
    pub(super) zone: u32,
    /// The ECN field to set.
    pub(super) ecn: Ecn,
    /// If the kernel is to cut the bytes into several UDP packets: the length of each but the last.
    pub(super) segment: Option<u16>,
    /// What to send.
    pub(super) packet: &'a [u8],
}

/// What the kernel said about one packet received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    /// Bytes received, over both buffers; more than they hold if the packet was truncated.
    pub(super) len: usize,
    /// The sender's address, if it was asked for.
    pub(super) source: Option<IpAddr>,
    /// The address the packet was sent to, as the packet information says.
    pub(super) destination: Option<IpAddr>,
    /// The interface it came in by, as the packet information says; 0 if it does not.
    pub(super) interface: u32,
    /// The packet was sent to this host alone: no broadcast, no multicast.
    pub(super) unicast: bool,
    /// The ECN field.
    pub(super) ecn: Ecn,
}

/// One entry of a socket's error queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueuedError {
    /// Bytes of the offending packet's payload that came along.
    pub(super) len: usize,
    /// The destination of the offending packet.
    pub(super) peer: Option<IpAddr>,
    /// The interface that destination belongs to if it is link-local; otherwise 0.
    pub(super) zone: u32,
    /// Our own address, as the packet information says.
    pub(super) local: Option<IpAddr>,
    /// Who found the error: `SO_EE_ORIGIN_LOCAL`, `SO_EE_ORIGIN_ICMP`, `SO_EE_ORIGIN_ICMP6`.
    pub(super) origin: u8,
    /// The ICMP type.
    pub(super) kind: u8,
    /// The ICMP code.
    pub(super) code: u8,
    /// The MTU for messages that carry one.
    pub(super) info: u32,
}

/// Reads the two ECN bits of a type-of-service or traffic-class octet (RFC 3168, section 5).
pub(super) fn ecn_of(tos: u8) -> Ecn {
    match tos & 0b11 {
        0b01 => Ecn::Ect1,
        0b10 => Ecn::Ect0,
        0b11 => Ecn::Ce,
        _ => Ecn::NotEct,
    }
}

/// The type-of-service octet for an ECN field, with no differentiated service asked for.
pub(super) fn tos_of(ecn: Ecn) -> u8 {
    match ecn {
        Ecn::NotEct => 0b00,
        Ecn::Ect1 => 0b01,
        Ecn::Ect0 => 0b10,
        Ecn::Ce => 0b11,
    }
}

/// The socket of a channel that pnet opened, as a descriptor of our own.
pub(super) fn socket_of(channel: &TransportSender) -> io::Result<OwnedFd> {
    // SAFETY: the channel keeps its descriptor open as long as it lives, and it is borrowed here.
    unsafe { BorrowedFd::borrow_raw(channel.socket.fd) }.try_clone_to_owned()
}

/// Asks for large socket buffers: beyond the system's limit where we are privileged, up to it
/// otherwise. What came of it is asked by [`LinkBuffers`](super::LinkBuffers).
pub(super) fn enlarge_buffers(fd: BorrowedFd) {
    let options = [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_BUFFER),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_BUFFER),
    ];
    for (force, polite, size) in options {
        let forced = set_option(fd, libc::SOL_SOCKET, force, size);
        if let Err(error) = forced.or_else(|_| set_option(fd, libc::SOL_SOCKET, polite, size)) {
            tracing::debug!(%error, size, "the socket keeps its buffer size");
        }
    }
}

/// Sets a socket option whose value is a C `int`.
pub(super) fn set_option(
    fd: BorrowedFd,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    set_bytes(fd, level, name, &value.to_ne_bytes())
}

/// Lets IP cut what a socket sends into fragments, or forbids it.
pub(super) fn let_fragment(fd: BorrowedFd, v4: bool, on: bool) -> io::Result<()> {
    if v4 {
        let mode = if on { libc::IP_PMTUDISC_DONT } else { libc::IP_PMTUDISC_PROBE };
        return set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode);
    }
    let mode = if on { libc::IPV6_PMTUDISC_DONT } else { libc::IPV6_PMTUDISC_PROBE };
    set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, mode)?;
    // No router cuts it: pieces that every link takes (RFC 8200, section 5). 0 leaves that to the route again.
    let pieces = if on { 1280 } else { 0 };
    set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU, pieces)?;
    set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, c_int::from(!on))
}

/// Sets a socket option whose value is a plain structure, given as its bytes.
pub(super) fn set_bytes(fd: BorrowedFd, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: `value` is readable for `len` bytes and the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast::<c_void>(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a socket option whose value is a C `int`.
pub(super) fn option(fd: BorrowedFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let [value] = option_words::<1>(fd, level, name)?;
    // The word holds a C int: same bits.
    Ok(value.cast_signed())
}

/// The network namespace that a socket belongs to, as a number that no other one has; `None` where the kernel does not say
/// (before Linux 5.14).
pub(super) fn namespace(fd: BorrowedFd) -> Option<[u32; 2]> {
    option_words::<2>(fd, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE).ok()
}

/// Packets dropped because the socket's receive buffer was full, since it was opened.
pub(super) fn drops(fd: BorrowedFd) -> u64 {
    // SK_MEMINFO_DROPS is the last of the nine words (linux/sock_diag.h); zeros on older kernels.
    let words = option_words::<9>(fd, libc::SOL_SOCKET, libc::SO_MEMINFO).unwrap_or_default();
    words.last().copied().map_or(0, u64::from)
}

fn option_words<const N: usize>(fd: BorrowedFd, level: c_int, name: c_int) -> io::Result<[u32; N]> {
    let mut words = [0_u32; N];
    let mut len = libc::socklen_t::try_from(mem::size_of_val(&words)).map_err(io::Error::other)?;
    // SAFETY: `words` is writable for `len` bytes and any bytes make valid integers.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            words.as_mut_ptr().cast::<c_void>(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(words) } else { Err(io::Error::last_os_error()) }
}

/// Lets through only what a classic BPF program accepts; the program replaces an earlier one at
/// once.
pub(super) fn attach_filter(fd: BorrowedFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let size = libc::socklen_t::try_from(mem::size_of_val(&program)).map_err(io::Error::other)?;
    // SAFETY: the kernel copies `len` instructions out of the slice, which outlives the call, and
    // writes nothing.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast::<c_void>(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends up to [`BATCH`] packets with one call and says how many the kernel took.
///
/// # Errors
/// The error of the first packet, if not even that one went out. An error of a later packet shows
/// when it is the first of the next call.
pub(super) fn send_batch<'a>(
    fd: BorrowedFd,
    packets: impl Iterator<Item = Outgoing<'a>>,
) -> io::Result<usize> {
    #[cfg(test)]
    let packets = packets.take(faults::sending(fd)?);
    let mut names = [const { MaybeUninit::<Name>::uninit() }; BATCH];
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
    let mut count = 0;
    let slots = names.iter_mut().zip(&mut vectors).zip(&mut controls).zip(&mut headers);
    for ((((name, vector), control), header), packet) in slots.zip(packets) {
        let (name, name_len) = write_name(name, &packet);
        let vector = vector.write(libc::iovec {
            iov_base: packet.packet.as_ptr().cast_mut().cast::<c_void>(),
            iov_len: packet.packet.len(),
        });
        // SAFETY: all-zero bytes are a valid `mmsghdr`: integers and null pointers.
        let header = header.write(unsafe { mem::zeroed() });
        header.msg_hdr.msg_name = name;
        header.msg_hdr.msg_namelen = name_len;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        write_control(&mut header.msg_hdr, control, &packet);
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the first `count` headers are written and point to names, vectors and control buffers
    // in arrays of this frame and to packets that the iterator lent for `'a`; the kernel reads all
    // of these and writes only `msg_len` of the headers. `count` is at most BATCH.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast::<libc::mmsghdr>(),
            count,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives packets with one call, each into its slot and, what the slot cannot hold, into its
/// overflow. As many as there are slots, overflows and entries in `arrived`, at most [`BATCH`]. The sender's address
/// costs time, so it comes only if it is `named`: IPv4's raw sockets have it in the packet.
///
/// # Errors
/// `WouldBlock` if there is none; otherwise the kernel's.
pub(super) fn receive_batch(
    fd: BorrowedFd,
    slots: &mut [BytesMut],
    overflows: &mut [u8],
    overflow_len: usize,
    named: bool,
    arrived: &mut Vec<Arrived>,
) -> io::Result<()> {
    let mut names = [const { MaybeUninit::<Name>::uninit() }; BATCH];
    let mut vectors = [const { MaybeUninit::<[libc::iovec; 2]>::uninit() }; BATCH];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
    let mut count = 0_u32;
    let rooms = slots.iter_mut().zip(overflows.chunks_exact_mut(overflow_len));
    let frames = names.iter_mut().zip(&mut vectors).zip(&mut controls).zip(&mut headers);
    for ((((name, vector), control), header), (slot, overflow)) in frames.zip(rooms) {
        let vector = vector.write([
            libc::iovec { iov_base: slot.as_mut_ptr().cast::<c_void>(), iov_len: slot.len() },
            libc::iovec {
                iov_base: overflow.as_mut_ptr().cast::<c_void>(),
                iov_len: overflow.len(),
            },
        ]);
        // SAFETY: all-zero bytes are a valid `mmsghdr`: integers and null pointers.
        let header = header.write(unsafe { mem::zeroed() });
        receive_header(&mut header.msg_hdr, named.then_some(name), vector, control);
        count += 1;
    }
    // SAFETY: the first `count` headers are written and point to buffers that are exclusively
    // borrowed, do not overlap and outlive the call, each with its true length.
    let received = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast::<libc::mmsghdr>(),
            count,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for header in headers.iter().take(received) {
        // SAFETY: the kernel filled no more headers than it was given, and those were all written
        // above.
        let header = unsafe { header.assume_init_ref() };
        arrived.push(read_arrived(header));
    }
    Ok(())
}

/// Takes one entry from the socket's error queue; the start of the offending packet's payload goes
/// to `quote`.
///
/// # Errors
/// `WouldBlock` if the queue is empty; otherwise the kernel's.
pub(super) fn receive_error(fd: BorrowedFd, quote: &mut [u8]) -> io::Result<QueuedError> {
    let mut name = MaybeUninit::<Name>::uninit();
    let mut control = MaybeUninit::<Control>::uninit();
    let mut vector =
        [libc::iovec { iov_base: quote.as_mut_ptr().cast::<c_void>(), iov_len: quote.len() }];
    // SAFETY: all-zero bytes are a valid `msghdr`: integers and null pointers.
    let mut header = unsafe { mem::zeroed::<libc::msghdr>() };
    receive_header(&mut header, Some(&mut name), &mut vector, &mut control);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points to buffers of this frame and to `quote`, each with its true length.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    let (peer, zone) = read_name(&header).unzip();
    let mut error = QueuedError {
        len: len.min(quote.len()),
        peer,
        zone: zone.unwrap_or(0),
        local: None,
        origin: libc::SO_EE_ORIGIN_NONE,
        kind: 0,
        code: 0,
        info: 0,
    };
    each_control(&header, |level, kind, data| match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
            // struct sock_extended_err: errno (4), origin, type, code, pad, info (4), data (4).
            if let Some([_, _, _, _, origin, kind, code, _, info @ ..]) = data.first_chunk::<12>() {
                (error.origin, error.kind, error.code) = (*origin, *kind, *code);
                error.info = u32::from_ne_bytes(*info);
            }
        }
        _ => {
            if let Some(info) = read_packet_info(level, kind, data) {
                error.local = Some(info.destination);
            }
        }
    });
    Ok(error)
}

fn receive_header(
    header: &mut libc::msghdr,
    name: Option<&mut MaybeUninit<Name>>,
    vectors: &mut [libc::iovec],
    control: &mut MaybeUninit<Control>,
) {
    if let Some(name) = name {
        header.msg_name = name.as_mut_ptr().cast::<c_void>();
        header.msg_namelen = mem::size_of::<Name>() as libc::socklen_t;
    }
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len() as _;
    header.msg_control = control.as_mut_ptr().cast::<c_void>();
    header.msg_controllen = CONTROL as _;
}

fn read_arrived(header: &libc::mmsghdr) -> Arrived {
    let source = read_name(&header.msg_hdr).map(|(address, _)| address);
    let mut arrived = Arrived {
        len: header.msg_len as usize,
        source,
        destination: None,
        interface: 0,
        unicast: true,
        ecn: Ecn::NotEct,
    };
    if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
        arrived.len = usize::MAX;
    }
    each_control(&header.msg_hdr, |level, kind, data| match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            // One octet for IPv4, a C int for IPv6.
            let tos = data.first_chunk::<4>().map_or(data.first().copied(), |word| {
                u8::try_from(c_int::from_ne_bytes(*word)).ok()
            });
            arrived.ecn = ecn_of(tos.unwrap_or(0));
        }
        _ => {
            if let Some(info) = read_packet_info(level, kind, data) {
                arrived.destination = Some(info.destination);
                arrived.interface = info.interface;
                arrived.unicast = info.unicast;
            }
        }
    });
    arrived
}
