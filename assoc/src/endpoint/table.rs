//! Which association a packet belongs to, and when each wants to be woken.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use usctp_chunk::{Tsn, VerificationTag};

use super::spread::OwnMap;
use crate::association::{Association, Overtaken};
use crate::event::AssociationId;
use crate::path::Path;
use crate::wire::{Datagram, zone_of};

/// An address of a peer with its zone, 0 unless it is link-local, and the peer's port: two numbers, which are hashed in less
/// time than the parts of an [`IpAddr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PeerAddress {
    address: u128,
    rest: u64,
}

impl PeerAddress {
    fn new(address: IpAddr, zone: u32, port: u16) -> Self {
        let (family, address) = match address {
            IpAddr::V4(v4) => (4, v4.to_bits().into()),
            IpAddr::V6(v6) => (6, v6.to_bits()),
        };
        Self { address, rest: family << 48 | u64::from(zone) << 16 | u64::from(port) }
    }
}

/// The associations of an endpoint with the indices that find them.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: OwnMap<AssociationId, Box<Entry>>,
    names: Names,
    deadlines: BTreeSet<(Instant, AssociationId)>,
    /// Those that hold much behind gaps, by how much that was.
    hoards: BTreeSet<(usize, AssociationId)>,
    /// Associations that something was done to since they were drained.
    touched: VecDeque<AssociationId>,
}

/// What associations are found by.
#[derive(Debug, Default)]
struct Names {
    by_tag: OwnMap<VerificationTag, AssociationId>,
    by_address: HashMap<PeerAddress, AssociationId>,
}

#[derive(Debug)]
struct Entry {
    association: Association,
    /// What it is found by in `by_tag` and `by_address`.
    tag: Option<VerificationTag>,
    addresses: Vec<PeerAddress>,
    deadline: Option<Instant>,
    /// What is noted in `hoards`, 0 if nothing is.
    hoard: usize,
    touched: bool,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = AssociationId> + '_ {
        self.entries.keys().copied()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Association> {
        self.entries.values_mut().map(|entry| &mut entry.association)
    }

    pub(super) fn insert(&mut self, association: Association) {
        let id = association.id();
        let mut entry = Box::new(Entry {
            association,
            tag: None,
            addresses: Vec::new(),
            deadline: None,
            hoard: 0,
            touched: false,
        });
        self.names.index(id, &mut entry);
        self.entries.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: AssociationId) -> Option<Association> {
        let entry = self.entries.remove(&id)?;
        self.names.forget(id, &entry.addresses, entry.tag);
        if entry.touched {
            self.touched.retain(|touched| *touched != id);
        }
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.hoards.remove(&(entry.hoard, id));
        Some(entry.association)
    }

    pub(super) fn view(&self, id: AssociationId) -> Option<&Association> {
        self.entries.get(&id).map(|entry| &entry.association)
    }

    /// The association, to do something with it that leads to no output.
    pub(super) fn look(&mut self, id: AssociationId) -> Option<&mut Association> {
        self.entries.get_mut(&id).map(|entry| &mut entry.association)
    }

    /// The association, which is drained next.
    pub(super) fn touch(&mut self, id: AssociationId) -> Option<&mut Association> {
        let entry = self.entries.get_mut(&id)?;
        if !std::mem::replace(&mut entry.touched, true) {
            self.touched.push_back(id);
        }
        Some(&mut entry.association)
    }

    pub(super) fn find_tag(&self, tag: VerificationTag) -> Option<AssociationId> {
        self.names.by_tag.get(&tag).copied()
    }

    /// The association with this tag whose peer has this port, and whether it has the address that a packet came from.
    pub(super) fn find_named(
        &self,
        tag: VerificationTag,
        datagram: &Datagram,
        port: u16,
    ) -> Option<(AssociationId, bool)> {
        let id = self.find_tag(tag)?;
        let entry = self.entries.get(&id).filter(|entry| entry.association.port() == port)?;
        let source = PeerAddress::new(datagram.source, datagram.source_zone(), port);
        Some((id, entry.addresses.contains(&source)))
    }

    /// The association that has this address of a peer; the zone is 0 unless the address is link-local.
    pub(super) fn find_address(&self, peer: IpAddr, zone: u32, port: u16) -> Option<AssociationId> {
        self.names.by_address.get(&PeerAddress::new(peer, zone, port)).copied()
    }

    /// The association that has the address a packet came from.
    pub(super) fn find_source(&self, datagram: &Datagram, port: u16) -> Option<AssociationId> {
        self.find_address(datagram.source, datagram.source_zone(), port)
    }

    /// Whether there is an association with something to be followed up.
    pub(super) fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The first association that something was done to, for draining.
    pub(super) fn first_touched(&mut self) -> Option<&mut Association> {
        let id = self.touched.front()?;
        self.entries.get_mut(id).map(|entry| &mut entry.association)
    }

    /// The first association was drained, and is not the first any more: its tag, addresses and deadline are up to date again.
    pub(super) fn first_drained(&mut self) -> Option<&mut Association> {
        let id = self.touched.pop_front()?;
        let entry = self.entries.get_mut(&id)?;
        entry.touched = false;
        self.names.reindex(id, entry);
        entry.note_memory(id, &mut self.hoards);
        entry.note_deadline(id, &mut self.deadlines);
        Some(&mut entry.association)
    }

    /// The association that holds the most behind gaps; it is touched, and counted no more.
    pub(super) fn take_hoard(&mut self) -> Option<&mut Association> {
        let (_, id) = self.hoards.pop_last()?;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.hoard = 0;
        }
        self.touch(id)
    }

    /// If the addresses of an association changed, they are noted before the next packet.
    pub(super) fn reindex(&mut self, id: AssociationId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            self.names.reindex(id, entry);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// An association whose deadline has come; it is touched.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<&mut Association> {
        let &(deadline, id) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.deadlines.remove(&(deadline, id));
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.deadline = None;
        }
        self.touch(id)
    }
}

impl Entry {
    fn note_memory(&mut self, id: AssociationId, hoards: &mut BTreeSet<(usize, AssociationId)>) {
        self.association.note_memory();
        let now = self.association.spare();
        let now = if now < HOARD { 0 } else { now };
        if now.abs_diff(self.hoard) < HOARD {
            return;
        }
        hoards.remove(&(self.hoard, id));
        self.hoard = now;
        if now > 0 {
            hoards.insert((now, id));
        }
    }

    /// A deadline that moved further away stays noted as it was: the association is then asked early,
    /// finds nothing to do, and is noted anew. That is rarer than the moves.
    fn note_deadline(
        &mut self,
        id: AssociationId,
        deadlines: &mut BTreeSet<(Instant, AssociationId)>,
    ) {
        let next = self.association.next_timeout();
        match (self.deadline, next) {
            (Some(noted), Some(next)) if noted <= next => return,
            (None, None) => return,
            _ => {}
        }
        if let Some(noted) = self.deadline {
            deadlines.remove(&(noted, id));
        }
        self.deadline = next;
        if let Some(next) = next {
            deadlines.insert((next, id));
        }
    }
}

impl Names {
    /// The same as [`index`](Self::index) if something changed since.
    fn reindex(&mut self, id: AssociationId, entry: &mut Entry) {
        if std::mem::take(&mut entry.association.ctx.addresses_changed) {
            self.index(id, entry);
        }
    }

    /// Makes an association found by its present tag and addresses; by none once it is over.
    fn index(&mut self, id: AssociationId, entry: &mut Entry) {
        let (tag, addresses) = found_by(&entry.association);
        // An address may have been another association's, and be free by now.
        let found = |address| self.by_address.get(address) == Some(&id);
        if entry.tag == tag && entry.addresses == addresses && addresses.iter().all(found) {
            return;
        }
        self.forget(id, &entry.addresses, entry.tag);
        (entry.tag, entry.addresses) = (tag, addresses);
        if let Some(tag) = tag {
            self.by_tag.insert(tag, id);
        }
        for &address in &entry.addresses {
            self.by_address.entry(address).or_insert(id);
        }
    }

    fn forget(
        &mut self,
        id: AssociationId,
        addresses: &[PeerAddress],
        tag: Option<VerificationTag>,
    ) {
        if let Some(tag) = tag
            && self.by_tag.get(&tag) == Some(&id)
        {
            self.by_tag.remove(&tag);
        }
        for address in addresses {
            if self.by_address.get(address) == Some(&id) {
                self.by_address.remove(address);
            }
        }
    }
}

/// The tag and the addresses that packets for an association have; none once it is over.
fn found_by(association: &Association) -> (Option<VerificationTag>, Vec<PeerAddress>) {
    if association.is_over() {
        return (None, Vec::new());
    }
    let port = association.port();
    let address = |path: &Path| PeerAddress::new(path.peer, zone_of(path.peer, path.zone), port);
    let addresses = association.ctx.paths.iter().map(address).collect();
    (Some(association.ctx.me.local_tag), addresses)
}

/// Less than this many bytes behind gaps is not worth being thrown away, nor a change of as many being noted.
const HOARD: usize = 16 << 10;

/// Tags of associations that ended: a cookie that is still valid must not bring one back, and for a moment what was
/// overtaken by the end gets no answer. What comes later is out of the blue like anything else.
#[derive(Debug, Default)]
pub(super) struct TimeWait {
    order: VecDeque<(Instant, VerificationTag)>,
    /// With the last TSN that came, and until when something from before may come, if anything may.
    tags: HashMap<VerificationTag, Option<(Instant, Tsn)>>,
}

impl TimeWait {
    pub(super) fn insert(
        &mut self,
        now: Instant,
        tag: VerificationTag,
        overtaken: Option<Overtaken>,
        life: Duration,
    ) {
        self.expire(now);
        if self.order.len() >= MAX_TIME_WAIT
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.tags.remove(&oldest);
        }
        let until = overtaken.map(|overtaken| (now + overtaken.within, overtaken.last_tsn));
        if self.tags.insert(tag, until).is_none() {
            self.order.push_back((now + life, tag));
        }
    }

    pub(super) fn contains(&mut self, now: Instant, tag: VerificationTag) -> bool {
        self.expire(now);
        self.tags.contains_key(&tag)
    }

    /// Whether the tag is remembered, perhaps for longer than it has to be.
    pub(super) fn holds(&self, tag: VerificationTag) -> bool {
        self.tags.contains_key(&tag)
    }

    /// The last TSN that came with this tag, while something from before it may still come.
    pub(super) fn last_tsn(&self, now: Instant, tag: VerificationTag) -> Option<Tsn> {
        let (until, last) = (*self.tags.get(&tag)?)?;
        (now < until).then_some(last)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((_, tag)) = self.order.front().filter(|(until, _)| *until <= now) {
            self.tags.remove(tag);
            self.order.pop_front();
        }
    }
}

const MAX_TIME_WAIT: usize = 1 << 17;
