//! Two addresses on each side against a Linux kernel's SCTP, both ways: every byte, dead addresses, links that are cut
//! under load, what each side lists, and how associations end; with tshark's word on every packet that we sent.
//!
//! Linux 7.2 does here what its sources of 6.18 promise: connectx moves on at T1-init, drops what an INIT ACK omits, and
//! answers a crossing INIT without a second association. `sctp_darn` is what surprises: it prints one byte less than came.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

#[path = "interop_linux/shared.rs"]
mod shared;
mod support;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::linux::{Guest, Guests, Wires};
use support::ours::{Ours, SOON, Transport};
use support::payload::{LENGTHS, PPID, pattern};
use support::peer::Peer;
use support::suite::{Outcome, Suite};
use support::topology::{COMBINATIONS, Ends};
use usctp::{
    AddressChange, Association, AssociationState, Error, Event, LostReason, Message, MovedOn,
    Options, PathState, RemovedReason, Role,
};

fn main() -> ExitCode {
    let mut suite = Suite::enter("interop_linux");
    // Each has a guest of its own; nearly all of it is waiting for time-outs.
    suite.at_a_time = 3;
    let guests = Arc::new(Guests::default());
    let anywhere: [(&str, Test); 2] =
        [("echo_of_linux_returns_every_byte", echo), ("linux_is_echoed_by_us", echoed)];
    let over_ip: [(&str, Test); 12] = [
        ("sctp_darn_prints_what_we_send", to_sctp_darn),
        ("sctp_test_sends_what_we_expect", from_sctp_test),
        ("we_leave_and_drop_a_dead_first_address", dead_first),
        ("linux_leaves_and_drops_a_dead_first_address", dead_first_of_linux),
        ("we_drop_what_the_init_ack_of_linux_omits", omitted_by_linux),
        ("linux_drops_what_our_init_ack_omits", omitted_by_us),
        ("a_link_cut_under_our_load_loses_nothing", cut_ours),
        ("a_link_cut_under_the_load_of_linux_loses_nothing", cut_theirs),
        ("both_close_gracefully", close),
        ("each_hears_of_the_abort_of_the_other", abort),
        ("inits_that_cross_make_one_association", collision),
        ("both_find_the_second_path_before_it_is_needed", confirmation),
    ];
    let mut add = |what: &str, (name, family, transport), test: Test| {
        let name = format!("{what}_over_{name}");
        suite.with_linux(name, &guests, move |guest| test(guest, Wires(family), transport));
    };
    for combination in COMBINATIONS {
        for (what, test) in anywhere {
            add(what, combination, test);
        }
        if combination.2 == Transport::Raw {
            for (what, test) in over_ip {
                add(what, combination, test);
            }
        }
    }
    shared::add_to(&mut suite, &guests);
    suite.run()
}

type Test = fn(&Guest, Wires, Transport) -> Outcome<()>;

/// What the guest's kernel is set to as well.
fn options() -> Options {
    let mut options = Options::default();
    options.rto.min = Duration::from_millis(200);
    options.rto.max = Duration::from_millis(500);
    options.rto.initial = Duration::from_millis(500);
    options.retransmission.path_max = 2;
    options.sack.delay = Duration::from_millis(200);
    options.heartbeat.interval = Some(Duration::from_millis(500));
    options
}

/// Opens our side.
fn open(guest: &Guest, wires: Wires, transport: Transport, port: u16) -> Outcome<Ours> {
    use_udp(guest, transport)?;
    Ours::open_with(&wires, transport, port, options())
}

/// Lets the guest's kernel encapsulate in UDP, where we do.
fn use_udp(guest: &Guest, transport: Transport) -> Outcome<()> {
    if transport.is_udp() {
        guest.run("sysctl -qw net.sctp.udp_port=9899 net.sctp.encap_port=9899")?;
    }
    Ok(())
}

/// The guest's application on both of its addresses, as soon as it listens.
fn serve(guest: &Guest, wires: Wires, mode: &str, rest: &str) -> Outcome<Peer> {
    let [first, second] = [wires.theirs(1), wires.theirs(2)];
    let peer =
        guest.start(&format!("peer.py {mode} 5000 --local {first} --local {second} {rest}"))?;
    peer.wait_for("that it listens", SOON, |text| text.contains("listening"))?;
    Ok(peer)
}

/// The guest's application from both of its addresses to these of ours.
fn start(guest: &Guest, wires: Wires, mode: &str, ours: &[IpAddr], rest: &str) -> Outcome<Peer> {
    let [first, second] = [wires.theirs(1), wires.theirs(2)];
    let ours: Vec<String> = ours.iter().map(IpAddr::to_string).collect();
    let ours = ours.join(" ");
    guest.start(&format!("peer.py {mode} 5000 {ours} --local {first} --local {second} {rest}"))
}

/// Returns what comes until the peer closes; how many messages.
fn return_all(association: &Association) -> Outcome<usize> {
    let mut messages = 0;
    while let Some(received) = association.recv_timeout(SOON)? {
        let mut message = Message::new(received.stream.0, received.payload);
        (message.ppid, message.unordered) = (received.ppid, received.unordered);
        association.send(message)?;
        messages += 1;
    }
    Ok(messages)
}

/// Sends numbered messages and sees them returned.
fn exchange(association: &Association, numbers: std::ops::Range<u64>) -> Outcome<()> {
    for number in numbers {
        let sent = pattern(number, 1 + (number as usize * 97) % 5000);
        association.send_timeout(Message::new(0, sent.clone()).ppid(PPID), SOON)?;
        let returned = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
        assert!(returned.payload == sent, "message {number}");
    }
    Ok(())
}

/// The addresses that the guest's kernel has for its only association: its own, and the peer's.
fn listed(guest: &Guest) -> Outcome<(Vec<IpAddr>, Vec<IpAddr>)> {
    let text = guest.run("cat /proc/net/sctp/assocs")?;
    let line = text.lines().nth(1).ok_or("the guest has no association")?;
    let (near, far) = line.split_once("<->").ok_or("no such table")?;
    // The primary address has a star.
    let addresses = |words: &str| {
        words
            .split_whitespace()
            .filter_map(|word| word.trim_start_matches('*').parse().ok())
            .collect()
    };
    Ok((addresses(near), addresses(far)))
}

/// Waits until the association has as many usable paths; an address listed by both sides is one from the beginning,
/// others once they are confirmed.
fn wait_for_paths(association: &Association, expected: usize) -> Outcome<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let paths = association.paths();
        if paths.iter().filter(|path| path.state == PathState::Active).count() == expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("not {expected} paths: {paths:?}").into());
        }
        sleep(Duration::from_millis(10));
    }
}

fn echo(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 0)?;
    let peer = serve(guest, wires, "echo", "")?;
    let association = ours.connect(&wires, 5000)?;
    for (number, length) in (0..).zip(LENGTHS) {
        let mut message = Message::new(number % 3, pattern(number.into(), length)).ppid(PPID);
        message.unordered = number % 5 == 4;
        association.send(message.clone())?;
        let returned = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
        assert_eq!(returned.payload, message.payload, "{length} bytes");
        assert_eq!((returned.stream, returned.ppid), (message.stream, message.ppid));
        assert_eq!(returned.unordered, message.unordered);
    }
    association.shutdown_timeout(SOON)?;
    peer.wait_for("the end", SOON, |text| text.contains("closed"))?;
    ours.close_and_check(&wires)
}

fn echoed(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 5000)?;
    ours.listen()?;
    let mut peer = start(guest, wires, "talk", &wires.our_addresses(), "--messages 60")?;
    let association = ours.accept()?;
    assert_eq!(return_all(&association)?, 60);
    let (_, text) = peer.wait(SOON)?;
    assert!(text.contains("talked"), "{text}");
    ours.close_and_check(&wires)
}

fn to_sctp_darn(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 0)?;
    let [first, second] = [wires.theirs(1), wires.theirs(2)];
    let darn = guest.start(&format!("sctp_darn -H {first} -B {second} -P 5000 -l -t"))?;
    darn.wait_for("that it listens", SOON, |text| text.contains("listening"))?;
    let association = ours.connect(&wires, 5000)?;
    for line in ["hello", "two addresses", "bye"] {
        association.send(Message::new(0, line))?;
    }
    // The program puts a zero in the place of the last byte before it prints.
    darn.wait_for("what we sent", SOON, |text| {
        ["DATA(5):  hell\n", "DATA(13):  two addresse\n", "DATA(3):  by\n"]
            .iter()
            .all(|line| text.contains(line))
    })?;
    association.shutdown_timeout(SOON)?;
    ours.close_and_check(&wires)
}

fn from_sctp_test(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    // Test case 4 of the program.
    const SENT: [usize; 10] = [1, 1000, 2000, 3000, 5000, 10_000, 15_000, 20_000, 25_000, 32_768];
    let ours = open(guest, wires, transport, 5000)?;
    ours.listen()?;
    let (first, second, peer) = (wires.theirs(1), wires.theirs(2), wires.ours(1));
    let command =
        format!("sctp_test -H {first} -B {second} -P 6000 -h {peer} -p 5000 -s -c 4 -x 10 -o 1 -T");
    let _program = guest.start(&command)?;
    let association = ours.accept()?;
    for length in SENT {
        let message = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
        assert_eq!(message.payload.len(), length);
        // Digits in turn, and a zero at the end.
        let digits = message.payload.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!(digits + 2 >= length * 9 / 10, "{length} bytes: {digits}");
    }
    while association.recv_timeout(SOON)?.is_some() {}
    ours.close_and_check(&wires)
}

/// An address on the first link that nobody has; frames to it reach no host.
fn nobody(wires: Wires) -> IpAddr {
    wires.address(1, 9)
}

fn dead_first(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 0)?;
    let _peer = serve(guest, wires, "echo", "")?;
    let dead = nobody(wires);
    guest.add_dead_neighbour(dead)?;
    let mut peers = vec![SocketAddr::new(dead, 5000)];
    peers.extend(wires.their_addresses(5000));
    let connecting = ours.connectx(&peers)?;
    let mut events = Vec::new();
    let association = loop {
        match connecting.event_timeout(SOON)? {
            Event::CommUp { .. } => break connecting.detach(),
            event => events.push(event),
        }
    };
    assert_eq!(events.first(), Some(&Event::Tried { peer: dead, attempt: 1 }));
    let moved_on = Event::MovedOn { peer: dead, reason: MovedOn::Timeout };
    assert!(events.contains(&moved_on), "{events:?}");
    wait_for_removal(&association, &mut events, dead)?;
    let (_, known) = listed(guest)?;
    assert_eq!(known, wires.our_addresses());
    exchange(&association, 0..20)?;
    association.shutdown_timeout(SOON)?;
    ours.close_and_check(&wires)
}

fn wait_for_removal(
    association: &Association,
    events: &mut Vec<Event>,
    peer: IpAddr,
) -> Outcome<()> {
    let change = AddressChange::Removed(RemovedReason::NotInInitAck);
    let removed = Event::PeerAddressChange { peer, change };
    while !events.contains(&removed) {
        events.push(association.event_timeout(SOON)?);
    }
    assert!(association.paths().iter().all(|path| path.peer != peer));
    Ok(())
}

fn dead_first_of_linux(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 5000)?;
    ours.listen()?;
    let dead = nobody(wires);
    // To the guest's kernel a neighbour that does not answer is a local error.
    guest.run(&format!(
        "ip neigh replace {dead} lladdr 02:00:00:00:00:00 dev link1 nud permanent"
    ))?;
    let begun = Instant::now();
    let listed_by_user = [dead, wires.ours(1), wires.ours(2)];
    let mut peer = start(guest, wires, "talk", &listed_by_user, "--messages 40 --interval 0.02")?;
    let association = ours.accept()?;
    assert!(begun.elapsed() >= Duration::from_millis(450), "it waits for T1-init (500 ms)");
    // What the user listed and our INIT ACK does not is no longer there.
    let (near, far) = listed(guest)?;
    assert_eq!(near, [wires.theirs(1), wires.theirs(2)]);
    assert_eq!(far, wires.our_addresses());
    assert_eq!(return_all(&association)?, 40);
    let (_, text) = peer.wait(SOON)?;
    assert!(text.contains("talked"), "{text}");
    ours.close_and_check(&wires)
}

fn omitted_by_linux(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 0)?;
    let first = wires.theirs(1);
    let peer = guest.start(&format!("peer.py echo 5000 --local {first}"))?;
    peer.wait_for("that it listens", SOON, |text| text.contains("listening"))?;
    let association = ours.connect(&wires, 5000)?;
    wait_for_removal(&association, &mut Vec::new(), wires.theirs(2))?;
    let (near, far) = listed(guest)?;
    assert_eq!(near, [first]);
    assert_eq!(far, wires.our_addresses());
    exchange(&association, 0..20)?;
    association.shutdown_timeout(SOON)?;
    ours.close_and_check(&wires)
}

fn omitted_by_us(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = Ours::open_on(&[wires.ours(2)], transport, 5000, options())?;
    ours.listen()?;
    let rest = "--messages 40 --interval 0.02";
    let mut peer = start(guest, wires, "talk", &wires.our_addresses(), rest)?;
    let association = ours.accept()?;
    // The first address is known to the kernel until the INIT ACK comes.
    let (_, far) = listed(guest)?;
    assert_eq!(far, [wires.ours(2)]);
    assert_eq!(return_all(&association)?, 40);
    let (_, text) = peer.wait(SOON)?;
    assert!(text.contains("talked"), "{text}");
    ours.close_and_check(&wires)
}

/// What is sent while a link is cut, and how long each message is.
const LOAD: u64 = 8_000;
const LENGTH: usize = 1200;

fn cut_ours(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 0)?;
    let peer = serve(guest, wires, "take", "--end wait")?;
    let association = ours.connect(&wires, 5000)?;
    wait_for_paths(&association, 2)?;
    for number in 0..LOAD {
        // The send buffer holds few of them: the link is cut under load, and comes back under load.
        match number {
            2_000 => guest.cut(1)?,
            6_000 => guest.restore(1)?,
            _ => {}
        }
        association.send_timeout(Message::new(0, pattern(number, LENGTH)).ppid(PPID), SOON)?;
    }
    association.shutdown_timeout(SOON)?;
    let took = format!("took {LOAD} messages, {} bytes\nclosed", LOAD * LENGTH as u64);
    peer.wait_for("that it took everything", SOON, |text| text.contains(&took))?;
    ours.close_and_check(&wires)
}

fn cut_theirs(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 5000)?;
    ours.listen()?;
    let rest = format!("--messages {LOAD} --length {LENGTH}");
    let mut peer = start(guest, wires, "send", &wires.our_addresses(), &rest)?;
    let association = ours.accept()?;
    for number in 0..LOAD {
        match number {
            2_000 => guest.cut(1)?,
            6_000 => guest.restore(1)?,
            _ => {}
        }
        let message = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
        assert!(message.payload == pattern(number, LENGTH), "message {number}");
    }
    assert!(association.recv_timeout(SOON)?.is_none(), "the peer closes gracefully");
    peer.wait(SOON)?;
    ours.close_and_check(&wires)
}

fn close(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 5000)?;
    ours.listen()?;
    // Theirs: what was sent before the close arrives before the end.
    let mut peer = start(guest, wires, "send", &wires.our_addresses(), "--messages 50")?;
    let association = ours.accept()?;
    for number in 0..50 {
        let message = association.recv_timeout(SOON)?.ok_or("the peer closed early")?;
        assert!(message.payload == pattern(number, 1 + number as usize * 97 % 5000));
    }
    assert!(association.recv_timeout(SOON)?.is_none());
    peer.wait(SOON)?;
    // Ours.
    let peer = serve(guest, wires, "take", "--end wait")?;
    let association = ours.connect(&wires, 5000)?;
    for number in 0..50 {
        association.send(Message::new(0, pattern(number, 3000)).ppid(PPID))?;
    }
    association.shutdown_timeout(SOON)?;
    peer.wait_for("the end", SOON, |text| text.contains("took 50 messages, 150000 bytes\nclosed"))?;
    let text = guest.run("cat /proc/net/sctp/assocs")?;
    assert_eq!(text.lines().count(), 1, "nothing is left in the guest: {text}");
    ours.close_and_check(&wires)
}

fn abort(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 5000)?;
    ours.listen()?;
    let rest = "--messages 1 --end abort";
    let mut peer = start(guest, wires, "talk", &wires.our_addresses(), rest)?;
    let association = ours.accept()?;
    let message = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
    association.send(Message::new(message.stream.0, message.payload))?;
    // What it aborts with must have come back to it.
    let end = association.recv_timeout(SOON).expect_err("the peer aborts");
    assert!(matches!(end, Error::Lost(LostReason::PeerAborted { .. })), "{end:?}");
    peer.wait(SOON)?;
    // Ours.
    let peer = serve(guest, wires, "take", "--end wait")?;
    let association = ours.connect(&wires, 5000)?;
    peer.wait_for("that it is up", SOON, |text| text.contains("up"))?;
    association.abort("that is enough");
    peer.wait_for("that we aborted", SOON, |text| text.contains("aborted: ECONNRESET"))?;
    ours.close_and_check(&wires)
}

/// Both INITs are lost, so that each side is in COOKIE-WAIT when it hears that of the other (RFC 9260, 5.2.1).
fn collision(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 5000)?;
    ours.listen()?;
    guest.cut(1)?;
    guest.cut(2)?;
    let peer = start(guest, wires, "meet", &wires.our_addresses(), "--end wait")?;
    let deadline = Instant::now() + SOON;
    while listed(guest).is_err() {
        assert!(Instant::now() < deadline, "the guest does not connect");
        sleep(Duration::from_millis(10));
    }
    let mut connecting = ours.connectx(&wires.their_addresses(5000))?;
    assert!(matches!(connecting.event_timeout(SOON)?, Event::Tried { attempt: 1, .. }));
    guest.restore(1)?;
    guest.restore(2)?;
    let association = connecting.wait_timeout(SOON)?;
    assert_eq!(association.role(), Role::Active, "it is the association that we asked for");
    peer.wait_for("that it is up", SOON, |text| text.contains("up"))?;
    assert_eq!(guest.run("cat /proc/net/sctp/assocs")?.lines().count(), 2, "a heading and one");
    for number in 0..100 {
        association.send(Message::new(0, pattern(number, 100)).ppid(PPID))?;
    }
    association.shutdown_timeout(SOON)?;
    peer.wait_for("all", SOON, |text| text.contains("took 100 messages, 10000 bytes\nclosed"))?;
    ours.close_and_check(&wires)
}

/// RFC 9260, 5.4: addresses that only the peer named are verified with a HEARTBEAT, by both sides.
fn confirmation(guest: &Guest, wires: Wires, transport: Transport) -> Outcome<()> {
    let ours = open(guest, wires, transport, 0)?;
    let _peer = serve(guest, wires, "echo", "")?;
    let mut connecting = ours.connectx(&wires.their_addresses(5000)[..1])?;
    let association = connecting.wait_timeout(SOON)?;
    assert_eq!(association.state(), AssociationState::Established);
    wait_for_paths(&association, 2)?;
    // The kernel tells 2 of an address that it has confirmed and 3 of one that it has not.
    let deadline = Instant::now() + SOON;
    loop {
        let text = guest.run("cat /proc/net/sctp/remaddr")?;
        let states: Vec<&str> =
            text.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
        if states == ["2", "2"] {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
        sleep(Duration::from_millis(50));
    }
    // Neither side needs to hear of it: the first link may die now.
    guest.cut(1)?;
    exchange(&association, 0..20)?;
    association.shutdown_timeout(SOON)?;
    ours.close_and_check(&wires)
}
