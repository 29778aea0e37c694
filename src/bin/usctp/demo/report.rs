//! The report: what became of each address, how the link was lost and found, how fast it went, and the hash.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use serde::Serialize;

use super::act::Act;
use super::story::{Happening, milliseconds};
use super::transfer::Hash;
use crate::output::Styles;

/// What is known at the end.
pub(crate) struct Outcome {
    pub(crate) bytes: u64,
    pub(crate) transport: &'static str,
    pub(crate) closed: bool,
    pub(crate) sha256_match: bool,
    pub(crate) retransmitted: u64,
    /// Packets passed on and lost on purpose.
    pub(crate) relayed: Option<(u64, u64)>,
}

/// The report, as the last line of JSON has it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    event: &'static str,
    /// Every part of the play went as it should.
    pub(crate) ok: bool,
    bytes: u64,
    received: u64,
    sha256: String,
    sha256_match: bool,
    /// From the cut to the first message that arrived after the dead path was left (potentially failed, RFC 7829).
    failover_ms: Option<f64>,
    /// The longest time without a message that arrived, between the cut and the restoration.
    longest_silence_ms: Option<f64>,
    /// From the cut until the dead path was given up (inactive, RFC 9260, section 8.2).
    inactive_ms: Option<f64>,
    /// From the restoration of the link to the HEARTBEAT ACK that made its path active again.
    active_again_ms: Option<f64>,
    dropped: Vec<IpAddr>,
    transport: &'static str,
    closed_gracefully: bool,
    retransmitted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<Relay>,
    goodput: Goodput,
    #[serde(skip)]
    addresses: Vec<Tried>,
}

#[derive(Debug, Serialize)]
struct Relay {
    passed: u64,
    lost: u64,
}

/// Bits per second of messages that arrived.
#[derive(Debug, Serialize)]
struct Goodput {
    before_bps: Option<f64>,
    during_bps: Option<f64>,
    after_bps: Option<f64>,
}

/// What became of a listed address.
#[derive(Debug)]
struct Tried {
    address: IpAddr,
    lines: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        outcome: &Outcome,
        act: &Act,
        deliveries: &[(Instant, u64)],
        told: &[(Duration, Happening)],
        hash: Hash,
    ) -> Self {
        let between = |from: Option<Instant>, to: Option<Instant>| {
            Some(milliseconds(to?.saturating_duration_since(from?)))
        };
        let failover_ms = between(act.cut.map(|cut| cut.at), act.failed_over);
        let received = deliveries.last().map_or(0, |(_, bytes)| *bytes);
        let dropped = told.iter().filter_map(|(_, happening)| match happening {
            Happening::Dropped { address, .. } => Some(*address),
            _ => None,
        });
        let dropped: Vec<IpAddr> = dropped.collect();
        let whole = outcome.sha256_match && received == outcome.bytes;
        Self {
            event: "demo",
            ok: whole && outcome.closed && failover_ms.is_some() && !dropped.is_empty(),
            bytes: outcome.bytes,
            received,
            sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            sha256_match: outcome.sha256_match,
            failover_ms,
            longest_silence_ms: longest_silence(act, deliveries).map(milliseconds),
            inactive_ms: between(act.cut.map(|cut| cut.at), act.inactive),
            active_again_ms: between(act.restored, act.active_again),
            dropped,
            transport: outcome.transport,
            closed_gracefully: outcome.closed,
            retransmitted: outcome.retransmitted,
            relay: outcome.relayed.map(|(passed, lost)| Relay { passed, lost }),
            goodput: Goodput::new(act, deliveries),
            addresses: tried(told),
        }
    }

    /// The report for people.
    pub(crate) fn text(&self, styles: Styles) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text, styles);
        text
    }

    fn write(&self, f: &mut String, styles: Styles) -> std::fmt::Result {
        let Styles { strong, bad, .. } = styles;
        writeln!(f, "\n{strong}Addresses given to connectx{strong:#}")?;
        for Tried { address, lines } in &self.addresses {
            writeln!(f, "  {:<12} {}", address.to_string(), lines.join("; "))?;
        }
        writeln!(f, "{strong}Failover{strong:#}")?;
        match self.failover_ms {
            Some(time) => {
                writeln!(
                    f,
                    "  {time:.0} ms from the cut until data flowed on over the other link"
                )?;
            }
            None => {
                writeln!(f, "  {bad}not seen{bad:#}")?;
            }
        }
        if let Some(time) = self.longest_silence_ms {
            writeln!(f, "  {time:.0} ms was the longest time without a message that arrived")?;
        }
        if let Some(time) = self.inactive_ms {
            writeln!(f, "  {time:.0} ms from the cut until the path was given up as inactive")?;
        }
        if let Some(time) = self.active_again_ms {
            writeln!(
                f,
                "  {time:.0} ms from the restoration until a HEARTBEAT ACK made the path active again"
            )?;
        }
        self.write_goodput(f, styles)?;
        self.write_check(f, styles)
    }

    fn write_goodput(&self, f: &mut String, styles: Styles) -> std::fmt::Result {
        let Styles { strong, faint, .. } = styles;
        writeln!(f, "{strong}Goodput{strong:#}")?;
        let Goodput { before_bps, during_bps, after_bps } = &self.goodput;
        for (when, rate) in [
            ("before the cut", before_bps),
            ("cut to failover", during_bps),
            ("after the failover", after_bps),
        ] {
            writeln!(f, "  {:<20} {}", when, rate.map_or("-".to_owned(), human_rate))?;
        }
        writeln!(f, "  {faint}{} DATA chunks were sent again{faint:#}", self.retransmitted)?;
        if let Some(Relay { passed, lost }) = &self.relay {
            writeln!(
                f,
                "  {faint}the relay passed {passed} packets on and lost {lost} on purpose{faint:#}"
            )?;
        }
        Ok(())
    }

    fn write_check(&self, f: &mut String, styles: Styles) -> std::fmt::Result {
        let Styles { strong, faint, good, bad } = styles;
        let verdict = |ok: bool| if ok { good } else { bad };
        writeln!(f, "{strong}Check{strong:#}")?;
        let style = verdict(self.sha256_match);
        let same =
            if self.sha256_match { "the same on both ends" } else { "DIFFERENT on both ends" };
        writeln!(f, "  {style}SHA-256 {same}{style:#}  {faint}{}{faint:#}", self.sha256)?;
        let (received, bytes) = (HumanBytes(self.received), HumanBytes(self.bytes));
        writeln!(
            f,
            "  {received} of {bytes} arrived in order ({} of {} bytes)",
            self.received, self.bytes
        )?;
        let style = verdict(self.ok);
        let end = if self.ok { "All went as it should." } else { "Not all went as it should." };
        writeln!(f, "\n{style}{end}{style:#}")
    }
}

impl Goodput {
    fn new(act: &Act, deliveries: &[(Instant, u64)]) -> Self {
        let received_at = |time: Instant| {
            let later = deliveries.partition_point(|(at, _)| *at <= time);
            later
                .checked_sub(1)
                .and_then(|last| deliveries.get(last))
                .map_or(0, |(_, bytes)| *bytes)
        };
        let rate = |from: Option<Instant>, to: Option<Instant>| {
            let (from, to) = (from?, to?);
            let seconds = to.checked_duration_since(from)?.as_secs_f64();
            let bytes = received_at(to) - received_at(from);
            (seconds > 0.0).then(|| (bytes * 8) as f64 / seconds)
        };
        let (cut, resumed) = (act.cut.map(|cut| cut.at), act.failed_over);
        let last = deliveries.last().map(|(at, _)| *at);
        Self {
            before_bps: rate(act.began, cut),
            during_bps: rate(cut, resumed),
            after_bps: rate(resumed, last),
        }
    }
}

/// From one message to the next; the first of them may have come before the cut.
fn longest_silence(act: &Act, deliveries: &[(Instant, u64)]) -> Option<Duration> {
    let (cut, end) = (act.cut?.at, act.restored?);
    let pairs = deliveries.iter().zip(deliveries.iter().skip(1));
    let after = pairs.filter(|((_, _), (next, _))| *next > cut && *next <= end);
    after.map(|((at, _), (next, _))| next.duration_since((*at).max(cut))).max()
}

/// What was told of each listed address, in the order of the list.
fn tried(told: &[(Duration, Happening)]) -> Vec<Tried> {
    let listed = told.iter().find_map(|(_, happening)| match happening {
        Happening::Connecting { addresses } => Some(addresses.clone()),
        _ => None,
    });
    let of = |address: IpAddr| {
        let mut lines: Vec<String> =
            told.iter().filter_map(|(at, happening)| line(address, *at, happening)).collect();
        if !lines.iter().any(|line| line.starts_with("INIT")) {
            lines.insert(0, "no INIT was sent to it".to_owned());
        }
        Tried { address, lines }
    };
    listed.unwrap_or_default().into_iter().map(of).collect()
}

fn line(address: IpAddr, at: Duration, happening: &Happening) -> Option<String> {
    let seconds = at.as_secs_f64();
    match happening {
        Happening::Tried { address: tried, attempt } if *tried == address => {
            Some(format!("INIT {attempt} at {seconds:.3} s"))
        }
        Happening::MovedOn { address: left, reason } if *left == address => {
            Some(format!("left at {seconds:.3} s ({reason})"))
        }
        Happening::Dropped { address: dropped, reason } if *dropped == address => {
            Some(format!("dropped at {seconds:.3} s ({reason})"))
        }
        Happening::CommUp { primary, .. } if *primary == address => {
            Some(format!("answered: established at {seconds:.3} s, primary path"))
        }
        _ => None,
    }
}

fn human_rate(bits: f64) -> String {
    match bits {
        bits if bits >= 1e9 => format!("{:.2} Gbit/s", bits / 1e9),
        bits if bits >= 1e6 => format!("{:.1} Mbit/s", bits / 1e6),
        bits => format!("{:.1} kbit/s", bits / 1e3),
    }
}
