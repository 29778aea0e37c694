//! UDP encapsulation over real sockets (RFC 6951): a translator that changes ports, and a port of nobody.

#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use usctp::{Association, Message, Options, Stack};

/// Longer than anything here may take on a slow machine: a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often who waits looks whether all is over.
const BEAT: Duration = Duration::from_millis(20);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A translator between a client and a server: it keeps their addresses and gives the client a UDP port of its own choice.
#[derive(Clone)]
struct Translator(Arc<Shared>);

struct Shared {
    /// What the client takes for the server.
    inner: UdpSocket,
    /// What the server takes for the client.
    outer: Mutex<Arc<UdpSocket>>,
    client: Mutex<Option<SocketAddr>>,
    server: SocketAddr,
    /// Packets from the server, by the way they came.
    answers: AtomicUsize,
    is_over: AtomicBool,
}

impl Translator {
    fn new(server: SocketAddr) -> Self {
        let inner = UdpSocket::bind((SERVER, 0)).unwrap();
        inner.set_read_timeout(Some(BEAT)).unwrap();
        let translator = Self(Arc::new(Shared {
            inner,
            outer: Mutex::new(outer()),
            client: Mutex::new(None),
            server,
            answers: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        }));
        let (outwards, inwards) = (translator.clone(), translator.clone());
        thread::spawn(move || outwards.carry_out());
        thread::spawn(move || inwards.carry_in());
        translator
    }

    /// The UDP port that the client is to send to.
    fn port(&self) -> u16 {
        self.0.inner.local_addr().unwrap().port()
    }

    /// The client has another port from now on; what comes for the former one is lost.
    fn rebind(&self) {
        *self.0.outer.lock().unwrap() = outer();
        self.0.answers.store(0, Ordering::SeqCst);
    }

    fn answers(&self) -> usize {
        self.0.answers.load(Ordering::SeqCst)
    }

    fn carry_out(&self) {
        let mut bytes = vec![0; 1 << 16];
        while !self.0.is_over.load(Ordering::SeqCst) {
            let Ok((len, from)) = self.0.inner.recv_from(&mut bytes) else { continue };
            *self.0.client.lock().unwrap() = Some(from);
            let outer = self.0.outer.lock().unwrap().clone();
            let _ = outer.send_to(bytes.get(..len).unwrap(), self.0.server);
        }
    }

    fn carry_in(&self) {
        let mut bytes = vec![0; 1 << 16];
        while !self.0.is_over.load(Ordering::SeqCst) {
            let outer = self.0.outer.lock().unwrap().clone();
            let Ok((len, _)) = outer.recv_from(&mut bytes) else { continue };
            let client = *self.0.client.lock().unwrap();
            if let Some(client) = client
                && Arc::ptr_eq(&outer, &self.0.outer.lock().unwrap())
            {
                self.0.answers.fetch_add(1, Ordering::SeqCst);
                let _ = self.0.inner.send_to(bytes.get(..len).unwrap(), client);
            }
        }
    }
}

fn outer() -> Arc<UdpSocket> {
    let socket = UdpSocket::bind((CLIENT, 0)).unwrap();
    socket.set_read_timeout(Some(BEAT)).unwrap();
    Arc::new(socket)
}

fn options() -> Options {
    let mut options = Options::default();
    options.rto.initial = Duration::from_millis(200);
    options.rto.min = Duration::from_millis(50);
    options.rto.max = Duration::from_secs(1);
    options
}

fn receive(association: &Association) -> Vec<u8> {
    association.recv_timeout(PATIENCE).unwrap().expect("a message").payload.to_vec()
}

#[test]
fn an_association_goes_on_when_a_translator_gives_the_peer_another_udp_port() {
    let server_stack = Stack::builder().udp(0).open().unwrap();
    let translator = Translator::new((SERVER, server_stack.udp_port().unwrap()).into());
    let client_stack = Stack::builder().udp(0).udp_peer(translator.port()).open().unwrap();
    let server_socket = server_stack.bind(0, &[SERVER], options()).unwrap();
    server_socket.listen().unwrap();
    let client_socket = client_stack.bind(0, &[CLIENT], options()).unwrap();
    let peer = SocketAddr::new(SERVER, server_socket.port());
    let client = client_socket.connect(peer).unwrap().wait_timeout(PATIENCE).unwrap();
    let server = server_socket.accept_timeout(PATIENCE).unwrap();
    for round in 0..3_u8 {
        client.send(Message::new(0, vec![round])).unwrap();
        assert_eq!(receive(&server), [round]);
        // RFC 6951, 5.4: to where that came from.
        server.send(Message::new(0, vec![round; 10_000])).unwrap();
        assert_eq!(receive(&client), vec![round; 10_000]);
        assert!(translator.answers() > 0);
        let port = server.paths().first().and_then(|path| path.udp_port);
        let outer = translator.0.outer.lock().unwrap().local_addr().unwrap().port();
        assert_eq!(port, Some(outer));
        translator.rebind();
    }
    client.send(Message::new(0, "the last word")).unwrap();
    client.shutdown_timeout(PATIENCE).unwrap();
    translator.0.is_over.store(true, Ordering::SeqCst);
}

#[test]
fn an_attempt_at_a_udp_port_of_nobody_is_refused_at_once() {
    // RFC 6951, 5.5
    let nobody = UdpSocket::bind((SERVER, 0)).unwrap().local_addr().unwrap().port();
    let stack = Stack::builder().udp(0).udp_peer(nobody).open().unwrap();
    let mut patient = options();
    patient.rto.initial = PATIENCE;
    patient.rto.max = PATIENCE * 2;
    let socket = stack.bind(0, &[CLIENT], patient).unwrap();
    let begun = Instant::now();
    let error = socket.connect((SERVER, 5000).into()).unwrap().wait_timeout(PATIENCE).unwrap_err();
    assert!(error.is_refused(), "{error}");
    assert!(begun.elapsed() < PATIENCE, "before any timer");
}
