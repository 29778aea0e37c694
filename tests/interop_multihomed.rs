//! Two addresses on each side, against usrsctp's own programs: a dead first address, a link that is cut, an answer from
//! an address that was not asked.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use support::ours::{Ours, SOON, Transport};
use support::payload::{PPID, pattern};
use support::peer::{Peer, usrsctp};
use support::suite::{Outcome, Suite};
use support::topology::{COMBINATIONS, Family, Topology};
use usctp::lab::Lab;
use usctp::{
    AddressChange, Association, Event, Message, MovedOn, Options, PathState, PathStatus,
    RemovedReason,
};

fn main() -> ExitCode {
    let mut suite = Suite::enter("interop_multihomed");
    // Nearly all of it is waiting for time-outs.
    suite.at_a_time = 6;
    for (name, family, transport) in COMBINATIONS {
        let add = |suite: &mut Suite, what: &str, program: &str, test: Test| {
            let name = format!("{what}_over_{name}");
            suite.with_program(name, program, move |lab| test(lab, family, transport));
        };
        add(&mut suite, "echo_goes_on_when_a_link_is_cut", "echo_server", cut);
        add(&mut suite, "a_dead_first_address_is_left_and_dropped", "echo_server", dead_first);
        add(&mut suite, "their_client_hears_of_both_our_addresses", "client", both_listed);
    }
    for (name, family, transport) in COMBINATIONS {
        let what = "a_link_cut_under_load_loses_nothing";
        suite.with_program(format!("{what}_over_{name}"), "echo_server", move |lab| {
            cut_under_load(lab, family, transport)
        });
    }
    // The sender that we compile has IPv4 only.
    suite.with_usrsctp_sender("a_link_cut_under_their_load_loses_nothing", their_load);
    suite.with_usrsctp_sender(
        "their_connectx_leaves_and_drops_a_dead_first_address",
        their_dead_first,
    );
    suite.run()
}

type Test = fn(&Lab, Family, Transport) -> Outcome<()>;

/// Shorter than RFC 9260 advises, so that a failover does not take a minute.
fn options() -> Options {
    let mut options = Options::default();
    options.rto.min = Duration::from_millis(200);
    options.rto.max = Duration::from_millis(500);
    options.rto.initial = Duration::from_millis(500);
    options.retransmission.path_max = 2;
    options.sack.delay = Duration::from_millis(50);
    options.heartbeat.interval = Some(Duration::from_millis(500));
    options
}

fn serve(hosts: &Topology, transport: Transport) -> Outcome<Peer> {
    let path = usrsctp("echo_server").ok_or("the program is not there")?;
    Peer::serve(&hosts.theirs, &path, transport.server_arguments(), transport.is_udp())
}

/// usrsctp keeps the parameters of RFC 9260: its own failover takes a while.
const PATIENCE: Duration = Duration::from_secs(90);

fn exchange(association: &Association, numbers: std::ops::Range<u64>) -> Outcome<()> {
    for number in numbers {
        let sent = pattern(number, 1 + (number as usize * 97) % 5000);
        association.send_timeout(Message::new(0, sent.clone()).ppid(PPID), PATIENCE)?;
        let returned = association.recv_timeout(PATIENCE)?.ok_or("the peer closed")?;
        assert!(returned.payload == sent, "message {number}");
    }
    Ok(())
}

fn cut(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 2)?;
    let _server = serve(&hosts, transport)?;
    let ours = Ours::open_with(&hosts, transport, 0, options())?;
    let association = ours.connect(&hosts, 7)?;
    exchange(&association, 0..200)?;
    hosts.links[0].cut()?;
    exchange(&association, 200..400)?;
    hosts.links[0].restore()?;
    exchange(&association, 400..600)?;
    association.shutdown_timeout(PATIENCE)?;
    ours.close_and_check(&hosts)
}

fn dead_first(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 2)?;
    let _server = serve(&hosts, transport)?;
    let ours = Ours::open_with(&hosts, transport, 0, options())?;
    let dead = match family {
        Family::V4 => "10.1.0.9".parse()?,
        Family::V6 => "fd00:1::9".parse()?,
    };
    hosts.links[0].near().add_dead_neighbour(dead)?;
    let mut peers = vec![SocketAddr::new(dead, 7)];
    peers.extend(hosts.their_addresses(7));
    let connecting = ours.connectx(&peers)?;
    let (mut events, begun) = (Vec::new(), Instant::now());
    let association = loop {
        assert!(begun.elapsed() < SOON, "{events:?}");
        match connecting.event_timeout(SOON)? {
            Event::CommUp { .. } => break connecting.detach(),
            event => events.push(event),
        }
    };
    assert_eq!(events.first(), Some(&Event::Tried { peer: dead, attempt: 1 }));
    assert!(
        events.contains(&Event::MovedOn { peer: dead, reason: MovedOn::Timeout }),
        "{events:?}"
    );
    let change = AddressChange::Removed(RemovedReason::NotInInitAck);
    let removed = Event::PeerAddressChange { peer: dead, change };
    while !events.contains(&removed) {
        events.push(association.event_timeout(SOON)?);
    }
    exchange(&association, 0..20)?;
    association.shutdown_timeout(PATIENCE)?;
    ours.close_and_check(&hosts)
}

fn both_listed(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 2)?;
    let ours = Ours::open_with(&hosts, transport, 5000, options())?;
    ours.listen()?;
    let path = usrsctp("client").ok_or("the program is not there")?;
    let [first, second] = hosts.our_addresses()[..] else { return Err("two links".into()) };
    let address = first.to_string();
    let mut arguments = vec![address.as_str(), "5000", "0"];
    arguments.extend(transport.server_arguments());
    let mut client = Peer::start(&hosts.theirs, &path, &arguments)?;
    let association = ours.accept()?;
    client.wait_for("that it is connected", SOON, |text| text.contains("SCTP_COMM_UP"))?;
    client.write(b"hello\n")?;
    let message = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
    assert_eq!(&message.payload[..5], b"hello");
    // Our second address has answered the client's HEARTBEAT with its nonce. Two threads of the client write at once,
    // so that the lines that say of which address are mixed; the first one was confirmed from the beginning.
    let text = client.wait_for("that an address is confirmed", SOON, |text| {
        text.contains("SCTP_ADDR_CONFIRMED") && text.contains(&second.to_string())
    })?;
    assert_eq!(text.matches("SCTP_ADDR_CONFIRMED").count(), 1, "{text}");
    client.end_input();
    assert!(association.recv_timeout(SOON)?.is_none(), "the client closes gracefully");
    client.wait(SOON)?;
    ours.close_and_check(&hosts)
}

/// What is sent while a link is cut.
const LOAD: u64 = 3_000;
/// The length of the compiled sender's messages.
const LENGTH: usize = 1200;

/// The server's own failover goes by RFC 9260's timers and takes a minute; the link comes back as soon as ours is done.
fn cut_under_load(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 2)?;
    let _server = serve(&hosts, transport)?;
    let ours = Ours::open_with(&hosts, transport, 0, options())?;
    let association = ours.connect(&hosts, 7)?;
    let first = hosts.their_addresses(7)[0].ip();
    let mend = || mend_when_inactive(&association, &hosts, first);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| -> Outcome<()> {
            for number in 0..LOAD {
                let message = Message::new(0, pattern(number, LENGTH)).ppid(PPID);
                association.send_timeout(message, PATIENCE)?;
            }
            Ok(())
        });
        let mut mender = None;
        for number in 0..LOAD {
            if number == 500 {
                hosts.links[0].cut()?;
                mender = Some(scope.spawn(mend));
            }
            let returned = association.recv_timeout(PATIENCE)?.ok_or("the peer closed")?;
            assert!(returned.payload == pattern(number, LENGTH), "message {number}");
        }
        let mender = mender.ok_or("the link was cut")?;
        mender.join().expect("mending does not panic")?;
        sender.join().expect("the sender does not panic")
    })?;
    association.shutdown_timeout(PATIENCE)?;
    ours.close_and_check(&hosts)
}

/// Restores the first link once we have given up the address on it.
fn mend_when_inactive(association: &Association, hosts: &Topology, first: IpAddr) -> Outcome<()> {
    let given_up = |path: &PathStatus| path.peer == first && path.state == PathState::Inactive;
    while !association.paths().iter().any(given_up) {
        association.event_timeout(PATIENCE)?;
    }
    Ok(hosts.links[0].restore()?)
}

/// Starts the sender with the timers of [`options`].
fn start_sender(
    hosts: &Topology,
    sender: &Path,
    messages: &str,
    peers: &[IpAddr],
) -> Outcome<Peer> {
    let peers: Vec<String> = peers.iter().map(IpAddr::to_string).collect();
    let mut arguments = vec!["5000", messages, "0", "200", "500", "500", "2", "500", "65535"];
    arguments.extend(peers.iter().map(String::as_str));
    Peer::start(&hosts.theirs, sender, &arguments)
}

fn their_load(lab: &Lab, sender: &Path) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 2)?;
    let ours = Ours::open_with(&hosts, Transport::Raw, 5000, options())?;
    ours.listen()?;
    let mut sender = start_sender(&hosts, sender, &LOAD.to_string(), &hosts.our_addresses())?;
    let association = ours.accept()?;
    for number in 0..LOAD {
        match number {
            500 => hosts.links[0].cut()?,
            2_000 => hosts.links[0].restore()?,
            _ => {}
        }
        let message = association.recv_timeout(PATIENCE)?.ok_or("the peer closed")?;
        assert!(message.payload == pattern(number, LENGTH), "message {number}");
    }
    assert!(association.recv_timeout(PATIENCE)?.is_none(), "the sender closes gracefully");
    let (status, text) = sender.wait(PATIENCE)?;
    assert!(status.success(), "{text}");
    ours.close_and_check(&hosts)
}

fn their_dead_first(lab: &Lab, sender: &Path) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 2)?;
    let ours = Ours::open_with(&hosts, Transport::Raw, 5000, options())?;
    ours.listen()?;
    let dead: IpAddr = "10.1.0.9".parse()?;
    hosts.links[0].far().add_dead_neighbour(dead)?;
    let mut peers = vec![dead];
    peers.extend(hosts.our_addresses());
    let mut sender = start_sender(&hosts, sender, "100", &peers)?;
    let association = ours.accept()?;
    for number in 0..100 {
        let message = association.recv_timeout(PATIENCE)?.ok_or("the peer closed")?;
        assert!(message.payload == pattern(number, LENGTH), "message {number}");
    }
    assert!(association.recv_timeout(PATIENCE)?.is_none(), "the sender closes gracefully");
    let (_, text) = sender.wait(PATIENCE)?;
    let mut listed: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("peer ")).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["10.1.0.1", "10.2.0.1"], "what it has once the association is up");
    ours.close_and_check(&hosts)
}
