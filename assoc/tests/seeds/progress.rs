//! Whether anything advances: what only moves on, and for how long it may stand still.

use std::time::Duration;

use usctp_assoc::Event;

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

    /// How long nothing may advance: until an association is given up or its close takes too long, after an outage, a nap,
    /// or a reader's pause was waited out in vain; and for another round where an answer to a HEARTBEAT came through, which ends the row of failures,
    /// while DATA did not.
    pub(crate) fn patience(&self) -> Duration {
        let waits = self.outage + self.nap + self.pause + self.silence;
        waits + self.config.shutdown_guard() + IDLE + 2 * time_to_give_up(&self.config) + secs(1)
    }
}
