//! The stage where namespaces are not allowed: SCTP over UDP on loopback addresses, with a relay in this process that
//! stands for the links and can cut them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use usctp::Stack;

use super::stage::{Addresses, Body, Stage};
use super::story::Happening;
use crate::args::DemoOptions;
use crate::exit::Failure;

/// Two stacks of this process that reach each other through the relay only.
///
/// The client is at 127.0.0.1 and 127.0.0.2, the server at 127.0.1.1 and 127.0.1.2. The relay has a socket for each
/// of the server's addresses, on the port that the client takes for the server's, and one for each of the client's,
/// on the port that the server takes for the client's: packets keep their addresses and change their UDP port.
pub(crate) struct Loopback {
    addresses: Addresses,
    relay: Relay,
    /// Holds the dead address: what arrives there is never read.
    _dead: UdpSocket,
}

struct Relay {
    shared: Arc<Shared>,
    /// The port that the client sends to, and the one that the server sends to.
    ports: [u16; 2],
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// The server's address on link 2.
    second: IpAddr,
    stop: AtomicBool,
    cut: [AtomicBool; 2],
    /// The UDP ports of the client's and the server's stack, 0 until they are known.
    client: AtomicU16,
    server: AtomicU16,
    forwarded: AtomicU64,
    lost: AtomicU64,
}

/// The sockets of one side, with the addresses they stand for.
type Side = Arc<[(IpAddr, UdpSocket); 2]>;

impl Loopback {
    /// Opens the relay.
    pub(crate) fn build(options: &DemoOptions) -> Result<Self, Failure> {
        let address = |net, host| IpAddr::from(Ipv4Addr::new(127, 0, net, host));
        let addresses = Addresses {
            client: [address(0, 1), address(0, 2)],
            server: [address(1, 1), address(1, 2)],
            dead: address(1, 9),
            absent: address(1, 99),
        };
        let (relay, dead) = Relay::open(&addresses, options.loss)?;
        Ok(Self { addresses, relay, _dead: dead })
    }
}

impl Stage for Loopback {
    fn transport(&self) -> &'static str {
        "udp"
    }

    fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    fn scene(&self, loss: f64) -> Happening {
        let losing = match loss > 0.0 {
            true => format!(" and loses {loss} % of all packets at random (seeds 1 to 4)"),
            false => String::new(),
        };
        Happening::Scene {
            transport: self.transport(),
            addresses: self.addresses,
            stage: format!(
                "UDP encapsulation on loopback addresses; a relay in this process stands for the links{losing}"
            ),
        }
    }

    fn open_client(&self, capture: Option<&Path>) -> Result<Stack, Failure> {
        let [for_client, _] = self.relay.ports;
        let builder = Stack::builder().udp(0).udp_peer(for_client);
        let builder = match capture {
            Some(file) => builder.capture(file),
            None => builder,
        };
        let stack = builder.open()?;
        self.relay.shared.client.store(stack.udp_port().unwrap_or(0), Ordering::Relaxed);
        Ok(stack)
    }

    fn start_server(&self, body: Body) -> Result<JoinHandle<()>, Failure> {
        let [_, for_server] = self.relay.ports;
        let shared = Arc::clone(&self.relay.shared);
        let open = move || {
            let stack = Stack::builder().udp(0).udp_peer(for_server).open()?;
            shared.server.store(stack.udp_port().unwrap_or(0), Ordering::Relaxed);
            Ok(stack)
        };
        let thread = thread::Builder::new().name("server".to_owned());
        Ok(thread.spawn(move || body(open()))?)
    }

    fn cut(&self, link: usize) -> Result<(), Failure> {
        self.relay.set_cut(link, true);
        Ok(())
    }

    fn restore(&self, link: usize) -> Result<(), Failure> {
        self.relay.set_cut(link, false);
        Ok(())
    }

    fn relayed(&self) -> Option<(u64, u64)> {
        let shared = &self.relay.shared;
        Some((shared.forwarded.load(Ordering::Relaxed), shared.lost.load(Ordering::Relaxed)))
    }
}

impl Relay {
    fn open(addresses: &Addresses, loss: f64) -> io::Result<(Self, UdpSocket)> {
        let mut dead = None;
        let [first, second] = addresses.server;
        let (towards_client, for_client) = sockets([first, second], |port| {
            dead = Some(UdpSocket::bind((addresses.dead, port))?);
            Ok(())
        })?;
        let (towards_server, for_server) = sockets(addresses.client, |_| Ok(()))?;
        let dead = dead.ok_or(io::ErrorKind::AddrInUse)?;
        let mut relay = Self {
            shared: Arc::new(Shared::new(second)),
            ports: [for_client, for_server],
            threads: Vec::new(),
        };
        for index in 0..2_usize {
            let (client, server) = (Arc::clone(&towards_client), Arc::clone(&towards_server));
            relay.carry(index, client, server, true, loss)?;
            let (client, server) = (Arc::clone(&towards_client), Arc::clone(&towards_server));
            relay.carry(index, server, client, false, loss)?;
        }
        Ok((relay, dead))
    }

    /// Starts the thread that reads one socket and passes on what comes.
    fn carry(
        &mut self,
        index: usize,
        from: Side,
        to: Side,
        to_server: bool,
        loss: f64,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let seed = self.threads.len() as u64 + 1;
        let mut random = StdRng::seed_from_u64(seed);
        let chance = (loss / 100.0).clamp(0.0, 1.0);
        let body = move || {
            let mut buffer = vec![0; 1 << 16];
            while !shared.stop.load(Ordering::Relaxed) {
                let Some((here, socket)) = from.get(index) else { return };
                let Ok((length, source)) = socket.recv_from(&mut buffer) else { continue };
                let packet = buffer.get(..length).unwrap_or_default();
                let lost = random.random_bool(chance);
                shared.pass(packet, *here, source, &to, to_server, lost);
            }
        };
        self.threads.push(thread::Builder::new().name("relay".to_owned()).spawn(body)?);
        Ok(())
    }

    fn set_cut(&self, link: usize, cut: bool) {
        if let Some(link) = self.shared.cut.get(link) {
            link.store(cut, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn new(second: IpAddr) -> Self {
        Self {
            second,
            stop: AtomicBool::default(),
            cut: Default::default(),
            client: AtomicU16::default(),
            server: AtomicU16::default(),
            forwarded: AtomicU64::default(),
            lost: AtomicU64::default(),
        }
    }

    /// Passes one packet on: from the address it was sent to goes what is said to it, and the other way round.
    fn pass(
        &self,
        packet: &[u8],
        here: IpAddr,
        source: SocketAddr,
        to: &Side,
        to_server: bool,
        lost: bool,
    ) {
        let Some(out) = to.iter().position(|(address, _)| *address == source.ip()) else { return };
        let Some((_, socket)) = to.get(out) else { return };
        let port = if to_server { &self.server } else { &self.client };
        // The source that a host chooses says nothing of links here, where every address is reached from every other:
        // a link that is cut loses what is sent to the server's address on it.
        let link = usize::from(here == self.second);
        if to_server && self.cut.get(link).is_some_and(|cut| cut.load(Ordering::Relaxed)) {
            return;
        }
        if lost {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if socket.send_to(packet, (here, port.load(Ordering::Relaxed))).is_ok() {
            self.forwarded.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Two sockets on the same port of two addresses, and whatever else is to have that port.
fn sockets(
    addresses: [IpAddr; 2],
    mut other: impl FnMut(u16) -> io::Result<()>,
) -> io::Result<(Side, u16)> {
    const DRAWS: u32 = 64;
    let [first, second] = addresses;
    let mut open = || {
        let one = UdpSocket::bind((first, 0))?;
        let port = one.local_addr()?.port();
        let two = UdpSocket::bind((second, port))?;
        other(port)?;
        for socket in [&one, &two] {
            // As much as is allowed: a burst is to wait here, not to be lost.
            let _ = socket2::SockRef::from(socket).set_recv_buffer_size(4 << 20);
            // How long it takes the relay to notice that it is to stop.
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        }
        Ok((Arc::new([(first, one), (second, two)]), port))
    };
    let mut result = open();
    for _ in 1..DRAWS {
        match &result {
            Err(error) if io::Error::kind(error) == io::ErrorKind::AddrInUse => result = open(),
            _ => break,
        }
    }
    result
}
