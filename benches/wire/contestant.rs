//! Who is measured, and how each is started and read.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::Value;

use crate::Outcome;
use crate::bare;
use crate::case::{Case, Work};
use crate::program::Program;
use crate::stage::Stage;
use crate::usrsctp::Usrsctp;

/// One of three.
pub(crate) enum Contestant {
    /// `usctp perf`.
    Ours,
    /// `tsctp` for bulk, `exchange` for the rest.
    Usrsctp(Usrsctp),
    /// The same system calls and packets with no protocol.
    Bare,
}

/// What one run gave.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Sample {
    /// What the case is about: bits of messages a second, round trips or associations a second.
    pub(crate) rate: f64,
    pub(crate) messages_per_second: Option<f64>,
    /// Packets that the client's interface sent in a second; what is cut up later counts as one.
    pub(crate) packets_per_second: Option<f64>,
    /// Processor seconds for 10^9 bytes of messages.
    pub(crate) client_cpu_per_gb: Option<f64>,
    pub(crate) server_cpu_per_gb: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

/// What a client told at its end.
struct Told {
    seconds: f64,
    /// Messages, round trips or associations.
    count: f64,
    bytes: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

impl Contestant {
    /// All that are wanted and can be had.
    pub(crate) fn present(only: &[String]) -> Vec<Self> {
        let is_wanted = |name: &str| only.is_empty() || only.iter().any(|word| word == name);
        let mut all = Vec::new();
        all.extend(is_wanted("ours").then_some(Self::Ours));
        if is_wanted("usrsctp") {
            match Usrsctp::obtain() {
                Some(programs) => all.push(Self::Usrsctp(programs)),
                None => eprintln!("usrsctp cannot be built here: it is left out"),
            }
        }
        all.extend(is_wanted("bare").then_some(Self::Bare));
        all
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Usrsctp(_) => "usrsctp",
            Self::Bare => "bare",
        }
    }

    /// Whether it can do that: usrsctp's programs know IPv4 only, and a bare socket has no associations. Nor does it
    /// send again what was lost.
    pub(crate) fn takes(&self, case: &Case) -> bool {
        match self {
            Self::Ours => true,
            Self::Usrsctp(_) => case.way != crate::case::Way::Raw6,
            Self::Bare => !matches!(case.work, Work::Setup(_)) && case.loss == 0,
        }
    }

    /// One run: a server, a client, and what the client tells.
    pub(crate) fn run(&self, stage: &Stage, case: &Case, seconds: u32) -> Outcome<Sample> {
        let (server, client) = match self {
            Self::Ours => ours(stage, case, seconds),
            Self::Usrsctp(programs) => usrsctp(programs, stage, case, seconds),
            Self::Bare => bare_socket(stage, case, seconds)?,
        };
        let server = Program::start(stage.far(), server)?;
        match (self, case.work) {
            // It says nothing before it has a client.
            (Self::Usrsctp(_), Work::Bulk(_)) => sleep(Duration::from_millis(300)),
            _ => drop(server.line("listening")?),
        }
        let before = stage.traffic()?;
        let client = Program::start(stage.near(), client)?;
        let told = match self {
            Self::Ours => read_ours(&client.line("\"summary\"")?)?,
            // The server says what arrived and how long that took.
            Self::Usrsctp(_) if matches!(case.work, Work::Bulk(_)) => {
                read_tsctp(&server.line(", ")?)?
            }
            Self::Usrsctp(_) => read_words(&client.line(" ")?)?,
            Self::Bare => read_bare(&client.line(" ")?, case)?,
        };
        let client_cpu = client.finish()?;
        let packets = stage.traffic()?.packets - before.packets;
        let server_cpu = server.stop(Signal::SIGKILL)?;
        Ok(told.sample(case, packets, client_cpu, server_cpu))
    }
}

impl Told {
    fn sample(&self, case: &Case, packets: u64, client: Duration, server: Duration) -> Sample {
        let per_gb = |cpu: Duration| Some(cpu.as_secs_f64() / (self.bytes / 1e9));
        let rate = self.count / self.seconds;
        let mut sample =
            Sample { rate, p50_us: self.p50_us, p99_us: self.p99_us, ..Sample::default() };
        if matches!(case.work, Work::Bulk(_)) {
            sample.rate = self.bytes * 8.0 / self.seconds;
            sample.messages_per_second = Some(rate);
            sample.packets_per_second = Some(packets as f64 / self.seconds);
            sample.client_cpu_per_gb = per_gb(client);
            sample.server_cpu_per_gb = per_gb(server);
        }
        sample
    }
}

type Commands = (Command, Command);

fn ours(stage: &Stage, case: &Case, seconds: u32) -> Commands {
    let common = |local: std::net::IpAddr, udp: u16, udp_peer: u16| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usctp"));
        command.args(["perf", "--json", "--port", "5001", "--local", &local.to_string()]);
        command.args(["--path-mtu", &case.mtu.min(65_535).to_string()]);
        if case.way.is_udp() {
            command.arg(format!("--udp={udp}")).args(["--udp-peer", &udp_peer.to_string()]);
        }
        command
    };
    let mut server = common(stage.server, 9899, 9900);
    server.arg("--server");
    let mut client = common(stage.client, 9900, 9899);
    client.args([&stage.server.to_string(), "--time", &seconds.to_string()]);
    match case.work {
        Work::Bulk(size) => client.args(["--size", &size.to_string()]),
        Work::Latency => client.args(["--mode", "latency"]),
        Work::Setup(1) => client.args(["--mode", "setup"]),
        Work::Setup(parallel) => {
            client.args(["--mode", "setup", "--parallel", &parallel.to_string()])
        }
    };
    (server, client)
}

fn usrsctp(programs: &Usrsctp, stage: &Stage, case: &Case, seconds: u32) -> Commands {
    let local = stage.client.to_string();
    // It leaves the source of a UDP packet to the kernel, which takes the same for all addresses of a loopback interface;
    // and only what stands at the interface counts as an address there.
    let peer = if case.way.is_loopback() { local.clone() } else { stage.server.to_string() };
    let udp = case.way.is_udp();
    let time = seconds.to_string();
    match case.work {
        Work::Bulk(size) => {
            let (mut server, mut client) =
                (Command::new(&programs.tsctp), Command::new(&programs.tsctp));
            server.args(["-L", &peer]);
            client.args(["-L", &local, "-n", "0", "-l", &size.to_string()]);
            client.args(["-T", &time]);
            if udp {
                server.args(["-E", "9899", "-U", "9900"]);
                client.args(["-E", "9900", "-U", "9899"]);
            }
            client.arg(&peer);
            (server, client)
        }
        work => {
            let (mut server, mut client) =
                (Command::new(&programs.exchange), Command::new(&programs.exchange));
            let udp = if udp { "1" } else { "0" };
            let (serve, role, parallel) = match work {
                Work::Setup(parallel) if parallel > 1 => {
                    ("serve-many", "setup-many", Some(parallel.to_string()))
                }
                Work::Setup(_) => ("serve", "setup", None),
                _ => ("serve", "latency", None),
            };
            server.args([serve, &peer, udp]);
            client.args([role, &local, udp, &peer, &time]).args(parallel);
            (server, client)
        }
    }
}

fn bare_socket(stage: &Stage, case: &Case, seconds: u32) -> Outcome<Commands> {
    let own = std::env::current_exe()?;
    let common = |role: &str, local: std::net::IpAddr, peer: std::net::IpAddr| {
        let mut command = Command::new(&own);
        let kind = if case.way.is_udp() { "udp" } else { "raw" };
        command.args([bare::ROLE, role, kind, &local.to_string(), &peer.to_string()]);
        command
    };
    let (to_server, to_client) = (stage.server, stage.client);
    match case.work {
        Work::Bulk(size) => {
            let (packet, _) = case.packets(size);
            let server = common("receive", to_server, to_client);
            let mut client = common("send", to_client, to_server);
            client.args([packet.to_string(), seconds.to_string()]);
            Ok((server, client))
        }
        Work::Latency | Work::Setup(_) => {
            let server = common("echo", to_server, to_client);
            let mut client = common("ping", to_client, to_server);
            // 64 bytes in a DATA chunk in a packet.
            client.args(["92".to_owned(), seconds.to_string()]);
            Ok((server, client))
        }
    }
}

fn read_ours(line: &str) -> Outcome<Told> {
    let summary: Value = serde_json::from_str(line)?;
    let field = |name: &str| summary[name].as_f64();
    let counts = ["messages", "round_trips", "associations"];
    Ok(Told {
        seconds: field("seconds").ok_or("seconds")?,
        count: counts.into_iter().find_map(field).ok_or("a count")?,
        bytes: field("bytes").unwrap_or_default(),
        p50_us: field("p50_us"),
        p99_us: field("p99_us"),
    })
}

/// Length of the first message, messages, calls, bytes, seconds, bytes a second, notifications.
fn read_tsctp(line: &str) -> Outcome<Told> {
    let columns: Vec<&str> = line.split(", ").collect();
    let [_, messages, _, bytes, seconds, ..] = columns[..] else {
        return Err(format!("tsctp wrote {line:?}").into());
    };
    let (seconds, count, bytes) = (seconds.parse()?, messages.parse()?, bytes.parse()?);
    Ok(Told { seconds, count, bytes, p50_us: None, p99_us: None })
}

/// Count, seconds, median, 99th percentile.
fn read_words(line: &str) -> Outcome<Told> {
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [count, seconds, p50, p99] = numbers[..] else {
        return Err(format!("four numbers are needed: {line:?}").into());
    };
    Ok(Told { seconds, count, bytes: 0.0, p50_us: Some(p50), p99_us: Some(p99) })
}

/// As [`read_words`]; of a bulk, the count is that of packets.
fn read_bare(line: &str, case: &Case) -> Outcome<Told> {
    let told = read_words(line)?;
    let Work::Bulk(size) = case.work else { return Ok(told) };
    let (_, bytes_in_each) = case.packets(size);
    let bytes = told.count * bytes_in_each;
    Ok(Told { bytes, count: bytes / size as f64, p50_us: None, p99_us: None, ..told })
}
