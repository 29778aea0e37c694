//! A host with two addresses in one subnet, over real sockets: answers leave from the address that was asked.

#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use usctp::link::{Inbox, Links, Waiting};
use usctp::{AssociationId, AssociationState, ConnectOptions, Message, Options, Stack};
use usctp_assoc::{Config, Datagram, Endpoint, PathNotice, Transmit};
use usctp_chunk::{ChunkType, Packet};

use self::namespace::in_namespace;

mod namespace;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ASKED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 61));
/// What routing chooses.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 62));
const PORT: u16 = 5000;
const PATIENCE: Duration = Duration::from_secs(20);
/// The server takes what it sent for lost within that.
const RTO: Duration = Duration::from_millis(100);

/// A peer that sees where each packet came from.
struct Client {
    endpoint: Endpoint,
    links: Links,
    waiting: Waiting,
    _never: UdpSocket,
    inbox: Inbox,
    /// Where packets came from, and their first chunk.
    heard: Vec<(IpAddr, ChunkType)>,
}

impl Client {
    fn new(udp: Option<u16>) -> Self {
        let mut links = Links::new();
        match udp {
            Some(_) => drop(links.open_udp(0).unwrap()),
            None => links.open_raw().unwrap(),
        }
        links.accept_ports(&[PORT + 1], false).unwrap();
        let mut options = Options::default();
        options.udp_port = udp;
        let config = Config::new(options).unwrap();
        let endpoint = Endpoint::new(config, PORT + 1, vec![CLIENT], [7; 32], Instant::now());
        let never = UdpSocket::bind("127.0.0.1:0").unwrap();
        let waiting = links.waiting(never.as_fd()).unwrap();
        Self { endpoint, links, waiting, _never: never, inbox: Inbox::new(), heard: Vec::new() }
    }

    fn connect(&mut self, peer: IpAddr, port: u16) -> AssociationId {
        let peer = SocketAddr::new(peer, port);
        self.endpoint.connectx(Instant::now(), &[peer], ConnectOptions::default()).unwrap()
    }

    fn state(&self, id: AssociationId) -> AssociationState {
        self.endpoint.view(id).unwrap().state()
    }

    /// Sends what is to be sent.
    fn send(&mut self) {
        let (mut bytes, mut transmits) = (BytesMut::new(), Vec::new());
        while let Some(transmit) = self.endpoint.poll_transmit(Instant::now(), &mut bytes) {
            transmits.push(Transmit { source: Some(CLIENT), ..transmit });
        }
        self.links.send(&bytes, &transmits, &mut Vec::new());
        while self.endpoint.poll_event().is_some() {}
    }

    /// Goes on until `done`.
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        self.send();
        while !done(self) {
            assert!(Instant::now() < end, "it heard {:?}", self.heard);
            let (mut datagrams, mut notices): (Vec<Datagram>, Vec<PathNotice>) = <_>::default();
            let ready = self.links.wait(&self.waiting, Some(Duration::from_millis(10))).unwrap();
            self.links.receive(&mut self.inbox, ready, &mut datagrams, &mut notices);
            for datagram in datagrams {
                let packet = Packet::parse(&datagram.payload).unwrap();
                let first = packet.chunks().next().unwrap().unwrap().kind;
                self.heard.push((datagram.source, first));
                self.endpoint.handle_datagram(Instant::now(), datagram);
            }
            self.endpoint.handle_timeout(Instant::now());
            self.send();
        }
    }

    /// Until it has heard this chunk so often; where from at last.
    fn hears(&mut self, kind: ChunkType, count: usize) -> IpAddr {
        let of_kind = |client: &Self| -> Vec<IpAddr> {
            let all = client.heard.iter().filter(|(_, first)| *first == kind);
            all.map(|(source, _)| *source).collect()
        };
        self.until(|client| of_kind(client).len() >= count);
        *of_kind(self).last().unwrap()
    }
}

fn server(udp: bool) -> Stack {
    let builder = if udp { Stack::builder().udp(0) } else { Stack::builder().raw() };
    builder.open().unwrap()
}

fn answers_leave_from_where_they_were_asked(udp: bool) {
    let stack = server(udp);
    let mut options = Options::default();
    (options.rto.min, options.rto.initial) = (RTO, RTO);
    let socket = stack.bind(PORT, &[OTHER, ASKED], options).unwrap();
    socket.listen().unwrap();
    let mut client = Client::new(stack.udp_port());
    let id = client.connect(ASKED, PORT);
    client.until(|client| client.state(id) == AssociationState::Established);
    let association = socket.accept_timeout(PATIENCE).unwrap();
    assert!(client.heard.iter().all(|(source, _)| *source == ASKED), "{:?}", client.heard);

    client.heard.clear();
    for asked in [OTHER, ASKED] {
        let own = client.endpoint.association(id).unwrap();
        own.request_heartbeat(Instant::now(), asked).unwrap();
        client.until(|client| client.heard.contains(&(asked, ChunkType::HEARTBEAT_ACK)));
    }
    association.send(Message::new(0, "heard late")).unwrap();
    // The server takes the way for lost, and tries the other address.
    std::thread::sleep(5 * RTO);
    client.hears(ChunkType::DATA, 2);
    client.heard.clear();
    let own = client.endpoint.association(id).unwrap();
    own.send(Instant::now(), Message::new(0, "to the one that was asked")).unwrap();
    assert_eq!(client.hears(ChunkType::SACK, 1), ASKED);
    client.heard.clear();
    association.send(Message::new(0, "an answer")).unwrap();
    assert_eq!(client.hears(ChunkType::DATA, 1), ASKED);

    if !udp {
        // To the server this client is another program with SCTP, and strangers over raw IP may be for that.
        return;
    }
    client.heard.clear();
    let refused = client.connect(ASKED, PORT + 7);
    client.until(|client| client.state(refused) == AssociationState::Closed);
    assert_eq!(client.heard, [(ASKED, ChunkType::ABORT)]);
}

#[test]
fn over_udp_answers_leave_from_the_address_that_was_asked() {
    in_namespace(|| answers_leave_from_where_they_were_asked(true));
}

#[test]
fn over_raw_ip_answers_leave_from_the_address_that_was_asked() {
    in_namespace(|| answers_leave_from_where_they_were_asked(false));
}
