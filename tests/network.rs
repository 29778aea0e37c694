//! `usctp listen` and `usctp connect` against each other, over UDP encapsulation on the loopback interface.

#![cfg(feature = "cli")]
#![expect(clippy::indexing_slicing, reason = "JSON that lacks a field is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use usctp::{Message, Options, Stack};

/// Nothing in these tests takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `usctp` whose standard output is read as JSON lines.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usctp"));
        command.args(arguments);
        Self::start_command(command)
    }

    fn start_command(mut command: Command) -> Self {
        let mut child = command
            .arg("--json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                let line = line.expect("standard output is text");
                let value = serde_json::from_str(&line);
                let value = value.unwrap_or_else(|error| panic!("no JSON: {line}: {error}"));
                if sender.send(value).is_err() {
                    break;
                }
            }
        });
        Self { child, stdin, lines }
    }

    /// A listener that can be connected to.
    fn listen(udp: u16, arguments: &[&str]) -> Self {
        Self::listen_from(udp, arguments, |words| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_usctp"));
            command.args(words);
            command
        })
    }

    /// The same, by whatever runs the program with these words.
    fn listen_from(udp: u16, arguments: &[&str], run: impl FnOnce(&[&str]) -> Command) -> Self {
        let udp = format!("--udp={udp}");
        let words = [&["listen", &udp, "--local", "127.0.0.1"], arguments].concat();
        let running = Self::start_command(run(&words));
        let listening = running.event("listening");
        assert_eq!(listening["transport"], "udp");
        assert_eq!(listening["addresses"], serde_json::json!(["127.0.0.1"]));
        running
    }

    /// The next line of this kind; what comes before it is passed over.
    fn event(&self, name: &str) -> Value {
        let mut passed = Vec::new();
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line["event"] == name => return line,
                Ok(line) => passed.push(line),
                Err(error) => panic!("no {name} after {passed:?}: {error}"),
            }
        }
    }

    fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(text.as_bytes()).expect("the program reads");
        stdin.flush().expect("the program reads");
    }

    fn interrupt(&self) {
        self.signal("INT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.expect("kill is there").success());
    }

    /// The exit status, and what was printed until then.
    fn end(mut self) -> (Option<i32>, Vec<Value>) {
        drop(self.stdin.take());
        let mut rest = Vec::new();
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; it printed {rest:?}"),
            }
        }
        (self.child.wait().expect("the program ends").code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A UDP port that nobody uses now, and that no other test is given. Ports that the kernel gives out by itself begin
/// above these, so nobody takes it by chance before the program does.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + (std::process::id() % 15_000) as u16;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 5_000;
        if UdpSocket::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// The command line of a client.
fn client(udp_peer: u16, arguments: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = ["connect", "--local", "127.0.0.1"].map(str::to_owned).into();
    words.push(format!("--udp={}", free_port()));
    words.push(format!("--udp-peer={udp_peer}"));
    words.extend(arguments.iter().map(|&word| word.to_owned()));
    words
}

fn connect(udp_peer: u16, arguments: &[&str]) -> Running {
    let words = client(udp_peer, arguments);
    Running::start(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn usctp(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usctp"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the program starts")
}

fn last(lines: &[Value], name: &str) -> Value {
    lines.iter().rfind(|line| line["event"] == name).cloned().unwrap_or_default()
}

#[test]
fn lines_are_echoed_and_both_sides_close_when_the_input_ends() {
    let udp = free_port();
    let server = Running::listen(udp, &["--port", "7", "--mode", "echo", "--max", "1"]);
    let mut client =
        connect(udp, &["--port", "7", "127.0.0.1", "--stream", "3", "--ppid", "46", "--unordered"]);
    assert_eq!(client.event("tried")["address"], "127.0.0.1");
    let up = client.event("comm_up");
    assert_eq!(up["primary"], "127.0.0.1");
    assert_eq!(up["peer"], serde_json::json!(["127.0.0.1"]));
    assert!(up["at_ms"].is_f64(), "{up}");
    client.write("hello\n");
    let message = client.event("message");
    assert_eq!(message["data"], "aGVsbG8=");
    assert_eq!(message["bytes"], 5);
    assert_eq!(message["stream"], 3);
    assert_eq!(message["ppid"], 46);
    assert_eq!(message["unordered"], true);
    let (status, lines) = client.end();
    assert_eq!(status, Some(0), "{lines:?}");
    assert_eq!(last(&lines, "closed")["messages"], 1);
    let (status, lines) = server.end();
    assert_eq!(status, Some(0), "{lines:?}");
    let closed = last(&lines, "closed");
    assert_eq!((&closed["messages"], &closed["bytes"]), (&1.into(), &5.into()));
}

#[test]
fn as_text_the_output_of_an_echo_is_the_input() {
    let udp = free_port();
    let _server = Running::listen(udp, &["--port", "7", "--mode", "echo"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_usctp"))
        .args(client(udp, &["--port", "7", "127.0.0.1"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let text = "first line\n\nthird line\n";
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(text.as_bytes()).expect("the program reads");
    let mut echoed = vec![0; text.len()];
    let mut stdout = child.stdout.take().expect("standard output is piped");
    stdout.read_exact(&mut echoed).expect("the echo comes");
    assert_eq!(String::from_utf8_lossy(&echoed), text);
    drop(stdin);
    assert!(child.wait().expect("the program ends").success());
}

#[test]
fn generated_messages_all_arrive_before_the_close() {
    let udp = free_port();
    let server = Running::listen(udp, &["--port", "9", "--mode", "discard", "--max", "1"]);
    let client = connect(udp, &["--port", "9", "127.0.0.1", "--count", "2000", "--size", "3000"]);
    let (status, lines) = client.end();
    assert_eq!(status, Some(0), "{lines:?}");
    let closed = server.event("closed");
    assert_eq!((&closed["messages"], &closed["bytes"]), (&2000.into(), &6_000_000.into()));
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_client_that_does_not_read_stalls_nobody_else() {
    let udp = free_port();
    let _server = Running::listen(udp, &["--port", "7", "--mode", "echo"]);
    let stack = Stack::builder().udp(free_port()).udp_peer(udp).linger(Duration::ZERO).open();
    let stack = stack.expect("UDP needs no privilege");
    let local = IpAddr::from([127, 0, 0, 1]);
    let socket = stack.bind(0, &[local], Options::default()).expect("the port is free");
    let connecting = socket.connect((local, 7).into()).expect("the address is good");
    let stalled = connecting.wait().expect("the server listens");
    // Nothing is read, so first this side's receive buffer fills up, then the server's send buffer, then the way here.
    let payload = usctp::Bytes::from(vec![b'x'; 10_000]);
    let mut sent = 0;
    while stalled.send_timeout(Message::new(0, payload.clone()), Duration::from_secs(1)).is_ok() {
        sent += payload.len();
        assert!(sent < 100 << 20, "the server takes without end what it cannot send back");
    }
    assert!(stalled.state().is_synchronized(), "the association was not lost");
    let mut other = connect(udp, &["--port", "7", "127.0.0.1"]);
    for round in 10..20 {
        other.write(&format!("round {round}\n"));
        assert_eq!(other.event("message")["bytes"], 8);
    }
    assert_eq!(other.end().0, Some(0));
    stalled.abort("the test is over");
}

#[test]
fn an_interrupt_closes_gracefully_on_either_side() {
    let udp = free_port();
    let server = Running::listen(udp, &["--port", "7", "--mode", "print"]);
    let mut client = connect(udp, &["--port", "7", "127.0.0.1"]);
    client.event("comm_up");
    client.write("before the interrupt\n");
    assert_eq!(server.event("message")["bytes"], 20);
    // Standard input stays open: its end would close the association as well, and might be seen first.
    let stdin = client.stdin.take();
    client.interrupt();
    let (status, lines) = client.end();
    drop(stdin);
    assert_eq!(status, Some(130), "{lines:?}");
    assert_eq!(last(&lines, "closed")["event"], "closed");
    server.event("closed");
    let client = connect(udp, &["--port", "7", "127.0.0.1"]);
    client.event("comm_up");
    server.interrupt();
    assert_eq!(server.end().0, Some(130));
    client.event("closed");
    let _ = client.end();
}

#[test]
fn who_is_told_to_end_by_sigterm_or_sighup_and_closes_gracefully_ends_with_0() {
    for signal in ["TERM", "HUP"] {
        let udp = free_port();
        let server = Running::listen(udp, &["--port", "7"]);
        let mut client = connect(udp, &["--port", "7", "127.0.0.1"]);
        client.event("comm_up");
        let stdin = client.stdin.take();
        client.signal(signal);
        let (status, lines) = client.end();
        drop(stdin);
        assert_eq!(status, Some(0), "{signal}: {lines:?}");
        assert_eq!(last(&lines, "closed")["event"], "closed");
        server.event("closed");
        let client = connect(udp, &["--port", "7", "127.0.0.1"]);
        client.event("comm_up");
        server.signal(signal);
        assert_eq!(server.end().0, Some(0), "{signal}");
        client.event("closed");
        let _ = client.end();
    }
}

#[test]
fn where_hangups_were_ignored_from_the_beginning_none_ends_it() {
    let udp = free_port();
    let server = Running::listen_from(udp, &["--port", "7"], |words| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_usctp")])
            .args(words);
        shell
    });
    server.signal("HUP");
    let client = connect(udp, &["--port", "7", "127.0.0.1"]);
    client.event("comm_up");
    assert_eq!(client.end().0, Some(0));
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn the_closing_line_counts_what_was_received_and_what_was_sent_apart() {
    let udp = free_port();
    let server = Running::listen(udp, &["--port", "7", "--mode", "discard"]);
    let words = ["--port", "7", "127.0.0.1", "--count", "30", "--size", "10"];
    let (status, lines) = connect(udp, &words).end();
    assert_eq!(status, Some(0), "{lines:?}");
    let counts = |line: &Value| {
        ["messages", "bytes", "messages_sent", "bytes_sent"].map(|field| line[field].as_u64())
    };
    let numbers = |all: [u64; 4]| all.map(Some);
    assert_eq!(counts(&last(&lines, "closed")), numbers([0, 0, 30, 300]));
    assert_eq!(counts(&server.event("closed")), numbers([30, 300, 0, 0]));
}

#[test]
fn a_host_is_named_and_a_local_port_chosen() {
    let udp = free_port();
    let server = Running::listen(udp, &["--port", "7"]);
    // Of the addresses of the name, those that the local address can reach.
    let client = connect(udp, &["--port", "7", "localhost", "--local-port", "40000"]);
    assert_eq!(client.event("tried")["address"], "127.0.0.1");
    assert_eq!(client.event("comm_up")["local_port"], 40_000);
    let up = server.event("comm_up");
    assert_eq!(up["peer"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(up["peer_port"], 40_000);
    assert_eq!(client.end().0, Some(0));
    for (wrong, text) in [("no-such-host.invalid", "no-such-host.invalid"), ("10.0.0.256", "host")]
    {
        let output = usctp(&["connect", "--udp", "--port", "7", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{output:?}");
    }
}

#[test]
fn with_wait_the_client_stays_until_the_peer_closes() {
    let udp = free_port();
    let server = Running::listen(udp, &["--port", "7", "--mode", "echo"]);
    let mut client = connect(udp, &["--port", "7", "127.0.0.1", "--wait"]);
    client.write("once\n");
    drop(client.stdin.take());
    assert_eq!(client.event("message")["bytes"], 4);
    server.interrupt();
    assert_eq!(server.end().0, Some(130));
    assert_eq!(client.end().0, Some(0));
}

#[test]
fn a_port_without_listener_refuses_with_status_3() {
    let udp = free_port();
    let _server = Running::listen(udp, &["--port", "7"]);
    let (status, lines) = connect(udp, &["--port", "8", "127.0.0.1"]).end();
    assert_eq!(status, Some(3), "{lines:?}");
    assert!(last(&lines, "comm_lost")["reason"].is_string());
}

#[test]
fn a_silent_peer_times_out_with_status_4() {
    // Bound, so that no ICMP message tells that nobody listens.
    let silent = UdpSocket::bind("0.0.0.0:0").expect("the loopback interface is there");
    let udp = silent.local_addr().expect("it is bound").port();
    let started = Instant::now();
    let arguments = ["--port", "7", "127.0.0.1", "127.0.0.2", "--timeout", "1.5"];
    let (status, lines) = connect(udp, &arguments).end();
    assert_eq!(status, Some(4), "{lines:?}");
    assert!(started.elapsed() >= Duration::from_millis(1400));
    let first = lines.iter().find(|line| line["event"] == "tried").expect("an attempt");
    assert_eq!((&first["address"], &first["attempt"]), (&"127.0.0.1".into(), &1.into()));
    let moved = lines.iter().find(|line| line["event"] == "moved_on").expect("a move");
    assert_eq!((&moved["address"], &moved["reason"]), (&"127.0.0.1".into(), &"timeout".into()));
    assert_eq!(last(&lines, "tried")["address"], "127.0.0.2");
}

#[test]
fn bad_addresses_end_with_status_2_and_name_the_address() {
    let udp = format!("--udp={}", free_port());
    for (address, named) in [("0.0.0.0", "unspecified"), ("224.0.0.1", "multicast")] {
        let output = usctp(&["connect", &udp, "--port", "7", "127.0.0.1", address]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{address}: {message}");
        assert!(message.contains(named), "{message}");
    }
    let output = usctp(&["listen", &udp, "--port", "7", "--local", "192.0.2.77"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("192.0.2.77"), "{message}");
}

#[test]
fn a_udp_port_in_use_ends_with_status_6() {
    let udp = free_port();
    let _server = Running::listen(udp, &["--port", "7"]);
    let output = usctp(&["listen", &format!("--udp={udp}"), "--local", "127.0.0.1", "--port", "7"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{message}");
}

#[test]
fn raw_sockets_without_permission_end_with_status_5_and_the_ways_out() {
    // Where nobody may read the build directory, nobody may read this copy.
    let program = std::env::temp_dir().join(format!("usctp-test-{}", std::process::id()));
    // By another process: while this one writes, a child that another test is just starting would hold the file open for
    // writing as well, and a file that is written cannot be run.
    let mut copy = Command::new("install");
    copy.args(["-m", "755", env!("CARGO_BIN_EXE_usctp")]).arg(&program);
    assert!(copy.status().is_ok_and(|status| status.success()), "no copy at {}", program.display());
    let mut command = Command::new(&program);
    command.args(["listen", "--port", "7"]).current_dir("/");
    if fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).ok()
        == Some(0)
    {
        command.uid(65_534).gid(65_534);
    }
    let output = command.output();
    fs::remove_file(&program).expect("it is ours");
    let output = output.expect("the program starts");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{message}");
    for way in ["CAP_NET_RAW", "--udp", "setcap cap_net_raw+ep"] {
        assert!(message.contains(way), "{message}");
    }
}

#[test]
fn a_capture_of_a_session_is_decoded_without_a_fault() {
    let udp = free_port();
    let _server = Running::listen(udp, &["--port", "7", "--mode", "discard"]);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("session.pcapng");
    let name = file.to_str().expect("the path is text");
    let arguments = ["--port", "7", "127.0.0.1", "--count", "3", "--size", "10", "--pcap", name];
    assert_eq!(connect(udp, &arguments).end().0, Some(0));
    let output = usctp(&["decode", "--json", "--udp-port", &udp.to_string(), name]);
    assert!(output.status.success());
    let packets: Vec<Value> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(&line.expect("text")).expect("JSON"))
        .collect();
    let mut names = Vec::new();
    for packet in &packets {
        assert_eq!(packet["checksum"], "ok", "{packet}");
        assert_eq!(packet["error"], Value::Null, "{packet}");
        let chunks = packet["chunks"].as_array().expect("chunks");
        names.extend(chunks.iter().filter_map(|chunk| chunk["name"].as_str()));
    }
    for name in
        ["INIT", "INIT ACK", "COOKIE ECHO", "COOKIE ACK", "DATA", "SACK", "SHUTDOWN COMPLETE"]
    {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    assert_eq!(names.iter().filter(|name| **name == "DATA").count(), 3, "{names:?}");
}
