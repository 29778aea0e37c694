//! The local addresses of an endpoint: which are bound, which the host has, which peers were told of, what changes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::Endpoint;
use crate::association::Association;
use crate::context::Tells;
use crate::event::AssociationId;
use crate::host::HostAddresses;
use crate::wire::{AddressSet, Datagram, is_link_local, zone_of};

/// The bound addresses, and those that associations began with.
#[derive(Debug, Default)]
pub(super) struct LocalAddresses {
    bound: Vec<IpAddr>,
    /// Those of them that only some peers are told of.
    unlisted: Vec<IpAddr>,
    /// Unbound again: older associations have them still.
    unbound: Vec<IpAddr>,
    /// What peers were told of, each set once, the newest last.
    sets: VecDeque<(AddressSet, Vec<IpAddr>)>,
    last: u32,
    /// The addresses of the host as the caller told them, with their zones.
    host: Vec<(IpAddr, u32)>,
}

impl Endpoint {
    /// The local addresses. IPv6 link-local ones are not listed in INIT and INIT ACK: no peer knows which link they are of.
    pub fn addresses(&self) -> &[IpAddr] {
        self.addresses.bound()
    }

    /// Binds an address: associations that begin from now on have it. Those that exist do without, since their peers were
    /// not told of it (RFC 6458, section 9.1). False if it is bound already.
    pub fn add_address(&mut self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.addresses.bound.contains(&address) {
            return false;
        }
        self.addresses.unbound.retain(|unbound| *unbound != address);
        self.addresses.bound.push(address);
        self.note_host();
        true
    }

    /// Unbinds an address: INITs to it are refused, and associations that begin from now on do without. Those that exist
    /// keep it, since their peers were told of it (RFC 6458, section 9.1). False if it is not bound, or the last one.
    pub fn remove_address(&mut self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let bound = &mut self.addresses.bound;
        if bound.len() == 1 || !bound.contains(&address) {
            return false;
        }
        bound.retain(|own| *own != address);
        self.addresses.unbound.push(address);
        true
    }

    /// Takes other addresses for the associations that begin from now on: those of the host, for an endpoint that is bound
    /// to all of them.
    pub fn set_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.addresses.bound =
            addresses.into_iter().map(|address| address.to_canonical()).collect();
        self.note_host();
    }

    /// Tells which addresses this host has, bound or not, each with the number of its interface, which counts for IPv6
    /// link-local ones; to be called again whenever they change. Those that are bound, and all of loopback, are known to be
    /// of this host.
    ///
    /// What is sent to one of them never leaves the host, whoever else has the same address. So none of them is a path to a
    /// peer, unless the packet that opened the association came from one of them, and the peer therefore is on this host. A
    /// path that leads to an address which this host gets later ends then.
    pub fn set_host_addresses(&mut self, addresses: impl IntoIterator<Item = (IpAddr, u32)>) {
        self.addresses.host = addresses.into_iter().collect();
        self.note_host();
    }

    /// Tells which addresses this host has got beside those that it was known to have.
    pub fn add_host_addresses(&mut self, addresses: impl IntoIterator<Item = (IpAddr, u32)>) {
        self.addresses.host.extend(addresses);
        self.note_host();
    }

    /// Whether a packet of this endpoint, which came back to this host, was meant for a peer elsewhere; it is not to be
    /// answered then. One for a peer on this host, or of which it is not known yet where it is, is as any other.
    pub fn has_sent_astray(&self, datagram: &Datagram) -> bool {
        let Some(&[s0, s1, d0, d1]) = datagram.payload.first_chunk() else { return false };
        let is_ours = u16::from_be_bytes([s0, s1]) == self.port
            && self.host.has(datagram.source, datagram.zone);
        let port = u16::from_be_bytes([d0, d1]);
        let zone = zone_of(datagram.destination, datagram.zone);
        let meant_for = || self.table.find_address(datagram.destination, zone, port);
        is_ours
            && meant_for().and_then(|id| self.table.view(id)).is_none_or(Association::is_elsewhere)
    }

    /// What the host has may have changed.
    fn note_host(&mut self) {
        let host = HostAddresses::new(self.addresses.of_host());
        if host == *self.host {
            return;
        }
        self.host = Arc::new(host);
        let mut ids = Vec::new();
        for association in self.table.iter_mut() {
            association.ctx.host = Arc::clone(&self.host);
            if association.leads_back() {
                ids.push(association.id());
            }
        }
        for id in ids {
            if let Some(association) = self.table.touch(id) {
                association.on_host_change();
            }
            self.table.reindex(id);
        }
    }

    /// Bound addresses that are told only to a peer whose INIT came to one of them, or to whom the application tells it
    /// ([`Advertise::Explicit`](crate::Advertise)): such as lead to guests of this host alone. Where there are no others, they
    /// are told to all.
    pub fn set_unlisted(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.addresses.unlisted =
            addresses.into_iter().map(|address| address.to_canonical()).collect();
    }

    /// The addresses that only some peers are told of.
    pub fn unlisted(&self) -> &[IpAddr] {
        &self.addresses.unlisted
    }

    /// What a peer is told of that has asked this address, if it has.
    pub(super) fn listed_for(&self, asked: Option<IpAddr>) -> Vec<IpAddr> {
        let LocalAddresses { bound, unlisted, .. } = &self.addresses;
        let is_told = |own: &&IpAddr| !unlisted.contains(own) || asked == Some(**own);
        let told: Vec<IpAddr> = bound.iter().filter(is_told).copied().collect();
        if told.iter().all(|own| is_link_local(*own)) { bound.clone() } else { told }
    }

    /// The host no longer has an address. Paths whose packets left from it leave their source to routing again, among
    /// the addresses that the peer was told of; it stays one of these, since the peer cannot be told otherwise.
    pub fn address_lost(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        for association in self.table.iter_mut() {
            let paths = association.ctx.paths.iter_mut();
            paths.filter(|path| path.local == Some(address)).for_each(|path| path.local = None);
        }
    }

    /// The addresses that an association has.
    pub fn addresses_of(&self, id: AssociationId) -> Option<&[IpAddr]> {
        Some(self.address_set(self.table.view(id)?.ctx.me.sources))
    }

    /// What an association tells its peer again if that restarts; `None` for what is bound then.
    pub(super) fn told_by(&self, id: AssociationId) -> Option<Vec<IpAddr>> {
        let me = self.table.view(id)?.ctx.me;
        match me.tells {
            Tells::Bound => None,
            Tells::Chosen => Some(self.address_set(me.sources).to_vec()),
            Tells::Nothing => Some(Vec::new()),
        }
    }

    /// The addresses that a packet may leave from if it has no source.
    pub fn address_set(&self, set: AddressSet) -> &[IpAddr] {
        let known = self.addresses.sets.iter().find(|(name, _)| *name == set);
        known.map_or(self.addresses.bound(), |(_, addresses)| addresses)
    }

    /// The addresses that say which families a peer may use: link-local ones only if the peer is `near`, or if there are no
    /// others. A single one is known to the peer as the source of the packet, but not if that is a link-local one.
    pub(super) fn own_addresses(&self, near: bool) -> Vec<IpAddr> {
        let bound = self.addresses.bound().iter().copied();
        let far: Vec<IpAddr> = bound.clone().filter(|own| !is_link_local(*own)).collect();
        if near || far.is_empty() { bound.collect() } else { far }
    }

    /// The same for what is told again to a peer that restarts, from `peer`.
    pub(super) fn own_addresses_of(&self, id: AssociationId, peer: IpAddr) -> Vec<IpAddr> {
        let Some(me) = self.table.view(id).map(|association| association.ctx.me) else {
            return Vec::new();
        };
        if let Some(only) = me.only {
            return vec![only];
        }
        let all = self.address_set(me.sources);
        let far: Vec<IpAddr> = all.iter().copied().filter(|own| !is_link_local(*own)).collect();
        if is_link_local(peer) || far.is_empty() { all.to_vec() } else { far }
    }

    /// Names what a peer is told of, together with the addresses that neighbours know without being told.
    pub(super) fn name_set(&mut self, listed: &[IpAddr]) -> AddressSet {
        let local = self.addresses.bound.iter().filter(|address| is_link_local(**address));
        // Who lists none is known by the source of its packets.
        let listed = if listed.is_empty() { self.addresses.bound() } else { listed };
        let mut set = listed.to_vec();
        set.extend(local.filter(|address| !listed.contains(address)));
        let sets = &mut self.addresses.sets;
        if let Some((name, _)) = sets.iter().rev().find(|(_, known)| *known == set) {
            return *name;
        }
        if sets.len() >= MOST_SETS {
            let table = &self.table;
            let in_use: std::collections::HashSet<AddressSet> =
                table.ids().filter_map(|id| Some(table.view(id)?.ctx.me.sources)).collect();
            // Cookies may still name the latest.
            let latest = sets.len() - MOST_SETS / 2;
            let mut at = 0;
            sets.retain(|(name, _)| {
                at += 1;
                at > latest || in_use.contains(name)
            });
        }
        self.addresses.last += 1;
        let name = AddressSet(self.addresses.last);
        sets.push_back((name, set));
        name
    }
}

impl LocalAddresses {
    pub(super) fn new(addresses: Vec<IpAddr>) -> Self {
        let bound = addresses.into_iter().map(|address| address.to_canonical()).collect();
        Self { bound, ..Self::default() }
    }

    pub(super) fn bound(&self) -> &[IpAddr] {
        &self.bound
    }

    /// All that the host is known to have.
    pub(super) fn of_host(&self) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        self.bound.iter().map(|address| (*address, 0)).chain(self.host.iter().copied())
    }

    /// Whether no new association may have it.
    pub(super) fn is_unbound(&self, address: IpAddr) -> bool {
        self.unbound.contains(&address)
    }
}

/// Sets that are remembered, the latest half of them for as long as cookies may name them; more only if associations have
/// them.
const MOST_SETS: usize = 32;
