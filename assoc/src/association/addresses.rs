//! The addresses that a peer names, and which of them an association has (RFC 9260, sections 5.1.2, 5.2.2 and 5.4; `connectx`).

use std::net::IpAddr;

use crate::context::Context;
use crate::event::{AddressChange, RemovedReason};
use crate::path::{PathId, PathState, Paths};
use crate::scope::{Scope, is_unicast};

/// The addresses that an INIT, an INIT ACK or a cookie names.
///
/// Ignored are addresses of other associations, of families without an own address, and such as reach less far than those
/// that are known to be of use: a host in the internet has nothing to say about private networks here.
pub(crate) struct Named<'a> {
    /// Where it came from, which names itself.
    pub(crate) source: IpAddr,
    /// What it lists.
    pub(crate) listed: &'a [IpAddr],
    /// This side's addresses.
    pub(crate) own: &'a [IpAddr],
    /// Whether another association has an address.
    pub(crate) taken: &'a dyn Fn(IpAddr) -> bool,
}

impl Named<'_> {
    /// Drops the paths to addresses that are not named, and says so.
    pub(crate) fn drop_others(&self, reason: RemovedReason, ctx: &mut Context) {
        let others = ctx.paths.iter().filter(|path| !self.has(path.peer));
        let dropped: Vec<PathId> = others.map(|path| path.id).collect();
        for id in dropped {
            ctx.tell_path(id, AddressChange::Removed(reason));
            ctx.paths.remove(id);
        }
        ctx.addresses_changed = true;
    }

    /// Makes unconfirmed paths of the addresses that are new, as many as may be, and says so.
    pub(crate) fn add_new(&self, ctx: &mut Context) {
        let config = ctx.config.clone();
        for peer in self.new_to(&ctx.paths) {
            if ctx.paths.len() < config.limits.peer_addresses {
                let id = ctx.paths.add(peer, PathState::Unconfirmed, &config);
                ctx.tell_path(id, AddressChange::Unconfirmed);
            }
        }
        ctx.addresses_changed = true;
    }

    /// The addresses that are no paths yet, without those that are ignored.
    pub(crate) fn new_to(&self, paths: &Paths) -> Vec<IpAddr> {
        let kept = paths.iter().map(|path| path.peer).filter(|peer| self.has(*peer));
        let reach = kept.map(Scope::of).fold(Scope::of(self.source), Ord::min);
        let counts = |peer: &IpAddr| {
            let usable = self.own.iter().any(|own| own.is_ipv4() == peer.is_ipv4());
            let in_scope = *peer == self.source || (Scope::of(*peer) >= reach && is_unicast(*peer));
            paths.find(*peer).is_none() && usable && in_scope && !(self.taken)(*peer)
        };
        let mut new: Vec<IpAddr> = Vec::new();
        for peer in std::iter::once(self.source).chain(self.listed.iter().copied()) {
            if counts(&peer) && !new.contains(&peer) {
                new.push(peer);
            }
        }
        new
    }

    fn has(&self, peer: IpAddr) -> bool {
        peer == self.source || self.listed.contains(&peer)
    }
}
