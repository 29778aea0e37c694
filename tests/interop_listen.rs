//! usrsctp's own clients to our `listen`, in network namespaces, with tshark's word on every packet that we sent.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

mod support;

use std::process::ExitCode;

use support::ours::{Capture, Ours, SOON, Transport, program};
use support::peer::{Peer, usrsctp};
use support::suite::{Outcome, Suite};
use support::topology::{COMBINATIONS, Family, Topology};
use usctp::lab::Lab;
use usctp::{Association, Message};

fn main() -> ExitCode {
    let mut suite = Suite::enter("interop_listen");
    for (name, family, transport) in COMBINATIONS {
        suite.with_program(format!("client_is_echoed_over_{name}"), "client", move |lab| {
            client(lab, family, transport)
        });
        suite.with_program(
            format!("client_talks_to_our_program_over_{name}"),
            "client",
            move |lab| client_to_program(lab, family, transport),
        );
    }
    // tsctp has no IPv6.
    for (name, transport) in [("ipv4", Transport::Raw), ("udp_ipv4", Transport::Udp)] {
        for (what, options, length) in TSCTP {
            let name = format!("tsctp_sends_{what}_over_{name}");
            suite.with_program(name, "tsctp", move |lab| tsctp(lab, transport, options, length));
        }
    }
    suite.run()
}

/// What tsctp is to send: a name, options, and the length of its messages.
const TSCTP: [(&str, &[&str], usize); 4] = [
    ("short_messages", &["-n", "5000", "-l", "1"], 1),
    ("messages_that_fit_a_packet", &["-n", "20000", "-l", "1400"], 1400),
    ("fragmented_messages", &["-n", "1000", "-l", "65536"], 65_536),
    ("unordered_messages", &["-n", "20000", "-l", "1400", "-u"], 1400),
];

/// usrsctp's `client` with our first address, and the UDP ports on both sides where it is to encapsulate.
fn start_client(hosts: &Topology, transport: Transport) -> Outcome<Peer> {
    let path = usrsctp("client").ok_or("the program is not there")?;
    let ours = hosts.our_addresses()[0].to_string();
    let mut arguments = vec![ours.as_str(), "5000", "0"];
    arguments.extend(transport.server_arguments());
    Peer::start(&hosts.theirs, &path, &arguments)
}

/// Says two things, sees both returned, and closes.
fn converse(client: &mut Peer) -> Outcome<()> {
    client.wait_for("that it is connected", SOON, |text| text.contains("SCTP_COMM_UP"))?;
    client.write(b"hello\n")?;
    client.wait_for("the echo", SOON, |text| text.contains("hello\n"))?;
    let long = "x".repeat(4000);
    client.write(format!("{long}\n").as_bytes())?;
    client.wait_for("the long echo", SOON, |text| text.contains(&long))?;
    client.end_input();
    let (status, text) = client.wait(SOON)?;
    assert!(status.success(), "{text}");
    assert!(text.contains("SCTP_SHUTDOWN_COMP"), "{text}");
    Ok(())
}

fn client(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 1)?;
    let ours = Ours::open(&hosts, transport, 5000)?;
    ours.listen()?;
    let mut client = start_client(&hosts, transport)?;
    let association = ours.accept()?;
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| echo(&association));
        converse(&mut client)?;
        echo.join().expect("the echo does not panic")
    })?;
    ours.close_and_check(&hosts)
}

fn echo(association: &Association) -> Outcome<()> {
    while let Some(received) = association.recv_timeout(SOON)? {
        let mut message = Message::new(received.stream.0, received.payload);
        message.ppid = received.ppid;
        association.send(message)?;
    }
    Ok(())
}

fn client_to_program(lab: &Lab, family: Family, transport: Transport) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 1)?;
    let mut arguments = vec!["listen", "--port", "5000", "--mode", "echo", "--max", "1", "--json"];
    if transport.is_udp() {
        arguments.push("--udp");
    }
    let capture = Capture::new();
    let file = capture.path().display().to_string();
    arguments.extend(["--pcap", &file]);
    let mut listen = Peer::start(&hosts.ours, program(), &arguments)?;
    listen.wait_for("that it listens", SOON, |text| text.contains("\"listening\""))?;
    converse(&mut start_client(&hosts, transport)?)?;
    let (status, text) = listen.wait(SOON)?;
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(text.contains("\"comm_up\"") && text.contains("\"closed\""), "{text}");
    capture.check(&hosts)
}

fn tsctp(lab: &Lab, transport: Transport, options: &[&str], length: usize) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 1)?;
    let ours = Ours::open(&hosts, transport, 5001)?;
    ours.listen()?;
    let path = usrsctp("tsctp").ok_or("the program is not there")?;
    let peer = hosts.our_addresses()[0].to_string();
    let mut arguments = options.to_vec();
    if transport.is_udp() {
        arguments.extend(["-E", "9899", "-U", "9899"]);
    }
    arguments.push(&peer);
    let mut client = Peer::start(&hosts.theirs, &path, &arguments)?;
    let association = ours.accept()?;
    let mut messages = 0_u64;
    while let Some(message) = association.recv_timeout(SOON)? {
        assert_eq!(message.payload.len(), length);
        assert_eq!(message.unordered, options.contains(&"-u"));
        messages += 1;
    }
    let expected: u64 = options[1].parse()?;
    assert_eq!(messages, expected);
    let (_, text) = client.wait(SOON)?;
    assert!(
        text.contains(&format!("Sending of {messages} messages of length {length} took")),
        "{text}"
    );
    ours.close_and_check(&hosts)
}
