//! The stack: links to the network, the I/O thread, and the ports that are bound.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::TryRngCore as _;
use rand::rngs::OsRng;
use usctp_assoc::{Budget, Config, ConnectError, Endpoint, Options};

use crate::address;
use crate::capture::Capture;
use crate::driver::endpoint::SharedEndpoint;
use crate::driver::wait::block_on;
use crate::driver::{self, Choices, Driver};
use crate::error::Error;
use crate::link::{LinkBuffers, LinkCounters, LinkError, Links};
use crate::port::{self, Carrier, Place, Port};
use crate::socket::Socket;

/// The UDP port that IANA assigned to SCTP over UDP (RFC 6951, section 5.1).
pub const UDP_PORT: u16 = 9899;

/// How long a graceful close may take when a stack or a socket is dropped, unless it is chosen otherwise.
const LINGER: Duration = Duration::from_secs(2);

/// What peers may make all sockets hold together, unless it is chosen otherwise: twice what one may.
const MEMORY: usize = 512 << 20;

/// How often a port is drawn that is to be free over IP and over UDP.
const DRAWS: u32 = 64;

/// SCTP in this process: the links to the network and one thread that serves them.
///
/// A process may have many. Dropping it closes every association gracefully, within the
/// [linger](Builder::linger), then by ABORT; the drop waits for that, for the thread and for the descriptors.
///
/// It belongs to the process that opened it. In a forked child every call that can fail says [`Error::Forked`], looks find
/// nothing, and dropping it, its sockets or its associations does nothing to the parent's; the child may open its own.
#[derive(Debug)]
pub struct Stack {
    driver: Arc<Driver>,
    thread: Option<JoinHandle<()>>,
    carriers: Carriers,
    linger: Duration,
    /// What peers may make all sockets hold together.
    memory: Arc<Budget>,
    warnings: Vec<String>,
}

/// What a stack carries SCTP over.
#[derive(Debug, Clone, Copy)]
struct Carriers {
    raw: bool,
    /// The local UDP port.
    udp: Option<u16>,
    /// The peers' UDP port.
    udp_peer: u16,
}

/// What went over the links of a stack since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StackStatistics {
    /// Packets over all links.
    pub links: LinkCounters,
    /// Bytes of packets that the links' sockets have room for; `None` without links. If it is much less than wanted, a
    /// warning is traced when the stack is opened.
    pub buffers: Option<LinkBuffers>,
    /// Packets out of the blue (RFC 9260, section 8.4) that this process answered.
    pub out_of_the_blue_answered: u64,
    /// Bytes of memory that peers make the sockets hold: at most about what [`Builder::memory`] says.
    pub memory: usize,
}

/// Chooses the links of a [`Stack`] and opens them. If none is chosen, it is raw IP.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct Builder {
    raw: bool,
    udp: Option<u16>,
    udp_peer: u16,
    fds: Vec<OwnedFd>,
    capture: Option<PathBuf>,
    linger: Duration,
    memory: usize,
    choices: Choices,
}

impl Stack {
    /// Chooses the links.
    pub fn builder() -> Builder {
        Builder {
            raw: false,
            udp: None,
            udp_peer: UDP_PORT,
            fds: Vec::new(),
            capture: None,
            linger: LINGER,
            memory: MEMORY,
            choices: Choices { answers_strangers: true, lets_lead: true },
        }
    }

    /// Binds a port, 0 for any free ephemeral one, and local addresses.
    ///
    /// What is bound is what peers are told, in INIT and INIT ACK. With no addresses given, those of bridges that only
    /// containers and virtual machines of this host are plugged into (docker0, virbr0) and of tunnels (tun, wireguard) are
    /// told only to peers that they lead to: others cannot reach them, and many hosts have the same. With no addresses it is bound to all that the interfaces
    /// have, loopback and link-local ones aside, and follows them: new associations have the addresses of their time. Given
    /// addresses stay as given, until [`bindx_add`](Socket::bindx_add) and [`bindx_remove`](Socket::bindx_remove). IPv6
    /// link-local addresses serve peers on the same link and are told to nobody. A host that is to show only the addresses
    /// it reaches a peer from is bound by [`bind_towards`](Self::bind_towards). On a stack without raw links, [`Options::udp_port`] is filled in with
    /// the builder's [`udp_peer`](Builder::udp_peer).
    ///
    /// # Errors
    /// [`Error::BadLocalAddress`] with the index of the address at fault; [`Error::Link`] if another socket, of this
    /// process or another one, has the port on one of the addresses; [`Error::Config`]; [`Error::StackClosed`].
    pub fn bind(
        &self,
        port: u16,
        addresses: &[IpAddr],
        mut options: Options,
    ) -> Result<Socket, Error> {
        self.driver.check_here()?;
        let bound = self.driver.check_bindable(addresses)?;
        if options.udp_port.is_none() && !self.carriers.raw {
            options.udp_port = Some(self.carriers.udp_peer);
        }
        let config = Config::new(options)?;
        let shutdown_guard = config.shutdown_guard();
        let host = self.driver.host_addresses()?;
        let place = if bound.is_empty() { Place::All } else { Place::Addresses(&bound) };
        let lease = self.carriers.claim(port, place)?;
        let number = lease.first().map_or(port, Port::number);
        let own = match bound.as_slice() {
            [] => self.driver.bound_to_all(&host),
            bound => bound.to_vec(),
        };
        let mut endpoint = Endpoint::new(config, number, own, seed()?, Instant::now());
        endpoint.set_host_addresses(host.iter().map(|own| (own.address, own.interface)));
        if bound.is_empty() {
            endpoint.set_unlisted(address::inner_of(&host));
        }
        endpoint.share_budget(&self.memory);
        let endpoint = SharedEndpoint::new(endpoint, bound, shutdown_guard, lease, &self.driver);
        let endpoint = Arc::new(endpoint);
        self.driver.insert(Arc::clone(&endpoint))?;
        // What changed since the addresses were asked for.
        self.driver.look_at_host_for_new();
        tracing::debug!(port = number, ?addresses, "bound");
        Ok(Socket::new(endpoint, self.linger))
    }

    /// Binds a port, 0 for any free ephemeral one, and those local addresses from which the host's routing reaches the
    /// peer's: what a client wants that is not to tell its peer of all its networks.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind), and [`Error::Connect`] with [`ConnectError::Empty`] if no peer is listed. If none of
    /// them can be reached, the socket is bound to all addresses, and connecting fails with the reason.
    pub fn bind_towards(
        &self,
        port: u16,
        peers: &[SocketAddr],
        options: Options,
    ) -> Result<Socket, Error> {
        self.driver.check_here()?;
        if peers.is_empty() {
            return Err(ConnectError::Empty.into());
        }
        let mut sources = Vec::new();
        for peer in peers {
            let source = self.driver.source_towards(peer)?;
            sources.extend(source.filter(|source| self.driver.carries(*source)));
        }
        self.bind(port, &sources, options)
    }

    /// Runs a future to its end on this thread, which reads the links itself while the future waits and no other
    /// thread reads them: what arrives then wakes no other thread first. The blocking calls do the same.
    ///
    /// The future may be of anything. One of another source, such as a channel, is polled again when its waker is called.
    /// Once the stack is closed its own futures end with [`Error::StackClosed`].
    ///
    /// # Panics
    /// If a waker calls it on the thread that serves the links, which would wait for itself.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let driver = Arc::downgrade(&self.driver);
        assert!(
            !driver::is_in_turn(driver.as_ptr()),
            "a waker cannot wait for what its thread has to bring"
        );
        let output = block_on(&driver, future, None);
        output.expect("a wait without a limit ends with the future alone")
    }

    /// What an operator should know of this host, each with its remedy; empty if all is well.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The local UDP port, if there is UDP encapsulation.
    pub fn udp_port(&self) -> Option<u16> {
        self.carriers.udp
    }

    /// What was counted so far.
    pub fn statistics(&self) -> StackStatistics {
        StackStatistics {
            links: self.driver.links().counters(),
            buffers: self.driver.links().buffers(),
            out_of_the_blue_answered: self.driver.answered(),
            memory: self.memory.held(),
        }
    }

    /// Closes everything and waits for it, as dropping does.
    pub fn close(self) {}
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.driver.check_here().is_err() {
            // What is here is a copy: the associations are the parent's, and its thread did not come along.
            std::mem::forget(self.thread.take());
            return;
        }
        self.driver.close(self.linger);
        if let Some(thread) = self.thread.take()
            // A waker may run anything, even this, and a thread that serves the links cannot wait for its own end.
            && !driver::is_in_turn(Arc::as_ptr(&self.driver))
        {
            // It reports its own failure.
            let _ = thread.join();
        }
    }
}

impl Builder {
    /// Raw IPv4 and, where the host has it, raw IPv6. It needs the capability CAP_NET_RAW.
    pub fn raw(mut self) -> Self {
        self.raw = true;
        self
    }

    /// SCTP over UDP (RFC 6951) from this local port; [`UDP_PORT`] is the assigned one, 0 takes any free one.
    /// It needs no privilege.
    pub fn udp(mut self, port: u16) -> Self {
        self.udp = Some(port);
        self
    }

    /// The peers' UDP port. Default [`UDP_PORT`].
    pub fn udp_peer(mut self, port: u16) -> Self {
        self.udp_peer = port;
        self
    }

    /// Sockets opened elsewhere, so that this process needs no privilege: raw SCTP sockets, raw ICMP and ICMPv6 sockets,
    /// and UDP sockets, at most one of each kind and family; of raw SCTP two, since with one alone the kernel tells peers that
    /// nobody here speaks SCTP while its receive buffer is full. Where this process may open the second one, it does.
    pub fn from_fds(mut self, fds: impl IntoIterator<Item = OwnedFd>) -> Self {
        self.fds.extend(fds);
        self
    }

    /// Writes every packet, both ways, to a pcapng file.
    pub fn capture(mut self, path: impl Into<PathBuf>) -> Self {
        self.capture = Some(path.into());
        self
    }

    /// How long dropping the stack or a socket may close gracefully before what is left is aborted. Default 2 s.
    pub fn linger(mut self, bound: Duration) -> Self {
        self.linger = bound;
        self
    }

    /// Bytes of memory that peers may make all sockets of the stack hold together, beside what each may,
    /// [`LimitOptions::memory`](crate::LimitOptions::memory): see [`Budget`] for what is refused first. Default 512 MiB.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Whether packets for ports that nobody has are answered with ABORT (RFC 9260, section 8.4), so that peers need not
    /// wait for a time-out. Default true: then one process of this library in the network namespace answers those that come
    /// over raw IP, unless the kernel or another program has SCTP of its own there, whose ports cannot be known, or a sandbox
    /// forbids to look. With UDP, each stack answers what comes to its UDP port.
    pub fn answer_strangers(mut self, answers: bool) -> Self {
        self.choices.answers_strangers = answers;
        self
    }

    /// Whether threads that wait in blocking calls read the links themselves meanwhile, for all that share the stack; else the
    /// stack's own thread always does, at the cost of waking another one for what comes. Default true.
    ///
    /// If such a thread is of low priority, and does not get to run, the stack's own thread takes over after some
    /// milliseconds; where not even these may pass, or threads run under a real-time policy, this says that it never is
    /// asked.
    pub fn lead(mut self, on: bool) -> Self {
        self.choices.lets_lead = on;
        self
    }

    /// Opens the links and starts the I/O thread.
    ///
    /// # Errors
    /// [`Error::Link`] if a link cannot be opened, [`LinkError::NoPermission`] with the ways out if privilege is
    /// what is missing; [`Error::Io`] if the capture file or the thread cannot be created.
    pub fn open(self) -> Result<Stack, Error> {
        let is_default = !self.raw && self.udp.is_none() && self.fds.is_empty();
        let mut links = Links::from_fds(self.fds)?;
        links.watch_addresses();
        if self.raw || is_default {
            links.open_raw()?;
        }
        if let Some(port) = self.udp {
            links.open_udp(port)?;
        }
        if let Some(path) = self.capture {
            let create = |source| Error::Io { what: "create the capture file", source };
            links.capture_to(Capture::create(&path).map_err(create)?);
        }
        links.warn_of_small_buffers();
        let udp = links.udp_port();
        let driver = Arc::new(Driver::new(links, self.choices)?);
        let carriers = Carriers { raw: driver.hears_ip(), udp, udp_peer: self.udp_peer };
        let shared = Arc::clone(&driver);
        let thread = thread::Builder::new()
            .name("usctp".into())
            .spawn(move || driver::run(&shared))
            .map_err(|source| Error::Io { what: "start the I/O thread", source })?;
        let warnings = carriers.warnings();
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let (linger, memory) = (self.linger, Budget::new(self.memory));
        Ok(Stack { driver, thread: Some(thread), carriers, linger, memory, warnings })
    }
}

impl Carriers {
    /// Claims a port over all that carries packets here.
    fn claim(self, port: u16, place: Place<'_>) -> Result<Vec<Port>, LinkError> {
        let udp = self.udp.map(Carrier::Udp);
        let (first, second) = match (self.raw, udp) {
            (true, udp) => (Carrier::Ip, udp),
            (false, Some(udp)) => (udp, None),
            (false, None) => return Ok(Vec::new()),
        };
        for _ in 0..DRAWS {
            let lease = Port::claim(first, port, place)?;
            let Some(second) = second else { return Ok(vec![lease]) };
            match Port::claim(second, lease.number(), place) {
                Ok(other) => return Ok(vec![lease, other]),
                // Drawn anew.
                Err(LinkError::AddressInUse { .. }) if port == 0 => {}
                Err(error) => return Err(error),
            }
        }
        Err(LinkError::NoFreePort)
    }

    fn warnings(self) -> Vec<String> {
        if !self.raw || !port::kernel_speaks_sctp() {
            return Vec::new();
        }
        vec![
            "the kernel of this host speaks SCTP too and will abort the associations of this process: unload it \
             (rmmod sctp), work in a network namespace of your own, or use UDP encapsulation"
                .into(),
        ]
    }
}

/// Tags, sequence numbers, nonces and keys all grow from this.
fn seed() -> Result<[u8; 32], Error> {
    let mut seed = [0; 32];
    OsRng.try_fill_bytes(&mut seed).map_err(|error| Error::Io {
        what: "take random bytes from the system",
        source: std::io::Error::other(error),
    })?;
    Ok(seed)
}
