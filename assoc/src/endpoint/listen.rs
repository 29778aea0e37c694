//! INIT and COOKIE ECHO: answers without state, and the state that an authentic cookie makes (RFC 9260, sections 5.1 and 5.2).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use usctp_chunk::{Cause, Chunk, ChunkType, Init, Packet, Parameter, Parameters, Tsn};

use super::ootb::{abort, refuse_init};
use super::{Dropped, Endpoint, carries_t_bit};
use crate::association::collision::{CookieAction, InitAction};
use crate::association::{Arrival, Association};
use crate::cookie::{Cookie, Ports, Route, Tags, Ties};
use crate::event::{AssociationId, Role};
use crate::negotiate::{LocalOffer, PeerOffer, Refusal};
use crate::reply::{Reply, Way};
use crate::wire::{Datagram, is_link_local, zone_of};

impl Endpoint {
    /// Answers an INIT. Nothing is kept: all that matters is in the cookie (RFC 9260, 5.1, B).
    pub(super) fn on_init(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &Packet,
        init: &Init,
    ) -> Option<Reply> {
        let mut offer = match self.read_init(init) {
            Ok(offer) => offer,
            Err(None) => return self.drop_packet(Dropped::Malformed),
            Err(Some(cause)) => {
                return self.refuse(now, refuse_init(datagram, packet, init.initiate_tag, cause));
            }
        };
        let known = self.find_by_addresses(datagram, &offer, packet.header.source_port);
        // What the cookie cannot hold is no address of an association, and adds none to one that there is.
        offer.addresses = fitting(&offer.addresses, self.init_ack_share());
        let Some(id) = known else {
            if !self.listening || self.addresses.is_unbound(datagram.destination) {
                // RFC 9260, 8.4 (3)
                return self.out_of_the_blue(now, datagram, packet);
            }
            let room = self.room_for_stranger(datagram, &offer);
            let own = self.fresh_offer(datagram, room, None, None);
            return self.init_ack(now, datagram, packet, own, &offer, Ties::default());
        };
        let source = (datagram.source, datagram.zone);
        let own = self.own_addresses_of(id, datagram.source);
        let taken = self.taken_by_others(id, packet.header.source_port, &offer.addresses);
        let association = self.table.touch(id)?;
        match association.on_init(source, &offer, &own, &|peer| taken.contains(&peer)) {
            InitAction::AnswerAsOffered(ties) => {
                let own = association.own_offer()?.clone();
                self.init_ack(now, datagram, packet, own, &offer, ties)
            }
            InitAction::AnswerAt { peer, udp_port, zone } => {
                let own = association.own_offer()?.clone();
                let datagram = Datagram { source: peer, udp_port, zone, ..datagram.clone() };
                self.init_ack(now, &datagram, packet, own, &offer, Ties::default())
            }
            InitAction::AnswerAnew(ties) => {
                // RFC 9260, 5.2.2: what is not drawn anew is as the association has it.
                let streams = association.outbound_streams();
                let listed = self.told_by(id);
                let room = self.init_ack_share();
                let own = self.fresh_offer(datagram, room, Some(streams), listed);
                self.init_ack(now, datagram, packet, own, &offer, ties)
            }
            InitAction::RefuseNewAddresses(new) => {
                let new = new.into_iter().map(Parameter::from_ip).collect::<Parameters>();
                let cause = Cause::RestartWithNewAddresses(new);
                self.refuse(now, refuse_init(datagram, packet, offer.tag, cause))
            }
            InitAction::RepeatShutdownAck => None,
            InitAction::Discard => self.drop_packet(Dropped::OutOfPlace),
        }
    }

    /// What an INIT offers; or why it is refused, if it is not just discarded.
    fn read_init(&self, init: &Init) -> Result<PeerOffer, Option<Cause>> {
        let limits = &self.config.limits;
        // Its source is proved by the cookie.
        let most = limits.peer_addresses.min(limits.unproved_addresses + 1);
        PeerOffer::read(init, most).map_err(|refusal| match refusal {
            Refusal::Discard => None,
            Refusal::SmallWindow => Some(Cause::InvalidMandatoryParameter),
            Refusal::Abort(cause) => Some(*cause),
        })
    }

    /// Whoever sends INITs and cookies decides how many are refused: answers to them are limited like those to strangers.
    fn refuse(&mut self, now: Instant, refusal: Reply) -> Option<Reply> {
        self.strangers.take(now).then_some(refusal)
    }

    /// Acts on a COOKIE ECHO at the head of a packet (RFC 9260, 5.1.5 and 5.2.4).
    pub(super) fn on_cookie_echo(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &Packet,
        bytes: &Bytes,
    ) -> Option<Reply> {
        let Some(cookie) = self.keys.open(now, bytes, &mut self.rng) else {
            return self.drop_packet(Dropped::BadCookie);
        };
        // RFC 9260, 5.1.5 (3)
        let header = packet.header;
        let ports = Ports { local: header.destination_port, peer: header.source_port };
        if cookie.ports != ports || cookie.tags.local != header.verification_tag {
            return self.drop_packet(Dropped::BadCookie);
        }
        // RFC 9260, 8.5.1 (B): an ABORT beside it that nobody believes spoils the packet.
        let mut aborts = packet.chunks().flatten().filter(|raw| raw.kind == ChunkType::ABORT);
        if aborts.any(|abort| carries_t_bit(&abort) && cookie.tags.peer != cookie.tags.local) {
            return self.drop_packet(Dropped::BadTag);
        }
        let holder = self.table.find_tag(cookie.tags.local);
        if holder.is_some_and(|id| !self.is_of(id, &cookie)) {
            // Two peers were given the same tag, before the cookie of either came back.
            return self.drop_packet(Dropped::BadCookie);
        }
        let known = holder
            .or_else(|| self.find_route(&cookie))
            .or_else(|| self.table.find_source(datagram, ports.peer));
        let action = known.and_then(|id| Some((id, self.table.view(id)?.cookie_action(&cookie))));
        // RFC 9260, 5.1.5 (4) and 5.2.4 (3): a repeated cookie may be late.
        let repeated = matches!(action, Some((_, CookieAction::Duplicate)));
        let age = now.saturating_duration_since(self.epoch).saturating_sub(cookie.created);
        if age > cookie.lifetime && !repeated {
            return self.refuse(now, stale(datagram, packet, &cookie, age - cookie.lifetime));
        }
        match action {
            Some((id, action)) => self.meet(now, id, action, datagram, packet, &cookie),
            None => self.accept(now, datagram, packet, &cookie),
        }
    }

    /// RFC 9260, 5.2.4: an association is known by the transport addresses of its peer. Whether a cookie's INIT came from
    /// one of them.
    fn is_of(&self, id: AssociationId, cookie: &Cookie) -> bool {
        let Route { peer, zone, .. } = cookie.route;
        self.table.view(id).is_some_and(|association| {
            association.port() == cookie.ports.peer
                && association.ctx.paths.find_in(peer, zone).is_some()
        })
    }

    /// The association that has the address a cookie's INIT came from.
    fn find_route(&self, cookie: &Cookie) -> Option<AssociationId> {
        let Route { peer, zone, .. } = cookie.route;
        self.table.find_address(peer, zone_of(peer, zone), cookie.ports.peer)
    }

    /// A valid cookie of an association that exists.
    fn meet(
        &mut self,
        now: Instant,
        id: AssociationId,
        action: CookieAction,
        datagram: &Datagram,
        packet: &Packet,
        cookie: &Cookie,
    ) -> Option<Reply> {
        let own = self.own_addresses_of(id, cookie.route.peer);
        let taken = self.taken_by_others(id, cookie.ports.peer, &cookie.addresses);
        let taken = |peer: IpAddr| taken.contains(&peer);
        let association = self.table.touch(id)?;
        let arrival = Arrival::new(datagram, packet.header, &association.ctx.paths);
        let before = association.ctx.me.local_tag;
        let goes_on = association.on_cookie(now, action, cookie, &arrival, &own, &taken);
        if association.ctx.me.local_tag != before {
            // The cookie of before the restart opens nothing once the association has ended.
            self.time_wait.insert(now, before, None, self.config.cookie.lifetime * 2);
        }
        self.table.reindex(id);
        if !goes_on {
            return None;
        }
        // The path that the packet came by may be another one by now, or none.
        let association = self.table.touch(id)?;
        let arrival = Arrival::new(datagram, packet.header, &association.ctx.paths);
        let reply = association.handle_chunks(now, packet, 1, &arrival, &taken);
        self.table.reindex(id);
        reply
    }

    /// A valid cookie makes an association (RFC 9260, 5.1.5, 5).
    fn accept(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &Packet,
        cookie: &Cookie,
    ) -> Option<Reply> {
        if !self.listening || self.time_wait.contains(now, cookie.tags.local) {
            return self.drop_packet(Dropped::BadCookie);
        }
        if self.table.len() >= self.config.limits.associations || !self.make_room() {
            self.counters.refused += 1;
            let chunk = abort(false, Some(Cause::OutOfResource));
            let way = Way::back(datagram);
            return self.refuse(now, Reply::to(packet.header, way, cookie.tags.peer, chunk));
        }
        let id = self.next_id();
        let peer = cookie.route.peer;
        let taken = self.taken_by_others(id, cookie.ports.peer, &cookie.addresses);
        let taken = |peer: IpAddr| taken.contains(&peer);
        let own = self.own_addresses(is_link_local(cookie.route.peer));
        let tag = cookie.tags.local;
        let mut ctx = self.context(now, id, cookie.ports.peer, tag, Role::Passive, &[peer]);
        ctx.me.sources = cookie.route.sources;
        self.table.insert(Association::accepted(ctx, now, cookie, &own, &taken));
        self.counters.accepted += 1;
        let association = self.table.touch(id)?;
        let arrival = Arrival::new(datagram, packet.header, &association.ctx.paths);
        tracing::debug!(association = %id, %peer, "association accepted");
        association.handle_chunks(now, packet, 1, &arrival, &taken)
    }

    /// The INIT ACK for an INIT, from the address that was asked to the one that asked.
    fn init_ack(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &Packet,
        mut own: LocalOffer,
        offer: &PeerOffer,
        ties: Ties,
    ) -> Option<Reply> {
        let negotiated = own.agree(offer);
        // RFC 9260, 3.3.3: OS MUST NOT be greater than the INIT's MIS.
        own.outbound_streams = negotiated.outbound_streams;
        let extension = Duration::from_millis(offer.preservative.unwrap_or(0).into());
        let life = self.config.cookie.lifetime;
        let cookie = Cookie {
            created: now.saturating_duration_since(self.epoch),
            // RFC 9260, 3.3.2.1.3: the receiver may ignore the wish; here it at most doubles the life, and nobody could tell
            // that a cookie is genuine when its key is gone.
            lifetime: (life + extension.min(life)).min(self.config.cookie.key_lifetime),
            ports: Ports { local: packet.header.destination_port, peer: packet.header.source_port },
            tags: Tags { local: own.tag, peer: offer.tag },
            ties,
            local_tsn: own.initial_tsn,
            peer_tsn: offer.initial_tsn,
            negotiated,
            peer_rwnd: offer.a_rwnd,
            adaptation: offer.adaptation,
            route: Route {
                local: datagram.destination,
                peer: datagram.source,
                udp_port: datagram.udp_port,
                zone: datagram.zone,
                sources: own.sources,
            },
            addresses: offer.addresses.clone(),
        };
        let sealed = self.keys.seal(now, &cookie, &mut self.rng);
        let mut extra = vec![Parameter::StateCookie(sealed)];
        extra.extend(self.reportable(offer));
        let chunk = Chunk::InitAck(own.init(extra));
        self.counters.inits_answered += 1;
        Some(Reply::to(packet.header, Way::back(datagram), offer.tag, chunk))
    }

    /// RFC 9260, 3.2.2: what was not recognized is reported, as far as the packet has room.
    fn reportable(&self, offer: &PeerOffer) -> Vec<Parameter> {
        let mut room = self.init_ack_share();
        let fitting = offer.unrecognized.iter().take_while(|parameter| {
            let len = parameter.len().next_multiple_of(4) + 4;
            let fits = len <= room;
            room = room.saturating_sub(len);
            fits
        });
        fitting.cloned().map(Parameter::UnrecognizedParameter).collect()
    }

    /// What the peer's addresses in the cookie, our own, and the report may take of an INIT ACK each, in bytes,
    /// so that it fits one packet.
    fn init_ack_share(&self) -> usize {
        usize::from(self.config.path_mtu).saturating_sub(INIT_ACK_FIXED) / 3
    }

    /// What our own addresses may take of the INIT ACK for somebody whose source address nothing proves: the packet is to
    /// be no more than so many times as large as the INIT, lest it serve to flood the address (as RFC 9000, 8.1, has it).
    fn room_for_stranger(&self, datagram: &Datagram, offer: &PeerOffer) -> usize {
        let ip = if datagram.source.is_ipv4() { 20 } else { 40 };
        let below = if datagram.udp_port.is_some() { ip + 8 } else { ip };
        let most = AMPLIFICATION * (below + datagram.payload.len());
        let adaptation = if self.config.adaptation.is_some() { 8 } else { 0 };
        let route = [datagram.destination, datagram.source];
        let cookie = Cookie::LEAST
            + Cookie::size_of(&route)
            + Cookie::size_of(&offer.addresses)
            + if offer.adaptation.is_some() { 4 } else { 0 }
            + if datagram.udp_port.is_some() { 2 } else { 0 }
            + if datagram.zone != 0 { 4 } else { 0 };
        let reports = offer.unrecognized.iter().map(|report| report.len().next_multiple_of(4) + 4);
        let fixed = below + INIT_ACK_HEADERS + adaptation + cookie.next_multiple_of(4);
        let fixed = fixed + reports.sum::<usize>();
        most.saturating_sub(fixed).min(self.init_ack_share())
    }

    /// An offer with a new tag: what is not said is as the endpoint has it.
    fn fresh_offer(
        &mut self,
        datagram: &Datagram,
        room: usize,
        outbound_streams: Option<u16>,
        listed: Option<Vec<IpAddr>>,
    ) -> LocalOffer {
        let tag = self.fresh_tag();
        let listed = listed.unwrap_or_else(|| self.listed_for(Some(datagram.destination)));
        let addresses = fitting(&listed, room);
        self.offer(tag, addresses, is_link_local(datagram.source), outbound_streams)
    }

    /// RFC 9260, 5.1.2 (D): any of the addresses identifies the association.
    fn find_by_addresses(
        &self,
        datagram: &Datagram,
        offer: &PeerOffer,
        port: u16,
    ) -> Option<AssociationId> {
        // An address of this host that a peer from elsewhere lists is not the one that a peer on this host has.
        let is_here = self.host.has(datagram.source, datagram.zone);
        let means = |peer: &&IpAddr| is_here || !self.host.has(**peer, 0);
        let known = |peer: &IpAddr| self.table.find_address(*peer, 0, port);
        let listed = || offer.addresses.iter().filter(means).find_map(known);
        self.table.find_source(datagram, port).or_else(listed)
    }
}

/// The addresses whose parameters take at most `room` bytes.
pub(super) fn fitting(addresses: &[IpAddr], mut room: usize) -> Vec<IpAddr> {
    let fits = |address: &&IpAddr| {
        let len = if address.is_ipv4() { 8 } else { 20 };
        let fits = len <= room;
        room = room.saturating_sub(len);
        fits
    };
    addresses.iter().take_while(fits).copied().collect()
}

/// RFC 9260, 5.1.5 (4): how stale the cookie is, in microseconds.
fn stale(datagram: &Datagram, packet: &Packet, cookie: &Cookie, staleness: Duration) -> Reply {
    let staleness_us = u32::try_from(staleness.as_micros()).unwrap_or(u32::MAX);
    let causes = [Cause::StaleCookie { staleness_us }].into_iter().collect();
    Reply::to(packet.header, Way::back(datagram), cookie.tags.peer, Chunk::Error(causes))
}

/// A random TSN (RFC 9260, 3.3.2).
pub(super) fn random_tsn(rng: &mut impl rand::Rng) -> Tsn {
    Tsn::new(rng.random())
}

/// How many times as large as an INIT its INIT ACK may be, as IP packets.
const AMPLIFICATION: usize = 3;
// The common header, INIT ACK without parameters, and the head of the cookie.
const INIT_ACK_HEADERS: usize = 12 + 20 + 4;
// IPv6, UDP, the common header, INIT ACK without parameters, and the cookie without addresses.
const INIT_ACK_FIXED: usize = 40 + 8 + 12 + 20 + 160;

#[cfg(test)]
mod tests;
