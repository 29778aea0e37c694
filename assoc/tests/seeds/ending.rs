//! Who opens, and who closes how: what hosts are asked to do whatever goes wrong.

use std::collections::btree_map::Entry;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use usctp_assoc::sim::HostId;
use usctp_assoc::{AssociationId, AssociationState, ConnectOptions, Event, Options};

use crate::faults::Faults;
use crate::ms;
use crate::run::Run;

/// What both sides mean to do.
#[derive(Debug)]
pub(crate) struct Intent {
    /// Who opens: A, Z or both.
    pub(crate) openers: [bool; 2],
    /// Who closes, and when; with an ABORT if `aborts`.
    pub(crate) closers: [bool; 2],
    pub(crate) close_at: Duration,
    aborts: bool,
}

impl Intent {
    pub(crate) fn draw(random: &mut StdRng, faults: &Faults, options: &Options) -> Self {
        // Nobody opens towards a host behind a translator.
        let openers = if options.udp_port.is_some() { [true, false] } else { some(random) };
        Self {
            openers,
            closers: some(random),
            close_at: ms(random.random_range(0..15_000)),
            aborts: random.random_bool(faults.aborts),
        }
    }
}

/// One side, the other, or both.
fn some(random: &mut StdRng) -> [bool; 2] {
    [[true, true], [true, false], [false, true]][random.random_range(0..3)]
}

impl Run {
    pub(crate) fn opens(&mut self, side: usize) {
        let host = self.hosts()[side];
        let port = self.ports[1 - side];
        let peers = self.addresses[1 - side].iter().map(|ip| (*ip, port).into());
        let peers: Vec<_> = peers.take(if self.lists_one { 1 } else { usize::MAX }).collect();
        // Refused only where the peer was faster, or where an association with it is left from before.
        let opened = self.network.connectx(host, &peers, ConnectOptions::default());
        assert!(opened.is_ok() || self.network.newest(host).is_some(), "{opened:?}");
    }

    /// Gives every new association its messages, and closes those whose time has come.
    pub(crate) fn direct(&mut self) {
        for (side, host) in self.hosts().into_iter().enumerate() {
            let ids: Vec<_> = self.network.endpoint(host).associations().collect();
            for id in ids {
                if let Entry::Vacant(new) = self.known.entry((host, id)) {
                    new.insert(None);
                    let messages = self.load.messages(&mut self.random, &self.faults);
                    self.network.offer(host, id, messages);
                }
                self.close_in_time(side, host, id);
            }
        }
    }

    /// A restart makes a new association of an old one, which nobody has closed (RFC 9260, 5.2.4.1).
    fn close_in_time(&mut self, side: usize, host: HostId, id: AssociationId) {
        let is_open = self.network.state(host, id) == AssociationState::Established;
        let due = self.network.elapsed() >= self.intent.close_at;
        // Where one side alone was to close and its association never came up, the other must.
        let closes = self.intent.closers[side] || self.is_alone(side);
        let restarts = self.restarts(host, id);
        let told = self.known.get_mut(&(host, id)).unwrap();
        // What nobody holds ends by itself, also if the peer restarted since.
        let is_held = !self.network.is_forsaken(host, id);
        if !due || !closes || !is_open || !is_held || *told == Some(restarts) {
            return;
        }
        *told = Some(restarts);
        match self.intent.aborts {
            true => self.network.with(host, id, |association, now| {
                association.abort(now, Default::default());
            }),
            false => self.network.close_when_sent(host, id),
        }
    }

    fn restarts(&self, host: HostId, id: AssociationId) -> usize {
        let events = self.network.events(host).iter();
        events.filter(|l| l.association == id && l.event == Event::Restart).count()
    }

    /// Whether the other side has nothing that could still close.
    fn is_alone(&self, side: usize) -> bool {
        let other = self.hosts()[1 - side];
        let mut ids = self.network.endpoint(other).associations();
        ids.all(|id| self.network.state(other, id) == AssociationState::Closed)
    }

    pub(crate) fn is_over(&self) -> bool {
        (0..2).all(|side| self.is_alone(side))
    }
}
