//! `usctp ping` between hosts of two links: what it prints, and what it makes of a link that is cut.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use support::ours::{SOON, program};
use support::peer::Peer;
use support::suite::{Outcome, Suite};
use support::topology::{Family, Topology};
use usctp::lab::Lab;

fn main() -> ExitCode {
    let mut suite = Suite::enter("ping");
    // Most of it is waiting.
    suite.at_a_time = 4;
    for (name, family) in [("ipv4", Family::V4), ("ipv6", Family::V6)] {
        suite.in_lab(format!("every_address_answers_over_{name}"), move |lab| all(lab, family));
    }
    suite.in_lab("an_address_that_was_not_listed_is_pinged_too", learned);
    suite.in_lab("a_cut_link_loses_on_its_path_only_and_answers_again_when_restored", cut);
    suite.in_lab("who_does_not_listen_refuses_with_status_3", refused);
    suite.in_lab("a_silent_address_times_out_with_status_4", silent);
    suite.run()
}

const PORT: &str = "3868";

/// A listener in the second host.
fn listen(hosts: &Topology) -> Outcome<Peer> {
    let arguments = ["listen", "--port", PORT, "--mode", "discard", "--json"];
    let listener = Peer::start(&hosts.theirs, program(), &arguments)?;
    listener.wait_for("that it listens", SOON, |text| text.contains("\"listening\""))?;
    Ok(listener)
}

/// The addresses of the second host, in the order of the links.
fn addresses(hosts: &Topology) -> Vec<String> {
    hosts.their_addresses(0).iter().map(|address| address.ip().to_string()).collect()
}

/// A ping in the first host of these addresses.
fn ping(hosts: &Topology, addresses: &[String], arguments: &[&str]) -> Outcome<Peer> {
    let mut words = vec!["ping", "--port", PORT];
    words.extend(arguments);
    words.extend(addresses.iter().map(String::as_str));
    Peer::start(&hosts.ours, program(), &words)
}

/// Its lines, each of which must be JSON.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The lines of a kind about an address.
fn about<'a>(lines: &'a [Value], event: &str, address: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event && line["address"] == address).collect()
}

fn all(lab: &Lab, family: Family) -> Outcome<()> {
    let hosts = Topology::new(lab, family, 2)?;
    let _listener = listen(&hosts)?;
    let addresses = addresses(&hosts);
    let arguments = ["--count", "3", "--interval", "0.05", "--json"];
    let (status, text) = ping(&hosts, &addresses, &arguments)?.wait(SOON)?;
    assert_eq!(status.code(), Some(0), "{text}");
    let lines = lines(&text);
    for address in &addresses {
        let pongs = about(&lines, "pong", address);
        let numbers: Vec<&Value> = pongs.iter().map(|pong| &pong["seq"]).collect();
        assert_eq!(numbers, [1, 2, 3], "{text}");
        let trips: Vec<f64> = pongs.iter().map(|pong| pong["rtt_ms"].as_f64().unwrap()).collect();
        assert!(trips.iter().all(|trip| (0.0..10_000.0).contains(trip)), "{text}");
        assert!(pongs.iter().all(|pong| pong["state"] == "active"), "{text}");
        let sum = about(&lines, "ping_summary", address);
        assert_eq!(sum.len(), 1, "{text}");
        assert_eq!((&sum[0]["sent"], &sum[0]["received"]), (&3.into(), &3.into()));
        assert_eq!(sum[0]["loss_percent"], 0.0);
        let of = |name: &str| sum[0][name].as_f64().unwrap();
        let least = trips.iter().copied().fold(f64::MAX, f64::min);
        assert_eq!(of("min_ms"), least, "{text}");
        assert!(of("min_ms") <= of("mean_ms") && of("mean_ms") <= of("max_ms"), "{text}");
    }
    Ok(())
}

fn learned(lab: &Lab) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 2)?;
    let _listener = listen(&hosts)?;
    let addresses = addresses(&hosts);
    let arguments = ["--count", "1", "--interval", "0.05"];
    let (status, text) = ping(&hosts, &addresses[..1], &arguments)?.wait(SOON)?;
    assert_eq!(status.code(), Some(0), "{text}");
    // As text: a line for each answer, and one that sums each path up.
    for address in &addresses {
        let about: Vec<&str> =
            text.lines().filter(|line| line.starts_with(&format!("{address}: "))).collect();
        assert_eq!(about.len(), 2, "{text}");
        assert!(about[0].contains("seq 1, ") && about[0].ends_with(" ms, active"), "{text}");
        assert!(about[1].contains("1 sent, 1 answered, 0 % lost"), "{text}");
    }
    Ok(())
}

fn cut(lab: &Lab) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 2)?;
    let _listener = listen(&hosts)?;
    let addresses = addresses(&hosts);
    let mut ping = ping(&hosts, &addresses, &["--interval", "0.1", "--json"])?;
    let (kept, lost) = (addresses[0].as_str(), addresses[1].as_str());
    // A line may be there in part only; a whole one ends.
    let seen = |text: &str, event: &str, address: &str| {
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        about(&lines(whole), event, address).len()
    };
    ping.wait_for("answers of both", SOON, |text| {
        seen(text, "pong", kept) > 0 && seen(text, "pong", lost) > 0
    })?;
    hosts.links[1].cut()?;
    let text = ping.wait_for("a loss", SOON, |text| seen(text, "lost", lost) > 0)?;
    let before = seen(&text, "pong", lost);
    hosts.links[1].restore()?;
    ping.wait_for("answers again", SOON, |text| seen(text, "pong", lost) > before)?;
    ping.interrupt()?;
    let (status, text) = ping.wait(SOON)?;
    assert_eq!(status.code(), Some(130), "{text}");
    let lines = lines(&text);
    assert!(about(&lines, "lost", kept).is_empty(), "{text}");
    for address in [kept, lost] {
        let (pongs, losses) = (about(&lines, "pong", address), about(&lines, "lost", address));
        let sum = about(&lines, "ping_summary", address)[0];
        assert_eq!(sum["received"], pongs.len(), "{text}");
        assert_eq!(sum["sent"], pongs.len() + losses.len(), "{text}");
        let percent = 100.0 * losses.len() as f64 / (pongs.len() + losses.len()) as f64;
        assert!((sum["loss_percent"].as_f64().unwrap() - percent).abs() < 0.01, "{text}");
    }
    Ok(())
}

fn refused(lab: &Lab) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 1)?;
    let listener = Peer::start(&hosts.theirs, program(), &["listen", "--port", "9", "--json"])?;
    listener.wait_for("that it listens", SOON, |text| text.contains("\"listening\""))?;
    let (status, text) = ping(&hosts, &addresses(&hosts), &["--json"])?.wait(SOON)?;
    assert_eq!(status.code(), Some(3), "{text}");
    assert!(lines(&text).iter().any(|line| line["event"] == "comm_lost"), "{text}");
    Ok(())
}

fn silent(lab: &Lab) -> Outcome<()> {
    let hosts = Topology::new(lab, Family::V4, 1)?;
    hosts.links[0].cut()?;
    let started = std::time::Instant::now();
    let (status, text) =
        ping(&hosts, &addresses(&hosts), &["--json", "--timeout", "0.5"])?.wait(SOON)?;
    assert_eq!(status.code(), Some(4), "{text}");
    assert!(started.elapsed() >= Duration::from_millis(500), "{text}");
    assert!(!text.contains("ping_summary"), "{text}");
    Ok(())
}
