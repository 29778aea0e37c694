//! What the ladders need of an implementation under test, and the one there is: the core over the simulated network.
//!
//! A peer across a wire can take its place: packets, and the primitives of RFC 9260, section 11, are all that passes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, PEER_PORT, a, z};
use usctp_assoc::{
    Association, AssociationState, Config, ConnectOptions, Event, Message, Options, PathStatus,
    Received, SendError,
};

/// An implementation under test (IUT), with the network between it and the tester.
pub(crate) trait Subject {
    // --- the network ---

    /// A packet of the tester's.
    fn carry(&mut self, from: IpAddr, to: IpAddr, packet: Bytes);
    /// The next packet for the tester, if one comes within this time.
    fn catch(&mut self, within: Duration) -> Option<Heard>;
    /// Time passes.
    fn wait(&mut self, time: Duration);
    /// How much time has passed.
    fn elapsed(&self) -> Duration;

    // --- the upper layer ---

    /// Associations of the tester's are accepted.
    fn listen(&mut self);
    /// ASSOCIATE, with the tester's port.
    fn associate(&mut self, peers: &[IpAddr]);
    /// SEND
    fn send(&mut self, message: Message) -> Result<(), SendError>;
    /// Whether the user receives messages as soon as they are there; at first it does.
    fn receive_eagerly(&mut self, eager: bool);
    /// What the user has received.
    fn received(&mut self) -> Vec<Received>;
    /// SHUTDOWN
    fn shutdown(&mut self);
    /// ABORT
    fn abort(&mut self, reason: &'static str);
    /// SETPRIMARY
    fn set_primary(&mut self, peer: IpAddr);
    /// REQUESTHEARTBEAT
    fn request_heartbeat(&mut self, peer: IpAddr);
    /// STATUS: the state of the newest association.
    fn state(&self) -> AssociationState;
    /// STATUS: the tester's addresses.
    fn paths(&self) -> Vec<PathStatus>;
    /// How many associations there are that have not ended.
    fn associations(&self) -> usize;
    /// What the user was told.
    fn events(&self) -> Vec<Event>;
}

/// The core of this crate over the simulated network, whose links take no time.
pub(crate) struct Simulated {
    ladder: Ladder,
}

impl Simulated {
    /// An endpoint with two addresses; the tester has four.
    pub(crate) fn new(options: Options) -> Self {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let name = test.rsplit("::").next().unwrap_or_default();
        let config = Config::new(options).unwrap();
        let (ours, peers) = ([a(1), a(2)], [z(1), z(2), z(3), z(4)]);
        Self { ladder: Ladder::with(name, config, &ours, &peers) }
    }

    fn newest(&self) -> Option<usctp_assoc::AssociationId> {
        self.ladder.network.newest(self.ladder.ours)
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut Association, std::time::Instant) -> R) -> R {
        let id = self.newest().expect("there is an association");
        self.ladder.network.with(self.ladder.ours, id, act)
    }
}

impl Subject for Simulated {
    fn carry(&mut self, from: IpAddr, to: IpAddr, packet: Bytes) {
        self.ladder.says_bytes(from, to, packet);
    }

    fn catch(&mut self, within: Duration) -> Option<Heard> {
        let peer = self.ladder.peer;
        let heard = self.ladder.network.run_until(within, |network| network.wire_has_heard(peer));
        heard.then(|| self.ladder.hears())
    }

    fn wait(&mut self, time: Duration) {
        self.ladder.network.run_for(time);
    }

    fn elapsed(&self) -> Duration {
        self.ladder.network.elapsed()
    }

    fn listen(&mut self) {
        self.ladder.network.listen(self.ladder.ours, true);
    }

    fn associate(&mut self, peers: &[IpAddr]) {
        let peers: Vec<_> = peers.iter().map(|peer| SocketAddr::new(*peer, PEER_PORT)).collect();
        let (ours, options) = (self.ladder.ours, ConnectOptions::default());
        self.ladder.network.connectx(ours, &peers, options).expect("the list is right");
    }

    fn send(&mut self, message: Message) -> Result<(), SendError> {
        let id = self.newest().expect("there is an association");
        self.ladder.network.send(self.ladder.ours, id, message)
    }

    fn receive_eagerly(&mut self, eager: bool) {
        self.ladder.network.receive_eagerly(self.ladder.ours, eager);
    }

    fn received(&mut self) -> Vec<Received> {
        let Some(id) = self.newest() else { return Vec::new() };
        self.ladder.network.application(self.ladder.ours, id).received().to_vec()
    }

    fn shutdown(&mut self) {
        self.act(Association::shutdown);
    }

    fn abort(&mut self, reason: &'static str) {
        self.act(|association, now| association.abort(now, Bytes::from_static(reason.as_bytes())));
    }

    fn set_primary(&mut self, peer: IpAddr) {
        self.act(|association, _| association.set_primary(peer)).expect("the path exists");
    }

    fn request_heartbeat(&mut self, peer: IpAddr) {
        self.act(|association, now| association.request_heartbeat(now, peer)).expect("it exists");
    }

    fn state(&self) -> AssociationState {
        let ours = self.ladder.ours;
        let state = |id| self.ladder.network.state(ours, id);
        self.newest().map_or(AssociationState::Closed, state)
    }

    fn paths(&self) -> Vec<PathStatus> {
        let endpoint = self.ladder.network.endpoint(self.ladder.ours);
        let association = self.newest().and_then(|id| endpoint.view(id));
        association.map(|association| association.paths().collect()).unwrap_or_default()
    }

    fn associations(&self) -> usize {
        let network = &self.ladder.network;
        let ours = self.ladder.ours;
        let living = |id: &_| network.state(ours, *id) != AssociationState::Closed;
        network.endpoint(ours).associations().filter(living).count()
    }

    fn events(&self) -> Vec<Event> {
        let events = self.ladder.network.events(self.ladder.ours);
        events.iter().map(|logged| logged.event.clone()).collect()
    }
}
