//! Local addresses that come and go, and addresses that mean something on one link only: two endpoints, packets carried by hand.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use usctp_assoc::{
    AssociationId, AssociationState, Config, ConnectError, ConnectOptions, Datagram, Endpoint,
    Message, Transmit,
};
use usctp_chunk::{
    Chunk, ChunkType, CommonHeader, Init, Packet, PacketBuilder, Parameter, Tsn, VerificationTag,
};

const OURS: u16 = 5001;
const THEIRS: u16 = 5000;
/// The number that our interface has here and the peer's has there: they need not agree.
const ZONES: [u32; 2] = [3, 8];

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn link_local(host: u16) -> IpAddr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host).into()
}

fn in_zone(host: u16, zone: u32) -> SocketAddr {
    SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host), THEIRS, 0, zone).into()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Two hosts on one link.
struct Link {
    ends: [Endpoint; 2],
    /// What a packet without a source leaves from, as routing would choose.
    routed: [IpAddr; 2],
    now: Instant,
    /// All packets, with the end that sent each.
    sent: Vec<(usize, Transmit, Bytes)>,
}

impl Link {
    fn new(ours: &[&str], theirs: &[&str]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "some time to begin at")]
        let now = Instant::now();
        let end = |port, seed, addresses: &[&str]| {
            let addresses = addresses.iter().map(|address| ip(address)).collect();
            Endpoint::new(Config::default(), port, addresses, [seed; 32], now)
        };
        let mut link = Self {
            ends: [end(OURS, 1, ours), end(THEIRS, 2, theirs)],
            routed: [ip(ours[0]), ip(theirs[0])],
            now,
            sent: Vec::new(),
        };
        link.ends[1].listen(true);
        link
    }

    fn connect(&mut self, peer: SocketAddr) -> Result<AssociationId, ConnectError> {
        let id = self.ends[0].connectx(self.now, &[peer], ConnectOptions::default())?;
        self.run();
        Ok(id)
    }

    /// Carries packets until nobody has any.
    fn run(&mut self) {
        let mut bytes = BytesMut::new();
        while let Some((from, transmit)) =
            (0..2).find_map(|end| Some((end, self.ends[end].poll_transmit(self.now, &mut bytes)?)))
        {
            let payload = bytes.split().freeze();
            self.sent.push((from, transmit, payload.clone()));
            let source = transmit.source.unwrap_or(self.routed[from]);
            let destination = transmit.destination;
            let near = is_link_local(source) || is_link_local(destination);
            assert_eq!(transmit.zone, if near { ZONES[from] } else { 0 }, "{transmit:?}");
            let zone = if near { ZONES[1 - from] } else { 0 };
            let datagram =
                Datagram { source, destination, udp_port: None, zone, ecn: transmit.ecn, payload };
            self.ends[1 - from].handle_datagram(self.now, datagram);
        }
        while (0..2).any(|end| self.ends[end].poll_event().is_some()) {}
    }

    fn state(&self, id: AssociationId) -> AssociationState {
        self.ends[0].view(id).unwrap().state()
    }

    fn newest(&self) -> AssociationId {
        self.ends[1].associations().max().unwrap()
    }

    /// The addresses that the latest INIT or INIT ACK of one side listed.
    fn listed(&self, end: usize) -> Vec<IpAddr> {
        let inits =
            self.sent.iter().rev().filter(|(from, ..)| *from == end).filter_map(|(.., bytes)| {
                let packet = Packet::parse(bytes).unwrap();
                match packet.chunks().next()?.ok()?.decode().ok()? {
                    Chunk::Init(init) | Chunk::InitAck(init) => Some(init),
                    _ => None,
                }
            });
        let init = inits.into_iter().next().unwrap();
        init.parameters.iter().filter_map(|parameter| parameter.ok()?.ip()).collect()
    }
}

#[test]
fn an_association_keeps_the_local_addresses_it_began_with() {
    let mut link = Link::new(&["10.0.0.1"], &["10.0.0.2", "10.0.0.3"]);
    let peer: SocketAddr = "10.0.0.2:5000".parse().unwrap();
    let id = link.connect(peer).unwrap();
    assert_eq!(link.state(id), AssociationState::Established);
    let theirs = link.newest();
    let server = &mut link.ends[1];
    assert!(server.add_address(ip("10.0.0.4")) && !server.add_address(ip("10.0.0.4")));
    assert!(server.remove_address(ip("10.0.0.3")) && !server.remove_address(ip("10.0.0.3")));
    assert_eq!(server.addresses(), [ip("10.0.0.2"), ip("10.0.0.4")]);
    assert_eq!(server.addresses_of(theirs).unwrap(), [ip("10.0.0.2"), ip("10.0.0.3")]);

    // The host loses the address it was reached at: what is left is a choice among those that the peer knows.
    server.address_lost(ip("10.0.0.2"));
    server.association(theirs).unwrap().send(link.now, Message::new(0, "hello")).unwrap();
    link.routed[1] = ip("10.0.0.3");
    let before = link.sent.len();
    link.run();
    let (_, data, _) = link.sent[before..].iter().find(|(from, ..)| *from == 1).unwrap();
    assert_eq!(data.source, None);
    assert_eq!(link.ends[1].address_set(data.sources), [ip("10.0.0.2"), ip("10.0.0.3")]);
    // A restart of the peer is told of those of now, and so is the association from then on.
    link.ends[0] = Endpoint::new(Config::default(), OURS, vec![ip("10.0.0.1")], [9; 32], link.now);
    let id = link.connect(peer).unwrap();
    assert_eq!(link.state(id), AssociationState::Established);
    assert_eq!(link.listed(1), [ip("10.0.0.2"), ip("10.0.0.4")]);
    assert_eq!(link.ends[1].addresses_of(theirs).unwrap(), [ip("10.0.0.2"), ip("10.0.0.4")]);
}

#[test]
fn an_unlisted_address_is_told_to_a_peer_that_asks_it_and_to_all_if_there_is_no_other() {
    let told = |asked: &str, unlisted: &[&str]| {
        let mut link = Link::new(&["10.0.0.1"], &["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        link.ends[1].set_unlisted(unlisted.iter().map(|address| ip(address)));
        assert_eq!(link.ends[1].unlisted().len(), unlisted.len());
        let id = link.connect(format!("{asked}:5000").parse().unwrap()).unwrap();
        assert_eq!(link.state(id), AssociationState::Established);
        link.listed(1)
    };
    let all = ["10.0.0.2", "10.0.0.3", "10.0.0.4"].map(ip);
    assert_eq!(told("10.0.0.2", &["10.0.0.3"]), [all[0], all[2]]);
    assert_eq!(told("10.0.0.3", &["10.0.0.3"]), all);
    assert_eq!(told("10.0.0.2", &["10.0.0.2", "10.0.0.3", "10.0.0.4"]), [all[0]]);

    let mut link = Link::new(&["10.0.0.1", "10.0.0.5"], &["10.0.0.2"]);
    for (unlisted, listed) in [(&["10.0.0.5"][..], 1), (&["10.0.0.1", "10.0.0.5"], 2)] {
        link.ends[0].set_unlisted(unlisted.iter().map(|address| ip(address)));
        let id = link.connect("10.0.0.2:5000".parse().unwrap()).unwrap();
        assert_eq!(link.listed(0).len(), listed, "all of them if there are no others");
        link.ends[0].release(link.now, id);
        link.run();
    }
}

#[test]
fn an_init_to_an_address_that_was_unbound_is_refused() {
    let mut link = Link::new(&["10.0.0.1"], &["10.0.0.2", "10.0.0.3"]);
    assert!(link.ends[1].remove_address(ip("10.0.0.3")));
    assert!(!link.ends[1].remove_address(ip("10.0.0.2")), "the last one stays");
    let id = link.connect("10.0.0.3:5000".parse().unwrap()).unwrap();
    assert_eq!(link.state(id), AssociationState::Closed);
    let (_, transmit, bytes) = link.sent.last().unwrap();
    let packet = Packet::parse(bytes).unwrap();
    assert_eq!(transmit.source, Some(ip("10.0.0.3")), "from the address that was asked");
    assert_eq!(packet.chunks().next().unwrap().unwrap().kind, ChunkType::ABORT);
    assert!(link.ends[1].add_address(ip("10.0.0.3")));
    let id = link.connect("10.0.0.3:5000".parse().unwrap()).unwrap();
    assert_eq!(link.state(id), AssociationState::Established);
}

#[test]
fn link_local_addresses_are_used_by_zone_and_told_to_nobody() {
    let mut link = Link::new(&["fe80::1", "10.0.0.1"], &["fe80::2", "10.0.0.2"]);
    let no_zone = link.connect(in_zone(2, 0)).unwrap_err();
    assert_eq!(no_zone, ConnectError::LinkLocalNoScope { index: 0, address: link_local(2) });
    let id = link.connect(in_zone(2, ZONES[0])).unwrap();
    assert_eq!(link.state(id), AssociationState::Established);
    // A neighbour is told of the other address, which the packets do not show.
    assert_eq!((link.listed(0), link.listed(1)), (vec![ip("10.0.0.1")], vec![ip("10.0.0.2")]));
    let paths = |end: &Endpoint, id| -> Vec<_> {
        end.view(id).unwrap().paths().map(|path| (path.peer, path.zone)).collect()
    };
    assert_eq!(paths(&link.ends[0], id), [(link_local(2), ZONES[0]), (ip("10.0.0.2"), 0)]);
    let theirs = link.newest();
    assert_eq!(paths(&link.ends[1], theirs), [(link_local(1), ZONES[1]), (ip("10.0.0.1"), 0)]);
}

#[test]
fn the_same_link_local_address_in_two_zones_is_two_peers() {
    let mut link = Link::new(&["fe80::1"], &["fe80::2"]);
    let id = link.connect(in_zone(2, ZONES[0])).unwrap();
    let again = link.connect(in_zone(2, ZONES[0]));
    assert!(matches!(again, Err(ConnectError::InUse { association, .. }) if association == id));
    let other = link.ends[0].connectx(link.now, &[in_zone(2, 99)], ConnectOptions::default());
    let other = other.unwrap();
    let mut init = BytesMut::new();
    let transmit = link.ends[0].poll_transmit(link.now, &mut init).unwrap();
    assert_eq!((transmit.destination, transmit.zone), (link_local(2), 99));
    // What comes from the first peer's link is not the second peer's, and nothing from there is the first one's.
    let theirs = link.newest();
    let server = &mut link.ends[1];
    server.association(theirs).unwrap().send(link.now, Message::new(0, "hello")).unwrap();
    let mut data = BytesMut::new();
    let transmit = server.poll_transmit(link.now, &mut data).unwrap();
    for (zone, messages) in [(99, 0), (ZONES[0], 1)] {
        let datagram = Datagram {
            source: link_local(2),
            destination: link_local(1),
            udp_port: None,
            zone,
            ecn: transmit.ecn,
            payload: data.clone().freeze(),
        };
        link.ends[0].handle_datagram(link.now, datagram);
        let received = link.ends[0].association(id).unwrap().recv(link.now).map_or(0, |_| 1);
        assert_eq!(received, messages, "zone {zone}");
    }
    assert_eq!(link.ends[0].counters().bad_tag, 1);
    assert_eq!(link.state(other), AssociationState::CookieWait);
}

/// What one end answers to an INIT from an address of the other, in which others are listed.
fn answer_to_init(
    link: &mut Link,
    (source, zone): (IpAddr, u32),
    listed: &[&str],
) -> (Transmit, ChunkType) {
    let init = Init {
        initiate_tag: VerificationTag(77),
        a_rwnd: 100_000,
        outbound_streams: 10,
        inbound_streams: 10,
        initial_tsn: Tsn::new(1),
        parameters: listed.iter().map(|address| Parameter::from_ip(ip(address))).collect(),
    };
    let header = CommonHeader {
        source_port: THEIRS,
        destination_port: OURS,
        verification_tag: VerificationTag::ZERO,
    };
    let mut bytes = BytesMut::new();
    let mut packet = PacketBuilder::new(&mut bytes, header, 1_400);
    assert!(packet.push(&Chunk::Init(init)));
    packet.finish();
    let destination = if is_link_local(source) { link_local(1) } else { ip("10.0.0.1") };
    let (ecn, payload) = (usctp_assoc::Ecn::NotEct, bytes.freeze());
    let datagram = Datagram { source, destination, udp_port: None, zone, ecn, payload };
    let end = &mut link.ends[0];
    while end.poll_transmit(link.now, &mut BytesMut::new()).is_some() {}
    end.handle_datagram(link.now, datagram);
    let mut out = BytesMut::new();
    let transmit = end.poll_transmit(link.now, &mut out).expect("it is answered");
    let out = out.freeze();
    let answer = Packet::parse(&out).unwrap();
    let kind = answer.chunks().next().unwrap().unwrap().kind;
    (transmit, kind)
}

#[test]
fn only_to_a_neighbour_that_restarts_is_a_link_local_address_one_of_ipv6() {
    let global = "2001:db8::2";
    // From afar an address of IPv6 is of no use, as ours of that family do not reach it.
    let mut link = Link::new(&["10.0.0.1", "fe80::1"], &["10.0.0.2", "fe80::2"]);
    link.connect(SocketAddr::new(ip("10.0.0.2"), THEIRS)).unwrap();
    let (_, kind) = answer_to_init(&mut link, (ip("10.0.0.2"), 0), &["10.0.0.2", global]);
    assert_eq!(kind, ChunkType::INIT_ACK);
    // RFC 9260, 5.2.2: from the same link it is a new one.
    let mut link = Link::new(&["fe80::1", "10.0.0.1"], &["fe80::2", "10.0.0.2"]);
    link.connect(in_zone(2, ZONES[0])).unwrap();
    let (_, kind) = answer_to_init(&mut link, (link_local(2), ZONES[0]), &["10.0.0.2", global]);
    assert_eq!(kind, ChunkType::ABORT);
}

#[test]
fn an_init_from_the_link_that_crosses_ours_is_answered_where_ours_went_in_no_zone() {
    let mut link = Link::new(&["fe80::1", "10.0.0.1"], &["fe80::2", "10.0.0.2"]);
    let peer = SocketAddr::new(ip("10.0.0.2"), THEIRS);
    link.ends[0].connectx(link.now, &[peer], ConnectOptions::default()).unwrap();
    let (transmit, kind) = answer_to_init(&mut link, (link_local(2), ZONES[0]), &["10.0.0.2"]);
    assert_eq!((kind, transmit.destination, transmit.zone), (ChunkType::INIT_ACK, peer.ip(), 0));
}
