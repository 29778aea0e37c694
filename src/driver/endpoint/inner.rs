//! What the lock of an endpoint guards: the protocol, and what the stack keeps for each association.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use usctp_assoc::{
    AddressSet, Association, AssociationId, AssociationState, Counters, Datagram, Endpoint, Event,
    Message, PathNotice, Place, Received, SendError,
};

use crate::driver::outgoing::{Batch, Outgoing, Spares};
use crate::driver::slot::{Owner, Phase, Slot};
use crate::driver::wait::{Interest, Queue, Waiters};
use crate::error::{BadLocalAddress, Error};
use crate::port::Port;

use self::items::Turns;

mod ending;
mod items;

/// Where the type of the first chunk stands in a packet, and two types (RFC 9260, sections 3.1 and 3.2).
const FIRST_CHUNK: usize = 12;
const DATA: u8 = 0;
const SACK: u8 = 3;

/// Messages of so many bytes are sent by the thread that gives them, if the one that leads has not come for them
/// before: what one system call sends.
const HELD: usize = 64 << 10;
/// Bytes that a message counts beside its payload, so that small ones are not held in any number.
const HELD_OVERHEAD: usize = 64;
/// A message that comes within this time after another one is one of many.
const RUSH: Duration = Duration::from_micros(100);

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
    /// How many may wait to be accepted before INITs are refused; none if they are refused anyway.
    room: Option<usize>,
    stage: Stage,
    batch: Batch,
    /// The buffers that the endpoints of the stack share.
    spares: Arc<Spares>,
    hold: Hold,
    /// Associations that were established just now.
    established: Vec<AssociationId>,
    woken: Vec<Waker>,
    turns: Turns,
    /// The deadline that the thread that leads knows of.
    entered: Option<Instant>,
    /// The hold on the port.
    lease: Vec<Port>,
}

/// Messages that were taken and whose packets are not made yet, so that those that follow leave with them.
#[derive(Debug, Default)]
struct Hold {
    /// Bytes of the messages held.
    bytes: usize,
    /// Set while a message is taken that may be held.
    is_wanted: bool,
    /// When the last message was taken.
    last: Option<Instant>,
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
#[derive(Default)]
pub(super) struct After {
    pub(super) has_packets: bool,
    pub(super) woken: Vec<Waker>,
    /// Associations to which what is known of their links is to be told.
    pub(super) established: Vec<AssociationId>,
    /// A deadline that the thread that leads does not know of yet.
    pub(super) deadline: Option<Instant>,
    /// The hold on the port if the endpoint is no longer needed.
    pub(super) lease: Vec<Port>,
}

impl Inner {
    pub(super) fn new(endpoint: Endpoint, lease: Vec<Port>, spares: Arc<Spares>) -> Self {
        Self {
            endpoint,
            slots: HashMap::new(),
            backlog: VecDeque::new(),
            waiters: Waiters::default(),
            closing: BTreeSet::new(),
            room: None,
            stage: Stage::Open,
            batch: Batch::default(),
            spares,
            hold: Hold::default(),
            established: Vec::new(),
            woken: Vec::new(),
            turns: Turns::default(),
            entered: None,
            lease,
        }
    }

    /// Packets that arrived together. What follows from the first two is taken at once, then each time their number has
    /// doubled: so the packets of a small window get the SACKs that let it grow, one for every second packet (RFC 9260,
    /// 6.2), and those of a large batch, which would otherwise cost as much as what they acknowledge, get six for 64.
    /// Whether there were more INITs among them than are answered.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        datagrams: impl Iterator<Item = Datagram>,
    ) -> bool {
        let left_before = self.endpoint.counters().inits_dropped;
        for (datagram, count) in datagrams.zip(1_usize..) {
            tracing::trace!(port = self.endpoint.port(), source = %datagram.source,
                bytes = datagram.payload.len(), "received");
            // What comes and ends decides how those that follow fare: an INIT behind an ABORT finds room.
            let is_bulk = matches!(datagram.payload.get(FIRST_CHUNK), Some(&(DATA | SACK)));
            self.endpoint.handle_datagram(now, datagram);
            if !is_bulk || (count >= 2 && count.is_power_of_two()) {
                self.drain(now);
            }
        }
        self.drain(now);
        self.endpoint.counters().inits_dropped != left_before
    }

    /// What the network, or this host, says about a packet.
    pub(super) fn notice(&mut self, now: Instant, notice: PathNotice) {
        self.endpoint.handle_notice(now, notice);
        self.drain(now);
    }

    /// The deadline that the thread that leads knew of has come.
    pub(super) fn time_out(&mut self, now: Instant) {
        self.entered = None;
        self.expire(now);
        self.endpoint.handle_timeout(now);
    }

    /// Takes a message to send.
    ///
    /// Where messages follow each other closely they are held until there is a batch of them, or the thread that leads,
    /// which is told of the first, comes for them; so packets leave many at a time. What could not leave anyway, because the
    /// peer has to acknowledge something before, waits for that. A message that nothing goes before leaves at once.
    ///
    /// # Errors
    /// As for [`Association::send`]; none without the association.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        id: AssociationId,
        message: Message,
    ) -> Result<(), SendError> {
        let Some(association) = self.endpoint.association(id) else { return Ok(()) };
        let bytes = message.payload.len() + HELD_OVERHEAD;
        let is_alone = association.send_buffered() == 0;
        let is_blocked = self.hold.bytes == 0 && association.awaits_peer();
        association.send(now, message)?;
        let follows = |last: Instant| now.saturating_duration_since(last) < RUSH;
        let in_a_rush = self.hold.last.replace(now).is_some_and(follows);
        self.hold.is_wanted = is_blocked || (in_a_rush && !is_alone);
        if !is_blocked {
            self.hold.bytes += bytes;
        }
        Ok(())
    }

    /// Takes the next message received; says whether that leads to anything, as most do not.
    pub(super) fn recv(&mut self, id: AssociationId) -> Option<(Received, bool)> {
        self.endpoint.recv(id)
    }

    /// Those who were waiting for what has happened.
    pub(super) fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

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

    /// Whether a packet of this endpoint, meant for a peer elsewhere, came back to this host.
    pub(super) fn has_sent_astray(&self, datagram: &Datagram) -> bool {
        self.endpoint.has_sent_astray(datagram)
    }

    /// The addresses that it is bound to.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        self.endpoint.addresses()
    }

    /// Those of them that only the peers are told of that they lead to.
    pub(super) fn unlisted(&self) -> &[IpAddr] {
        self.endpoint.unlisted()
    }

    /// The addresses that an association has.
    pub(crate) fn addresses_of(&self, id: AssociationId) -> &[IpAddr] {
        self.endpoint.addresses_of(id).unwrap_or_default()
    }

    /// The addresses that packets may leave from.
    pub(super) fn address_set(&self, set: AddressSet) -> &[IpAddr] {
        self.endpoint.address_set(set)
    }

    /// Binds more addresses: all of them or none.
    ///
    /// # Errors
    /// [`Error::BadLocalAddress`] if one is bound already; [`Error::Link`] if another socket has it.
    pub(super) fn bind_more(&mut self, addresses: &[IpAddr]) -> Result<(), Error> {
        let is_bound = |address: &IpAddr| self.addresses().contains(&address.to_canonical());
        if let Some(index) = addresses.iter().position(is_bound) {
            return Err(bad(addresses, index, BadLocalAddress::AlreadyBound));
        }
        let mut canonical: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        // One that is listed twice is bound once.
        canonical.sort_unstable();
        canonical.dedup();
        // What is unbound stays claimed: associations that began before have it still.
        for port in &mut self.lease {
            port.add(&canonical)?;
        }
        for address in canonical {
            self.endpoint.add_address(address);
        }
        Ok(())
    }

    /// Unbinds addresses: all of them or none.
    ///
    /// # Errors
    /// [`Error::BadLocalAddress`] if one is not bound, or would be the last.
    pub(super) fn unbind(&mut self, addresses: &[IpAddr]) -> Result<(), Error> {
        let mut left = self.addresses().to_vec();
        for (index, address) in addresses.iter().enumerate() {
            let address = address.to_canonical();
            let Some(at) = left.iter().position(|own| *own == address) else {
                return Err(bad(addresses, index, BadLocalAddress::NotBound));
            };
            if left.len() == 1 {
                return Err(bad(addresses, index, BadLocalAddress::Last));
            }
            left.remove(at);
        }
        for address in addresses {
            self.endpoint.remove_address(*address);
        }
        Ok(())
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
        self.slots.insert(id, Slot::new(Owner::Attempt));
    }

    /// The application has the handle of an association that it opened.
    pub(crate) fn handed_over(&mut self, id: AssociationId) {
        if let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.owner == Owner::Attempt) {
            slot.owner = Owner::Handle;
        }
        self.enter_turn(id);
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

    /// Begins or ends answering INITs: with `room` for so many associations that wait to be accepted.
    pub(crate) fn listen(&mut self, room: Option<usize>) {
        self.room = room;
        self.refuse_or_answer();
        if room.is_none() {
            self.waiters.take(Interest::ACCEPT, &mut self.woken);
        }
    }

    /// Whether INITs are answered, or would be if the backlog had room.
    pub(crate) fn is_listening(&self) -> bool {
        self.room.is_some()
    }

    /// Takes the oldest association that waits to be accepted.
    pub(crate) fn accept(&mut self) -> Option<AssociationId> {
        let id = self.backlog.pop_front()?;
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.owner = Owner::Handle;
        }
        self.enter_turn(id);
        self.refuse_or_answer();
        Some(id)
    }

    /// Whether no association is left that has not ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.values().all(Slot::has_ended)
    }

    fn refuse_or_answer(&mut self) {
        let has_room = self.room.is_some_and(|room| self.backlog.len() < room);
        self.endpoint.listen(has_room);
    }

    fn ids(&self) -> Vec<AssociationId> {
        self.slots.keys().copied().collect()
    }

    /// Forgets an association.
    fn release(&mut self, now: Instant, id: AssociationId) {
        if let Some(mut slot) = self.slots.remove(&id) {
            slot.waiters.take(Interest::ALL, &mut self.woken);
            self.turns.leave(&slot);
            self.endpoint.release(now, id);
        }
    }

    /// Takes the packets and events that one input led to.
    fn drain(&mut self, now: Instant) {
        if !self.batch.has_buffer() && self.endpoint.may_transmit() {
            self.batch = self.spares.take();
        }
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.batch.bytes) {
                self.batch.transmits.push(transmit);
            }
            let mut has_acted = false;
            while let Some((id, place, event)) = self.endpoint.poll_event_in_place() {
                has_acted |= self.on_event(now, id, place, event);
            }
            if !has_acted {
                return;
            }
        }
    }

    /// Takes note of an event; says whether it led to an input of our own.
    fn on_event(&mut self, now: Instant, id: AssociationId, place: Place, event: Event) -> bool {
        tracing::debug!(port = self.endpoint.port(), association = %id, ?event, "event");
        if !self.slots.contains_key(&id) && !self.arrived(now, id) {
            return true;
        }
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        if matches!(event, Event::CommUp { .. }) {
            self.established.push(id);
        }
        let is_readable = event == Event::Readable;
        slot.on_event(place, event, &mut self.woken);
        if slot.owner == Owner::Backlog && matches!(slot.phase, Phase::Lost(_)) {
            // Kept, aborted ones would take the places of those that mean it.
            self.backlog.retain(|&waiting| waiting != id);
            self.refuse_or_answer();
            self.release(now, id);
            return true;
        }
        if slot.owner != Owner::Nobody {
            self.enter_turn(id);
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
    fn arrived(&mut self, now: Instant, id: AssociationId) -> bool {
        let view = self.endpoint.view(id);
        let is_open = view.is_some_and(|view| view.state() != AssociationState::Closed);
        // INITs are refused while the backlog is full, but cookies given out before still come back.
        let has_room = self.room.is_some_and(|room| self.backlog.len() < 2 * room);
        if !is_open || !has_room {
            self.endpoint.release(now, id);
            return false;
        }
        self.slots.insert(id, Slot::new(Owner::Backlog));
        self.backlog.push_back(id);
        self.refuse_or_answer();
        self.waiters.take(Interest::ACCEPT, &mut self.woken);
        true
    }

    /// Completes one hold of the lock: all outputs are drained, and what remains is for after it, if anything does.
    pub(super) fn settle(&mut self, now: Instant, outgoing: &Outgoing) -> Option<After> {
        if std::mem::take(&mut self.hold.is_wanted) && self.hold.bytes < HELD {
            let is_new = self.hold.bytes > 0 && self.entered.is_none_or(|known| now < known);
            if !is_new {
                return None;
            }
            self.entered = Some(now);
            return Some(After { deadline: Some(now), ..After::default() });
        }
        self.hold.bytes = 0;
        self.drain(now);
        let has_packets = !self.batch.is_empty();
        if has_packets {
            outgoing.push(&mut self.batch);
        } else if self.batch.has_buffer() {
            self.spares.give_back(std::mem::take(&mut self.batch));
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
        let established = std::mem::take(&mut self.established);
        Some(After { has_packets, woken: self.take_woken(), established, deadline, lease })
    }
}

/// The address at fault; the index is one of the list.
fn bad(addresses: &[IpAddr], index: usize, why: BadLocalAddress) -> Error {
    let unspecified = std::net::Ipv4Addr::UNSPECIFIED.into();
    let address = addresses.get(index).copied().unwrap_or(unspecified);
    Error::BadLocalAddress { index, address, why }
}
