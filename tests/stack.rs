//! The application's face, over UDP encapsulation on loopback (no privilege), and over raw IP where that is allowed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong fails the test")]

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use usctp::{
    AddressChange, Association, AssociationState, CongestionControl, ConnectError, ConnectOptions,
    Error, Event, LossDetection, LostReason, Message, Options, PathState, RecoveryOptions,
    RemovedReason, Role, SendError, Socket, Stack,
};

mod namespace;

/// Longer than anything here may take on a slow machine: a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// Short, for what must not happen.
const BRIEF: Duration = Duration::from_millis(150);

/// Timers that suit loopback.
fn options() -> Options {
    let mut options = Options::default();
    options.rto.initial = Duration::from_millis(200);
    options.rto.min = Duration::from_millis(50);
    options.rto.max = Duration::from_secs(1);
    options.sack.delay = Duration::from_millis(20);
    options
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// Two stacks in this process: a client on 127.0.0.1, a server that listens on 127.0.0.2.
struct Pair {
    client: Socket,
    server: Socket,
    client_stack: Stack,
    server_stack: Stack,
}

impl Pair {
    fn new() -> Self {
        Self::with(options(), options())
    }

    fn with(client: Options, server: Options) -> Self {
        let server_stack = Stack::builder().udp(0).open().unwrap();
        let client_stack =
            Stack::builder().udp(0).udp_peer(server_stack.udp_port().unwrap()).open().unwrap();
        let server = server_stack.bind(0, &[ip("127.0.0.2")], server).unwrap();
        server.listen().unwrap();
        let client = client_stack.bind(0, &[ip("127.0.0.1")], client).unwrap();
        Self { client, server, client_stack, server_stack }
    }

    fn peer(&self) -> SocketAddr {
        SocketAddr::new(ip("127.0.0.2"), self.server.port())
    }

    /// An association, both ends of it.
    fn connect(&self) -> (Association, Association) {
        let mut connecting = self.client.connect(self.peer()).unwrap();
        let client = connecting.wait_timeout(PATIENCE).unwrap();
        let server = self.server.accept_timeout(PATIENCE).unwrap();
        (client, server)
    }
}

/// Bytes that differ from message to message.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) ^ (i >> 8) ^ seed.wrapping_mul(17)) as u8).collect()
}

/// Sends back what comes, until the peer closes.
fn echo(association: Association) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while let Some(received) = association.recv_timeout(PATIENCE).unwrap() {
            let mut message =
                Message::new(received.stream.0, received.payload).ppid(received.ppid.0);
            message.unordered = received.unordered;
            association.send_timeout(message, PATIENCE).unwrap();
        }
    })
}

fn receive(association: &Association) -> usctp::Received {
    association.recv_timeout(PATIENCE).unwrap().expect("a message")
}

/// Takes events until one fits.
fn event_where(association: &Association, fits: impl Fn(&Event) -> bool) -> Event {
    let until = Instant::now() + PATIENCE;
    loop {
        let event = association.event_timeout(until - Instant::now()).unwrap();
        if fits(&event) {
            return event;
        }
    }
}

/// Runs a future on this thread: any executor will do.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let until = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(Instant::now() < until, "the future was not woken");
        thread::park_timeout(PATIENCE);
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn messages_of_one_byte_to_64_kib_come_back_unaltered() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    let echo = echo(server);
    for (seed, len) in
        [1, 2, 3, 4, 5, 100, 1451, 1452, 1453, 4096, 16384, 65535, 65536].into_iter().enumerate()
    {
        let bytes = pattern(len, seed);
        let message = Message::new(seed as u16 % 10, bytes.clone()).ppid(0x0102_0304);
        client.send_timeout(message, PATIENCE).unwrap();
        let received = receive(&client);
        assert_eq!(received.payload, bytes, "message of {len} bytes");
        assert_eq!((received.stream.0, received.ppid.0), (seed as u16 % 10, 0x0102_0304));
        assert!(!received.unordered);
    }
    client.send(Message::new(0, "any time").unordered()).unwrap();
    assert!(receive(&client).unordered);
    client.shutdown_timeout(PATIENCE).unwrap();
    assert_eq!(client.recv().unwrap(), None);
    echo.join().unwrap();
}

#[test]
fn both_ends_know_the_association_by_its_ports_addresses_roles_and_streams() {
    let mut few = options();
    few.limits.outbound_streams = 7;
    few.limits.inbound_streams = 3;
    let pair = Pair::with(few, options());
    let (client, server) = pair.connect();
    assert_eq!((client.role(), server.role()), (Role::Active, Role::Passive));
    assert_eq!((client.local_port(), client.peer_port()), (pair.client.port(), pair.server.port()));
    assert_eq!((server.local_port(), server.peer_port()), (pair.server.port(), pair.client.port()));
    assert_eq!((client.outbound_streams(), client.inbound_streams()), (7, 3));
    assert_eq!((server.outbound_streams(), server.inbound_streams()), (3, 7));
    assert_eq!(client.local_addresses(), [ip("127.0.0.1")]);
    let peers: Vec<_> = client.paths().iter().map(|path| path.peer).collect();
    assert_eq!(peers, [ip("127.0.0.2")]);
    assert_eq!(client.state(), AssociationState::Established);
    assert!(matches!(
        client.send(Message::new(7, "x")),
        Err(Error::Send(SendError::NoSuchStream { stream: 7, streams: 7 }))
    ));
    assert!(matches!(client.send(Message::new(0, "")), Err(Error::Send(SendError::Empty))));
}

#[test]
fn many_streams_keep_their_order_each() {
    let mut many = options();
    many.limits.outbound_streams = 100;
    let pair = Pair::with(many.clone(), many);
    let (client, server) = pair.connect();
    let sender = thread::spawn(move || {
        for round in 0..30_u16 {
            for stream in 0..100 {
                let len = 2 + usize::from(stream) * 13 % 700;
                let mut bytes = pattern(len, stream.into());
                bytes[..2].copy_from_slice(&round.to_be_bytes());
                client.send_timeout(Message::new(stream, bytes), PATIENCE).unwrap();
            }
        }
        client.shutdown_timeout(PATIENCE).unwrap();
    });
    let mut next: HashMap<u16, u16> = HashMap::new();
    while let Some(received) = server.recv_timeout(PATIENCE).unwrap() {
        let round = u16::from_be_bytes(*received.payload.first_chunk().unwrap());
        let expected = next.entry(received.stream.0).or_default();
        assert_eq!(round, *expected, "stream {}", received.stream.0);
        *expected += 1;
    }
    assert_eq!(next.len(), 100);
    assert!(next.values().all(|&count| count == 30));
    sender.join().unwrap();
}

#[test]
fn each_association_recovers_as_it_was_told_and_not_as_its_neighbour() {
    let cubic = RecoveryOptions::new(LossDetection::Rack, CongestionControl::Cubic).paced();
    let rfc = RecoveryOptions::default();
    let pair = Pair::new();
    let other = pair.client_stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
    let told = ConnectOptions::default().with(|options| options.recovery = Some(cubic));
    let fast = pair.client.connectx(&[pair.peer()], told).unwrap().wait_timeout(PATIENCE).unwrap();
    let fast_server = pair.server.accept_timeout(PATIENCE).unwrap();
    let plain = other.connect(pair.peer()).unwrap().wait_timeout(PATIENCE).unwrap();
    let plain_server = pair.server.accept_timeout(PATIENCE).unwrap();
    assert_eq!((fast.recovery(), plain.recovery()), (cubic, rfc));
    // An accepted association begins as its socket has it, and may be told otherwise while data is on its way.
    assert_eq!((fast_server.recovery(), plain_server.recovery()), (rfc, rfc));
    let (fast_echo, plain_echo) = (Arc::new(fast_server), echo(plain_server));
    let told = Arc::clone(&fast_echo);
    let sending = thread::spawn(move || {
        for number in 0..200 {
            told.send(Message::new(0, pattern(3000, number))).unwrap();
            match number {
                50 => told.set_recovery(cubic).unwrap(),
                150 => told.set_recovery(rfc).unwrap(),
                _ => {}
            }
        }
    });
    for number in 0..200 {
        assert_eq!(receive(&fast).payload, pattern(3000, number));
        plain.send(Message::new(0, pattern(3000, number))).unwrap();
        assert_eq!(receive(&plain).payload, pattern(3000, number));
    }
    sending.join().unwrap();
    plain.set_recovery(cubic).unwrap();
    assert_eq!((fast_echo.recovery(), plain.recovery()), (rfc, cubic));
    fast.shutdown_timeout(PATIENCE).unwrap();
    plain.shutdown_timeout(PATIENCE).unwrap();
    plain_echo.join().unwrap();
}

#[test]
fn a_reader_that_does_not_read_stops_the_sender_and_nothing_is_lost() {
    const LEN: usize = 1000;
    let mut small = options();
    small.limits.send_buffer = 64 << 10;
    small.limits.receive_buffer = 64 << 10;
    let pair = Pair::with(small.clone(), small);
    let (client, server) = pair.connect();
    // The sender is stopped when both buffers are full; so many messages cannot fit in them.
    let total = 1000_usize;
    let mut sent = 0;
    let error = loop {
        assert!(sent < total, "the sender was never stopped");
        match client.send_timeout(Message::new(0, pattern(LEN, sent)), BRIEF * 10) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_timed_out(), "{error}");
    assert!(client.try_send(Message::new(0, pattern(LEN, sent))).unwrap_err().is_would_block());
    assert!(client.send_buffered() <= 64 << 10);
    assert!(sent * LEN <= 2 * (64 << 10) + LEN, "{sent} messages were taken");
    let reader = thread::spawn(move || {
        let mut count = 0;
        while let Some(received) = server.recv_timeout(PATIENCE).unwrap() {
            assert_eq!(received.payload, pattern(LEN, count));
            count += 1;
        }
        count
    });
    for seed in sent..total {
        client.send_timeout(Message::new(0, pattern(LEN, seed)), PATIENCE).unwrap();
    }
    client.shutdown_timeout(PATIENCE).unwrap();
    assert_eq!(reader.join().unwrap(), total);
}

#[test]
fn a_thread_that_waits_to_send_is_told_that_another_one_closes() {
    type Close = fn(&Association, &Socket);
    let closes: [Close; 3] = [
        |association, _| association.start_shutdown().unwrap(),
        |association, _| drop(association.shutdown_timeout(Duration::ZERO)),
        |_, socket| socket.close(),
    ];
    for close in closes {
        let mut small = options();
        small.limits.send_buffer = 8 << 10;
        small.limits.receive_buffer = 8 << 10;
        let pair = Pair::with(small.clone(), small);
        // The peer takes nothing, so the close is not over for long.
        let (client, _server) = pair.connect();
        while client.send_timeout(Message::new(0, pattern(2000, 0)), BRIEF).is_ok() {}
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let begun = Instant::now();
                let sent = client.send_timeout(Message::new(0, pattern(8000, 1)), PATIENCE);
                (sent, begun.elapsed())
            });
            thread::sleep(BRIEF);
            close(&client, &pair.client);
            let (sent, took) = sending.join().unwrap();
            assert!(matches!(sent, Err(Error::Send(SendError::NotOpen { .. }))), "{sent:?}");
            assert!(took < 5 * BRIEF, "{took:?}");
        });
    }
}

#[test]
fn the_async_forms_run_on_any_executor() {
    let pair = Pair::new();
    block_on(async {
        let accepting = pair.server.accept_async();
        let connecting = pair.client.connectx(&[pair.peer()], ConnectOptions::default()).unwrap();
        let client = connecting.await.unwrap();
        let server = accepting.await.unwrap();
        for seed in 0..100 {
            client.send_async(Message::new(1, pattern(3000, seed))).await.unwrap();
            let received = server.recv_async().await.unwrap().unwrap();
            assert_eq!(received.payload, pattern(3000, seed));
            server.send_async(Message::new(2, received.payload)).await.unwrap();
            assert_eq!(client.recv_async().await.unwrap().unwrap().payload, pattern(3000, seed));
        }
        assert!(matches!(server.event_async().await, Ok(Event::CommUp { .. })));
        client.shutdown_async().await.unwrap();
        assert_eq!(server.recv_async().await.unwrap(), None);
    });
}

#[test]
fn a_task_that_owns_an_association_may_end_with_the_last_waker_of_it() {
    /// The simplest executor: a task lives as long as a waker of it.
    struct Task(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let pair = Pair::new();
    let (client, server) = pair.connect();
    let waiting = async move {
        let _ = client.recv_async().await;
    };
    let task = Arc::new(Task(Mutex::new(Some(Box::pin(waiting)))));
    let waker = Waker::from(Arc::clone(&task));
    {
        let mut future = task.0.lock().unwrap();
        let polled = future.as_mut().unwrap().as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    drop((task, waker));
    // The endpoint has the last waker; it wakes it, drops it, and with it the handle, which closes.
    server.send(Message::new(0, "wake up")).unwrap();
    assert_eq!(server.recv_timeout(PATIENCE).unwrap(), None);
}

#[test]
fn futures_dropped_while_they_wait_lose_no_message() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    for seed in 0..50 {
        for _ in 0..20 {
            let mut pending = Box::pin(server.recv_async());
            assert!(poll_once(&mut pending).is_pending());
        }
        let mut kept = Box::pin(server.recv_async());
        assert!(poll_once(&mut kept).is_pending());
        client.send(Message::new(0, pattern(100, seed))).unwrap();
        // One that was woken, or could have been, goes without having looked.
        event_where(&server, |event| *event == Event::Readable);
        drop(kept);
        assert_eq!(receive(&server).payload, pattern(100, seed));
    }
}

#[test]
fn a_message_whose_future_was_dropped_while_it_waited_is_not_sent() {
    let mut small = options();
    small.limits.send_buffer = 8 << 10;
    small.limits.receive_buffer = 8 << 10;
    let pair = Pair::with(small.clone(), small);
    let (client, server) = pair.connect();
    let mut sent = 0;
    while client.send_timeout(Message::new(0, pattern(2000, sent)), BRIEF * 10).is_ok() {
        sent += 1;
        assert!(sent < 100, "the sender was never stopped");
    }
    // A sender that was refused is told of room once there is much of it, so there may be room for one already.
    while client.try_send(Message::new(0, pattern(2000, sent))).is_ok() {
        sent += 1;
    }
    let mut pending = Box::pin(client.send_async(Message::new(0, pattern(2000, 999))));
    assert!(poll_once(&mut pending).is_pending());
    drop(pending);
    for seed in 0..sent {
        assert_eq!(receive(&server).payload, pattern(2000, seed));
    }
    client.send_timeout(Message::new(0, "the next"), PATIENCE).unwrap();
    assert_eq!(receive(&server).payload, "the next");
}

#[test]
fn calls_with_a_time_out_end_when_it_has_passed() {
    let pair = Pair::new();
    let start = Instant::now();
    assert!(pair.server.accept_timeout(BRIEF).unwrap_err().is_timed_out());
    let (client, _server) = pair.connect();
    assert!(client.recv_timeout(BRIEF).unwrap_err().is_timed_out());
    assert!(client.try_recv().unwrap_err().is_would_block());
    while let Ok(event) = client.try_event() {
        assert!(!matches!(event, Event::CommLost(_)));
    }
    assert!(client.event_timeout(BRIEF).unwrap_err().is_timed_out());
    assert!(pair.server.try_accept().unwrap_err().is_would_block());
    assert!(start.elapsed() >= BRIEF * 3);
}

#[test]
fn an_attempt_that_nobody_answers_times_out_and_tells_what_it_tried() {
    // A UDP socket that takes packets and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stack =
        Stack::builder().udp(0).udp_peer(silent.local_addr().unwrap().port()).open().unwrap();
    let socket = stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
    let connect = ConnectOptions::default().with(|options| options.init_max = Some(2));
    let peer: SocketAddr = "127.0.0.1:5000".parse().unwrap();
    let mut connecting = socket.connectx(&[peer], connect).unwrap();
    assert!(connecting.wait_timeout(Duration::from_millis(50)).unwrap_err().is_timed_out());
    let error = connecting.wait_timeout(PATIENCE).unwrap_err();
    assert!(matches!(error, Error::Lost(LostReason::SetupTimeout)), "{error}");
    assert!(error.is_timed_out());
    let mut tried = 0;
    while let Ok(event) = connecting.try_event() {
        if let Event::Tried { peer, attempt } = event {
            tried += 1;
            assert_eq!((peer, attempt), (ip("127.0.0.1"), tried));
        }
    }
    assert!(tried >= 2, "{tried} INITs");
    let connect = ConnectOptions::default()
        .with(|options| options.deadline = Some(Duration::from_millis(100)));
    let error = socket.connectx(&[peer], connect).unwrap().wait().unwrap_err();
    assert!(matches!(error, Error::Lost(LostReason::Deadline)), "{error}");
}

#[test]
fn connectx_moves_past_a_dead_address_and_drops_the_one_the_peer_does_not_have() {
    let pair = Pair::new();
    let [dead, other] = ["127.0.0.9", "127.0.0.8"].map(ip);
    let port = pair.server.port();
    let list = [dead, ip("127.0.0.2"), other].map(|address| SocketAddr::new(address, port));
    let mut connecting = pair.client.connectx(&list, ConnectOptions::default()).unwrap();
    let client = connecting.wait_timeout(PATIENCE).unwrap();
    let mut events = Vec::new();
    while let Ok(event) = client.try_event() {
        events.push(event);
    }
    let tried: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Tried { peer, .. } => Some(*peer),
            _ => None,
        })
        .collect();
    assert_eq!(tried, [dead, ip("127.0.0.2")]);
    let removed = |peer| Event::PeerAddressChange {
        peer,
        change: AddressChange::Removed(RemovedReason::NotInInitAck),
    };
    assert!(events.contains(&removed(dead)), "{events:?}");
    assert!(events.contains(&removed(other)), "{events:?}");
    let primary = events.iter().find_map(|event| match event {
        Event::CommUp { primary, .. } => Some(*primary),
        _ => None,
    });
    assert_eq!(primary, Some(ip("127.0.0.2")));
}

#[test]
fn sockets_bound_to_all_addresses_reach_each_other_over_any() {
    let pair = Pair::new();
    let server = pair.server_stack.bind(0, &[], options()).unwrap();
    server.listen().unwrap();
    let client = pair.client_stack.bind(0, &[], options()).unwrap();
    for peer in ["127.0.0.1", "127.0.0.2"] {
        let peer = SocketAddr::new(ip(peer), server.port());
        let association = client.connect(peer).unwrap().wait().unwrap();
        association.send(Message::new(0, "over loopback")).unwrap();
        let accepted = server.accept_timeout(PATIENCE).unwrap();
        assert_eq!(receive(&accepted).payload, "over loopback");
        association.shutdown_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn all_addresses_of_both_hosts_become_paths_and_any_can_be_the_primary() {
    let pair = Pair::new();
    let mut quick = options();
    quick.heartbeat.interval = Some(Duration::from_millis(50));
    // A HEARTBEAT ACK that comes late would make a path potentially failed, and what is sent take the other one.
    (quick.rto.initial, quick.rto.min, quick.rto.max) = (PATIENCE / 2, PATIENCE / 2, PATIENCE);
    let [a, b] = [["127.0.0.11", "127.0.0.12"], ["127.0.0.21", "127.0.0.22"]].map(|at| at.map(ip));
    let server = pair.server_stack.bind(0, &b, quick.clone()).unwrap();
    server.listen().unwrap();
    let client = pair.client_stack.bind(0, &a, quick).unwrap();
    let association = client.connect(SocketAddr::new(b[0], server.port())).unwrap().wait().unwrap();
    let accepted = server.accept_timeout(PATIENCE).unwrap();
    assert!(matches!(accepted.next_event(), Ok(Event::CommUp { role: Role::Passive, .. })));
    for (end, peers) in [(&association, b), (&accepted, a)] {
        let until = Instant::now() + PATIENCE;
        while !end.paths().iter().all(|path| path.state == PathState::Active) {
            assert!(Instant::now() < until, "{:?}", end.paths());
            // A HEARTBEAT ACK brings an event.
            let _ = end.event_timeout(BRIEF);
        }
        let paths: Vec<_> = end.paths().iter().map(|path| (path.peer, path.primary)).collect();
        assert_eq!(paths, [(peers[0], true), (peers[1], false)]);
        end.request_heartbeat(peers[1]).unwrap();
        end.set_primary(peers[1]).unwrap();
        end.send(Message::new(0, "by the other path")).unwrap();
        assert!(matches!(end.set_primary(ip("127.0.0.99")), Err(Error::NoSuchPath(_))));
    }
    assert_eq!(receive(&association).payload, "by the other path");
    assert_eq!(receive(&accepted).payload, "by the other path");
    association.shutdown_timeout(PATIENCE).unwrap();
    let sent = association.paths();
    assert!(sent.iter().all(|path| path.peer != b[1] || path.counts.bytes_sent > 0), "{sent:?}");
}

#[test]
fn nothing_is_sent_from_an_address_that_the_peer_was_not_told_of() {
    let pair = Pair::new();
    let mut quick = options();
    quick.heartbeat.interval = Some(Duration::from_millis(20));
    // Routing would pick 127.0.0.1.
    let client = pair.client_stack.bind(0, &[ip("127.0.0.3")], quick.clone()).unwrap();
    let both = ["127.0.0.21", "127.0.0.22"].map(ip);
    let server = pair.server_stack.bind(0, &both, quick).unwrap();
    server.listen().unwrap();
    let association = client.connect(SocketAddr::new(both[0], server.port())).unwrap();
    let association = association.wait().unwrap();
    let accepted = server.accept_timeout(PATIENCE).unwrap();
    let until = Instant::now() + PATIENCE;
    while !association.paths().iter().all(|path| path.state == PathState::Active) {
        assert!(Instant::now() < until, "{:?}", association.paths());
        let _ = association.event_timeout(BRIEF);
    }
    let peers: Vec<_> = accepted.paths().iter().map(|path| path.peer).collect();
    assert_eq!(peers, [ip("127.0.0.3")]);
    let counters = server.counters();
    assert_eq!((counters.out_of_the_blue, counters.bad_tag), (0, 0), "{counters:?}");
    let peer = SocketAddr::new(ip("::1"), server.port());
    let error = client.connect(peer).unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::FamilyDisabled { index: 0, .. })));
    association.shutdown_timeout(PATIENCE).unwrap();
}

#[test]
fn a_socket_bound_towards_its_peers_has_the_addresses_that_reach_them() {
    let stack = Stack::builder().udp(0).open().unwrap();
    let peers = ["127.0.0.2:7", "127.0.0.3:7"].map(|peer| peer.parse().unwrap());
    let socket = stack.bind_towards(0, &peers, options()).unwrap();
    assert_eq!(socket.addresses(), [ip("127.0.0.1")]);
    let error = stack.bind_towards(0, &[], options()).unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::Empty)));
}

#[test]
fn a_socket_that_does_not_listen_refuses() {
    let pair = Pair::new();
    pair.server.stop_listening().unwrap();
    let error = pair.client.connect(pair.peer()).unwrap().wait().unwrap_err();
    assert!(error.is_refused(), "{error}");
    assert!(matches!(pair.server.accept(), Err(Error::NotListening)));
}

#[test]
fn a_full_backlog_refuses_until_one_is_accepted() {
    let pair = Pair::new();
    pair.server.listen_backlog(2).unwrap();
    let connect = || {
        let socket = pair.client_stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
        socket.connect(pair.peer()).unwrap().wait()
    };
    let _waiting = [connect().unwrap(), connect().unwrap()];
    let error = connect().unwrap_err();
    assert!(error.is_refused(), "{error}");
    let _accepted = pair.server.accept_timeout(PATIENCE).unwrap();
    connect().unwrap();
}

#[test]
fn an_association_that_is_aborted_before_it_is_accepted_leaves_the_backlog() {
    let pair = Pair::new();
    pair.server.listen_backlog(1).unwrap();
    for _ in 0..3 {
        let aborted = pair.client.connect(pair.peer()).unwrap().wait().unwrap();
        aborted.abort("changed my mind");
    }
    let client = pair.client.connect(pair.peer()).unwrap().wait().unwrap();
    client.send(Message::new(0, "meant")).unwrap();
    let accepted = pair.server.accept_timeout(PATIENCE).unwrap();
    assert_eq!(receive(&accepted).payload, "meant");
    assert!(pair.server.try_accept().unwrap_err().is_would_block());
}

#[test]
fn a_port_that_no_socket_of_the_stack_has_refuses() {
    // So slow that the INIT is sent and answered once.
    let mut slow = options();
    (slow.rto.initial, slow.rto.max) = (PATIENCE / 2, PATIENCE);
    let pair = Pair::with(slow.clone(), slow);
    let peer = SocketAddr::new(ip("127.0.0.2"), 9);
    let error = pair.client.connect(peer).unwrap().wait().unwrap_err();
    assert!(error.is_refused(), "{error}");
    assert_eq!(pair.server_stack.statistics().out_of_the_blue_answered, 1);
}

#[test]
fn two_sockets_of_one_stack_reach_each_other() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    // From a socket that was opened elsewhere, as a program does that drops its privileges.
    let stack = Stack::builder().from_fds([udp.into()]).udp_peer(port).open().unwrap();
    let server = stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
    server.listen().unwrap();
    let client = stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
    let peer = SocketAddr::new(ip("127.0.0.1"), server.port());
    let association = client.connect(peer).unwrap().wait().unwrap();
    let echo = echo(server.accept_timeout(PATIENCE).unwrap());
    for len in [1, 1000, 100_000] {
        association.send(Message::new(0, pattern(len, len))).unwrap();
        assert_eq!(receive(&association).payload, pattern(len, len));
    }
    association.shutdown_timeout(PATIENCE).unwrap();
    echo.join().unwrap();
}

#[test]
fn a_socket_that_is_dropped_closes_what_nobody_accepted() {
    let pair = Pair::new();
    let client = pair.client.connect(pair.peer()).unwrap().wait().unwrap();
    drop(pair.server);
    assert_eq!(client.recv_timeout(PATIENCE).unwrap(), None);
}

#[test]
fn an_attempt_that_is_dropped_ends_and_one_that_is_detached_goes_on() {
    let pair = Pair::new();
    drop(pair.client.connect(pair.peer()).unwrap());
    // The address is free again, so that the attempt is forgotten at once.
    let client = pair.client.connect(pair.peer()).unwrap().detach();
    client.send(Message::new(0, "early")).unwrap();
    assert!(matches!(
        pair.client.connect(pair.peer()),
        Err(Error::Connect(ConnectError::InUse { index: 0, .. }))
    ));
    // If the dropped one had got so far that the server accepted it, it comes first, and has ended.
    let message = loop {
        let server = pair.server.accept_timeout(PATIENCE).unwrap();
        if let Ok(Some(message)) = server.recv_timeout(PATIENCE) {
            break message;
        }
    };
    assert_eq!(message.payload, "early");
}

#[test]
fn an_abort_ends_both_sides_with_its_reason_after_the_messages_that_had_come() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    client.send(Message::new(0, "last words")).unwrap();
    event_where(&client, |event| *event == Event::SenderDry);
    client.abort("enough");
    assert!(matches!(client.recv(), Err(Error::Lost(LostReason::LocalAbort))));
    assert!(matches!(
        client.send(Message::new(0, "more")),
        Err(Error::Lost(LostReason::LocalAbort))
    ));
    assert_eq!(receive(&server).payload, "last words");
    match server.recv_timeout(PATIENCE) {
        Err(Error::Lost(LostReason::PeerAborted { reason, .. })) => assert_eq!(reason, "enough"),
        other => panic!("{other:?}"),
    }
    event_where(&server, |event| matches!(event, Event::CommLost(_)));
    assert!(matches!(server.next_event(), Err(Error::Lost(_))));
}

#[test]
fn a_shutdown_from_both_sides_at_once_is_graceful_for_both() {
    let pair = Pair::new();
    for _ in 0..10 {
        let (client, server) = pair.connect();
        client.send(Message::new(0, "from the client")).unwrap();
        server.send(Message::new(0, "from the server")).unwrap();
        thread::scope(|scope| {
            let other = scope.spawn(|| server.shutdown_timeout(PATIENCE));
            client.shutdown_timeout(PATIENCE).unwrap();
            other.join().unwrap().unwrap();
        });
        assert_eq!(receive(&client).payload, "from the server");
        assert_eq!(receive(&server).payload, "from the client");
        assert_eq!(client.recv().unwrap(), None);
        assert_eq!(server.recv().unwrap(), None);
        assert!(client.send(Message::new(0, "late")).unwrap_err().is_closed());
        assert_eq!(client.state(), AssociationState::Closed);
    }
}

#[test]
fn a_stack_that_is_dropped_still_delivers_what_was_sent() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    let reader = thread::spawn(move || {
        let mut count = 0;
        while let Some(received) = server.recv_timeout(PATIENCE).unwrap() {
            assert_eq!(received.payload, pattern(2000, count));
            count += 1;
        }
        count
    });
    for seed in 0..200 {
        client.send(Message::new(0, pattern(2000, seed))).unwrap();
    }
    let Pair { client_stack, client: socket, .. } = pair;
    drop(client_stack);
    assert_eq!(reader.join().unwrap(), 200);
    assert!(matches!(client.send(Message::new(0, "late")), Err(error) if error.is_closed()));
    assert!(matches!(socket.accept(), Err(Error::StackClosed)));
    assert!(matches!(socket.connect("127.0.0.2:1".parse().unwrap()), Err(Error::StackClosed)));
}

#[test]
fn a_stack_that_is_dropped_gives_up_after_its_linger() {
    let mut small = options();
    small.limits.receive_buffer = 4 << 10;
    let server_stack = Stack::builder().udp(0).open().unwrap();
    let client_stack = Stack::builder()
        .udp(0)
        .udp_peer(server_stack.udp_port().unwrap())
        .linger(Duration::from_millis(300))
        .open()
        .unwrap();
    let server = server_stack.bind(0, &[ip("127.0.0.2")], small).unwrap();
    server.listen().unwrap();
    let client = client_stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
    let peer = SocketAddr::new(ip("127.0.0.2"), server.port());
    let association = client.connect(peer).unwrap().wait().unwrap();
    let other = server.accept_timeout(PATIENCE).unwrap();
    // More than a reader that does not read has room for.
    for seed in 0..100 {
        association.send(Message::new(0, pattern(2000, seed))).unwrap();
    }
    let waiting = thread::spawn(move || association.recv());
    let start = Instant::now();
    drop(client_stack);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(matches!(waiting.join().unwrap(), Err(Error::StackClosed)));
    event_where(&other, |event| matches!(event, Event::CommLost(LostReason::PeerAborted { .. })));
}

#[test]
fn a_handle_that_is_dropped_closes_gracefully_in_the_background() {
    let mut small = options();
    small.limits.receive_buffer = 16 << 10;
    let pair = Pair::with(small, options());
    let (client, server) = pair.connect();
    // Messages that nobody takes, though more than the receive window, do not hold up the close.
    for seed in 0..100 {
        server.send(Message::new(0, pattern(1000, seed))).unwrap();
        client.send(Message::new(0, pattern(1000, seed))).unwrap();
    }
    drop(client);
    for seed in 0..100 {
        assert_eq!(receive(&server).payload, pattern(1000, seed));
    }
    assert_eq!(server.recv_timeout(PATIENCE).unwrap(), None);
    event_where(&server, |event| *event == Event::ShutdownComplete);
}

#[test]
fn an_association_outlives_the_socket_it_came_from() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    let Pair { client: client_socket, server: server_socket, client_stack, server_stack } = pair;
    let port = server_socket.port();
    drop((client_socket, server_socket));
    client.send(Message::new(0, "still here")).unwrap();
    assert_eq!(receive(&server).payload, "still here");
    assert!(server_stack.bind(port, &[], options()).unwrap_err().is_address_in_use());
    client.shutdown_timeout(PATIENCE).unwrap();
    assert_eq!(server.recv_timeout(PATIENCE).unwrap(), None);
    event_where(&server, |event| *event == Event::ShutdownComplete);
    // With the last association the port is free again.
    let until = Instant::now() + PATIENCE;
    while let Err(error) = server_stack.bind(port, &[], options()) {
        assert!(error.is_address_in_use() && Instant::now() < until, "{error}");
        thread::yield_now();
    }
    drop(client_stack);
}

#[test]
fn closing_a_socket_closes_its_associations_and_frees_its_port() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    let accepting = thread::scope(|scope| {
        let accepting = scope.spawn(|| pair.server.accept());
        pair.server.close();
        accepting.join().unwrap()
    });
    assert!(matches!(accepting, Err(Error::StackClosed | Error::NotListening)));
    assert_eq!(client.recv_timeout(PATIENCE).unwrap(), None);
    assert!(server.send(Message::new(0, "late")).unwrap_err().is_closed());
    let port = pair.server.port();
    let again = pair.server_stack.bind(port, &[ip("127.0.0.2")], options()).unwrap();
    again.listen().unwrap();
    drop(client);
    let until = Instant::now() + PATIENCE;
    let connecting = loop {
        match pair.client.connect(pair.peer()) {
            Ok(connecting) => break connecting,
            Err(error) => assert!(error.is_address_in_use() && Instant::now() < until, "{error}"),
        }
    };
    connecting.wait().unwrap();
}

#[test]
fn one_port_on_two_addresses_are_two_sockets() {
    let stack = Stack::builder().udp(0).open().unwrap();
    let client_stack = Stack::builder().udp(0).udp_peer(stack.udp_port().unwrap()).open().unwrap();
    let on = |address| stack.bind(5001, &[ip(address)], options());
    let servers = ["127.0.0.1", "127.0.0.2"].map(|address| on(address).unwrap());
    assert!(on("127.0.0.2").unwrap_err().is_address_in_use());
    assert!(stack.bind(5001, &[], options()).unwrap_err().is_address_in_use());
    servers.iter().for_each(|server| server.listen().unwrap());
    let client = client_stack.bind(0, &[ip("127.0.0.3")], options()).unwrap();
    for (index, address) in ["127.0.0.1", "127.0.0.2"].into_iter().enumerate() {
        let mut connecting = client.connect(SocketAddr::new(ip(address), 5001)).unwrap();
        let near = connecting.wait_timeout(PATIENCE).unwrap();
        let far = servers[index].accept_timeout(PATIENCE).unwrap();
        assert_eq!(far.local_addresses(), [ip(address)]);
        near.send(Message::new(0, address)).unwrap();
        assert_eq!(receive(&far).payload, address);
        far.send(Message::new(0, "from there")).unwrap();
        assert_eq!(receive(&near).payload, "from there");
    }
    // Addresses that are bound later must not overlap either; what one gives up serves its associations still.
    assert!(servers[0].bindx_add(&[ip("127.0.0.2")]).unwrap_err().is_address_in_use());
    servers[0].bindx_add(&[ip("127.0.0.4"), ip("127.0.0.4")]).unwrap();
    assert!(on("127.0.0.4").unwrap_err().is_address_in_use());
    let mut connecting = client.connect(SocketAddr::new(ip("127.0.0.4"), 5001)).unwrap();
    let _near = connecting.wait_timeout(PATIENCE).unwrap();
    // One that is closed leaves the other as it was.
    let [first, second] = servers;
    first.close();
    drop(first);
    let other = client_stack.bind(0, &[ip("127.0.0.3")], options()).unwrap();
    let mut connecting = other.connect(SocketAddr::new(ip("127.0.0.4"), 5001)).unwrap();
    assert!(connecting.wait_timeout(BRIEF).is_err());
    let again = on("127.0.0.1").unwrap();
    again.listen().unwrap();
    for (server, address) in [(&again, "127.0.0.1"), (&second, "127.0.0.2")] {
        let mut connecting = other.connect(SocketAddr::new(ip(address), 5001)).unwrap();
        let _near = connecting.wait_timeout(PATIENCE).unwrap();
        server.accept_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn two_sockets_on_one_port_are_an_address_in_use() {
    let stack = Stack::builder().udp(0).open().unwrap();
    let socket = stack.bind(7, &[ip("127.0.0.1")], options()).unwrap();
    for overlapping in [&[ip("127.0.0.2"), ip("127.0.0.1")][..], &[]] {
        let error = stack.bind(7, overlapping, options()).unwrap_err();
        assert!(error.is_address_in_use(), "{error}");
    }
    let other = stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
    assert!(other.port() >= 49152);
    drop(socket);
    stack.bind(7, &[ip("127.0.0.1")], options()).unwrap();
}

#[test]
fn a_local_address_that_cannot_be_used_is_named_with_its_index() {
    let stack = Stack::builder().udp(0).open().unwrap();
    for (bad, is_local) in [("192.0.2.1", false), ("0.0.0.0", true)] {
        let error = stack.bind(0, &[ip("127.0.0.1"), ip(bad)], options()).unwrap_err();
        assert_eq!(error.bad_address_index(), Some(1), "{error}");
        assert!(error.is_bad_address());
        assert_eq!(error.is_address_not_local(), !is_local, "{error}");
    }
    let socket = stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
    let list = ["127.0.0.2:7", "127.0.0.3:8"].map(|peer| peer.parse().unwrap());
    let error = socket.connectx(&list, ConnectOptions::default()).unwrap_err();
    assert_eq!(error.bad_address_index(), Some(1), "{error}");
    assert!(error.is_bad_address() && !error.is_address_in_use());
}

#[test]
fn many_associations_are_accepted_and_kept_apart() {
    const MANY: usize = 50;
    let pair = Pair::new();
    let clients: Vec<_> = (0..MANY)
        .map(|_| pair.client_stack.bind(0, &[ip("127.0.0.1")], options()).unwrap())
        .collect();
    let connecting: Vec<_> =
        clients.iter().map(|client| client.connect(pair.peer()).unwrap()).collect();
    let accepted: Vec<_> =
        (0..MANY).map(|_| pair.server.accept_timeout(PATIENCE).unwrap()).collect();
    for connecting in connecting {
        let association = connecting.wait().unwrap();
        let port = association.local_port();
        association.send(Message::new(0, port.to_string())).unwrap();
        let server = accepted.iter().find(|server| server.peer_port() == port).unwrap();
        assert_eq!(receive(server).payload, port.to_string());
        server.shutdown_timeout(PATIENCE).unwrap();
        assert_eq!(association.recv_timeout(PATIENCE).unwrap(), None);
    }
    let ids: std::collections::HashSet<_> = accepted.iter().map(Association::id).collect();
    assert_eq!(ids.len(), MANY);
}

#[test]
fn threads_send_and_receive_on_one_association_at_once() {
    const THREADS: u16 = 4;
    const EACH: usize = 300;
    let pair = Pair::new();
    let (client, server) = pair.connect();
    let echo = echo(server);
    let total = usize::from(THREADS) * EACH;
    let come = AtomicUsize::new(0);
    let deadline = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        for stream in 0..THREADS {
            let client = &client;
            scope.spawn(move || {
                for seed in 0..EACH {
                    let mut bytes = pattern(500, seed);
                    bytes[..2].copy_from_slice(&(seed as u16).to_be_bytes());
                    client.send_timeout(Message::new(stream, bytes), PATIENCE).unwrap();
                }
            });
        }
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut received = Vec::new();
                    // The last ones may all go to the other thread.
                    while come.load(Ordering::Relaxed) < total && Instant::now() < deadline {
                        let Ok(message) = client.recv_timeout(BRIEF) else { continue };
                        let message = message.expect("the server does not close");
                        come.fetch_add(1, Ordering::Relaxed);
                        let seed = u16::from_be_bytes(*message.payload.first_chunk().unwrap());
                        received.push((message.stream.0, seed));
                    }
                    received
                })
            })
            .collect();
        let mut all = Vec::new();
        for receiver in receivers {
            let received = receiver.join().unwrap();
            for stream in 0..THREADS {
                let seeds = received.iter().filter(|(of, _)| *of == stream).map(|(_, seed)| seed);
                assert!(seeds.is_sorted(), "stream {stream} was reordered");
            }
            all.extend(received);
        }
        all.sort_unstable();
        let expected: Vec<_> = (0..THREADS)
            .flat_map(|stream| (0..EACH as u16).map(move |seed| (stream, seed)))
            .collect();
        assert_eq!(all, expected);
    });
    client.shutdown_timeout(PATIENCE).unwrap();
    echo.join().unwrap();
}

#[test]
fn events_that_nobody_takes_stay_few() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    for seed in 0..500 {
        client.send_timeout(Message::new(0, pattern(10, seed)), PATIENCE).unwrap();
        receive(&server);
    }
    let mut events = Vec::new();
    while let Ok(event) = server.try_event() {
        events.push(event);
    }
    assert!(events.len() < 10, "{events:?}");
    assert_eq!(server.events_lost(), 0);
}

#[test]
fn a_stack_leaves_no_thread_and_no_descriptor_behind() {
    const INSIDE: &str = "USCTP_TEST_LEAKS";
    if std::env::var_os(INSIDE).is_none() {
        // In a process of its own, where no other test opens anything.
        let name = "a_stack_leaves_no_thread_and_no_descriptor_behind";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let count = || {
        let entries = |path| std::fs::read_dir(path).unwrap().count();
        (entries("/proc/self/task"), entries("/proc/self/fd"))
    };
    let before = count();
    // A thread that was joined is listed until the kernel has cleared it away.
    let nothing_is_left = || {
        let deadline = Instant::now() + PATIENCE;
        while count() != before {
            assert!(
                Instant::now() < deadline,
                "{:?} threads and descriptors, not {before:?}",
                count()
            );
            thread::sleep(Duration::from_millis(2));
        }
    };
    for _ in 0..3 {
        let pair = Pair::new();
        let (client, server) = pair.connect();
        client.send(Message::new(0, "x")).unwrap();
        receive(&server);
        let Pair { client_stack, server_stack, client: socket, server: _other } = pair;
        drop((client_stack, server_stack));
        // Handles that outlive their stacks hold nothing open.
        nothing_is_left();
        assert!(
            client.try_recv().is_ok_and(|message| message.is_none()) || client.try_recv().is_err()
        );
        drop((client, server, socket));
    }
    nothing_is_left();
}

#[test]
fn raw_links_without_the_privilege_are_refused_with_the_ways_out() {
    use std::os::unix::process::CommandExt as _;
    const INSIDE: &str = "USCTP_TEST_UNPRIVILEGED";
    const NOBODY: u32 = 65534;
    match Stack::builder().raw().open() {
        Err(error) => {
            assert!(error.is_permission_denied(), "{error}");
            let told = error.to_string();
            assert!(told.contains("cap_net_raw+ep") && told.contains("UDP"), "{told}");
        }
        Ok(_) if std::env::var_os(INSIDE).is_none() => {
            // Once more, as a user who has no privilege.
            let name = "raw_links_without_the_privilege_are_refused_with_the_ways_out";
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(INSIDE, "1")
                .uid(NOBODY)
                .gid(NOBODY)
                .status();
            match status {
                Ok(status) => assert!(status.success()),
                Err(error) => println!("SKIPPED: another user cannot run this test: {error}"),
            }
        }
        Ok(_) => println!("SKIPPED: every user here has the capability CAP_NET_RAW"),
    }
}

mod raw {
    //! Over raw IP on the loopback interface of a network namespace of the test's own.

    use super::namespace::in_namespace;
    use super::*;

    fn echo_over(client: &str, server: &str) {
        let server_stack = Stack::builder().raw().open().unwrap();
        let client_stack = Stack::builder().raw().open().unwrap();
        let listening = server_stack.bind(5001, &[ip(server)], options()).unwrap();
        listening.listen().unwrap();
        assert!(client_stack.bind(5001, &[], options()).unwrap_err().is_address_in_use());
        let socket = client_stack.bind(0, &[ip(client)], options()).unwrap();
        let peer = SocketAddr::new(ip(server), 5001);
        let association = socket.connect(peer).unwrap().wait().unwrap();
        let echo = echo(listening.accept_timeout(PATIENCE).unwrap());
        for len in [1, 1000, 1400, 1500, 20_000, 65_536] {
            association.send(Message::new(0, pattern(len, len))).unwrap();
            assert_eq!(receive(&association).payload, pattern(len, len));
        }
        association.shutdown_timeout(PATIENCE).unwrap();
        echo.join().unwrap();
    }

    #[test]
    fn two_stacks_have_one_port_on_different_addresses() {
        in_namespace(|| {
            let stacks = [(); 2].map(|()| Stack::builder().raw().open().unwrap());
            let addresses = ["127.0.0.1", "127.0.0.2"];
            let servers = [0, 1].map(|at| {
                let server = stacks[at].bind(5001, &[ip(addresses[at])], options()).unwrap();
                server.listen().unwrap();
                server
            });
            assert!(stacks[0].bind(5001, &[ip("127.0.0.2")], options()).is_err());
            let client_stack = Stack::builder().raw().open().unwrap();
            let client = client_stack.bind(0, &[ip("127.0.0.3")], options()).unwrap();
            for (server, address) in servers.iter().zip(addresses) {
                let peer = SocketAddr::new(ip(address), 5001);
                let near = client.connect(peer).unwrap().wait_timeout(PATIENCE).unwrap();
                let far = server.accept_timeout(PATIENCE).unwrap();
                near.send(Message::new(0, address)).unwrap();
                assert_eq!(receive(&far).payload, address);
            }
        });
    }

    #[test]
    fn messages_come_back_over_raw_ipv4() {
        in_namespace(|| echo_over("127.0.0.1", "127.0.0.2"));
    }

    #[test]
    fn messages_come_back_over_raw_ipv6() {
        in_namespace(|| echo_over("::1", "::1"));
    }

    #[test]
    fn a_packet_for_a_port_that_nobody_owns_is_answered_with_abort() {
        in_namespace(|| {
            // One that hears no raw IP does not take the role of the one that answers.
            let _deaf = Stack::builder().udp(0).open().unwrap();
            let stack = Stack::builder().raw().open().unwrap();
            let socket = stack.bind(0, &[], options()).unwrap();
            let connecting = socket.connect("127.0.0.1:4999".parse().unwrap()).unwrap();
            let error = connecting.wait().unwrap_err();
            assert!(error.is_refused(), "{error}");
            assert_eq!(stack.statistics().out_of_the_blue_answered, 1);
        });
    }
}
