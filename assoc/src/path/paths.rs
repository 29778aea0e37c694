//! The table of an association's paths: which is primary, which carries data, which are left.

use std::net::IpAddr;
use std::time::Instant;

use super::{Path, PathId, PathState};
use crate::config::Config;
use crate::timer::earliest;

/// Paths in the caller's order, then those learned from the peer.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    paths: Vec<Path>,
    primary: PathId,
    /// Failures of all paths in a row (RFC 9260, section 8.1).
    errors: u16,
    next_id: u16,
}

/// What a failure did to its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Struck {
    /// It was counted.
    Counted,
    /// The path has become inactive.
    Inactive,
}

impl Paths {
    pub(crate) fn new(peers: &[IpAddr], state: PathState, config: &Config) -> Self {
        let mut paths = Self { paths: Vec::new(), primary: PathId(0), errors: 0, next_id: 0 };
        for &peer in peers {
            paths.add(peer, state, config);
        }
        paths
    }

    pub(crate) fn add(&mut self, peer: IpAddr, state: PathState, config: &Config) -> PathId {
        let id = PathId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.paths.push(Path::new(id, peer, state, config));
        id
    }

    pub(crate) fn remove(&mut self, id: PathId) {
        self.paths.retain(|path| path.id != id);
    }

    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Path> {
        self.paths.iter_mut()
    }

    pub(crate) fn find(&self, peer: IpAddr) -> Option<PathId> {
        self.paths.iter().find(|path| path.peer == peer).map(|path| path.id)
    }

    pub(crate) fn path(&self, id: PathId) -> Option<&Path> {
        // An association rarely has more than a few paths, and the id is nearly always the index.
        self.paths
            .get(usize::from(id.0))
            .filter(|path| path.id == id)
            .or_else(|| self.paths.iter().find(|path| path.id == id))
    }

    pub(crate) fn path_mut(&mut self, id: PathId) -> Option<&mut Path> {
        let at = match self.paths.get(usize::from(id.0)) {
            Some(path) if path.id == id => usize::from(id.0),
            _ => self.paths.iter().position(|path| path.id == id)?,
        };
        self.paths.get_mut(at)
    }

    pub(crate) fn primary(&self) -> PathId {
        self.primary
    }

    pub(crate) fn set_primary(&mut self, id: PathId) {
        self.primary = id;
    }

    /// The path behind `id` in the caller's order, cyclic, among those that `fits` accepts; `id` itself comes last.
    pub(crate) fn next_after(&self, id: PathId, fits: impl Fn(&Path) -> bool) -> Option<PathId> {
        let at = self.paths.iter().position(|path| path.id == id).map_or(0, |at| at + 1);
        let (head, tail) = self.paths.split_at(at.min(self.paths.len()));
        tail.iter().chain(head).find(|path| fits(path)).map(|path| path.id)
    }

    /// The path that new DATA goes to: the primary, or while that fails the first usable one
    /// (RFC 9260, section 6.4.1); if none is usable, the confirmed one with the fewest failures.
    pub(crate) fn for_data(&self) -> Option<PathId> {
        let primary = self.path(self.primary).filter(|path| path.is_usable());
        let usable = || self.paths.iter().find(|path| path.is_usable());
        let least_bad = || {
            self.paths.iter().filter(|path| path.confirmed).min_by_key(|path| path.record.errors)
        };
        primary.or_else(usable).or_else(least_bad).map(|path| path.id)
    }

    /// Where to retransmit what timed out on `failed`: another usable path if there is one (RFC 9260, section 6.4).
    pub(crate) fn for_retransmission(&self, failed: PathId) -> Option<PathId> {
        // The one that failed comes last of those that are usable, and before those that are known to be down.
        self.next_after(failed, Path::is_usable)
            .or_else(|| self.next_after(failed, |path| path.confirmed))
            .or(Some(failed))
    }

    /// Counts a failure of a path and, unless it is only being probed, of the association (RFC 9260, 8.1, 8.2).
    pub(crate) fn strike(&mut self, id: PathId, whole: bool) -> Struck {
        if whole {
            self.errors = self.errors.saturating_add(1);
        }
        let Some(path) = self.path_mut(id) else { return Struck::Counted };
        // RFC 9260, 6.4: not the destination but the link of the source may have failed: routing may know a better one.
        path.local = None;
        if path.state == PathState::Inactive {
            // RFC 9260, 8.3: the counter of an inactive path is increased no more.
            return Struck::Counted;
        }
        path.record.errors = path.record.errors.saturating_add(1);
        if path.record.errors <= path.settings.max_retrans {
            return Struck::Counted;
        }
        path.state = PathState::Inactive;
        Struck::Inactive
    }

    /// Whether the association failed as a whole: Association.Max.Retrans was exceeded.
    pub(crate) fn are_exhausted(&self, config: &Config) -> bool {
        self.errors > config.retransmission.association_max
    }

    /// A path answered: its failures are forgotten. Whether it had been inactive.
    pub(crate) fn answered(&mut self, id: PathId) -> bool {
        self.errors = 0;
        let Some(path) = self.path_mut(id) else { return false };
        path.record.errors = 0;
        if !path.confirmed || path.state == PathState::Active {
            return false;
        }
        let returned = path.state == PathState::Inactive;
        path.state = PathState::Active;
        returned
    }

    /// The peer gave a sign of life that belongs to no path in particular.
    pub(crate) fn forget_errors(&mut self) {
        self.errors = 0;
    }

    /// The smallest packet limit of the confirmed paths: what a DATA chunk must fit (AMDCS, RFC 9260, 6.9).
    pub(crate) fn smallest_limit(&self) -> usize {
        self.paths.iter().map(Path::packet_limit).min().unwrap_or(0)
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        earliest(self.paths.iter().map(Path::next_timeout))
    }
}
