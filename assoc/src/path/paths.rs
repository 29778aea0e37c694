//! The table of an association's paths: which is primary, which carries data, which are left.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Path, PathId, PathSettings, PathState, PathStatus};
use crate::config::Config;
use crate::timer::earliest;
use crate::wire::zone_of;

/// Paths in the caller's order, then those learned from the peer.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    paths: Vec<Path>,
    /// Addresses that the peer listed and that are no paths.
    left_out: Vec<IpAddr>,
    primary: PathId,
    /// Failures of all paths in a row (RFC 9260, section 8.1).
    errors: u16,
    next_id: u16,
    /// Where a failure was seen last.
    failed: PathId,
    /// What paths begin with.
    settings: PathSettings,
    /// Whether the application sees which paths are potentially failed.
    exposes: bool,
}

/// What a failure did to its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Struck {
    /// It was counted.
    Counted,
    /// The path has become potentially failed.
    PotentiallyFailed,
    /// The path has become inactive.
    Inactive,
}

impl Paths {
    pub(crate) fn new(peers: &[IpAddr], state: PathState, config: &Config) -> Self {
        let mut paths = Self {
            paths: Vec::with_capacity(peers.len()),
            left_out: Vec::new(),
            primary: PathId(0),
            errors: 0,
            next_id: 0,
            failed: PathId(0),
            settings: PathSettings::of(config),
            exposes: config.failover.expose_potentially_failed,
        };
        for &peer in peers {
            paths.add(peer, state, config);
        }
        paths
    }

    pub(crate) fn add(&mut self, peer: IpAddr, state: PathState, config: &Config) -> PathId {
        let id = PathId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        if self.paths.len() == self.paths.capacity() {
            // They are large, and come at the beginning.
            self.paths.reserve_exact(self.paths.len() / 4 + 1);
        }
        self.paths.push(Path::new(id, peer, state, &self.settings, config));
        id
    }

    pub(crate) fn remove(&mut self, id: PathId) {
        let Some(at) = self.paths.iter().position(|path| path.id == id) else { return };
        self.left_out.reserve_exact(1);
        self.left_out.push(self.paths.remove(at).peer);
    }

    /// The peer lists these: those of them that are no paths, and no others, are left out.
    pub(crate) fn note_listed(&mut self, listed: &[IpAddr]) {
        let no_paths = listed.iter().filter(|peer| self.find(**peer).is_none());
        self.left_out = no_paths.copied().collect();
        self.left_out.shrink_to_fit();
    }

    /// Whether the peer listed an address that is no path, or is none any more.
    pub(crate) fn has_left_out(&self, peer: IpAddr) -> bool {
        self.left_out.contains(&peer)
    }

    /// Bytes that the paths take, here and in the endpoint's table.
    pub(crate) fn memory(&self) -> usize {
        let left_out = self.left_out.capacity() * size_of::<IpAddr>();
        self.paths.capacity() * size_of::<Path>() + self.paths.len() * NAME + left_out
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

    /// The first of these addresses that is confirmed.
    pub(crate) fn first_of(&self, peers: &[IpAddr]) -> Option<&Path> {
        let mut paths = peers.iter().filter_map(|peer| self.path(self.find(*peer)?));
        paths.find(|path| path.confirmed)
    }

    /// The path to an address in a zone, which is 0 unless the address is link-local.
    pub(crate) fn find_in(&self, peer: IpAddr, zone: u32) -> Option<PathId> {
        let path = self.find(peer).and_then(|id| self.path(id));
        path.filter(|path| zone_of(peer, path.zone) == zone_of(peer, zone)).map(|path| path.id)
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

    /// Sets what paths that are added begin with.
    pub(crate) fn set_settings(&mut self, settings: PathSettings) {
        self.settings = settings;
    }

    /// Whether the application sees which paths are potentially failed (RFC 7829, section 7.3).
    pub(crate) fn exposes(&self) -> bool {
        self.exposes
    }

    /// Sets whether it does.
    pub(crate) fn set_exposes(&mut self, exposes: bool) {
        self.exposes = exposes;
    }

    /// What the application can see of the paths.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = PathStatus> + '_ {
        self.paths.iter().map(|path| {
            let mut status = path.status(path.id == self.primary);
            if status.state == PathState::PotentiallyFailed && !self.exposes {
                status.state = PathState::Active;
            }
            status
        })
    }

    /// The path that new DATA goes to: the primary, or the next active one after it (RFC 9260, section 6.4.1); if none is
    /// active, the one with the best chance (RFC 7829, sections 3.2, 4, and 4.1).
    pub(crate) fn for_data(&self) -> Option<PathId> {
        // In the order in which retransmissions visit them, so that all data moves to one path.
        let primary = self.path(self.primary).filter(|path| path.is_usable());
        primary
            .map(|path| path.id)
            .or_else(|| self.next_after(self.primary, Path::is_usable))
            .or_else(|| self.best(self.failed))
    }

    /// Where to retransmit what timed out on `failed`: another path if one fares as well (RFC 9260, section 6.4).
    pub(crate) fn for_retransmission(&self, failed: PathId) -> Option<PathId> {
        // The one that failed may be the best still, but comes last of its equals.
        self.best(failed).or(Some(failed))
    }

    /// A path that may carry data while `id` had better not.
    pub(crate) fn usable_instead_of(&self, id: PathId) -> Option<PathId> {
        match self.path(id) {
            Some(path) if path.is_usable() => None,
            _ => self.next_after(id, Path::is_usable),
        }
    }

    /// The confirmed path that fares best, of several equal ones the next after `failed` in cyclic order, and `failed`
    /// itself last: that is how divergence is found here (RFC 9260, 6.4.1).
    ///
    /// Active paths are all equal. If there are none, it is the potentially failed one with the fewest failures (RFC 7829,
    /// 3.2, 4); if there are none of those either, the inactive one with the fewest (4.1, 3: dormant state).
    fn best(&self, failed: PathId) -> Option<PathId> {
        let at = self.paths.iter().position(|path| path.id == failed).map_or(0, |at| at + 1);
        let (head, tail) = self.paths.split_at(at.min(self.paths.len()));
        let rank = |path: &&Path| match path.state {
            PathState::Active | PathState::Listed => (0, 0),
            PathState::PotentiallyFailed => (1, path.record.errors),
            PathState::Inactive | PathState::Unconfirmed => (2, path.record.errors),
        };
        tail.iter().chain(head).filter(|path| path.confirmed).min_by_key(rank).map(|path| path.id)
    }

    /// Counts a failure of a path and, unless it is only being probed, of the association (RFC 9260, 8.1, 8.2;
    /// RFC 7829, 3.2).
    pub(crate) fn strike(&mut self, now: Instant, id: PathId, whole: bool) -> Struck {
        if whole {
            self.errors = self.errors.saturating_add(1);
        }
        self.failed = id;
        let Some(path) = self.path_mut(id) else { return Struck::Counted };
        // RFC 9260, 6.4: not the destination but the link of the source may have failed: routing may know a better one.
        path.local = None;
        let settings = path.settings;
        path.record.judged_at = Some(now);
        path.record.errors = path.record.errors.saturating_add(1);
        if path.state == PathState::Inactive {
            path.record.errors = path.record.errors.min(settings.most_errors());
            return Struck::Counted;
        }
        let errors = path.record.errors;
        if errors > settings.max_retrans {
            path.enter(now, PathState::Inactive);
            return Struck::Inactive;
        }
        // RFC 7829, 3.2 (2)
        let fails = settings.potentially_failed_max.is_some_and(|most| errors > most);
        if fails && path.state == PathState::Active {
            path.enter(now, PathState::PotentiallyFailed);
            return Struck::PotentiallyFailed;
        }
        Struck::Counted
    }

    /// RFC 7829, 5: the path that carries data takes the place of a primary one that failed too often. The new one.
    pub(crate) fn switch_primary(&mut self) -> Option<PathId> {
        let primary = self.path(self.primary)?;
        let most = primary.settings.primary_switchover_max?;
        if primary.record.errors <= most {
            return None;
        }
        let next = self.for_data().filter(|next| *next != self.primary)?;
        self.primary = next;
        Some(next)
    }

    /// How long to wait between HEARTBEATs to a path that failed, however far its RTO has backed off.
    ///
    /// The RTO as measured is more than a round trip, and so often a packet may be sent that nothing acknowledges (RFC 8085,
    /// 3.1.3). While none of several paths is active, it is four times as urgent; of one alone, T3-rtx tells as much.
    pub(crate) fn pace_of_return(&self, id: PathId, config: &Config) -> Option<Duration> {
        let most = config.heartbeat.failed_interval?;
        let path = self.path(id).filter(|path| path.has_failed() && path.is_monitored())?;
        let urgent = self.paths.len() > 1 && !self.iter().any(Path::is_usable);
        let most = if urgent { most / 4 } else { most };
        Some(path.rto.current().min(path.rto.without_back_off().max(most)))
    }

    /// Whether the association failed as a whole: Association.Max.Retrans was exceeded.
    pub(crate) fn are_exhausted(&self, config: &Config) -> bool {
        self.errors > config.retransmission.association_max
    }

    /// A path answered: its failures are forgotten, and it is active. The state that it left for that, if any.
    pub(crate) fn answered(&mut self, now: Instant, id: PathId) -> Option<PathState> {
        self.errors = 0;
        let path = self.path_mut(id)?;
        path.record.errors = 0;
        path.record.judged_at = Some(now);
        let before = path.state;
        if !path.has_failed() || !path.confirmed {
            return None;
        }
        path.heartbeat.end_interim();
        path.enter(now, PathState::Active);
        Some(before)
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

/// What an address takes in the table that finds associations by it, in bytes.
const NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    fn paths(count: u8, state: PathState) -> Paths {
        let peers: Vec<IpAddr> = (1..=count).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        Paths::new(&peers, state, &Config::default())
    }

    #[test]
    fn the_memory_of_paths_is_what_there_is_room_for_with_their_names_and_those_left_out() {
        const PATH: usize = size_of::<Path>();
        let mut paths = paths(4, PathState::Active);
        assert_eq!(paths.memory(), 4 * (PATH + NAME));
        paths.remove(PathId(1));
        paths.remove(PathId(2));
        assert_eq!(paths.memory(), 4 * PATH + 2 * NAME + 2 * size_of::<IpAddr>());
        // One is added to many now and then, and not to as many again.
        let mut few = self::paths(3, PathState::Active);
        few.add(IpAddr::from([10, 0, 0, 9]), PathState::Unconfirmed, &Config::default());
        assert_eq!(few.memory(), 4 * (PATH + NAME));
    }

    #[test]
    fn windows_grow_by_what_fits_beside_the_header_of_udp() {
        let mut paths = paths(1, PathState::Active);
        let path = paths.path_mut(PathId(0)).unwrap();
        for (port, limit) in [(None, 1_468), (Some(9_899), 1_460), (None, 1_468)] {
            path.set_udp_port(port);
            assert_eq!((path.congestion.pmdcs(), path.chunk_limit()), (limit, limit));
        }
    }

    #[test]
    fn only_a_path_that_failed_is_asked_for_its_return_and_faster_while_none_of_several_works() {
        let mut options = Options::default();
        options.heartbeat.failed_interval = Some(Duration::from_secs(8));
        let config = Config::new(options).unwrap();
        // How many of how many have failed, and whether the one in question is asked at all.
        let pace = |count: u8, failed: usize, monitored: bool| {
            let mut paths = paths(count, PathState::Active);
            for path in paths.iter_mut() {
                (0..10).for_each(|_| path.rto.back_off());
                if !monitored {
                    path.settings.heartbeat_interval = None;
                }
            }
            for path in paths.iter_mut().take(failed) {
                path.state = PathState::Inactive;
            }
            paths.pace_of_return(PathId(0), &config).map(|pace| pace.as_secs())
        };
        assert_eq!(
            [pace(2, 1, true), pace(2, 2, true), pace(1, 1, true)],
            [Some(8), Some(2), Some(8)]
        );
        assert_eq!([pace(2, 0, true), pace(2, 1, false)], [None, None]);
    }
}
