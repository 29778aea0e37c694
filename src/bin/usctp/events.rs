//! What `listen` and `connect` tell: JSON lines on standard output, or sentences on standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use usctp::{
    ActiveReason, AddressChange, Association, AssociationId, Error, Event, FailureReason,
    IgnoredReason, LostReason, MovedOn, MtuReason, PathState, PrimaryReason, Received,
    RemovedReason,
};

use crate::output::{Output, json_line, standard_output, write_escaped};
use crate::watch::Log;

/// Writes what happens, from whichever task it happens in.
pub(crate) struct Reporter {
    json: bool,
    /// Where text goes while a live view has the terminal.
    log: Option<Log>,
    /// Whether standard output is a terminal.
    terminal: bool,
    started: Instant,
    out: Mutex<Output>,
}

/// Something that is told; the fields are those of the JSON line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Line {
    Listening { port: u16, addresses: Vec<IpAddr>, transport: &'static str },
    ListedTwice { address: IpAddr, index: usize },
    Tried { address: IpAddr, attempt: u32 },
    MovedOn { address: IpAddr, reason: &'static str },
    Dropped { address: IpAddr, reason: &'static str },
    Ignored { association: u64, address: IpAddr, reason: &'static str },
    CommUp(CommUp),
    Path { association: u64, address: IpAddr, state: &'static str, reason: &'static str },
    Primary { association: u64, address: IpAddr, reason: &'static str },
    PathMtu { association: u64, address: IpAddr, mtu: usize, reason: &'static str },
    Restart { association: u64 },
    RemoteError { association: u64, cause: String, cause_code: u16 },
    CommLost(CommLost),
    Closed(Closed),
}

/// An association is established.
#[derive(Debug, Serialize)]
pub(crate) struct CommUp {
    association: u64,
    peer: Vec<IpAddr>,
    peer_port: u16,
    local_port: u16,
    streams_in: u16,
    streams_out: u16,
    primary: IpAddr,
}

/// An association was lost.
#[derive(Debug, Serialize)]
pub(crate) struct CommLost {
    association: u64,
    reason: String,
    kind: &'static str,
    /// The error cause of the ABORT, if it was by one and had one.
    cause: Option<String>,
    cause_code: Option<u16>,
}

/// An association was closed gracefully.
#[derive(Debug, Serialize)]
pub(crate) struct Closed {
    pub(crate) association: u64,
    #[serde(flatten)]
    pub(crate) received: Tally,
    pub(crate) messages_sent: u64,
    pub(crate) bytes_sent: u64,
}

/// How many messages passed one way, and how many bytes they had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    messages: u64,
    bytes: u64,
}

impl Tally {
    /// One more, of so many bytes.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

impl Closed {
    pub(crate) fn new(association: AssociationId, received: Tally, sent: Tally) -> Self {
        let Tally { messages, bytes } = sent;
        Self { association: association.0, received, messages_sent: messages, bytes_sent: bytes }
    }
}

/// A message as a line; its data is large, so it is written without a copy in between.
#[derive(Serialize)]
struct MessageLine<'a> {
    event: &'static str,
    association: u64,
    stream: u16,
    ppid: u32,
    unordered: bool,
    bytes: usize,
    data: &'a str,
    at_ms: f64,
}

#[derive(Serialize)]
struct Timed<'a, L> {
    #[serde(flatten)]
    line: &'a L,
    at_ms: f64,
}

impl Reporter {
    /// Times count from now.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let (started, out) = (Instant::now(), Mutex::new(standard_output()));
        Self { json, log: None, terminal, started, out }
    }

    /// For the time of a live view: what is told goes to its log, and messages go nowhere.
    pub(crate) fn with_log(log: Log) -> Self {
        Self { log: Some(log), ..Self::new(false) }
    }

    /// Tells something at once.
    pub(crate) fn tell(&self, line: &Line) -> io::Result<()> {
        if let Some(log) = &self.log {
            log.add(&line.to_string());
            return Ok(());
        }
        if !self.json {
            // Where nobody reads standard error, the results still matter.
            let _ = writeln!(io::stderr(), "usctp: {line}");
            return Ok(());
        }
        self.result(line)
    }

    /// Writes a line that is a result of its own: as text too, it goes to standard output.
    pub(crate) fn result(&self, line: &(impl Serialize + fmt::Display)) -> io::Result<()> {
        let mut out = self.lock();
        if self.json {
            json_line(&mut *out, &Timed { line, at_ms: self.at_ms() })?;
        } else {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    /// Tells an event of an association, unless it is one that only the program itself needs.
    pub(crate) fn event(&self, association: &Association, event: &Event) -> io::Result<()> {
        match line(association, event) {
            Some(line) => self.tell(&line),
            None => Ok(()),
        }
    }

    /// Writes a message, which [`flush`](Self::flush) makes visible.
    ///
    /// As text, a line is ended if the message does not end it; with `binary`, nothing is added. What a terminal would obey
    /// does not reach one.
    pub(crate) fn message(
        &self,
        association: AssociationId,
        message: &Received,
        binary: bool,
    ) -> io::Result<()> {
        if self.log.is_some() {
            return Ok(());
        }
        let mut out = self.lock();
        if self.json {
            let line = MessageLine {
                event: "message",
                association: association.0,
                stream: message.stream.0,
                ppid: message.ppid.0,
                unordered: message.unordered,
                bytes: message.payload.len(),
                data: &STANDARD.encode(&message.payload),
                at_ms: self.at_ms(),
            };
            return json_line(&mut *out, &line);
        }
        if self.terminal {
            write_escaped(&mut *out, &message.payload)?;
        } else {
            out.write_all(&message.payload)?;
        }
        match message.payload.last() {
            Some(b'\n') => Ok(()),
            _ if binary => Ok(()),
            _ => out.write_all(b"\n"),
        }
    }

    /// Hands on what was written.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.lock().flush()
    }

    fn at_ms(&self) -> f64 {
        // Microseconds are as exact as it gets.
        self.started.elapsed().as_micros() as f64 / 1e3
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Output> {
        self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn line(association: &Association, event: &Event) -> Option<Line> {
    let id = association.id().0;
    let path =
        |address, state, reason| Some(Line::Path { association: id, address, state, reason });
    match *event {
        Event::ListedTwice { index, peer } => Some(Line::ListedTwice { address: peer, index }),
        Event::Tried { peer, attempt } => Some(Line::Tried { address: peer, attempt }),
        Event::MovedOn { peer, reason } => {
            let reason = match reason {
                MovedOn::Timeout => "timeout",
                MovedOn::Unreachable => "unreachable",
                MovedOn::Refused => "refused",
            };
            Some(Line::MovedOn { address: peer, reason })
        }
        Event::CommUp { primary, outbound_streams, inbound_streams, .. } => {
            Some(Line::CommUp(CommUp {
                association: id,
                peer: association.paths().iter().map(|path| path.peer).collect(),
                peer_port: association.peer_port(),
                local_port: association.local_port(),
                streams_in: inbound_streams,
                streams_out: outbound_streams,
                primary,
            }))
        }
        Event::Restart => Some(Line::Restart { association: id }),
        Event::CommLost(ref reason) => Some(Line::CommLost(CommLost {
            association: id,
            reason: Error::Lost(reason.clone()).to_string(),
            kind: lost_kind(reason),
            cause: reason.cause().map(cause_name),
            cause_code: reason.cause().map(|cause| cause.0),
        })),
        Event::PeerAddressChange { peer, change } => match change {
            AddressChange::Unconfirmed => path(peer, "unconfirmed", "learned"),
            AddressChange::Active(reason) => path(peer, "active", active_reason(reason)),
            AddressChange::PotentiallyFailed(reason) => {
                path(peer, "potentially_failed", failure_reason(reason))
            }
            AddressChange::Inactive(reason) => path(peer, "inactive", failure_reason(reason)),
            AddressChange::Primary(reason) => {
                let reason = match reason {
                    PrimaryReason::Chosen => "chosen",
                    PrimaryReason::Switchover => "switchover",
                    PrimaryReason::Removed => "the one before was dropped",
                };
                Some(Line::Primary { association: id, address: peer, reason })
            }
            AddressChange::Removed(reason) => {
                Some(Line::Dropped { address: peer, reason: removed_reason(reason) })
            }
            AddressChange::Ignored(reason) => {
                let reason = ignored_reason(reason);
                Some(Line::Ignored { association: id, address: peer, reason })
            }
        },
        Event::PathMtuChange { peer, mtu, reason } => {
            let reason = match reason {
                MtuReason::Probed => "probed",
                MtuReason::BlackHole => "black hole",
                MtuReason::PacketTooBig => "packet too big",
                MtuReason::Set => "set",
                MtuReason::Link => "link",
                MtuReason::Expired => "expired",
            };
            Some(Line::PathMtu { association: id, address: peer, mtu, reason })
        }
        Event::RemoteError(code) => {
            Some(Line::RemoteError { association: id, cause: cause_name(code), cause_code: code.0 })
        }
        _ => None,
    }
}

/// A state of a path as the lines say it.
fn active_reason(reason: ActiveReason) -> &'static str {
    match reason {
        ActiveReason::Confirmed => "confirmed",
        ActiveReason::HeartbeatAcked => "HEARTBEAT acknowledged",
        ActiveReason::DataAcked => "DATA acknowledged",
        ActiveReason::Restarted => "peer restarted",
    }
}

/// How an association was lost, in a word for programs.
fn lost_kind(reason: &LostReason) -> &'static str {
    match reason {
        LostReason::SetupTimeout => "setup_timeout",
        LostReason::Deadline => "deadline",
        LostReason::Unreachable => "unreachable",
        LostReason::Refused { .. } => "refused",
        LostReason::PeerAborted { .. } => "peer_aborted",
        LostReason::LocalAbort => "local_abort",
        LostReason::TooManyRetransmissions => "too_many_retransmissions",
        LostReason::PeerViolation(_) => "peer_violation",
        LostReason::OwnAddress { .. } => "own_address",
        LostReason::ShutdownTimeout => "shutdown_timeout",
        _ => "other",
    }
}

/// Why an address is no longer used, as the lines say it.
pub(crate) fn removed_reason(reason: RemovedReason) -> &'static str {
    match reason {
        RemovedReason::NotInInitAck => "not in INIT ACK",
        RemovedReason::NotInInit => "not in INIT of the restart",
        RemovedReason::OwnAddress => "an address of this host",
        RemovedReason::Disowned => "an address of another host",
    }
}

fn ignored_reason(reason: IgnoredReason) -> &'static str {
    match reason {
        IgnoredReason::OwnAddress => "an address of this host",
        IgnoredReason::OtherAssociation => "an address of another association",
        IgnoredReason::Reach => "reaches less far than those in use",
        IgnoredReason::Family => "no local address of its family",
        _ => "of no use",
    }
}

fn failure_reason(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::T3Expired => "DATA not acknowledged",
        FailureReason::HeartbeatUnanswered => "HEARTBEAT not answered",
        FailureReason::T2Expired => "SHUTDOWN not answered",
        FailureReason::Unreachable => "unreachable",
    }
}

pub(crate) fn state_name(state: PathState) -> &'static str {
    match state {
        PathState::Listed => "listed",
        PathState::Unconfirmed => "unconfirmed",
        PathState::Active => "active",
        PathState::PotentiallyFailed => "potentially_failed",
        PathState::Inactive => "inactive",
        _ => "unknown",
    }
}

fn cause_name(code: usctp::CauseCode) -> String {
    code.name().map_or_else(|| format!("error cause {}", code.0), str::to_owned)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { port, addresses, transport } => {
                write!(f, "listening on port {port} ({transport}) of {}", List(addresses))
            }
            Self::ListedTwice { address, index } => {
                write!(
                    f,
                    "{address} is listed again as number {}: its first place counts",
                    index + 1
                )
            }
            Self::Tried { address, attempt } => write!(f, "trying {address} (INIT {attempt})"),
            Self::MovedOn { address, reason } => write!(f, "moving on from {address}: {reason}"),
            Self::Dropped { address, reason } => write!(f, "dropped {address}: {reason}"),
            Self::Ignored { association, address, reason } => {
                write!(f, "association {association}: {address} is not used: {reason}")
            }
            Self::CommUp(up) => write!(
                f,
                "association {} is up with {}; primary {}; {} streams in, {} out",
                up.association,
                List(&up.peer),
                up.primary,
                up.streams_in,
                up.streams_out
            ),
            Self::Path { association, address, state, reason } => {
                write!(f, "association {association}: {address} is {state} ({reason})")
            }
            Self::Primary { association, address, reason } => {
                write!(f, "association {association}: {address} is the primary path ({reason})")
            }
            Self::PathMtu { association, address, mtu, reason } => {
                write!(f, "association {association}: {address} takes {mtu} bytes ({reason})")
            }
            Self::Restart { association } => {
                write!(f, "association {association}: the peer restarted")
            }
            Self::RemoteError { association, cause, cause_code } => {
                write!(f, "association {association}: the peer reports {cause} ({cause_code})")
            }
            Self::CommLost(lost) => {
                write!(f, "association {} is lost: {}", lost.association, lost.reason)
            }
            Self::Closed(closed) => {
                let Tally { messages, bytes } = closed.received;
                write!(
                    f,
                    "association {} closed; received {messages} messages, {bytes} bytes; sent {} messages, {} bytes",
                    closed.association, closed.messages_sent, closed.bytes_sent
                )
            }
        }
    }
}

/// Addresses with commas between.
struct List<'a>(&'a [IpAddr]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(line: &Line) -> serde_json::Value {
        serde_json::to_value(Timed { line, at_ms: 12.5 }).unwrap()
    }

    #[test]
    fn lines_have_the_fields_that_other_programs_parse() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let listening = Line::Listening { port: 7, addresses: vec![address], transport: "raw" };
        let expected = serde_json::json!({
            "event": "listening", "port": 7, "addresses": ["192.0.2.1"], "transport": "raw",
            "at_ms": 12.5
        });
        assert_eq!(json(&listening), expected);
        let up = Line::CommUp(CommUp {
            association: 1,
            peer: vec![address],
            peer_port: 7,
            local_port: 40_000,
            streams_in: 2,
            streams_out: 3,
            primary: address,
        });
        let expected = serde_json::json!({
            "event": "comm_up", "association": 1, "peer": ["192.0.2.1"], "peer_port": 7,
            "local_port": 40_000, "streams_in": 2, "streams_out": 3, "primary": "192.0.2.1", "at_ms": 12.5
        });
        assert_eq!(json(&up), expected);
        let moved = json(&Line::MovedOn { address, reason: "timeout" });
        assert_eq!(moved["event"], "moved_on");
        assert_eq!(moved["address"], "192.0.2.1");
        let lost = Line::CommLost(CommLost {
            association: 4,
            reason: "gone".to_owned(),
            kind: "refused",
            cause: Some("No User Data".to_owned()),
            cause_code: Some(9),
        });
        let expected = serde_json::json!({
            "event": "comm_lost", "association": 4, "reason": "gone", "kind": "refused",
            "cause": "No User Data", "cause_code": 9, "at_ms": 12.5
        });
        assert_eq!(json(&lost), expected);
        let (mut received, mut sent) = (Tally::default(), Tally::default());
        received.add(6);
        (0..2).for_each(|_| sent.add(5));
        let closed = Line::Closed(Closed::new(AssociationId(4), received, sent));
        let expected = serde_json::json!({
            "event": "closed", "association": 4, "messages": 1, "bytes": 6, "messages_sent": 2,
            "bytes_sent": 10, "at_ms": 12.5
        });
        assert_eq!(json(&closed), expected);
        let text = "association 4 closed; received 1 messages, 6 bytes; sent 2 messages, 10 bytes";
        assert_eq!(closed.to_string(), text);
    }
}
