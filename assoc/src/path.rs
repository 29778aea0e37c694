//! One destination transport address of the peer and all that is kept for it (RFC 9260, section 6.4).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::association::Arrival;
use crate::config::Config;
use crate::context::Identity;
use crate::reply::Way;
use crate::timer::{Timer, earliest};
use crate::wire::{is_link_local, zone_of};

mod burst;
pub(crate) mod congestion;
pub(crate) mod heartbeat;
mod pacer;
mod paths;
pub(crate) mod plpmtud;
pub(crate) mod rto;
mod settings;

pub(crate) use burst::Burst;
pub(crate) use congestion::{Arrived, Congestion};
pub(crate) use heartbeat::Heartbeat;
pub(crate) use pacer::Pacer;
pub(crate) use paths::{Paths, Struck};
pub(crate) use plpmtud::Plpmtud;
pub use plpmtud::PmtudState;
pub(crate) use rto::Rto;
pub use settings::PathSettings;

/// Names a path within its association; stays the same while the path exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathId(pub(crate) u16);

/// The state of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathState {
    /// The caller listed it, so it is confirmed; the peer's INIT ACK has not been seen yet.
    Listed,
    /// It was learned from the peer and gets nothing but HEARTBEATs until it has answered one (RFC 9260, section 5.4).
    Unconfirmed,
    /// It answers.
    Active,
    /// It failed more than PotentiallyFailed.Max.Retrans times in a row: no data goes there while another path is active,
    /// and a HEARTBEAT in each RTO finds out what is wrong (RFC 7829, section 3).
    PotentiallyFailed,
    /// It failed more than Path.Max.Retrans times in a row (RFC 9260, section 8.2).
    Inactive,
}

/// What an application can see of a path (RFC 6458, `sctp_paddrinfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStatus {
    /// The peer's address.
    pub peer: IpAddr,
    /// The interface it is reached by if it is IPv6 link-local, as the system numbers it; otherwise 0.
    pub zone: u32,
    /// The UDP port that packets go to if they are encapsulated: that of the last packet from there (RFC 6951, section 5.4).
    pub udp_port: Option<u16>,
    /// Its state.
    pub state: PathState,
    /// Whether it is the primary path.
    pub primary: bool,
    /// The smoothed round-trip time, once one was measured.
    pub srtt: Option<Duration>,
    /// How much the round-trip time varies; zero until one was measured.
    pub rttvar: Duration,
    /// The retransmission time-out in force.
    pub rto: Duration,
    /// The congestion window in bytes.
    pub cwnd: usize,
    /// The slow-start threshold in bytes.
    pub ssthresh: usize,
    /// Bytes sent here and neither acknowledged nor given up for lost.
    pub flight: usize,
    /// The greatest IP packet in bytes.
    pub mtu: usize,
    /// How the discovery of that stands.
    pub pmtud: PmtudState,
    /// Failures in a row.
    pub errors: u16,
    /// What happened here since the association began; a restart of the peer does not begin it anew.
    pub counts: PathCounts,
}

/// Counts of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathCounts {
    /// Bytes of DATA chunks sent here, retransmissions included.
    pub bytes_sent: u64,
    /// DATA chunks sent here as retransmissions.
    pub retransmitted_chunks: u64,
    /// Expiries of T3-rtx with something outstanding here.
    pub t3_expiries: u64,
    /// DATA chunks sent here that SACKs show to be lost.
    pub fast_retransmits: u64,
    /// Chunks sent again here to find out whether the end of what was sent is lost (RFC 8985).
    pub tail_loss_probes: u64,
    /// HEARTBEATs sent here.
    pub heartbeats_sent: u64,
    /// Those that were found missing after the RTO; of several that went out within one RTO, one is.
    pub heartbeats_unanswered: u64,
    /// How often the state changed.
    pub state_changes: u64,
    /// When it last did.
    pub changed_at: Option<Instant>,
}

#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) id: PathId,
    pub(crate) peer: IpAddr,
    /// Where packets leave from; `None` leaves it to routing.
    pub(crate) local: Option<IpAddr>,
    pub(crate) udp_port: Option<u16>,
    /// The interface that link-local addresses belong to, 0 if none is known.
    pub(crate) zone: u32,
    pub(crate) state: PathState,
    /// Whether the address was verified; an inactive path keeps it.
    pub(crate) confirmed: bool,
    pub(crate) plpmtud: Plpmtud,
    pub(crate) rto: Rto,
    pub(crate) congestion: Congestion,
    pub(crate) pacer: Pacer,
    pub(crate) burst: Burst,
    pub(crate) t3: Timer,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) settings: PathSettings,
    pub(crate) record: Record,
}

/// Counts and marks of a path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// Failures in a row.
    pub(crate) errors: u16,
    pub(crate) counts: PathCounts,
    /// When a failure was last counted, or forgotten: what was sent before that says nothing more.
    pub(crate) judged_at: Option<Instant>,
    /// When something that measures the round trip was last sent; HEARTBEATs wait for idleness.
    pub(crate) used_at: Option<Instant>,
    /// The DATA chunk whose acknowledgement measures the round trip (RFC 9260, 6.3.1, C4: one at a time).
    pub(crate) probe: Option<Probe>,
    /// No chunk with a lower number is in flight here.
    pub(crate) earliest: u64,
    /// INITs sent here.
    pub(crate) inits: u32,
    /// During the set-up: why this address is not to be tried, if it is not.
    pub(crate) mark: Option<SetupMark>,
}

/// Why an address is left out while the others are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetupMark {
    /// The local system could not send; until the next round.
    SendFailed,
    /// The network said that it cannot be reached; until the next round.
    Unreachable,
    /// The peer refused there; for good.
    Refused,
}

/// A DATA chunk sent once, by its number in the outstanding queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) number: u64,
    pub(crate) sent_at: Instant,
}

impl Path {
    pub(crate) fn new(
        id: PathId,
        peer: IpAddr,
        state: PathState,
        settings: &PathSettings,
        config: &Config,
    ) -> Self {
        let udp_port = config.udp_port;
        let overhead = headers_below(peer, udp_port);
        let plpmtud = Plpmtud::new(config, peer.is_ipv4(), overhead);
        let pmdcs = plpmtud.mtu().saturating_sub(overhead + COMMON_HEADER);
        Self {
            id,
            peer,
            local: None,
            udp_port,
            zone: 0,
            state,
            confirmed: state != PathState::Unconfirmed,
            plpmtud,
            rto: Rto::new(&settings.rto),
            congestion: Congestion::new(pmdcs, peer, config.recovery.control),
            pacer: Pacer::default(),
            burst: Burst::default(),
            t3: Timer::default(),
            heartbeat: Heartbeat::default(),
            settings: *settings,
            record: Record::default(),
        }
    }

    /// The way of packets to here, from one of `sources` where it is left to routing.
    pub(crate) fn way(&self, me: &Identity) -> Way {
        self.way_from(self.local, me)
    }

    /// The same for an answer, which leaves from the address that was asked.
    pub(crate) fn way_from(&self, own: Option<IpAddr>, me: &Identity) -> Way {
        let (peer, udp_port, sources) = (self.peer, self.udp_port, me.sources);
        let only = me.only.filter(|own| own.is_ipv4() == peer.is_ipv4());
        let local = only.or(own);
        let zone = zone_of(peer, self.zone).max(local.map_or(0, |local| zone_of(local, self.zone)));
        Way { local, peer, udp_port, zone, sources }
    }

    /// Whether packets to here can leave from the address that one from here came to: it means the same on this way.
    pub(crate) fn is_reached_from(&self, arrival: &Arrival) -> bool {
        !is_link_local(arrival.destination) || arrival.zone == self.zone
    }

    /// Packets to here are encapsulated and go to this UDP port, or are not (RFC 6951, section 5.4). The MTU stays that of
    /// the IP packet, and what fits it changes (5.6). Whether it does.
    pub(crate) fn set_udp_port(&mut self, port: Option<u16>) -> bool {
        let before = self.headers_below();
        self.udp_port = port;
        let changes = self.headers_below() != before;
        if changes {
            self.congestion.set_pmdcs(self.chunk_limit(), self.peer);
        }
        changes
    }

    /// The greatest SCTP packet that fits, in bytes.
    pub(crate) fn packet_limit(&self) -> usize {
        self.plpmtud.mtu().saturating_sub(self.headers_below()) & !3
    }

    /// The greatest chunk that fits a packet, in bytes (PMDCS).
    pub(crate) fn chunk_limit(&self) -> usize {
        self.packet_limit().saturating_sub(COMMON_HEADER)
    }

    /// The bytes of IP and UDP headers in front of a packet.
    pub(crate) fn headers_below(&self) -> usize {
        headers_below(self.peer, self.udp_port)
    }

    /// How long a round trip takes, as far as it is known.
    pub(crate) fn round_trip(&self) -> Duration {
        self.rto.srtt().unwrap_or(self.rto.current())
    }

    /// What was in flight belongs to the past: congestion control begins anew (RFC 9260, 5.2.4, A).
    pub(crate) fn forget_flight(&mut self) {
        self.congestion.set_pmdcs(self.chunk_limit(), self.peer);
        self.congestion = self.congestion.anew(self.peer);
        self.record.probe = None;
        self.t3.stop();
    }

    /// Whether DATA may be sent here and there is no sign against it.
    pub(crate) fn is_usable(&self) -> bool {
        self.confirmed && matches!(self.state, PathState::Active | PathState::Listed)
    }

    /// Enters another state.
    pub(crate) fn enter(&mut self, now: Instant, state: PathState) {
        self.state = state;
        self.record.counts.state_changes += 1;
        self.record.counts.changed_at = Some(now);
    }

    /// Whether only what comes from there, or the HEARTBEAT that is on its way, shows that it works. RFC 7829, 3.2 (10),
    /// takes any acknowledgement of DATA that was sent there alone; but DATA from before a cut, of which the cut
    /// swallowed the SACKs, is acknowledged by way of another path, and would call new DATA back to the dead one.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.state == PathState::PotentiallyFailed && self.is_monitored()
    }

    /// Whether it failed: it gets no data while another path is active.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.state, PathState::PotentiallyFailed | PathState::Inactive)
    }

    /// Whether HEARTBEATs are sent without being asked for.
    pub(crate) fn is_monitored(&self) -> bool {
        self.settings.heartbeat_interval.is_some()
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        earliest([self.t3.deadline(), self.heartbeat.next_timeout(), self.plpmtud.next_timeout()])
    }

    pub(crate) fn status(&self, primary: bool) -> PathStatus {
        PathStatus {
            peer: self.peer,
            zone: zone_of(self.peer, self.zone),
            udp_port: self.udp_port,
            state: self.state,
            primary,
            srtt: self.rto.srtt(),
            rttvar: self.rto.rttvar(),
            rto: self.rto.current(),
            cwnd: self.congestion.cwnd(),
            ssthresh: self.congestion.ssthresh(),
            flight: self.congestion.flight(),
            mtu: self.plpmtud.mtu(),
            pmtud: self.plpmtud.state(),
            errors: self.record.errors,
            counts: self.record.counts,
        }
    }
}

fn headers_below(peer: IpAddr, udp_port: Option<u16>) -> usize {
    let ip = if peer.is_ipv4() { 20 } else { 40 };
    if udp_port.is_some() { ip + 8 } else { ip }
}

pub(crate) const COMMON_HEADER: usize = 12;
