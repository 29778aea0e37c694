//! Messages and events in the order in which they came: of one association, and of all that a socket has.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong fails the test")]

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use usctp::{
    Arrival, Association, AssociationId, Error, Event, Item, Message, Options, Socket, Stack,
};
use usctp_assoc::{Config, Datagram, Ecn, Endpoint};

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The SCTP ports of a server and of its first client.
const PORT: u16 = 7;
const CLIENT: u16 = 5000;

fn listen() -> (Stack, Socket) {
    let stack = Stack::builder().udp(0).open().unwrap();
    let socket = stack.bind(PORT, &[LOCAL], Options::default()).unwrap();
    socket.listen().unwrap();
    (stack, socket)
}

/// A host that can crash: a protocol without memory beyond itself, behind a UDP socket.
struct Host {
    udp: UdpSocket,
    server: u16,
    endpoint: Endpoint,
    id: AssociationId,
}

impl Host {
    fn connect(udp: UdpSocket, server: u16, life: u8) -> Self {
        let mut options = Options::default();
        options.udp_port = Some(server);
        let (config, now) = (Config::new(options).unwrap(), Instant::now());
        let mut endpoint = Endpoint::new(config, CLIENT, vec![LOCAL], [life; 32], now);
        let peers = [SocketAddr::new(LOCAL, PORT)];
        let id = endpoint.connectx(now, &peers, usctp::ConnectOptions::default()).unwrap();
        let mut host = Self { udp, server, endpoint, id };
        host.run_until(|event| matches!(event, Event::CommUp { .. }));
        host
    }

    /// Sends a message, and has it acknowledged.
    fn send(&mut self, payload: &'static str) {
        let association = self.endpoint.association(self.id).unwrap();
        let mut message = Message::new(0, payload);
        message.immediate = true;
        association.send(Instant::now(), message).unwrap();
        self.run_until(|event| *event == Event::SenderDry);
    }

    /// Ends without a word.
    fn crash(self) -> UdpSocket {
        self.udp
    }

    fn run_until(&mut self, fits: impl Fn(&Event) -> bool) {
        let until = Instant::now() + PATIENCE;
        self.udp.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        loop {
            assert!(Instant::now() < until, "nothing happens");
            let mut out = BytesMut::new();
            while let Some(transmit) = self.endpoint.poll_transmit(Instant::now(), &mut out) {
                let packet = out.split_to(transmit.len);
                self.udp.send_to(&packet, (LOCAL, self.server)).unwrap();
            }
            while let Some((_, event)) = self.endpoint.poll_event() {
                if fits(&event) {
                    return;
                }
            }
            let mut packet = [0; 2048];
            if let Ok((len, from)) = self.udp.recv_from(&mut packet) {
                let datagram = Datagram {
                    source: from.ip(),
                    destination: LOCAL,
                    udp_port: Some(from.port()),
                    zone: 0,
                    ecn: Ecn::NotEct,
                    payload: packet[..len].to_vec().into(),
                };
                self.endpoint.handle_datagram(Instant::now(), datagram);
            }
            if self.endpoint.poll_timeout().is_some_and(|due| due <= Instant::now()) {
                self.endpoint.handle_timeout(Instant::now());
            }
        }
    }
}

/// What an item says, in a word; changes of paths and the like are left out.
fn word(item: Item) -> Option<String> {
    match item {
        Item::Message(message) => Some(String::from_utf8_lossy(&message.payload).into_owned()),
        Item::Event(Event::CommUp { .. }) => Some("UP".to_owned()),
        Item::Event(Event::Restart) => Some("RESTART".to_owned()),
        Item::Event(Event::PeerShutdown) => Some("PEER CLOSES".to_owned()),
        Item::Event(Event::Readable | Event::CommLost(_) | Event::ShutdownComplete) => {
            panic!("it is told otherwise")
        }
        Item::Ended(Ok(())) => Some("CLOSED".to_owned()),
        Item::Ended(Err(error)) => Some(error.to_string()),
        _ => None,
    }
}

/// Takes items until one of them is the last word.
fn words_until(association: &Association, last: &str) -> Vec<String> {
    let mut words = Vec::new();
    while words.last().is_none_or(|word| word != last) {
        words.extend(word(association.next_timeout(PATIENCE).unwrap()));
    }
    words
}

#[test]
fn a_restart_stands_between_the_messages_that_it_separates() {
    let (stack, socket) = listen();
    let server = stack.udp_port().unwrap();
    let mut host = Host::connect(UdpSocket::bind((LOCAL, 0)).unwrap(), server, 1);
    let association = socket.accept_timeout(PATIENCE).unwrap();
    host.send("of the first life");
    for life in 2..5 {
        host = Host::connect(host.crash(), server, life);
        host.send("of a later life");
    }
    // Nothing was taken meanwhile; two restarts with nothing between them are one.
    host = Host::connect(host.crash(), server, 5);
    host = Host::connect(host.crash(), server, 6);
    host.send("of the last life");
    let words = words_until(&association, "of the last life");
    let later = ["RESTART", "of a later life"];
    let first = ["UP", "of the first life"];
    let last = ["RESTART", "of the last life"];
    assert_eq!(words, [&first[..], &later, &later, &later, &last].concat());
}

#[test]
fn a_peer_that_restarts_without_end_makes_no_queue_grow_of_which_only_the_messages_are_taken() {
    let (stack, socket) = listen();
    let server = stack.udp_port().unwrap();
    let mut host = Host::connect(UdpSocket::bind((LOCAL, 0)).unwrap(), server, 0);
    let association = socket.accept_timeout(PATIENCE).unwrap();
    for life in 1..=300 {
        host.send("a message");
        association.recv_timeout(PATIENCE).unwrap().unwrap();
        host = Host::connect(host.crash(), server, (life % 251) as u8);
    }
    host.send("the last one");
    let words = words_until(&association, "the last one");
    assert_eq!(words.iter().filter(|word| *word == "RESTART").count(), 256);
    assert!(association.events_lost() >= 300 - 256);
}

#[test]
fn who_waits_for_anything_is_told_that_another_thread_closes() {
    let (_stack, socket) = listen();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| socket.next_any_timeout(PATIENCE));
        thread::sleep(Duration::from_millis(20));
        socket.close();
        assert!(matches!(waiting.join().unwrap(), Err(Error::StackClosed)));
    });
}

#[test]
fn the_end_is_the_last_item_and_told_once_and_then_an_error() {
    let (stack, socket) = listen();
    let client_stack = Stack::builder().udp(0).udp_peer(stack.udp_port().unwrap()).open().unwrap();
    let client = client_stack.bind(0, &[LOCAL], Options::default()).unwrap();
    let connect = || {
        let peer = SocketAddr::new(LOCAL, PORT);
        let association = client.connect(peer).unwrap().wait_timeout(PATIENCE).unwrap();
        (association, socket.accept_timeout(PATIENCE).unwrap())
    };
    let (near, far) = connect();
    near.send(Message::new(0, "one")).unwrap();
    near.send(Message::new(0, "two")).unwrap();
    near.shutdown_timeout(PATIENCE).unwrap();
    assert_eq!(words_until(&far, "CLOSED"), ["UP", "one", "two", "PEER CLOSES", "CLOSED"]);
    assert!(matches!(far.try_next(), Err(Error::Closed)));

    let (near, far) = connect();
    near.send(Message::new(0, "last")).unwrap();
    assert_eq!(words_until(&far, "last"), ["UP", "last"]);
    near.abort("enough");
    let end = "the peer aborted the association: enough";
    assert_eq!(words_until(&far, end), [end]);
    assert!(matches!(far.try_next(), Err(Error::Lost(_))));
    assert!(matches!(far.next_timeout(Duration::ZERO), Err(Error::Lost(_))));
}

#[test]
fn one_loop_serves_all_peers_of_a_socket_and_each_has_its_turn() {
    const PEERS: usize = 20;
    const MESSAGES: usize = 30;
    let (stack, socket) = listen();
    let client_stack = Stack::builder().udp(0).udp_peer(stack.udp_port().unwrap()).open().unwrap();
    let peer = SocketAddr::new(LOCAL, PORT);
    let clients: Vec<_> = (0..PEERS)
        .map(|_| {
            let client = client_stack.bind(0, &[LOCAL], Options::default()).unwrap();
            let association = client.connect(peer).unwrap().wait_timeout(PATIENCE).unwrap();
            for number in 0..MESSAGES {
                association.send(Message::new(0, number.to_string())).unwrap();
            }
            association
        })
        .collect();
    // All wait by then.
    let until = Instant::now() + PATIENCE;
    while clients.iter().any(|client| client.send_buffered() > 0) {
        assert!(Instant::now() < until, "they are not taken");
        thread::sleep(Duration::from_millis(1));
    }
    let (mut held, mut taken) = (HashMap::new(), BTreeMap::<_, usize>::new());
    while taken.values().sum::<usize>() < PEERS * MESSAGES {
        match socket.next_any_timeout(PATIENCE).unwrap() {
            Arrival::Accepted(association) => {
                taken.insert(association.id(), 0);
                held.insert(association.id(), association);
            }
            Arrival::Item(id, Item::Message(message)) => {
                let number = taken.get_mut(&id).unwrap();
                assert_eq!(message.payload, number.to_string(), "in order");
                *number += 1;
                let (most, least) = (taken.values().max().unwrap(), taken.values().min().unwrap());
                // One may have had an event where another one had a message.
                assert!(most - least <= 3, "each has its turn: {taken:?}");
                held.get(&id).unwrap().send(Message::new(0, message.payload)).unwrap();
            }
            Arrival::Item(id, _) => assert!(held.contains_key(&id), "it was accepted first"),
            other => panic!("{other:?}"),
        }
    }
    for client in &clients {
        for number in 0..MESSAGES {
            let answer = client.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(answer.payload, number.to_string());
        }
    }
    // What nobody holds any more says nothing more, and the others go on.
    let kept = *held.keys().next().unwrap();
    held.retain(|id, _| *id == kept);
    drop(clients);
    loop {
        if let Arrival::Item(id, item) = socket.next_any_timeout(PATIENCE).unwrap() {
            assert_eq!(id, kept);
            if matches!(item, Item::Ended(Ok(()))) {
                break;
            }
        }
    }
    assert!(matches!(socket.try_next_any(), Err(Error::WouldBlock)));
}

#[test]
fn what_an_attempt_waits_for_is_not_taken_by_who_takes_what_comes_to_any() {
    let (stack, listening) = listen();
    let client_stack = Stack::builder().udp(0).udp_peer(stack.udp_port().unwrap()).open().unwrap();
    let client = client_stack.bind(0, &[LOCAL], Options::default()).unwrap();
    assert!(matches!(client.try_next_any(), Err(Error::WouldBlock)));
    let connecting = client.connect(SocketAddr::new(LOCAL, PORT)).unwrap();
    let accepted = listening.accept_timeout(PATIENCE).unwrap();
    accepted.send(Message::new(0, "welcome")).unwrap();
    // The association is up, and its message there, but nobody has its handle.
    let up = |event| matches!(event, Event::CommUp { .. });
    while !up(connecting.event_timeout(PATIENCE).unwrap()) {}
    assert!(matches!(client.next_any_timeout(Duration::from_millis(50)), Err(Error::TimedOut)));
    let association = connecting.detach();
    loop {
        match client.next_any_timeout(PATIENCE).unwrap() {
            Arrival::Item(id, Item::Message(message)) => {
                assert_eq!((id, &message.payload[..]), (association.id(), &b"welcome"[..]));
                break;
            }
            Arrival::Item(..) => {}
            other => panic!("{other:?}"),
        }
    }
}
