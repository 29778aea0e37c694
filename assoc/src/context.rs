//! What an association has in every state: who it is, its paths, its buffers, its events and its counts.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use usctp_chunk::VerificationTag;

use crate::association::Arrival;
use crate::budget::Account;
use crate::config::{Config, RecoveryOptions};
use crate::event::{
    ActiveReason, AddressChange, AssociationId, Event, FailureReason, PrimaryReason, RemovedReason,
    Role,
};
use crate::host::HostAddresses;
use crate::outbox::Outbox;
use crate::path::{Heartbeat, Path, PathId, PathState, Paths, Struck};
use crate::rate::Pace;
use crate::recv::{Inbox, Place};
use crate::reply::Way;
use crate::wire::AddressSet;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) me: Identity,
    pub(crate) config: Arc<Config>,
    pub(crate) host: Arc<HostAddresses>,
    pub(crate) paths: Paths,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    pub(crate) events: VecDeque<(Place, Event)>,
    pub(crate) statistics: Statistics,
    /// What peers may make this side hold.
    pub(crate) account: Account,
    /// How often addresses that peers only named are probed, by all associations together.
    pub(crate) probes: Arc<Pace>,
    pub(crate) rng: StdRng,
    /// The zero of the times that HEARTBEATs carry.
    pub(crate) epoch: Instant,
    /// The application was refused a message and waits to be told of room.
    pub(crate) send_refused: bool,
    /// The peer's addresses changed, so the endpoint's table must.
    pub(crate) addresses_changed: bool,
    /// The application wants nothing more of it.
    pub(crate) released: bool,
}

/// Which association it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) id: AssociationId,
    pub(crate) local_port: u16,
    pub(crate) peer_port: u16,
    /// The tag that the peer's packets carry.
    pub(crate) local_tag: VerificationTag,
    pub(crate) role: Role,
    /// Its local addresses.
    pub(crate) sources: AddressSet,
    /// Which of the endpoint's addresses these are.
    pub(crate) tells: Tells,
    /// If the peer is told of none, the only one that packets leave from: the peer's answer went there.
    pub(crate) only: Option<IpAddr>,
    /// Whether the peer is on this host: then addresses of this host lead to it, and else to nobody but ourselves.
    pub(crate) peer_is_here: bool,
}

/// What INIT and INIT ACK list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tells {
    /// What the endpoint is bound to.
    Bound,
    /// What the application chose.
    Chosen,
    /// Nothing.
    Nothing,
}

impl Identity {
    /// The peer speaks to this address, so it knows it.
    pub(crate) fn answered_at(&mut self, local: IpAddr) {
        self.only = Some(local).filter(|_| self.tells == Tells::Nothing);
    }
}

/// Counts of an association since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received that passed the verification tag rules.
    pub packets_received: u64,
    /// Messages taken from the application.
    pub messages_sent: u64,
    /// Messages the application has taken.
    pub messages_received: u64,
    /// Payload bytes of the messages taken from the application.
    pub bytes_sent: u64,
    /// Payload bytes of the messages the application has taken.
    pub bytes_received: u64,
    /// DATA chunks sent, retransmissions included.
    pub data_chunks_sent: u64,
    /// DATA chunks sent again.
    pub data_chunks_retransmitted: u64,
    /// DATA chunks received, duplicates included.
    pub data_chunks_received: u64,
    /// DATA chunks received again.
    pub duplicate_chunks: u64,
    /// DATA chunks that found no room in the receive buffer.
    pub dropped_chunks: u64,
    /// Expiries of T3-rtx with something outstanding.
    pub t3_expiries: u64,
    /// Packets of fast retransmissions that cwnd did not hold back.
    pub fast_retransmits: u64,
    /// Probes for the MTU of a path sent.
    pub mtu_probes_sent: u64,
    /// SACKs sent.
    pub sacks_sent: u64,
    /// Chunks that could not be decoded.
    pub malformed_chunks: u64,
    /// Bytes of the receive buffer in use, with the cost of holding them.
    pub receive_buffered: usize,
    /// Bytes of the send buffer in use, with the cost of holding them.
    pub send_buffered: usize,
}

impl Context {
    /// Losses are found and windows kept as `recovery` says, and not as the endpoint has it.
    pub(crate) fn set_recovery(&mut self, recovery: RecoveryOptions) {
        // The configuration is the endpoint's until something in it is the association's own.
        Arc::make_mut(&mut self.config).set_recovery(recovery);
        for path in self.paths.iter_mut() {
            path.congestion.set_control(recovery.control);
        }
    }

    /// The paths whose packets come back to this host, unless the peer is on it.
    pub(crate) fn paths_back(&self) -> Vec<PathId> {
        if self.me.peer_is_here {
            return Vec::new();
        }
        let back = self.paths.iter().filter(|path| self.host.has(path.peer, path.zone));
        back.map(|path| path.id).collect()
    }

    /// Removes paths, and says why.
    pub(crate) fn remove_paths(&mut self, ids: &[PathId], reason: RemovedReason) {
        for &id in ids {
            self.tell_path(id, AddressChange::Removed(reason));
            self.paths.remove(id);
        }
        self.addresses_changed = true;
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push_back((self.inbox.place(), event));
    }

    pub(crate) fn tell_all(&mut self, events: impl IntoIterator<Item = Event>) {
        let place = self.inbox.place();
        self.events.extend(events.into_iter().map(|event| (place, event)));
    }

    pub(crate) fn tell_path(&mut self, id: PathId, change: AddressChange) {
        if let Some(peer) = self.paths.path(id).map(|path| path.peer) {
            self.tell(Event::PeerAddressChange { peer, change });
        }
    }

    /// A HEARTBEAT that the application asked for was answered after `round_trip`, or lost (RFC 9260, section 11.1.10).
    pub(crate) fn tell_heartbeat(&mut self, id: PathId, round_trip: Option<Duration>) {
        if let Some(peer) = self.paths.path(id).map(|path| path.peer) {
            self.tell(Event::HeartbeatResult { peer, round_trip });
        }
    }

    /// Ends the HEARTBEATs of all paths; of those that the application asked for, it hears that nothing came.
    pub(crate) fn end_heartbeats(&mut self, end: impl Fn(&mut Heartbeat) -> bool) {
        let paths = self.paths.iter_mut();
        let awaited: Vec<PathId> =
            paths.filter_map(|path| end(&mut path.heartbeat).then_some(path.id)).collect();
        for id in awaited {
            self.tell_heartbeat(id, None);
        }
    }

    /// The path if it is confirmed: others get HEARTBEATs and their answers only (RFC 9260, section 5.4).
    pub(crate) fn confirmed(&self, id: Option<PathId>) -> Option<PathId> {
        self.paths.path(id?).filter(|path| path.confirmed).map(|path| path.id)
    }

    /// The address that a packet was sent to, which its answer leaves from if that goes to where the packet came from.
    pub(crate) fn asked(&self, to: PathId, arrival: &Arrival) -> Option<IpAddr> {
        let path = self.paths.path(to).filter(|_| arrival.path == Some(to))?;
        path.is_reached_from(arrival).then_some(arrival.destination)
    }

    /// RFC 9260, 5.4: the way of a packet that is no HEARTBEAT and thus may not go to an unconfirmed address, if there is one.
    pub(crate) fn confirmed_way(&self, way: Way) -> Option<Way> {
        let path = self.paths.find(way.peer).and_then(|id| self.paths.path(id));
        if path.is_none_or(|path| path.confirmed) {
            return Some(way);
        }
        let other = self.confirmed(self.paths.for_data()).and_then(|id| self.paths.path(id));
        other.map(|path| path.way(&self.me))
    }

    /// Counts a failure of a path, and of the association if `whole`.
    pub(crate) fn strike(
        &mut self,
        now: Instant,
        id: PathId,
        whole: bool,
        why: FailureReason,
    ) -> Struck {
        let struck = self.paths.strike(now, id, whole);
        self.watch_for_return(now, id, struck != Struck::Counted);
        match struck {
            Struck::Counted => {}
            Struck::PotentiallyFailed if self.paths.exposes() => {
                self.tell_path(id, AddressChange::PotentiallyFailed(why));
            }
            Struck::PotentiallyFailed => {}
            Struck::Inactive => self.tell_path(id, AddressChange::Inactive(why)),
        }
        self.switch_primary();
        struck
    }

    /// A path answered.
    pub(crate) fn answered(&mut self, now: Instant, id: PathId, why: ActiveReason) {
        if let Some(before) = self.paths.answered(now, id) {
            self.tell_return(id, before, why);
        }
    }

    /// A path is active again, after it was in another state.
    pub(crate) fn tell_return(&mut self, id: PathId, before: PathState, why: ActiveReason) {
        if before != PathState::PotentiallyFailed || self.paths.exposes() {
            self.tell_path(id, AddressChange::Active(why));
        }
        // With more paths to choose from there may be one for a primary that failed too often.
        self.switch_primary();
    }

    fn switch_primary(&mut self) {
        if let Some(id) = self.paths.switch_primary() {
            self.tell_path(id, AddressChange::Primary(PrimaryReason::Switchover));
        }
    }

    /// A path that failed is asked for its return; when it was the last active one, so are all that failed before, and at
    /// once: one of them may work again (RFC 9260, 6.4.1; RFC 7829, 3.2).
    fn watch_for_return(&mut self, now: Instant, id: PathId, changed: bool) {
        if self.paths.path(id).is_some_and(|path| !path.heartbeat.is_interim_scheduled()) {
            self.schedule_interim(now, id);
        }
        if !changed || self.paths.iter().any(Path::is_usable) {
            return;
        }
        let others = self.paths.iter_mut().filter(|path| path.id != id && path.confirmed);
        for path in others.filter(|path| path.has_failed() && path.is_monitored()) {
            path.heartbeat.schedule_interim(now, Duration::ZERO);
        }
    }

    /// Sets when a path that failed is next asked whether it has come back.
    pub(crate) fn schedule_interim(&mut self, now: Instant, id: PathId) {
        let Some(pace) = self.paths.pace_of_return(id, &self.config) else { return };
        if let Some(path) = self.paths.path_mut(id) {
            path.heartbeat.schedule_interim(now, pace);
        }
    }

    /// Sets when a path's next HEARTBEAT is due (RFC 9260, sections 5.4 and 8.3).
    pub(crate) fn schedule_heartbeat(&mut self, now: Instant, id: PathId) {
        let unconfirmed = self.paths.iter().filter(|path| !path.confirmed).count();
        let burst = usize::from(self.config.heartbeat.max_burst);
        let Some(path) = self.paths.path_mut(id) else { return };
        let rto = path.rto.current();
        if path.state == PathState::Unconfirmed {
            // RFC 9260, 5.4: one probe in each RTO, and in all no more than HB.Max.Burst.
            let turns = u32::try_from(unconfirmed.div_ceil(burst)).unwrap_or(u32::MAX);
            path.heartbeat.schedule(now, rto.saturating_mul(turns));
            return;
        }
        let Some(interval) = path.settings.heartbeat_interval else { return };
        if path.state == PathState::PotentiallyFailed {
            // RFC 7829, 3.2 (5): HB.interval is ignored.
            path.heartbeat.schedule(now, rto);
            return;
        }
        // RFC 9260, 8.3: RTO plus HB.interval, with a jitter of half the RTO to either side.
        let jitter = self.rng.random_range(Duration::ZERO..=rto);
        path.heartbeat.schedule(now, interval.saturating_add(rto / 2 + jitter));
    }
}
