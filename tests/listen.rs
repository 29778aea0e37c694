//! `usctp listen` that is to end: promptly, whatever its peers do.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::ours::{SOON, program};
use support::peer::Peer;
use support::suite::{Outcome, Suite};
use support::topology::{Family, Topology};
use usctp::lab::Lab;

fn main() -> ExitCode {
    let mut suite = Suite::enter("listen");
    suite.in_lab("sigterm_ends_it_at_once_where_the_peers_answer", |lab| ends(lab, Silence::None));
    suite.in_lab("sigterm_ends_it_within_the_bound_if_a_peer_is_dead", |lab| {
        ends(lab, Silence::Dead)
    });
    suite.in_lab("sigterm_ends_it_within_the_bound_if_a_peer_takes_nothing_more", |lab| {
        ends(lab, Silence::TakesNothing)
    });
    suite.in_lab("sigterm_ends_it_within_the_bound_if_nobody_reads_what_it_prints", unread);
    suite.run()
}

/// How the peer fails to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// It does not.
    None,
    /// Its host is cut off.
    Dead,
    /// It is stopped in the middle of what it is sent.
    TakesNothing,
}

const PORT: &str = "3868";

fn unread(lab: &Lab) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 1)?;
    let mut listen = Command::new(program());
    listen.args(["listen", "--port", PORT, "--close-within", "1"]);
    listen.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut listener = hosts.theirs.start(listen)?;
    let mut said = BufReader::new(listener.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("listening")));
    let address = hosts.their_addresses(0)[0].ip().to_string();
    let words = ["connect", "--port", PORT, &address, "--json", "--count", "100000000"];
    let client = Peer::start(&hosts.ours, program(), &words)?;
    client.wait_for("that it is connected", SOON, |text| text.contains("\"comm_up\""))?;
    // Many times what the pipe holds has come by then.
    std::thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(listener.id().try_into()?), Signal::SIGTERM)?;
    let asked = Instant::now();
    while listener.try_wait()?.is_none() {
        if asked.elapsed() > SOON {
            listener.kill()?;
            return Err("it does not end".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(listener.wait()?.code(), Some(130));
    Ok(())
}

fn ends(lab: &Lab, silence: Silence) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 1)?;
    let arguments = ["listen", "--port", PORT, "--mode", "echo", "--close-within", "1", "--json"];
    let mut listener = Peer::start(&hosts.theirs, program(), &arguments)?;
    listener.wait_for("that it listens", SOON, |text| text.contains("\"listening\""))?;
    let address = hosts.their_addresses(0)[0].ip().to_string();
    let mut words = vec!["connect", "--port", PORT, &address, "--json"];
    // What is sent comes back, and there is no end of it.
    if silence == Silence::TakesNothing {
        words.extend(["--count", "100000000"]);
    }
    let client = Peer::start(&hosts.ours, program(), &words)?;
    client.wait_for("that it is connected", SOON, |text| text.contains("\"comm_up\""))?;
    if silence == Silence::TakesNothing {
        client.wait_for("an answer", SOON, |text| text.contains("\"message\""))?;
        client.signal(Signal::SIGSTOP)?;
    }
    listener.wait_for("that it is connected", SOON, |text| text.contains("\"comm_up\""))?;
    if silence == Silence::Dead {
        hosts.links[0].cut()?;
    }
    let asked = Instant::now();
    listener.signal(Signal::SIGTERM)?;
    let (status, text) = listener.wait(SOON)?;
    let expected = if silence == Silence::None { 0 } else { 130 };
    assert_eq!(status.code(), Some(expected), "{text}");
    match silence {
        Silence::None => assert!(text.contains("\"closed\""), "{text}"),
        _ => {
            assert!(asked.elapsed() >= Duration::from_secs(1), "it tried");
            assert!(text.contains("\"comm_lost\""), "and told: {text}");
        }
    }
    Ok(())
}
