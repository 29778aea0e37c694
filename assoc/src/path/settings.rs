//! What the application may choose for a path alone (RFC 9260, sections 11.1.7, 11.1.11 and 11.1.12; RFC 7829, section 7.2).

use std::time::Duration;

use crate::config::{Config, RtoOptions, check_heartbeat_interval, check_rto, check_thresholds};
use crate::error::ConfigError;

/// Parameters of one destination address of the peer.
///
/// A path begins with those of the endpoint's [`Options`](crate::Options); the names in brackets are those of RFC 6458
/// and RFC 7829.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathSettings {
    /// HB.interval, up to 24 h; `None` sends no HEARTBEATs but those that are asked for (`spp_hbinterval`,
    /// `SPP_HB_ENABLE`, `SPP_HB_DISABLE`). An unconfirmed address is probed all the same.
    pub heartbeat_interval: Option<Duration>,
    /// Path.Max.Retrans: after more failures in a row than this, the path is inactive (`spp_pathmaxrxt`,
    /// `spt_pathmaxrxt`).
    pub max_retrans: u16,
    /// PotentiallyFailed.Max.Retrans: after more failures in a row than this, the path is potentially failed; `None`
    /// knows no such state (`spt_pathpfthld`). From `max_retrans` on it never comes to that.
    pub potentially_failed_max: Option<u16>,
    /// Primary.Switchover.Max.Retrans: after more failures in a row than this, a primary path is so no more, and the one
    /// that carries data in its place is; `None` keeps it, so that data returns to it when it does (`spt_pathcpthld`,
    /// where 0xffff stands for `None`). At least `potentially_failed_max`, or `max_retrans` where that is `None`.
    pub primary_switchover_max: Option<u16>,
    /// Bounds of the retransmission time-out (`SCTP_RTOINFO`). RTO.Initial counts until a round trip was measured.
    pub rto: RtoOptions,
}

impl PathSettings {
    /// Those of an endpoint.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            heartbeat_interval: config.heartbeat.interval,
            max_retrans: config.retransmission.path_max,
            potentially_failed_max: config.failover.potentially_failed_max,
            primary_switchover_max: config.failover.primary_switchover_max,
            rto: config.rto,
        }
    }

    /// Checks every value against its range.
    ///
    /// # Errors
    /// The first one out of its range, with what would be right.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_rto(&self.rto)?;
        check_heartbeat_interval(self.heartbeat_interval)?;
        check_thresholds(self.max_retrans, self.potentially_failed_max, self.primary_switchover_max)
    }

    /// How far the failures of an inactive path are counted.
    ///
    /// RFC 9260, 8.3, would stop right above Path.Max.Retrans. RFC 7829, 4.1 (3), wants to tell inactive paths apart by
    /// their failures, and an order of magnitude above Path.Max.Retrans as the limit.
    pub(crate) fn most_errors(&self) -> u16 {
        let threshold = self.max_retrans.saturating_add(1);
        match self.potentially_failed_max {
            Some(_) => threshold.saturating_mul(10),
            None => threshold,
        }
    }
}
