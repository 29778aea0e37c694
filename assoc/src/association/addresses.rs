//! The addresses that a peer names, and which of them an association has (RFC 9260, sections 5.1.2, 5.2.2 and 5.4; `connectx`).

use std::net::IpAddr;

use crate::context::Context;
use crate::event::{AddressChange, Event, IgnoredReason, RemovedReason};
use crate::path::{PathId, PathState};
use crate::scope::{Scope, is_unicast};

/// The addresses that an INIT, an INIT ACK or a cookie names.
///
/// Ignored are addresses of this host, unless the peer is on it, of other associations, of families without an own address,
/// and such as reach less far than those that are known to be of use: a host in the internet has nothing to say about private
/// networks here.
pub(crate) struct Named<'a> {
    /// Where it came from, which names itself.
    pub(crate) source: IpAddr,
    /// The interface that it came in by, if an address is link-local.
    pub(crate) zone: u32,
    /// What it lists.
    pub(crate) listed: &'a [IpAddr],
    /// This side's addresses.
    pub(crate) own: &'a [IpAddr],
    /// Whether another association has an address.
    pub(crate) taken: &'a dyn Fn(IpAddr) -> bool,
}

impl Named<'_> {
    /// Drops the paths to addresses that are not named, and to those that lead back here, and says so. What is now known of
    /// the peer is whether it is on this host. The addresses of the latter come back.
    pub(crate) fn drop_others(&self, reason: RemovedReason, ctx: &mut Context) -> Vec<IpAddr> {
        ctx.me.peer_is_here = self.is_from_here(ctx);
        let others = ctx.paths.iter().filter(|path| !self.has(path.peer));
        let others: Vec<PathId> = others.map(|path| path.id).collect();
        ctx.remove_paths(&others, reason);
        let back = ctx.paths_back();
        let peers = ctx.paths.iter().filter(|path| back.contains(&path.id)).map(|path| path.peer);
        let peers = peers.collect();
        ctx.remove_paths(&back, RemovedReason::OwnAddress);
        peers
    }

    /// Makes unconfirmed paths of the addresses that are new, as many as may be, and says so, and what is ignored; without
    /// those that are `gone`, of which the application has heard. Each path is sent HEARTBEATs, and whether its address
    /// wants them nobody knows (RFC 5062, section 4).
    pub(crate) fn add_new(&self, gone: &[IpAddr], ctx: &mut Context) {
        let config = ctx.config.clone();
        let limits = &config.limits;
        let mut unproved = ctx.paths.iter().filter(|path| !path.confirmed).count();
        let reach = self.reach(ctx);
        for peer in self.unknown_to(ctx).into_iter().filter(|peer| !gone.contains(peer)) {
            if let Some(reason) = self.objection(peer, reach, ctx) {
                let change = AddressChange::Ignored(reason);
                ctx.tell(Event::PeerAddressChange { peer, change });
            } else if ctx.paths.len() < limits.peer_addresses
                && unproved < limits.unproved_addresses
            {
                unproved += 1;
                let id = ctx.paths.add(peer, PathState::Unconfirmed, &config);
                ctx.tell_path(id, AddressChange::Unconfirmed);
            }
        }
        ctx.addresses_changed = true;
    }

    /// The addresses that it adds to an association, and that may thus not be in the INIT or the cookie of a peer that restarts
    /// or that opens at the same time (RFC 9260, 5.2.1 and 5.2.2).
    ///
    /// An association with such an address would have another peer than the one that began it. So what counts is what that peer
    /// listed, and not what was made of it: what was left out then, or has been taken out since, such as an address that this
    /// host had as well, is listed again in good faith when the reason for that is gone.
    pub(crate) fn added_to(&self, ctx: &Context) -> Vec<IpAddr> {
        let mut added = self.new_to(ctx);
        added.retain(|peer| !ctx.paths.has_left_out(*peer));
        added
    }

    /// The addresses that are no paths yet, without those that are ignored.
    pub(crate) fn new_to(&self, ctx: &Context) -> Vec<IpAddr> {
        let reach = self.reach(ctx);
        let mut new = self.unknown_to(ctx);
        new.retain(|peer| self.objection(*peer, reach, ctx).is_none());
        new
    }

    /// The addresses that are no paths yet, each once.
    fn unknown_to(&self, ctx: &Context) -> Vec<IpAddr> {
        let mut unknown: Vec<IpAddr> = Vec::new();
        for peer in std::iter::once(self.source).chain(self.listed.iter().copied()) {
            if ctx.paths.find(peer).is_none() && !unknown.contains(&peer) {
                unknown.push(peer);
            }
        }
        unknown
    }

    /// What speaks against using an address that is no path yet.
    fn objection(&self, peer: IpAddr, reach: Scope, ctx: &Context) -> Option<IgnoredReason> {
        let is_source = peer == self.source;
        if !self.is_from_here(ctx) && ctx.host.has(peer, 0) {
            return Some(IgnoredReason::OwnAddress);
        }
        if !self.own.iter().any(|own| own.is_ipv4() == peer.is_ipv4()) {
            return Some(IgnoredReason::Family);
        }
        if (self.taken)(peer) {
            return Some(IgnoredReason::OtherAssociation);
        }
        let in_scope = is_source || (Scope::of(peer) >= reach && is_unicast(peer));
        (!in_scope).then_some(IgnoredReason::Reach)
    }

    /// How far the nearest of the addresses in use reaches.
    fn reach(&self, ctx: &Context) -> Scope {
        let kept = ctx.paths.iter().map(|path| path.peer).filter(|peer| self.has(*peer));
        kept.map(Scope::of).fold(Scope::of(self.source), Ord::min)
    }

    /// Whether the peer is on this host: what has one of its addresses for its source was sent on it.
    fn is_from_here(&self, ctx: &Context) -> bool {
        ctx.host.has(self.source, self.zone)
    }

    fn has(&self, peer: IpAddr) -> bool {
        peer == self.source || self.listed.contains(&peer)
    }
}
