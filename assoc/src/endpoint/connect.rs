//! `connectx`: what is wrong with a list of peer addresses, and the association that begins with a right one.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use usctp_chunk::VerificationTag;

use super::Endpoint;
use super::listen::fitting;
use crate::association::{Association, Setup};
use crate::config::{Advertise, ConnectOptions};
use crate::context::Tells;
use crate::error::ConnectError;
use crate::event::{AddressChange, AssociationId, Event, LostReason, RemovedReason, Role};
use crate::negotiate::LocalOffer;
use crate::scope::Scope;
use crate::wire::{is_link_local, zone_of};

/// Counts of what became of [`connectx`](Endpoint::connectx) and its lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectCounters {
    /// Attempts begun.
    pub begun: u64,
    /// Attempts that led to an association.
    pub established: u64,
    /// Attempts that failed: nobody answered in time, nothing could be reached, or the peer refused.
    pub failed: u64,
    /// INITs sent.
    pub inits_sent: u64,
    /// Addresses left behind for the next one.
    pub moved_on: u64,
    /// Listed addresses that the peer's INIT ACK omitted.
    pub addresses_dropped: u64,
}

impl ConnectCounters {
    pub(super) fn note(&mut self, event: &Event) {
        let change = AddressChange::Removed(RemovedReason::NotInInitAck);
        let counter = match event {
            Event::Tried { .. } => &mut self.inits_sent,
            Event::MovedOn { .. } => &mut self.moved_on,
            Event::CommUp { role: Role::Active, .. } => &mut self.established,
            Event::CommLost(
                LostReason::SetupTimeout
                | LostReason::Deadline
                | LostReason::Unreachable
                | LostReason::Refused { .. },
            ) => &mut self.failed,
            Event::PeerAddressChange { change: found, .. } if *found == change => {
                &mut self.addresses_dropped
            }
            _ => return,
        };
        *counter += 1;
    }
}

impl Endpoint {
    /// Opens an association to a peer with several addresses (RFC 6458, `sctp_connectx`).
    ///
    /// The first INIT goes to the first address. When T1-init expires, or at once when the address cannot
    /// be reached, the next one is tried in the order of the list, cyclic. Listed addresses are confirmed
    /// (RFC 9260, section 5.4); those that the peer's INIT ACK omits are dropped, with an event. An
    /// address that is listed twice counts once, and an event says so; so does a link-local one that is listed with two
    /// zones, since one association tells its peer's addresses apart by the bare address. The id is valid at once; the
    /// outcome is an event.
    ///
    /// # Errors
    /// What is wrong with the list, with the index of the address at fault. Nothing was created then.
    pub fn connectx(
        &mut self,
        now: Instant,
        peers: &[SocketAddr],
        options: ConnectOptions,
    ) -> Result<AssociationId, ConnectError> {
        let port = self.check_ports(peers)?;
        let mut addresses: Vec<IpAddr> = Vec::with_capacity(peers.len());
        let (mut zones, mut again) = (Vec::new(), Vec::new());
        for (index, peer) in peers.iter().enumerate() {
            let address = peer.ip().to_canonical();
            self.check_address(index, *peer, address)?;
            if addresses.contains(&address) {
                again.push(Event::ListedTwice { index, peer: address });
            } else {
                addresses.push(address);
                zones.push(zone(peer, address));
            }
        }
        let listed = self.advertised(peers, &options.advertise)?;
        let max = self.config.limits.associations;
        if self.table.len() >= max {
            return Err(ConnectError::TooManyAssociations { max });
        }
        let id = self.next_id();
        let tag = self.fresh_tag();
        let near = addresses.iter().any(|address| is_link_local(*address));
        let offer = self.init_offer(tag, listed, near, &options);
        let tells = match &options.advertise {
            Advertise::Bound => Tells::Bound,
            _ if offer.addresses.is_empty() => Tells::Nothing,
            _ => Tells::Chosen,
        };
        let sources = offer.sources;
        let setup = Setup::new(now, offer, addresses.len(), &options, &self.config);
        let mut ctx = self.context(now, id, port, tag, Role::Active, &addresses);
        (ctx.me.sources, ctx.me.tells) = (sources, tells);
        ctx.paths.iter_mut().zip(zones).for_each(|(path, zone)| path.zone = zone);
        if let Some(recovery) = options.recovery {
            ctx.set_recovery(recovery);
        }
        ctx.tell_all(again);
        tracing::debug!(association = %id, ?addresses, port, "association begins");
        self.table.insert(Association::connecting(ctx, setup));
        self.table.touch(id);
        self.counters.connects.begun += 1;
        Ok(id)
    }

    /// The addresses that the peer is told of, where that is not simply all; for [`Advertise::Nothing`], those
    /// that packets may leave from.
    fn advertised(
        &self,
        peers: &[SocketAddr],
        advertise: &Advertise,
    ) -> Result<Option<Vec<IpAddr>>, ConnectError> {
        let first = peers.first().ok_or(ConnectError::Empty)?.ip().to_canonical();
        let own = |fits: &dyn Fn(&IpAddr) -> bool| -> Vec<IpAddr> {
            self.addresses().iter().copied().filter(fits).collect()
        };
        let listed = match advertise {
            Advertise::Bound => return Ok(None),
            Advertise::SameScope => own(&|own| Scope::of(*own) >= Scope::of(first)),
            Advertise::Explicit(list) if !list.is_empty() => {
                let list: Vec<IpAddr> = list.iter().map(IpAddr::to_canonical).collect();
                let foreign = list.iter().position(|own| !self.addresses().contains(own));
                if let Some((index, &address)) = foreign.and_then(|at| Some((at, list.get(at)?))) {
                    return Err(ConnectError::NotBound { index, address });
                }
                list
            }
            // The peer will know a single address, so the association has a single family.
            Advertise::Nothing | Advertise::Explicit(_) => {
                own(&|own| own.is_ipv4() == first.is_ipv4())
            }
        };
        if listed.is_empty() && *advertise == Advertise::SameScope {
            return Err(ConnectError::NoAddressInScope { address: first });
        }
        for (index, peer) in peers.iter().enumerate() {
            let address = peer.ip().to_canonical();
            if !listed.iter().any(|own| own.is_ipv4() == address.is_ipv4()) {
                return Err(ConnectError::FamilyDisabled { index, address });
            }
        }
        Ok(Some(listed))
    }

    /// What INIT offers.
    fn init_offer(
        &mut self,
        tag: VerificationTag,
        listed: Option<Vec<IpAddr>>,
        near: bool,
        options: &ConnectOptions,
    ) -> LocalOffer {
        let room = usize::from(self.config.path_mtu).saturating_sub(INIT_FIXED);
        let in_init = match &options.advertise {
            Advertise::Nothing => Vec::new(),
            Advertise::Explicit(list) if list.is_empty() => Vec::new(),
            _ => match &listed {
                Some(listed) => fitting(listed, room),
                None => fitting(&self.listed_for(None), room),
            },
        };
        let mut offer = self.offer(tag, in_init, near, options.outbound_streams);
        if let Some(own) = listed {
            offer.own = own;
        }
        offer
    }

    fn check_ports(&self, peers: &[SocketAddr]) -> Result<u16, ConnectError> {
        let first = peers.first().ok_or(ConnectError::Empty)?.port();
        let distinct: HashSet<IpAddr> = peers.iter().map(|p| p.ip().to_canonical()).collect();
        let (count, max) = (distinct.len(), self.config.limits.peer_addresses);
        if count > max {
            return Err(ConnectError::TooMany { count, max });
        }
        for (index, peer) in peers.iter().enumerate() {
            match peer.port() {
                0 => return Err(ConnectError::PortZero { index }),
                port if port != first => {
                    return Err(ConnectError::PortMismatch { index, port, first });
                }
                _ => {}
            }
        }
        Ok(first)
    }

    fn check_address(
        &self,
        index: usize,
        peer: SocketAddr,
        address: IpAddr,
    ) -> Result<(), ConnectError> {
        if address.is_unspecified() {
            return Err(ConnectError::Unspecified { index, address });
        }
        if address.is_multicast() {
            return Err(ConnectError::Multicast { index, address });
        }
        if matches!(address, IpAddr::V4(v4) if v4.is_broadcast()) {
            return Err(ConnectError::Broadcast { index });
        }
        let zone = zone(&peer, address);
        if is_link_local(address) && zone == 0 {
            return Err(ConnectError::LinkLocalNoScope { index, address });
        }
        if !self.addresses().iter().any(|own| own.is_ipv4() == address.is_ipv4()) {
            return Err(ConnectError::FamilyDisabled { index, address });
        }
        if peer.port() == self.port && self.addresses().contains(&address) {
            return Err(ConnectError::SelfConnect { index, address });
        }
        let owner = self.table.find_address(address, zone, peer.port());
        if let Some(association) = owner
            && let Some(state) = self.table.view(association).map(Association::state)
        {
            return Err(ConnectError::InUse { index, address, association, state });
        }
        Ok(())
    }
}

/// The zone that the caller gave with an address, if the address has one.
fn zone(peer: &SocketAddr, address: IpAddr) -> u32 {
    match peer {
        SocketAddr::V6(peer) => zone_of(address, peer.scope_id()),
        SocketAddr::V4(_) => 0,
    }
}

// IPv6, UDP, the common header, INIT without parameters, and its parameters other than addresses.
const INIT_FIXED: usize = 40 + 8 + 12 + 20 + 24;
