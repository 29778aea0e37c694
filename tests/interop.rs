//! Our `connect` to usrsctp's own servers, in network namespaces, with tshark's word on every packet that we sent.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use support::ours::{Capture, Ours, SOON, Transport, program};
use support::payload::{LENGTHS, PPID, pattern};
use support::peer::{Peer, usrsctp};
use support::suite::{Outcome, Suite};
use support::topology::{COMBINATIONS, Family, Topology};
use usctp::lab::Lab;
use usctp::{Association, Message};

fn main() -> ExitCode {
    let mut suite = Suite::enter("interop");
    let tests: [(&str, &str, Test); 5] = [
        ("discard_server", "discard_server_takes_what_we_send", discard),
        ("echo_server", "echo_server_returns_every_byte", echo),
        ("echo_server", "echo_server_returns_many_megabytes", echo_much),
        ("echo_server", "our_program_talks_to_echo_server", program_to_echo),
        ("chargen_server_upcall", "chargen_server_sends_its_pattern", chargen),
    ];
    for (name, family, transport) in COMBINATIONS {
        for (program, what, test) in tests {
            let test = move |lab: &Lab| test(lab, family, transport);
            suite.with_program(format!("{what}_over_{name}"), program, test);
        }
    }
    // These two programs have no IPv6.
    for transport in [Transport::Raw, Transport::Udp] {
        let name = if transport.is_udp() { "udp_ipv4" } else { "ipv4" };
        suite.with_program(format!("tsctp_takes_what_we_send_over_{name}"), "tsctp", move |lab| {
            tsctp(lab, transport)
        });
    }
    suite.with_program("usrsctp_beside_us_is_left_alone", "discard_server", beside);
    // daytime_server is without UDP encapsulation too.
    suite.with_program("daytime_server_tells_the_time_and_closes", "daytime_server", daytime);
    suite.run()
}

type Test = fn(&Lab, Family, Transport) -> Outcome<()>;

fn serve(hosts: &Topology, program: &str, transport: Transport) -> Outcome<Peer> {
    let path = usrsctp(program).ok_or("the program is not there")?;
    Peer::serve(&hosts.theirs, &path, transport.server_arguments(), transport.is_udp())
}

/// A process of ours on usrsctp's own host does not answer in its name, whichever of the two came first.
fn beside(lab: &Lab) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 1)?;
    let listen = |port| -> Outcome<Peer> {
        let listen = Peer::start(&hosts.theirs, program(), &["listen", "--port", port, "--json"])?;
        listen.wait_for("that it listens", SOON, |text| text.contains("listening"))?;
        Ok(listen)
    };
    let _before = listen("5001")?;
    let _server = serve(&hosts, "discard_server", Transport::Raw)?;
    let _after = listen("5002")?;
    let ours = Ours::open(&hosts, Transport::Raw, 0)?;
    let association = ours.connect(&hosts, 9)?;
    association.send(Message::new(0, pattern(1, 1_000)).ppid(PPID))?;
    association.shutdown()?;
    ours.close_and_check(&hosts)
}

/// usrsctp's servers read with a buffer of this many bytes; what is longer comes to them in pieces.
const BUFFER: usize = 10_240;

fn discard(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 1)?;
    let server = serve(&hosts, "discard_server", transport)?;
    let ours = Ours::open(&hosts, transport, 0)?;
    let association = ours.connect(&hosts, 9)?;
    for (number, length) in (0..).zip(LENGTHS) {
        association.send(Message::new(number % 3, pattern(number.into(), length)).ppid(PPID))?;
    }
    association.shutdown()?;
    let lines = |text: &str| text.lines().filter(|line| line.starts_with("Msg of length")).count();
    let expected: Vec<(usize, usize)> = LENGTHS.iter().flat_map(|&length| pieces(length)).collect();
    let text =
        server.wait_for("a line for each piece", SOON, |text| lines(text) == expected.len())?;
    // Three streams: what is on one is in order, so that the lengths are the same but for their order.
    let mut reported: Vec<(usize, usize)> = text.lines().filter_map(reported).collect();
    let mut expected = expected;
    reported.sort_unstable();
    expected.sort_unstable();
    assert_eq!(reported, expected);
    assert!(text.contains(&format!("PPID {PPID}, ")), "{text}");
    ours.close_and_check(&hosts)
}

/// The pieces of a message as the server reads it: their lengths, and whether each is the last one.
fn pieces(length: usize) -> Vec<(usize, usize)> {
    let last = (length - 1) % BUFFER + 1;
    let mut pieces = vec![(BUFFER, 0); (length - last) / BUFFER];
    pieces.push((last, 1));
    pieces
}

/// `Msg of length 1 received from ..., PPID 39, context 47, complete 1.`
fn reported(line: &str) -> Option<(usize, usize)> {
    let length = line.strip_prefix("Msg of length ")?.split(' ').next()?.parse().ok()?;
    let complete = line.strip_suffix('.')?.rsplit(' ').next()?.parse().ok()?;
    Some((length, complete))
}

fn echo(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 1)?;
    let _server = serve(&hosts, "echo_server", transport)?;
    let ours = Ours::open(&hosts, transport, 0)?;
    let association = ours.connect(&hosts, 7)?;
    for (number, length) in (0..).zip(LENGTHS) {
        let mut message = Message::new(number % 3, pattern(number.into(), length)).ppid(PPID);
        message.unordered = number % 5 == 4;
        association.send(message.clone())?;
        let returned = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
        // Of a message longer than its buffer the server returns the last piece.
        let from = (length - 1) / BUFFER * BUFFER;
        assert_eq!(returned.payload, message.payload.slice(from..), "{length} bytes");
        assert_eq!((returned.stream, returned.ppid), (message.stream, message.ppid));
        assert_eq!(returned.unordered, message.unordered);
    }
    association.shutdown()?;
    ours.close_and_check(&hosts)
}

fn echo_much(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    // tshark's word on each packet takes most of the time: 100 MB once, and a tenth of it where only the carrier differs.
    let bytes =
        if (family, transport) == (Family::V4, Transport::Raw) { 100_000_000 } else { 10_000_000 };
    let messages = bytes / BUFFER as u64 + 1;
    let hosts = Topology::new(lab, family, 1)?;
    let _server = serve(&hosts, "echo_server", transport)?;
    let ours = Ours::open(&hosts, transport, 0)?;
    let association = ours.connect(&hosts, 7)?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_numbered(&association, messages));
        for number in 0..messages {
            let returned = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
            assert!(returned.payload == pattern(number, BUFFER), "message {number}");
        }
        sender.join().expect("the sender does not panic")
    })?;
    association.shutdown()?;
    ours.close_and_check(&hosts)
}

/// The server echoes as it reads and reads on only when it could write: what is under way is kept well below
/// what its buffers (128 KiB each) and ours hold, or both ends would wait for the other for ever.
fn send_numbered(association: &Association, messages: u64) -> Outcome<()> {
    for number in 0..messages {
        association.send_timeout(Message::new(0, pattern(number, BUFFER)).ppid(PPID), SOON)?;
    }
    Ok(())
}

fn program_to_echo(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 1)?;
    let _server = serve(&hosts, "echo_server", transport)?;
    let peer = hosts.their_addresses(7)[0].ip().to_string();
    let mut arguments = vec!["connect", "--port", "7", &peer];
    if transport.is_udp() {
        arguments.insert(1, "--udp");
    }
    let capture = Capture::new();
    let file = capture.path().display().to_string();
    arguments.extend(["--pcap", &file]);
    let mut connect = Peer::start(&hosts.ours, program(), &arguments)?;
    connect.write(b"hello\n")?;
    connect.wait_for("the echo", SOON, |text| text.contains("hello\n"))?;
    connect.write(b"bye\n")?;
    connect.wait_for("the echo", SOON, |text| text.ends_with("bye\n"))?;
    connect.end_input();
    let (status, _) = connect.wait(SOON)?;
    assert_eq!(status.code(), Some(0));
    capture.check(&hosts)
}

fn chargen(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 1)?;
    let _server = serve(&hosts, "chargen_server_upcall", transport)?;
    let ours = Ours::open(&hosts, transport, 0)?;
    let association = ours.connect(&hosts, 19)?;
    // The server writes a line whenever something happens on the association, but not when it comes up.
    association.send(Message::new(0, "go").ppid(PPID))?;
    for line in 0..200_usize {
        let message = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
        let first = usize::from(message.payload[0] - b' ');
        let printable = (0..message.payload.len()).map(|at| b' ' + ((first + at) % 95) as u8);
        assert!(printable.eq(message.payload.iter().copied()), "line {line}: {message:?}");
    }
    association.shutdown()?;
    ours.close_and_check(&hosts)
}

fn tsctp(lab: &Lab, transport: Transport) -> Outcome<()> {
    const MESSAGES: u64 = 20_000;
    const LENGTH: usize = 1_000;
    let hosts = Topology::new(lab, Family::V4, 1)?;
    let path = usrsctp("tsctp").ok_or("the program is not there")?;
    let arguments: &[&str] = if transport.is_udp() { &["-E", "9899", "-U", "9899"] } else { &[] };
    let server = Peer::serve(&hosts.theirs, &path, arguments, transport.is_udp())?;
    let ours = Ours::open(&hosts, transport, 0)?;
    let association = ours.connect(&hosts, 5001)?;
    for number in 0..MESSAGES {
        association.send_timeout(Message::new(0, pattern(number, LENGTH)).ppid(PPID), SOON)?;
    }
    association.shutdown()?;
    // The length of the first message, messages, calls to receive, bytes, then times.
    let summary = format!("{LENGTH}, {MESSAGES}, {MESSAGES}, {}, ", MESSAGES * LENGTH as u64);
    server.wait_for("its count", SOON, |text| text.contains(&summary))?;
    ours.close_and_check(&hosts)
}

fn daytime(lab: &Lab) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 1)?;
    let _server = serve(&hosts, "daytime_server", Transport::Raw)?;
    let ours = Ours::open(&hosts, Transport::Raw, 0)?;
    let association = ours.connect(&hosts, 13)?;
    let message = association.recv_timeout(SOON)?.ok_or("the peer closed")?;
    let text = String::from_utf8(message.payload.to_vec())?;
    // `Sat Nov 21 12:57:04 2026`
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(matches!(words[..], [_, _, _, time, _] if time.split(':').count() == 3), "{text}");
    assert_eq!(message.ppid.0, 40, "the payload protocol identifier that the server gives");
    assert!(association.recv_timeout(SOON)?.is_none(), "the server closes gracefully");
    assert_eq!(association.recv_timeout(Duration::ZERO)?, None);
    ours.close_and_check(&hosts)
}
