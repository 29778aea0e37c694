//! `usctp perf`: the lines of its three modes, and that client and server count the same. Never how fast it is.

#![cfg(feature = "cli")]
#![expect(clippy::indexing_slicing, reason = "JSON that lacks a field is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use usctp::lab::Lab;

use support::ours::{Transport, program};
use support::peer::Peer;
use support::suite::{Outcome, Suite};
use support::topology::{Family, Topology};

/// Nothing in these tests takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut suite = Suite::enter("perf");
    suite.in_lab("bulk_over_raw_ip_counts_the_same_on_both_sides", |lab| {
        bulk(lab, Family::V4, Transport::Raw, &["--size", "1400"], 1400)
    });
    suite.in_lab("bulk_over_udp_on_several_streams_unordered_counts_the_same", |lab| {
        let arguments = ["--size", "3000", "--streams", "20", "--unordered"];
        bulk(lab, Family::V6, Transport::Udp, &arguments, 3000)
    });
    suite.in_lab("a_time_ends_a_bulk_transfer_with_a_line_each_second", each_second);
    suite.in_lab("latency_is_measured_by_messages_that_come_back", latency);
    suite.in_lab("every_association_that_was_set_up_was_accepted", setup);
    suite
        .in_lab("associations_are_set_up_several_at_a_time_and_all_are_counted", setup_in_parallel);
    suite.in_lab("a_client_recovers_as_it_is_told_and_says_so", recovery);
    suite.in_lab("an_interrupt_ends_a_client_gracefully_with_a_summary", interrupted);
    suite.in_lab("a_client_without_server_is_refused_with_status_3", refused);
    suite.run()
}

/// A server in one host and what is needed to run clients against it in another.
struct Stage {
    hosts: Topology,
    transport: Transport,
    server: Peer,
}

impl Stage {
    fn new(lab: &Lab, family: Family, transport: Transport) -> Outcome<Self> {
        let hosts = Topology::new(lab, family, 1)?;
        let mut arguments = vec!["perf", "--server", "--port", "7", "--json"];
        arguments.extend(transport.is_udp().then_some("--udp"));
        let server = Peer::start(&hosts.theirs, program(), &arguments)?;
        server.wait_for("that it listens", PATIENCE, |text| text.contains("\"listening\""))?;
        Ok(Self { hosts, transport, server })
    }

    fn client(&self, port: &str, arguments: &[&str]) -> Outcome<Peer> {
        let address = self.hosts.links[0].far().addresses().next().ok_or("an address")?;
        let address = address.to_string();
        let mut all = vec!["perf", "--json", "--port", port, &address];
        all.extend(self.transport.is_udp().then_some("--udp"));
        all.extend(arguments);
        Peer::start(&self.hosts.ours, program(), &all)
    }

    /// Runs a client to its end: its lines.
    fn run(&self, arguments: &[&str]) -> Outcome<Vec<Value>> {
        let (status, text) = self.client("7", arguments)?.wait(PATIENCE)?;
        assert_eq!(status.code(), Some(0), "{text}");
        lines(&text)
    }

    /// Ends the server and gives the sums of what it told of all its clients.
    fn end(mut self) -> Outcome<Totals> {
        self.server.signal(Signal::SIGINT)?;
        let (status, text) = self.server.wait(PATIENCE)?;
        assert_eq!(status.code(), Some(130), "{text}");
        let mut totals = Totals::default();
        for line in lines(&text)?.iter().filter(|line| line["event"] == "summary") {
            assert_eq!(line["mode"], "server", "{line}");
            check_rate(line);
            totals.bytes += line["bytes"].as_u64().ok_or("bytes")?;
            totals.messages += line["messages"].as_u64().ok_or("messages")?;
            totals.associations += line["associations"].as_u64().ok_or("associations")?;
        }
        Ok(totals)
    }
}

/// What a server received of all its clients.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    bytes: u64,
    messages: u64,
    associations: u64,
}

fn lines(text: &str) -> Outcome<Vec<Value>> {
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The last line, which is the only summary.
fn summary(lines: &[Value]) -> &Value {
    let summaries = lines.iter().filter(|line| line["event"] == "summary").count();
    assert_eq!(summaries, 1, "{lines:?}");
    let last = lines.last().expect("one line is a summary");
    assert_eq!(last["event"], "summary");
    last
}

/// The goodput is what bytes and seconds make of it.
fn check_rate(line: &Value) {
    let field = |name: &str| line[name].as_f64().unwrap_or(-1.0);
    let (seconds, goodput) = (field("seconds"), field("goodput_bps"));
    assert!(seconds >= 0.0 && goodput >= 0.0, "{line}");
    if seconds > 0.0 {
        let expected = field("bytes") * 8.0 / seconds;
        assert!((goodput - expected).abs() <= 1e-6 * expected, "{line}");
    }
}

fn bulk(
    lab: &Lab,
    family: Family,
    transport: Transport,
    arguments: &[&str],
    size: u64,
) -> Outcome<()> {
    // The last message is a shorter one.
    let bytes = 1000 * size + 17;
    let stage = Stage::new(lab, family, transport)?;
    let text = bytes.to_string();
    let lines = stage.run(&[arguments, &["--bytes", &text]].concat())?;
    let far = stage.hosts.links[0].far().addresses().next().map(|address| address.to_string());
    assert_eq!(lines[0]["event"], "comm_up");
    assert_eq!(lines[0]["primary"].as_str(), far.as_deref());
    let summary = summary(&lines);
    check_rate(summary);
    assert_eq!(summary["mode"], "bulk");
    assert_eq!((&summary["bytes"], &summary["messages"]), (&bytes.into(), &1001.into()));
    assert!(summary["retransmitted"].is_u64(), "{summary}");
    assert_eq!(summary["path_mtu"], 1500);
    // As little as is sent here finds room.
    assert_eq!(summary["receive_drops"], 0);
    assert!(summary["receive_buffer"].as_u64() >= Some(64 << 10), "{summary}");
    assert_eq!(stage.end()?, Totals { bytes, messages: 1001, associations: 1 });
    Ok(())
}

fn each_second(lab: &Lab) -> Outcome<()> {
    let stage = Stage::new(lab, Family::V4, Transport::Raw)?;
    let lines = stage.run(&["--time", "2.5"])?;
    let summary = summary(&lines);
    assert!(summary["seconds"].as_f64() >= Some(2.5), "{summary}");
    let seconds: Vec<&Value> = lines.iter().filter(|line| line["event"] == "second").collect();
    // Closing may take seconds of its own.
    assert!(!seconds.is_empty());
    let mut told = 0;
    for line in seconds {
        check_rate(line);
        assert_eq!(line["mode"], "bulk");
        assert!(line["seconds"].as_f64() >= Some(1.0), "{line}");
        told += line["bytes"].as_u64().ok_or("bytes")?;
    }
    let bytes = summary["bytes"].as_u64().ok_or("bytes")?;
    assert!(0 < told && told <= bytes, "{told} of {bytes}");
    let messages = summary["messages"].as_u64().ok_or("messages")?;
    assert_eq!(bytes, messages * 1400);
    assert_eq!(stage.end()?, Totals { bytes, messages, associations: 1 });
    Ok(())
}

fn latency(lab: &Lab) -> Outcome<()> {
    let stage = Stage::new(lab, Family::V4, Transport::Raw)?;
    let lines = stage.run(&["--mode", "latency", "--bytes", "12800"])?;
    let summary = summary(&lines);
    assert_eq!((&summary["mode"], &summary["round_trips"]), (&"latency".into(), &200.into()));
    let field = |name: &str| summary[name].as_f64().unwrap_or(-1.0);
    assert!(0.0 < field("p50_us") && field("p50_us") <= field("p99_us"), "{summary}");
    // Half of the round trips took the median at the least, to within a hundredth.
    assert!(field("p50_us") * 0.99 * 100.0 <= field("seconds") * 1e6, "{summary}");
    assert_eq!(stage.end()?, Totals { bytes: 12_800, messages: 200, associations: 1 });
    Ok(())
}

fn setup(lab: &Lab) -> Outcome<()> {
    let stage = Stage::new(lab, Family::V4, Transport::Raw)?;
    let lines = stage.run(&["--mode", "setup", "--time", "1"])?;
    let summary = summary(&lines);
    assert_eq!(summary["mode"], "setup");
    let associations = summary["associations"].as_u64().ok_or("associations")?;
    assert!(associations > 0, "{summary}");
    let rate = summary["per_second"].as_f64().ok_or("a rate")?;
    let expected = associations as f64 / summary["seconds"].as_f64().ok_or("seconds")?;
    assert!((rate - expected).abs() <= 1e-6 * expected, "{summary}");
    assert_eq!(stage.end()?, Totals { bytes: 0, messages: 0, associations });
    Ok(())
}

fn setup_in_parallel(lab: &Lab) -> Outcome<()> {
    let stage = Stage::new(lab, Family::V6, Transport::Raw)?;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("perf-parallel.pcapng");
    let file = file.to_str().ok_or("a path in UTF-8")?;
    let arguments = ["--mode", "setup", "--time", "0.2", "--parallel", "16", "--pcap", file];
    let told = stage.run(&arguments)?;
    let summary = summary(&told);
    assert_eq!((&summary["mode"], &summary["parallel"]), (&"setup".into(), &16.into()));
    let associations = summary["associations"].as_u64().ok_or("associations")?;
    assert!(associations >= 16, "each of them once: {summary}");
    let field = |name: &str| summary[name].as_f64().unwrap_or(-1.0);
    assert!(0.0 < field("p50_us") && field("p50_us") <= field("p99_us"), "{summary}");
    let mut decode = Peer::start(&stage.hosts.ours, program(), &["decode", "--json", file])?;
    let (status, text) = decode.wait(PATIENCE)?;
    assert_eq!(status.code(), Some(0), "{text}");
    let (mut ports, mut open, mut most) = (BTreeSet::new(), BTreeSet::new(), 0);
    for packet in lines(&text)? {
        let has = |name: &str| {
            packet["chunks"].as_array().is_some_and(|all| all.iter().any(|c| c["name"] == name))
        };
        let port = packet["src_port"].as_u64().ok_or("a port")?;
        if has("INIT") {
            ports.insert(port);
            open.insert(port);
        } else if has("SHUTDOWN COMPLETE") {
            open.remove(&port);
        }
        most = most.max(open.len());
    }
    assert_eq!(ports.len(), 16, "each from a port of its own: {ports:?}");
    assert!(most > 1, "they overlap");
    assert_eq!(stage.end()?, Totals { bytes: 0, messages: 0, associations });
    Ok(())
}

fn recovery(lab: &Lab) -> Outcome<()> {
    let stage = Stage::new(lab, Family::V4, Transport::Raw)?;
    let told = ["--recovery", "rack", "--congestion", "cubic", "--pacing"];
    let lines = stage.run(&[&["--bytes", "2000000"], &told[..]].concat())?;
    let of_client = summary(&lines);
    assert_eq!(
        (&of_client["recovery"], &of_client["congestion"]),
        (&"rack".into(), &"cubic".into())
    );
    assert_eq!((&of_client["pacing"], &of_client["bytes"]), (&true.into(), &2_000_000.into()));
    let lines = stage.run(&["--bytes", "2000000"])?;
    let plain = summary(&lines);
    assert_eq!((&plain["recovery"], &plain["pacing"]), (&"rfc9260".into(), &false.into()));
    let (status, text) = stage.client("7", &["--parallel", "2"])?.wait(PATIENCE)?;
    assert_eq!(status.code(), Some(2), "only mode setup has several: {text}");
    assert_eq!(stage.end()?.bytes, 4_000_000);
    Ok(())
}

fn interrupted(lab: &Lab) -> Outcome<()> {
    let stage = Stage::new(lab, Family::V4, Transport::Raw)?;
    let mut client = stage.client("7", &["--time", "600"])?;
    client.wait_for("a line", PATIENCE, |text| text.contains("\"second\""))?;
    client.signal(Signal::SIGINT)?;
    let (status, text) = client.wait(PATIENCE)?;
    assert_eq!(status.code(), Some(130), "{text}");
    let lines = lines(&text)?;
    let summary = summary(&lines);
    let count = |name: &str| summary[name].as_u64().ok_or("a count");
    let (bytes, messages) = (count("bytes")?, count("messages")?);
    assert_eq!(stage.end()?, Totals { bytes, messages, associations: 1 });
    Ok(())
}

fn refused(lab: &Lab) -> Outcome<()> {
    let stage = Stage::new(lab, Family::V4, Transport::Raw)?;
    let (status, text) = stage.client("8", &[])?.wait(PATIENCE)?;
    assert_eq!(status.code(), Some(3), "{text}");
    assert!(!text.contains("summary"), "{text}");
    Ok(())
}
