//! The links over real sockets, each test in a network namespace of its own (SKIPPED: without root).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use nix::sched::{CloneFlags, unshare};
use usctp::link::{Inbox, LinkError, Links};
use usctp_assoc::{Datagram, Ecn, NoticeKind, PathNotice, Transmit};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NINTH: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Runs a test in a fresh network namespace with its loopback interface up. A namespace belongs to the thread,
/// so tests do not meet each other.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            println!("SKIPPED: a network namespace needs root");
            return;
        }
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// An SCTP packet as far as the links look at it: ports, tag, checksum field, then bytes that tell it apart.
fn packet(from: u16, to: u16, len: usize, mark: u8) -> BytesMut {
    let mut packet = BytesMut::with_capacity(len);
    packet.put_u16(from);
    packet.put_u16(to);
    packet.put_u32(0xfeed_f00d);
    packet.put_u32(0);
    packet.resize(len, mark);
    packet
}

fn transmit(source: Option<IpAddr>, destination: IpAddr, len: usize) -> Transmit {
    Transmit { source, destination, udp_port: None, ecn: Ecn::NotEct, len }
}

/// Two ends of a pipe to wait with; nobody writes to it.
struct Receiver {
    inbox: Inbox,
    never: UdpSocket,
    datagrams: Vec<Datagram>,
    notices: Vec<PathNotice>,
}

impl Receiver {
    fn new() -> Self {
        let never = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self { inbox: Inbox::new(), never, datagrams: Vec::new(), notices: Vec::new() }
    }

    /// Receives until `done`, 5 seconds at the longest.
    fn until(&mut self, links: &Links, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(5);
        while !done(self) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "got {} datagrams, {:?}", self.datagrams.len(), self.notices);
            let ready = links.wait(self.never.as_fd(), Some(left)).unwrap();
            links.receive(&mut self.inbox, ready, &mut self.datagrams, &mut self.notices);
        }
    }
}

fn raw(ports: &[u16]) -> Links {
    let mut links = Links::new();
    links.open_raw().unwrap();
    links.accept_ports(ports, false).unwrap();
    links
}

fn send_one(links: &Links, packet: &[u8], transmit: Transmit) -> Vec<PathNotice> {
    let mut notices = Vec::new();
    links.send(packet, &[transmit], &mut notices);
    notices
}

#[test]
fn a_raw_ipv4_packet_leaves_from_the_source_chosen_and_shows_its_destination() {
    in_namespace(|| {
        let links = raw(&[5000]);
        let sent = packet(4000, 5000, 100, 7);
        let way = Transmit { ecn: Ecn::Ect0, ..transmit(Some(NINTH), LOOPBACK, 100) };
        assert_eq!(send_one(&links, &sent, way), []);
        let mut receiver = Receiver::new();
        receiver.until(&links, |receiver| !receiver.datagrams.is_empty());
        let expected = Datagram {
            source: NINTH,
            destination: LOOPBACK,
            udp_port: None,
            ecn: Ecn::Ect0,
            payload: sent.freeze(),
        };
        assert_eq!(receiver.datagrams, [expected]);
    });
}
