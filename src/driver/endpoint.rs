//! An endpoint behind its lock: whoever has an input for it gives it, takes the packets that result, and sends them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use usctp_assoc::{Association, AssociationId, Counters, Datagram, Endpoint, Event, PathNotice};

use super::Driver;
use super::outgoing::{Batch, Next, Outgoing};
use super::slot::{Owner, Slot};
use super::sources::Sources;
use super::wait::{Interest, Queue, Token, Waiters};
use crate::address;
use crate::error::Error;
use crate::port::Port;

/// How many associations wait to be accepted before INITs are refused.
const BACKLOG: usize = 1024;

/// An endpoint that several threads drive.
#[derive(Debug)]
pub(crate) struct SharedEndpoint {
    port: u16,
    /// The addresses it is bound to; none if it is bound to all.
    bound: Vec<IpAddr>,
    shutdown_guard: Duration,
    /// Gone once the stack was dropped; so handles that outlive it keep no descriptor open.
    driver: Weak<Driver>,
    inner: Mutex<Inner>,
    outgoing: Outgoing,
    /// Which of the bound addresses packets leave from; used by the one thread that sends.
    sources: Mutex<Sources>,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct Inner {
    endpoint: Endpoint,
    slots: HashMap<AssociationId, Slot>,
    /// Associations that wait to be accepted, the oldest first.
    backlog: VecDeque<AssociationId>,
    waiters: Waiters,
    /// When associations that are closing without anybody waiting for them are aborted.
    closing: BTreeSet<(Instant, AssociationId)>,
    is_listening: bool,
    stage: Stage,
    batch: Batch,
    woken: Vec<Waker>,
    /// The deadline that the I/O thread knows of.
    entered: Option<Instant>,
    /// The hold on the port.
    lease: Vec<Port>,
}

/// What became of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is in use.
    Open,
    /// It was dropped: the endpoint goes when its last association does.
    Dropped,
    /// It was closed: nothing can be started any more.
    Closed,
    /// Nobody drives it any more: nothing will ever happen.
    Dead,
}

/// What is to be done when the lock is no longer held.
struct After {
    has_packets: bool,
    woken: Vec<Waker>,
    /// A deadline that the I/O thread does not know of yet.
    deadline: Option<Instant>,
    /// The hold on the port if the endpoint is no longer needed.
    lease: Vec<Port>,
}

impl SharedEndpoint {
    pub(crate) fn new(
        endpoint: Endpoint,
        bound: Vec<IpAddr>,
        shutdown_guard: Duration,
        lease: Vec<Port>,
        driver: Weak<Driver>,
    ) -> Self {
        Self {
            port: endpoint.port(),
            bound,
            shutdown_guard,
            driver,
            inner: Mutex::new(Inner {
                endpoint,
                slots: HashMap::new(),
                backlog: VecDeque::new(),
                waiters: Waiters::default(),
                closing: BTreeSet::new(),
                is_listening: false,
                stage: Stage::Open,
                batch: Batch::default(),
                woken: Vec::new(),
                entered: None,
                lease,
            }),
            outgoing: Outgoing::default(),
            sources: Mutex::default(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether packets to this local address are for this endpoint.
    pub(crate) fn accepts(&self, destination: IpAddr) -> bool {
        self.bound.is_empty() || self.bound.contains(&destination)
    }

    /// How long a graceful close may take (T5-shutdown-guard).
    pub(crate) fn shutdown_guard(&self) -> Duration {
        self.shutdown_guard
    }

    pub(crate) fn driver(&self) -> Option<Arc<Driver>> {
        self.driver.upgrade()
    }

    /// One input, or a look, under the lock; then all that follows from it: packets are sent and waiters woken
    /// when the lock is no longer held.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Inner, Instant) -> T) -> T {
        let driver = self.driver();
        if let Some(driver) = &driver {
            self.make_room(driver);
        }
        let mut inner = self.lock();
        // Read under the lock, so that time never runs back for the endpoint.
        let now = Instant::now();
        let value = act(&mut inner, now);
        let after = inner.settle(now, &self.outgoing);
        drop(inner);
        self.follow(driver.as_deref(), after);
        value
    }

    /// A look under the lock, which changes nothing.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.lock())
    }

    /// Packets that arrived for this endpoint.
    pub(crate) fn receive(&self, datagrams: impl Iterator<Item = Datagram>) {
        self.with(|inner, now| {
            for datagram in datagrams {
                tracing::trace!(port = self.port, source = %datagram.source,
                    bytes = datagram.payload.len(), "received");
                inner.endpoint.handle_datagram(now, datagram);
                // Drained after each, so that every second packet gets its SACK (RFC 9260, 6.2), not every batch.
                inner.drain(now);
            }
        });
    }

    /// What the network says about packets of this endpoint.
    pub(crate) fn notice(&self, notices: impl Iterator<Item = PathNotice>) {
        self.with(|inner, now| {
            for notice in notices {
                inner.endpoint.handle_notice(now, notice);
                inner.drain(now);
            }
        });
    }

    /// The deadline this endpoint entered has come.
    pub(crate) fn time_out(&self) {
        self.with(|inner, now| {
            inner.entered = None;
            inner.expire(now);
            inner.endpoint.handle_timeout(now);
        });
        if let Some(driver) = self.driver() {
            self.send(&driver);
        }
    }

    /// Forgets a waiter that was dropped.
    pub(crate) fn forget_waiter(&self, queue: Queue, token: Token) {
        let mut inner = self.lock();
        let removed = inner.waiters(queue).and_then(|waiters| waiters.remove(token));
        drop(inner);
        drop(removed);
    }

    /// The last handle of an association is gone: it is closed gracefully within the shutdown guard.
    pub(crate) fn forsake(&self, id: AssociationId) {
        self.with(|inner, now| inner.forsake(now, id, self.shutdown_guard));
    }

    /// Ends an association at once and forgets it.
    pub(crate) fn cancel(&self, id: AssociationId) {
        self.with(|inner, now| {
            if let Some(slot) = inner.slots.get_mut(&id) {
                slot.owner = Owner::Nobody;
            }
            inner.abort(now, id, Bytes::new());
            inner.drain(now);
            inner.release(now, id);
        });
    }

    /// The socket was dropped: nothing new is accepted, and the endpoint goes when its last association does.
    pub(crate) fn abandon(&self, linger: Duration) {
        self.with(|inner, now| {
            if inner.stage == Stage::Open {
                inner.stage = Stage::Dropped;
            }
            inner.listen(false);
            for id in inner.slots.keys().copied().collect::<Vec<_>>() {
                if inner.slots.get(&id).is_some_and(|slot| slot.owner != Owner::Handle) {
                    inner.forsake(now, id, linger);
                }
            }
            inner.backlog.clear();
        });
    }

    /// Closes every association, and aborts those that have not ended within `linger`.
    pub(crate) fn close(&self, linger: Duration) {
        self.abandon(linger);
        self.with(|inner, now| {
            if inner.stage != Stage::Dead {
                inner.stage = Stage::Closed;
            }
            for id in inner.slots.keys().copied().collect::<Vec<_>>() {
                inner.close(now, id, linger);
            }
        });
    }

    /// Ends whatever is left, at once, and gives the port back.
    pub(crate) fn end(&self) {
        self.with(|inner, now| {
            inner.listen(false);
            for id in inner.slots.keys().copied().collect::<Vec<_>>() {
                inner.abort(now, id, Bytes::from_static(b"the socket was closed"));
            }
            inner.drain(now);
            inner.die();
        });
    }

    /// The I/O thread has failed: nothing more is asked of the protocol, and whoever waits is told.
    pub(crate) fn fail(&self) {
        let mut inner = self.lock();
        inner.die();
        let woken = std::mem::take(&mut inner.woken);
        drop(inner);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether no association is left that has not ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// Chooses, where the protocol leaves it to routing, the address that a packet leaves from.
    pub(crate) fn choose_sources(&self, batch: &mut Batch) {
        // Bound to all addresses, the choice is the kernel's.
        if self.bound.is_empty() || batch.transmits.iter().all(|transmit| transmit.source.is_some())
        {
            return;
        }
        let now = Instant::now();
        // Taken out, since routing is asked by system calls; only the one thread that sends is here.
        let mut sources = std::mem::take(&mut *self.lock_sources());
        for transmit in batch.transmits.iter_mut().filter(|transmit| transmit.source.is_none()) {
            let destination = transmit.destination;
            let ask = || address::source_for(destination, &self.bound);
            transmit.source = sources.towards(destination, now, ask);
        }
        *self.lock_sources() = sources;
    }

    /// Does what was put off until the lock was released.
    fn follow(&self, driver: Option<&Driver>, after: After) {
        if let Some(driver) = driver {
            // Before the packets, since sending may have to wait for a full socket.
            if let Some(deadline) = after.deadline {
                driver.schedule(self.port, deadline);
            }
            if after.has_packets {
                self.send(driver);
            }
            if !after.lease.is_empty() {
                driver.remove(self.port);
            }
        }
        drop(after.lease);
        for waker in after.woken {
            waker.wake();
        }
    }

    /// Sends what is queued, unless another thread does.
    fn send(&self, driver: &Driver) {
        let Some(mut batch) = self.outgoing.begin() else { return };
        for turn in 1.. {
            let notices = driver.transmit(self, &mut batch);
            if !notices.is_empty() {
                self.take_notices(driver, notices);
            }
            match self.outgoing.next(batch, turn) {
                Next::Send(next) => batch = next,
                Next::Done => break,
                Next::HandOver => {
                    driver.schedule(self.port, Instant::now());
                    break;
                }
            }
        }
    }

    /// Tells the endpoint of packets that this host refused to send; what it makes of that is sent next.
    fn take_notices(&self, driver: &Driver, notices: Vec<PathNotice>) {
        let mut inner = self.lock();
        let now = Instant::now();
        for notice in notices {
            inner.endpoint.handle_notice(now, notice);
            inner.drain(now);
        }
        let after = inner.settle(now, &self.outgoing);
        drop(inner);
        self.follow(Some(driver), After { has_packets: false, ..after });
    }

    fn make_room(&self, driver: &Driver) {
        while !self.outgoing.wait_for_room() {
            self.send(driver);
        }
    }

    fn lock_sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The protocol's endpoint.
    pub(crate) fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// An association with what the stack keeps for it.
    pub(crate) fn association(
        &mut self,
        id: AssociationId,
    ) -> Option<(&mut Association, &mut Slot)> {
        Some((self.endpoint.association(id)?, self.slots.get_mut(&id)?))
    }

    /// An association to look at.
    pub(crate) fn view(&self, id: AssociationId) -> Option<&Association> {
        self.endpoint.view(id)
    }

    /// The addresses that INIT and INIT ACK list.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        self.endpoint.addresses()
    }

    /// What became of the packets for this port.
    pub(crate) fn counters(&self) -> &Counters {
        self.endpoint.counters()
    }

    /// What the stack keeps for an association, to look at.
    pub(crate) fn slot(&self, id: AssociationId) -> Option<&Slot> {
        self.slots.get(&id)
    }

    /// What the stack keeps for an association.
    pub(crate) fn slot_mut(&mut self, id: AssociationId) -> Option<&mut Slot> {
        self.slots.get_mut(&id)
    }

    /// A list of waiters; none for an association that is forgotten.
    pub(crate) fn waiters(&mut self, queue: Queue) -> Option<&mut Waiters> {
        match queue {
            Queue::Endpoint => Some(&mut self.waiters),
            Queue::Association(id) => self.slots.get_mut(&id).map(|slot| &mut slot.waiters),
        }
    }

    /// Makes room for an association that the application has just opened.
    pub(crate) fn opened(&mut self, id: AssociationId) {
        self.slots.insert(id, Slot::new(Owner::Handle));
    }

    /// Whether the socket can still be used.
    ///
    /// # Errors
    /// [`Error::StackClosed`] if it or its stack was closed.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match self.stage {
            Stage::Open | Stage::Dropped => Ok(()),
            Stage::Closed | Stage::Dead => Err(Error::StackClosed),
        }
    }

    /// Whether waiting is in vain.
    pub(crate) fn is_dead(&self) -> bool {
        self.stage == Stage::Dead
    }

    /// Begins or ends answering INITs.
    pub(crate) fn listen(&mut self, on: bool) {
        self.is_listening = on;
        self.endpoint.listen(on && self.backlog.len() < BACKLOG);
        if !on {
            self.waiters.take(Interest::ACCEPT, &mut self.woken);
        }
    }

    /// Whether INITs are answered, or would be if the backlog had room.
    pub(crate) fn is_listening(&self) -> bool {
        self.is_listening
    }

    /// Takes the oldest association that waits to be accepted.
    pub(crate) fn accept(&mut self) -> Option<AssociationId> {
        let id = self.backlog.pop_front()?;
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.owner = Owner::Handle;
        }
        if self.is_listening {
            self.endpoint.listen(true);
        }
        Some(id)
    }

    /// Ends an association at once.
    pub(crate) fn abort(&mut self, now: Instant, id: AssociationId, reason: Bytes) {
        let Some(slot) = self.slots.get(&id) else { return };
        if slot.has_ended() {
            return;
        }
        if let Some(association) = self.endpoint.association(id) {
            association.abort(now, reason);
        }
    }

    /// Whether no association is left that has not ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.values().all(Slot::has_ended)
    }

    /// Nobody holds the association any more: it is closed, then forgotten.
    fn forsake(&mut self, now: Instant, id: AssociationId, bound: Duration) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.owner = Owner::Nobody;
        slot.events = Default::default();
        if slot.has_ended() {
            self.release(now, id);
            return;
        }
        self.close(now, id, bound);
        self.discard(now, id);
    }

    /// Closes an association gracefully, and aborts it if that takes longer than `bound`.
    fn close(&mut self, now: Instant, id: AssociationId, bound: Duration) {
        if self.slots.get(&id).is_none_or(Slot::has_ended) {
            return;
        }
        if let Some(association) = self.endpoint.association(id) {
            association.shutdown(now);
        }
        if let Some(by) = now.checked_add(bound) {
            self.closing.insert((by, id));
        }
    }

    fn die(&mut self) {
        self.stage = Stage::Dead;
        for slot in self.slots.values_mut() {
            slot.waiters.take(Interest::ALL, &mut self.woken);
        }
        self.waiters.take(Interest::ALL, &mut self.woken);
    }

    /// Forgets an association.
    fn release(&mut self, now: Instant, id: AssociationId) {
        if let Some(mut slot) = self.slots.remove(&id) {
            slot.waiters.take(Interest::ALL, &mut self.woken);
            self.endpoint.release(now, id);
        }
    }

    /// Throws away messages that nobody will take: kept, they would close the receive window,
    /// and the peer's SHUTDOWN ACK would never come.
    fn discard(&mut self, now: Instant, id: AssociationId) {
        if let Some(association) = self.endpoint.association(id) {
            while association.recv(now).is_some() {}
        }
    }

    /// Aborts associations whose graceful close took too long.
    fn expire(&mut self, now: Instant) {
        while let Some(&(by, id)) = self.closing.first()
            && by <= now
        {
            self.closing.pop_first();
            self.abort(now, id, Bytes::from_static(b"the graceful close took too long"));
        }
    }

    /// Takes the packets and events that one input led to.
    fn drain(&mut self, now: Instant) {
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.batch.bytes) {
                self.batch.transmits.push(transmit);
            }
            let mut has_acted = false;
            while let Some((id, event)) = self.endpoint.poll_event() {
                has_acted |= self.on_event(now, id, event);
            }
            if !has_acted {
                return;
            }
        }
    }

    /// Takes note of an event; says whether it led to an input of our own.
    fn on_event(&mut self, now: Instant, id: AssociationId, event: Event) -> bool {
        tracing::debug!(port = self.endpoint.port(), association = %id, ?event, "event");
        if !self.slots.contains_key(&id) && !self.arrived(now, id, &event) {
            return true;
        }
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let is_readable = event == Event::Readable;
        slot.on_event(event, &mut self.woken);
        if slot.owner != Owner::Nobody {
            return false;
        }
        if slot.has_ended() {
            self.release(now, id);
            return true;
        }
        if is_readable {
            self.discard(now, id);
        }
        is_readable
    }

    /// A peer opened an association; false if it was turned away.
    fn arrived(&mut self, now: Instant, id: AssociationId, event: &Event) -> bool {
        let is_new = matches!(event, Event::CommUp { .. });
        // INITs are refused while the backlog is full, but cookies given out before still come back.
        if !is_new || !self.is_listening || self.backlog.len() >= 2 * BACKLOG {
            self.endpoint.release(now, id);
            return false;
        }
        self.slots.insert(id, Slot::new(Owner::Backlog));
        self.backlog.push_back(id);
        if self.backlog.len() == BACKLOG {
            self.endpoint.listen(false);
        }
        self.waiters.take(Interest::ACCEPT, &mut self.woken);
        true
    }

    /// Completes one hold of the lock: all outputs are drained, and what remains is for after it.
    fn settle(&mut self, now: Instant, outgoing: &Outgoing) -> After {
        self.drain(now);
        let has_packets = !self.batch.is_empty();
        if has_packets {
            outgoing.push(&mut self.batch);
        }
        let closing = self.next_close();
        let deadline = match (self.endpoint.poll_timeout(), closing) {
            (Some(timeout), Some(closing)) => Some(timeout.min(closing)),
            (timeout, closing) => timeout.or(closing),
        };
        let deadline = deadline.filter(|&at| self.entered.is_none_or(|known| at < known));
        self.entered = deadline.or(self.entered);
        let mut lease = Vec::new();
        if self.stage != Stage::Open && self.is_idle() {
            self.waiters.take(Interest::IDLE, &mut self.woken);
            lease = std::mem::take(&mut self.lease);
        }
        After { has_packets, woken: std::mem::take(&mut self.woken), deadline, lease }
    }

    /// When the next close takes too long; those that have ended are forgotten on the way.
    fn next_close(&mut self) -> Option<Instant> {
        while let Some(&(by, id)) = self.closing.first() {
            if self.slots.get(&id).is_some_and(|slot| !slot.has_ended()) {
                return Some(by);
            }
            self.closing.pop_first();
        }
        None
    }
}
