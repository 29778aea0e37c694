//! Addresses that this host has too: two hosts, of which each answers itself what it sends to an address of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use usctp_assoc::{
    AddressChange, AssociationId, AssociationState, Config, ConnectOptions, Datagram, Endpoint,
    Event, IgnoredReason, LostReason, Message, MovedOn, PathState, PrimaryReason, RemovedReason,
    Transmit, out_of_the_blue,
};
use usctp_chunk::{Chunk, CommonHeader, Heartbeat, PacketBuilder, VerificationTag};

use crate::world::{ms, secs};

/// What docker0 has on every host.
const BRIDGE: &str = "172.17.0.1";

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// One side of an association: a host, and which of its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    host: usize,
    port: u16,
}

#[derive(Default)]
struct Host {
    addresses: Vec<IpAddr>,
    endpoints: Vec<Endpoint>,
}

/// Hosts that reach each other by every address that the sender has not itself.
struct Hosts {
    hosts: Vec<Host>,
    now: Instant,
    began: Instant,
    events: Vec<(Side, AssociationId, Event)>,
    /// Where the packets of each host went.
    sent: Vec<(usize, Transmit, Bytes)>,
    /// Packets to an address that it does not have the host at this place answers.
    stray: Option<usize>,
}

impl Hosts {
    fn new(hosts: &[&[&str]]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "some time to begin at")]
        let now = Instant::now();
        let host = |addresses: &&[&str]| Host {
            addresses: addresses.iter().map(|address| ip(address)).collect(),
            ..Host::default()
        };
        let hosts = hosts.iter().map(host).collect();
        Self { hosts, now, began: now, events: Vec::new(), sent: Vec::new(), stray: None }
    }

    /// A new endpoint, or one in the place of that with the same port; bound to all addresses of its host unless to others.
    fn bind(&mut self, host: usize, port: u16, bound: &[&str]) -> Side {
        let Host { addresses, endpoints } = &mut self.hosts[host];
        let bound = match bound {
            [] => addresses.clone(),
            bound => bound.iter().map(|address| ip(address)).collect(),
        };
        endpoints.retain(|endpoint| endpoint.port() != port);
        let seed = u8::try_from(self.sent.len() % 256).unwrap() ^ u8::try_from(host).unwrap();
        let config = Config::default();
        let mut endpoint = Endpoint::new(config, port, bound, [seed ^ port as u8; 32], self.now);
        endpoint.set_host_addresses(addresses.iter().map(|address| (*address, 0)));
        endpoint.listen(true);
        endpoints.push(endpoint);
        Side { host, port }
    }

    /// A host gets an address, as when docker starts.
    fn gain(&mut self, host: usize, address: &str) {
        let Host { addresses, endpoints } = &mut self.hosts[host];
        addresses.push(ip(address));
        for endpoint in endpoints {
            endpoint.set_host_addresses(addresses.iter().map(|address| (*address, 0)));
        }
        self.run();
    }

    fn at(&mut self, side: Side) -> &mut Endpoint {
        let endpoints = &mut self.hosts[side.host].endpoints;
        endpoints.iter_mut().find(|endpoint| endpoint.port() == side.port).unwrap()
    }

    fn connect(&mut self, from: Side, to: Side, listed: &[&str]) -> AssociationId {
        let peers: Vec<SocketAddr> =
            listed.iter().map(|address| SocketAddr::new(ip(address), to.port)).collect();
        let now = self.now;
        let id = self.at(from).connectx(now, &peers, ConnectOptions::default()).unwrap();
        self.run();
        id
    }

    fn send(&mut self, from: Side, id: AssociationId, message: &'static str) {
        let now = self.now;
        self.at(from).association(id).unwrap().send(now, Message::new(0, message)).unwrap();
        self.run();
    }

    fn recv(&mut self, side: Side, id: AssociationId) -> Option<Bytes> {
        Some(self.at(side).recv(id)?.0.payload)
    }

    /// Carries packets until nobody has any.
    fn run(&mut self) {
        let mut bytes = BytesMut::new();
        while let Some((host, transmit)) = self.next_packet(&mut bytes) {
            self.carry(host, transmit, bytes.split().freeze());
        }
        for host in 0..self.hosts.len() {
            for endpoint in &mut self.hosts[host].endpoints {
                let side = Side { host, port: endpoint.port() };
                while let Some((id, event)) = endpoint.poll_event() {
                    self.events.push((side, id, event));
                }
            }
        }
    }

    fn next_packet(&mut self, bytes: &mut BytesMut) -> Option<(usize, Transmit)> {
        self.hosts.iter_mut().enumerate().find_map(|(number, host)| {
            host.endpoints.iter_mut().find_map(|endpoint| {
                let mut transmit = endpoint.poll_transmit(self.now, bytes)?;
                // As routing chooses: the address itself where it is the host's own.
                let set = endpoint.address_set(transmit.sources);
                let own = set.contains(&transmit.destination).then_some(transmit.destination);
                transmit.source = transmit.source.or(own).or_else(|| set.first().copied());
                Some((number, transmit))
            })
        })
    }

    fn carry(&mut self, host: usize, transmit: Transmit, payload: Bytes) {
        self.sent.push((host, transmit, payload.clone()));
        let (source, destination) = (transmit.source.unwrap(), transmit.destination);
        let has = |host: &usize| self.hosts[*host].addresses.contains(&destination);
        let other = || (0..self.hosts.len()).find(|other| other != &host && has(other));
        let Some(to) = Some(host).filter(has).or_else(other).or(self.stray) else { return };
        let datagram =
            Datagram { source, destination, udp_port: None, zone: 0, ecn: transmit.ecn, payload };
        let port = u16::from_be_bytes([datagram.payload[2], datagram.payload[3]]);
        let mut endpoints = self.hosts[to].endpoints.iter_mut();
        if let Some(endpoint) = endpoints.find(|endpoint| endpoint.port() == port) {
            return endpoint.handle_datagram(self.now, datagram);
        }
        let mut answer = BytesMut::new();
        if let Some(transmit) = out_of_the_blue(&datagram, &mut answer) {
            self.carry(to, transmit, answer.freeze());
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let endpoints = self.hosts.iter_mut().flat_map(|host| &mut host.endpoints);
            let next = endpoints.filter_map(Endpoint::poll_timeout).min();
            self.now = next.map_or(end, |next| next.clamp(self.now, end));
            for host in &mut self.hosts {
                let now = self.now;
                host.endpoints.iter_mut().for_each(|endpoint| endpoint.handle_timeout(now));
            }
            self.run();
            if self.now == end {
                return;
            }
        }
    }

    fn state(&mut self, side: Side, id: AssociationId) -> AssociationState {
        self.at(side).view(id).unwrap().state()
    }

    fn newest(&mut self, side: Side) -> AssociationId {
        self.at(side).associations().max().unwrap()
    }

    fn paths(&mut self, side: Side, id: AssociationId) -> Vec<(IpAddr, PathState)> {
        self.at(side).view(id).unwrap().paths().map(|path| (path.peer, path.state)).collect()
    }

    /// What one side was told of an address of its peer.
    fn told(&self, side: Side, address: &str) -> Vec<AddressChange> {
        let of = |event: &Event| match event {
            Event::PeerAddressChange { peer, change } if *peer == ip(address) => Some(*change),
            _ => None,
        };
        let own = self.events.iter().filter(|(told, ..)| *told == side);
        own.filter_map(|(.., event)| of(event)).collect()
    }

    /// An established association of two sides, found to hold for as long as two rounds of HEARTBEATs take.
    fn assert_lasts(&mut self, one: Side, id: AssociationId, other: Side) {
        let theirs = self.newest(other);
        for (side, id) in [(one, id), (other, theirs)] {
            assert_eq!(self.state(side, id), AssociationState::Established, "{:?}", self.events);
        }
        self.run_for(secs(90));
        self.send(one, id, "there");
        assert_eq!(self.recv(other, theirs).as_deref(), Some(&b"there"[..]), "{:?}", self.events);
        self.send(other, theirs, "back");
        assert_eq!(self.recv(one, id).as_deref(), Some(&b"back"[..]), "{:?}", self.events);
    }

    /// No packet of the host came back to it.
    fn assert_nothing_came_back(&self, host: usize) {
        let back = |(from, transmit, _): &&(usize, Transmit, Bytes)| {
            *from == host && self.hosts[host].addresses.contains(&transmit.destination)
        };
        assert_eq!(self.sent.iter().filter(back).count(), 0, "host {host}: {:?}", self.sent);
    }
}

const IGNORED: AddressChange = AddressChange::Ignored(IgnoredReason::OwnAddress);
const REMOVED: AddressChange = AddressChange::Removed(RemovedReason::OwnAddress);

#[test]
fn two_hosts_with_the_same_bridge_address_keep_their_association() {
    for (ours, theirs) in [(5001, 5000), (5000, 5000)] {
        let mut hosts = Hosts::new(&[&["10.0.0.1", BRIDGE], &["10.0.0.2", BRIDGE]]);
        let (a, z) = (hosts.bind(0, ours, &[]), hosts.bind(1, theirs, &[]));
        let id = hosts.connect(a, z, &["10.0.0.2"]);
        hosts.assert_lasts(a, id, z);
        assert_eq!(hosts.told(a, BRIDGE), [IGNORED], "the client is told once, and why");
        assert_eq!(hosts.told(z, BRIDGE), [IGNORED], "and so is the server");
        assert_eq!(hosts.paths(a, id), [(ip("10.0.0.2"), PathState::Active)]);
        (0..2).for_each(|host| hosts.assert_nothing_came_back(host));
    }
}

#[test]
fn an_address_that_the_host_has_and_the_endpoint_has_not_is_no_path_either() {
    let mut hosts = Hosts::new(&[&["10.0.0.1", BRIDGE], &["10.0.0.2", BRIDGE]]);
    let (a, z) = (hosts.bind(0, 5001, &[]), hosts.bind(1, 5000, &["10.0.0.2"]));
    let id = hosts.connect(a, z, &["10.0.0.2"]);
    hosts.assert_lasts(a, id, z);
    assert_eq!(hosts.told(z, BRIDGE), [IGNORED]);
    hosts.assert_nothing_came_back(1);
}

#[test]
fn two_endpoints_on_one_host_reach_each_other_by_every_address_of_it() {
    for listed in ["127.0.0.1", "10.0.0.1", BRIDGE] {
        let mut hosts = Hosts::new(&[&["10.0.0.1", BRIDGE, "127.0.0.1"]]);
        let (a, z) = (hosts.bind(0, 5001, &[]), hosts.bind(0, 5000, &[]));
        let id = hosts.connect(a, z, &[listed]);
        let theirs = hosts.newest(z);
        hosts.assert_lasts(a, id, z);
        for (side, id) in [(a, id), (z, theirs)] {
            let paths = hosts.paths(side, id);
            assert!(paths.len() >= 2, "{listed}: {paths:?}");
            assert!(paths.iter().all(|(_, state)| *state == PathState::Active), "{paths:?}");
        }
        assert!(!hosts.at(a).has_sent_astray(&sent(listed, listed, 5001, 5000)));
        // Of one that has not answered yet nobody knows where it is.
        let nobody = [SocketAddr::new(ip(listed), 5002)];
        let now = hosts.now;
        hosts.at(a).connectx(now, &nobody, ConnectOptions::default()).unwrap();
        assert!(!hosts.at(a).has_sent_astray(&sent(listed, listed, 5001, 5002)));
        assert!(hosts.at(a).has_sent_astray(&sent(listed, listed, 5001, 5003)));
    }
}

/// A packet between two ports, of which nothing is read but these.
fn sent(source: &str, destination: &str, from: u16, to: u16) -> Datagram {
    Datagram {
        source: ip(source),
        destination: ip(destination),
        udp_port: None,
        zone: 0,
        ecn: usctp_assoc::Ecn::NotEct,
        payload: [from.to_be_bytes(), to.to_be_bytes()].concat().into(),
    }
}

#[test]
fn a_peer_that_restarts_and_lists_the_shared_address_again_is_answered() {
    let mut hosts = Hosts::new(&[&["10.0.0.1", BRIDGE], &["10.0.0.2", BRIDGE]]);
    let (a, z) = (hosts.bind(0, 5001, &[]), hosts.bind(1, 5000, &[]));
    hosts.connect(a, z, &["10.0.0.2"]);
    let theirs = hosts.newest(z);
    let a = hosts.bind(0, 5001, &[]);
    let id = hosts.connect(a, z, &["10.0.0.2"]);
    assert_eq!(hosts.newest(z), theirs, "it is the same association, which restarted");
    assert!(hosts.events.contains(&(z, theirs, Event::Restart)), "{:?}", hosts.events);
    hosts.assert_lasts(a, id, z);
    hosts.assert_nothing_came_back(1);
}

#[test]
fn inits_that_cross_leave_the_shared_address_out_too() {
    let mut hosts = Hosts::new(&[&["10.0.0.1", BRIDGE], &["10.0.0.2", BRIDGE]]);
    let (a, z) = (hosts.bind(0, 5000, &[]), hosts.bind(1, 5000, &[]));
    let now = hosts.now;
    let peer = SocketAddr::new(ip("10.0.0.1"), 5000);
    hosts.at(z).connectx(now, &[peer], ConnectOptions::default()).unwrap();
    let id = hosts.connect(a, z, &["10.0.0.2"]);
    hosts.assert_lasts(a, id, z);
    (0..2).for_each(|host| hosts.assert_nothing_came_back(host));
}

#[test]
fn a_path_to_an_address_that_this_host_gets_later_ends_and_nothing_is_lost_with_it() {
    let mut hosts = Hosts::new(&[&["10.0.0.1", "10.9.0.1"], &["10.0.0.2", BRIDGE]]);
    let (a, z) = (hosts.bind(0, 5001, &[]), hosts.bind(1, 5000, &[]));
    let id = hosts.connect(a, z, &[BRIDGE, "10.0.0.2"]);
    let theirs = hosts.newest(z);
    hosts.run_for(secs(5));
    // What is on its way is lost with the path.
    let now = hosts.now;
    hosts.at(a).association(id).unwrap().send(now, Message::new(0, "lost")).unwrap();
    while hosts.at(a).poll_transmit(now, &mut BytesMut::new()).is_some() {}
    let sent = hosts.sent.len();
    hosts.gain(0, BRIDGE);
    assert_eq!(hosts.told(a, BRIDGE).last(), Some(&REMOVED));
    let primary = AddressChange::Primary(PrimaryReason::Removed);
    assert_eq!(hosts.told(a, "10.0.0.2").last(), Some(&primary));
    assert_eq!(hosts.paths(a, id), [(ip("10.0.0.2"), PathState::Active)]);
    assert!(hosts.at(a).view(id).unwrap().paths().all(|path| path.primary));
    assert_eq!(hosts.recv(z, theirs).as_deref(), Some(&b"lost"[..]), "it is sent again at once");
    hosts.assert_lasts(a, id, z);
    let later = hosts.sent.split_off(sent);
    hosts.sent = later;
    hosts.assert_nothing_came_back(0);
}

#[test]
fn an_association_ends_with_a_reason_when_its_last_path_becomes_this_hosts_own() {
    for way in 0..3 {
        let mut hosts = Hosts::new(&[&["10.0.0.1"], &[BRIDGE]]);
        let (a, z) = (hosts.bind(0, 5001, &[]), hosts.bind(1, 5000, &[]));
        let id = hosts.connect(a, z, &[BRIDGE]);
        assert_eq!(hosts.state(a, id), AssociationState::Established);
        match way {
            0 => hosts.at(a).add_host_addresses([(ip(BRIDGE), 0)]),
            1 => hosts.at(a).set_addresses([ip("10.0.0.1"), ip(BRIDGE)]),
            _ => assert!(hosts.at(a).add_address(ip(BRIDGE))),
        }
        hosts.run();
        assert_eq!(hosts.state(a, id), AssociationState::Closed);
        let lost = Event::CommLost(LostReason::OwnAddress { peer: ip(BRIDGE) });
        assert_eq!(hosts.events.last(), Some(&(a, id, lost)));
    }
}

#[test]
fn a_shared_address_that_the_caller_lists_is_left_for_the_next_and_dropped() {
    let mut hosts = Hosts::new(&[&["10.0.0.1", BRIDGE], &["10.0.0.2", BRIDGE]]);
    let (a, z) = (hosts.bind(0, 5001, &["10.0.0.1"]), hosts.bind(1, 5000, &[]));
    let id = hosts.connect(a, z, &[BRIDGE, "10.0.0.2"]);
    let moved = Event::MovedOn { peer: ip(BRIDGE), reason: MovedOn::Refused };
    assert!(hosts.events.contains(&(a, id, moved)), "our own host refused: {:?}", hosts.events);
    assert_eq!(hosts.told(a, BRIDGE), [REMOVED]);
    hosts.assert_lasts(a, id, z);

    // Alone, it is the address of whoever is on this host: nobody.
    let id = hosts.connect(a, Side { host: 0, port: 5002 }, &[BRIDGE]);
    assert_eq!(hosts.state(a, id), AssociationState::Closed);
    let refused = LostReason::Refused { peer: ip(BRIDGE), cause: None, no_sctp: false };
    assert_eq!(hosts.events.last(), Some(&(a, id, Event::CommLost(refused))));
}

#[test]
fn a_peer_elsewhere_that_lists_an_address_of_this_host_is_not_the_peer_on_this_host() {
    let mut hosts = Hosts::new(&[&["10.0.0.1", BRIDGE], &["10.0.0.2", BRIDGE]]);
    let z = hosts.bind(0, 5000, &[]);
    let (near, far) = (hosts.bind(0, 5001, &[BRIDGE]), hosts.bind(1, 5001, &[]));
    let id = hosts.connect(near, z, &[BRIDGE]);
    hosts.assert_lasts(near, id, z);
    let other = hosts.connect(far, z, &["10.0.0.1"]);
    hosts.assert_lasts(far, other, z);
    assert_eq!(hosts.state(near, id), AssociationState::Established);
}

#[test]
fn a_third_host_that_has_an_unconfirmed_address_of_the_peer_cannot_end_the_association() {
    let mut hosts = Hosts::new(&[&["10.0.0.1"], &["10.0.0.2", "10.1.0.1"], &["10.1.0.1"]]);
    let (a, z) = (hosts.bind(0, 5001, &[]), hosts.bind(1, 5000, &[]));
    // On our network the address belongs to somebody else.
    hosts.hosts[1].addresses.pop();
    hosts.run_for(ms(1));
    let id = hosts.connect(a, z, &["10.0.0.2"]);
    hosts.assert_lasts(a, id, z);
    let answered = hosts.sent.iter().filter(|(from, ..)| *from == 2).count();
    assert!(answered > 0, "the third host answers HEARTBEATs with ABORT");
    let elapsed = hosts.now - hosts.began;
    assert_eq!(hosts.paths(a, id), [(ip("10.0.0.2"), PathState::Active)], "after {elapsed:?}");
    let disowned = AddressChange::Removed(RemovedReason::Disowned);
    assert_eq!(hosts.told(a, "10.1.0.1"), [AddressChange::Unconfirmed, disowned]);
}

#[test]
fn a_packet_of_ours_for_a_peer_elsewhere_that_comes_back_to_us_is_not_answered() {
    // A raw socket hears what this host sends to itself; both ends have the same port, so that it seems to be for us.
    let mut hosts = Hosts::new(&[&["10.0.0.1"], &["10.0.0.2", BRIDGE]]);
    let (a, z) = (hosts.bind(0, 5000, &[]), hosts.bind(1, 5000, &[]));
    let id = hosts.connect(a, z, &["10.0.0.2", BRIDGE]);
    hosts.run_for(secs(1));
    let packet = |source_port| {
        let verification_tag = VerificationTag(0x0bad_cafe);
        let header = CommonHeader { source_port, destination_port: 5000, verification_tag };
        let mut bytes = BytesMut::new();
        let mut builder = PacketBuilder::new(&mut bytes, header, 1_000);
        assert!(builder.push(&Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"where?")))));
        builder.finish();
        bytes.freeze()
    };
    let answered = |hosts: &mut Hosts, source: &str, destination: &str, payload: Bytes| {
        let (source, destination) = (ip(source), ip(destination));
        let datagram = Datagram {
            source,
            destination,
            udp_port: None,
            zone: 0,
            ecn: usctp_assoc::Ecn::NotEct,
            payload,
        };
        let now = hosts.now;
        hosts.at(a).handle_datagram(now, datagram);
        hosts.at(a).poll_transmit(now, &mut BytesMut::new()).is_some()
    };
    assert_eq!(hosts.state(a, id), AssociationState::Established);
    assert!(!answered(&mut hosts, "10.0.0.1", BRIDGE, packet(5000)));
    // What another host or another port sends is out of the blue.
    assert!(answered(&mut hosts, "10.0.0.9", "10.0.0.1", packet(5000)));
    assert!(answered(&mut hosts, "10.0.0.1", BRIDGE, packet(5001)));
}
