//! Hosts that have one address in common, as docker0's, which a packet to it therefore never leaves.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use usctp::lab::{Host, Lab, Link};
use usctp::{AddressChange, Association, Event, IgnoredReason, RemovedReason};

use super::support::ours::{SOON, program};
use super::support::suite::{Outcome, Suite};
use super::{PORT, Side, addresses, drop_in, ip, link, peer, peers_of};

const BRIDGE: &str = "172.17.0.1";
/// Long enough for the HEARTBEATs that probe what the peer lists, and for many times what they took to end everything.
const WHILE: Duration = Duration::from_secs(2);

pub(super) fn add_to(suite: &mut Suite) {
    for (name, udp) in [("raw", false), ("udp", true)] {
        suite.in_lab(
            format!("hosts_with_an_address_in_common_keep_their_association_over_{name}"),
            move |lab| in_common(lab, udp),
        );
        suite.in_lab(
            format!("a_path_ends_when_its_address_becomes_one_of_this_host_over_{name}"),
            move |lab| becomes_ours(lab, udp),
        );
    }
    // Two stacks on one host need two UDP ports: tests/demo.rs has them.
    suite.in_lab("two_stacks_on_one_host_use_every_address_of_it_over_raw", on_one_host);
    suite.in_lab("a_bridge_of_guests_is_told_to_the_guests_alone", bridge_of_guests);
    suite.in_lab("listen_and_connect_go_on_and_tell_of_the_address_in_common", by_program);
}

fn two_hosts(lab: &Lab) -> Outcome<(Host, Host, Link)> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let link = link(&near, &far, "link1", [&["10.1.0.1/24"], &["10.1.0.2/24", "10.1.0.3/24"]])?;
    Ok((near, far, link))
}

fn share(hosts: [&Host; 2]) {
    hosts.into_iter().for_each(|host| ip(host, "address add 172.17.0.1/32 dev lo"));
}

/// Waits for what an association tells of an address of its peer.
fn is_told(
    host: &Host,
    association: Association,
    address: &str,
    change: AddressChange,
) -> Association {
    let wanted = Event::PeerAddressChange { peer: address.parse().unwrap(), change };
    host.run(move || {
        while association.event_timeout(SOON).unwrap() != wanted {}
        association
    })
}

fn in_common(lab: &Lab, udp: bool) -> Outcome<()> {
    let (near, far, _link) = two_hosts(lab)?;
    share([&near, &far]);
    // Bound to all addresses, or elsewhere; from another port, or from the same one.
    for (bound, port) in [(&[][..], 0), (&["10.1.0.2"], PORT)] {
        let server = Side::echo(&far, udp, PORT, bound);
        let client = Side::open(&near, udp, port, &[]);
        let association = client.connect(&[peer("10.1.0.2")])?;
        std::thread::sleep(WHILE);
        let association = client.exchange(association, "still there")?;
        assert!(!peers_of(&association).contains(&BRIDGE.parse()?));
        let association = if bound.is_empty() {
            let change = AddressChange::Ignored(IgnoredReason::OwnAddress);
            is_told(&near, association, BRIDGE, change)
        } else {
            association
        };
        drop_in(&near, association);
        client.close();
        server.close();
    }
    Ok(())
}

fn becomes_ours(lab: &Lab, udp: bool) -> Outcome<()> {
    let (near, far, _link) = two_hosts(lab)?;
    let server = Side::echo(&far, udp, PORT, &[]);
    let client = Side::open(&near, udp, 0, &[]);
    let association = client.connect(&[peer("10.1.0.3"), peer("10.1.0.2")])?;
    let association = client.exchange(association, "by the first")?;
    ip(&near, "address add 10.1.0.3/32 dev lo");
    let association = client.exchange(association, "by the other")?;
    let change = AddressChange::Removed(RemovedReason::OwnAddress);
    let association = is_told(&near, association, "10.1.0.3", change);
    std::thread::sleep(WHILE);
    let association = client.exchange(association, "still there")?;
    assert_eq!(peers_of(&association), addresses(&["10.1.0.2"]));
    drop_in(&near, association);
    client.close();
    server.close();
    Ok(())
}

fn on_one_host(lab: &Lab) -> Outcome<()> {
    let (near, _far, _link) = two_hosts(lab)?;
    ip(&near, "address add 172.17.0.1/32 dev lo");
    for address in [BRIDGE, "10.1.0.1", "127.0.0.1"] {
        let server = Side::echo(&near, false, PORT, &[]);
        let client = Side::open(&near, false, 0, &[]);
        let association = client.connect(&[peer(address)])?;
        let end = Instant::now() + SOON;
        let wanted: Vec<IpAddr> = addresses(&[BRIDGE, "10.1.0.1"]);
        let is_there = |association: &Association| {
            wanted.iter().all(|peer| peers_of(association).contains(peer))
        };
        assert!(is_there(&association), "{:?}", association.paths());
        while association.paths().iter().any(|path| path.state != usctp::PathState::Active) {
            assert!(Instant::now() < end, "{:?}", association.paths());
            std::thread::sleep(Duration::from_millis(10));
        }
        let association = client.exchange(association, "on this host")?;
        drop_in(&near, association);
        client.close();
        server.close();
    }
    Ok(())
}

fn bridge_of_guests(lab: &Lab) -> Outcome<()> {
    let (near, far, _link) = two_hosts(lab)?;
    let guest = lab.host("guest")?;
    let _port = link(&guest, &far, "port", [&["172.17.0.2/16"], &[]])?;
    for command in [
        "link add docker0 type bridge",
        "link set port master docker0",
        "address add 172.17.0.1/16 dev docker0",
        "link set docker0 up",
    ] {
        ip(&far, command);
    }
    let server = Side::echo(&far, false, PORT, &[]);
    assert!(server.socket.addresses().contains(&BRIDGE.parse()?), "it is bound");
    let client = Side::open(&near, false, 0, &[]);
    let association = client.exchange(client.connect(&[peer("10.1.0.2")])?, "from outside")?;
    assert_eq!(peers_of(&association), addresses(&["10.1.0.2", "10.1.0.3"]));
    drop_in(&near, association);
    client.close();

    let client = Side::open(&guest, false, 0, &[]);
    let association = client.exchange(client.connect(&[peer(BRIDGE)])?, "from a guest")?;
    assert_eq!(peers_of(&association), addresses(&["10.1.0.2", "10.1.0.3", BRIDGE]));
    drop_in(&guest, association);
    client.close();
    server.close();

    // The other way round: what leads to the guest is told to it.
    let server = Side::echo(&guest, false, PORT, &[]);
    let client = Side::open(&far, false, 0, &[]);
    let association = client.exchange(client.connect(&[peer("172.17.0.2")])?, "to a guest")?;
    assert!(association.local_addresses().contains(&BRIDGE.parse()?));
    drop_in(&far, association);
    client.close();
    server.close();
    Ok(())
}

fn by_program(lab: &Lab) -> Outcome<()> {
    let (near, far, _link) = two_hosts(lab)?;
    share([&near, &far]);
    let mut listen = Command::new(program());
    listen.args(["listen", "--port", "5000", "--mode", "echo"]).stderr(Stdio::piped());
    let mut listening = far.start(listen)?;
    let mut heard = BufReader::new(listening.stderr.take().unwrap()).lines();
    let said = |lines: &mut dyn Iterator<Item = std::io::Result<String>>, part: &str| {
        let line = lines.map_while(Result::ok).find(|line| line.contains(part));
        assert!(line.is_some(), "it says {part}");
    };
    said(&mut heard, "listening");
    // By itself, connect tells the peer of no address but that which routing chooses.
    for local in [&[][..], &["--local", "10.1.0.1", "--local", BRIDGE]] {
        let mut connect = Command::new(program());
        connect.args(["connect", "--port", "5000", "--timeout", "15", "10.1.0.2"]).args(local);
        connect.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut connecting = near.start(connect)?;
        let mut told = BufReader::new(connecting.stderr.take().unwrap()).lines();
        said(&mut told, "172.17.0.1 is not used: an address of this host");
        if !local.is_empty() {
            said(&mut heard, "172.17.0.1 is not used: an address of this host");
        }
        std::thread::sleep(WHILE);
        assert_eq!(connecting.try_wait()?, None, "it is connected still");
        drop(connecting.stdin.take());
        assert!(connecting.wait()?.success());
    }
    listening.kill()?;
    listening.wait()?;
    Ok(())
}
