//! The simulated network: hosts, links, virtual time and one seed, shared by tests, fuzzing and benches.
//!
//! A [`Network`] holds hosts and the links between their addresses. A host is either an
//! [`Endpoint`](crate::Endpoint) with a simple application on top of it, or a *wire* host whose packets a test
//! writes and reads by hand; [`Ladder`] makes such a test read like the ladder diagrams of the RFCs. After every
//! step the [invariants](Network::step) of the protocol are checked. The same seed gives the same run, byte for
//! byte; a run that panics prints its seed and leaves a pcap file behind.

mod answers;
mod calm;
mod host;
mod invariant;
mod ladder;
mod ledger;
mod link;
mod network;
mod pcap;
mod recording;
mod seeds;
mod traffic;

use std::sync::OnceLock;
use std::time::Instant;

pub use host::{Application, HostId, Logged};
pub use ladder::{Heard, Ladder, PEER_PORT, PORT, a, a6, kinds, z, z6};
pub use link::{LinkSettings, Loss, Rate, Status};
pub use network::{Arrived, Network, Pace};
pub use seeds::{for_each_seed, seed};
pub use traffic::{Plan, payload};

/// The instant at which every simulated run begins. Only differences from it ever reach a packet.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant cannot be made from nothing: this one is the zero of virtual time"
)]
pub fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}
