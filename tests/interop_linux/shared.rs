//! A Linux kernel as the peer of a host that has one address in common with it, as all hosts with Docker have.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use usctp::{AddressChange, Association, Event, IgnoredReason, PathState};

use super::support::linux::{Guest, Guests, Wires};
use super::support::ours::{Capture, Ours, SOON, Transport, program};
use super::support::peer::Peer;
use super::support::suite::{Outcome, Suite};
use super::support::topology::{COMBINATIONS, Family};
use super::{exchange, listed, options, return_all, use_udp};

/// docker0's address.
const BRIDGE: &str = "172.17.0.1";

/// Long enough for many HEARTBEATs; what they brought about took one second.
const WHILE: Duration = Duration::from_secs(3);

/// The port of the issue.
const PORT: &str = "7";

pub(super) fn add_to(suite: &mut Suite, guests: &Arc<Guests>) {
    // Over IPv6 Linux lists none of its private IPv4 addresses.
    for (name, family, transport) in
        COMBINATIONS.into_iter().filter(|(_, family, _)| *family == Family::V4)
    {
        suite.with_linux(
            format!("what_we_open_lives_on_with_an_address_in_common_over_{name}"),
            guests,
            move |guest| in_common(guest, || we_open(guest, Wires(family), transport)),
        );
        suite.with_linux(
            format!("what_linux_opens_lives_on_with_an_address_in_common_over_{name}"),
            guests,
            move |guest| in_common(guest, || linux_opens(guest, Wires(family), transport)),
        );
        suite.with_linux(
            format!("plain_listen_and_connect_go_on_with_an_address_in_common_over_{name}"),
            guests,
            move |guest| in_common(guest, || by_program(guest, Wires(family), transport)),
        );
    }
}

/// Gives both hosts the address for the time of a test: ours on a bridge; the guest, whose kernel has none, on loopback.
fn in_common(guest: &Guest, test: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    ip("link add docker0 type bridge")?;
    ip("address add 172.17.0.1/16 dev docker0")?;
    ip("link set docker0 up")?;
    guest.run("ip address add 172.17.0.1/32 dev lo")?;
    // A guest under which a test fails is not lent again.
    test()?;
    guest.run("ip address del 172.17.0.1/32 dev lo")?;
    ip("link del docker0")
}

fn ip(arguments: &str) -> Outcome<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status()?;
    status.success().then_some(()).ok_or_else(|| format!("ip {arguments}: {status}").into())
}

/// Our side, bound to all addresses of this host.
fn open(guest: &Guest, transport: Transport, port: u16) -> Outcome<Ours> {
    use_udp(guest, transport)?;
    Ours::open_on(&[], transport, port, options())
}

/// The application is told which address is left out and why; it is no path, and to the kernel it is its own alone.
fn leaves_it_out(guest: &Guest, association: &Association) -> Outcome<()> {
    let bridge: IpAddr = BRIDGE.parse()?;
    let change = AddressChange::Ignored(IgnoredReason::OwnAddress);
    let told = Event::PeerAddressChange { peer: bridge, change };
    while association.event_timeout(SOON)? != told {}
    let paths = association.paths();
    assert!(paths.iter().all(|path| path.peer != bridge), "{paths:?}");
    let (near, far) = listed(guest)?;
    assert!(near.contains(&bridge), "the kernel lists it: {near:?}");
    assert!(!far.contains(&bridge), "we do not: {far:?}");
    Ok(())
}

/// Nothing has come of the HEARTBEATs of both sides but paths that are active.
fn all_active(association: &Association) {
    let paths = association.paths();
    assert!(paths.len() > 1, "{paths:?}");
    assert!(paths.iter().all(|path| path.state == PathState::Active), "{paths:?}");
}

fn we_open(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, transport, 0)?;
    let peer = guest.start("peer.py echo 5000 --local 0.0.0.0")?;
    peer.wait_for("that it listens", SOON, |text| text.contains("listening"))?;
    let association = ours.connect(&wires, 5000)?;
    leaves_it_out(guest, &association)?;
    exchange(&association, 0..20)?;
    sleep(WHILE);
    all_active(&association);
    exchange(&association, 20..40)?;
    association.shutdown_timeout(SOON)?;
    peer.wait_for("the end", SOON, |text| text.contains("closed"))?;
    ours.close_and_check(&wires)
}

fn linux_opens(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, transport, 5000)?;
    ours.listen()?;
    let (first, second) = (wires.ours(1), wires.ours(2));
    let messages = "--messages 4 --interval 1";
    let mut peer = guest.start(&format!("peer.py talk 5000 {first} {second} {messages}"))?;
    let association = ours.accept()?;
    leaves_it_out(guest, &association)?;
    assert_eq!(return_all(&association)?, 4);
    let (_, text) = peer.wait(SOON)?;
    assert!(text.contains("talked"), "{text}");
    ours.close_and_check(&wires)
}

/// The two commands of the issue, without any option that it does not name.
fn by_program(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    use_udp(guest, transport)?;
    let (capture, address) = (Capture::new(), wires.theirs(1).to_string());
    let path = capture.path().to_string_lossy();
    let start = |arguments: &[&str]| {
        let mut all = [arguments, &["--port", PORT, "--json", "--pcap", &path]].concat();
        all.extend(transport.is_udp().then_some("--udp"));
        Peer::start_here(program(), &all)
    };
    let ignored = format!(r#""address":"{BRIDGE}","reason":"an address of this host""#);
    let told = |text: &str| text.contains(&ignored);

    let mut peer = guest.start(&format!("peer.py echo {PORT}"))?;
    peer.wait_for("that it listens", SOON, |text| text.contains("listening"))?;
    let mut connect = start(&["connect", &address])?;
    connect.wait_for("that it leaves it out", SOON, told)?;
    connect.write(b"early\n")?;
    connect.wait_for("what comes back", SOON, |text| text.contains("ZWFybHk"))?;
    sleep(WHILE);
    connect.write(b"late\n")?;
    connect.wait_for("what comes back", SOON, |text| text.contains("bGF0Z"))?;
    connect.end_input();
    let (status, text) = connect.wait(SOON)?;
    assert!(status.success(), "{status}: {text}");
    peer.wait(SOON)?;
    capture.check(&wires)?;

    let listen = start(&["listen", "--mode", "echo"])?;
    listen.wait_for("that it listens", SOON, |text| text.contains("listening"))?;
    let ours = wires.ours(1);
    let mut peer = guest.start(&format!("peer.py talk {PORT} {ours} --messages 4 --interval 1"))?;
    listen.wait_for("that it leaves it out", SOON, told)?;
    let (_, text) = peer.wait(SOON)?;
    assert!(text.contains("talked"), "{text}");
    listen.wait_for("the graceful end", SOON, |text| text.contains(r#""event":"closed""#))?;
    capture.check(&wires)
}
