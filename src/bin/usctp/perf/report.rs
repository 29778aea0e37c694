//! What `perf` prints: a line each second and a summary, as text or as JSON.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use usctp::{CongestionControl, LossDetection, Stack};

use super::histogram::Histogram;
use crate::args::RecoveryOptions;
use crate::exit::Failure;
use crate::output::{Output, json_line, standard_output};
use crate::watch::Log;

/// Writes lines as they come.
pub(super) struct Reporter<'a> {
    stack: &'a Stack,
    /// Packets dropped that earlier summaries told of.
    dropped: u64,
    json: bool,
    started: Instant,
    out: Output,
    log: Option<Log>,
    recovery: RecoveryOptions,
}

/// A line; the fields are those of the JSON object.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Line {
    /// The server can be connected to.
    Listening { port: u16, addresses: Vec<IpAddr>, transport: &'static str },
    /// The client's association is there.
    CommUp { primary: IpAddr },
    /// What a second brought.
    Second(Figures),
    /// What all of it brought.
    Summary(Summary),
}

/// What all of it brought, how this side recovers from losses, and what this host lost by itself.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    figures: Figures,
    #[serde(flatten)]
    recovery: RecoveryOptions,
    /// Packets that came while the receive buffer was full.
    receive_drops: u64,
    /// Bytes of packets that it holds.
    receive_buffer: Option<usize>,
}

/// What is measured in each mode.
#[derive(Debug, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub(super) enum Figures {
    /// A client's goodput.
    Bulk {
        #[serde(flatten)]
        volume: Volume,
        retransmitted: u64,
        path_mtu: usize,
    },
    /// A client's round-trip times.
    Latency { seconds: f64, round_trips: u64, p50_us: Option<f64>, p99_us: Option<f64> },
    /// A client's associations.
    Setup {
        /// How many at a time.
        parallel: u16,
        seconds: f64,
        associations: u64,
        per_second: f64,
        p50_us: Option<f64>,
        p99_us: Option<f64>,
    },
    /// What a server received.
    Server {
        #[serde(flatten)]
        volume: Volume,
        /// Associations that were accepted.
        associations: u64,
    },
}

/// How much in how long.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Volume {
    seconds: f64,
    bytes: u64,
    messages: u64,
    goodput_bps: f64,
}

#[derive(Serialize)]
struct Timed<'a> {
    #[serde(flatten)]
    line: &'a Line,
    at_ms: f64,
}

impl Volume {
    /// Bytes and messages, and the time they took.
    pub(super) fn new(time: Duration, bytes: u64, messages: u64) -> Self {
        let seconds = time.as_secs_f64();
        Self { seconds, bytes, messages, goodput_bps: rate(bytes as f64 * 8.0, time) }
    }
}

impl Figures {
    /// Round trips and the time they took together.
    pub(super) fn latency(time: Duration, round_trips: &Histogram) -> Self {
        Self::Latency {
            seconds: time.as_secs_f64(),
            round_trips: round_trips.total(),
            p50_us: round_trips.quantile_us(0.5),
            p99_us: round_trips.quantile_us(0.99),
        }
    }

    /// Associations, so many of them at a time, and the time they took together.
    pub(super) fn setup(parallel: u16, time: Duration, associations: &Histogram) -> Self {
        Self::Setup {
            parallel,
            seconds: time.as_secs_f64(),
            associations: associations.total(),
            per_second: rate(associations.total() as f64, time),
            p50_us: associations.quantile_us(0.5),
            p99_us: associations.quantile_us(0.99),
        }
    }
}

/// So many a second; zero if there was no time.
fn rate(count: f64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count / time.as_secs_f64() }
}

impl<'a> Reporter<'a> {
    /// Times count from now.
    pub(super) fn new(json: bool, recovery: RecoveryOptions, stack: &'a Stack) -> Self {
        let started = Instant::now();
        Self { stack, dropped: 0, json, started, out: standard_output(), log: None, recovery }
    }

    /// From now on lines go to the log of a live view; without one, to standard output again.
    pub(super) fn set_log(&mut self, log: Option<Log>) {
        self.log = log;
    }

    /// Writes what all of it brought, with what the links lost since the last summary.
    pub(super) fn summarize(&mut self, figures: Figures) -> Result<(), Failure> {
        let statistics = self.stack.statistics();
        let dropped = std::mem::replace(&mut self.dropped, statistics.links.receive_drops);
        self.tell(&Line::Summary(Summary {
            figures,
            recovery: self.recovery,
            receive_drops: self.dropped.saturating_sub(dropped),
            receive_buffer: statistics.buffers.map(|buffers| buffers.receive),
        }))
    }

    /// Writes a line at once.
    pub(super) fn tell(&mut self, line: &Line) -> Result<(), Failure> {
        if let Some(log) = &self.log {
            log.add(&line.to_string());
            return Ok(());
        }
        if self.json {
            // Microseconds are as exact as it gets.
            let at_ms = self.started.elapsed().as_micros() as f64 / 1e3;
            json_line(&mut self.out, &Timed { line, at_ms })?;
        } else {
            writeln!(self.out, "{line}")?;
        }
        Ok(self.out.flush()?)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { port, addresses, transport } => {
                write!(f, "listening on port {port} ({transport}) of ")?;
                addresses.iter().enumerate().try_for_each(|(index, address)| {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{address}")
                })
            }
            Self::CommUp { primary } => write!(f, "connected to {primary}"),
            Self::Second(figures) => write!(f, "{figures}"),
            Self::Summary(summary) => write!(f, "in all: {summary}"),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figures, recovery, receive_drops, receive_buffer } = self;
        write!(f, "{figures}{}", Chosen(recovery.chosen()))?;
        if *receive_drops == 0 {
            return Ok(());
        }
        let room = receive_buffer.unwrap_or_default() >> 10;
        write!(f, ", {receive_drops} packets lost by this host's receive buffer of {room} KiB")
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bulk { volume, retransmitted, path_mtu } => write!(
                f,
                "{volume}, {retransmitted} chunks sent again, greatest packet {path_mtu} bytes"
            ),
            Self::Latency { seconds, round_trips, p50_us, p99_us } => write!(
                f,
                "{round_trips} round trips in {seconds:.2} s, {}",
                Quantiles(*p50_us, *p99_us)
            ),
            Self::Setup { parallel, seconds, associations, per_second, p50_us, p99_us } => write!(
                f,
                "{associations} associations set up and closed, {parallel} at a time, in \
                 {seconds:.2} s, {per_second:.0} a second, {}",
                Quantiles(*p50_us, *p99_us)
            ),
            Self::Server { volume, associations } => {
                write!(f, "{volume}, {associations} associations accepted")
            }
        }
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, bytes, messages, goodput_bps } = self;
        let megabits = goodput_bps / 1e6;
        write!(f, "{messages} messages, {bytes} bytes in {seconds:.2} s, {megabits:.1} Mbit/s")
    }
}

/// How losses are recovered from, where that is not as in RFC 9260.
struct Chosen(usctp::RecoveryOptions);

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.detection == LossDetection::Rack {
            f.write_str(", losses found by time")?;
        }
        if self.0.control == CongestionControl::Cubic {
            f.write_str(", window of CUBIC")?;
        }
        if self.0.pacing { f.write_str(", paced") } else { Ok(()) }
    }
}

/// The median and the 99th percentile in microseconds.
struct Quantiles(Option<f64>, Option<f64>);

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Some(median), Some(high)) => {
                write!(f, "half within {median:.1} us, 99 % within {high:.1} us")
            }
            _ => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn json(line: &Line) -> serde_json::Value {
        serde_json::to_value(Timed { line, at_ms: 1.5 }).unwrap()
    }

    /// A summary with these options of the command line.
    fn summary(figures: Figures, options: &str, receive_drops: u64) -> Line {
        #[derive(Parser)]
        struct Words {
            #[command(flatten)]
            recovery: RecoveryOptions,
        }
        let words = ["perf"].into_iter().chain(options.split_whitespace());
        let recovery = Words::parse_from(words).recovery;
        Line::Summary(Summary { figures, recovery, receive_drops, receive_buffer: Some(4 << 20) })
    }

    #[test]
    fn a_summary_tells_of_packets_that_this_host_lost_only_if_there_are_any() {
        let volume = Volume::new(Duration::from_secs(1), 1000, 10);
        let figures = || Figures::Server { volume, associations: 1 };
        let text = |drops| summary(figures(), "", drops).to_string();
        assert!(text(0).ends_with("1 associations accepted"), "{}", text(0));
        let loss = "accepted, 2 packets lost by this host's receive buffer of 4096 KiB";
        assert!(text(2).ends_with(loss), "{}", text(2));
    }

    #[test]
    fn summaries_have_the_fields_that_other_programs_parse() {
        let volume = Volume::new(Duration::from_secs(2), 1000, 10);
        let bulk = summary(Figures::Bulk { volume, retransmitted: 3, path_mtu: 1500 }, "", 7);
        let expected = serde_json::json!({
            "event": "summary", "mode": "bulk", "seconds": 2.0, "bytes": 1000, "messages": 10,
            "goodput_bps": 4000.0, "retransmitted": 3, "path_mtu": 1500,
            "recovery": "rfc9260", "congestion": "rfc9260", "pacing": false,
            "receive_drops": 7, "receive_buffer": 4_194_304, "at_ms": 1.5
        });
        assert_eq!(json(&bulk), expected);
        let mut times = Histogram::default();
        times.record(Duration::from_nanos(50));
        let figures = Figures::latency(Duration::from_secs(1), &times);
        let latency = json(&summary(figures, "--recovery rack --congestion cubic --pacing", 0));
        let expected = serde_json::json!({
            "event": "summary", "mode": "latency", "seconds": 1.0, "round_trips": 1,
            "p50_us": 0.05, "p99_us": 0.05,
            "recovery": "rack", "congestion": "cubic", "pacing": true,
            "receive_drops": 0, "receive_buffer": 4_194_304, "at_ms": 1.5
        });
        assert_eq!(latency, expected);
        let setup = json(&summary(Figures::setup(8, Duration::from_millis(500), &times), "", 0));
        assert_eq!((&setup["associations"], &setup["per_second"]), (&1.into(), &2.0.into()));
        assert_eq!(setup["parallel"], 8);
        let server = json(&Line::Second(Figures::Server { volume, associations: 4 }));
        assert_eq!((&server["event"], &server["mode"]), (&"second".into(), &"server".into()));
        assert_eq!((&server["messages"], &server["associations"]), (&10.into(), &4.into()));
        assert_eq!(server["recovery"], serde_json::Value::Null, "it is the same in each second");
    }

    #[test]
    fn a_summary_names_what_is_not_as_in_rfc_9260() {
        let text = |options| {
            let volume = Volume::new(Duration::from_secs(1), 1, 1);
            summary(Figures::Server { volume, associations: 1 }, options, 0).to_string()
        };
        assert!(text("").ends_with("1 associations accepted"));
        assert!(text("--recovery rack").ends_with("accepted, losses found by time"));
        assert!(text("--congestion cubic --pacing").ends_with(", window of CUBIC, paced"));
    }

    #[test]
    fn no_time_is_no_rate() {
        assert_eq!(Volume::new(Duration::ZERO, 1, 1).goodput_bps, 0.0);
    }
}
