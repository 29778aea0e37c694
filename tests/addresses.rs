//! Addresses of real hosts: link-local ones, several of them, and such that come and go.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

#[path = "addresses/shared.rs"]
mod shared;
mod support;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use support::ours::{SOON, once_free, program};
use support::suite::{Outcome, Suite};
use usctp::lab::{Host, Lab, Link, LinkOptions, Prefix};
use usctp::{
    Association, AssociationState, BadLocalAddress, ConnectOptions, Error, Message, Options,
    Socket, Stack,
};
use usctp_chunk::{
    Chunk, ChunkType, CommonHeader, Init, Packet, PacketBuilder, Parameters, Tsn, VerificationTag,
};

fn main() -> ExitCode {
    let mut suite = Suite::enter("addresses");
    for (name, udp) in [("raw", false), ("udp", true)] {
        suite.in_lab(
            format!("two_hosts_with_nothing_but_link_local_addresses_talk_over_{name}"),
            move |lab| link_local_only(lab, udp),
        );
        suite.in_lab(
            format!("the_same_link_local_address_on_two_links_is_two_peers_over_{name}"),
            move |lab| same_on_two_links(lab, udp),
        );
        suite.in_lab(
            format!("an_answer_leaves_from_the_address_that_was_asked_over_{name}"),
            move |lab| asked_address_answers(lab, udp),
        );
        suite.in_lab(
            format!("nothing_leaves_from_an_address_that_is_not_bound_over_{name}"),
            move |lab| only_bound_sources(lab, udp),
        );
    }
    suite.in_lab("a_zone_is_taken_from_the_command_line", zone_on_the_command_line);
    suite.in_lab("a_socket_is_bound_to_more_and_fewer_addresses_while_it_has_associations", bindx);
    suite.in_lab("what_cannot_be_bound_or_unbound_is_said_and_changes_nothing", bindx_errors);
    suite.in_lab("a_socket_bound_to_all_follows_the_addresses_of_its_host", wildcard_follows);
    suite.in_lab("a_path_whose_source_vanished_goes_on_from_another", source_vanishes);
    suite.in_lab("two_stacks_in_one_network_do_not_disturb_each_other", two_stacks);
    shared::add_to(&mut suite);
    suite.run()
}

const PORT: u16 = 5000;

/// Timers that suit a veth pair.
fn options() -> Options {
    let mut options = Options::default();
    options.rto.initial = Duration::from_millis(300);
    options.rto.min = Duration::from_millis(100);
    options.rto.max = Duration::from_secs(1);
    options.retransmission.association_max = 30;
    options
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

fn peer(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), PORT)
}

fn link(near: &Host, far: &Host, name: &str, ends: [&[&str]; 2]) -> Outcome<Link> {
    let prefixes = |end: &[&str]| end.iter().map(|prefix| Ok(prefix.parse()?)).collect();
    let [near_end, far_end]: [Outcome<Vec<Prefix>>; 2] = ends.map(prefixes);
    let options =
        LinkOptions { name: name.into(), near: near_end?, far: far_end?, ..LinkOptions::default() };
    Ok(near.link(far, options)?)
}

/// Runs `ip` in a host.
fn ip(host: &Host, arguments: &'static str) {
    let status =
        host.run(move || Command::new("ip").args(arguments.split_whitespace()).status().unwrap());
    assert!(status.success(), "ip {arguments}");
}

/// A stack with a socket in a host.
struct Side<'a> {
    host: &'a Host,
    // Dropped first: a drop closes, and its packets leave from the host.
    socket: Arc<Socket>,
    stack: Arc<Stack>,
}

impl<'a> Side<'a> {
    fn open(host: &'a Host, udp: bool, port: u16, bound: &[&str]) -> Self {
        Self::open_with(host, udp, port, bound, options())
    }

    fn open_with(host: &'a Host, udp: bool, port: u16, bound: &[&str], options: Options) -> Self {
        let bound = addresses(bound);
        let (stack, socket) = host.run(move || {
            let open = || {
                let builder = Stack::builder().linger(Duration::from_millis(500));
                let builder = if udp { builder.udp(9899) } else { builder.raw() };
                builder.open()
            };
            let stack = once_free(open, Error::is_address_in_use).unwrap();
            let bind = || stack.bind(port, &bound, options.clone());
            let socket = once_free(bind, Error::is_address_in_use).unwrap();
            (Arc::new(stack), Arc::new(socket))
        });
        Self { host, socket, stack }
    }

    /// The same, sending back whatever comes.
    fn echo(host: &'a Host, udp: bool, port: u16, bound: &[&str]) -> Self {
        let side = Self::open(host, udp, port, bound);
        side.socket.listen().unwrap();
        let socket = Arc::downgrade(&side.socket);
        let serve = move || {
            while let Some(socket) = socket.upgrade() {
                match socket.accept_timeout(Duration::from_millis(100)) {
                    Ok(association) => {
                        std::thread::spawn(move || echo(&association));
                    }
                    Err(Error::TimedOut) => {}
                    Err(_) => return,
                }
            }
        };
        host.spawn("echo", serve).unwrap();
        side
    }

    fn connect(&self, peers: &[SocketAddr]) -> Result<Association, Error> {
        let (socket, peers) = (Arc::clone(&self.socket), peers.to_vec());
        self.host
            .run(move || socket.connectx(&peers, ConnectOptions::default())?.wait_timeout(SOON))
    }

    fn bindx_add(&self, address: &str) -> Result<(), Error> {
        let (socket, list) = (Arc::clone(&self.socket), addresses(&[address]));
        // A thread of the host, since the library asks the network of its caller whose address it is.
        self.host.run(move || socket.bindx_add(&list))
    }

    /// Sends a message and waits for its echo.
    fn exchange(&self, association: Association, text: &'static str) -> Outcome<Association> {
        self.host.run(move || {
            association.send(Message::new(0, text))?;
            let echo = association.recv_timeout(SOON)?.expect("the peer does not close");
            assert_eq!(echo.payload, text);
            Ok(association)
        })
    }

    /// Waits until the socket has these addresses.
    fn has_addresses(&self, list: &[&str]) {
        let expected = sorted(addresses(list));
        let end = Instant::now() + SOON;
        loop {
            let now = told(self.socket.addresses());
            if now == expected {
                return;
            }
            assert!(Instant::now() < end, "{now:?} instead of {expected:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn close(self) {
        let Self { host, socket, stack } = self;
        host.run(move || {
            socket.close();
            drop((socket, stack));
        });
    }
}

fn echo(association: &Association) {
    while let Ok(Some(received)) = association.recv() {
        if association.send(Message::new(received.stream.0, received.payload)).is_err() {
            return;
        }
    }
}

/// Without the link-local addresses, which the kernel makes when it likes.
fn told(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let near = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    addresses.retain(|address| !near(address));
    sorted(addresses)
}

fn sorted(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort();
    addresses
}

fn peers_of(association: &Association) -> Vec<IpAddr> {
    sorted(association.paths().iter().map(|path| path.peer).collect())
}

fn drop_in(host: &Host, association: Association) {
    host.run(move || drop(association));
}

/// A link-local address on the link of that name.
fn near_peer(host: &Host, link: &'static str, address: &str) -> SocketAddrV6 {
    let zone = host.run(move || if_nametoindex(link).unwrap());
    SocketAddrV6::new(address.parse().unwrap(), PORT, 0, zone)
}

fn link_local_only(lab: &Lab, udp: bool) -> Outcome<()> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let _link = link(&near, &far, "link1", [&[], &[]])?;
    ip(&near, "address add fe80::1/64 dev link1 nodad");
    ip(&far, "address add fe80::2/64 dev link1 nodad");
    for bound in [[&["fe80::1"][..], &["fe80::2"][..]], [&[], &[]]] {
        let server = Side::echo(&far, udp, PORT, bound[1]);
        let client = Side::open(&near, udp, 0, bound[0]);
        let peer = near_peer(&near, "link1", "fe80::2");
        let association = client.exchange(client.connect(&[peer.into()])?, "across the link")?;
        let paths = association.paths();
        assert_eq!(paths.len(), 1, "{paths:?}");
        assert_eq!((paths[0].peer, paths[0].zone), (IpAddr::V6(*peer.ip()), peer.scope_id()));
        drop_in(&near, association);
        client.close();
        server.close();
    }
    Ok(())
}

fn zone_on_the_command_line(lab: &Lab) -> Outcome<()> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let _link = link(&near, &far, "link1", [&[], &[]])?;
    ip(&near, "address add fe80::1/64 dev link1 nodad");
    ip(&far, "address add fe80::2/64 dev link1 nodad");
    let server = Side::echo(&far, false, PORT, &["fe80::2"]);
    let mut command = Command::new(program());
    command.args(["connect", "--timeout", "15", "--port", "5000", "fe80::2%link1"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = near.start(command)?;
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(b"across\n")?;
    let mut echoed = [0; 7];
    let result = stdout.read_exact(&mut echoed);
    drop(stdin);
    assert!(child.wait()?.success());
    result?;
    assert_eq!(&echoed, b"across\n");
    server.close();
    Ok(())
}

fn same_on_two_links(lab: &Lab, udp: bool) -> Outcome<()> {
    let (near, one, two) = (lab.host("near")?, lab.host("one")?, lab.host("two")?);
    let _links = [link(&near, &one, "link1", [&[], &[]])?, link(&near, &two, "link2", [&[], &[]])?];
    ip(&near, "address add fe80::1/64 dev link1 nodad");
    ip(&near, "address add fe80::1/64 dev link2 nodad");
    ip(&one, "address add fe80::2/64 dev link1 nodad");
    ip(&two, "address add fe80::2/64 dev link2 nodad");
    let servers = [&one, &two].map(|host| Side::echo(host, udp, PORT, &["fe80::2"]));
    let client = Side::open(&near, udp, 0, &["fe80::1"]);
    let peers = ["link1", "link2"].map(|link| near_peer(&near, link, "fe80::2"));
    let first = client.exchange(client.connect(&[peers[0].into()])?, "to the first")?;
    let second = client.exchange(client.connect(&[peers[1].into()])?, "to the second")?;
    // Each server has one of them, and both go on.
    for server in &servers {
        assert_eq!(server.socket.counters().accepted, 1);
    }
    let first = client.exchange(first, "to the first again")?;
    let again = client.connect(&[peers[0].into()]);
    assert!(again.is_err_and(|error| error.is_address_in_use()));
    drop_in(&near, first);
    drop_in(&near, second);
    client.close();
    servers.into_iter().for_each(Side::close);
    Ok(())
}

/// A lone INIT.
fn init(source_port: u16, destination_port: u16) -> Vec<u8> {
    let verification_tag = VerificationTag(0);
    let header = CommonHeader { source_port, destination_port, verification_tag };
    let init = Init {
        initiate_tag: VerificationTag(77),
        a_rwnd: 65_536,
        outbound_streams: 1,
        inbound_streams: 1,
        initial_tsn: Tsn::new(1),
        parameters: Parameters::default(),
    };
    let mut bytes = bytes::BytesMut::new();
    let mut packet = PacketBuilder::new(&mut bytes, header, 1_400);
    assert!(packet.push(&Chunk::Init(init)));
    packet.finish();
    bytes.to_vec()
}

fn first_chunk(packet: &[u8]) -> Option<ChunkType> {
    let packet = bytes::Bytes::copy_from_slice(packet);
    let packet = Packet::parse(&packet).ok()?;
    Some(packet.chunks().next()?.ok()?.kind)
}

/// Asks with an INIT; where the answer came from and what it is. `None` if there is none in time.
fn ask(asked: IpAddr, port: u16, udp: bool, patience: Duration) -> Option<(IpAddr, ChunkType)> {
    let mut buffer = [0; 2048];
    if udp {
        let any = if asked.is_ipv4() { "0.0.0.0:9899" } else { "[::]:9899" };
        let is_in_use = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
        let socket = once_free(|| UdpSocket::bind(any), is_in_use).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.send_to(&init(4000, port), (asked, 9899)).unwrap();
        let (len, source) = socket.recv_from(&mut buffer).ok()?;
        return Some((source.ip(), first_chunk(&buffer[..len])?));
    }
    let socket = RawSocket::new(
        Domain::for_address((asked, 0).into()),
        Type::RAW,
        Some(Protocol::from(132)),
    )
    .unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send_to(&init(4000, port), &SockAddr::from(SocketAddr::new(asked, 0))).unwrap();
    let mut room = [std::mem::MaybeUninit::uninit(); 2048];
    // Looked at first, for the source; then read, for the bytes.
    let (_, source) = socket.peek_from(&mut room).ok()?;
    let len = (&socket).read(&mut buffer).ok()?;
    // An IPv4 header comes along.
    let start = if asked.is_ipv4() { 20 } else { 0 };
    Some((source.as_socket()?.ip(), first_chunk(&buffer[start..len])?))
}

fn asked_address_answers(lab: &Lab, udp: bool) -> Outcome<()> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let theirs = ["10.1.0.2/24", "10.1.0.3/24", "fd01::2/64", "fd01::3/64"];
    let ours = ["10.1.0.1/24", "fd01::1/64"];
    let _link = link(&near, &far, "link1", [&ours, &theirs])?;
    let asked = ["10.1.0.2", "10.1.0.3", "fd01::2", "fd01::3"];
    for bound in [&[][..], &asked[..]] {
        let server = Side::echo(&far, udp, PORT, bound);
        for asked in addresses(&asked) {
            let answer = near.run(move || ask(asked, PORT, udp, SOON));
            assert_eq!(answer, Some((asked, ChunkType::INIT_ACK)), "bound to {bound:?}");
        }
        server.close();
    }
    Ok(())
}

fn only_bound_sources(lab: &Lab, udp: bool) -> Outcome<()> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let theirs = ["10.1.0.2/24", "10.1.0.3/24", "fd01::2/64", "fd01::3/64"];
    let link = link(&near, &far, "link1", [&["10.1.0.1/24", "fd01::1/64"], &theirs])?;
    // Routing alone would choose one and the same of two addresses, whichever is bound.
    for (ours, theirs) in [
        ("10.1.0.1", "10.1.0.2"),
        ("10.1.0.1", "10.1.0.3"),
        ("fd01::1", "fd01::2"),
        ("fd01::1", "fd01::3"),
    ] {
        let server = Side::open(&far, udp, PORT, &[theirs]);
        server.socket.listen()?;
        let client = Side::open(&near, udp, 0, &[ours]);
        late_message(&link, &client, &server, peer(theirs))?;
        client.close();
        server.close();
    }
    Ok(())
}

/// A message whose retransmission times out, which leaves its source to routing.
fn late_message(link: &Link, client: &Side, server: &Side, peer: SocketAddr) -> Outcome<()> {
    let ours = client.connect(&[peer])?;
    let socket = Arc::clone(&server.socket);
    let theirs = server.host.run(move || socket.accept_timeout(SOON))?;
    link.cut()?;
    let theirs = server.host.run(move || {
        theirs.send(Message::new(0, "meanwhile")).unwrap();
        let end = Instant::now() + SOON;
        while theirs.statistics().t3_expiries == 0 {
            assert!(Instant::now() < end, "nothing timed out");
            std::thread::sleep(Duration::from_millis(10));
        }
        theirs
    });
    link.restore()?;
    let ours = client.host.run(move || {
        let received = ours.recv_timeout(SOON).unwrap().unwrap();
        assert_eq!(received.payload, "meanwhile");
        ours
    });
    // What comes from an address that is none of the peer's is counted here.
    for side in [client, server] {
        let counters = side.socket.counters();
        assert_eq!((counters.bad_tag, counters.out_of_the_blue), (0, 0), "{counters:?}");
    }
    drop_in(client.host, ours);
    drop_in(server.host, theirs);
    Ok(())
}

fn bindx(lab: &Lab) -> Outcome<()> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let theirs = ["10.1.0.2/24", "10.1.0.3/24", "10.1.0.4/24"];
    let _link = link(&near, &far, "link1", [&["10.1.0.1/24"], &theirs])?;
    let server = Side::echo(&far, false, PORT, &["10.1.0.2", "10.1.0.3"]);
    let client = Side::open(&near, false, 0, &["10.1.0.1"]);
    let old = client.exchange(client.connect(&[peer("10.1.0.2")])?, "before")?;
    assert_eq!(peers_of(&old), addresses(&["10.1.0.2", "10.1.0.3"]));

    server.bindx_add("10.1.0.4")?;
    server.socket.bindx_remove(&addresses(&["10.1.0.2", "10.1.0.3"]))?;
    assert_eq!(server.socket.addresses(), addresses(&["10.1.0.4"]));

    // The association keeps what it began with, and its packets pass.
    let old = client.exchange(old, "after")?;
    assert_eq!(peers_of(&old), addresses(&["10.1.0.2", "10.1.0.3"]));
    // New ones find the new address only.
    let other = Side::open(&near, false, 0, &["10.1.0.1"]);
    let refused = other.connect(&[peer("10.1.0.2")]);
    assert!(refused.is_err_and(|error| error.is_refused()));
    let new = other.exchange(other.connect(&[peer("10.1.0.4")])?, "new")?;
    assert_eq!(peers_of(&new), addresses(&["10.1.0.4"]));
    // What was unbound can be bound again.
    server.bindx_add("10.1.0.2")?;
    let third = Side::open(&near, false, 0, &["10.1.0.1"]);
    let again = third.exchange(third.connect(&[peer("10.1.0.2")])?, "again")?;
    assert_eq!(peers_of(&again), addresses(&["10.1.0.2", "10.1.0.4"]));
    for association in [old, new, again] {
        drop_in(&near, association);
    }
    [client, other, third, server].into_iter().for_each(Side::close);
    Ok(())
}

fn bindx_errors(lab: &Lab) -> Outcome<()> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let _link = link(&near, &far, "link1", [&["10.1.0.1/24", "10.1.0.5/24"], &["10.1.0.2/24"]])?;
    let side = Side::open(&near, false, 0, &["10.1.0.1"]);
    let socket = Arc::clone(&side.socket);
    near.run(move || {
        let add = |list: &[&str]| why(socket.bindx_add(&addresses(list)));
        let remove = |list: &[&str]| why(socket.bindx_remove(&addresses(list)));
        assert_eq!(add(&["10.1.0.5", "10.1.0.2"]), Some((1, BadLocalAddress::NotLocal)));
        assert_eq!(add(&["10.1.0.5", "10.1.0.1"]), Some((1, BadLocalAddress::AlreadyBound)));
        assert_eq!(add(&["0.0.0.0"]), Some((0, BadLocalAddress::Unspecified)));
        assert_eq!(remove(&["10.1.0.5"]), Some((0, BadLocalAddress::NotBound)));
        assert_eq!(remove(&["10.1.0.1"]), Some((0, BadLocalAddress::Last)));
        assert_eq!(socket.addresses(), addresses(&["10.1.0.1"]), "all or nothing");
        assert_eq!(add(&["10.1.0.5"]), None);
        assert_eq!(remove(&["10.1.0.1", "10.1.0.5"]), Some((1, BadLocalAddress::Last)));
        assert_eq!(remove(&["10.1.0.1"]), None);
        assert_eq!(socket.addresses(), addresses(&["10.1.0.5"]));
    });
    let all = Side::open(&near, false, 0, &[]);
    for result in [
        all.socket.bindx_add(&addresses(&["10.1.0.5"])),
        all.socket.bindx_remove(&addresses(&["10.1.0.5"])),
    ] {
        assert_eq!(why(result), Some((0, BadLocalAddress::BoundToAll)));
    }
    side.close();
    all.close();
    Ok(())
}

fn why(result: Result<(), Error>) -> Option<(usize, BadLocalAddress)> {
    match result {
        Ok(()) => None,
        Err(Error::BadLocalAddress { index, why, .. }) => Some((index, why)),
        Err(error) => panic!("{error}"),
    }
}

fn wildcard_follows(lab: &Lab) -> Outcome<()> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let _link = link(&near, &far, "link1", [&["10.1.0.1/24"], &["10.1.0.2/24", "fd01::2/64"]])?;
    let server = Side::echo(&far, false, PORT, &[]);
    let explicit = Side::echo(&far, false, PORT + 1, &["10.1.0.2"]);
    server.has_addresses(&["10.1.0.2", "fd01::2"]);
    let learned = |expected: &[&str]| -> Outcome<()> {
        let client = Side::open(&near, false, 0, &["10.1.0.1"]);
        let association = client.exchange(client.connect(&[peer("10.1.0.2")])?, "which?")?;
        assert_eq!(peers_of(&association), sorted(addresses(expected)));
        drop_in(&near, association);
        client.close();
        Ok(())
    };
    learned(&["10.1.0.2"])?;
    ip(&far, "address add 10.1.0.9/32 dev link1");
    server.has_addresses(&["10.1.0.2", "10.1.0.9", "fd01::2"]);
    learned(&["10.1.0.2", "10.1.0.9"])?;
    ip(&far, "address del 10.1.0.9/32 dev link1");
    ip(&far, "address del fd01::2/64 dev link1");
    server.has_addresses(&["10.1.0.2"]);
    learned(&["10.1.0.2"])?;
    ip(&far, "link set link1 down");
    server.has_addresses(&["127.0.0.1", "::1"]);
    ip(&far, "link set link1 up");
    server.has_addresses(&["10.1.0.2"]);
    explicit.has_addresses(&["10.1.0.2"]);
    server.close();
    explicit.close();
    Ok(())
}

fn source_vanishes(lab: &Lab) -> Outcome<()> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let _link = link(&near, &far, "link1", [&["10.1.0.1/24", "10.7.0.1/32"], &["10.1.0.2/24"]])?;
    ip(&near, "route add 10.1.0.0/24 dev link1 src 10.7.0.1 metric 100");
    ip(&far, "route add 10.7.0.1/32 dev link1");
    let server = Side::echo(&far, false, PORT, &["10.1.0.2"]);
    // So slow that what follows does not wait for a time-out.
    let mut slow = options();
    (slow.rto.initial, slow.rto.min, slow.rto.max) = (SOON / 2, SOON / 2, SOON);
    let client = Side::open_with(&near, false, 0, &[], slow);
    let association = client.exchange(client.connect(&[peer("10.1.0.2")])?, "before")?;
    ip(&near, "address del 10.1.0.1/24 dev link1");
    client.has_addresses(&["10.7.0.1"]);
    let association = client.exchange(association, "after")?;
    // The peer knows both, so the association has both still.
    assert_eq!(association.statistics().t3_expiries, 0, "it was found out by failing");
    let local = told(association.local_addresses());
    assert_eq!(local, addresses(&["10.1.0.1", "10.7.0.1"]));
    drop_in(&near, association);
    client.close();
    server.close();
    Ok(())
}

fn two_stacks(lab: &Lab) -> Outcome<()> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let ours = ["10.1.0.1/24", "fd01::1/64"];
    let _link = link(&near, &far, "link1", [&ours, &["10.1.0.2/24", "fd01::2/64"]])?;
    let servers = [PORT, PORT + 1].map(|port| Side::echo(&far, false, port, &[]));
    // So slow that an INIT is sent and answered once.
    let mut slow = options();
    (slow.rto.initial, slow.rto.max) = (SOON / 2, SOON);
    let clients = [0, 0].map(|port| Side::open_with(&near, false, port, &[], slow.clone()));
    let mut associations = Vec::new();
    for (index, client) in (0..).zip(&clients) {
        for server in [PORT, PORT + 1] {
            let address = if index == 0 { "10.1.0.2" } else { "fd01::2" };
            let association = client.connect(&[SocketAddr::new(address.parse()?, server)])?;
            associations.push((index, client.exchange(association, "hello")?));
        }
    }
    let answered =
        || servers.iter().map(|s| s.stack.statistics().out_of_the_blue_answered).sum::<u64>();
    assert_eq!(answered(), 0, "each has left the other's packets alone");
    // A port that neither has is refused, once.
    let nobody = SocketAddr::new("10.1.0.2".parse()?, PORT + 2);
    assert!(clients[0].connect(&[nobody]).is_err_and(|error| error.is_refused()));
    assert_eq!(answered(), 1);
    for (index, association) in associations {
        let association = clients[index].exchange(association, "still there")?;
        assert_eq!(association.state(), AssociationState::Established);
        drop_in(&near, association);
    }
    clients.into_iter().chain(servers).for_each(Side::close);
    Ok(())
}
