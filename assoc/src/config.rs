//! Parameters of an endpoint, plain as the application gives them and checked as the protocol uses them.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::ConfigError;

/// Parameters as the application gives them; the defaults are those of RFC 9260, section 16.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Retransmission time-outs.
    pub rto: RtoOptions,
    /// How often something is retransmitted before it is given up.
    pub retransmission: RetransmissionOptions,
    /// How losses are found, and how fast is sent, unless it is chosen for an association:
    /// [`ConnectOptions::recovery`], [`Association::set_recovery`](crate::Association::set_recovery).
    pub recovery: RecoveryOptions,
    /// When a path that fails is left, and when it is returned to.
    pub failover: FailoverOptions,
    /// HEARTBEATs.
    pub heartbeat: HeartbeatOptions,
    /// Acknowledgements.
    pub sack: SackOptions,
    /// The state cookie.
    pub cookie: CookieOptions,
    /// Streams and buffers.
    pub limits: LimitOptions,
    /// The greatest IP packet in bytes that a path starts with, 68 to 65,535: the MTU of the local link, if it is
    /// known. Default 1,500.
    pub path_mtu: u16,
    /// Discovery of the MTU of paths.
    pub pmtud: PmtudOptions,
    /// The greatest number of packets sent to one path at a time (Max.Burst), 1 to 1,024. Default 4.
    pub max_burst: u16,
    /// The peer's UDP port that new associations are encapsulated towards (RFC 6951, section 6.1); `None` for raw IP. With
    /// each address it counts until a packet comes from there: from then on that packet's does (5.4).
    pub udp_port: Option<u16>,
    /// Whether a chunk that does not fill a packet waits while others are in flight (Nagle's algorithm,
    /// RFC 9260, section 6.1). Default false.
    pub nagle: bool,
    /// The greatest payload of a DATA chunk in bytes, 64 to 65,535, where less than the path MTU allows is
    /// wanted (RFC 6458, `SCTP_MAXSEG`); below that, headers and what it costs to hold a chunk would be more than what it
    /// carries. Default `None`.
    pub fragment_limit: Option<u16>,
    /// The Adaptation Layer Indication to send in INIT and INIT ACK (RFC 5061, section 4.2.6). Default `None`.
    pub adaptation: Option<u32>,
    /// How long a graceful close may take before it is ended by an ABORT (T5-shutdown-guard), 1 s to 24 h: from
    /// [`Association::shutdown`](crate::Association::shutdown), or from the peer's SHUTDOWN, until its end, messages that wait
    /// included. Default: 5 times the greatest RTO.
    pub shutdown_guard: Option<Duration>,
}

/// Retransmission time-outs (RFC 9260, section 6.3.1); 1 ms to 1 h each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtoOptions {
    /// RTO.Initial. Default 1 s.
    pub initial: Duration,
    /// RTO.Min. Default 1 s.
    pub min: Duration,
    /// RTO.Max. Default 60 s.
    pub max: Duration,
}

/// Retransmission thresholds (RFC 9260, section 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetransmissionOptions {
    /// Association.Max.Retrans. Default 10.
    pub association_max: u16,
    /// Path.Max.Retrans. Default 5.
    pub path_max: u16,
    /// Max.Init.Retransmits. Default 8.
    pub init_max: u16,
}

/// How losses are found and what follows from them. All of this is the sender's own affair: the peer need not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RecoveryOptions {
    /// How losses are found. Default: as in RFC 9260.
    pub detection: LossDetection,
    /// How the congestion window grows and shrinks. Default: as in RFC 9260.
    pub control: CongestionControl,
    /// Whether packets are spread over the round trip instead of being sent in bursts. Takes the place of Max.Burst.
    /// Default false.
    pub pacing: bool,
}

/// How losses are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LossDetection {
    /// By three missing reports and T3-rtx (RFC 9260, sections 7.2.4 and 6.3.3).
    #[default]
    Rfc9260,
    /// By time: what was sent some time before something that arrived is lost, and a probe finds out about losses at the end
    /// (RACK-TLP, RFC 8985). T3-rtx stays as it is. Not the default, because it may act before the third report, for
    /// which RFC 9260, section 7.2.4, says that one SHOULD wait.
    Rack,
}

/// How the congestion window grows and shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CongestionControl {
    /// By one chunk for each window, and to the half (RFC 9260, section 7.2).
    #[default]
    Rfc9260,
    /// Along a curve that depends on time and not on the round trip, and to 0.7 (RFC 9438): for long fast networks.
    Cubic,
}

/// When data leaves a path that fails before that is inactive (RFC 7829).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailoverOptions {
    /// PotentiallyFailed.Max.Retrans: after more failures of a path in a row than this it is potentially failed, and data
    /// goes elsewhere; `None` knows no such state, as in RFC 9260. Default 0.
    pub potentially_failed_max: Option<u16>,
    /// Primary.Switchover.Max.Retrans: after more failures of the primary path in a row than this, the path that carries
    /// data in its place becomes the primary; `None` lets data return to the old one when it answers. At least
    /// `potentially_failed_max`, or Path.Max.Retrans where that is `None`. Default `None`.
    pub primary_switchover_max: Option<u16>,
    /// Whether the application sees the state potentially failed; else such a path counts as active
    /// (`SCTP_EXPOSE_POTENTIALLY_FAILED_STATE`). Default true.
    pub expose_potentially_failed: bool,
}

/// HEARTBEATs (RFC 9260, section 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeartbeatOptions {
    /// HB.interval, up to 24 h; `None` sends none to idle confirmed paths. Default 30 s.
    pub interval: Option<Duration>,
    /// HB.Max.Burst: how many paths are probed for confirmation in one RTO, 1 to 64. Default 1.
    pub max_burst: u16,
    /// The longest time between two HEARTBEATs to a path that failed, 10 ms to 24 h, however far its RTO has backed off: how
    /// soon its return is found. While no path is active it is a quarter of that. Never less than the RTO without its
    /// back-off; failures are counted by the RTO as ever. `None` sends no more than the RFCs advise: one in each RTO to a
    /// potentially failed path, and after HB.interval and the RTO to an inactive one. Without HEARTBEATs
    /// ([`interval`](Self::interval) is `None`) this sends none either. Default 3 s.
    pub failed_interval: Option<Duration>,
}

/// Acknowledgements (RFC 9260, section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SackOptions {
    /// SACK.Delay, 0 to 500 ms. Default 200 ms.
    pub delay: Duration,
    /// After how many packets with DATA a SACK goes at once, 1 to 255. Default 2.
    pub frequency: u8,
}

/// The state cookie (RFC 9260, section 5.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CookieOptions {
    /// Valid.Cookie.Life, 1 s to 1 h. Default 60 s.
    pub lifetime: Duration,
    /// How long one secret key signs cookies, 10 s to 24 h; the key before it is still accepted. Default 10 min.
    pub key_lifetime: Duration,
}

/// How the MTU of paths is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PmtudMode {
    /// It is not: `path_mtu`, or what was set for an address, holds whatever the network says.
    Off,
    /// By what routers and the local system say of packets that are too big (RFC 1191, RFC 8201), as kernels do: no packet is
    /// sent for it. What a router named is forgotten after `raise_timer`. Where ICMP is filtered, large packets vanish.
    Icmp,
    /// By probes as well (RFC 8899).
    #[default]
    Probes,
}

/// Path MTU discovery (RFC 8899).
///
/// A path starts with [`Options::path_mtu`], and not with the 1,200 bytes that RFC 8899 recommends for where nothing
/// is known: a link of the usual size is then used fully from the first packet, as kernels do. A probe confirms that
/// as soon as DATA or a HEARTBEAT was acknowledged on the path, so never as the first packet, and where packets of that size vanish, one or two expiries of T3-rtx bring the path to 1,200 bytes (and the
/// headers below SCTP), from where larger sizes are tried. ICMP is not needed for that, but makes it faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PmtudOptions {
    /// By what it is found. Default: by probes.
    pub mode: PmtudMode,
    /// The least IP packet in bytes that a path is believed to be limited to, 68 to `path_mtu`; with IPv6 it is 1,280
    /// at least. Default 68, which every link of IPv4 takes. A chunk that was cut for more goes in fragments of IP.
    pub min: u16,
    /// The greatest IP packet in bytes to try, `path_mtu` to 65,535. Where it exceeds the MTU of the local link, that is
    /// found out at once, without a packet. `None`: `path_mtu`, or what the local link takes if the system says that it is
    /// more, with which paths then start. Default `None`.
    pub max: Option<u16>,
    /// PROBE_TIMER: after which time a probe counts as lost, 1 s to 1 h. Default 16 s.
    pub probe_timer: Duration,
    /// PMTU_RAISE_TIMER: after which time larger packets are tried again, 1 s to 24 h. Default 10 min.
    pub raise_timer: Duration,
}

/// Streams, buffers and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitOptions {
    /// Outbound streams asked for, 1 to 65,535. Default 10.
    pub outbound_streams: u16,
    /// Inbound streams allowed, 1 to 65,535. Default 65,535.
    pub inbound_streams: u16,
    /// Bytes of messages received and not yet taken by the application, 4,096 to 2^30: what the peer is told of as window.
    /// To hold them may cost as much memory again. Default 1 MiB.
    pub receive_buffer: usize,
    /// Bytes sent and not yet acknowledged, 4,096 to 2^30. Default 1 MiB.
    pub send_buffer: usize,
    /// Associations of the endpoint, at least 1. Default 100,000.
    pub associations: usize,
    /// Addresses of one peer, 1 to 255. Default 64.
    pub peer_addresses: usize,
    /// Addresses of one peer that it named itself and that have not answered yet, 1 to 255: further ones that it names are
    /// left out. Each is sent HEARTBEATs, although it may belong to somebody else. Default 16.
    pub unproved_addresses: usize,
    /// INITs that are looked at in one second, and at once after a pause, 1 to 1,000,000: further ones are dropped and
    /// counted, so that a flood of them leaves time for associations. Default 20,000.
    pub inits_per_second: u32,
    /// Bytes that peers may make the endpoint hold, with all its associations, at least 65,536: see [`Budget`](crate::Budget)
    /// for what counts, and what is refused or thrown away first. Default 256 MiB.
    pub memory: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rto: RtoOptions {
                initial: Duration::from_secs(1),
                min: Duration::from_secs(1),
                max: Duration::from_secs(60),
            },
            retransmission: RetransmissionOptions { association_max: 10, path_max: 5, init_max: 8 },
            recovery: RecoveryOptions::default(),
            failover: FailoverOptions {
                potentially_failed_max: Some(0),
                primary_switchover_max: None,
                expose_potentially_failed: true,
            },
            heartbeat: HeartbeatOptions {
                interval: Some(Duration::from_secs(30)),
                max_burst: 1,
                failed_interval: Some(Duration::from_secs(3)),
            },
            sack: SackOptions { delay: Duration::from_millis(200), frequency: 2 },
            cookie: CookieOptions {
                lifetime: Duration::from_secs(60),
                key_lifetime: Duration::from_secs(600),
            },
            limits: LimitOptions {
                outbound_streams: 10,
                inbound_streams: u16::MAX,
                receive_buffer: 1 << 20,
                send_buffer: 1 << 20,
                associations: 100_000,
                peer_addresses: 64,
                unproved_addresses: 16,
                inits_per_second: 20_000,
                memory: 256 << 20,
            },
            path_mtu: 1500,
            pmtud: PmtudOptions {
                mode: PmtudMode::Probes,
                min: 68,
                max: None,
                probe_timer: Duration::from_secs(16),
                raise_timer: Duration::from_secs(600),
            },
            max_burst: 4,
            udp_port: None,
            nagle: false,
            fragment_limit: None,
            adaptation: None,
            shutdown_guard: None,
        }
    }
}

/// Parameters whose ranges were checked: a `Config` that exists is valid.
#[derive(Debug, Clone, Default)]
pub struct Config {
    options: Options,
}

impl Config {
    /// Checks every option against its range.
    ///
    /// # Errors
    /// The first option out of its range, with its value and what would be right.
    pub fn new(options: Options) -> Result<Self, ConfigError> {
        check_rto(&options.rto)?;
        check_timers(&options)?;
        let failover = &options.failover;
        check_thresholds(
            options.retransmission.path_max,
            failover.potentially_failed_max,
            failover.primary_switchover_max,
        )?;
        check_limits(&options.limits)?;
        check_mtu(&options)?;
        within("max_burst", options.max_burst.into(), 1..=1024, "1 to 1,024 packets")?;
        within("sack.frequency", options.sack.frequency.into(), 1..=255, "1 to 255 packets")?;
        within("heartbeat.max_burst", options.heartbeat.max_burst.into(), 1..=64, "1 to 64")?;
        if let Some(limit) = options.fragment_limit {
            within("fragment_limit", limit.into(), 64..=65_535, "64 to 65,535 bytes")?;
        }
        if options.udp_port == Some(0) {
            within("udp_port", 0, 1..=65_535, "1 to 65,535")?;
        }
        Ok(Self { options })
    }

    /// The same without path MTU discovery, for a peer that answers no probes.
    #[cfg(feature = "sim")]
    pub(crate) fn without_pmtud(mut self) -> Self {
        self.options.pmtud.mode = PmtudMode::Off;
        self
    }

    /// How losses are found, and how fast is sent; every choice is a valid one.
    pub(crate) fn set_recovery(&mut self, recovery: RecoveryOptions) {
        self.options.recovery = recovery;
    }

    /// How long a graceful close may take, from its beginning: T5-shutdown-guard (RFC 9260, section 9.2).
    pub fn shutdown_guard(&self) -> Duration {
        self.options.shutdown_guard.unwrap_or(self.options.rto.max * 5)
    }
}

impl std::ops::Deref for Config {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}

/// How [`connectx`](crate::Endpoint::connectx) goes about its list.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long the whole set-up may take; `None` leaves it to the number of attempts.
    pub deadline: Option<Duration>,
    /// What an ABORT from one address means for the others.
    pub on_refused: OnRefused,
    /// Whose timing of INITs is followed.
    pub compat: Compat,
    /// Outbound streams to ask for; `None` takes the endpoint's option.
    pub outbound_streams: Option<u16>,
    /// Max.Init.Retransmits; `None` takes the endpoint's option, or one INIT for each listed address if that is more.
    pub init_max: Option<u16>,
    /// Which local addresses the peer is told of, and thus which ones packets leave from.
    pub advertise: Advertise,
    /// Whether an INIT ACK counts by its verification tag alone, where neither its source nor an address it
    /// lists is one of the caller's: for peers behind a translator. Without it, RFC 9260, section 5.1.2, holds.
    pub accept_init_ack_by_tag: bool,
    /// Whether INITs go to the listed addresses one after the other at this interval instead of waiting for
    /// T1-init, until one answers (in the spirit of RFC 8305; [`RACE_INTERVAL`] is a good one). Each address then
    /// has its own T1-init. Default `None`: strictly in order, as the manual page of `sctp_connectx` has it.
    pub race: Option<Duration>,
    /// How this association finds losses and how fast it sends (RFC 9260, section 7; RFC 8985; RFC 9438); `None` takes the
    /// endpoint's option. It can be changed later: [`Association::set_recovery`](crate::Association::set_recovery).
    pub recovery: Option<RecoveryOptions>,
}

impl RecoveryOptions {
    /// These, without pacing.
    pub const fn new(detection: LossDetection, control: CongestionControl) -> Self {
        Self { detection, control, pacing: false }
    }

    /// The same with pacing.
    #[must_use]
    pub const fn paced(mut self) -> Self {
        self.pacing = true;
        self
    }
}

/// Options can get more fields, so they are not written out: they begin as the default and are changed.
macro_rules! changed_in_place {
    ($($options:ty),*) => {
        $(
            impl $options {
                /// The same with what `change` changes, in one expression: `Options::default().with(|options| options.nagle = true)`.
                #[must_use]
                pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
                    change(&mut self);
                    self
                }
            }
        )*
    };
}

changed_in_place!(
    Options,
    RtoOptions,
    RetransmissionOptions,
    RecoveryOptions,
    FailoverOptions,
    HeartbeatOptions,
    SackOptions,
    CookieOptions,
    PmtudOptions,
    LimitOptions,
    ConnectOptions,
    crate::path::PathSettings
);

/// The interval at which addresses enter a [race](ConnectOptions::race), if nothing speaks for another one (RFC 8305,
/// section 5).
pub const RACE_INTERVAL: Duration = Duration::from_millis(250);

/// Which local addresses INIT and INIT ACK of an association list. Packets leave from no other one, because the peer
/// would not know whose they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Advertise {
    /// All that the endpoint is bound to.
    #[default]
    Bound,
    /// Those that reach at least as far as the first peer address (loopback, link, private network, everywhere):
    /// a peer in the internet is not told of private addresses. FreeBSD and Linux do so.
    SameScope,
    /// These, in this order; the endpoint must be bound to each.
    Explicit(Vec<IpAddr>),
    /// None: the peer knows the address that its answer went to, and no other. For hosts behind a translator.
    Nothing,
}

/// What a refusal by one listed address means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRefused {
    /// The attempt fails at once, as in FreeBSD and Linux.
    #[default]
    Fail,
    /// The next address is tried; the attempt fails when all have refused.
    TryNext,
}

/// Whose timing of INITs is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compat {
    /// RFC 9260: an RTO for each address, doubled when it fails; every listed address is tried at least once; an
    /// address that cannot be reached is left at once.
    #[default]
    Rfc,
    /// One time-out for all, starting at 3 s and doubled after a full cycle; nine INITs in total; only the time-out
    /// moves on.
    Linux,
    /// As `Rfc`, but nine INITs in total however many addresses are listed, and only the time-out moves on.
    FreeBsd,
}

pub(crate) fn check_rto(rto: &RtoOptions) -> Result<(), ConfigError> {
    const RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
    duration("rto.initial", rto.initial, RANGE, "1 ms to 1 h")?;
    duration("rto.max", rto.max, RANGE, "1 ms to 1 h")?;
    duration("rto.min", rto.min, RANGE, "1 ms to 1 h")?;
    duration("rto.min", rto.min, Duration::ZERO..=rto.max, "at most rto.max")?;
    duration("rto.initial", rto.initial, rto.min..=rto.max, "from rto.min to rto.max")
}

fn check_timers(options: &Options) -> Result<(), ConfigError> {
    // RFC 9260, 6.2: the delay MUST NOT be more than 500 ms.
    let half = Duration::from_millis(500);
    duration("sack.delay", options.sack.delay, Duration::ZERO..=half, "0 to 500 ms")?;
    let second = Duration::from_secs(1);
    let hour = Duration::from_secs(3600);
    duration("cookie.lifetime", options.cookie.lifetime, second..=hour, "1 s to 1 h")?;
    let key = options.cookie.key_lifetime;
    duration("cookie.key_lifetime", key, second * 10..=hour * 24, "10 s to 24 h")?;
    let life = options.cookie.lifetime;
    duration("cookie.key_lifetime", key, life..=Duration::MAX, "at least cookie.lifetime")?;
    check_heartbeat_interval(options.heartbeat.interval)?;
    if let Some(failed) = options.heartbeat.failed_interval {
        let ms = Duration::from_millis(10);
        duration("heartbeat.failed_interval", failed, ms..=hour * 24, "10 ms to 24 h")?;
    }
    match options.shutdown_guard {
        Some(guard) => duration("shutdown_guard", guard, second..=hour * 24, "1 s to 24 h"),
        None => Ok(()),
    }
}

fn check_mtu(options: &Options) -> Result<(), ConfigError> {
    let (start, pmtud) = (usize::from(options.path_mtu), &options.pmtud);
    within("path_mtu", start, LEAST_MTU..=65_535, "68 to 65,535 bytes")?;
    within("pmtud.min", pmtud.min.into(), LEAST_MTU..=start, "68 to path_mtu bytes")?;
    if let Some(max) = pmtud.max {
        within("pmtud.max", max.into(), start..=65_535, "path_mtu to 65,535 bytes")?;
    }
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    // RFC 8899, 5.1.1: MUST NOT be smaller than 1 second.
    duration("pmtud.probe_timer", pmtud.probe_timer, second..=hour, "1 s to 1 h")?;
    duration("pmtud.raise_timer", pmtud.raise_timer, second..=hour * 24, "1 s to 24 h")
}

/// The least MTU of a link of IPv4 (RFC 791, section 3.2).
pub(crate) const LEAST_MTU: usize = 68;

pub(crate) fn check_heartbeat_interval(interval: Option<Duration>) -> Result<(), ConfigError> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    match interval {
        Some(interval) => {
            duration("heartbeat.interval", interval, Duration::ZERO..=DAY, "up to 24 h")
        }
        None => Ok(()),
    }
}

/// RFC 7829, 5 (1): data must have left the primary path before another one takes its place.
pub(crate) fn check_thresholds(
    path_max: u16,
    potentially_failed_max: Option<u16>,
    primary_switchover_max: Option<u16>,
) -> Result<(), ConfigError> {
    let option = "failover.primary_switchover_max";
    let (least, expected) = match potentially_failed_max {
        Some(most) => (most, "at least failover.potentially_failed_max"),
        None => (path_max, "at least retransmission.path_max"),
    };
    match primary_switchover_max {
        Some(most) => within(option, most.into(), least.into()..=0xffff, expected),
        None => Ok(()),
    }
}

fn check_limits(limits: &LimitOptions) -> Result<(), ConfigError> {
    const BUFFER: RangeInclusive<usize> = 4096..=1 << 30;
    within("limits.receive_buffer", limits.receive_buffer, BUFFER, "4,096 to 2^30 bytes")?;
    within("limits.send_buffer", limits.send_buffer, BUFFER, "4,096 to 2^30 bytes")?;
    within("limits.outbound_streams", limits.outbound_streams.into(), 1..=65_535, "1 to 65,535")?;
    within("limits.inbound_streams", limits.inbound_streams.into(), 1..=65_535, "1 to 65,535")?;
    within("limits.associations", limits.associations, 1..=usize::MAX, "at least 1")?;
    within("limits.memory", limits.memory, 65_536..=usize::MAX, "at least 65,536 bytes")?;
    within("limits.unproved_addresses", limits.unproved_addresses, 1..=255, "1 to 255")?;
    let inits = limits.inits_per_second as usize;
    within("limits.inits_per_second", inits, 1..=1_000_000, "1 to 1,000,000")?;
    within("limits.peer_addresses", limits.peer_addresses, 1..=255, "1 to 255")
}

fn within(
    option: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
    expected: &'static str,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ConfigError { option, value: value.to_string(), expected })
}

fn duration(
    option: &'static str,
    value: Duration,
    range: RangeInclusive<Duration>,
    expected: &'static str,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ConfigError { option, value: format!("{value:?}"), expected })
}
