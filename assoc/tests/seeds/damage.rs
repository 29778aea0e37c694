//! A network that damages every packet.

use usctp_assoc::sim::{LinkSettings, Network, PEER_PORT, PORT, a, z};
use usctp_assoc::{AssociationState, Config, ConnectOptions, Options};

use crate::{HOUR, ms};

#[test]
fn damaged_packets_are_counted_and_open_nothing() {
    let mut network = Network::new("damaged_packets_are_counted_and_open_nothing", 0);
    let config = Config::new(Options::default()).unwrap();
    let ours = network.add_endpoint("A", &[a(1)], PORT, config.clone());
    let theirs = network.add_endpoint("Z", &[z(1)], PEER_PORT, config);
    network.link(a(1), z(1), &LinkSettings { corrupt: 1.0, ..LinkSettings::with_latency(ms(5)) });
    network.listen(theirs, true);
    let peer = (z(1), PEER_PORT).into();
    let id = network.connectx(ours, &[peer], ConnectOptions::default()).unwrap();
    let ended = |network: &Network| network.state(ours, id) == AssociationState::Closed;
    assert!(network.run_until(HOUR, ended), "it is given up");
    assert_eq!(network.newest(theirs), None);
    let counters = network.endpoint(theirs).counters();
    assert_eq!((counters.bad_checksum, counters.packets_sent), (counters.packets_received, 0));
    assert!(counters.bad_checksum > 1);
}
