//! Sockets and devices that are full: nobody waits for them, and other links go on.

#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Type};
use usctp::{Message, Options, Stack};

use self::namespace::{in_namespace, ip};

mod namespace;

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const PORT: u16 = 5001;
/// Behind the link that is slow.
const FAR: [u8; 4] = [10, 9, 0, 2];

/// A link that takes so much a second and keeps all else in its queue, charged to the socket that sent it; false where the
/// kernel has none of that kind.
fn slow_link(rate: &str) -> bool {
    ip("link add left type veth peer name right");
    ip("addr add 10.9.0.1/24 dev left");
    ip("link set left up txqueuelen 100000");
    ip("link set right up");
    ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev left");
    let words = ["qdisc", "add", "dev", "left", "root", "tbf", "rate", rate];
    let more = ["burst", "1600", "limit", "100000000"];
    let shaped = Command::new("tc").args(words).args(more).status();
    let is_there = shaped.is_ok_and(|status| status.success());
    if !is_there {
        println!("SKIPPED: no token bucket filter in this kernel");
    }
    is_there
}

/// Sends to where it is slow until the socket takes no more.
fn fill(socket: &socket2::Socket) {
    let far = SockAddr::from(SocketAddr::from((FAR, 9)));
    let until = Instant::now() + PATIENCE;
    socket.set_nonblocking(true).unwrap();
    while socket.send_to(&[0; 1_400], &far).is_ok() {
        assert!(Instant::now() < until, "it has room without end");
    }
}

#[test]
fn what_one_link_does_not_get_rid_of_holds_up_no_other() {
    in_namespace(|| {
        if !slow_link("8kbit") {
            return;
        }
        let raw = socket2::Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(132))).unwrap();
        let stack = Stack::builder().from_fds([raw.try_clone().unwrap().into()]).open().unwrap();
        let server_stack = Stack::builder().raw().open().unwrap();
        let server = server_stack.bind(PORT, &[SERVER], Options::default()).unwrap();
        server.listen().unwrap();
        let client = stack.bind(0, &[CLIENT], Options::default()).unwrap();
        let mut connecting = client.connect(SocketAddr::new(SERVER, PORT)).unwrap();
        let association = connecting.wait_timeout(PATIENCE).unwrap();
        let echo = server.accept_timeout(PATIENCE).unwrap();
        // What another link keeps of this socket's packets is there for hours.
        fill(&raw);
        for number in 0..200 {
            association.send(Message::new(0, number.to_string())).unwrap();
            let there = echo.recv_timeout(PATIENCE).unwrap().unwrap();
            echo.send(Message::new(0, there.payload)).unwrap();
            let back = association.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(back.payload, number.to_string());
        }
        assert_eq!(association.statistics().t3_expiries, 0);
        assert_eq!(stack.statistics().links.send_drops, 0);
    });
}

#[test]
fn an_init_that_finds_its_socket_full_leaves_when_there_is_room() {
    in_namespace(|| {
        if !slow_link("1mbit") {
            return;
        }
        let udp = socket2::Socket::from(UdpSocket::bind(("0.0.0.0", 0)).unwrap());
        let server_stack = Stack::builder().udp(9899).open().unwrap();
        let server = server_stack.bind(PORT, &[SERVER], Options::default()).unwrap();
        server.listen().unwrap();
        let stack = Stack::builder().from_fds([udp.try_clone().unwrap().into()]).open().unwrap();
        // Three packets, or some 30 ms.
        udp.set_send_buffer_size(4_000).unwrap();
        let mut options = Options::default();
        options.rto.initial = PATIENCE * 2;
        options.rto.max = PATIENCE * 2;
        options.udp_port = Some(9899);
        let client = stack.bind(0, &[CLIENT], options).unwrap();
        fill(&udp);
        let mut connecting = client.connect(SocketAddr::new(SERVER, PORT)).unwrap();
        // Nothing was sent that is sent again so soon.
        connecting.wait_timeout(PATIENCE).unwrap();
        assert_eq!(client.counters().connects.inits_sent, 1);
    });
}
