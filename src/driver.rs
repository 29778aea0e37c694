//! What drives the endpoints: the links, the deadlines, and the I/O thread, which serves both unless a waiting thread does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use usctp_assoc::{Datagram, PathNotice};

use self::endpoint::SharedEndpoint;
use self::endpoints::{Endpoints, Key};
use self::held::Held;
use self::lead::{Holder, Lead, TICK};
use self::outgoing::{Batch, Spares};
use self::schedule::Schedule;
use self::strangers::Strangers;
use self::turn::Turn;
use crate::address::{self, HostAddress};
use crate::error::{BadLocalAddress, Error};
use crate::link::{LinkError, Links, Waiting};
use crate::neighbours::Neighbours;
use crate::origin::Origin;

pub(crate) mod endpoint;
mod endpoints;
mod held;
mod host;
mod io_thread;
mod lead;
mod outgoing;
mod schedule;
pub(crate) mod slot;
mod sources;
mod strangers;
mod turn;
pub(crate) mod wait;

pub(crate) use self::io_thread::run;
pub(crate) use self::turn::is_in_turn;

/// What all threads share, the I/O thread and the application's.
#[derive(Debug)]
pub(crate) struct Driver {
    links: Links,
    origin: Origin,
    spares: Arc<Spares>,
    endpoints: RwLock<Endpoints>,
    /// The key of the next endpoint.
    next_key: AtomicU64,
    /// Held while the kernel is told which ports are wanted.
    filtering: Mutex<()>,
    /// Whether packets for all ports are wanted, those of nobody among them.
    hears_strangers: AtomicBool,
    schedule: Mutex<Schedule>,
    lead: Lead,
    /// Whether threads of the application lead at all.
    lets_lead: bool,
    /// What the thread that leads works with.
    turn: Mutex<Turn>,
    /// What whoever leads sleeps on, and the bell among it.
    waiting: Waiting,
    lead_bell: EventFd,
    /// What the I/O thread sleeps on while another thread leads.
    io_waiting: Waiting,
    io_bell: EventFd,
    /// Set when the stack is closed: when the last associations are aborted.
    closing: OnceLock<Instant>,
    answered: AtomicU64,
    /// Whether the host's addresses are to be looked at: because something changed, or because an endpoint is new.
    is_host_doubtful: AtomicBool,
    is_host_new_to_some: AtomicBool,
}

/// What the application chose of how the stack behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choices {
    /// Whether packets for ports of nobody are answered.
    pub(crate) answers_strangers: bool,
    /// Whether threads of the application lead.
    pub(crate) lets_lead: bool,
}

impl Driver {
    /// What drives these links.
    pub(crate) fn new(links: Links, choices: Choices) -> Result<Self, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = || {
            EventFd::from_value_and_flags(0, flags).map_err(|errno| Error::Io {
                what: "create an event descriptor",
                source: io::Error::from(errno),
            })
        };
        let (lead_bell, io_bell) = (bell()?, bell()?);
        let waiting = links.waiting(lead_bell.as_fd());
        let io_waiting = Waiting::for_one(io_bell.as_fd());
        let explain =
            |source| Error::Io { what: "create a set of descriptors to wait for", source };
        let neighbours = hears_ip(&links).then(|| Neighbours::of(links.raw_sockets()));
        let (udp_port, now) = (links.udp_port(), Instant::now());
        let strangers = Strangers::new(choices.answers_strangers, neighbours, udp_port, now);
        Ok(Self {
            links,
            origin: Origin::here(),
            spares: Arc::default(),
            endpoints: RwLock::default(),
            next_key: AtomicU64::new(0),
            filtering: Mutex::default(),
            hears_strangers: AtomicBool::new(false),
            schedule: Mutex::default(),
            lead: Lead::new(),
            lets_lead: choices.lets_lead,
            turn: Mutex::new(Turn::new(strangers)),
            waiting: waiting.map_err(explain)?,
            lead_bell,
            io_waiting: io_waiting.map_err(explain)?,
            io_bell,
            closing: OnceLock::new(),
            answered: AtomicU64::new(0),
            is_host_doubtful: AtomicBool::new(false),
            is_host_new_to_some: AtomicBool::new(false),
        })
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    pub(crate) fn spares(&self) -> &Arc<Spares> {
        &self.spares
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// # Errors
    /// [`Error::Forked`] in a child of the process that opened the stack.
    pub(crate) fn check_here(&self) -> Result<(), Error> {
        self.origin.check()
    }

    /// Whether there are raw links.
    pub(crate) fn hears_ip(&self) -> bool {
        hears_ip(&self.links)
    }

    /// Whether packets from this address can be sent.
    pub(crate) fn carries(&self, address: IpAddr) -> bool {
        self.links.carries(address, !self.hears_ip())
    }

    /// What a socket that is bound to all addresses has of those of the host.
    pub(crate) fn bound_to_all(&self, host: &[HostAddress]) -> Vec<IpAddr> {
        let mut bound = address::bound_to_all(host);
        bound.retain(|address| self.carries(*address));
        bound
    }

    /// The addresses as they are to be bound, each once.
    ///
    /// # Errors
    /// [`Error::BadLocalAddress`] with the first one that cannot be bound; [`Error::Io`] if the kernel does not say.
    pub(crate) fn check_bindable(&self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
        let mut bound = Vec::with_capacity(addresses.len());
        for (index, &address) in addresses.iter().enumerate() {
            let canonical = address.to_canonical();
            let why = if canonical.is_unspecified() {
                Some(BadLocalAddress::Unspecified)
            } else if !self.carries(canonical) {
                Some(BadLocalAddress::NoLink)
            } else if !address::is_local_by(self.links.routing(), canonical).map_err(unanswered)? {
                Some(BadLocalAddress::NotLocal)
            } else {
                None
            };
            if let Some(why) = why {
                return Err(Error::BadLocalAddress { index, address, why });
            }
            if !bound.contains(&canonical) {
                bound.push(canonical);
            }
        }
        Ok(bound)
    }

    /// The addresses of the host.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel does not say.
    pub(crate) fn host_addresses(&self) -> Result<Vec<HostAddress>, Error> {
        address::host_addresses(self.links.routing()).map_err(unanswered)
    }

    /// The address that routing would send from to a peer, if it reaches it.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel does not say.
    pub(crate) fn source_towards(&self, peer: &SocketAddr) -> Result<Option<IpAddr>, Error> {
        let zone = if let SocketAddr::V6(peer) = peer { peer.scope_id() } else { 0 };
        let peer = peer.ip().to_canonical();
        address::source_in_zone(self.links.routing(), peer, zone, &[]).map_err(unanswered)
    }

    /// Asks the I/O thread to look which addresses the host has, for the sake of an endpoint that was told of them before it
    /// was inserted.
    pub(crate) fn look_at_host_for_new(&self) {
        self.is_host_new_to_some.store(true, Ordering::SeqCst);
        self.call_io_thread();
    }

    /// Asks the I/O thread to look which addresses the host has, since something changed.
    fn look_at_host(&self) {
        self.is_host_doubtful.store(true, Ordering::SeqCst);
        self.call_io_thread();
    }

    /// Whether a packet out of the blue is one of this stack, meant for a peer elsewhere, that came back to this host.
    fn has_sent_astray(&self, datagram: &Datagram) -> bool {
        let Some(&[high, low]) = datagram.payload.first_chunk() else { return false };
        let ours = datagram.udp_port.is_none() || datagram.udp_port == self.links.udp_port();
        let endpoints = self.read_endpoints();
        ours && endpoints
            .of_port(u16::from_be_bytes([high, low]))
            .iter()
            .any(|sender| sender.has_sent_astray(datagram))
    }

    /// How many packets out of the blue were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Takes an endpoint in.
    ///
    /// # Errors
    /// [`Error::StackClosed`]; [`Error::Link`] if the kernel refuses the port filter.
    pub(crate) fn insert(&self, endpoint: Arc<SharedEndpoint>) -> Result<(), Error> {
        let key = endpoint.key();
        self.write_endpoints().insert(endpoint);
        let result = match self.closing.get() {
            Some(_) => Err(Error::StackClosed),
            None => self.filter().map_err(Error::from),
        };
        if result.is_err() {
            self.remove(key);
        }
        result
    }

    /// The key of an endpoint that is yet to be made.
    pub(crate) fn new_key(&self) -> Key {
        Key(self.next_key.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets go of an endpoint.
    pub(crate) fn remove(&self, key: Key) {
        self.write_endpoints().remove(key);
        self.lock_schedule().remove(key);
        // A filter that lets too much through does no harm.
        if let Err(error) = self.filter() {
            tracing::debug!(%error, "the port of an endpoint that is gone stays in the filter");
        }
        if self.is_closing() {
            self.call_io_thread();
        }
    }

    /// Enters that an endpoint is to be looked at by then.
    pub(crate) fn schedule(&self, key: Key, at: Instant) {
        let must_wake = self.lock_schedule().enter(key, at);
        if must_wake {
            self.ring();
        } else if self.lead.holder() == Holder::Nobody && at < Instant::now() + TICK {
            // Nobody will look at it before.
            self.call_io_thread();
        }
    }

    /// Sends the packets of an endpoint, and those held before; gives back what this host refused to send, and when what is
    /// held is to be tried again.
    pub(crate) fn transmit(
        &self,
        endpoint: &SharedEndpoint,
        held: &mut Held,
        batch: &mut Batch,
    ) -> (Vec<PathNotice>, Option<Instant>) {
        let mut notices = Vec::new();
        endpoint.choose_sources(self.links.routing(), batch, &mut notices);
        let Batch { transmits, .. } = &*batch;
        tracing::trace!(port = endpoint.port(), packets = transmits.len(), ?transmits, "sending");
        let due = held.send(Instant::now(), &self.links, batch, &mut notices);
        (notices, due)
    }

    /// Begins to close every endpoint; the I/O thread ends when that is done, at the latest after `linger`.
    pub(crate) fn close(&self, linger: Duration) {
        let now = Instant::now();
        let by = now.checked_add(linger).unwrap_or(now);
        if self.closing.set(by).is_err() {
            return;
        }
        for endpoint in self.endpoints() {
            endpoint.close(linger);
        }
        // Whoever leads leaves the lead to the I/O thread, which sees it to the end.
        self.ring();
        self.call_io_thread();
    }

    fn is_closing(&self) -> bool {
        self.closing.get().is_some()
    }

    /// Whether threads of this process may still read the links.
    fn is_served(&self) -> bool {
        !self.is_closing() && self.origin.is_here()
    }

    /// The thread that leads has failed: nothing more is asked of the protocol, and whoever waits is told.
    fn fail(&self, failure: &thread::Result<io::Result<()>>) {
        tracing::error!(?failure, "serving the links failed");
        let _ = self.closing.set(Instant::now());
        for endpoint in self.endpoints() {
            endpoint.fail();
        }
        self.call_io_thread();
    }

    /// Whoever leads is to look up from its sleep.
    fn ring(&self) {
        match self.lead.holder() {
            Holder::Waiter | Holder::IoThread => self.ring_leader(),
            Holder::Nobody => self.call_io_thread(),
        }
    }

    fn ring_leader(&self) {
        // The only error is that it rings already.
        let _ = self.lead_bell.write(1);
    }

    /// The I/O thread is to look at what was noted for it before, whether it leads or stands aside. If it takes the lead just
    /// now, it will look before it sleeps.
    fn call_io_thread(&self) {
        match self.lead.holder() {
            Holder::IoThread => self.ring_leader(),
            Holder::Waiter | Holder::Nobody => drop(self.io_bell.write(1)),
        }
    }

    fn lock_turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(&self, key: Key) -> Option<Arc<SharedEndpoint>> {
        self.read_endpoints().get(key).cloned()
    }

    /// The endpoint that packets to this address and port are for.
    fn endpoint_at(&self, port: u16, address: IpAddr) -> Option<Arc<SharedEndpoint>> {
        self.read_endpoints().find(port, address).cloned()
    }

    /// The endpoints that a report on a packet from this port may be for: it does not always say which address that left from.
    fn endpoints_from(&self, port: u16, address: Option<IpAddr>) -> Vec<Arc<SharedEndpoint>> {
        let endpoints = self.read_endpoints();
        match address.and_then(|address| endpoints.find(port, address)) {
            Some(endpoint) => vec![Arc::clone(endpoint)],
            None => endpoints.of_port(port).to_vec(),
        }
    }

    /// Whether this stack has the port, on whichever address.
    fn has_port(&self, port: u16) -> bool {
        !self.read_endpoints().of_port(port).is_empty()
    }

    fn endpoints(&self) -> Vec<Arc<SharedEndpoint>> {
        self.read_endpoints().iter().cloned().collect()
    }

    fn read_endpoints(&self) -> RwLockReadGuard<'_, Endpoints> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_endpoints(&self) -> RwLockWriteGuard<'_, Endpoints> {
        self.endpoints.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether packets to this address are for the endpoint, whose port they have.
    fn is_for(&self, endpoint: &SharedEndpoint, address: IpAddr) -> bool {
        let endpoints = self.read_endpoints();
        let found = endpoints.find(endpoint.port(), address);
        found.is_some_and(|found| found.key() == endpoint.key())
    }

    fn lock_schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the kernel which ports are wanted. They are collected under the same lock that they are told under: so what the
    /// kernel is told last holds every change that was made before.
    fn filter(&self) -> Result<(), LinkError> {
        let _filtering = self.filtering.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ports: Vec<u16> =
            self.read_endpoints().iter().map(|endpoint| endpoint.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        self.links.accept_ports(&ports, self.hears_strangers.load(Ordering::SeqCst))
    }
}

fn unanswered(source: io::Error) -> Error {
    Error::Io { what: "ask the kernel for routes and addresses", source }
}

/// Whether there are raw links.
fn hears_ip(links: &Links) -> bool {
    let [v4, v6] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    links.carries(v4, false) || links.carries(v6, false)
}
