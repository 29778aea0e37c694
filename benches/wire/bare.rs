//! The bare socket: the same system calls and packet sizes as ours with no protocol, which is what a protocol can reach.
//!
//! It runs as a process of its own, so that its processor time is counted as that of the others is.

use std::io::{IoSlice, IoSliceMut, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Outcome;

/// The first argument that makes this program a bare socket.
pub(crate) const ROLE: &str = "bare-socket";

/// An IP protocol number for experiments (RFC 3692, section 2.1).
const EXPERIMENT: i32 = 253;
const PORT: u16 = 9899;

/// Packets in one call, as in ours.
const BATCH: usize = 64;

/// Bytes on the way that nobody has answered: the send buffer of `usctp perf`.
const WINDOW: u64 = 4 << 20;

/// The length of a SACK chunk in a packet, rounded up.
const ANSWER: usize = 48;

/// What one message to the kernel holds at most where it cuts it up.
const SEGMENTS: usize = 44;

/// Silence after which everything on the way is taken for lost.
const SILENCE: u16 = 200;

/// `receive|send|echo|ping raw|udp LOCAL PEER [PACKET SECONDS]`, where PACKET is what stands behind the IP or UDP header.
pub(crate) fn run(words: &[String]) -> Outcome<()> {
    let [role, kind, local, peer, rest @ ..] = words else {
        return Err("a bare socket needs a role, a kind and two addresses".into());
    };
    let socket = Bare::open(kind == "udp", local.parse()?, peer.parse()?)?;
    let number = |index: usize| -> Outcome<u64> { Ok(rest.get(index).ok_or("a number")?.parse()?) };
    match role.as_str() {
        "receive" => socket.receive(),
        "send" => socket.send(number(0)?.try_into()?, Duration::from_secs(number(1)?)),
        "echo" => socket.echo(),
        _ => socket.ping(number(0)?.try_into()?, Duration::from_secs(number(1)?)),
    }
}

struct Bare {
    socket: Socket,
    udp: bool,
    /// Bytes of IP header that a raw socket receives before the packet.
    header: usize,
}

impl Bare {
    fn open(udp: bool, local: IpAddr, peer: IpAddr) -> Outcome<Self> {
        let domain = Domain::for_address((local, 0).into());
        let (kind, protocol, port) = match udp {
            true => (Type::DGRAM, Protocol::UDP, PORT),
            false => (Type::RAW, Protocol::from(EXPERIMENT), 0),
        };
        let socket = Socket::new(domain, kind, Some(protocol))?;
        setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20))?;
        setsockopt(&socket, sockopt::SndBufForce, &(4 << 20))?;
        socket.bind(&SocketAddr::new(local, port).into())?;
        socket.connect(&SocketAddr::new(peer, port).into())?;
        let header = if udp || local.is_ipv6() { 0 } else { 20 };
        Ok(Self { socket, udp, header })
    }

    /// Answers every batch with the number of bytes so far.
    fn receive(&self) -> Outcome<()> {
        // Before the first call, since the client is started when it is printed.
        if self.udp {
            setsockopt(&self.socket, sockopt::UdpGroSegment, &true)?;
        }
        println!("listening");
        let mut buffers = vec![vec![0_u8; 1 << 16]; BATCH];
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
        let mut answer = [0_u8; ANSWER];
        let mut received = 0_u64;
        loop {
            self.wait(None)?;
            received += self.take(&mut headers, &mut buffers)?;
            answer[..8].copy_from_slice(&received.to_be_bytes());
            // Before the client is there, or when it is gone, nobody takes it.
            let _ = self.socket.send(&answer);
        }
    }

    /// Takes one batch: its bytes without IP headers.
    fn take(&self, headers: &mut MultiHeaders<()>, buffers: &mut [Vec<u8>]) -> Outcome<u64> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let fd = self.socket.as_raw_fd();
        match recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            Ok(messages) => Ok(messages.map(|message| (message.bytes - self.header) as u64).sum()),
            Err(error) if is_of_peer(error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends for some time within a window, and prints packets acknowledged and seconds.
    fn send(&self, packet: usize, time: Duration) -> Outcome<()> {
        let segments = if self.udp { SEGMENTS.min(65_507 / packet) } else { 1 };
        if self.udp {
            setsockopt(&self.socket, sockopt::UdpGsoSegment, &i32::try_from(packet)?)?;
        }
        let message = vec![b'a'; packet * segments];
        let batch = (BATCH / segments).max(1);
        let slices: Vec<[IoSlice<'_>; 1]> = vec![[IoSlice::new(&message)]; batch];
        let size = message.len() as u64;
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
        let (mut sent, mut answered, mut lost) = (0_u64, 0_u64, 0_u64);
        let begun = Instant::now();
        while begun.elapsed() < time {
            answered = self.answers(answered)?;
            let room = WINDOW.saturating_sub(sent - answered.min(sent) - lost) / size;
            if room == 0 {
                if !self.wait(Some(SILENCE))? {
                    lost = sent - answered;
                }
                continue;
            }
            let count = batch.min(usize::try_from(room)?);
            sent += self.push(&mut headers, &slices[..count])? as u64 * size;
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!("{} {seconds} 0 0", answered / packet as u64);
        Ok(())
    }

    /// Sends one batch: how many messages the kernel took.
    fn push(&self, headers: &mut MultiHeaders<()>, slices: &[[IoSlice<'_>; 1]]) -> Outcome<usize> {
        let fd = self.socket.as_raw_fd();
        let to = [None::<()>; BATCH];
        match sendmmsg(fd, headers, slices, to, [], MsgFlags::MSG_DONTWAIT) {
            Ok(messages) => Ok(messages.count()),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
                poll(&mut fds, SILENCE)?;
                Ok(0)
            }
            Err(error) if is_of_peer(error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The last of the answers that are there.
    fn answers(&self, mut last: u64) -> Outcome<u64> {
        let mut answer = [0_u8; 128];
        self.socket.set_nonblocking(true)?;
        while let Ok(length) = (&self.socket).read(&mut answer) {
            let bytes = answer.get(self.header..length);
            if let Some(number) = bytes.and_then(|bytes| bytes.first_chunk()) {
                last = last.max(u64::from_be_bytes(*number));
            }
        }
        Ok(last)
    }

    /// Waits for something to receive; `false` after so many milliseconds.
    fn wait(&self, milliseconds: Option<u16>) -> Outcome<bool> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let timeout = milliseconds.map_or(nix::poll::PollTimeout::NONE, Into::into);
        Ok(poll(&mut fds, timeout)? > 0)
    }

    /// Sends every packet back.
    fn echo(&self) -> Outcome<()> {
        println!("listening");
        let mut packet = [0_u8; 2048];
        loop {
            let Ok(length) = (&self.socket).read(&mut packet) else { continue };
            // A client that is gone is no fault.
            let _ = self.socket.send(&packet[self.header..length]);
        }
    }

    /// Exchanges packets one at a time: prints their number, seconds, median and 99th percentile in microseconds.
    fn ping(&self, packet: usize, time: Duration) -> Outcome<()> {
        self.socket.set_read_timeout(Some(Duration::from_millis(SILENCE.into())))?;
        let message = vec![b'a'; packet];
        let mut answer = [0_u8; 2048];
        let mut times = Vec::new();
        let begun = Instant::now();
        let mut before = begun;
        while begun.elapsed() < time {
            // What an earlier one met is told here.
            let _ = self.socket.send(&message);
            let answered = (&self.socket).read(&mut answer).is_ok();
            let now = Instant::now();
            if answered {
                times.push((now - before).as_secs_f64() * 1e6);
            }
            before = now;
        }
        times.sort_by(f64::total_cmp);
        let quantile =
            |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0.0);
        let seconds = begun.elapsed().as_secs_f64();
        println!("{} {seconds} {} {}", times.len(), quantile(50), quantile(99));
        Ok(())
    }
}

/// Nothing is there, or the peer is not (any more): ICMP says so of a full receive buffer too.
fn is_of_peer(error: Errno) -> bool {
    matches!(error, Errno::EAGAIN | Errno::ECONNREFUSED | Errno::ENOPROTOOPT | Errno::EPROTO)
}
