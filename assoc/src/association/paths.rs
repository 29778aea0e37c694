//! What an application can see of the peer's addresses, and choose for them (RFC 9260, section 11.1; RFC 7829, section 7).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Association, State};
use crate::error::{ConfigError, NoSuchPath, PathSettingsError};
use crate::event::{AddressChange, PrimaryReason};
use crate::path::{PathId, PathSettings, PathStatus};

impl Association {
    /// The peer's addresses and how they fare, in the caller's order, learned ones last.
    pub fn paths(&self) -> impl Iterator<Item = PathStatus> + '_ {
        self.ctx.paths.statuses()
    }

    /// Makes one of the peer's confirmed addresses the one that messages are sent to (RFC 9260, 11.1.6).
    ///
    /// # Errors
    /// The address is none of the peer's, or is not confirmed.
    pub fn set_primary(&mut self, peer: IpAddr) -> Result<(), NoSuchPath> {
        let id = self.ctx.paths.find(peer).ok_or(NoSuchPath(peer))?;
        if !self.ctx.paths.path(id).is_some_and(|path| path.confirmed) {
            return Err(NoSuchPath(peer));
        }
        if self.ctx.paths.primary() != id {
            self.ctx.paths.set_primary(id);
            self.ctx.tell_path(id, AddressChange::Primary(PrimaryReason::Chosen));
        }
        Ok(())
    }

    /// Asks for a HEARTBEAT to an address now; [`Event::HeartbeatResult`](crate::Event::HeartbeatResult) tells what came of
    /// it (RFC 9260, section 11.1.10). An unconfirmed address may be asked for as well.
    ///
    /// # Errors
    /// The address is none of the peer's, or the association is not established.
    pub fn request_heartbeat(&mut self, now: Instant, peer: IpAddr) -> Result<(), NoSuchPath> {
        let _ = now;
        let open = self.sends_heartbeats();
        let id = self.ctx.paths.find(peer).filter(|_| open).ok_or(NoSuchPath(peer))?;
        if let Some(path) = self.ctx.paths.path_mut(id) {
            path.heartbeat.request_with_outcome();
        }
        Ok(())
    }

    /// Sets how often an idle address of the peer is sent a HEARTBEAT, in the place of HB.interval; `None` for
    /// never (RFC 9260, section 11.1.9, CHANGE HEARTBEAT). Unconfirmed addresses are probed all the same.
    ///
    /// # Errors
    /// The address is none of the peer's.
    pub fn change_heartbeat(
        &mut self,
        now: Instant,
        peer: IpAddr,
        interval: Option<Duration>,
    ) -> Result<(), NoSuchPath> {
        let id = self.ctx.paths.find(peer).ok_or(NoSuchPath(peer))?;
        if let Some(path) = self.ctx.paths.path_mut(id) {
            path.settings.heartbeat_interval = interval;
        }
        self.restart_heartbeats(now, id);
        Ok(())
    }

    /// Sets how many failures in a row make an address of the peer inactive, in the place of
    /// Path.Max.Retrans (RFC 9260, section 11.1.12, SET FAILURE THRESHOLD).
    ///
    /// # Errors
    /// The address is none of the peer's.
    pub fn set_failure_threshold(&mut self, peer: IpAddr, failures: u16) -> Result<(), NoSuchPath> {
        let id = self.ctx.paths.find(peer).ok_or(NoSuchPath(peer))?;
        if let Some(path) = self.ctx.paths.path_mut(id) {
            path.settings.max_retrans = failures;
        }
        Ok(())
    }

    /// The parameters of an address of the peer.
    ///
    /// # Errors
    /// The address is none of the peer's.
    pub fn path_settings(&self, peer: IpAddr) -> Result<PathSettings, NoSuchPath> {
        let path = self.ctx.paths.find(peer).and_then(|id| self.ctx.paths.path(id));
        path.map(|path| path.settings).ok_or(NoSuchPath(peer))
    }

    /// Sets the parameters of an address of the peer (`SCTP_PEER_ADDR_PARAMS` of RFC 6458, `SCTP_PEER_ADDR_THLDS` of
    /// RFC 7829; SET PROTOCOL PARAMETERS of RFC 9260, section 11.1.12).
    ///
    /// Thresholds count from the next failure on: a path that is already beyond one keeps its state until then.
    ///
    /// # Errors
    /// A value is out of its range, or the address is none of the peer's; nothing is changed then.
    pub fn set_path_settings(
        &mut self,
        now: Instant,
        peer: IpAddr,
        settings: PathSettings,
    ) -> Result<(), PathSettingsError> {
        settings.check()?;
        let id = self.ctx.paths.find(peer).ok_or(NoSuchPath(peer))?;
        self.apply(now, id, settings);
        Ok(())
    }

    /// Sets the parameters of all addresses of the peer, and of those to come: what these calls do with the wildcard
    /// address.
    ///
    /// # Errors
    /// A value is out of its range; nothing is changed then.
    pub fn set_all_path_settings(
        &mut self,
        now: Instant,
        settings: PathSettings,
    ) -> Result<(), ConfigError> {
        settings.check()?;
        self.ctx.paths.set_settings(settings);
        let ids: Vec<PathId> = self.ctx.paths.iter().map(|path| path.id).collect();
        for id in ids {
            self.apply(now, id, settings);
        }
        Ok(())
    }

    /// Sets whether [`paths`](Self::paths) and events show which addresses are potentially failed; else these count as
    /// active (`SCTP_EXPOSE_POTENTIALLY_FAILED_STATE`, RFC 7829, section 7.3).
    pub fn expose_potentially_failed(&mut self, expose: bool) {
        self.ctx.paths.set_exposes(expose);
    }

    fn apply(&mut self, now: Instant, id: PathId, settings: PathSettings) {
        let Some(path) = self.ctx.paths.path_mut(id) else { return };
        let before = std::mem::replace(&mut path.settings, settings);
        path.rto.set_bounds(&settings.rto);
        if before.heartbeat_interval != settings.heartbeat_interval {
            self.restart_heartbeats(now, id);
        }
    }

    /// The next HEARTBEAT comes when the new interval says so.
    fn restart_heartbeats(&mut self, now: Instant, id: PathId) {
        let open = self.sends_heartbeats();
        let Some(path) = self.ctx.paths.path_mut(id) else { return };
        path.heartbeat.unschedule();
        if open {
            self.ctx.schedule_heartbeat(now, id);
        }
    }

    /// RFC 9260, 8.3: from ESTABLISHED until SHUTDOWN or SHUTDOWN ACK.
    fn sends_heartbeats(&self) -> bool {
        matches!(&self.state, State::Open(tcb) if tcb.sends_data())
    }
}
