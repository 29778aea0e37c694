//! The links over real sockets, each test in a network namespace of its own (SKIPPED: without root).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong fails the test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, Socket, Type};
use usctp::capture::Capture;
use usctp::link::{Inbox, LinkError, Links};
use usctp_assoc::{AddressSet, Datagram, Ecn, NoticeKind, PathNotice, Transmit};

use self::namespace::{in_namespace, ip};

mod namespace;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NINTH: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

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
    Transmit {
        source,
        destination,
        udp_port: None,
        zone: 0,
        sources: AddressSet::default(),
        ecn: Ecn::NotEct,
        fragmentable: false,
        len,
    }
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

    /// Receives until `done`, 20 seconds at the longest.
    fn until(&mut self, links: &Links, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "got {} datagrams, {:?}", self.datagrams.len(), self.notices);
            let ready =
                links.wait(&links.waiting(self.never.as_fd()).unwrap(), Some(left)).unwrap();
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
            zone: 0,
            ecn: Ecn::Ect0,
            payload: sent.freeze(),
        };
        assert_eq!(receiver.datagrams, [expected]);
    });
}

#[test]
fn a_raw_ipv6_packet_carries_source_destination_and_ecn() {
    in_namespace(|| {
        ip("addr add fd00::9/128 dev lo nodad");
        let ninth = "fd00::9".parse().unwrap();
        let links = raw(&[5000]);
        let sent = packet(4000, 5000, 100, 7);
        let way = Transmit { ecn: Ecn::Ce, ..transmit(Some(ninth), LOOPBACK_V6, 100) };
        assert_eq!(send_one(&links, &sent, way), []);
        let mut receiver = Receiver::new();
        receiver.until(&links, |receiver| !receiver.datagrams.is_empty());
        let [datagram] = &receiver.datagrams[..] else { panic!("{:?}", receiver.datagrams) };
        assert_eq!((datagram.source, datagram.destination), (ninth, LOOPBACK_V6));
        assert_eq!((datagram.ecn, &datagram.payload[..]), (Ecn::Ce, &sent[..]));
    });
}

#[test]
fn a_source_left_open_is_chosen_by_routing() {
    in_namespace(|| {
        let links = raw(&[5000]);
        assert_eq!(send_one(&links, &packet(4000, 5000, 50, 1), transmit(None, NINTH, 50)), []);
        let mut receiver = Receiver::new();
        receiver.until(&links, |receiver| !receiver.datagrams.is_empty());
        assert_eq!(receiver.datagrams[0].source, LOOPBACK);
        assert_eq!(receiver.datagrams[0].destination, NINTH);
    });
}

#[test]
fn only_the_ports_accepted_are_heard_until_all_are() {
    in_namespace(|| {
        let links = raw(&[5000, 5002]);
        let mut receiver = Receiver::new();
        let send = |links: &Links| {
            for (to, destination) in (4999..5004).flat_map(|to| [(to, LOOPBACK), (to, LOOPBACK_V6)])
            {
                let sent = packet(4000, to, 40, 0);
                assert_eq!(send_one(links, &sent, transmit(None, destination, 40)), []);
            }
        };
        let heard = |receiver: &mut Receiver| {
            let port = |datagram: &Datagram| {
                u16::from_be_bytes([datagram.payload[2], datagram.payload[3]])
            };
            let mut heard: Vec<u16> = receiver.datagrams.drain(..).map(|d| port(&d)).collect();
            heard.sort_unstable();
            heard
        };
        send(&links);
        receiver.until(&links, |receiver| receiver.datagrams.len() == 4);
        assert_eq!(heard(&mut receiver), [5000, 5000, 5002, 5002]);
        links.accept_ports(&[5000], true).unwrap();
        send(&links);
        receiver.until(&links, |receiver| receiver.datagrams.len() == 10);
        assert_eq!(heard(&mut receiver).len(), 10);
        // More ports than are told apart one by one: the range of them is let through.
        let many: Vec<u16> = (5001..5002).chain(10_000..20_000).collect();
        links.accept_ports(&many, false).unwrap();
        send(&links);
        receiver.until(&links, |receiver| receiver.datagrams.len() == 6);
        assert_eq!(heard(&mut receiver), [5001, 5001, 5002, 5002, 5003, 5003]);
        links.accept_ports(&[], false).unwrap();
        send(&links);
        let ready = links
            .wait(&links.waiting(receiver.never.as_fd()).unwrap(), Some(Duration::from_millis(20)))
            .unwrap();
        assert!(!ready.any());
    });
}

#[test]
fn a_long_batch_to_several_hosts_arrives_whole_and_in_order() {
    in_namespace(|| {
        let links = raw(&[5000]);
        let (mut bytes, mut transmits) = (BytesMut::new(), Vec::new());
        for number in 0..200_u8 {
            let len = 12 + usize::from(number) * 17;
            bytes.extend_from_slice(&packet(4000, 5000, len, number));
            let destination = if number % 3 == 0 { LOOPBACK_V6 } else { NINTH };
            transmits.push(transmit(None, destination, len));
        }
        let mut notices = Vec::new();
        links.send(&bytes, &transmits, &mut notices);
        assert_eq!(notices, []);
        let mut receiver = Receiver::new();
        receiver.until(&links, |receiver| receiver.datagrams.len() == 200);
        for (family, rest) in [(true, 3), (false, 3)] {
            let expected = (0..200_u8).filter(|number| (number % rest == 0) == family);
            let got = receiver.datagrams.iter().filter(|d| d.destination.is_ipv6() == family);
            let expected: Vec<_> = expected
                .map(|n| packet(4000, 5000, 12 + usize::from(n) * 17, n).freeze())
                .collect();
            assert_eq!(got.map(|d| d.payload.clone()).collect::<Vec<_>>(), expected);
        }
        let counters = links.counters();
        assert_eq!((counters.sent, counters.received, counters.receive_drops), (200, 200, 0));
    });
}

#[test]
fn packets_of_60_000_bytes_pass_the_loopback_interface() {
    in_namespace(|| {
        let links = raw(&[5000]);
        let mut receiver = Receiver::new();
        // Twice: the first batch overflows the slots, the second finds larger ones.
        for destination in [LOOPBACK, LOOPBACK_V6, LOOPBACK, LOOPBACK_V6] {
            let (mut bytes, mut transmits) = (BytesMut::new(), Vec::new());
            for (mark, len) in (1..).zip([60_000, 65_000, 12, 1_500, 65_496]) {
                bytes.extend_from_slice(&packet(4000, 5000, len, mark));
                transmits.push(transmit(None, destination, len));
            }
            let mut notices = Vec::new();
            links.send(&bytes, &transmits, &mut notices);
            assert_eq!(notices, []);
            receiver.until(&links, |receiver| receiver.datagrams.len() == 5);
            let got: Vec<u8> =
                receiver.datagrams.drain(..).flat_map(|datagram| datagram.payload).collect();
            assert!(got == bytes, "payloads differ");
        }
    });
}

#[test]
fn udp_runs_leave_segmented_and_arrive_one_by_one() {
    in_namespace(|| {
        let (mut ours, mut theirs) = (Links::new(), Links::new());
        let our_port = ours.open_udp(0).unwrap();
        let their_port = theirs.open_udp(0).unwrap();
        for (source, destination) in [(NINTH, LOOPBACK), (LOOPBACK_V6, LOOPBACK_V6)] {
            let (mut bytes, mut transmits) = (BytesMut::new(), Vec::new());
            // A run longer than one message may be, a shorter end of it, and small ones behind.
            let lens = [vec![1_452; 150], vec![700], vec![40; 9]].concat();
            for (mark, len) in (0..).zip(&lens) {
                bytes.extend_from_slice(&packet(4000, 5000, *len, mark));
                transmits.push(Transmit {
                    udp_port: Some(their_port),
                    ecn: Ecn::Ect0,
                    ..transmit(Some(source), destination, *len)
                });
            }
            let mut notices = Vec::new();
            ours.send(&bytes, &transmits, &mut notices);
            assert_eq!(notices, []);
            let mut receiver = Receiver::new();
            receiver.until(&theirs, |receiver| receiver.datagrams.len() == lens.len());
            for datagram in &receiver.datagrams {
                assert_eq!((datagram.source, datagram.destination), (source, destination));
                assert_eq!(
                    (datagram.udp_port, datagram.ecn),
                    (Some(our_port), Ecn::Ect0),
                    "{destination} {}",
                    datagram.payload.len()
                );
            }
            let got: Vec<u8> =
                receiver.datagrams.iter().flat_map(|datagram| datagram.payload.clone()).collect();
            assert!(got == bytes, "payloads differ");
            let got: Vec<usize> = receiver.datagrams.iter().map(|d| d.payload.len()).collect();
            assert_eq!(got, lens);
        }
    });
}

#[test]
fn a_second_socket_on_the_udp_port_is_told_so() {
    in_namespace(|| {
        let (mut first, mut second) = (Links::new(), Links::new());
        let port = first.open_udp(9899).unwrap();
        let result = second.open_udp(port);
        assert!(matches!(result, Err(LinkError::AddressInUse { port: 9899 })), "{result:?}");
    });
}

#[test]
fn what_routing_refuses_comes_back_as_a_notice() {
    in_namespace(|| {
        ip("route add unreachable 198.51.100.1");
        ip("route add prohibit 198.51.100.2");
        ip("route add blackhole 198.51.100.3");
        ip("-6 route add unreachable 2001:db8::1");
        let links = raw(&[4000]);
        for peer in ["198.51.100.1", "198.51.100.2", "198.51.100.3", "203.0.113.1", "2001:db8::1"] {
            let peer = peer.parse().unwrap();
            let notices = send_one(&links, &packet(4000, 5000, 50, 1), transmit(None, peer, 50));
            let [notice] = notices[..] else { panic!("{peer}: {notices:?}") };
            assert_eq!((notice.peer, notice.kind), (peer, NoticeKind::SendFailed));
            assert_eq!((notice.quote.source_port, notice.quote.destination_port), (4000, 5000));
            assert_eq!(notice.quote.verification_tag.0, 0xfeed_f00d);
        }
        let gone = "192.0.2.77".parse().ok();
        let notices = send_one(&links, &packet(4000, 5000, 50, 1), transmit(gone, LOOPBACK, 50));
        assert_eq!(notices[0].kind, NoticeKind::SendFailed, "a source that is no longer ours");
        assert_eq!(links.counters().refused, 6);
    });
}

#[test]
fn a_refused_packet_does_not_hold_up_the_others_of_its_batch() {
    in_namespace(|| {
        let links = raw(&[5000]);
        let nowhere = "203.0.113.1".parse().unwrap();
        let (mut bytes, mut transmits) = (BytesMut::new(), Vec::new());
        for (mark, destination) in (0..).zip([LOOPBACK, nowhere, LOOPBACK, nowhere, LOOPBACK_V6]) {
            bytes.extend_from_slice(&packet(4000, 5000, 30, mark));
            transmits.push(transmit(None, destination, 30));
        }
        let mut notices = Vec::new();
        links.send(&bytes, &transmits, &mut notices);
        assert_eq!(notices.len(), 2);
        let mut receiver = Receiver::new();
        receiver.until(&links, |receiver| receiver.datagrams.len() == 3);
        let mut marks: Vec<u8> = receiver.datagrams.iter().map(|d| d.payload[12]).collect();
        marks.sort_unstable();
        assert_eq!(marks, [0, 2, 4]);
    });
}

#[test]
fn a_packet_too_big_for_the_interface_is_told_its_mtu() {
    in_namespace(|| {
        ip("link set lo mtu 1500");
        let mut links = raw(&[5000]);
        let port = links.open_udp(0).unwrap();
        for destination in [LOOPBACK, LOOPBACK_V6] {
            for udp_port in [None, Some(port)] {
                // Three, so that over UDP they are one message at first.
                let way = Transmit { udp_port, ..transmit(None, destination, 1_501) };
                let mut notices = Vec::new();
                links.send(&packet(4000, 5000, 1_501, 1).repeat(3), &[way; 3], &mut notices);
                let kinds: Vec<NoticeKind> = notices.iter().map(|notice| notice.kind).collect();
                assert_eq!(kinds, [NoticeKind::PacketTooBig { mtu: 1_500 }; 3]);
                // What IP may cut leaves, and the socket forbids cutting again afterwards.
                notices.clear();
                let cut = Transmit { fragmentable: true, ..way };
                links.send(&packet(4000, 5000, 1_501, 1).repeat(2), &[cut, way], &mut notices);
                assert_eq!(notices.len(), 1);
            }
        }
    });
}

#[test]
fn what_ip_may_cut_lets_it_cut_nothing_that_another_thread_sends() {
    in_namespace(|| {
        ip("link set lo mtu 1500");
        let mut links = raw(&[5000]);
        let port = links.open_udp(0).unwrap();
        for udp_port in [None, Some(port)] {
            let way = Transmit { udp_port, ..transmit(None, LOOPBACK, 1_501) };
            let cut = Transmit { fragmentable: true, ..way };
            let (bytes, over) = (packet(4000, 5000, 1_501, 1), AtomicBool::new(false));
            let mut notices = Vec::new();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        links.send(&bytes, &[cut], &mut Vec::new());
                    }
                });
                // Probes for an MTU that the link has not.
                for _ in 0..5_000 {
                    links.send(&bytes, &[way], &mut notices);
                }
                over.store(true, Ordering::Relaxed);
            });
            assert_eq!(notices.len(), 5_000, "{udp_port:?}");
        }
    });
}

/// Joins the namespace of this thread by a veth pair to a router: packets to the networks behind it
/// come back as ICMP errors. The router is the namespace of a second thread, and ends with it.
fn with_router(routes: &'static str, test: impl FnOnce() + Send + 'static) {
    in_namespace(move || {
        let (to_router, from_host) = mpsc::channel::<()>();
        let (to_host, from_router) = mpsc::channel();
        let router = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            // "<process>/task/<thread>"
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            to_host.send(thread.file_name().unwrap().to_str().unwrap().to_owned()).unwrap();
            from_host.recv().unwrap();
            ip("link set lo up");
            ip("addr add 10.9.0.2/24 dev right");
            ip("addr add fd09::2/64 dev right nodad");
            ip("link set right up");
            for (name, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv6/icmp/ratelimit", "0"),
            ] {
                std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
            }
            routes.lines().for_each(ip);
            to_host.send(String::new()).unwrap();
            // Until the host ends, well or not.
            let _ = from_host.recv();
        });
        let thread = from_router.recv().unwrap();
        ip(&format!("link add left type veth peer name right netns {thread}"));
        ip("addr add 10.9.0.1/24 dev left");
        ip("addr add fd09::1/64 dev left nodad");
        ip("link set left up");
        to_router.send(()).unwrap();
        from_router.recv().unwrap();
        ip("route add default via 10.9.0.2");
        ip("-6 route add default via fd09::2");
        test();
        drop(to_router);
        router.join().unwrap();
    });
}

const ROUTES: &str = "route add unreachable 198.51.100.1
    route add prohibit 198.51.100.2
    -6 route add unreachable 2001:db8::1
    -6 route add prohibit 2001:db8::2
    link add narrow mtu 1300 type veth peer name end mtu 1300
    link set end up
    link set narrow up
    addr add 192.0.2.1/24 dev narrow
    addr add 2001:db8:1::1/64 dev narrow nodad
    neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev narrow
    -6 neigh add 2001:db8:1::7 lladdr 02:00:00:00:00:07 dev narrow";

#[test]
fn icmp_errors_about_raw_packets_become_notices() {
    with_router(ROUTES, || {
        let links = raw(&[4000]);
        let too_big = NoticeKind::PacketTooBig { mtu: 1_300 };
        for (peer, kind) in [
            ("198.51.100.1", NoticeKind::Unreachable),
            ("198.51.100.2", NoticeKind::Unreachable),
            ("2001:db8::1", NoticeKind::Unreachable),
            ("2001:db8::2", NoticeKind::Unreachable),
            // The router's own kernel speaks no SCTP, and has no raw socket open.
            ("10.9.0.2", NoticeKind::ProtocolUnreachable),
            ("fd09::2", NoticeKind::ProtocolUnreachable),
            ("192.0.2.7", too_big),
            ("2001:db8:1::7", too_big),
        ] {
            let peer: IpAddr = peer.parse().unwrap();
            let sent = packet(4000, 5000, 1_400, 1);
            assert_eq!(send_one(&links, &sent, transmit(None, peer, 1_400)), [], "{peer}");
            let mut receiver = Receiver::new();
            receiver.until(&links, |receiver| !receiver.notices.is_empty());
            let [notice] = receiver.notices[..] else { panic!("{:?}", receiver.notices) };
            let ours = if peer.is_ipv4() { "10.9.0.1" } else { "fd09::1" };
            assert_eq!((notice.peer, notice.kind), (peer, kind));
            assert_eq!(notice.local, ours.parse().ok());
            assert_eq!((notice.quote.source_port, notice.quote.destination_port), (4000, 5000));
            assert_eq!(notice.quote.verification_tag.0, 0xfeed_f00d);
        }
    });
}

#[test]
fn icmp_errors_about_encapsulated_packets_become_notices_and_do_not_disturb_others() {
    with_router(ROUTES, || {
        let mut links = Links::new();
        let port = links.open_udp(9899).unwrap();
        let too_big = NoticeKind::PacketTooBig { mtu: 1_300 };
        for (peer, ours, kind) in [
            ("198.51.100.1", "10.9.0.1", NoticeKind::Unreachable),
            ("2001:db8::1", "fd09::1", NoticeKind::Unreachable),
            ("10.9.0.2", "10.9.0.1", NoticeKind::PortUnreachable),
            ("fd09::2", "fd09::1", NoticeKind::PortUnreachable),
            ("127.0.0.1", "127.0.0.1", NoticeKind::PortUnreachable),
            ("::1", "::1", NoticeKind::PortUnreachable),
            ("192.0.2.7", "10.9.0.1", too_big),
            ("2001:db8:1::7", "fd09::1", too_big),
        ] {
            let (peer, ours): (IpAddr, IpAddr) = (peer.parse().unwrap(), ours.parse().unwrap());
            let way = |destination, udp_port| Transmit {
                udp_port: Some(udp_port),
                ..transmit(None, destination, 1_400)
            };
            let sent = packet(4000, 5000, 1_400, 1);
            assert_eq!(send_one(&links, &sent, way(peer, 7)), [], "{peer}");
            // Give the answer time to become the pending error of the socket.
            links
                .wait(
                    &links.waiting(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()).unwrap(),
                    None,
                )
                .unwrap();
            let own = if ours.is_ipv4() { LOOPBACK } else { LOOPBACK_V6 };
            assert_eq!(send_one(&links, &sent, way(own, port)), [], "{peer}: a later packet");
            let mut receiver = Receiver::new();
            receiver.until(&links, |receiver| {
                !receiver.notices.is_empty() && !receiver.datagrams.is_empty()
            });
            let [notice] = receiver.notices[..] else { panic!("{:?}", receiver.notices) };
            assert_eq!((notice.peer, notice.local, notice.kind), (peer, Some(ours), kind));
            assert_eq!((notice.quote.source_port, notice.quote.destination_port), (4000, 5000));
            assert_eq!(notice.quote.verification_tag.0, 0xfeed_f00d);
        }
    });
}

/// A raw socket that someone privileged opens for us.
fn raw_socket(domain: Domain, protocol: i32) -> OwnedFd {
    Socket::new(domain, Type::from(libc::SOCK_RAW), Some(Protocol::from(protocol))).unwrap().into()
}

#[test]
fn sockets_opened_elsewhere_serve_like_our_own() {
    with_router(ROUTES, || {
        let udp = UdpSocket::bind("0.0.0.0:9899").unwrap();
        let links = Links::from_fds([
            raw_socket(Domain::IPV4, 1),
            raw_socket(Domain::IPV6, 132),
            udp.into(),
            raw_socket(Domain::IPV4, 132),
        ])
        .unwrap();
        links.accept_ports(&[5000], false).unwrap();
        assert_eq!(links.udp_port(), Some(9899));
        assert!(links.carries(LOOPBACK, false) && links.carries(LOOPBACK_V6, false));
        assert!(links.carries(LOOPBACK, true) && !links.carries(LOOPBACK_V6, true));
        let refused: IpAddr = "198.51.100.1".parse().unwrap();
        let encapsulated = Transmit { udp_port: Some(9899), ..transmit(None, NINTH, 40) };
        for way in [
            encapsulated,
            transmit(Some(NINTH), LOOPBACK, 40),
            transmit(None, LOOPBACK_V6, 40),
            transmit(None, refused, 40),
        ] {
            assert_eq!(send_one(&links, &packet(4000, 5000, 40, 1), way), []);
        }
        let mut receiver = Receiver::new();
        receiver
            .until(&links, |receiver| receiver.datagrams.len() == 3 && receiver.notices.len() == 1);
        assert_eq!(receiver.notices[0].peer, refused);
        // What is not open is no route.
        let way = Transmit { udp_port: Some(9899), ..transmit(None, LOOPBACK_V6, 40) };
        let notices = send_one(&links, &packet(4000, 5000, 40, 1), way);
        assert_eq!(notices[0].kind, NoticeKind::SendFailed);
    });
}

#[test]
fn a_socket_that_no_link_can_use_is_named_by_its_place() {
    in_namespace(|| {
        let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
        let stream = OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let elsewhere = || {
            let (sender, receiver) = mpsc::channel();
            in_namespace(move || sender.send(raw_socket(Domain::IPV4, 132)).unwrap());
            receiver.recv().unwrap()
        };
        for (fds, at) in [
            (vec![udp(), stream], 1),
            (vec![file], 0),
            (vec![udp(), udp()], 1),
            (vec![raw_socket(Domain::IPV4, 132), elsewhere()], 1),
            ((0..3).map(|_| raw_socket(Domain::IPV4, 132)).collect(), 2),
            (vec![raw_socket(Domain::IPV4, 17)], 0),
            (vec![udp(), OwnedFd::from(UdpSocket::bind("[::]:0").unwrap())], 1),
            (vec![Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap().into()], 0),
        ] {
            let result = Links::from_fds(fds);
            assert!(
                matches!(result, Err(LinkError::UnsuitableSocket { index }) if index == at),
                "{result:?}"
            );
        }
    });
}

#[test]
fn several_threads_send_while_one_receives() {
    in_namespace(|| {
        let links = raw(&[5000]);
        const PACKETS: u8 = 250;
        std::thread::scope(|scope| {
            for sender in 0..3_u16 {
                let links = &links;
                scope.spawn(move || {
                    for mark in 0..PACKETS {
                        let sent = packet(sender, 5000, 500, mark);
                        let notices = send_one(links, &sent, transmit(None, LOOPBACK, 500));
                        assert_eq!(notices, []);
                    }
                });
            }
            let mut receiver = Receiver::new();
            let all = 3 * usize::from(PACKETS);
            receiver.until(&links, |receiver| receiver.datagrams.len() == all);
            for sender in 0..3_u8 {
                let of_one = receiver.datagrams.iter().filter(|d| d.payload[1] == sender);
                assert!(of_one.map(|d| d.payload[12]).eq(0..PACKETS), "sender {sender}");
            }
        });
    });
}

#[test]
fn a_capture_shows_what_was_sent_and_what_arrived() {
    if Command::new("tshark").arg("-v").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED: tshark is not installed");
        return;
    }
    in_namespace(|| {
        let path = std::env::temp_dir().join(format!("usctp-links-{}.pcapng", std::process::id()));
        let mut links = raw(&[5000]);
        let port = links.open_udp(9899).unwrap();
        links.capture_to(Capture::create(&path).unwrap());
        let mut receiver = Receiver::new();
        for (number, way) in (1..).zip([
            transmit(Some(NINTH), LOOPBACK, 40),
            Transmit { udp_port: Some(port), ..transmit(None, LOOPBACK_V6, 40) },
        ]) {
            assert_eq!(send_one(&links, &packet(4000, 5000, 40, 1), way), []);
            receiver.until(&links, |receiver| receiver.datagrams.len() == number);
        }
        drop(links);
        let fields =
            ["frame.packet_flags_direction", "ip.src", "ipv6.src", "udp.srcport", "sctp.dstport"];
        let output = Command::new("tshark")
            .arg("-r")
            .arg(&path)
            .args(["-T", "fields", "-E", "separator=,"])
            .args(fields.into_iter().flat_map(|field| ["-e", field]))
            .stderr(Stdio::null())
            .output()
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        let expected = "0x00000002,127.0.0.9,,,5000\n0x00000001,127.0.0.9,,,5000\n\
                        0x00000002,,::1,9899,5000\n0x00000001,,::1,9899,5000\n";
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    });
}

#[test]
fn a_wake_up_ends_the_wait_and_a_time_out_too() {
    in_namespace(|| {
        let links = raw(&[5000]);
        let (wake, waker) = std::os::unix::net::UnixStream::pair().unwrap();
        let waiting = links.waiting(wake.as_fd()).unwrap();
        let ready = links.wait(&waiting, Some(Duration::from_micros(10))).unwrap();
        assert!(!ready.woken && !ready.any());
        drop(waker);
        let ready = links.wait(&waiting, None).unwrap();
        assert!(ready.woken && !ready.any());
    });
}

#[test]
fn a_full_socket_is_waited_for_within_bounds_and_then_drops_as_a_network_does() {
    in_namespace(|| {
        // A link whose other end takes nothing: packets stay in the queue, and charged to the socket.
        ip("link add left type veth peer name right");
        ip("addr add 10.9.0.1/24 dev left");
        ip("link set left up txqueuelen 100000");
        ip("link set right up");
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev left");
        let shaped = "qdisc add dev left root tbf rate 8kbit burst 1600 limit 100000000";
        if !Command::new("tc").args(shaped.split(' ')).status().is_ok_and(|status| status.success())
        {
            println!("SKIPPED: no token bucket filter in this kernel");
            return;
        }
        let links = raw(&[5000]);
        let bytes = packet(4000, 5000, 1_400, 0).repeat(10_000);
        let transmits = vec![transmit(None, "10.9.0.2".parse().unwrap(), 1_400); 10_000];
        let (mut notices, start) = (Vec::new(), Instant::now());
        links.send(&bytes, &transmits, &mut notices);
        // The queue would be empty after 4 hours.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert_eq!(notices, []);
        let counters = links.counters();
        assert_eq!(counters.sent + counters.send_drops, 10_000);
        assert!(counters.send_drops > 0 && counters.sent > 0, "{counters:?}");
    });
}

#[test]
fn what_a_full_receive_buffer_has_no_room_for_is_counted_and_the_sender_is_told_nothing() {
    in_namespace(|| {
        let links = raw(&[5000]);
        let room = links.buffers().unwrap().receive;
        // More than twice of what there is room for.
        let count = 2 * room / 60_000 + 10;
        let bytes = packet(4000, 5000, 60_000, 1);
        for _ in 0..count {
            assert_eq!(send_one(&links, &bytes, transmit(None, LOOPBACK, 60_000)), []);
        }
        let counters = links.counters();
        assert!(counters.receive_drops > 0, "{counters:?}");
        let mut receiver = Receiver::new();
        let arrived = count - usize::try_from(counters.receive_drops).unwrap();
        receiver.until(&links, |receiver| receiver.datagrams.len() == arrived);
        // "Protocol unreachable" would have come before the packets were read.
        assert_eq!(receiver.notices, []);
    });
}

/// Fills the receive buffer; whether the sender is told that nobody there speaks SCTP.
fn is_told_when_full(raws: usize, forbids: bool) -> bool {
    let (sender, receiver) = mpsc::channel();
    in_namespace(move || {
        let raws = (0..raws).map(|_| raw_socket(Domain::IPV4, 132));
        let fds: Vec<_> = raws.chain([raw_socket(Domain::IPV4, 1)]).collect();
        if forbids {
            without_net_raw();
        }
        let links = Links::from_fds(fds).unwrap();
        links.accept_ports(&[5000], false).unwrap();
        let room = links.buffers().unwrap().receive;
        let bytes = packet(4000, 5000, 60_000, 1);
        let count = 2 * room / 60_000 + 10;
        for _ in 0..count {
            assert_eq!(send_one(&links, &bytes, transmit(None, LOOPBACK, 60_000)), []);
        }
        let drops = usize::try_from(links.counters().receive_drops).unwrap();
        assert!(drops > 0);
        let mut receiver = Receiver::new();
        receiver.until(&links, |receiver| receiver.datagrams.len() == count - drops);
        // INITs are heard, whether they have a socket of their own or not.
        let mut init = packet(4000, 5000, 40, 1);
        init[4..8].fill(0);
        send_one(&links, &init, transmit(None, LOOPBACK, 40));
        receiver.until(&links, |receiver| receiver.datagrams.len() > count - drops);
        assert_eq!(receiver.datagrams[count - drops].payload, init);
        sender.send(!receiver.notices.is_empty()).unwrap();
    });
    receiver.recv().unwrap()
}

/// Takes the right to open raw sockets from this thread alone.
#[expect(unsafe_code, reason = "libraries change the user of the whole process")]
fn without_net_raw() {
    const NOBODY: libc::uid_t = 65_534;
    // SAFETY: the call takes numbers only, and nothing here depends on whose this thread is.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    assert_eq!(result, 0);
    assert!(Socket::new(Domain::IPV4, Type::from(libc::SOCK_RAW), Some(132.into())).is_err());
}

#[test]
fn a_second_raw_socket_opened_elsewhere_keeps_the_kernel_from_telling_peers_that_nobody_is_there() {
    assert!(!is_told_when_full(2, true));
    // Else this would test nothing.
    assert!(is_told_when_full(1, true), "the kernel tells no peer anything");
}

#[test]
fn beside_a_raw_socket_opened_elsewhere_a_second_one_is_opened_by_who_may() {
    assert!(!is_told_when_full(1, false));
}

#[test]
fn a_socket_that_is_always_ready_and_gives_nothing_is_left_alone_and_the_others_are_served() {
    in_namespace(|| {
        for (nth, how) in (0..).zip([Shutdown::Read, Shutdown::Both]) {
            let port = 9899 + nth;
            let v4 = UdpSocket::bind((LOOPBACK, port)).unwrap();
            let v6 = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
            v6.set_only_v6(true).unwrap();
            v6.bind(&std::net::SocketAddr::new(LOOPBACK_V6, port).into()).unwrap();
            // Whoever else has the socket may do this. It counts, whatever the call says.
            let other = Socket::from(v4.try_clone().unwrap());
            let links = Links::from_fds([v4.into(), v6.into()]).unwrap();
            let _ = other.shutdown(how);
            let mut receiver = Receiver::new();
            let waiting = links.waiting(receiver.never.as_fd()).unwrap();
            let (mut rounds, end) = (0, Instant::now() + Duration::from_millis(500));
            while Instant::now() < end {
                let left = end.saturating_duration_since(Instant::now());
                let ready = links.wait(&waiting, Some(left)).unwrap();
                let Receiver { inbox, datagrams, notices, .. } = &mut receiver;
                links.receive(inbox, ready, datagrams, notices);
                rounds += 1;
            }
            assert!((10..200).contains(&rounds), "{rounds} rounds in half a second");
            let way = Transmit { udp_port: Some(port), ..transmit(None, LOOPBACK_V6, 40) };
            assert_eq!(send_one(&links, &packet(4000, 5000, 40, 1), way), []);
            let ready = links.wait(&waiting, Some(Duration::from_secs(20))).unwrap();
            let Receiver { inbox, datagrams, notices, .. } = &mut receiver;
            links.receive(inbox, ready, datagrams, notices);
            assert_eq!(datagrams.len(), 1);
        }
    });
}

#[test]
fn the_least_of_the_receive_buffers_is_told() {
    in_namespace(|| {
        let mut fds = Vec::new();
        for address in ["127.0.0.1:9899", "[::1]:9899"] {
            let address: std::net::SocketAddr = address.parse().unwrap();
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
            if address.is_ipv6() {
                socket.set_only_v6(true).unwrap();
            }
            socket.bind(&address.into()).unwrap();
            fds.push(OwnedFd::from(socket));
        }
        let smaller = Socket::from(fds[1].try_clone().unwrap());
        let links = Links::from_fds(fds).unwrap();
        let before = links.buffers().unwrap();
        smaller.set_recv_buffer_size(64 << 10).unwrap();
        let after = links.buffers().unwrap();
        assert_eq!((after.receive, after.send), (64 << 10, before.send));
        assert!(before.receive > after.receive, "{before:?}");
        assert_eq!(Links::new().buffers(), None);
    });
}

#[test]
fn a_packet_to_everybody_is_nobodys() {
    in_namespace(|| {
        let links = raw(&[5000]);
        let foreign = Socket::from(raw_socket(Domain::IPV4, 132));
        foreign.set_broadcast(true).unwrap();
        // The first is a broadcast on the loopback network, and arrives before the second.
        for (mark, to) in [(1, [127, 255, 255, 255]), (2, [127, 0, 0, 1])] {
            let to = std::net::SocketAddr::from((to, 0));
            foreign.send_to(&packet(4000, 5000, 40, mark), &to.into()).unwrap();
        }
        let mut receiver = Receiver::new();
        receiver.until(&links, |receiver| !receiver.datagrams.is_empty());
        assert_eq!(receiver.datagrams[0].payload[12], 2);
        assert_eq!(links.counters().malformed, 1);
    });
}
