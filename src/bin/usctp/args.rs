//! The command line: every command with its options.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use usctp::{CongestionControl, LossDetection};

use crate::peer::Peer;

/// SCTP (RFC 9260) in user space: multi-homed associations over raw IP or UDP
#[derive(Debug, Parser)]
#[command(name = "usctp", version, after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Say on standard error what the stack does (twice: every detail)
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 100)]
    pub(crate) verbose: u8,
}

const EXIT_STATUS: &str = "\
Exit status: 0 done; 1 failed; 2 wrong usage or bad address; 3 refused; 4 timed out;
5 no permission for raw sockets (then: --udp, or setcap cap_net_raw+ep);
6 address or port in use; 130 interrupted (by SIGTERM or SIGHUP: 0 if all closed gracefully)

To begin with: usctp demo. Each command has examples: usctp connect --help";

const DEMO_EXAMPLES: &str = "\
Examples:
  usctp demo                                 as any user, where the kernel allows user namespaces
  usctp demo --loss 2 --pcap demo.pcapng     on bad links, to be looked at with Wireshark
  usctp demo --udp --bytes 10000000 --json   on loopback, for a program to read";

const LISTEN_EXAMPLES: &str = "\
Examples:
  usctp listen --port 3868                   on all addresses; messages go to standard output
  usctp listen --port 7 --mode echo --udp    without privileges, for peers that encapsulate in UDP
  usctp listen --port 7 --local 192.0.2.1 --local 198.51.100.1 --max 1 --json";

const CONNECT_EXAMPLES: &str = "\
Examples:
  usctp connect --port 3868 192.0.2.1 198.51.100.1      each line that you type is a message
  usctp connect --port 7 127.0.0.1 --udp=9900           to `usctp listen --port 7 --udp` on this host
  usctp connect --port 3868 192.0.2.1 --count 1000000 --watch
                                                        see the paths while generated messages go out";

const PERF_EXAMPLES: &str = "\
Examples:
  usctp perf --server --port 5001                        on one host, and on the other one of:
  usctp perf --port 5001 192.0.2.1 198.51.100.1          goodput, for ten seconds
  usctp perf --port 5001 192.0.2.1 --mode latency --json
  usctp perf --port 5001 192.0.2.1 --mode setup --parallel 64
                                                         associations a second, 64 at a time
  usctp perf --port 5001 192.0.2.1 --recovery rack --congestion cubic --pacing
                                                         for long, fast or bad paths
  usctp perf --port 5001 192.0.2.1 198.51.100.1 --time 60 --watch
                                                         see the paths; cut one";

const DECODE_EXAMPLES: &str = "\
Examples:
  usctp decode demo.pcapng
  tcpdump -i any -w - 'sctp or udp port 9899' | usctp decode -

Looked into are Ethernet, PPP, raw IP, loopback and cooked captures, and those of SCTP alone;
VLAN tags, PPPoE, MPLS, GRE, IP in IP, VXLAN and GTP-U; IP fragments, which are put together;
and what ICMP errors quote. What cannot be looked into is counted on standard error at the end.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show it all: two hosts, two links, a dead address, a link cut halfway, every byte checked
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoOptions),
    /// Accept associations
    #[command(after_help = LISTEN_EXAMPLES)]
    Listen(ListenOptions),
    /// Open an association to a list of addresses; lines of standard input become messages
    #[command(after_help = CONNECT_EXAMPLES)]
    Connect(ConnectOptions),
    /// Print every SCTP packet of a capture file (pcap, pcapng, also gzipped)
    #[command(after_help = DECODE_EXAMPLES)]
    Decode(DecodeOptions),
    /// Measure goodput, latency or set-ups against a `usctp perf --server`
    #[command(after_help = PERF_EXAMPLES)]
    Perf(PerfOptions),
    /// Open an association and send HEARTBEATs to every address of the peer
    #[command(after_help = PING_EXAMPLES)]
    Ping(PingOptions),
}

/// What the demonstration takes.
#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Run over UDP encapsulation on 127.0.0.1 and 127.0.0.2, without network namespaces
    #[arg(long)]
    pub(crate) udp: bool,
    /// How many bytes to send
    #[arg(long, value_name = "N", default_value_t = 256 << 20)]
    pub(crate) bytes: u64,
    /// Percentage of packets lost on each link
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percentage)]
    pub(crate) loss: f64,
    /// Write every packet sent and received to this file, as pcapng
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// Print one JSON object per line and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of every command that opens an endpoint.
#[derive(Debug, Args)]
pub(crate) struct NetworkOptions {
    /// A local address of the endpoint (repeatable)
    ///
    /// Left out, `listen` takes all usable addresses of this host, and `connect` those from
    /// which the routing table reaches the peer's addresses.
    #[arg(long, value_name = "ADDR")]
    pub(crate) local: Vec<IpAddr>,
    /// Encapsulate in UDP (RFC 6951) on this local port instead of raw IP: needs no privilege
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "9899",
        value_parser = clap::value_parser!(u16).range(1..),
    )]
    pub(crate) udp: Option<u16>,
    /// The peer's UDP port
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 9899,
        value_parser = clap::value_parser!(u16).range(1..),
    )]
    pub(crate) udp_peer: u16,
    /// Write every packet sent and received to this file, as pcapng
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// How long associations may take to close after Ctrl-C or SIGTERM before they are aborted
    #[arg(long, value_name = "SECS", default_value = "5", value_parser = seconds)]
    pub(crate) close_within: std::time::Duration,
    /// Print one JSON object per line and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `listen` takes.
#[derive(Debug, Args)]
pub(crate) struct ListenOptions {
    /// The SCTP port to accept associations on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// What to do with messages
    #[arg(long, value_enum, default_value_t = ListenMode::Print)]
    pub(crate) mode: ListenMode,
    /// End after this many associations have ended
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max: Option<u64>,
    #[command(flatten)]
    pub(crate) network: NetworkOptions,
}

/// What a listener does with the messages it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListenMode {
    /// Take and forget them
    Discard,
    /// Send each back, on the same stream
    Echo,
    /// Write them to standard output
    Print,
}

/// What `connect` takes.
#[derive(Debug, Args)]
pub(crate) struct ConnectOptions {
    /// The peer's addresses, tried in this order; a host name stands for all that it has
    #[arg(required = true, value_name = "ADDR")]
    pub(crate) addresses: Vec<Peer>,
    /// The peer's SCTP port
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The local SCTP port [default: one that is free]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) local_port: Option<u16>,
    /// How long the association may take to come up
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub(crate) timeout: Option<std::time::Duration>,
    /// What an ABORT from one address means: the end, or the turn of the next address
    #[arg(long, value_enum, default_value_t = OnRefused::Fail)]
    pub(crate) on_refused: OnRefused,
    /// Ask one address after the other at this interval, in milliseconds, instead of waiting for each to time out; the
    /// first answer wins
    #[arg(
        long,
        value_name = "MS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "250",
        value_parser = milliseconds,
    )]
    pub(crate) race: Option<std::time::Duration>,
    /// After the end of input, wait for the peer to close
    ///
    /// Without it the association is closed then, and answers that the peer has not sent yet do not come.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Show a live view of the paths instead of the messages received; q ends it
    ///
    /// Standard input is read only if it is no terminal: else it takes --count to send anything. Idle paths get a
    /// HEARTBEAT each second, so that the view is up to date.
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) message: MessageOptions,
    #[command(flatten)]
    pub(crate) network: NetworkOptions,
}

/// What `ping` takes.
#[derive(Debug, Args)]
pub(crate) struct PingOptions {
    /// The peer's addresses or host names, tried in this order; all that it has are pinged
    #[arg(required = true, value_name = "ADDR")]
    pub(crate) addresses: Vec<Peer>,
    /// The peer's SCTP port
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// HEARTBEATs to each address [default: until interrupted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Time from one HEARTBEAT to the next on each path
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: std::time::Duration,
    /// The local SCTP port [default: one that is free]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) local_port: Option<u16>,
    /// How long the association may take to come up
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub(crate) timeout: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) network: NetworkOptions,
}

const PING_EXAMPLES: &str = "\
At most one HEARTBEAT of a path is on its way; it is lost if no answer comes within the RTO (1 s,
2 s after a loss). Exit status: 0 if at least one was answered, 1 if none.

Examples:
  usctp ping --port 3868 192.0.2.1 198.51.100.1          until Ctrl-C
  usctp ping --port 3868 192.0.2.1 --count 5 --json      five to each of the peer's addresses";

/// What `connect` sends, and how.
#[derive(Debug, Args)]
pub(crate) struct MessageOptions {
    /// The stream that messages are sent on
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) stream: u16,
    /// The payload protocol identifier of the messages
    #[arg(long, value_name = "P", default_value_t = 0)]
    pub(crate) ppid: u32,
    /// Send unordered messages
    #[arg(long)]
    pub(crate) unordered: bool,
    /// How many outbound streams to ask for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) streams: Option<u16>,
    /// Read blocks of --size bytes instead of lines; write messages without adding line ends
    #[arg(long)]
    pub(crate) binary: bool,
    /// Send this many generated messages instead of standard input
    #[arg(long, value_name = "N", conflicts_with = "binary")]
    pub(crate) count: Option<u64>,
    /// Bytes in a generated message or a binary block
    #[arg(long, value_name = "B", default_value_t = 1024, value_parser = message_size)]
    pub(crate) size: usize,
}

/// What a refusal by one address means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnRefused {
    /// The attempt fails at once
    Fail,
    /// The next address is tried
    Next,
}

/// What `decode` takes.
#[derive(Debug, Args)]
pub(crate) struct DecodeOptions {
    /// The capture file; `-` for standard input
    pub(crate) file: PathBuf,
    /// Look for SCTP behind this UDP port (repeatable)
    #[arg(
        long,
        value_name = "PORT",
        default_value = "9899",
        value_parser = clap::value_parser!(u16).range(1..),
    )]
    pub(crate) udp_port: Vec<u16>,
    /// Print one JSON object per packet and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `perf` takes.
#[derive(Debug, Args)]
pub(crate) struct PerfOptions {
    /// The server's addresses, tried in this order; a host name stands for all that it has
    #[arg(required_unless_present = "server", conflicts_with = "server", value_name = "ADDR")]
    pub(crate) addresses: Vec<Peer>,
    /// Serve: count what clients send, answer what they want answered
    #[arg(
        long,
        conflicts_with_all = ["time", "bytes", "size", "streams", "unordered", "mode", "parallel"],
    )]
    pub(crate) server: bool,
    /// The server's SCTP port
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The local SCTP port of a client [default: one that is free]; with --parallel, the first of as many
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "server",
        value_parser = clap::value_parser!(u16).range(1..),
    )]
    pub(crate) local_port: Option<u16>,
    /// How long to measure [default: 10, or as long as --bytes takes]
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub(crate) time: Option<std::time::Duration>,
    /// End after this many bytes of messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) bytes: Option<u64>,
    #[command(flatten)]
    pub(crate) message: PerfMessageOptions,
    /// What to measure
    #[arg(long, value_enum, default_value_t = PerfMode::Bulk)]
    pub(crate) mode: PerfMode,
    /// In mode setup, set up and close this many associations at the same time, each from a port of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: u16,
    #[command(flatten)]
    pub(crate) recovery: RecoveryOptions,
    /// The greatest IP packet to send, in bytes (default: what the link takes and the path is found to take)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(68..))]
    pub(crate) path_mtu: Option<u16>,
    /// Show a live view of the paths in place of the lines; q ends it
    ///
    /// Not in mode setup, where no association stays. Idle paths get a HEARTBEAT each second, so that the view is up to date.
    #[arg(long, conflicts_with_all = ["json", "server"])]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) network: NetworkOptions,
}

/// What `perf` sends.
#[derive(Debug, Args)]
pub(crate) struct PerfMessageOptions {
    /// Bytes in a message [default: 1400; 64 in mode latency]
    #[arg(long, value_name = "B", value_parser = message_size)]
    pub(crate) size: Option<usize>,
    /// Send on this many streams in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) streams: u16,
    /// Send unordered messages
    #[arg(long)]
    pub(crate) unordered: bool,
}

/// How losses are found, and how fast is sent: this side's own affair, so the other one may have it otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args, Serialize)]
pub(crate) struct RecoveryOptions {
    /// How losses are found
    #[arg(long, value_enum, default_value_t = Recovery::Rfc9260)]
    recovery: Recovery,
    /// How the congestion window grows and shrinks
    #[arg(long, value_enum, default_value_t = Congestion::Rfc9260)]
    congestion: Congestion,
    /// Spread packets over the round trip instead of sending them in bursts
    #[arg(long)]
    pacing: bool,
}

/// How losses are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Recovery {
    /// By three missing reports and T3-rtx (RFC 9260)
    Rfc9260,
    /// By time, and by probes for losses at the end (RACK-TLP, RFC 8985)
    Rack,
}

/// How the congestion window grows and shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Congestion {
    /// By a chunk for each window, and to the half (RFC 9260)
    Rfc9260,
    /// Along a curve of time, and to 0.7 (CUBIC, RFC 9438)
    Cubic,
}

impl RecoveryOptions {
    /// The same for the stack.
    pub(crate) fn chosen(self) -> usctp::RecoveryOptions {
        let detection = match self.recovery {
            Recovery::Rfc9260 => LossDetection::Rfc9260,
            Recovery::Rack => LossDetection::Rack,
        };
        let control = match self.congestion {
            Congestion::Rfc9260 => CongestionControl::Rfc9260,
            Congestion::Cubic => CongestionControl::Cubic,
        };
        let chosen = usctp::RecoveryOptions::new(detection, control);
        if self.pacing { chosen.paced() } else { chosen }
    }
}

/// What `perf` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PerfMode {
    /// Goodput: as much as goes through
    Bulk,
    /// Round-trip time: one message and its answer at a time
    Latency,
    /// Associations set up and closed, one after the other or --parallel
    Setup,
}

fn percentage(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..100.0).contains(&percent) => Ok(percent),
        _ => Err("a percentage from 0 up to 100, exclusive, is needed".to_owned()),
    }
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds = text.parse::<f64>().map_err(|_| "a number of seconds is needed".to_owned())?;
    match std::time::Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("a number of seconds above 0 is needed".to_owned()),
    }
}

fn milliseconds(text: &str) -> Result<std::time::Duration, String> {
    match text.parse::<u64>() {
        Ok(count @ 1..=60_000) => Ok(std::time::Duration::from_millis(count)),
        _ => Err("a number of milliseconds from 1 to 60000 is needed".to_owned()),
    }
}

/// The greatest message in bytes; the buffers of the program take several.
pub(crate) const MESSAGE_MAX: usize = 1 << 20;

fn message_size(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(size) if (1..=MESSAGE_MAX).contains(&size) => Ok(size),
        _ => Err(format!("a number of bytes from 1 to {MESSAGE_MAX} is needed")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn udp_takes_its_port_only_behind_an_equals_sign() {
        let parse = |arguments: &[&str]| {
            let words = [&["usctp", "connect", "--port", "7"], arguments].concat();
            match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
                Ok(Command::Connect(options)) => Some((options.network.udp, options.addresses)),
                _ => None,
            }
        };
        let peers = vec!["192.0.2.1".parse::<Peer>().unwrap()];
        assert_eq!(parse(&["192.0.2.1"]), Some((None, peers.clone())));
        assert_eq!(parse(&["--udp", "192.0.2.1"]), Some((Some(9899), peers.clone())));
        assert_eq!(parse(&["--udp=5000", "192.0.2.1"]), Some((Some(5000), peers)));
        assert_eq!(parse(&["--udp=0", "192.0.2.1"]), None);
    }

    #[test]
    fn a_race_takes_its_interval_only_behind_an_equals_sign() {
        let parse = |arguments: &[&str]| {
            let words = [&["usctp", "connect", "--port", "7", "192.0.2.1"], arguments].concat();
            match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
                Ok(Command::Connect(options)) => Some(options.race.map(|race| race.as_millis())),
                _ => None,
            }
        };
        assert_eq!(parse(&[]), Some(None));
        assert_eq!(parse(&["--race"]), Some(Some(250)));
        assert_eq!(parse(&["--race=30"]), Some(Some(30)));
        assert_eq!(parse(&["--race", "192.0.2.2"]), Some(Some(250)));
        for wrong in ["--race=0", "--race=60001", "--race=1s"] {
            assert_eq!(parse(&[wrong]), None, "{wrong}");
        }
    }

    #[test]
    fn perf_recovers_as_rfc_9260_has_it_unless_it_is_told() {
        let parse = |arguments: &[&str]| {
            let words = [&["usctp", "perf", "--port", "7"], arguments].concat();
            match Arguments::try_parse_from(words).ok()?.command {
                Command::Perf(options) => Some(options.recovery.chosen()),
                _ => None,
            }
        };
        assert_eq!(parse(&["192.0.2.1"]), Some(usctp::RecoveryOptions::default()));
        let all = ["192.0.2.1", "--recovery", "rack", "--congestion", "cubic", "--pacing"];
        let told =
            usctp::RecoveryOptions::new(LossDetection::Rack, CongestionControl::Cubic).paced();
        assert_eq!(parse(&all), Some(told));
        // A server sends answers.
        assert_eq!(parse(&[&["--server"], &all[1..]].concat()), Some(told));
        assert_eq!(parse(&["192.0.2.1", "--recovery", "cubic"]), None);
    }
}
