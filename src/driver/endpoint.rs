//! An endpoint behind its lock: whoever has an input for it gives it, takes the packets that result, and sends them.

use std::net::{IpAddr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use usctp_assoc::{
    Advertise, Association, AssociationId, Datagram, Endpoint, NoticeKind, PathNotice, Received,
    Transmit,
};

use self::inner::After;
use super::Driver;
use super::endpoints::Key;
use super::held::Held;
use super::outgoing::{Batch, Next, Outgoing, Sending};
use super::sources::{LinkMtus, Sources};
use super::wait::{Queue, Token};
use crate::address::{self, HostAddress, Scope};
use crate::error::{BadLocalAddress, Error};
use crate::link::routing::Routing;
use crate::origin::Origin;
use crate::port::Port;

mod inner;

pub(crate) use inner::Inner;

/// An endpoint that several threads drive.
#[derive(Debug)]
pub(crate) struct SharedEndpoint {
    key: Key,
    port: u16,
    /// The addresses whose packets are for it, those included that were unbound since, which older associations have;
    /// none if it is bound to all.
    accepted: RwLock<Vec<IpAddr>>,
    is_bound_to_all: bool,
    shutdown_guard: Duration,
    /// The process that may use it.
    origin: Origin,
    /// Whether it was told of the host's addresses since it was made.
    follows_host: AtomicBool,
    /// Gone once the stack was dropped; so handles that outlive it keep no descriptor open.
    driver: Weak<Driver>,
    inner: Mutex<Inner>,
    outgoing: Outgoing,
    /// What the thread that sends holds back.
    held: Mutex<Held>,
    /// Which of the bound addresses packets leave from; used by the one thread that sends.
    sources: Mutex<Sources>,
    link_mtus: Mutex<LinkMtus>,
}

impl SharedEndpoint {
    pub(crate) fn new(
        endpoint: Endpoint,
        bound: Vec<IpAddr>,
        shutdown_guard: Duration,
        lease: Vec<Port>,
        driver: &Arc<Driver>,
    ) -> Self {
        Self {
            key: driver.new_key(),
            port: endpoint.port(),
            is_bound_to_all: bound.is_empty(),
            accepted: RwLock::new(bound),
            shutdown_guard,
            origin: driver.origin(),
            follows_host: AtomicBool::new(false),
            driver: Arc::downgrade(driver),
            inner: Mutex::new(Inner::new(endpoint, lease, Arc::clone(driver.spares()))),
            outgoing: Outgoing::new(Arc::clone(driver.spares())),
            held: Mutex::default(),
            sources: Mutex::default(),
            link_mtus: Mutex::default(),
        }
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_bound_to_all(&self) -> bool {
        self.is_bound_to_all
    }

    /// Whether packets to this local address are for this endpoint.
    pub(crate) fn accepts(&self, destination: IpAddr) -> bool {
        let accepted = || self.accepted.read().unwrap_or_else(PoisonError::into_inner);
        self.is_bound_to_all || accepted().contains(&destination)
    }

    /// Binds more addresses: all of them or none.
    ///
    /// # Errors
    /// [`Error::BadLocalAddress`], [`Error::StackClosed`], [`Error::Forked`].
    pub(crate) fn bind_more(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        self.origin.check()?;
        let driver = self.driver().ok_or(Error::StackClosed)?;
        self.check_unbounded(addresses)?;
        driver.check_bindable(addresses)?;
        self.act(|inner, _| {
            inner.check_open()?;
            let mut accepted = self.accepted.write().unwrap_or_else(PoisonError::into_inner);
            inner.bind_more(addresses)?;
            for address in addresses.iter().map(IpAddr::to_canonical) {
                // One that was unbound before is in it still.
                if !accepted.contains(&address) {
                    accepted.push(address);
                }
            }
            Ok(())
        })
    }

    /// Unbinds addresses: all of them or none.
    ///
    /// # Errors
    /// [`Error::BadLocalAddress`], [`Error::StackClosed`], [`Error::Forked`].
    pub(crate) fn unbind(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        self.check_unbounded(addresses)?;
        self.with(|inner, _| {
            inner.check_open()?;
            inner.unbind(addresses)
        })
    }

    /// True for the first time.
    pub(super) fn begins_to_follow_host(&self) -> bool {
        !self.follows_host.swap(true, Ordering::Relaxed)
    }

    /// The host's addresses changed: `all` is what a socket that is bound to all has of them now, `lost` are gone.
    pub(crate) fn host_changed(&self, host: &[HostAddress], all: &[IpAddr], lost: &[IpAddr]) {
        self.lock_sources().forget_all();
        self.lock_link_mtus().forget_all();
        self.act(|inner, _| {
            let endpoint = inner.endpoint();
            endpoint.set_host_addresses(host.iter().map(|own| (own.address, own.interface)));
            if self.is_bound_to_all {
                endpoint.set_addresses(all.iter().copied());
                endpoint.set_unlisted(address::inner_of(host));
            }
            lost.iter().for_each(|address| endpoint.address_lost(*address));
        });
    }

    /// What is to be told to these peers: with those addresses that are told only to peers that they lead to, where they do.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::StackClosed`]; [`Error::Io`] if the kernel does not say which way they are.
    pub(crate) fn advertise(
        &self,
        peers: &[SocketAddr],
        chosen: Advertise,
    ) -> Result<Advertise, Error> {
        self.origin.check()?;
        let unlisted = self.peek(|inner| inner.unlisted().to_vec());
        if unlisted.is_empty() || chosen != Advertise::Bound {
            return Ok(chosen);
        }
        let driver = self.driver().ok_or(Error::StackClosed)?;
        let sources = peers.iter().map(|peer| driver.source_towards(peer));
        let used: Vec<IpAddr> = sources.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        if !unlisted.iter().any(|own| used.contains(own)) {
            return Ok(chosen);
        }
        let is_told = |own: &IpAddr| !unlisted.contains(own) || used.contains(own);
        let told = self.peek(|inner| inner.addresses().iter().copied().filter(is_told).collect());
        Ok(Advertise::Explicit(told))
    }

    /// The host has got addresses; what it has now is looked at later.
    pub(crate) fn host_gained(&self, addresses: &[(IpAddr, u32)]) {
        self.act(|inner, _| inner.endpoint().add_host_addresses(addresses.iter().copied()));
    }

    /// Whether a packet of this endpoint, meant for a peer elsewhere, came back to this host.
    pub(crate) fn has_sent_astray(&self, datagram: &Datagram) -> bool {
        self.peek(|inner| inner.has_sent_astray(datagram))
    }

    fn check_unbounded(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        match addresses.first() {
            Some(&address) if self.is_bound_to_all => {
                let why = BadLocalAddress::BoundToAll;
                Err(Error::BadLocalAddress { index: 0, address, why })
            }
            _ => Ok(()),
        }
    }

    /// How long a graceful close may take (T5-shutdown-guard).
    pub(crate) fn shutdown_guard(&self) -> Duration {
        self.shutdown_guard
    }

    pub(crate) fn driver(&self) -> Option<Arc<Driver>> {
        self.driver.upgrade()
    }

    pub(super) fn weak_driver(&self) -> &Weak<Driver> {
        &self.driver
    }

    /// One input of the application under the lock; then all that follows from it: packets are sent and waiters woken when
    /// the lock is no longer held.
    ///
    /// # Errors
    /// [`Error::Forked`]; those of the input.
    pub(crate) fn with<T>(
        &self,
        act: impl FnOnce(&mut Inner, Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.origin.check()?;
        self.act(act)
    }

    /// A look of the application under the lock, which changes nothing; a forked child sees what is left when all is
    /// `gone`.
    pub(crate) fn look<T>(&self, gone: T, look: impl FnOnce(&Inner) -> T) -> T {
        if self.is_here() { self.peek(look) } else { gone }
    }

    /// Whether the process is the one that opened the stack: a forked child must take no lock, since the thread that held
    /// it may be missing there.
    pub(super) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    /// Any input.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut Inner, Instant) -> T) -> T {
        if self.outgoing.is_full() {
            self.make_room();
        }
        let mut inner = self.lock();
        // Read under the lock, so that time never runs back for the endpoint.
        let now = Instant::now();
        let value = act(&mut inner, now);
        let after = inner.settle(now, &self.outgoing);
        drop(inner);
        if let Some(after) = after {
            self.follow(after);
        }
        value
    }

    fn peek<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.lock())
    }

    /// Takes a message of an association if there is one: without a look at the clock, and with nothing to follow unless
    /// it opens the window. So messages that are held stay so.
    /// A forked child finds none.
    pub(crate) fn recv(&self, id: AssociationId) -> Option<Received> {
        if !self.is_here() {
            return None;
        }
        let (message, opens_window) = self.lock().recv(id)?;
        if opens_window {
            self.act(|_, _| ());
        }
        Some(message)
    }

    /// Packets that arrived for this endpoint; whether there were more INITs among them than it answers.
    pub(crate) fn receive(&self, datagrams: impl Iterator<Item = Datagram>) -> bool {
        self.act(|inner, now| inner.receive(now, datagrams))
    }

    /// What the network says about packets of this endpoint.
    pub(crate) fn notice(&self, notices: impl Iterator<Item = PathNotice>) {
        self.act(|inner, now| notices.for_each(|notice| inner.notice(now, notice)));
    }

    /// The deadline this endpoint entered has come, or another thread leaves it to the I/O thread to send.
    pub(crate) fn time_out(&self) {
        self.act(Inner::time_out);
        if let Some(driver) = self.driver() {
            self.send(&driver);
        }
    }

    /// Forgets a waiter that was dropped.
    pub(crate) fn forget_waiter(&self, queue: Queue, token: Token) {
        if !self.is_here() {
            return;
        }
        let mut inner = self.lock();
        let removed = inner.waiters(queue).and_then(|waiters| waiters.remove(token));
        drop(inner);
        drop(removed);
    }

    /// The handle of an association is gone: it is closed gracefully within the shutdown guard.
    pub(crate) fn forsake(&self, id: AssociationId) {
        if self.is_here() {
            self.act(|inner, now| inner.forsake(now, id, self.shutdown_guard));
        }
    }

    /// Ends an association at once and forgets it.
    pub(crate) fn cancel(&self, id: AssociationId) {
        if self.is_here() {
            self.act(|inner, now| inner.cancel(now, id));
        }
    }

    /// The socket was dropped: nothing new is accepted, and the endpoint goes when its last association does.
    pub(crate) fn abandon(&self, linger: Duration) {
        if self.is_here() {
            self.act(|inner, now| inner.abandon(now, linger));
        }
    }

    /// Closes every association, and aborts those that have not ended within `linger`.
    pub(crate) fn close(&self, linger: Duration) {
        if self.is_here() {
            self.act(|inner, now| inner.close_all(now, linger));
        }
    }

    /// Ends whatever is left, at once, and gives the port back.
    pub(crate) fn end(&self) {
        if self.is_here() {
            self.act(Inner::end);
        }
    }

    /// The I/O thread has failed: nothing more is asked of the protocol, and whoever waits is told.
    pub(crate) fn fail(&self) {
        let mut inner = self.lock();
        inner.die();
        let woken = inner.take_woken();
        drop(inner);
        wake_all(woken);
    }

    /// Whether no association is left that has not ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// Chooses, where the protocol leaves it to routing, the address that a packet leaves from: always one that the peer
    /// was told of, since it has no association with others. Packets that none of them reaches are taken out.
    ///
    /// Where routing does not answer and never has, the first one of the family has to do.
    pub(crate) fn choose_sources(
        &self,
        routing: &Routing,
        batch: &mut Batch,
        refused: &mut Vec<PathNotice>,
    ) {
        if batch.transmits.iter().all(|transmit| transmit.source.is_some()) {
            return;
        }
        let now = Instant::now();
        // Bound to all addresses, it has those too that are not listed because only neighbours can use them.
        let is_near =
            |destination| self.is_bound_to_all && Scope::of(destination) <= Scope::LinkLocal;
        // Taken out, since routing is asked by system calls; only the one thread that sends is here.
        let mut sources = self.lock_sources().take_out();
        let mut is_lost = false;
        // Packets that leave together go the same way, nearly always.
        let mut last = None;
        for transmit in batch.transmits.iter_mut().filter(|transmit| transmit.source.is_none()) {
            let Transmit { destination, zone, sources: set, .. } = *transmit;
            if is_near(destination) {
                continue;
            }
            let way = (set, destination, zone);
            let allowed = || self.peek(|inner| inner.address_set(set).to_vec());
            let ask = || address::source_in_zone(routing, destination, zone, &allowed());
            let guess = |_| {
                let is_fit = |own: &IpAddr| own.is_ipv4() == destination.is_ipv4();
                allowed().into_iter().find(is_fit)
            };
            transmit.source = match last {
                Some((known, source)) if known == way => source,
                _ => sources.towards(way, now, ask).unwrap_or_else(guess),
            };
            last = Some((way, transmit.source));
            is_lost |= transmit.source.is_none();
        }
        self.lock_sources().put_back(sources);
        if is_lost {
            batch.refuse(refused, |transmit| {
                transmit.source.is_none() && !is_near(transmit.destination)
            });
        }
    }

    /// Tells a new association what the links take that lead to its peer's addresses: system calls, so without the lock.
    fn tell_of_links(&self, driver: &Driver, id: AssociationId) {
        let peers = |inner: &Inner| -> Vec<IpAddr> {
            inner.view(id).into_iter().flat_map(Association::paths).map(|path| path.peer).collect()
        };
        let (peers, now) = (self.peek(peers), Instant::now());
        let mut known = self.lock_link_mtus().take_out();
        // A neighbour's link-local address means nothing without its zone, and discovery finds what its link takes.
        let far = peers.into_iter().filter(|peer| Scope::of(*peer) != Scope::LinkLocal);
        let links: Vec<(IpAddr, u16)> = far
            .filter_map(|peer| {
                // The greatest packet has no more bytes (RFC 791, 3.1), whatever the loopback interface takes.
                let greatest = |mtu| u16::try_from(mtu).unwrap_or(u16::MAX);
                let ask = || Ok(driver.links().mtu_towards(peer, 0, None)?.map(greatest));
                Some((peer, known.towards(peer, now, ask).ok()??))
            })
            .collect();
        self.lock_link_mtus().put_back(known);
        self.act(|inner, now| {
            let Some((association, _)) = inner.association(id) else { return };
            links.iter().for_each(|(peer, mtu)| association.learn_link_mtu(now, *peer, *mtu));
        });
    }

    /// Does what was put off until the lock was released.
    fn follow(&self, after: After) {
        let driver = self.driver();
        if let Some(driver) = &driver {
            // Before the packets: there may be many.
            if let Some(deadline) = after.deadline {
                driver.schedule(self.key, deadline);
            }
            if after.has_packets {
                self.send(driver);
            }
            if !after.lease.is_empty() {
                driver.remove(self.key);
            }
        }
        drop(after.lease);
        // Before those who wait for the association: their first messages then fill packets.
        for id in after.established {
            driver.iter().for_each(|driver| self.tell_of_links(driver, id));
        }
        // A waker may run anything: nothing of the stack is kept alive for it.
        drop(driver);
        wake_all(after.woken);
    }

    /// Sends what is queued, unless another thread does. What follows from packets that were refused is done when it is over:
    /// it may wait for what is to be sent, and wakers may run anything.
    fn send(&self, driver: &Driver) {
        let Some(mut batch) = self.outgoing.begin() else { return };
        let sending = Sending::new(&self.outgoing);
        let mut later = Vec::new();
        // Another thread that begins when this one has ended waits for it to look up.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for turn in 1.. {
            let held_before = held.due().is_some();
            let (notices, due) = driver.transmit(self, &mut held, &mut batch);
            if due.is_some() || held_before {
                self.outgoing.hold_until(due);
                due.into_iter().for_each(|due| driver.schedule(self.key, due));
            }
            if !notices.is_empty() {
                later.extend(self.take_notices(notices));
            }
            match self.outgoing.next(batch, turn) {
                Next::Send(next) => batch = next,
                Next::Done => break,
                Next::HandOver => {
                    driver.schedule(self.key, Instant::now());
                    break;
                }
            }
        }
        drop(held);
        sending.end();
        for after in later {
            self.follow(After { has_packets: false, ..after });
        }
    }

    /// Tells the endpoint of packets that this host refused to send; what it makes of that is sent next, and the rest is to be
    /// done later.
    fn take_notices(&self, notices: Vec<PathNotice>) -> Option<After> {
        let mut sources = self.lock_sources();
        for notice in notices.iter().filter(|notice| notice.kind == NoticeKind::SendFailed) {
            sources.forget(notice.peer);
        }
        drop(sources);
        let mut inner = self.lock();
        let now = Instant::now();
        for notice in notices {
            inner.notice(now, notice);
        }
        inner.settle(now, &self.outgoing)
    }

    /// Waits until much of what is to be sent was sent; a stack that is gone sends nothing.
    fn make_room(&self) {
        while !self.outgoing.wait_for_room()
            && let Some(driver) = self.driver()
        {
            self.send(&driver);
        }
    }

    fn lock_link_mtus(&self) -> MutexGuard<'_, LinkMtus> {
        self.link_mtus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes each of them. What one does is none of the others' business, nor of the thread's that happens to wake it.
fn wake_all(woken: Vec<Waker>) {
    for waker in woken {
        if panic::catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
            tracing::error!("a waker panicked");
        }
    }
}

#[cfg(test)]
mod tests;
