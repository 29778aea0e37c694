//! Whether anything advances: what only moves on, and for how long it may stand still.

use std::time::Duration;

use usctp_assoc::sim::HostId;
use usctp_assoc::{AssociationId, AssociationState, Event};

use crate::load::time_to_give_up;
use crate::run::Run;
use crate::secs;

/// Everything that only moves on: what was received, what was taken, what was acknowledged, how far states are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    associations: usize,
    received: usize,
    backlog: usize,
    states: usize,
}

/// The longest time until something is asked for that has yet to be: a close, or an opening after a restart.
const IDLE: Duration = Duration::from_secs(17);

impl Run {
    pub(crate) fn progress(&mut self) -> Progress {
        let ids: Vec<_> = self.known.keys().copied().collect();
        let mut progress = Progress { associations: ids.len(), received: 0, backlog: 0, states: 0 };
        for (host, id) in ids {
            progress.received += self.network.application(host, id).received().len();
            progress.backlog += self.network.backlog(host, id);
            let moves_on = |event: &Event| {
                matches!(
                    event,
                    Event::CommUp { .. }
                        | Event::Restart
                        | Event::CommLost(_)
                        | Event::PeerShutdown
                        | Event::ShutdownComplete
                        | Event::SenderDry
                )
            };
            let events = self.network.events(host).iter();
            progress.states += events.filter(|logged| moves_on(&logged.event)).count();
        }
        progress
    }

    /// How long nothing may advance: until an association is given up, after an outage, a nap, or a reader's pause was waited
    /// out in vain; and for another round where an answer to a HEARTBEAT came through, which ends the row of failures,
    /// while DATA did not.
    pub(crate) fn patience(&self) -> Duration {
        let waits = self.outage + self.nap + self.pause + self.silence;
        waits + IDLE + 2 * time_to_give_up(&self.config) + secs(1)
    }

    /// The same as things stand: a peer of which something is heard, and that hears nothing of a SHUTDOWN, is given the time of
    /// T5-shutdown-guard (RFC 9260, 9.2).
    pub(crate) fn patience_now(&self) -> Duration {
        let closes = |(host, id): &(HostId, AssociationId)| {
            self.network.state(*host, *id) == AssociationState::ShutdownSent
        };
        let guard = self.known.keys().any(closes).then(|| self.config.shutdown_guard());
        self.patience() + guard.unwrap_or_default()
    }
}
