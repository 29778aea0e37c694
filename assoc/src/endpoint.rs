//! An SCTP endpoint: a port, a set of local addresses, and the associations they have (RFC 9260, section 1.3).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use usctp_chunk::{Checksum, Chunk, ChunkType, Packet, RawChunk, Tsn, VerificationTag};

use crate::association::{Arrival, Association, is_badly_bundled};
use crate::budget::{Account, Budget, Pressure};
use crate::config::Config;
use crate::context::{Context, Identity, Statistics, Tells};
use crate::cookie::KeyRing;
use crate::event::{AssociationId, Event, Role};
use crate::host::HostAddresses;
use crate::message::Received;
use crate::negotiate::LocalOffer;
use crate::outbox::Outbox;
use crate::path::{PathState, Paths};
use crate::rate::{Pace, RateLimit};
use crate::recv::{Inbox, Place};
use crate::reply::Reply;
use crate::wire::{AddressSet, Datagram, PathNotice, Transmit, is_link_local, zone_of};

mod addresses;
mod connect;
mod counters;
mod listen;
mod ootb;
mod spread;
mod table;

use addresses::LocalAddresses;
pub use connect::ConnectCounters;
pub use counters::Counters;
use counters::Dropped;
pub use ootb::out_of_the_blue;
use table::{Table, TimeWait};

/// A port, its addresses and its associations, without I/O.
///
/// After one input (`handle_…`, [`connectx`](Self::connectx), or a change through
/// [`association`](Self::association)), call [`poll_transmit`](Self::poll_transmit) until it gives
/// nothing, then [`poll_event`](Self::poll_event) until it gives nothing, then ask
/// [`poll_timeout`](Self::poll_timeout) when to call [`handle_timeout`](Self::handle_timeout). Several
/// inputs may come before one draining. Time never runs back; a spurious `handle_timeout` does nothing.
/// The same seed and the same calls give the same bytes.
///
/// An association that ended stays, with its unread messages, until [`release`](Self::release).
#[derive(Debug)]
pub struct Endpoint {
    config: Arc<Config>,
    port: u16,
    addresses: LocalAddresses,
    /// The addresses of this host, of which those are a part.
    host: Arc<HostAddresses>,
    listening: bool,
    table: Table,
    keys: KeyRing,
    time_wait: TimeWait,
    replies: VecDeque<Reply>,
    events: VecDeque<(AssociationId, Place, Event)>,
    /// Answers to packets that belong to no association (RFC 9260, 8.4).
    strangers: RateLimit,
    inits: RateLimit,
    /// HEARTBEATs to addresses that peers only named.
    probes: Arc<Pace>,
    budget: Arc<Budget>,
    counters: Counters,
    rng: StdRng,
    epoch: Instant,
    last_id: u64,
}

impl Endpoint {
    /// An endpoint on a port, with the addresses that INIT and INIT ACK list. All its randomness comes
    /// from the seed, which must be unpredictable (RFC 4086) and used once.
    pub fn new(
        config: Config,
        port: u16,
        addresses: Vec<IpAddr>,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let keys = KeyRing::new(now, config.cookie.key_lifetime, &mut rng);
        let addresses = LocalAddresses::new(addresses);
        Self {
            inits: RateLimit::new(config.limits.inits_per_second, now),
            probes: Arc::new(Pace::new(PROBES_PER_SECOND, now)),
            budget: Budget::new(config.limits.memory),
            config: Arc::new(config),
            port,
            host: Arc::new(HostAddresses::new(addresses.of_host())),
            addresses,
            listening: false,
            table: Table::default(),
            keys,
            time_wait: TimeWait::default(),
            replies: VecDeque::new(),
            events: VecDeque::new(),
            strangers: RateLimit::new(STRANGERS_PER_SECOND, now),
            counters: Counters::default(),
            rng,
            epoch: now,
            last_id: 0,
        }
    }

    /// Makes the endpoint's memory a part of a budget that others share, before it has any association. Its own
    /// [`LimitOptions::memory`](crate::LimitOptions::memory) holds as well.
    pub fn share_budget(&mut self, whole: &Arc<Budget>) {
        self.budget = Budget::within(whole, self.config.limits.memory);
    }

    /// How much memory peers make it hold, and may.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The local port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether peers may open associations. Off at first.
    pub fn listen(&mut self, on: bool) {
        self.listening = on;
    }

    /// Counts since the endpoint began.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes a packet in that was sent to this endpoint's port.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.counters.packets_received += 1;
        // Before anything that takes time, such as the checksum.
        if has_no_tag(&datagram.payload) && !self.inits.take(now) {
            self.counters.inits_dropped += 1;
            return;
        }
        if let Some(reply) = self.sort(now, &datagram) {
            // One answer for each packet at most, and none is kept beyond the next draining.
            self.replies.push_back(reply);
        }
    }

    /// Takes in what the network, or the attempt to send, said about a packet of ours.
    pub fn handle_notice(&mut self, now: Instant, notice: PathNotice) {
        let peer = notice.peer.to_canonical();
        let port = notice.quote.destination_port;
        let id = self.table.find_address(peer, zone_of(peer, notice.zone), port);
        let believed = id.and_then(|id| self.table.touch(id)).is_some_and(|association| {
            association.handle_notice(now, &PathNotice { peer, ..notice })
        });
        if !believed {
            self.counters.notices_not_believed += 1;
        }
    }

    /// Lets timers expire.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(association) = self.table.take_expired(now) {
            association.handle_timeout(now);
        }
    }

    /// An association, to do something with it; drain the endpoint afterwards.
    pub fn association(&mut self, id: AssociationId) -> Option<&mut Association> {
        self.table.touch(id)
    }

    /// Takes the next message that an association received: as [`Association::recv`], but the endpoint has to be drained
    /// only if it says so, because the peer is to be told of the window that this opened.
    pub fn recv(&mut self, id: AssociationId) -> Option<(Received, bool)> {
        let association = self.table.look(id)?;
        let message = association.take_message()?;
        let opens_window = association.owes_sack();
        if opens_window {
            self.table.touch(id);
        }
        Some((message, opens_window))
    }

    /// An association, to look at it.
    pub fn view(&self, id: AssociationId) -> Option<&Association> {
        self.table.view(id)
    }

    /// All associations, those that ended and were not released included, in no particular order.
    pub fn associations(&self) -> impl Iterator<Item = AssociationId> + '_ {
        self.table.ids()
    }

    /// Forgets an association that ended, with its unread messages. One that has not ended is aborted:
    /// [`poll_transmit`](Self::poll_transmit) sends the ABORT, and then it is forgotten.
    pub fn release(&mut self, now: Instant, id: AssociationId) {
        let Some(association) = self.table.touch(id) else { return };
        association.abort(now, bytes::Bytes::new());
        association.ctx.released = true;
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) may have a packet: there was an input that it has not followed up.
    pub fn may_transmit(&self) -> bool {
        !self.replies.is_empty() || self.table.has_touched()
    }

    /// Appends one packet to `out` and says where it goes; `None` when nothing is left to send.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut) -> Option<Transmit> {
        while let Some(reply) = self.replies.pop_front() {
            let limit = usize::from(self.config.path_mtu).saturating_sub(LARGEST_HEADERS);
            if let Some(transmit) = reply.write(out, limit) {
                self.counters.packets_sent += 1;
                return Some(transmit);
            }
        }
        while let Some(association) = self.table.first_touched() {
            let transmit = association.poll_transmit(now, out);
            if transmit.is_some() {
                self.counters.packets_sent += 1;
                return transmit;
            }
            self.first_drained(now);
        }
        None
    }

    /// The next thing that an application may want to know.
    pub fn poll_event(&mut self) -> Option<(AssociationId, Event)> {
        self.poll_event_in_place().map(|(id, _, event)| (id, event))
    }

    /// The same with where the event stands among the messages of its association: for whoever hands both on in the order in
    /// which they came, so that a restart stands between the messages that it separates.
    pub fn poll_event_in_place(&mut self) -> Option<(AssociationId, Place, Event)> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next, if ever.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.table.next_deadline()
    }

    /// Finds out whose a packet is (RFC 9260, sections 8.4 and 8.5); an answer without state comes back.
    fn sort(&mut self, now: Instant, datagram: &Datagram) -> Option<Reply> {
        let Ok(packet) = Packet::parse(&datagram.payload) else {
            return self.drop_packet(Dropped::Malformed);
        };
        if packet.checksum() != Checksum::Valid {
            return self.drop_packet(Dropped::BadChecksum);
        }
        if packet.header.destination_port != self.port || packet.header.source_port == 0 {
            return self.drop_packet(Dropped::OutOfPlace);
        }
        let Some(Ok(first)) = packet.chunks().next() else {
            return self.drop_packet(Dropped::Malformed);
        };
        if packet.header.verification_tag.is_zero() || first.kind == ChunkType::INIT {
            return self.sort_init(now, datagram, &packet, &first);
        }
        if first.kind == ChunkType::COOKIE_ECHO {
            if is_badly_bundled(&packet) {
                return self.drop_packet(Dropped::OutOfPlace);
            }
            return match first.decode() {
                Ok(Chunk::CookieEcho(cookie)) => {
                    self.on_cookie_echo(now, datagram, &packet, &cookie)
                }
                _ => self.drop_packet(Dropped::Malformed),
            };
        }
        self.sort_to_association(now, datagram, &packet, &first)
    }

    /// RFC 9260, 8.5.1 (A): tag 0, and a single INIT, go together.
    fn sort_init(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &Packet,
        first: &RawChunk<'_>,
    ) -> Option<Reply> {
        let alone = packet.chunks().nth(1).is_none();
        if !packet.header.verification_tag.is_zero() || first.kind != ChunkType::INIT || !alone {
            return self.drop_packet(Dropped::OutOfPlace);
        }
        if !datagram.is_between_hosts() {
            return self.drop_packet(Dropped::OutOfPlace);
        }
        match first.decode() {
            Ok(Chunk::Init(init)) => self.on_init(now, datagram, packet, &init),
            _ => self.drop_packet(Dropped::Malformed),
        }
    }

    fn sort_to_association(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &Packet,
        first: &RawChunk<'_>,
    ) -> Option<Reply> {
        let header = packet.header;
        let named = self.table.find_named(header.verification_tag, datagram, header.source_port);
        let by_tag = named.map(|(id, _)| id);
        let by_address = match named {
            // Most packets have a tag of ours and come from where they should: their addresses need not be looked up.
            Some((id, true)) => Some(id),
            _ => self.table.find_source(datagram, header.source_port),
        };
        let id = match (by_tag, by_address) {
            (Some(tag), Some(address)) if tag == address => tag,
            // INIT ACK may come from an address that nobody listed (5.1.2, D).
            (Some(tag), None) if first.kind == ChunkType::INIT_ACK => tag,
            (_, Some(address)) if self.reflects(address, packet, first) => address,
            // RFC 9260, 8.5.1 (E): in the answer to INIT or COOKIE ECHO it is out of the blue.
            (None, Some(address)) if self.is_setting_up(address, first) => {
                return self.out_of_the_blue(now, datagram, packet);
            }
            // An ABORT might overtake or replace the SHUTDOWN COMPLETE and turn the peer's good end into a bad one.
            (None, None) if self.is_overtaken(now, packet) => {
                return self.drop_packet(Dropped::OutOfTheBlue);
            }
            (None, None) => return self.out_of_the_blue(now, datagram, packet),
            // RFC 9260, 8.5
            _ => return self.drop_packet(Dropped::BadTag),
        };
        if by_tag.is_some() && carries_t_bit(first) && !self.reflects(id, packet, first) {
            return self.drop_packet(Dropped::BadTag);
        }
        let taken = self.taken_in(id, packet, first);
        let association = self.table.touch(id)?;
        let arrival = Arrival::new(datagram, packet.header, &association.ctx.paths);
        let reply = association.handle_packet(now, packet, &arrival, &|peer| taken.contains(&peer));
        if association.ctx.addresses_changed {
            self.table.reindex(id);
        }
        reply
    }

    /// RFC 9260, 8.5.1 (B, C): the T bit says that the tag is the one this side sends.
    fn reflects(&self, id: AssociationId, packet: &Packet, first: &RawChunk<'_>) -> bool {
        let peer_tag = self.table.view(id).and_then(Association::peer_tag);
        carries_t_bit(first) && peer_tag == Some(packet.header.verification_tag)
    }

    fn is_setting_up(&self, id: AssociationId, first: &RawChunk<'_>) -> bool {
        let synchronized = self.table.view(id).is_some_and(|a| a.state().is_synchronized());
        first.kind == ChunkType::SHUTDOWN_ACK && !synchronized
    }

    /// Whether a packet may have been sent before the SHUTDOWN ACK that closed its association a moment ago. Any other one
    /// is answered with ABORT (RFC 9260, 8.4, 8).
    fn is_overtaken(&self, now: Instant, packet: &Packet) -> bool {
        let last = self.time_wait.last_tsn(now, packet.header.verification_tag);
        let before = |last: Tsn, raw: RawChunk<'_>| match raw.kind {
            ChunkType::DATA => {
                raw.read_data().is_ok_and(|(head, _)| head.tsn.is_at_or_before(last))
            }
            // A HEARTBEAT asks whether somebody is there, and is answered.
            ChunkType::SACK | ChunkType::HEARTBEAT_ACK | ChunkType::SHUTDOWN | ChunkType::ERROR => {
                true
            }
            _ => false,
        };
        last.is_some_and(|last| packet.chunks().flatten().all(|raw| before(last, raw)))
    }

    pub(super) fn out_of_the_blue(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &Packet,
    ) -> Option<Reply> {
        let _: Option<Reply> = self.drop_packet(Dropped::OutOfTheBlue);
        // Over UDP, another stack of this host may have the same port.
        if datagram.udp_port.is_none() && self.has_sent_astray(datagram) {
            return None;
        }
        let answer = ootb::answer(datagram, packet)?;
        self.strangers.take(now).then_some(answer)
    }

    fn drop_packet(&mut self, why: Dropped) -> Option<Reply> {
        self.counters.note(why);
        tracing::trace!(?why, "packet dropped");
        None
    }

    /// The first touched association has nothing more to send: its events are collected.
    fn first_drained(&mut self, now: Instant) {
        let Some(association) = self.table.first_drained() else { return };
        let (id, released) = (association.id(), association.ctx.released);
        if association.is_over() {
            let (tag, overtaken) = (association.ctx.me.local_tag, association.overtaken());
            self.time_wait.insert(now, tag, overtaken, self.config.cookie.lifetime * 2);
        }
        let events = &mut association.ctx.events;
        if !events.is_empty() {
            events.iter().for_each(|(_, event)| self.counters.connects.note(event));
            let told = events.drain(..).filter(|_| !released);
            self.events.extend(told.map(|(place, event)| (id, place, event)));
            if events.capacity() > FEW_EVENTS {
                // As many at once come at the beginning or at the end.
                *events = VecDeque::new();
            }
        }
        if released {
            self.table.remove(id);
        }
        self.make_room();
    }

    /// Throws away what lies behind gaps, as long as more is held than may be. Whether there is room now.
    fn make_room(&mut self) -> bool {
        while self.budget.pressure() == Pressure::Spent {
            let Some(association) = self.table.take_hoard() else { return false };
            association.renege();
            self.counters.reneged += 1;
        }
        true
    }

    /// The addresses of an INIT ACK or a cookie that other associations have (`connectx`: they are left alone).
    fn taken_by_others(&self, id: AssociationId, port: u16, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let other =
            |peer: &IpAddr| self.table.find_address(*peer, 0, port).is_some_and(|o| o != id);
        addresses.iter().copied().filter(other).collect()
    }

    fn taken_in(&self, id: AssociationId, packet: &Packet, first: &RawChunk<'_>) -> Vec<IpAddr> {
        if first.kind != ChunkType::INIT_ACK {
            return Vec::new();
        }
        match first.decode() {
            Ok(Chunk::InitAck(init)) => {
                let listed = init.parameters.iter().filter_map(|p| p.ok()?.ip());
                let listed: Vec<IpAddr> = listed.map(|ip| ip.to_canonical()).collect();
                self.taken_by_others(id, packet.header.source_port, &listed)
            }
            _ => Vec::new(),
        }
    }

    fn next_id(&mut self) -> AssociationId {
        self.last_id += 1;
        AssociationId(self.last_id)
    }

    /// RFC 9260, 5.3.1: random, not 0, and of no association; nor of one that is over, whose cookies bring none back.
    fn fresh_tag(&mut self) -> VerificationTag {
        loop {
            let tag = VerificationTag(self.rng.random_range(1..=u32::MAX));
            if self.table.find_tag(tag).is_none() && !self.time_wait.holds(tag) {
                return tag;
            }
        }
    }

    fn offer(
        &mut self,
        tag: VerificationTag,
        addresses: Vec<IpAddr>,
        near: bool,
        outbound_streams: Option<u16>,
    ) -> LocalOffer {
        let addresses: Vec<IpAddr> =
            addresses.into_iter().filter(|address| !is_link_local(*address)).collect();
        let sources = self.name_set(&addresses);
        let limits = &self.config.limits;
        LocalOffer {
            tag,
            initial_tsn: listen::random_tsn(&mut self.rng),
            a_rwnd: u32::try_from(limits.receive_buffer).unwrap_or(u32::MAX),
            outbound_streams: outbound_streams.unwrap_or(limits.outbound_streams).max(1),
            inbound_streams: limits.inbound_streams,
            addresses,
            own: self.own_addresses(near),
            sources,
            adaptation: self.config.adaptation,
        }
    }

    fn context(
        &mut self,
        now: Instant,
        id: AssociationId,
        peer_port: u16,
        local_tag: VerificationTag,
        role: Role,
        peers: &[IpAddr],
    ) -> Context {
        Context {
            me: Identity {
                id,
                local_port: self.port,
                peer_port,
                local_tag,
                role,
                sources: AddressSet::default(),
                tells: Tells::Bound,
                only: None,
                peer_is_here: false,
            },
            paths: Paths::new(peers, PathState::Listed, &self.config),
            config: self.config.clone(),
            host: self.host.clone(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            events: VecDeque::new(),
            statistics: Statistics::default(),
            account: Account::new(Arc::clone(&self.budget)),
            probes: Arc::clone(&self.probes),
            rng: StdRng::from_rng(&mut self.rng),
            epoch: now,
            send_refused: false,
            addresses_changed: false,
            released: false,
        }
    }
}

/// Whether the verification tag is 0: RFC 9260, 8.5.1 (A), only that of a packet with an INIT is.
fn has_no_tag(packet: &[u8]) -> bool {
    matches!(packet.first_chunk(), Some([_, _, _, _, 0, 0, 0, 0]))
}

fn carries_t_bit(first: &RawChunk<'_>) -> bool {
    let has_flag = matches!(first.kind, ChunkType::ABORT | ChunkType::SHUTDOWN_COMPLETE);
    has_flag && first.flags & 1 != 0
}

const FEW_EVENTS: usize = 8;
// Enough for whoever asks in earnest.
const STRANGERS_PER_SECOND: u32 = 1000;
// The second address of as many new associations is confirmed at once.
const PROBES_PER_SECOND: u32 = 500;
// IPv6 and UDP.
const LARGEST_HEADERS: usize = 48;
