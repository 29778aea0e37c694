//! Two hosts with several addresses each, and what their applications must have learned in the end.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use usctp_assoc::sim::{HostId, LinkSettings, Network, PEER_PORT, PORT, a, z};
use usctp_assoc::{
    AssociationId, AssociationState, Config, ConnectOptions, Event, LostReason, Options,
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn config(change: impl FnOnce(&mut Options)) -> Config {
    let mut options = Options::default();
    change(&mut options);
    Config::new(options).unwrap()
}

pub(crate) fn ports(addresses: &[IpAddr]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| SocketAddr::new(*address, PEER_PORT)).collect()
}

/// An active host A and a listening host Z, whose addresses are linked one to one.
pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) a: HostId,
    pub(crate) z: HostId,
    pub(crate) ours: Vec<IpAddr>,
    pub(crate) theirs: Vec<IpAddr>,
}

impl World {
    pub(crate) fn new(
        name: &str,
        seed: u64,
        paths: u8,
        config: &Config,
        link: &LinkSettings,
    ) -> Self {
        let mut network = Network::new(name, seed);
        let ours: Vec<_> = (1..=paths).map(a).collect();
        let theirs: Vec<_> = (1..=paths).map(z).collect();
        let (a, z) = (
            network.add_endpoint("A", &ours, PORT, config.clone()),
            network.add_endpoint("Z", &theirs, PEER_PORT, config.clone()),
        );
        network.link_in_parallel(&ours, &theirs, link);
        network.listen(z, true);
        Self { network, a, z, ours, theirs }
    }

    pub(crate) fn connect(&mut self) -> AssociationId {
        let peers = ports(&self.theirs);
        self.network.connectx(self.a, &peers, ConnectOptions::default()).unwrap()
    }

    /// Connects and runs until both sides are established.
    pub(crate) fn establish(&mut self) -> (AssociationId, AssociationId) {
        let id = self.connect();
        let (a, z) = (self.a, self.z);
        let up = self.network.run_until(HOUR, |network| {
            network.state(a, id) == AssociationState::Established
                && network
                    .newest(z)
                    .is_some_and(|id| network.state(z, id) == AssociationState::Established)
        });
        assert!(up, "the association came up");
        (id, self.network.newest(z).unwrap())
    }

    pub(crate) fn run_until_ended(&mut self, id: AssociationId) {
        let (a, z) = (self.a, self.z);
        let ended = self.network.run_until(HOUR, |network| {
            network.state(a, id) == AssociationState::Closed
                && network
                    .newest(z)
                    .is_none_or(|id| network.state(z, id) == AssociationState::Closed)
        });
        assert!(ended, "both sides ended within an hour");
    }

    /// How an association ended: `None` for a graceful close, which only counts if everything sent has arrived.
    pub(crate) fn end(&mut self, host: HostId, id: AssociationId) -> Option<LostReason> {
        let events = self.network.events(host).iter().filter(|logged| logged.association == id);
        let mut ends = events.filter_map(|logged| match &logged.event {
            Event::ShutdownComplete => Some(None),
            Event::CommLost(reason) => Some(Some(reason.clone())),
            _ => None,
        });
        let end = ends.next().expect("the application learns how its association ended");
        assert!(ends.next().is_none(), "an association ends once");
        if end.is_none() {
            let application = self.network.application(host, id);
            assert_eq!(application.missing(), 0, "a graceful close delivers everything");
        }
        end
    }

    /// Both applications know that it is over; who was told that it ended well has had everything delivered.
    pub(crate) fn assert_both_learned(&mut self, id: AssociationId) {
        self.end(self.a, id);
        if let Some(theirs) = self.network.newest(self.z) {
            self.end(self.z, theirs);
        }
    }

    /// Both sides closed gracefully, and everything arrived.
    pub(crate) fn assert_graceful(&mut self, id: AssociationId) {
        let theirs = self.network.newest(self.z).expect("Z had an association");
        let ends = (self.end(self.a, id), self.end(self.z, theirs));
        assert_eq!(ends, (None, None), "A's end and Z's");
    }
}
