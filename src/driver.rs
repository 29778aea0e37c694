//! The I/O thread: it sleeps on the links and the nearest deadline, and gives each endpoint what is for it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use usctp_assoc::{Datagram, PathNotice};

use self::endpoint::SharedEndpoint;
use self::host::Host;
use self::outgoing::Batch;
use self::schedule::Schedule;
use self::strangers::{Strangers, destination_port};
use crate::address;
use crate::error::{BadLocalAddress, Error};
use crate::link::{Inbox, LinkError, Links};

pub(crate) mod endpoint;
mod host;
mod outgoing;
mod schedule;
pub(crate) mod slot;
mod sources;
mod strangers;
pub(crate) mod wait;

/// What the I/O thread shares with the application's threads.
#[derive(Debug)]
pub(crate) struct Driver {
    links: Links,
    endpoints: RwLock<HashMap<u16, Arc<SharedEndpoint>>>,
    /// Counts changes of the set of ports that packets are wanted for.
    wanted: AtomicU64,
    /// Whether packets for all ports are wanted.
    is_responder: AtomicBool,
    schedule: Mutex<Schedule>,
    /// Rings when the I/O thread is to look up from its sleep.
    bell: EventFd,
    /// Set when the stack is closed: when the last associations are aborted.
    closing: OnceLock<Instant>,
    answered: AtomicU64,
    /// Whether the host's addresses are to be looked at.
    is_host_doubtful: AtomicBool,
}

impl Driver {
    pub(crate) fn new(links: Links) -> Result<Self, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_value_and_flags(0, flags).map_err(|errno| Error::Io {
            what: "create an event descriptor",
            source: io::Error::from(errno),
        })?;
        Ok(Self {
            links,
            endpoints: RwLock::default(),
            wanted: AtomicU64::new(0),
            is_responder: AtomicBool::new(false),
            schedule: Mutex::default(),
            bell,
            closing: OnceLock::new(),
            answered: AtomicU64::new(0),
            is_host_doubtful: AtomicBool::new(false),
        })
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// Whether there are raw links.
    pub(crate) fn hears_ip(&self) -> bool {
        let [v4, v6] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        self.links.carries(v4, false) || self.links.carries(v6, false)
    }

    /// Whether packets from this address can be sent.
    pub(crate) fn carries(&self, address: IpAddr) -> bool {
        self.links.carries(address, !self.hears_ip())
    }

    /// What a socket that is bound to all addresses has of those of the host.
    pub(crate) fn bound_to_all(&self, host: &[IpAddr]) -> Vec<IpAddr> {
        let mut bound = address::bound_to_all(host);
        bound.retain(|address| self.carries(*address));
        bound
    }

    /// The addresses as they are to be bound, each once.
    ///
    /// # Errors
    /// [`Error::BadLocalAddress`] with the first one that cannot be bound.
    pub(crate) fn check_bindable(&self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
        let mut bound = Vec::with_capacity(addresses.len());
        for (index, &address) in addresses.iter().enumerate() {
            let canonical = address.to_canonical();
            let why = if canonical.is_unspecified() {
                Some(BadLocalAddress::Unspecified)
            } else if !self.carries(canonical) {
                Some(BadLocalAddress::NoLink)
            } else if !address::is_local(canonical) {
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

    /// Asks the I/O thread to look which addresses the host has.
    pub(crate) fn look_at_host(&self) {
        self.is_host_doubtful.store(true, Ordering::SeqCst);
        self.ring();
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
        let port = endpoint.port();
        self.write_endpoints().insert(port, endpoint);
        let result = match self.closing.get() {
            Some(_) => Err(Error::StackClosed),
            None => self.filter().map_err(Error::from),
        };
        if result.is_err() {
            self.remove(port);
        }
        result
    }

    /// Lets go of an endpoint.
    pub(crate) fn remove(&self, port: u16) {
        self.write_endpoints().remove(&port);
        self.lock_schedule().remove(port);
        // A filter that lets too much through does no harm.
        if let Err(error) = self.filter() {
            tracing::debug!(%error, port, "the port stays in the filter");
        }
        if self.closing.get().is_some() {
            self.ring();
        }
    }

    /// Enters that an endpoint is to be looked at by then.
    pub(crate) fn schedule(&self, port: u16, at: Instant) {
        let must_wake = self.lock_schedule().enter(port, at);
        if must_wake {
            self.ring();
        }
    }

    /// Sends the packets of an endpoint; gives back what this host refused to send.
    pub(crate) fn transmit(&self, endpoint: &SharedEndpoint, batch: &mut Batch) -> Vec<PathNotice> {
        let mut notices = Vec::new();
        endpoint.choose_sources(batch, &mut notices);
        let Batch { bytes, transmits } = batch;
        tracing::trace!(port = endpoint.port(), packets = transmits.len(), ?transmits, "sending");
        self.links.send(bytes, transmits, &mut notices);
        notices
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
        self.ring();
    }

    fn ring(&self) {
        // The only error is that it rings already.
        let _ = self.bell.write(1);
    }

    fn endpoint(&self, port: u16) -> Option<Arc<SharedEndpoint>> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).get(&port).cloned()
    }

    fn endpoints(&self) -> Vec<Arc<SharedEndpoint>> {
        let endpoints = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        endpoints.values().cloned().collect()
    }

    fn write_endpoints(
        &self,
    ) -> std::sync::RwLockWriteGuard<'_, HashMap<u16, Arc<SharedEndpoint>>> {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        self.endpoints.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the kernel which ports are wanted. Without a lock: whoever was overtaken by a change does it again.
    fn filter(&self) -> Result<(), LinkError> {
        loop {
            let version = self.wanted.load(Ordering::SeqCst);
            let ports: Vec<u16> = self.endpoints().iter().map(|endpoint| endpoint.port()).collect();
            self.links.accept_ports(&ports, self.is_responder.load(Ordering::SeqCst))?;
            if self.wanted.load(Ordering::SeqCst) == version {
                return Ok(());
            }
        }
    }
}

/// Runs until the stack is closed. If it fails, whoever waits is told.
pub(crate) fn run(driver: &Driver) {
    let result = panic::catch_unwind(AssertUnwindSafe(|| IoThread::new(driver).run()));
    if let Ok(Ok(())) = result {
        return;
    }
    tracing::error!(?result, "the I/O thread failed");
    let _ = driver.closing.set(Instant::now());
    for endpoint in driver.endpoints() {
        endpoint.fail();
    }
    driver.write_endpoints().clear();
}

/// What only the I/O thread uses.
struct IoThread<'a> {
    driver: &'a Driver,
    inbox: Inbox,
    datagrams: Vec<Datagram>,
    notices: Vec<PathNotice>,
    /// Ports of endpoints whose deadline has come.
    due: Vec<u16>,
    strangers: Strangers,
    answers: Batch,
    host: Host,
}

impl<'a> IoThread<'a> {
    fn new(driver: &'a Driver) -> Self {
        Self {
            driver,
            inbox: Inbox::new(),
            datagrams: Vec::new(),
            notices: Vec::new(),
            due: Vec::new(),
            strangers: Strangers::new(driver.hears_ip(), driver.links.udp_port(), Instant::now()),
            answers: Batch::default(),
            host: Host::new(address::addresses(), Instant::now()),
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let driver = self.driver;
        loop {
            self.claim_role();
            let limits = [driver.closing.get().copied(), self.host.look_due()];
            let limit = limits.into_iter().flatten().min();
            let until = driver.lock_schedule().fall_asleep(limit);
            let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
            let ready = driver.links.wait(driver.bell.as_fd(), timeout)?;
            driver.lock_schedule().wake_up();
            if ready.woken {
                // Read so that it rings anew; what it rang for is looked at below in any case.
                let _ = driver.bell.read();
            }
            if ready.any() {
                let Self { inbox, datagrams, notices, .. } = self;
                driver.links.receive(inbox, ready, datagrams, notices);
                self.deliver();
            }
            let is_changed = driver.is_host_doubtful.swap(false, Ordering::SeqCst);
            if is_changed || ready.have_addresses_changed() {
                self.host.is_said_to_change();
            }
            self.follow_host();
            self.fire();
            if self.is_over() {
                return Ok(());
            }
        }
    }

    /// Gives packets and notices to the endpoints they are for, each endpoint's in one go.
    fn deliver(&mut self) {
        // Sorting keeps the order within a port.
        self.datagrams.sort_by_key(destination_port);
        let mut datagrams = self.datagrams.drain(..).peekable();
        while let Some(first) = datagrams.next() {
            let port = destination_port(&first);
            let endpoint = port.and_then(|port| self.driver.endpoint(port));
            let endpoint = endpoint.filter(|endpoint| endpoint.accepts(first.destination));
            let Some(endpoint) = endpoint else {
                let Batch { bytes, transmits } = &mut self.answers;
                transmits.extend(self.strangers.answer(Instant::now(), &first, bytes));
                continue;
            };
            let same = |next: &Datagram| {
                destination_port(next) == port && endpoint.accepts(next.destination)
            };
            let rest = std::iter::from_fn(|| datagrams.next_if(same));
            endpoint.receive(std::iter::once(first).chain(rest));
        }
        drop(datagrams);
        self.notices.sort_by_key(|notice| notice.quote.source_port);
        let mut notices = self.notices.drain(..).peekable();
        while let Some(first) = notices.next() {
            tracing::debug!(notice = ?first, "the network reports");
            let port = first.quote.source_port;
            if let Some(endpoint) = self.driver.endpoint(port) {
                let same = |next: &PathNotice| next.quote.source_port == port;
                let rest = std::iter::from_fn(|| notices.next_if(same));
                endpoint.notice(std::iter::once(first).chain(rest));
            }
        }
        drop(notices);
        self.send_answers();
    }

    /// Tells the endpoints of addresses that came and went.
    fn follow_host(&mut self) {
        let look = || address::addresses();
        let Some(lost) = self.host.look(Instant::now(), look) else { return };
        tracing::debug!(addresses = ?self.host.addresses(), ?lost, "the host's addresses changed");
        let all = self.driver.bound_to_all(self.host.addresses());
        for endpoint in self.driver.endpoints() {
            endpoint.host_changed(&all, &lost);
        }
    }

    fn send_answers(&mut self) {
        let Batch { bytes, transmits } = &mut self.answers;
        if transmits.is_empty() {
            return;
        }
        self.driver.answered.fetch_add(transmits.len() as u64, Ordering::Relaxed);
        // What cannot be sent is no loss to anyone here.
        self.driver.links.send(bytes, transmits, &mut Vec::new());
        bytes.clear();
        transmits.clear();
    }

    /// Looks at the endpoints whose deadline has come, at each once: packets are not to wait for long.
    fn fire(&mut self) {
        let now = Instant::now();
        let mut schedule = self.driver.lock_schedule();
        self.due.extend(std::iter::from_fn(|| schedule.due(now)));
        drop(schedule);
        for port in self.due.drain(..) {
            if let Some(endpoint) = self.driver.endpoint(port) {
                endpoint.time_out();
            }
        }
    }

    /// Whether the stack is closed and all its associations have ended, by themselves or by ABORT.
    fn is_over(&mut self) -> bool {
        let Some(&by) = self.driver.closing.get() else { return false };
        let endpoints = self.driver.endpoints();
        if Instant::now() < by && !endpoints.iter().all(|endpoint| endpoint.is_idle()) {
            return false;
        }
        for endpoint in endpoints {
            endpoint.end();
        }
        self.driver.write_endpoints().clear();
        true
    }

    fn claim_role(&mut self) {
        if self.strangers.claim_role(Instant::now()) {
            tracing::debug!("this process answers packets out of the blue");
            self.driver.is_responder.store(true, Ordering::SeqCst);
            self.driver.wanted.fetch_add(1, Ordering::SeqCst);
            if let Err(error) = self.driver.filter() {
                tracing::debug!(%error, "packets for other ports are not heard");
            }
        }
    }
}
