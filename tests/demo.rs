//! `usctp demo`: every number of its last line, on either stage, for root and for others, and an end that leaves nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]
#![cfg(feature = "cli")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const BYTES: u64 = 8_000_000;

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usctp"));
    command.args(["demo", "--json", "--bytes", "8000000"]).stdin(Stdio::null());
    command
}

/// Runs it to its end: all lines of JSON.
fn play(mut command: Command) -> Vec<Value> {
    let output = command.output().expect("the program starts");
    let (text, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The happenings of a kind.
fn all<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

fn check(lines: &[Value], transport: &str) {
    let last = lines.last().expect("there are lines");
    assert_eq!(last["event"], "demo");
    assert_eq!(last["ok"], true, "{last}");
    assert_eq!(last["bytes"], BYTES);
    assert_eq!(last["received"], BYTES);
    assert_eq!(last["sha256_match"], true);
    assert_eq!(last["transport"], transport);
    let listed = all(lines, "connecting")[0]["addresses"].as_array().unwrap().clone();
    // The first one is dead and the last one unknown to the peer: INIT ACK lists neither.
    assert_eq!(last["dropped"], Value::from(vec![listed[0].clone(), listed[3].clone()]));
    let tried: Vec<&Value> = all(lines, "tried").iter().map(|line| &line["address"]).collect();
    assert_eq!(tried, [&listed[0], &listed[1]]);
    assert_eq!(all(lines, "moved_on")[0]["reason"], "timeout");
    let cut = all(lines, "cut")[0];
    assert_eq!(cut["address"], all(lines, "comm_up")[0]["primary"]);
    assert!((BYTES / 2..BYTES / 2 + 1_000_000).contains(&cut["sent"].as_u64().unwrap()), "{cut}");
    // Data moves at the first time-out (RFC 7829); the path is given up at the third in a row, of 0.2 s at the least. A
    // busy machine may take longer.
    let failover = last["failover_ms"].as_f64().unwrap();
    assert!((100.0..10_000.0).contains(&failover), "{failover}");
    let inactive = last["inactive_ms"].as_f64().unwrap();
    assert!((600.0..15_000.0).contains(&inactive), "{inactive}");
    assert!(failover < inactive, "{failover} {inactive}");
    assert!(last["longest_silence_ms"].as_f64().unwrap() > 50.0, "{last}");
    assert_eq!(all(lines, "failover")[0]["failover_ms"], failover);
    assert_eq!(all(lines, "restored").len(), 1);
}

/// Why namespaces cannot be had here, if the demonstration says so.
fn skipped(lines: &[Value], test: &str) -> bool {
    let reason = all(lines, "no_namespaces").first().map(|line| line["reason"].clone());
    if let Some(reason) = &reason {
        println!("SKIPPED: {test}: {reason}");
    }
    reason.is_some()
}

#[test]
fn it_runs_over_raw_ip_between_namespaces() {
    let lines = play(demo());
    if !skipped(&lines, "it_runs_over_raw_ip_between_namespaces") {
        check(&lines, "raw");
    }
}

#[test]
fn it_runs_over_udp_on_loopback_without_namespaces() {
    let mut command = demo();
    command.arg("--udp");
    check(&play(command), "udp");
}

#[test]
fn frames_that_a_relay_loses_are_sent_again() {
    let mut command = demo();
    command.args(["--loss", "1"]);
    let lines = play(command);
    if skipped(&lines, "frames_that_a_relay_loses_are_sent_again") {
        return;
    }
    check(&lines, "raw");
    let last = lines.last().unwrap();
    assert!(last["relay"]["lost"].as_u64().unwrap() > 0, "{last}");
    assert!(last["retransmitted"].as_u64().unwrap() > 0, "{last}");
}

#[test]
fn a_user_without_privilege_has_raw_ip_where_user_namespaces_are_allowed() {
    const TEST: &str = "a_user_without_privilege_has_raw_ip_where_user_namespaces_are_allowed";
    if !nix::unistd::geteuid().is_root() {
        // Then the test of raw IP is this one.
        return;
    }
    // A place that others may read, unlike many a home directory.
    let copy = std::env::temp_dir().join(format!("usctp-demo-{}", std::process::id()));
    // By another process: while this one writes, a child that another test is just starting would hold the file open for
    // writing as well, and a file that is written cannot be run.
    let mut install = Command::new("install");
    install.args(["-m", "755", env!("CARGO_BIN_EXE_usctp")]).arg(&copy);
    assert!(install.status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&copy);
    command.args(["demo", "--json", "--bytes", "8000000"]).stdin(Stdio::null());
    let lines = play(command);
    std::fs::remove_file(&copy).unwrap();
    if !skipped(&lines, TEST) {
        check(&lines, "raw");
    }
}

#[test]
fn no_bytes_are_wrong_usage() {
    let output = Command::new(env!("CARGO_BIN_EXE_usctp"))
        .args(["demo", "--bytes", "0"])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
}

/// Starts it and reads up to the first line of an event.
fn start_until(event: &str) -> Child {
    let mut command = demo();
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.any(|line| line.unwrap().contains(&format!("\"event\":\"{event}\"")));
    assert!(found, "no {event}");
    // The rest goes nowhere, but is read.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn wait(child: &mut Child, bound: Duration) -> Option<i32> {
    let deadline = Instant::now() + bound;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("it runs on");
}

fn interfaces() -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}

#[test]
fn an_interrupt_at_any_moment_ends_it_with_130_and_leaves_no_interface() {
    let before = interfaces();
    for event in ["scene", "tried", "sending", "cut", "failover"] {
        let mut child = start_until(event);
        let process = Pid::from_raw(child.id().try_into().unwrap());
        kill(process, Signal::SIGINT).unwrap();
        assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(130), "after {event}");
    }
    assert_eq!(interfaces(), before);
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    // Over the cut link nothing can be closed gracefully before the failover.
    let mut child = start_until("cut");
    let process = Pid::from_raw(child.id().try_into().unwrap());
    kill(process, Signal::SIGINT).unwrap();
    sleep(Duration::from_millis(50));
    // It may have ended in between.
    let _ = kill(process, Signal::SIGINT);
    assert_eq!(wait(&mut child, Duration::from_secs(5)), Some(130));
}
